"""The threads on which a store works, so that the event loop never waits for a disk.

A lane is a queue of jobs with one or more threads behind it, each with a connection of its own. The writing lane has
one thread, which takes all jobs that wait into one transaction: a commit costs one fsync, however many share it.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from hitl.errors import StoreUnavailable

W = TypeVar("W")
W_co = TypeVar("W_co", covariant=True)
R = TypeVar("R")

# What became of one job: its result, or what it raised.
Outcome: TypeAlias = tuple[object, BaseException | None]
Job: TypeAlias = Callable[[W], object]


class Desk(Protocol[W_co]):
    """Where one thread works. Its methods are called from that thread alone."""

    def serve(self, jobs: Sequence[Job[W_co]]) -> list[Outcome]:
        """Do these jobs and say what became of each. Raises nothing."""
        ...

    def close(self) -> None: ...


class Lane(Generic[W]):
    """Jobs from one event loop, done by threads. It has none until it is staffed.

    Args:
        name: of the threads, for a debugger.
        at_once: how many waiting jobs one thread takes together.
        delivered: called on the loop after results were handed out.
    """

    def __init__(self, name: str, *, at_once: int = 1, delivered: Callable[[], None] = lambda: None) -> None:
        self._name = name
        self._at_once = at_once
        self._delivered = delivered
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[Job[W], asyncio.Future[object]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    async def staff(self, make: Callable[[], Desk[W]]) -> None:
        """Start one more thread at a desk of its own, made on that thread; raises what making it raises."""
        ready: asyncio.Future[object] = self._loop.create_future()
        # Daemons: a program that forgets to close its store still ends; what was acknowledged is on the disk.
        thread = threading.Thread(target=self._work, args=(make, ready), name=self._name, daemon=True)
        self._threads.append(thread)
        thread.start()
        await ready

    async def do(self, job: Callable[[W], R]) -> R:
        """The job's result or what it raised. Cancelling the caller drops the job if it has not begun."""
        if self._is_closed:
            raise StoreUnavailable("this store is closed; open it again")
        future: asyncio.Future[object] = self._loop.create_future()
        self._queue.put((job, future))
        return await future  # type: ignore[return-value]  # the queue carries jobs of every result

    async def close(self) -> None:
        """Finish what waits, take nothing more."""
        if not self._is_closed:
            self._is_closed = True
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _work(self, make: Callable[[], Desk[W]], ready: asyncio.Future[object]) -> None:
        try:
            desk = make()
        except Exception as error:  # noqa: BLE001 - it is raised again where the desk was asked for
            self._hand_out([ready], [(None, error)])
            return
        try:
            self._hand_out([ready], [(None, None)])
            while self._serve_next(desk):
                pass
        finally:
            desk.close()

    def _serve_next(self, desk: Desk[W]) -> bool:
        """Serves what waits, at least one job; False once the lane is closed and empty."""
        entry = self._queue.get()
        taken = []
        while entry is not None:
            if not entry[1].cancelled():
                taken.append(entry)
            if len(taken) >= self._at_once:
                break
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                break
        if taken:
            self._hand_out([future for _, future in taken], desk.serve([job for job, _ in taken]))
        return entry is not None

    def _hand_out(self, futures: list[asyncio.Future[object]], outcomes: list[Outcome]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it whoever waited
            self._loop.call_soon_threadsafe(self._deliver, futures, outcomes)

    def _deliver(self, futures: list[asyncio.Future[object]], outcomes: list[Outcome]) -> None:
        for future, (result, error) in zip(futures, outcomes, strict=True):
            if future.cancelled():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
        self._delivered()
