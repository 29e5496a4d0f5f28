"""The connection to the hub and its single-answer methods. A gRPC error is `Unavailable`, never an answer."""

import asyncio
from typing import Any

import grpc
from grpc import aio

from hitl.errors import HitlError, InvalidInput, NotFound, Refused, Unavailable
from hitl.policy.calls import Agent
from hitl.policy.escaping import as_plain
from hitl.v1 import gate_pb2, hub_pb2, hub_pb2_grpc
from hitl.wire.identity import AGENT_METADATA, agent_to_metadata
from hitl_sidecar.hub_channel import HubTrust, open_channel

Metadata = tuple[tuple[str, str | bytes], ...]

_ANSWER_WITHIN = 5.0  # seconds; a hub answers in milliseconds or is not there
# Longer than a hub waits for its own store (10 s): of a release its word is heard, if there is one. Where it is not,
# the call counts as released and never runs (SECURITY D2), and people decided for nothing.
_RELEASE_WITHIN = 12.0
_LONGEST_REASON = 1000  # characters that the hub stores of it


class Hub:
    """One channel to the hub. `stub` and `metadata` serve the two streams, the methods here the rest."""

    def __init__(self, address: str, agent: Agent, *, trust: HubTrust | None = None) -> None:
        """Connects when it is used.

        Args:
            address: gRPC's form, as `hub_channel.target_of` gives it.
            agent: what a standalone sidecar says it is; over TLS its token says that.
            trust: None for a socket of this account.

        Raises:
            Unavailable: HUB_TRUST, where the CA cannot be read.
        """
        self.address = address
        self.metadata: Metadata = () if trust else ((AGENT_METADATA, agent_to_metadata(agent)),)
        self._trust = trust
        self._ca = trust.read_ca() if trust else b""
        self._use(open_channel(address, trust, self._ca))

    def _use(self, channel: Any) -> None:
        self._channel = channel
        self.stub: Any = hub_pb2_grpc.HubServiceStub(channel)  # type: ignore[no-untyped-call]  # generated

    async def renew_trust(self) -> None:
        """Connect anew if the CA has changed: a channel goes by the one that it was opened with. For when it fails."""
        if self._trust is None:
            return
        try:
            ca = await asyncio.to_thread(self._trust.read_ca)
        except Unavailable:
            return  # the one that was read before stands
        if ca != self._ca:
            self._ca, old = ca, self._channel
            self._use(open_channel(self.address, self._trust, ca))
            await old.close(None)

    async def consume(self, request: hub_pb2.ConsumeRequest) -> hub_pb2.ConsumeResponse:
        """Unavailable: it is unknown whether the request was consumed. NotFound: there is no such request."""
        answer: hub_pb2.ConsumeResponse = await self._ask(self.stub.Consume, request, within=_RELEASE_WITHIN)
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

    async def _ask(self, method: Any, request: Any, within: float = _ANSWER_WITHIN) -> Any:
        try:
            return await method(request, timeout=within, metadata=self.metadata)
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
