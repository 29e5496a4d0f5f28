"""What is counted and logged when this hub has written something. Only who wrote counts, so hubs add up."""

from collections.abc import Iterable
from typing import Protocol

from hitl.approvals.conditions import CancelReason, outcome
from hitl.approvals.opening import Refuse
from hitl.approvals.requests import ApprovalRequest, DecisionKind, RequestSpec, State
from hitl.tracing import Traces
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics
from hitl_operator.reminding import Reminder
from hitl_operator.verification import Judgement

_log = Log(__name__)


class Witness(Protocol):
    """Told of what this hub did, for those who look on from outside. Must neither block nor raise."""

    def opened(self, request: ApprovalRequest) -> None:
        """A request was created."""
        ...

    def written(self, before: ApprovalRequest, after: ApprovalRequest) -> None:
        """A status was written."""
        ...

    def reminded(self, request: ApprovalRequest, reminder: Reminder) -> None:
        """A reminder is due; several hubs may say so of the same one."""
        ...

    def acted(self, identity: Identity, records: Iterable[hub_pb2.ActivityRecord]) -> None:
        """A sidecar says what ran or was refused without anybody having been asked."""
        ...


class Silent:
    """A `Witness` who tells nobody."""

    def opened(self, request: ApprovalRequest) -> None:
        """As `Witness.opened`."""

    def written(self, before: ApprovalRequest, after: ApprovalRequest) -> None:
        """As `Witness.written`."""

    def reminded(self, request: ApprovalRequest, reminder: Reminder) -> None:
        """As `Witness.reminded`."""

    def acted(self, identity: Identity, records: Iterable[hub_pb2.ActivityRecord]) -> None:
        """As `Witness.acted`."""


class Witnesses:
    """Several of them, told in order."""

    def __init__(self, *each: Witness) -> None:
        self._each = each

    def opened(self, request: ApprovalRequest) -> None:
        """As `Witness.opened`."""
        for witness in self._each:
            witness.opened(request)

    def written(self, before: ApprovalRequest, after: ApprovalRequest) -> None:
        """As `Witness.written`."""
        for witness in self._each:
            witness.written(before, after)

    def reminded(self, request: ApprovalRequest, reminder: Reminder) -> None:
        """As `Witness.reminded`."""
        for witness in self._each:
            witness.reminded(request, reminder)

    def acted(self, identity: Identity, records: Iterable[hub_pb2.ActivityRecord]) -> None:
        """As `Witness.acted`."""
        for witness in self._each:
            witness.acted(identity, records)


def record_open(request: ApprovalRequest) -> None:
    """A request was created."""
    spec = request.spec
    _log.info(
        "opened",
        handle=request.handle,
        tier=spec.tier,
        workload=spec.workload,
        tool=f"{spec.call.server}/{spec.call.tool}",
        rule=spec.rule,
        score=spec.score,
        digest=spec.digest[:8],
        revision=spec.revision[:7],
    )


def record_reminder(request: ApprovalRequest, reminder: Reminder) -> None:
    """People are told again."""
    _log.info(
        "reminder", handle=request.handle, number=reminder.number, waits_for=reminder.waits_for, left=reminder.left
    )


def record_refusal(metrics: HubMetrics, namespace: str, spec: RequestSpec, refused: Refuse) -> None:
    """Nobody was asked. A line for each would be a flood of its own; sidecars audit every one."""
    metrics.refused_opens.labels(refused.answer.reason_code).inc()
    _log.debug(
        "not-opened",
        namespace=namespace,
        workload=spec.workload,
        tool=f"{spec.call.server}/{spec.call.tool}",
        reason=refused.answer.reason_code,
        earlier=refused.earlier,
    )


def record_write(
    metrics: HubMetrics, before: ApprovalRequest, after: ApprovalRequest, judgements: tuple[Judgement, ...]
) -> None:
    """A status was written, with the judgements in it."""
    for judgement in judgements:
        _record_judgement(metrics, after, judgement)
    was, now = before.status, after.status
    steps = now.escalated - was.escalated + now.rounds - was.rounds
    if steps > 0:
        metrics.escalations.inc(steps)
        _log.info("escalated", handle=after.handle, steps=now.escalated, rounds=now.rounds)
    if now.state is was.state:
        return
    condition = outcome(now.conditions, now.state)
    _log.info(
        now.state.value.lower(),
        handle=after.handle,
        reason=condition.reason if condition else "",
        message=condition.message if condition else "",
        by=now.consumed_by if now.state is State.CONSUMED else "",
    )
    if condition is not None and condition.reason == CancelReason.ENFORCEMENT_LOST:
        metrics.voided.inc()
        _log.error("votes-voided", handle=after.handle, reviewers=", ".join(each.reviewer for each in now.decisions))
    if now.state.is_terminal:
        tier, word = after.spec.tier, now.state.value.lower()
        ended = condition.last_transition_time if condition else after.created
        metrics.holds.labels(tier, word).inc()
        metrics.observe(
            metrics.hold_duration.labels(tier, word), (ended - after.created).total_seconds(), after.spec.traceparent
        )
        if metrics.traces is not None:
            _trace(metrics.traces, after, condition.reason if condition else "")


def _trace(traces: Traces, request: ApprovalRequest, reason: str) -> None:
    """The time that people took, as a span under the one that asked them."""
    spec = request.spec
    traces.begin(f"await_approval {spec.call.tool}", parent=spec.traceparent, start=request.created.timestamp()).end(
        {
            "gen_ai.tool.name": spec.call.tool,
            "hitl.tool.server": spec.call.server,
            "hitl.handle": request.handle,
            "hitl.tier": spec.tier,
            "hitl.rule": spec.rule,
            "hitl.outcome": request.status.state.value,
            "hitl.reason": reason,
            "hitl.decisions": len(request.status.decisions),
            "k8s.namespace.name": request.namespace,
        }
    )


def _record_judgement(metrics: HubMetrics, request: ApprovalRequest, judgement: Judgement) -> None:
    entry, tier = judgement.entry, request.spec.tier
    if judgement.cause is not None:
        metrics.rejected.labels(judgement.cause.value).inc()
        _log.error(
            "decision-rejected" if entry.note == 0 else "note-rejected",
            handle=request.handle,
            reviewer=entry.reviewer,
            cause=judgement.cause.value,
            why=entry.refused,
        )
        return
    decision = next((each for each in request.status.decisions if each.reviewer == entry.reviewer), None)
    if entry.note or decision is None:
        return
    metrics.decisions.labels(decision.decision.value.lower(), tier).inc()
    if decision.decision is DecisionKind.OVERRIDDEN:
        metrics.breakglass.labels(tier).inc()
        _log.warning("overridden", handle=request.handle, reviewer=entry.reviewer, reason=decision.reason)
    if decision.time is not None:
        metrics.observe(
            metrics.review_latency.labels(tier),
            (decision.time - request.created).total_seconds(),
            request.spec.traceparent,
        )
    _log.info("decided", handle=request.handle, reviewer=entry.reviewer, decision=decision.decision.value)
