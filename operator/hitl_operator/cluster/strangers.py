"""Turns for tokens that nobody can vouch for yet, so that a flood of them is a queue, not a locked door (SECURITY F3).

Pods take turns, whatever pod a token claims. Past the bound one of those who wait for the most wanted pod goes, picked
by lot: a flood that names one pod is no other's trouble, and even beside it who tries again gets in.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from hitl.errors import Unavailable

_AT_ONCE: Final = 8
_WAITING: Final = 256
_WITHIN: Final = 5.0  # seconds


class Strangers:
    """Hands out turns.

    Args:
        at_once: turns at the same time.
        waiting: how many may wait for one.
        within: seconds after which a wait is over.
    """

    def __init__(self, *, at_once: int = _AT_ONCE, waiting: int = _WAITING, within: float = _WITHIN) -> None:
        self._free = at_once
        self._most = waiting
        self._within = within
        self._waiting: OrderedDict[str, list[asyncio.Future[None]]] = OrderedDict()
        self._count = 0

    @asynccontextmanager
    async def turn(self, pod: str) -> AsyncIterator[None]:
        """A turn for a token that claims to be this pod's.

        Raises:
            Unavailable: REVIEW_BUSY; too many wait, or for too long.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(pod)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, pod: str) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(pod, []).append(mine)
        self._count += 1
        if self._count > self._most:
            crowded = max(self._waiting, key=lambda each: len(self._waiting[each]))
            self._take(crowded).set_exception(_busy())
        try:
            async with asyncio.timeout(self._within):
                await asyncio.shield(mine)  # so that whoever hangs up is not given a turn in the same moment
        except (TimeoutError, asyncio.CancelledError) as error:
            if mine.done() and mine.exception() is None:
                self._pass_on()  # the turn came at the very moment
            else:
                self._forget(pod, mine)
            if isinstance(error, TimeoutError):
                raise _busy() from None
            raise

    def _pass_on(self) -> None:
        if not self._waiting:
            self._free += 1
            return
        pod = next(iter(self._waiting))
        self._take(pod).set_result(None)
        if pod in self._waiting:
            self._waiting.move_to_end(pod)

    def _take(self, pod: str) -> "asyncio.Future[None]":
        """One of those who wait for a pod, by lot."""
        waiting = self._waiting[pod]
        taken = waiting[random.randrange(len(waiting))]  # noqa: S311 - a lot, not a secret
        self._forget(pod, taken)
        return taken

    def _forget(self, pod: str, waiting: "asyncio.Future[None]") -> None:
        line = self._waiting.get(pod, [])
        if waiting in line:
            line.remove(waiting)
            self._count -= 1
            if not line:
                del self._waiting[pod]


def _busy() -> Unavailable:
    return Unavailable("REVIEW_BUSY", "too many unknown tokens are being reviewed; try again")
