"""When which open request is to be looked at again: one heap for all of them, never a timer for each hold."""

import asyncio
import contextlib
import heapq
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from hitl_operator.tracking import Open, Tracker

_IDLE: Final = 10_000  # turns in the heap that may be nobody's any more
_LONGEST_SLEEP: Final = 1.0  # seconds; a wall clock that jumps is noticed so fast


class Timers:
    """Turns of the requests in a `Tracker`."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._heap: list[tuple[float, str]] = []
        self._sooner = asyncio.Event()

    def call_at(self, entry: Open, due: datetime) -> None:
        """Look again then; a later time replaces an earlier one, whose turn in the heap is passed over."""
        moment = due.timestamp()
        if entry.due == moment:
            return
        entry.due = moment
        heapq.heappush(self._heap, (moment, entry.request.handle))
        if len(self._heap) > 2 * len(self._tracker.open) + _IDLE:
            # Requests that ended long before their time would stay here until it comes.
            self._heap = [(each.due, handle) for handle, each in self._tracker.open.items() if each.due]
            heapq.heapify(self._heap)
        if self._heap[0][0] == moment:
            self._sooner.set()

    def due(self, now: datetime) -> Iterator[Open]:
        """Each request whose time has come; its turn is taken from the heap."""
        while self._heap and self._heap[0][0] <= now.timestamp():
            moment, handle = heapq.heappop(self._heap)
            entry = self._tracker.open.get(handle)
            if entry is not None and entry.due == moment:
                # No turn is left in the heap: should the clock step back before it is looked at, the same is due again.
                entry.due = 0.0
                yield entry

    async def wait(self, now: datetime) -> None:
        """Until the next turn, or a sooner one that is added meanwhile; a second at most."""
        self._sooner.clear()
        wait = self._heap[0][0] - now.timestamp() if self._heap else _LONGEST_SLEEP
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(wait, _LONGEST_SLEEP))):
                await self._sooner.wait()
