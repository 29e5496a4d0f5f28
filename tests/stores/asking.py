"""Requests, votes and ends for stories about stores, made by the real life cycle; and a clock that stands still."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hitl.approvals.conditions import CancelReason
from hitl.approvals.requests import (
    ApprovalRequest,
    CallShown,
    Decision,
    DecisionKind,
    Kind,
    Note,
    NoteType,
    RequestSpec,
    RequestStatus,
    State,
    Verified,
)
from hitl.approvals.settle import approve_unheld, cancel, consume, expire, settle
from hitl.approvals.timeline import deadline_of
from hitl.approvals.transitions import with_decision, with_verified
from hitl.policy.verdicts import Requirement

NAMESPACE = "shop"
NAME = "create-refund-7f3kq00000"
SIDECAR = "pod-uid/epoch-1"


Now = Callable[[], datetime]


class Clock:
    """The store's time: it passes only when a story says so."""

    def __init__(self, now: datetime = datetime(2026, 5, 1, 2, 47, 10, 123456, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def a_spec(**changes: Any) -> RequestSpec:
    spec = RequestSpec(
        kind=Kind.TOOL_CALL,
        summary="refund 150.00 EUR to customer C-20817",
        requester="system:serviceaccount:shop:support",
        agent_pod="support-7d9c-x2x4q",
        agent_pod_uid="pod-uid",
        service_account="support",
        workload="deploy/support",
        session_id="s-1",
        call=CallShown("stripe", "create_refund", '{"amount":15000,"currency":"eur"}'),
        digest="19c4d2f8" * 8,
        key="19c4d2f8" * 8,
        sameness="5a" * 32,
        tier="confirm",
        requirements=(Requirement("support-leads", any_of=("support-leads",)),),
        timeout=900,
        patchable=("/amount",),
    )
    return replace(spec, **changes)


def two_people() -> RequestSpec:
    """A question that one approval or one denial does not settle."""
    return a_spec(requirements=(Requirement("leads", approvals=2),), denials_to_end=2)


def opening(clock: Now, spec: RequestSpec | None = None) -> RequestStatus:
    spec = spec or a_spec()
    return RequestStatus(expiration_time=clock() + timedelta(seconds=spec.timeout), requirements=spec.requirements)


def a_decision(
    request: ApprovalRequest, reviewer: str = "ana", decision: DecisionKind = DecisionKind.APPROVED, **changes: Any
) -> Decision:
    voted = Decision(reviewer, decision, request.spec.digest, request.uid, groups=("support-leads",))
    return replace(voted, **changes)


def a_denial(request: ApprovalRequest, reviewer: str = "ana") -> Decision:
    return a_decision(request, reviewer, DecisionKind.DENIED, reason="not this customer")


def a_note(request: ApprovalRequest, reviewer: str = "ana", n: int = 1, **changes: Any) -> Note:
    return replace(Note(reviewer, n, request.uid, NoteType.EXTEND, minutes=15), **changes)


def believed(request: ApprovalRequest) -> RequestStatus:
    """The hub's word that every vote counts."""
    entries = [Verified(each.reviewer, each.groups) for each in request.status.decisions]
    return with_verified(request, entries)


def approved_by(request: ApprovalRequest, now: datetime, *reviewers: str) -> ApprovalRequest:
    """The request as it would be with these votes, believed."""
    for reviewer in reviewers:
        request = replace(request, status=with_decision(request, a_decision(request, reviewer), now))
    return replace(request, status=believed(request))


def consumed(request: ApprovalRequest, now: datetime, *, by: str = SIDECAR) -> RequestStatus:
    """Released to `by`; the request must be ready."""
    status = consume(request, now, digest=request.spec.digest, by=by).status
    assert status is not None
    return status


def cancelled(request: ApprovalRequest, now: datetime) -> RequestStatus:
    return cancel(request, now, CancelReason.WITHDRAWN, "the agent no longer wants it")


def ended(request: ApprovalRequest, state: State, clock: Now) -> RequestStatus:
    """How a request that ana approved (Denied: denied), believed, comes to `state`; Expired: as who looks in time."""
    match state:
        case State.APPROVED:
            return approve_unheld(request, clock())
        case State.DENIED:
            status = settle(request, clock()).status
            assert status is not None
            return status
        case State.EXPIRED:
            return expire(request, deadline_of(request))
        case State.CANCELLED:
            return cancelled(request, clock())
        case State.CONSUMED:
            return consumed(request, clock())
        case _:
            raise AssertionError(state)


def with_a_round(status: RequestStatus) -> RequestStatus:
    """More time than onTimeout Abort grants."""
    assert status.expiration_time is not None
    return replace(status, rounds=1, expiration_time=status.expiration_time + timedelta(minutes=15))
