"""Requests as sidecars are told of them."""

from dataclasses import replace

import orjson

from hitl.approvals.messages import AgentOutcome, Answer, answer
from hitl.approvals.opening import Refuse
from hitl.approvals.requests import ApprovalRequest, Decision, Kind
from hitl.approvals.settlement import Outcome
from hitl.approvals.timeline import deadline_of
from hitl.v1 import gate_pb2, hub_pb2
from hitl.wire.requests import proof_of, result_to_proto, review_of, terms_to_json
from hitl_operator.tracking import Open

_OUTCOMES: dict[AgentOutcome, gate_pb2.Outcome] = {
    each: getattr(gate_pb2, f"OUTCOME_{each.value}") for each in AgentOutcome
}
_GOES_ON = (gate_pb2.OUTCOME_PENDING, gate_pb2.OUTCOME_APPROVED)


def hold_response(ref: str, entry: Open, *, attached: bool, release_window: int) -> hub_pb2.HoldResponse:
    """Where a request stands, for one who waits on it. `entry.found` must be set."""
    found, request = entry.found, entry.judged or entry.request
    assert found is not None, "an entry is settled before anybody is told of it"
    told = answer(request, found, release_window=release_window)
    response = hub_pb2.HoldResponse(
        ref=ref,
        handle=request.handle,
        outcome=outcome_to_proto(told),
        ready=is_ready(entry),
        reason_code=told.reason_code,
        message=told.message,
        reviews=reviews_of(request),
        proofs=[proof_of(decision) for decision in _counted(request)],
        checkpoint=request.spec.checkpoint,
        reported_result=result_to_proto(request.status.result),
        terms_json=terms_to_json(request.spec),
        attached=attached,
        traceparent=request.spec.traceparent,
    )
    response.create_time.FromDatetime(request.created)
    response.expire_time.FromDatetime(deadline_of(replace(request, status=found.status or request.status)))
    if found.edit is not None:
        response.arguments_patch_json = orjson.dumps(found.edit.patch, default=dict)
        response.editor = found.edit.editor
    return response


def is_ready(entry: Open) -> bool:
    """Whether the call may be judged again and consumed now."""
    found = entry.found
    is_call = entry.request.spec.kind is Kind.TOOL_CALL
    return is_call and found is not None and found.outcome in (Outcome.READY, Outcome.APPROVED)


def goes_on(response: hub_pb2.HoldResponse) -> bool:
    """Whether more may follow on the same ref (hub.proto)."""
    return response.outcome in _GOES_ON


def refusal_response(ref: str, namespace: str, refused: Refuse) -> hub_pb2.HoldResponse:
    """Nobody was asked; the handle is that of the request that says why, if one does."""
    return hub_pb2.HoldResponse(
        ref=ref,
        handle=f"{namespace}/{refused.earlier}" if refused.earlier else "",
        outcome=outcome_to_proto(refused.answer),
        reason_code=refused.answer.reason_code,
        message=refused.answer.message,
    )


def problem_response(ref: str, outcome: gate_pb2.Outcome, reason_code: str, message: str) -> hub_pb2.HoldResponse:
    """This one step of the stream came to nothing; the stream goes on."""
    return hub_pb2.HoldResponse(ref=ref, outcome=outcome, reason_code=reason_code, message=message)


def outcome_to_proto(told: Answer) -> gate_pb2.Outcome:
    """The wire's word for an outcome."""
    return _OUTCOMES[told.outcome]


def reviews_of(request: ApprovalRequest) -> list[gate_pb2.Review]:
    """The words of those whose decisions count, or counted when they were taken."""
    return [review_of(decision) for decision in _counted(request)]


def _counted(request: ApprovalRequest) -> list[Decision]:
    counted = {entry.reviewer for entry in request.status.verified if entry.note == 0 and not entry.refused}
    return [decision for decision in request.status.decisions if decision.reviewer in counted]
