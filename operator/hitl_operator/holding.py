"""One Hold stream: all holds of a sidecar, told apart by ref, each told whenever its request changed.

Small per hold and bounded under load: a ref keeps a few words, changes that were not yet sent are merged into the
newest, and no more opens are worked on at once than a batch of the store takes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, assert_never

from hitl.approvals.opening import Refuse
from hitl.errors import Forbidden, InvalidInput, NotFound, StoreError, Unavailable
from hitl.v1 import gate_pb2, hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.logs import Log
from hitl_operator.opening import Opened
from hitl_operator.rendering import (
    goes_on,
    hold_response,
    problem_response,
    refusal_response,
)
from hitl_operator.tracking import Open

_AT_ONCE = 512  # opens of one stream in flight: two batches of the store
_MOST_REFS = 100_000  # holds and Awaits of one sidecar; each takes some 500 bytes
_LONGEST_REF = 64
_NO_SUCH = "There is no such request of this workload. Nothing ran. Make the call again to ask again."
_TOO_MANY = "Too many holds and Awaits of this sidecar wait already. Nothing ran. Let some of them end, then try again."
_EMPTY = "A hold must open, watch or drop; hub and sidecar differ in release."
# Where the store stands and why it does not answer is for the log: an agent can do nothing about it.
_STORE_AWAY = "Nobody can be asked now: the hub's store does not answer. Nothing ran. Try again later."
_INTERNAL = "The hub stumbled over this request; its log says why. Nothing ran. Try again later."

_log = Log(__name__)


class HoldDesk(Protocol):
    """What a stream needs of the hub."""

    async def open(self, identity: Identity, wish: hub_pb2.OpenHold) -> Opened | Refuse:
        """The request for a call. InvalidInput, StoreError."""
        ...

    async def find(self, identity: Identity, handle: str) -> Open:
        """A request of this workload, settled. NotFound, Forbidden, StoreError."""
        ...

    def attend(self, entry: Open) -> None:
        """Somebody waits on it from now on."""
        ...

    def release_window(self) -> int:
        """Seconds that an approval waits for its call."""
        ...


class Ref:
    """One hold or Await on a stream; the `Waiter` of its request."""

    __slots__ = ("attached", "entry", "is_holding", "name", "sent", "stream")

    def __init__(self, stream: "HoldStream", name: str) -> None:
        self.stream = stream
        self.name = name
        self.is_holding = False
        self.attached = False
        self.entry: Open | None = None
        # What was told last: version of the request and outcome. Whatever a sidecar is told follows from these.
        self.sent: tuple[str, str] | None = None

    def wake(self) -> None:
        """As `Waiter.wake`."""
        self.stream.mark(self)

    def say_again(self) -> None:
        """Tell once more what was told last."""
        self.sent = None
        self.stream.mark(self)

    def leave(self) -> None:
        """Nobody waits on this ref any more."""
        if self.entry is not None and self in self.entry.waiters:
            self.entry.waiters.remove(self)
        self.entry = None


class HoldStream:
    """The hub's end of one stream."""

    def __init__(self, identity: Identity, desk: HoldDesk) -> None:
        self.identity = identity
        self.epoch = ""
        self._desk = desk
        self._refs: dict[str, Ref] = {}
        self._news: dict[str, hub_pb2.HoldResponse | None] = {}
        self._wake = asyncio.Event()
        self._told = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def mark(self, ref: Ref) -> None:
        """There is something to tell; several changes before it is told become one."""
        self._news.setdefault(ref.name, None)
        self._wake.set()

    async def serve(
        self,
        read: Callable[[], Awaitable[hub_pb2.HoldRequest | None]],
        write: Callable[[hub_pb2.HoldResponse], Awaitable[None]],
    ) -> None:
        """Serve until `read` gives None or raises; every wait on this stream ends with it, no request does."""
        reader = asyncio.create_task(self._read(read))
        writer = asyncio.create_task(self._write(write))
        try:
            done, _ = await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for ref in self._refs.values():  # before anything is awaited: a second cancel ends us there
                ref.leave()
            self._refs.clear()
            for task in (reader, writer, *self._tasks):
                task.cancel()
            await asyncio.gather(reader, writer, *self._tasks, return_exceptions=True)

    async def _read(self, read: Callable[[], Awaitable[hub_pb2.HoldRequest | None]]) -> None:
        while (message := await read()) is not None:
            while len(self._news) >= _MOST_REFS:  # a peer that asks and does not read is not heard before it does
                self._told.clear()
                await self._told.wait()
            name = message.ref
            kind = message.WhichOneof("message")
            if not name or len(name) > _LONGEST_REF:
                raise InvalidInput(f"ref: must have 1 to {_LONGEST_REF} characters")
            if kind == "drop":
                self._news.pop(name, None)
                ref = self._refs.pop(name, None)
                if ref is not None:
                    ref.leave()
                continue
            if name in self._refs:
                raise InvalidInput(f"ref {name!r} is in use on this stream; choose another")
            if len(self._refs) >= _MOST_REFS:
                # On this ref alone: one agent that waits too often must not end the holds of the others.
                self._news[name] = problem_response(name, gate_pb2.OUTCOME_UNAVAILABLE, "LIMIT", _TOO_MANY)
                self._wake.set()
                continue
            ref = self._refs[name] = Ref(self, name)
            await self._slots.acquire()
            task = asyncio.create_task(self._start(ref, message))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._slots.release()

    async def _start(self, ref: Ref, message: hub_pb2.HoldRequest) -> None:
        """First answer on a ref. Whatever goes wrong is an answer too, and ends this ref alone."""
        try:
            kind: Literal["open", "watch"] | None = message.WhichOneof("message")  # a drop never gets here
            match kind:
                case "open":
                    self._know_epoch(message.open.epoch)
                    opened = await self._desk.open(self.identity, message.open)
                    if isinstance(opened, Refuse):
                        self._say(ref, refusal_response(ref.name, self.identity.agent.namespace, opened))
                        return
                    ref.is_holding, ref.attached = True, opened.attached
                    self._wait_on(ref, opened.entry)
                case "watch":
                    self._know_epoch(message.watch.epoch)
                    entry = await self._desk.find(self.identity, message.watch.handle)
                    ref.is_holding, ref.attached = message.watch.holding, True
                    self._wait_on(ref, entry)
                case None:
                    self._say(ref, problem_response(ref.name, gate_pb2.OUTCOME_INVALID, "INVALID_REQUEST", _EMPTY))
                case other:
                    assert_never(other)
        except InvalidInput as error:
            self._say(ref, problem_response(ref.name, gate_pb2.OUTCOME_INVALID, "INVALID_REQUEST", str(error)))
        except (NotFound, Forbidden) as error:
            # The same answer for both: whether a foreign request exists is nobody's business (SECURITY B4).
            self._say(ref, problem_response(ref.name, gate_pb2.OUTCOME_INVALID, "NO_SUCH_REQUEST", _NO_SUCH))
            _log.warning("watch-refused", workload=self.identity.agent.workload, problem=error)
        except StoreError as error:
            _log.error("open-failed", workload=self.identity.agent.workload, problem=error)
            self._say(ref, problem_response(ref.name, gate_pb2.OUTCOME_UNAVAILABLE, "STORE_UNAVAILABLE", _STORE_AWAY))
        except Unavailable as error:
            self._say(ref, problem_response(ref.name, gate_pb2.OUTCOME_UNAVAILABLE, error.reason_code, str(error)))
        except Exception:  # noqa: BLE001 - one hold we stumble over must not end thousands of others
            _log.exception("open-defect", workload=self.identity.agent.workload)
            self._say(ref, problem_response(ref.name, gate_pb2.OUTCOME_UNAVAILABLE, "INTERNAL", _INTERNAL))

    def _know_epoch(self, epoch: str) -> None:
        if not epoch or len(epoch) > _LONGEST_REF or (self.epoch and epoch != self.epoch):
            raise InvalidInput("epoch: must be that of the sidecar process, the same all through the stream")
        self.epoch = epoch

    def _wait_on(self, ref: Ref, entry: Open) -> None:
        if self._refs.get(ref.name) is not ref:
            return  # dropped while it was being opened
        ref.entry = entry
        entry.waiters.append(ref)
        self._desk.attend(entry)
        if entry.found is not None:
            self.mark(ref)

    def _say(self, ref: Ref, response: hub_pb2.HoldResponse) -> None:
        """A last word on a ref."""
        if self._refs.get(ref.name) is ref:
            del self._refs[ref.name]
            self._news[ref.name] = response
            self._wake.set()

    async def _write(self, write: Callable[[hub_pb2.HoldResponse], Awaitable[None]]) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._news:
                name = next(iter(self._news))
                response = self._news.pop(name) or self._rendered(name)
                self._told.set()
                if response is not None:
                    await write(response)

    def _rendered(self, name: str) -> hub_pb2.HoldResponse | None:
        """What to tell now; None if that was told already."""
        ref = self._refs.get(name)
        if ref is None or ref.entry is None or ref.entry.found is None:
            return None
        told = ref.entry.request.version, ref.entry.found.outcome.value
        if ref.sent == told:
            return None
        ref.sent = told
        response = hold_response(name, ref.entry, attached=ref.attached, release_window=self._desk.release_window())
        if not goes_on(response):
            del self._refs[name]
            ref.leave()
        return response


def holder_of(entry: Open, identity: Identity, epoch: str) -> Ref | None:
    """Where this very sidecar process holds the call of a request, on a stream that is open now (SECURITY D2)."""
    for waiter in entry.waiters:
        if not isinstance(waiter, Ref) or not waiter.is_holding:
            continue
        if (waiter.stream.identity.agent.pod_uid, waiter.stream.epoch) == (identity.agent.pod_uid, epoch):
            return waiter
    return None
