"""The Hold stream: every hold and every Await of this sidecar on one stream, told apart by `ref`.

A dropped stream ends no request: whoever is still waited for is attached again, by handle where one is known.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

from grpc import aio

from hitl.errors import HitlError, Unavailable
from hitl.v1 import gate_pb2, hub_pb2
from hitl_sidecar.answers import GARBAGE
from hitl_sidecar.backoff import Backoff
from hitl_sidecar.hub import Hub, is_told_to_end, words_of

log = logging.getLogger(__name__)

_OPENING_FAILED = Unavailable("INTERNAL", "the gate failed to ask for this call; its log says why")
_GOES_ON = (gate_pb2.OUTCOME_PENDING, gate_pb2.OUTCOME_APPROVED)


class Followed(ABC):
    """One request that somebody here waits for."""

    __slots__ = ("handle", "ref")

    def __init__(self, handle: str = "") -> None:
        self.handle = handle
        self.ref = ""

    @abstractmethod
    def message(self) -> hub_pb2.HoldRequest:
        """What opens or attaches it, made when it is sent, so that thousands of holds do not keep thousands of specs.
        A HitlError goes to `failed`.
        """

    @abstractmethod
    def changed(self, state: hub_pb2.HoldResponse) -> None:
        """The hub says where the request stands. PENDING and APPROVED go on; everything else was the last word."""

    @abstractmethod
    def failed(self, error: HitlError) -> None:
        """It could not be opened or understood; nothing more will come."""


class HoldStream:
    """Follows requests. Opened with the first one, then kept."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._followed: dict[str, Followed] = {}
        self._count = 0
        self._outbox: deque[str] = deque()
        self._dropped: deque[str] = deque()
        self._wake = asyncio.Event()
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why the hub could not be reached the last time, for the log; empty while all is well."""
        return self._trouble

    def follow(self, followed: Followed) -> None:
        """Open or attach, and report every state, until its last word or `drop`."""
        self._count += 1
        followed.ref = str(self._count)
        self._followed[followed.ref] = followed
        self._outbox.append(followed.ref)
        self._wake.set()

    def drop(self, followed: Followed) -> None:
        """Nobody waits for it any more. The request stays."""
        if self._followed.pop(followed.ref, None) is not None:
            self._dropped.append(followed.ref)
            self._wake.set()

    async def run(self) -> None:
        """Connect, serve, come back, until cancelled."""
        backoff = Backoff()
        while True:
            await self._wake.wait()
            try:
                await self._stream(backoff)
                self._log_once("the hub ended the stream")
            except aio.AioRpcError as error:
                self._log_once(words_of(error))
            except asyncio.CancelledError:
                if is_told_to_end():
                    raise
                self._log_once("its channel was exchanged")
            await asyncio.sleep(backoff.wait())
            if self._followed:
                self._wake.set()

    async def _stream(self, backoff: Backoff) -> None:
        call = self._hub.stub.Hold(metadata=self._hub.metadata)
        self._dropped.clear()  # what another stream carried, this one does not know
        self._outbox = deque(self._followed)
        sender = asyncio.create_task(self._send(call))
        try:
            async for state in call:
                backoff.reset()
                self._trouble = ""
                self._receive(state)
        finally:
            sender.cancel()
            call.cancel()

    def _receive(self, state: hub_pb2.HoldResponse) -> None:
        followed = self._followed.get(state.ref)
        if followed is None:
            return  # dropped while the state was under way
        if state.handle:
            followed.handle = state.handle
        if state.outcome not in _GOES_ON:
            del self._followed[state.ref]
        try:
            followed.changed(state)
        except Exception as error:  # noqa: BLE001 - one state that cannot be understood must not end all other holds
            log.warning("the hub's answer for %s cannot be understood: %s", state.handle or state.ref, error)
            self.drop(followed)
            followed.failed(GARBAGE)

    async def _send(self, call: Any) -> None:
        try:
            while True:
                self._wake.clear()
                while self._dropped:
                    drop = hub_pb2.HoldRequest(ref=self._dropped.popleft(), drop=hub_pb2.DropHold())
                    await call.write(drop)
                if self._outbox:
                    await self._open(call, self._outbox.popleft())
                elif not self._dropped:
                    await self._wake.wait()
        except (aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the reader of the same stream sees the same end and says why

    async def _open(self, call: Any, ref: str) -> None:
        followed = self._followed.get(ref)
        if followed is None:
            return
        try:
            message = followed.message()
        except Exception as error:
            if not isinstance(error, HitlError):
                log.exception("a hold could not be opened")
            del self._followed[ref]
            followed.failed(error if isinstance(error, HitlError) else _OPENING_FAILED)
            return
        message.ref = ref
        await call.write(message)

    def _log_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("holds wait for the hub at %s: %s", self._hub.address, trouble)
