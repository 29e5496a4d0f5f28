"""The status of a policy or tool server, made from what is known of it (pure; DESIGN 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from hitl.kube.policy_conditions import PolicyCondition, Programmed, ReviewDue, ReviewersAvailable
from hitl_operator.cluster.acceptance import Outcome
from hitl_operator.cluster.manning import Manned
from hitl_operator.cluster.policy_resources import OVERRIDE, Resource
from hitl_operator.cluster.replica_reports import Tally
from hitl_operator.usage import Used

_LONGEST_REASON = 1024
# Of these it is only said whether they are accepted: nobody decides what they hold.
_PLAIN = ("ToolServer", OVERRIDE)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one resource beside what became of it.

    Attributes:
        tally: its sidecars; None while nobody has counted.
        manned: whether its people may decide; None while nobody has asked: what stands about it stays.
        usage: since it was created.
        unkept: why what was accepted could not be kept; empty where it was.
    """

    tally: Tally | None = None
    manned: Manned | None = None
    usage: Used | None = None
    unkept: str = ""


@dataclass(frozen=True, slots=True)
class _Finding:
    type: PolicyCondition
    status: str
    reason: StrEnum
    message: str


def status_of(resource: Resource, outcome: Outcome, known: Known, now: datetime) -> dict[str, Any]:
    """The whole status, with the times of those conditions that stay as they are in `resource.status`."""
    findings = [_accepted(outcome, known.unkept)]
    policy = outcome.entry.policy if outcome.entry is not None else None
    if resource.kind not in _PLAIN:
        if known.tally is not None or outcome.entry is None:
            findings.append(_programmed(outcome, known.tally or Tally()))
        if known.manned is not None and policy is not None:
            findings.append(_manned(known.manned))
        if policy is not None and policy.review_every is not None:
            findings.append(_review(resource, policy.review_every, now))
    found = {each.type: _condition(each, outcome.resource.generation, resource.status, now) for each in findings}
    if known.manned is None and policy is not None:
        # Whoever begins to lead has not asked yet; the condition's own generation says what it is about.
        found[PolicyCondition.REVIEWERS_AVAILABLE] = _standing(PolicyCondition.REVIEWERS_AVAILABLE, resource.status)
    status: dict[str, Any] = {
        "observedGeneration": outcome.resource.generation,
        "conditions": [found[kind] for kind in PolicyCondition if found.get(kind)],
    }
    if resource.kind == OVERRIDE:
        status["state"] = "Ended" if outcome.frozen is None else "Frozen"
    if policy is not None:
        status["inForce"] = {"mode": policy.mode.value, "autonomy": policy.autonomy.value}
    if resource.kind != "ToolServer" and known.tally is not None:
        status["sidecars"] = _sidecars(resource, known.tally)
    if known.usage is not None:
        used = known.usage
        status["usage"] = {
            "calls": used.calls,
            "held": used.held,
            "decided": used.decided,
            "expired": used.expired,
        }
    return status


def is_as(status: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether everything that is wanted stands there; what others wrote beside it is theirs."""
    return all(status.get(key) == value for key, value in wanted.items())


def _accepted(outcome: Outcome, unkept: str) -> _Finding:
    message = outcome.message
    if unkept:
        message += f". It could not be kept for replicas that start while an invalid generation is written: {unkept}"
    return _Finding(PolicyCondition.ACCEPTED, _word(outcome.is_accepted), outcome.reason, message)


def _programmed(outcome: Outcome, tally: Tally) -> _Finding:
    what = PolicyCondition.PROGRAMMED
    if outcome.entry is None:
        message = "No sidecar can run it before a generation of it is accepted; see Accepted"
        return _Finding(what, "False", Programmed.NOT_ACCEPTED, message)
    generation = outcome.entry.generation
    if not tally.total:
        message = (
            "No connected sidecar is selected: no pod has these labels, or none that has them carries a sidecar; "
            "compare spec.podSelector with kubectl get pods --show-labels"
        )
        return _Finding(what, "Unknown", Programmed.UNMATCHED, message)
    if tally.current == tally.total:
        count = "The one connected sidecar runs" if tally.total == 1 else f"All {tally.total} connected sidecars run"
        return _Finding(what, "True", Programmed.CURRENT, f"{count} generation {generation}")
    count = f"{tally.current} of {tally.total} connected sidecars run generation {generation}"
    refused = next((each for each in tally.behind if each.reason), None)
    if refused is None:
        return _Finding(what, "False", Programmed.PENDING, f"{count}; the others have not answered yet")
    message = f"{count}; {refused.pod} refused the config and keeps the one before: {refused.reason}"
    return _Finding(what, "False", Programmed.REJECTED, message)


def _manned(manned: Manned) -> _Finding:
    status = {ReviewersAvailable.BOUND: "True", ReviewersAvailable.UNBOUND: "False"}.get(manned.reason, "Unknown")
    return _Finding(PolicyCondition.REVIEWERS_AVAILABLE, status, manned.reason, manned.message)


def _review(resource: Resource, every: int, now: datetime) -> _Finding:
    # One in the future would put off all others, and both times may be the author's own; the API server's clock may be
    # a little ahead of ours.
    times = (resource.changed, resource.reviewed or resource.created)
    last = max((each for each in times if each <= now), default=resource.created)
    due = last + timedelta(seconds=every)
    day = due.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if now < due:
        return _Finding(PolicyCondition.REVIEW_DUE, "False", ReviewDue.REVIEWED, f"Due on {day}")
    message = (
        f"Due since {day}: read it, and change it or mark it as reviewed (kubectl annotate --overwrite "
        f"{resource.kind.lower()} {resource.name} hitl.dev/reviewed-at=$(date -u +%FT%TZ))"
    )
    return _Finding(PolicyCondition.REVIEW_DUE, "True", ReviewDue.OVERDUE, message)


def _condition(found: _Finding, generation: int, before: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    was = _standing(found.type, before)
    since = was.get("lastTransitionTime") if was.get("status") == found.status else None
    return {
        "type": found.type.value,
        "status": found.status,
        "observedGeneration": generation,
        "lastTransitionTime": since or _time(now),
        "reason": found.reason.value,
        "message": found.message,
    }


def _standing(kind: PolicyCondition, status: Mapping[str, Any]) -> dict[str, Any]:
    """The condition as it is written; empty where it is not."""
    return next((each for each in status.get("conditions") or () if each.get("type") == kind.value), {})


def _sidecars(resource: Resource, tally: Tally) -> dict[str, Any]:
    behind = []
    for each in tally.behind:
        pod = each.pod if not resource.namespace else each.pod.partition("/")[2]
        row = {"pod": pod, "since": _time(each.since)}
        if each.revision:
            row["revision"] = each.revision
        if each.reason:
            row["reason"] = each.reason[:_LONGEST_REASON]
        behind.append(row)
    counted: dict[str, Any] = {"total": tally.total, "current": tally.current}
    return {**counted, "behind": behind} if behind else counted


def _word(is_so: bool) -> str:
    return "True" if is_so else "False"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
