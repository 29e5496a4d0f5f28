"""One policy judges one call, alone (DESIGN 7.4-7.7). Whatever fails on the way is that policy's Deny (I2)."""

from dataclasses import dataclass

from hitl.policy import limits, wording
from hitl.policy.actions import Action
from hitl.policy.adjustments import adjust
from hitl.policy.raisers import raised_by
from hitl.policy.scoring import Scored, score_call, tier_of
from hitl.policy.situations import Situation
from hitl.policy.spec import Autonomy, Undeclared
from hitl.policy.tracing import Trace
from hitl.policy.verdicts import Charge, Factor, Reason
from hitl.policy.voices import Candidate, Judgement, Voice

_MAX_SCORES = 128


def judge(
    voice: Voice, candidates: tuple[Candidate, ...], situation: Situation, trace: Trace | None = None
) -> Judgement | None:
    """What a policy says of a call, or None if it abstains."""
    arguments = situation.call.arguments
    tried: Candidate | None = None
    try:
        for tried in candidates:
            if tried.holds is not None and not tried.holds(arguments):
                if trace is not None:
                    _note_miss(tried, situation, trace)
                continue
            cel = tried.rule.cel
            if cel is not None and not cel.holds(situation.variables):
                if trace is not None:
                    trace.rule(tried, f"cel is false: {cel.source}", fits=False)
                continue
            if trace is not None:
                trace.rule(tried, situation.fit(tried), fits=True)
            return _by_rule(tried, situation)
        tried = None
        undeclared = voice.policy.undeclared
        if undeclared is None:
            return None
        if isinstance(undeclared, Undeclared):
            return _by_score(voice, None, situation)
        return _by_default(voice, undeclared, situation)
    except Exception as error:  # noqa: BLE001 - whatever a matcher, an expression, a score or a limit runs into: I2
        text = wording.failed(voice, tried, error)
        return Judgement(
            voice=voice,
            action=Action.DENY,
            reason_code="EVALUATION_FAILED",
            explanation=text,
            candidate=tried,
            factors=(Factor("evaluation failed", 0, text),),
            reasons=(Reason.RULE if tried else Reason.POLICY_BOUNDARY,),
            advice=wording.ADVICE_FAILED,
        )


def _note_miss(candidate: Candidate, situation: Situation, trace: Trace) -> None:
    miss = candidate.rule.args.first_miss(situation.call.arguments)
    if miss is not None:
        wanted = f"{miss.pointer.removeprefix('/')} {miss.wanted}"
        trace.rule(candidate, situation.shown(miss), fits=False, wanted=situation.clean(wanted))


def _by_rule(candidate: Candidate, situation: Situation) -> Judgement:
    rule, call = candidate.rule, situation.call
    constant = situation.tool.constants.get(candidate)
    if constant is not None and _is_quiet(candidate.voice, candidate, situation):
        return constant
    if rule.ensure is not None:
        miss = rule.ensure.first_miss(call.arguments)
        if miss is not None:
            text = situation.shown(miss)
            return _denied(candidate, "ENSURE", wording.violated(candidate, text), wording.ADVICE_CHANGE)
    if rule.closed:
        strangers = call.arguments.keys() - candidate.looks_at
        if strangers:
            text = situation.clean(wording.not_named(candidate, sorted(strangers)))
            return _denied(candidate, "CLOSED", text, wording.ADVICE_CHANGE)
    charges: tuple[Charge, ...] = ()
    least, over = Action.ALLOW, ""
    if rule.limit is not None:
        charge = limits.charge_for(rule.limit, candidate.limit_id, call)
        used = situation.history.used(charge.limit_id, charge.key, charge.per, situation.now)
        charges = (charge,)
        if limits.is_exceeded(charge, used):
            least, over = rule.limit.then, wording.exceeded(candidate, limits.describe(rule.limit, charge, used))
    if rule.action is None and least < Action.DENY:
        return _by_score(candidate.voice, candidate, situation, charges=charges, least=least, over=over)
    action = max(rule.action or Action.ALLOW, least)
    text = wording.decided(candidate, action)
    step = _Step(action, "RULE", text, (Reason.RULE,), (Factor("rule", 0, text),), charges)
    if over:
        step = _Step(
            action, "LIMIT", over, (Reason.POLICY_BOUNDARY,), (Factor("limit", 0, over),), charges, wording.ADVICE_LATER
        )
    judgement = _finished(candidate.voice, candidate, situation, step)
    if judgement.constant:
        situation.tool.constants[candidate] = judgement
    return judgement


def _by_default(voice: Voice, action: Action, situation: Situation) -> Judgement:
    known = situation.tool.scores.get((voice,))
    if known is not None and _is_quiet(voice, None, situation):
        return known
    text = wording.undeclared(voice, action)
    step = _Step(action, "UNDECLARED", text, (Reason.POLICY_BOUNDARY,), (Factor("undeclared", 0, text),))
    judgement = _finished(voice, None, situation, step)
    if judgement.constant:
        situation.tool.scores[voice,] = judgement
    return judgement


