"""Turns at the store for what sidecars ask of it, so that one pod's flood waits for itself alone (SECURITY B5).

Namespaces take turns, and within each its pods: whoever may make pods in one namespace gets no more of the store than
its share, however many he makes. While nobody else asks, all of it is one's own.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_Line = deque["asyncio.Future[None]"]


class Turns:
    """Hands out turns, `at_once` at the same time."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, OrderedDict[str, _Line]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, namespace: str, pod: str) -> AsyncIterator[None]:
        """A turn for this pod; waits for one as long as that takes."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(namespace, pod)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, namespace: str, pod: str) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, OrderedDict()).setdefault(pod, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():
                self._pass_on()  # the turn came at the very moment
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            namespace, pods = self._waiting.popitem(last=False)
            pod, line = pods.popitem(last=False)
            taken = line.popleft()
            if line:
                pods[pod] = line
            if pods:
                self._waiting[namespace] = pods
            if not taken.done():  # else who waited has gone
                taken.set_result(None)
                return
        self._free += 1
