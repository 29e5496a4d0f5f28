"""The connection to the hub and its single-answer methods. A gRPC error is `Unavailable`, never an answer."""

from collections.abc import Sequence
from typing import Any

import grpc
from grpc import aio

from hitl.errors import HitlError, InvalidInput, NotFound, Refused, Unavailable
from hitl.policy.calls import Agent
from hitl.policy.escaping import as_plain
from hitl.v1 import gate_pb2, hub_pb2, hub_pb2_grpc
from hitl.wire.identity import AGENT_METADATA, agent_to_metadata

Metadata = tuple[tuple[str, str | bytes], ...]

_ANSWER_WITHIN = 5.0  # seconds; a hub answers in milliseconds or is not there
_LONGEST_REASON = 1000  # characters that the hub stores of it
_LARGEST = 16 * 1024 * 1024  # bytes of one message: a config with a few thousand rules
_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.max_send_message_length", _LARGEST),
    # gRPC's own reconnect backoff begins at one second; ours begins at a tenth and must not wait for it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.enable_retries", 0),  # whether to ask again is decided by who asked: Consume is not a read
    ("grpc.use_local_subchannel_pool", 1),
)


class Hub:
    """One channel to the hub. `stub` and `metadata` serve the two streams, the methods here the rest."""

    def __init__(self, address: str, agent: Agent) -> None:
        """`address`: gRPC's form, e.g. ``unix:/home/me/.hitl/hub.sock``. `agent`: what a sidecar says it is."""
        self.address = address
        self.metadata: Metadata = ((AGENT_METADATA, agent_to_metadata(agent)),)
        self._channel = aio.insecure_channel(address, options=_OPTIONS)
        self.stub: Any = hub_pb2_grpc.HubServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    async def consume(self, request: hub_pb2.ConsumeRequest) -> hub_pb2.ConsumeResponse:
        """Unavailable: it is unknown whether the request was consumed. NotFound: there is no such request."""
        answer: hub_pb2.ConsumeResponse = await self._ask(self.stub.Consume, request)
        return answer

    async def cancel(self, handle: str, reason: str, condition_reason: str) -> gate_pb2.Outcome:
        """What became of the request. Unavailable: unknown; cancelling is idempotent. NotFound: there is none."""
        request = hub_pb2.HubServiceCancelRequest(
            handle=handle, reason=as_plain(reason)[:_LONGEST_REASON], condition_reason=condition_reason
        )
        answer = await self._ask(self.stub.Cancel, request)
        outcome: gate_pb2.Outcome = answer.outcome
        return outcome

    async def report(self, handle: str, result: gate_pb2.Result, epoch: str) -> None:
        """Unavailable: unknown; reporting is idempotent. Refused: another end was reported before."""
        await self._ask(self.stub.Report, hub_pb2.HubServiceReportRequest(handle=handle, result=result, epoch=epoch))

    async def _ask(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=_ANSWER_WITHIN, metadata=self.metadata)
        except aio.AioRpcError as error:
            raise meaning_of(error) from error

    async def close(self) -> None:
        await self._channel.close(None)


def meaning_of(error: aio.AioRpcError) -> HitlError:
    """A gRPC status as the hub means it. Whatever is no word of the hub's is no answer: Unavailable."""
    details = error.details() or "no details"
    match error.code():
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(details)
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidInput(details)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return Refused(details)
        case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.UNAUTHENTICATED:
            return Unavailable("HUB_REFUSED", f"the hub does not accept this sidecar: {details}")
        case code:
            return Unavailable("HUB_UNREACHABLE", f"the hub cannot be reached ({code.name}: {details})")