def _by_score(
    voice: Voice,
    candidate: Candidate | None,
    situation: Situation,
    *,
    charges: tuple[Charge, ...] = (),
    least: Action = Action.ALLOW,
    over: str = "",
) -> Judgement:
    """The scored tier, after posture, trust and autonomy; at least `least` where a limit is `over`."""
    policy, tool = voice.policy, situation.tool
    key = (voice, candidate, tuple(situation.call.arguments), situation.observed, situation.history_points)
    known = tool.scores.get(key)
    if known is not None and not charges and _is_quiet(voice, candidate, situation):
        return known
    scored = score_of(voice, candidate, situation)
    tier = tier_of(policy.scoring, scored.score)
    adjusted = adjust(policy, tool, tier, scored.floor, read_only=scored.read_only)
    action, factors = adjusted.action, (*scored.factors, *adjusted.factors)
    explanation = wording.scored(voice, candidate, scored.score, tier, adjusted)
    code = "BUILT_IN" if voice.is_built_in else "SCORE"
    reasons: tuple[Reason, ...] = (Reason.SCORE,)
    if max(tier, scored.floor) is Action.MULTI_FACTOR:
        reasons = (Reason.SCORE, Reason.HIGH_RISK)
    if adjusted.by_autonomy:
        reasons = (Reason.POLICY_BOUNDARY, *reasons)
    if least > action:
        action, code, explanation = least, "LIMIT", over
        factors = (*factors, Factor("limit", 0, over))
        reasons = (Reason.POLICY_BOUNDARY, *reasons)
    step = _Step(action, code, explanation, reasons, factors, charges)
    judgement = _finished(voice, candidate, situation, step, scored)
    if judgement.constant:
        if len(tool.scores) >= _MAX_SCORES:
            tool.scores.clear()
        tool.scores[key] = judgement
    return judgement


def score_of(voice: Voice, candidate: Candidate | None, situation: Situation) -> Scored:
    """The score as this policy weighs it; the rule may set the level."""
    tool, call = situation.tool, situation.call
    return score_call(
        voice.policy.scoring,
        call.name,
        tool.declaration,
        candidate.rule.level if candidate is not None else None,
        tool.definition,
        call.arguments,
        trusted=tool.server is not None and tool.server.trusted,
        inferred=situation.inferred,
        observed=situation.observed,
        history_points=situation.history_points,
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """Where a judgement stands before autonomy and raisers have moved it."""

    action: Action
    reason_code: str
    explanation: str
    reasons: tuple[Reason, ...]
    factors: tuple[Factor, ...] = ()
    charges: tuple[Charge, ...] = ()
    advice: str = ""


def _finished(
    voice: Voice, candidate: Candidate | None, situation: Situation, step: _Step, scored: Scored | None = None
) -> Judgement:
    """The judgement after SuggestOnly and, unless the rule is final, the raisers."""
    action, code, explanation = step.action, step.reason_code, step.explanation
    factors, reasons, clarify, doubt = list(step.factors), list(step.reasons), False, ""
    if voice.policy.autonomy is Autonomy.SUGGEST_ONLY and action < Action.SUGGEST:
        action, code, explanation = Action.SUGGEST, "SUGGEST_ONLY", wording.suggest_only(voice)
        factors.append(Factor("autonomy", 0, explanation))
        reasons.insert(0, Reason.POLICY_BOUNDARY)
    quiet = _is_quiet(voice, candidate, situation)
    if not quiet and action is not Action.DENY:
        for raised in raised_by(voice.policy.raisers, situation):
            factors.append(raised.factor)
            if raised.clarify:
                clarify, doubt = True, raised.factor.reason
                reasons.insert(0, raised.reason)
            elif raised.least > action:
                action, code = raised.least, raised.reason_code
                explanation = f"{raised.factor.name} raises it to {action.word}: {raised.factor.reason}"
                reasons.insert(0, raised.reason)
            reasons.append(raised.reason)
        if clarify:
            code, explanation = "CLARIFY", f"confidence {doubt}"
    return Judgement(
        voice=voice,
        action=action,
        reason_code=code,
        explanation=explanation,
        candidate=candidate,
        clarify=clarify,
        scored=scored,
        factors=tuple(factors),
        reasons=tuple(dict.fromkeys(reasons)),
        charges=step.charges,
        advice=step.advice,
        constant=quiet and not step.charges and (candidate is None or not candidate.checks_further),
    )


def _is_quiet(voice: Voice, candidate: Candidate | None, situation: Situation) -> bool:
    """Whether no raiser can act, so that the judgement follows from rule or score alone."""
    return (candidate is not None and candidate.rule.final) or (voice.raisers_asleep and situation.says_nothing)


def _denied(candidate: Candidate, code: str, explanation: str, advice: str) -> Judgement:
    return Judgement(
        voice=candidate.voice,
        action=Action.DENY,
        reason_code=code,
        explanation=explanation,
        candidate=candidate,
        factors=(Factor(code.lower(), 0, explanation),),
        reasons=(Reason.POLICY_BOUNDARY,),
        advice=advice,
    )
