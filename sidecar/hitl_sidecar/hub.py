"""The connection to the hub and its single-answer methods. A gRPC error is `Unavailable`, never an answer.

What a gRPC error says is for operators: it names addresses, commands and what the hub knows of pods. It stands in the
log (`words_of`); an agent reads one sentence that is always the same (`meaning_of`).
"""

import asyncio
import logging
from typing import Any

import grpc
from grpc import aio

from hitl.errors import HitlError, InvalidInput, NotFound, Refused, Unavailable
from hitl.policy.calls import Agent
from hitl.policy.escaping import as_plain
from hitl.v1 import gate_pb2, hub_pb2, hub_pb2_grpc
from hitl.wire.identity import AGENT_METADATA, agent_to_metadata
from hitl_sidecar.hub_channel import HubTrust, open_channel

log = logging.getLogger(__name__)

Metadata = tuple[tuple[str, str | bytes], ...]

_ANSWER_WITHIN = 5.0  # seconds; a hub answers in milliseconds or is not there
# Longer than a hub waits for its own store (10 s): of a release its word is heard, if there is one. Where it is not,
# the call counts as released and never runs (SECURITY D2), and people decided for nothing.
_RELEASE_WITHIN = 12.0
_SHIP_WITHIN = 60.0  # an archive lets those wait who hand over much
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
        self._trouble = ""
        self._ca = trust.read_ca() if trust else b""
        self._closing: dict[asyncio.Task[None], Any] = {}
        self._use(open_channel(address, trust, self._ca))

    def _use(self, channel: Any) -> None:
        self._channel = channel
        self.stub: Any = hub_pb2_grpc.HubServiceStub(channel)  # type: ignore[no-untyped-call]  # generated

    async def renew_trust(self) -> None:
        """Connect anew if the CA has changed: a channel goes by the one that it was opened with. For when a stream of
        it has ended, because it ends all of them.
        """
        if self._trust is None:
            return
        try:
            ca = await asyncio.to_thread(self._trust.read_ca)
        except Unavailable:
            return  # the one that was read before stands
        if ca != self._ca:
            self._ca, old = ca, self._channel
            self._use(open_channel(self.address, self._trust, ca))
            # A release under way is heard to its end; a stream that is left then comes back over the new channel.
            closing = asyncio.create_task(old.close(_RELEASE_WITHIN))
            self._closing[closing] = old
            closing.add_done_callback(lambda task: self._closing.pop(task, None))

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

    async def ship(self, lines: bytes) -> bool:
        """Whether there is an archive; then these lines of the audit log are on its disk. Unavailable: unknown."""
        answer = await self._ask(self.stub.Ship, hub_pb2.ShipRequest(lines=lines), within=_SHIP_WITHIN)
        return bool(answer.archived)

    async def _ask(self, method: Any, request: Any, within: float = _ANSWER_WITHIN) -> Any:
        try:
            answer = await method(request, timeout=within, metadata=self.metadata)
        except aio.AioRpcError as error:
            meaning = meaning_of(error)
            if isinstance(meaning, Unavailable) and (trouble := words_of(error)) != self._trouble:
                self._trouble = trouble
                log.warning("the hub at %s: %s", self.address, trouble)
            raise meaning from error
        except asyncio.CancelledError:
            if is_told_to_end():
                raise
            raise unreachable() from None
        self._trouble = ""
        return answer

    async def close(self) -> None:
        for closing, old in list(self._closing.items()):
            closing.cancel()
            await old.close(None)
        await self._channel.close(None)


def is_told_to_end() -> bool:
    """Whether this task is cancelled, or only the call that it waits for because its channel was closed: gRPC says both
    with the same exception.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def meaning_of(error: aio.AioRpcError) -> HitlError:
    """A gRPC status as the hub means it, for agents. Whatever is no word of the hub's is no answer: Unavailable."""
    details = error.details() or "no details"
    match error.code():
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(details)
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidInput(details)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return Refused(details)
        case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.UNAUTHENTICATED:
            return Unavailable("HUB_REFUSED", "the hub, through which people are asked, does not accept this gate")
        case _:
            return unreachable()


def unreachable() -> Unavailable:
    """What an agent reads where the hub gave no answer at all."""
    return Unavailable("HUB_UNREACHABLE", "the hub, through which people are asked, does not answer")


def words_of(error: aio.AioRpcError) -> str:
    """All that is known of a failure, for the log."""
    details = error.details() or "no details"
    match error.code():
        case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.UNAUTHENTICATED:
            return f"it does not accept this sidecar: {details}"
        case code:
            return f"it cannot be reached ({code.name}: {details})"
