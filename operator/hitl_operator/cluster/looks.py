"""Looks at the guards of which each vouches for what was seen before it began, several under way at a time (C4).

A look takes up to a tenth of a second, because an API server answers a list that has to be current only once its cache
has caught up, for which it asks etcd every 100 ms. Who saw a vote while one was under way needs another one, which
began after that; it need not wait for the first to end. What the looks found is judged in the order in which they
began, so that nothing counts by a later one before everything is known that an earlier one found.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

AT_ONCE: Final = 2
"""Looks under way at the same time: enough for 20 votes a second, and no more work for the API server than that."""

F = TypeVar("F")


class _Look:
    """One that was asked for. `covers`: it began after everything up to this version was seen; None: it will yet."""

    __slots__ = ("covers", "task")

    def __init__(self) -> None:
        self.covers: int | None = None
        self.task: asyncio.Task[None]


class Looks(Generic[F]):
    """Shared by all who wait.

    Args:
        find: reads what is to be judged; errors go to those who wait for this look.
        judge: what follows from what a look found: (found, versions up to which it covers).
    """

    def __init__(self, find: Callable[[], Awaitable[F]], judge: Callable[[F, int], None]) -> None:
        self._find = find
        self._judge = judge
        self._under_way: list[_Look] = []
        self._asked = 0
        self.begun = 0
        """How many looks have begun so far."""

    async def look(self, version: int) -> None:
        """Wait until something was judged that may cover what was seen at `version`; where it does not, ask again.

        Raises:
            Exception: what `find` raised in the look that would have covered it.
        """
        self._asked = max(self._asked, version)
        for look in self._under_way:
            if look.covers is None or look.covers >= version:
                await asyncio.shield(look.task)
                return
        if len(self._under_way) >= AT_ONCE:
            await asyncio.wait([self._under_way[0].task])
            return
        await asyncio.shield(self._begin())

    def _begin(self) -> "asyncio.Task[None]":
        look = _Look()
        look.task = asyncio.create_task(self._run(look, self._under_way[-1].task if self._under_way else None))
        self._under_way.append(look)
        return look.task

    async def _run(self, look: _Look, earlier: "asyncio.Task[None] | None") -> None:
        try:
            # Only what was asked for since the last look: once the server went back, versions begin lower again.
            look.covers, self._asked = self._asked, 0
            self.begun += 1
            found = await self._find()
            if earlier is not None:
                await asyncio.wait([earlier])  # one that failed has found nothing
            self._judge(found, look.covers)
        finally:
            self._under_way.remove(look)
