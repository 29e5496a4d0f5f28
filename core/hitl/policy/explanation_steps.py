"""The eight steps of an explanation, read off the trace that evaluation left (DESIGN 7, UX 6)."""

from collections.abc import Iterator

from hitl.policy import wording
from hitl.policy.actions import Action
from hitl.policy.judging import score_of
from hitl.policy.layout import Row, Step
from hitl.policy.scoring import Scored, tier_of
from hitl.policy.situations import Situation
from hitl.policy.spec import Posture, Undeclared
from hitl.policy.tracing import Trace, Tried
from hitl.policy.verdicts import Factor, Verdict
from hitl.policy.voices import Judgement, Voice

# What a matching rule may still run into: said on a row of its own.
_AFTER_MATCHING = frozenset({"ENSURE", "CLOSED", "LIMIT", "EVALUATION_FAILED"})
_ADJUSTMENTS = frozenset({"posture", "trust", "autonomy"})
_RAISERS = frozenset({"confidence", "novelty", "external impact", "tainted egress", "anomaly"})


def steps_of(trace: Trace, verdict: Verdict) -> tuple[Step, ...]:
    """All eight, in order."""
    situation = trace.situation
    if situation is None:
        return ()
    reached = bool(trace.judgements)
    steps = [_name(situation), _flood(trace, situation)]
    if reached:
        steps += [_paths(trace), _rules(trace, situation), _score(trace, verdict), _adjustments(trace)]
        steps += [_raisers(trace, situation), Step(8, "grants", "none fits")]
    return tuple(steps)


def score_otherwise(trace: Trace) -> Scored | None:
    """The score that a rule made unnecessary; None where a score decided, or where there is none."""
    decider, situation = trace.decider, trace.situation
    if decider is None or situation is None or decider.scored is not None:
        return None
    try:
        return score_of(decider.voice, decider.candidate, situation)
    except Exception:  # noqa: BLE001 - it decides nothing, so a call that cannot be scored has no other score
        return None


def _name(situation: Situation) -> Step:
    tool, servers = situation.tool, len(situation.plan.config.tool_servers)
    if tool.declaration is not None:
        outcome = f"known, {servers} tool server{'' if servers == 1 else 's'}"
    elif tool.server is not None:
        outcome = "not declared by its server"
    else:
        outcome = "unknown tool server"
    return Step(1, "name", situation.call.name, outcome)


def _flood(trace: Trace, situation: Situation) -> Step:
    if trace.freeze:
        return Step(2, "freeze", trace.freeze, "Deny")
    settings = situation.plan.config.settings
    of_tool, of_pod = trace.flood
    if of_pod >= settings.flood_per_pod:
        return Step(2, "flood", f"{of_pod} of {settings.flood_per_pod} calls of the pod this minute", "Deny")
    text = f"{of_tool} of {settings.flood_per_tool} calls this minute"
    return Step(2, "flood", text, "Deny" if of_tool >= settings.flood_per_tool else "ok")


def _paths(trace: Trace) -> Step:
    if not trace.path_hits:
        return Step(3, "paths", "no protected path", "ok")
    first, *rest = trace.path_hits
    return Step(3, "paths", first, "Deny", tuple(Row(hit, outcome="Deny") for hit in rest))


def _rules(trace: Trace, situation: Situation) -> Step:
    rows: list[Row] = []
    said = {judgement.voice: judgement for judgement in trace.judgements}
    for voice in situation.plan.voices:
        judgement = said.get(voice)
        if voice.is_built_in and judgement is None:
            continue
        rows += _of_voice(voice, trace.tried.get(voice, []), judgement, trace)
    first, *others = rows
    return Step(4, "rules", first.text, first.outcome, tuple(others))


def _of_voice(voice: Voice, tried: list[Tried], judgement: Judgement | None, trace: Trace) -> Iterator[Row]:
    """One policy: what it tried, and what follows."""
    name = _called(voice)
    decided = judgement is not None and judgement is trace.decider
    if judgement is not None and judgement.reason_code == "PROTECTED_PATH":
        yield Row(f"{name}: a protected path comes before its rules", outcome=judgement.action.word)
        return
    if not tried and (judgement is None or judgement.candidate is None):
        names = "goes by the score" if voice.is_built_in else "no rule names this tool"
        yield Row(f"{name}: {names}", outcome=_outcome(judgement) if judgement else "-")
        return
    yield Row(f"{name}: deny rules first, then in order")
    for rule in tried:
        matched = rule.fits and judgement is not None and rule.candidate is judgement.candidate
        yield Row(
            rule.detail,
            name=rule.candidate.rule.name,
            fits=rule.fits,
            decided=matched and decided,
            outcome=_outcome(judgement) if matched and judgement is not None else "",
        )
    if judgement is None:
        yield Row("none of them matches: it abstains", outcome="-")
    elif judgement.reason_code in _AFTER_MATCHING:
        yield Row(judgement.explanation, outcome=judgement.action.word)
    elif judgement.candidate is None:
        yield Row(f"none of them matches: {_default(voice)}", outcome=_outcome(judgement))


