"""How SQLite writes are committed: many in one transaction, each with its own answer, none lost at the end."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import AlreadyExists, NotFound, StoreUnavailable
from hitl.stores.sqlite import SQLiteStore
from hitl.stores.sqlite.rows import Transaction
from stores.asking import NAMESPACE, Clock, a_spec, opening
from stores.conftest import SQLiteWorld


@asynccontextmanager
async def kept_busy(store: SQLiteStore) -> AsyncIterator[list[str]]:
    """Within the block the writing thread is busy, so that what is asked meanwhile waits together.

    Gives the list of SQL statements that the thread runs afterwards.
    """
    started, may_go_on = threading.Event(), threading.Event()
    statements: list[str] = []

    def job(transaction: Transaction) -> None:
        transaction.connection.set_trace_callback(statements.append)
        started.set()
        may_go_on.wait(60)

    busy = asyncio.ensure_future(store._writing.do(job))
    await asyncio.to_thread(started.wait, 60)
    statements.clear()
    try:
        yield statements
    finally:
        may_go_on.set()
        await busy


def open_files() -> set[str]:
    return {entry.name for entry in Path("/dev/fd").iterdir()}


async def create(store: SQLiteStore, clock: Clock, name: str) -> ApprovalRequest:
    return await store.create(NAMESPACE, name, a_spec(), opening(clock))


async def test_writes_that_wait_share_one_commit(world: SQLiteWorld) -> None:
    """A hundred creations that wait at once are one transaction, so one fsync, and are all stored."""
    store = await world.open()
    async with kept_busy(store) as statements:
        waiting = [asyncio.ensure_future(create(store, world.clock, f"r-{n}")) for n in range(100)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert statements.count("COMMIT") == 2  # of the busy one and of all others
    assert len(await store.list()) == 100


async def test_a_write_that_fails_is_undone_alone(world: SQLiteWorld) -> None:
    """In one transaction a failing job leaves nothing behind, whatever it had done; its neighbours are stored."""
    store = await world.open()

    def fails(transaction: Transaction) -> None:
        transaction.create(NAMESPACE, "half", a_spec(), opening(world.clock))
        raise ZeroDivisionError("a job's own mistake")

    async with kept_busy(store) as statements:
        before = asyncio.ensure_future(create(store, world.clock, "before"))
        failing = asyncio.ensure_future(store._writing.do(fails))
        after = asyncio.ensure_future(create(store, world.clock, "after"))
        await asyncio.sleep(0)
    with pytest.raises(ZeroDivisionError):
        await failing
    await asyncio.gather(before, after)
    assert statements.count("COMMIT") == 2
    assert {request.name for request in await store.list()} == {"before", "after"}
    with pytest.raises(NotFound):
        await store.get(NAMESPACE, "half")


async def test_within_a_transaction_later_writes_see_earlier_ones(world: SQLiteWorld) -> None:
    """Two creations of one name that share a commit are one request and one AlreadyExists."""
    store = await world.open()
    async with kept_busy(store):
        both = [asyncio.ensure_future(create(store, world.clock, "same")) for _ in range(2)]
        await asyncio.sleep(0)
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [type(result) for result in results] == [ApprovalRequest, AlreadyExists]


async def test_a_write_whose_caller_went_before_it_began_is_dropped(world: SQLiteWorld) -> None:
    """Cancelling a caller that still waits in the queue writes nothing; others are not disturbed."""
    store = await world.open()
    async with kept_busy(store):
        given_up = asyncio.ensure_future(create(store, world.clock, "given-up"))
        wanted = asyncio.ensure_future(create(store, world.clock, "wanted"))
        await asyncio.sleep(0)
        given_up.cancel()
    await wanted
    assert [request.name for request in await store.list()] == ["wanted"]


async def test_closing_finishes_what_waits(world: SQLiteWorld) -> None:
    """Writes that were asked for before the end of the block are stored and acknowledged."""
    async with SQLiteStore.open(world.path, clock=world.clock) as store:
        waiting = [asyncio.ensure_future(create(store, world.clock, f"r-{n}")) for n in range(300)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*waiting)) == 300
    assert len(await (await world.open()).list()) == 300


async def test_a_closed_store_says_so(world: SQLiteWorld) -> None:
    """After the block every method raises StoreUnavailable, and its watches have ended."""
    async with SQLiteStore.open(world.path, clock=world.clock) as store:
        watch = store.watch()
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
    with pytest.raises(StopAsyncIteration):
        await waiting
    with pytest.raises(StopAsyncIteration):
        await anext(watch)
    for attempt in (store.list(), create(store, world.clock, "late")):
        with pytest.raises(StoreUnavailable, match="closed"):
            await attempt
    with pytest.raises(StoreUnavailable, match="closed"):
        store.watch()


async def test_closing_leaves_no_thread_and_no_file_open(world: SQLiteWorld) -> None:
    """After the block the store's threads have ended and every descriptor is given back."""
    async with SQLiteStore.open(world.path, clock=world.clock):
        pass  # what asyncio keeps for itself is there before we count
    gc.collect()
    descriptors, threads = open_files(), set(threading.enumerate())
    async with SQLiteStore.open(world.path, clock=world.clock) as store:
        store.watch()
        await create(store, world.clock, "one")
        mine = set(threading.enumerate()) - threads
        assert {thread.name for thread in mine} >= {"hitl-store-write", "hitl-store-read", "hitl-store-watch"}
    assert not any(thread.is_alive() for thread in mine if thread.name.startswith("hitl-store"))
    assert open_files() <= descriptors  # what others had left open may have been closed in the meantime


async def test_a_commit_is_on_the_disk_before_it_is_acknowledged(world: SQLiteWorld) -> None:
    """The writing connection has a write-ahead log and synchronous=FULL (2): a power cut takes nothing back."""
    store = await world.open()

    def pragmas(transaction: Transaction) -> list[object]:
        names = ("journal_mode", "synchronous")
        return [transaction.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await store._writing.do(pragmas) == ["wal", 2]


async def test_uids_are_given_by_the_store(world: SQLiteWorld) -> None:
    """A new request has the uid that the store's own source gives it."""
    async with SQLiteStore.open(world.path, clock=world.clock, new_uid=lambda: "uid-1") as store:
        assert (await create(store, world.clock, "one")).uid == "uid-1"
