"""From what each policy says to the one verdict: the strictest that binds, under everybody's conditions (DESIGN 7.4).

The order that I15 is about: a verdict is at least as strict as another if its action is, if it is CLARIFY wherever the
other is, and if whoever may approve it might have approved the other; Deny is above everything.
"""

from hitl.policy import wording
from hitl.policy.actions import Action
from hitl.policy.situations import Situation
from hitl.policy.terms import Holder, merged_terms
from hitl.policy.tracing import Trace
from hitl.policy.verdicts import Factor, Reason, Verdict
from hitl.policy.voices import Judgement, Voice

_MAX_VERDICTS = 256


def combine(spoken: tuple[Judgement, ...], situation: Situation, trace: Trace | None = None) -> Verdict:
    """The verdict over all judgements, at least one, in the order in which their policies speak."""
    known = situation.tool.verdicts
    verdict = known.get(spoken) if trace is None else None
    if verdict is None:
        verdict = _combined(spoken, situation, trace)
        if _is_constant(verdict, spoken):
            if len(known) >= _MAX_VERDICTS:
                known.clear()
            known[spoken] = verdict
    return verdict


def _is_constant(verdict: Verdict, spoken: tuple[Judgement, ...]) -> bool:
    # What allows shows no arguments to anybody, so it says the same for every call.
    return verdict.action is Action.ALLOW and not verdict.summary and all(judgement.constant for judgement in spoken)


def _combined(spoken: tuple[Judgement, ...], situation: Situation, trace: Trace | None) -> Verdict:
    floor = situation.plan.config.floor
    bounds = [judgement.bound(floor) for judgement in spoken]
    action = max(bounds)
    would = max(judgement.action for judgement in spoken)
    relaxed = [judgement for judgement in spoken if judgement.voice.relaxes]
    clarify = action < Action.DENY and any(judgement.clarify for judgement in spoken if not judgement.voice.relaxes)
    decider = _decider(spoken, bounds, action, clarify=clarify)
    code, explanation, factors = decider.reason_code, decider.explanation, list(decider.factors)
    if decider.voice.policy.is_cluster and code in ("RULE", "SCORE", "UNDECLARED"):
        code = "BASELINE"
    if floor is not None and decider.action < decider.bound(floor):
        code, explanation = "FLOOR", f"an invalid policy was left standing, so everything is at least {floor.word} here"
        factors.append(Factor("floor", 0, explanation))
    runs_as = ""
    if relaxed and action <= Action.NOTIFY and (would > action or len(relaxed) == len(spoken)):
        strictest = max(relaxed, key=lambda judgement: judgement.action)
        runs_as = strictest.voice.relaxes
        if would > action:
            decider, factors = strictest, list(strictest.factors)
            code = "MONITOR" if runs_as == "Monitor" else "AUDIT_ONLY"
            explanation = wording.only_recorded(strictest.voice, would, strictest.explanation)
    if trace is not None:
        trace.judgements, trace.decider = list(spoken), decider
    factors += [
        Factor("policy", 0, f"{judgement.voice.title} says {judgement.action.word}: {judgement.explanation}")
        for judgement in spoken
        if judgement is not decider and judgement.action > Action.ALLOW
    ]
    advice = decider.advice
    holding = [(judgement, bound) for judgement, bound in zip(spoken, bounds, strict=True) if bound.holds]
    judged = _judged(spoken)
    hidden = _hidden(situation, [judgement.voice for judgement, _ in holding], judged) if action.holds else None
    if hidden is not None and hidden[0] > action:
        action, code, explanation = hidden
        factors.append(Factor("redaction", 0, explanation))
        advice = wording.ADVICE_SHORTER
        clarify = clarify and action is not Action.DENY
    # Beside a suggestion, too, one person alone does not answer for what he cannot see.
    holders = [Holder(judgement.voice.policy, judgement.rule, bound) for judgement, bound in holding]
    terms = merged_terms(holders, action, alone=hidden is None) if action.holds else None
    rule = decider.rule
    shown = max(action, would) > Action.ALLOW
    return Verdict(
        action=action,
        reason_code=code,
        message=wording.agent_hears(
            action,
            explanation,
            because=wording.authors_words(rule.because, explanation) if rule is not None else "",
            advice=advice,
            terms=terms,
            clarify=clarify,
        ),
        explanation=explanation,
        clarify=clarify,
        score=decider.scored.score if decider.scored is not None else None,
        factors=tuple(factors),
        rule=decider.candidate.rule_id if decider.candidate is not None else "",
        policies=tuple(judgement.voice.policy.ref for judgement in spoken),
        reasons=_reasons(decider, spoken, code) if action > Action.NOTIFY or clarify else (),
        terms=terms,
        summary=situation.summary(rule.summary if rule is not None else None) if shown else "",
        because=rule.because if rule is not None else "",
        link=rule.link if rule is not None else "",
        effects=_effects(spoken, situation) if shown else (),
        would_have=would if relaxed else None,
        recorded_as=runs_as,
        charges=tuple(charge for judgement in spoken for charge in judgement.charges),
        redactions=situation.preview.findings if shown else (),
        shown=judged if shown else (),
        revision=situation.plan.config.revision,
    )


