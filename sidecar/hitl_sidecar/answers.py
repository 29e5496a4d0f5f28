"""The gate's answers: outcome, stable reason code, and a sentence that tells the model what to do next (UX 8).

The words are those of `hitl.approvals.messages`, the hub's, or the evaluation's; here they become responses. Denied,
expired, cancelled, unavailable and invalid stay five different answers with five different next steps (I9).
"""

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from hitl.approvals import messages
from hitl.errors import InvalidCall, Unavailable
from hitl.policy.escaping import as_plain
from hitl.v1 import gate_pb2, hub_pb2

# Codes of evaluation and hub that are one thing to an agent: too much at once, come back later.
_LIMITS: Final = frozenset({"LIMIT", "FLOOD", "MAX_PENDING"})
_RETRY_SECONDS: Final = 5  # people do not answer faster, and each attempt costs the hub a look
_LIMIT_SECONDS: Final = 60  # flood control looks back one minute

# What a hub may say that a call ended as. ALLOWED is not among them: only Consume releases (I1).
ENDINGS: Final = frozenset(
    {
        gate_pb2.OUTCOME_DENIED,
        gate_pb2.OUTCOME_EXPIRED,
        gate_pb2.OUTCOME_CANCELLED,
        gate_pb2.OUTCOME_SUGGESTED,
        gate_pb2.OUTCOME_UNAVAILABLE,
        gate_pb2.OUTCOME_ALREADY_RELEASED,
        gate_pb2.OUTCOME_INVALID,
    }
)
GARBAGE: Final = Unavailable("HUB_GARBAGE", "the hub's answer cannot be understood; hub and sidecar differ in release")


def of(answer: messages.Answer, *, handle: str = "") -> gate_pb2.CheckResponse:
    """A shared answer on the wire."""
    response = gate_pb2.CheckResponse(
        outcome=f"OUTCOME_{answer.outcome}",
        reason_code=public_reason(answer.reason_code),
        message=answer.message,
        handle=handle,
    )
    hint(response)
    return response


def invalid(error: InvalidCall) -> gate_pb2.CheckResponse:
    return of(messages.invalid(as_plain(str(error))))


def unavailable(error: Unavailable, handle: str = "") -> gate_pb2.CheckResponse:
    """`handle`: of a request that stays although the gate cannot wait for it now. The error's text is one clause."""
    return of(messages.unavailable(error.reason_code, as_plain(str(error)).rstrip(".")), handle=handle)


def refused(code: str, message: str, verdict: gate_pb2.Verdict) -> gate_pb2.CheckResponse:
    """DENIED by evaluation."""
    response = gate_pb2.CheckResponse(
        outcome=gate_pb2.OUTCOME_DENIED, reason_code=public_reason(code), message=message, verdict=verdict
    )
    hint(response)
    return response


def ended(state: hub_pb2.HoldResponse) -> gate_pb2.CheckResponse:
    """What the hub says that a call ended as; UNAVAILABLE where that is nothing a hub may say."""
    if state.outcome not in ENDINGS:
        return unavailable(GARBAGE, state.handle)
    response = gate_pb2.CheckResponse(
        outcome=state.outcome,
        handle=state.handle,
        reason_code=public_reason(state.reason_code),
        message=state.message,
        reviews=state.reviews,
        checkpoint=state.checkpoint,
    )
    hint(response)
    return response


def already_released(handle: str) -> messages.Answer:
    return messages.Answer(
        messages.AgentOutcome.ALREADY_RELEASED,
        "PERMIT_SPENT",
        f"{handle} was released to another caller of this call_id and may have run. It does not run twice; to do it "
        "once more, send a new call_id.",
    )


def release_unknown(handle: str) -> messages.Answer:
    return messages.Answer(
        messages.AgentOutcome.ALREADY_RELEASED,
        "RELEASE_UNKNOWN",
        f"{handle} was released, but the hub's answer was lost on the way, so the gate did not let it run and never "
        "will. To do it, make the call once more with a new call_id.",
    )


def hint(response: gate_pb2.CheckResponse) -> None:
    """Say when it makes sense to come back, where it does."""
    if response.outcome in (gate_pb2.OUTCOME_PENDING, gate_pb2.OUTCOME_UNAVAILABLE):
        response.retry_after.seconds = _RETRY_SECONDS
    elif response.outcome == gate_pb2.OUTCOME_DENIED and response.reason_code == "LIMIT":
        response.retry_after.seconds = _LIMIT_SECONDS


def public_reason(code: str) -> str:
    """The reason code as agents see it."""
    return "LIMIT" if code in _LIMITS else code


def timestamp(seconds: float) -> Timestamp:
    """`seconds`: wall clock."""
    whole = int(seconds)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))
