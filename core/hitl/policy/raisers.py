"""What makes a call stricter than its rule or score says (DESIGN 7.7). Nothing here ever lowers."""

from collections.abc import Iterator
from dataclasses import dataclass

from hitl.policy.actions import Action
from hitl.policy.situations import Situation, watched_values
from hitl.policy.spec import Raise
from hitl.policy.verdicts import Factor, Reason

_FEW_DECISIONS = 5
_DENIED_SHARE = 0.2
_UNUSUAL_RATE = 5


@dataclass(frozen=True, slots=True)
class Raised:
    """One raiser that acts: the least action it asks for, and why.

    Attributes:
        reason_code: stable, for the verdict that it decides.
        clarify: it asks for CLARIFY instead of an action.
    """

    least: Action
    reason: Reason
    reason_code: str
    factor: Factor
    clarify: bool = False


def raised_by(raisers: Raise, situation: Situation) -> Iterator[Raised]:
    """Every raiser that acts on this call, in a fixed order."""
    if (confidence := _confidence(raisers, situation)) is not None:
        yield confidence
    if raisers.novelty is not None and (novel := _novelty(raisers, situation)):
        yield Raised(raisers.novelty, Reason.NOVEL, "NOVEL", Factor("novelty", 0, novel))
    if raisers.external_impact is not None and (external := _external(raisers, situation)):
        factor = Factor("external impact", 0, external)
        yield Raised(raisers.external_impact, Reason.EXTERNAL_IMPACT, "EXTERNAL_IMPACT", factor)
    if raisers.tainted_egress is not None and situation.tainted and (egress := _egress(raisers, situation)):
        factor = Factor("tainted egress", 0, f"the session has read untrusted content, and {egress}")
        yield Raised(raisers.tainted_egress, Reason.TAINTED_EGRESS, "TAINTED_EGRESS", factor)
    if raisers.anomaly is not None and (anomaly := _anomaly(situation)):
        yield Raised(raisers.anomaly, Reason.ANOMALY, "ANOMALY", Factor("anomaly", 0, anomaly))


def _confidence(raisers: Raise, situation: Situation) -> Raised | None:
    confidence = situation.call.confidence_percent
    if situation.raised_confidence:
        said = "no confidence" if confidence is None else f"confidence {confidence} %"
        text = f"{said} now, but less for the same call within ten minutes; it counts as missing"
        least = max(Action.CONFIRM, raisers.missing or Action.ALLOW)
        return Raised(least, Reason.LOW_CONFIDENCE, "LOW_CONFIDENCE", Factor("confidence", 0, text))
    if confidence is None:
        if raisers.missing is None:
            return None
        factor = Factor("confidence", 0, f"the agent states no confidence, which is at least {raisers.missing.word}")
        return Raised(raisers.missing, Reason.LOW_CONFIDENCE, "LOW_CONFIDENCE", factor)
    if confidence >= raisers.auto:
        return None
    if confidence >= raisers.notify:
        factor = Factor("confidence", 0, f"{confidence} % is below {raisers.auto} %, at least Notify")
        return Raised(Action.NOTIFY, Reason.LOW_CONFIDENCE, "LOW_CONFIDENCE", factor)
    if confidence >= raisers.clarify:
        factor = Factor("confidence", 0, f"{confidence} % is below {raisers.notify} %, so the user is asked first")
        return Raised(Action.ALLOW, Reason.LOW_CONFIDENCE, "CLARIFY", factor, clarify=True)
    factor = Factor("confidence", 0, f"{confidence} % is below {raisers.clarify} %, at least Confirm with full context")
    return Raised(Action.CONFIRM, Reason.LOW_CONFIDENCE, "LOW_CONFIDENCE", factor)


def _novelty(raisers: Raise, situation: Situation) -> str:
    name = situation.call.name
    if situation.history.times_seen(name) == 0:
        return f"this workload never used {name}"
    for argument, value in watched_values(situation.call, raisers.watched):
        if not situation.history.has_seen_value(name, argument, value):
            return f"this workload never used {name} with this {argument.lstrip('/')}"
    return ""


def _external(raisers: Raise, situation: Situation) -> str:
    if situation.call.external_impact:
        return "the agent says that the effect leaves the cluster"
    for host in situation.hosts:
        if not is_internal(host, raisers.internal_domains):
            return f"{host} is outside the cluster's domains"
    definition = situation.tool.definition
    if definition is not None and definition.annotations.get("openWorldHint") is True:
        return "the tool says that it reaches the open world (openWorldHint)"
    return ""


def _egress(raisers: Raise, situation: Situation) -> str:
    # Wider than external impact: what was smuggled in may also be carried to a neighbour inside the cluster.
    return _external(raisers, situation) or (f"the call reaches {situation.hosts[0]}" if situation.hosts else "")


def _anomaly(situation: Situation) -> str:
    history, name, now = situation.history, situation.call.name, situation.now
    rate, usual = history.rates(name, now)
    if usual > 0 and rate > _UNUSUAL_RATE * usual:
        return f"{rate:g} calls of {name} in the last hour, usual are {usual:g}"
    denied, decided = history.recent_denials(now)
    if decided >= _FEW_DECISIONS and denied > _DENIED_SHARE * decided:
        return f"{denied} of {decided} calls were denied in the last ten minutes"
    for host in situation.hosts:
        if not history.has_seen_host(host):
            return f"this workload never reached {host}"
    return ""


def is_internal(host: str, domains: tuple[str, ...]) -> bool:
    """Whether a host is one of the domains, or inside one: ``db.prod.svc`` is inside ``.svc``, ``evilsvc`` is not."""
    host = host.rstrip(".").lower()
    for domain in domains:
        bare = domain.lower().strip(".")
        if bare and (host == bare or host.endswith(f".{bare}")):
            return True
    return False
