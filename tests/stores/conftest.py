"""A world of SQLite stores on one file, for the contract and for what only SQLite has."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hitl.stores.sqlite import SQLiteStore
from stores.contract.world import StandingStill


class SQLiteWorld(StandingStill):
    """Stores on one file, each with threads and connections of its own, as processes have them."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        super().__init__()
        self.path = path
        self._stack = stack

    async def open(self, *, patience: float = 60.0) -> SQLiteStore:
        return await self._stack.enter_async_context(SQLiteStore.open(self.path, clock=self.clock, patience=patience))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[SQLiteWorld]:
    async with AsyncExitStack() as stack:
        yield SQLiteWorld(tmp_path / "home" / "hitl.db", stack)