def refused(situation: Situation, code: str, explanation: str, advice: str) -> Verdict:
    """A refusal that comes before any policy and binds whatever they say: flood control, a call nobody could judge."""
    return Verdict(
        action=Action.DENY,
        reason_code=code,
        message=f"Refused: {explanation}. {advice}",
        explanation=explanation,
        factors=(Factor(code.lower().replace("_", " "), 0, explanation),),
        reasons=(Reason.POLICY_BOUNDARY,),
        summary=situation.call.name,
        revision=situation.plan.config.revision,
    )


def _decider(spoken: tuple[Judgement, ...], bounds: list[Action], action: Action, *, clarify: bool) -> Judgement:
    """Whose word it is: of those that come to the action the ones that bind, a rule before a score, then by order."""
    if clarify:
        return next(judgement for judgement in spoken if judgement.clarify and not judgement.voice.relaxes)
    equal = [judgement for judgement, bound in zip(spoken, bounds, strict=True) if bound is action]
    binding = [judgement for judgement in equal if not judgement.voice.relaxes] or equal
    return next((each for each in binding if each.candidate is not None and each.scored is None), binding[0])


def _hidden(situation: Situation, holding: list[Voice], judged: tuple[str, ...]) -> tuple[Action, str, str] | None:
    """What it means that a reviewer would not see everything (SECURITY G2): (least action, code, explanation)."""
    previews = list(situation.previews(holding, judged))
    if any(preview.oversize for preview in previews):
        size = situation.plan.config.settings.preview_bytes
        text = f"the arguments do not fit whole into the {size} bytes that a reviewer is shown"
        if any(voice.policy.redaction.oversize is Action.DENY for voice in holding):
            return Action.DENY, "OVERSIZE", text
        return Action.MULTI_FACTOR, "OVERSIZE", f"{text}, so one person alone does not decide"
    if any(preview.heavy for preview in previews):
        text = "much of the arguments is hidden as secret under names that the agent chose, so it is one tier stricter"
        return Action.MULTI_FACTOR, "HIDDEN", text
    return None


def _effects(spoken: tuple[Judgement, ...], situation: Situation) -> tuple[str, ...]:
    rules = [judgement.rule.effects for judgement in spoken if judgement.rule is not None]
    declared = situation.tool.declaration.effects if situation.tool.declaration is not None else ()
    return tuple(dict.fromkeys(str(effect) for effects in (*rules, declared) for effect in effects))


def _reasons(decider: Judgement, spoken: tuple[Judgement, ...], code: str) -> tuple[Reason, ...]:
    """Why a person is asked: what decided first, each reason once."""
    beyond = (Reason.POLICY_BOUNDARY,) if code in ("FLOOR", "OVERSIZE", "HIDDEN") else ()
    all_of_them = (reason for judgement in (decider, *spoken) for reason in judgement.reasons)
    return tuple(dict.fromkeys((*beyond, *all_of_them)))


def _judged(spoken: tuple[Judgement, ...]) -> tuple[str, ...]:
    candidates = [judgement.candidate for judgement in spoken if judgement.candidate is not None]
    return tuple(sorted({where for candidate in candidates for where in candidate.judges}))
