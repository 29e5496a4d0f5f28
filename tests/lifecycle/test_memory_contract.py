"""The explorer's store keeps every promise that real stores keep: what it finds holds for them."""

import pytest

from lifecycle.memory import MemoryStore, Shelf
from stores.contract import StoreContract
from stores.contract.world import StandingStill


class MemoryWorld(StandingStill):
    """Stores on one shelf."""

    def __init__(self) -> None:
        super().__init__()
        self._shelf = Shelf()

    async def open(self) -> MemoryStore:
        return MemoryStore(self._shelf, self.clock)


class TestMemoryStore(StoreContract):
    """Two stores here are two views of one shelf."""

    @pytest.fixture
    async def world(self) -> MemoryWorld:
        return MemoryWorld()
