"""Requests for stories: a held refund at 02:47:10, people who vote on it through the real transitions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

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
    Verified,
)
from hitl.approvals.transitions import guard, with_decision, with_note, with_verified

ASKED = datetime(2026, 5, 1, 2, 47, 10, tzinfo=UTC)
DIGEST = "19c4d2f8" * 8
AGENT = "system:serviceaccount:shop:support"


def at(seconds: float) -> datetime:
    """So many seconds after the request was made."""
    return ASKED + timedelta(seconds=seconds)


def a_spec(**changes: Any) -> RequestSpec:
    call = CallShown("stripe", "create_refund", '{"amount":15000,"currency":"eur","customer":{"id":"C-20817"}}')
    spec = RequestSpec(
        kind=Kind.TOOL_CALL,
        summary="refund 150.00 EUR to customer C-20817",
        requester=AGENT,
        agent_pod="support-7d9c-x2x4q",
        agent_pod_uid="pod-uid",
        service_account="support",
        workload="deploy/support",
        session_id="s-1",
        call=call,
        digest=DIGEST,
        key=DIGEST,
        sameness="5a" * 32,
        tier="confirm",
        requirements=(),
        timeout=900,
        patchable=("/amount", "/customer"),
    )
    return replace(spec, **changes)


def a_request(status: RequestStatus | None = None, **changes: Any) -> ApprovalRequest:
    spec = a_spec(**changes)
    return ApprovalRequest(
        namespace="shop",
        name="create-refund-7f3kq00000",
        uid="0b9c-uid",
        version="1",
        created=ASKED,
        spec=spec,
        status=status or RequestStatus(),
    )


def a_decision(reviewer: str, decision: DecisionKind = DecisionKind.APPROVED, **changes: Any) -> Decision:
    return replace(Decision(reviewer, decision, DIGEST, "0b9c-uid"), **changes)


def a_note(reviewer: str, n: int = 1, type: NoteType = NoteType.EXTEND, **changes: Any) -> Note:  # noqa: A002  # the field's name
    note = Note(reviewer, n, "0b9c-uid", type)
    return replace(note, **({"minutes": 15} if type is NoteType.EXTEND else {}) | changes)


def voted(
    request: ApprovalRequest,
    reviewer: str,
    decision: DecisionKind = DecisionKind.APPROVED,
    *,
    when: float = 30,
    groups: tuple[str, ...] = (),
    factor: str = "",
    hardware: bool = False,
    verified: bool = True,
    refused: str = "",
    **changes: Any,
) -> ApprovalRequest:
    """The request after one more vote and the hub's word on it, each a write that the life cycle allows."""
    request = written(request, with_decision(request, a_decision(reviewer, decision, **changes), at(when)))
    if not verified:
        return request
    entry = Verified(reviewer, groups, factor, hardware, refused)
    return written(request, with_verified(request, [entry]))


def noted(request: ApprovalRequest, note: Note, *, when: float, verified: bool = True) -> ApprovalRequest:
    """The request after one more note, verified."""
    request = written(request, with_note(request, note, at(when)))
    if not verified:
        return request
    return written(request, with_verified(request, [Verified(note.reviewer, note=note.n)]))


def written(request: ApprovalRequest, status: RequestStatus) -> ApprovalRequest:
    """What a store holds after this write, which the life cycle must allow."""
    guard(request, status)
    return replace(request, status=status, version=str(int(request.version) + 1))
