"""Await: follow a request by its handle without holding the call. It releases nothing, so it needs no arguments."""

import asyncio

from hitl.errors import HitlError, Unavailable
from hitl.v1 import gate_pb2, hub_pb2
from hitl_sidecar.hold_stream import Followed, HoldStream
from hitl_sidecar.hub import unreachable

_FIRST_WITHIN = 5.0  # seconds for the hub's first word
# What may be answered; a hub that says anything else (ALLOWED above all) is not understood.
_ANSWERS = frozenset(
    {
        gate_pb2.OUTCOME_APPROVED,
        gate_pb2.OUTCOME_PENDING,
        gate_pb2.OUTCOME_DENIED,
        gate_pb2.OUTCOME_EXPIRED,
        gate_pb2.OUTCOME_CANCELLED,
        gate_pb2.OUTCOME_SUGGESTED,
        gate_pb2.OUTCOME_ALREADY_RELEASED,
        gate_pb2.OUTCOME_UNAVAILABLE,
        gate_pb2.OUTCOME_INVALID,
    }
)


class Watch(Followed):
    """One Await."""

    __slots__ = ("_changed", "_epoch", "error", "state")

    def __init__(self, handle: str, epoch: str) -> None:
        super().__init__(handle)
        self._epoch = epoch
        self._changed = asyncio.Event()
        self.state: hub_pb2.HoldResponse | None = None
        self.error: HitlError | None = None

    def message(self) -> hub_pb2.HoldRequest:
        watch = hub_pb2.WatchHold(handle=self.handle, epoch=self._epoch, holding=False)
        return hub_pb2.HoldRequest(watch=watch)

    def changed(self, state: hub_pb2.HoldResponse) -> None:
        self.state = state
        self._changed.set()

    def failed(self, error: HitlError) -> None:
        self.error = error
        self._changed.set()

    async def news(self, seconds: float) -> bool:
        """Wait for the next word; whether one came in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True


async def await_request(stream: HoldStream, epoch: str, handle: str, seconds: float) -> gate_pb2.AwaitResponse:
    """Follow a request until it is decided, for at most so many seconds; at least until the hub's first word.

    Raises:
        Unavailable: the hub does not answer.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    watch = Watch(handle, epoch)
    stream.follow(watch)
    try:
        if not await watch.news(_FIRST_WITHIN):
            raise unreachable()
        while watch.error is None and watch.state is not None and watch.state.outcome == gate_pb2.OUTCOME_PENDING:
            if not await watch.news(max(0.0, until - loop.time())):
                break
    finally:
        stream.drop(watch)
    if watch.error is not None or watch.state is None:
        raise watch.error or unreachable()
    return _response(watch.state)


def _response(state: hub_pb2.HoldResponse) -> gate_pb2.AwaitResponse:
    if state.outcome not in _ANSWERS:
        raise Unavailable("HUB_GARBAGE", "the hub's answer cannot be understood; hub and sidecar differ in release")
    response = gate_pb2.AwaitResponse(
        outcome=state.outcome,
        message=state.message,
        reviews=state.reviews,
        checkpoint=state.checkpoint,
        reported_result=state.reported_result,
    )
    if state.outcome == gate_pb2.OUTCOME_PENDING and state.HasField("expire_time"):
        response.expire_time.CopyFrom(state.expire_time)
    return response