def _called(voice: Voice) -> str:
    if voice.is_built_in:
        return "built-in"
    name = f"{voice.policy.ref.name} (cluster)" if voice.policy.is_cluster else voice.policy.ref.name
    return f"{name} ({voice.relaxes})" if voice.relaxes else name


def _default(voice: Voice) -> str:
    undeclared = voice.policy.undeclared
    word = undeclared.word if isinstance(undeclared, Action) else str(undeclared or Undeclared.SCORE)
    return f"what it does not declare is {word}"


def _outcome(judgement: Judgement) -> str:
    """What the rules alone say; what moved it from there is in the steps that follow."""
    if judgement.scored is not None:
        return "Score"
    rule = judgement.rule
    return rule.action.word if rule is not None and rule.action is not None else judgement.action.word


def _score(trace: Trace, verdict: Verdict) -> Step:
    decider, situation = trace.decider, trace.situation
    if decider is None or situation is None:
        return Step(5, "score", "not reached")
    scoring = decider.voice.policy.scoring
    if decider.scored is not None:
        tier = tier_of(scoring, decider.scored.score)
        low, high = wording.bounds(scoring, tier)
        rows = tuple(Row(_points(factor)) for factor in decider.scored.factors)
        return Step(5, "score", f"{decider.scored.score} is {tier.word} ({low}-{high})", tier.word, rows)
    if verdict.score_otherwise is None:
        return Step(5, "score", "not needed: a rule decided")
    word = tier_of(scoring, verdict.score_otherwise).word
    return Step(5, "score", f"not needed: a rule decided (it would be {verdict.score_otherwise}, {word})")


def _points(factor: Factor) -> str:
    return f"{factor.points:+d} {factor.reason}"


def _adjustments(trace: Trace) -> Step:
    title = "posture, trust, autonomy"
    decider = trace.decider
    if decider is None:
        return Step(6, title, "", "not reached")
    moved = tuple(Row(factor.reason) for factor in decider.factors if factor.name in _ADJUSTMENTS)
    if decider.scored is None and not moved:
        return Step(6, title, "", "not for a rule's action")
    policy = decider.voice.policy
    settings = (
        [str(policy.autonomy)] if policy.posture is Posture.BALANCED else [str(policy.posture), str(policy.autonomy)]
    )
    return Step(6, title, ", ".join(settings), decider.action.word if moved else "unchanged", moved)


def _raisers(trace: Trace, situation: Situation) -> Step:
    decider = trace.decider
    confidence = situation.call.confidence_percent
    times = situation.history.times_seen(situation.call.name)
    stated = f"confidence {confidence} %" if confidence is not None else "no confidence stated"
    text = f"{stated}; seen {times} time{'' if times == 1 else 's'}"
    if decider is None:
        return Step(7, "raisers", text, "not reached")
    if decider.rule is not None and decider.rule.final:
        return Step(7, "raisers", "the rule is final", "unchanged")
    acted = tuple(Row(f"{factor.name}: {factor.reason}") for factor in decider.factors if factor.name in _RAISERS)
    outcome = "CLARIFY" if decider.clarify else decider.action.word
    return Step(7, "raisers", text, outcome if acted else "unchanged", acted)


def fix_for(trace: Trace, verdict: Verdict) -> str:
    """Under Deny: what its author, or the agent, can change so that the call goes through."""
    if verdict.action is not Action.DENY or trace.situation is None:
        return ""
    name, decider = trace.situation.call.name, trace.decider
    if verdict.reason_code == "FROZEN":
        return "wait until it ends; who may lift it sooner: kubectl hitl thaw"
    if verdict.reason_code == "FLOOD":
        return "wait a minute, or raise flood in the operator's settings"
    if decider is None:
        return "report this: the gate itself could not evaluate the call"
    rule = f'rule "{decider.rule.name}"' if decider.rule is not None else "the policy"
    match verdict.reason_code:
        case "PROTECTED_PATH" if decider.voice.is_built_in:
            return "use another path; this one is protected whatever a policy says"
        case "PROTECTED_PATH":
            return f"use another path, or take this one out of protectedPaths of {decider.voice.title}"
        case "ENSURE":
            return f"change the call so that it fits, or loosen ensure of {rule}"
        case "CLOSED":
            return f"leave the argument out, or name it under args of {rule}"
        case "LIMIT":
            return f"wait until the window has room, or raise limit.max of {rule}"
        case "OVERSIZE":
            return "send less at once, or set redaction.oversize: MultiFactor"
        case "EVALUATION_FAILED":
            return f"send what {rule} needs, or mend what it asks"
        case _:
            return _allow(trace, decider, name)


def _allow(trace: Trace, decider: Judgement, name: str) -> str:
    if decider.rule is not None:
        return f'take "{name}" out of rule "{decider.rule.name}" of {decider.voice.title}, or use another tool'
    near = next(
        (
            tried.wanted
            for rules in trace.tried.values()
            for tried in rules
            if tried.wanted and tried.candidate.rule.action is not Action.DENY
        ),
        "",
    )
    return f'allow it with a rule for "{name}"{f", or call it with {near}" if near else ""}'
