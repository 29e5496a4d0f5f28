"""What makes SQLite watches complete and cheap, seen from inside."""

import asyncio
import weakref

import pytest

from hitl.approvals.requests import ApprovalRequest, RequestStatus
from hitl.errors import StoreUnavailable
from hitl.stores.sqlite import rows
from hitl.stores.sqlite.changes import ChangeWatch
from hitl.stores.sqlite.rows import Requests
from stores.asking import NAME, NAMESPACE, Clock, a_spec, opening
from stores.conftest import SQLiteWorld


async def test_a_change_during_a_look_is_looked_for_again() -> None:
    """A commit that comes after a look has read but before the look has returned is found by the next look."""
    request = ApprovalRequest(NAMESPACE, NAME, "u", "2", Clock()(), a_spec(), RequestStatus())
    looks: list[int] = []

    async def look(change: int) -> tuple[int, list[ApprovalRequest], bool]:
        looks.append(change)
        if len(looks) == 1:
            watch.stir()
            return 1, [], False
        return 2, [request], False

    watch = ChangeWatch(look, 0)
    async with asyncio.timeout(60):
        assert await anext(watch) == request
    assert looks == [0, 1]


async def test_a_watch_goes_on_without_a_gap_after_a_failure(world: SQLiteWorld) -> None:
    """A watch that raised StoreUnavailable goes on where it was once the file can be read again."""
    store, other = await world.open(), await world.open()
    watch = store.watch()
    first = await other.create(NAMESPACE, "first", a_spec(), opening(world.clock))
    away = world.path.with_suffix(".away")
    world.path.rename(away)
    with pytest.raises(StoreUnavailable):
        await anext(watch)
    away.rename(world.path)
    second = await other.create(NAMESPACE, "second", a_spec(), opening(world.clock))
    async with asyncio.timeout(60):
        assert [await anext(watch), await anext(watch)] == [first, second]


async def test_what_happens_elsewhere_is_passed_over_once(world: SQLiteWorld) -> None:
    """A look for one namespace moves on past all changes of the others, so that it never reads them again."""
    store = await world.open()
    for n in range(10):
        await store.create(NAMESPACE, f"r-{n}", a_spec(), opening(world.clock))
    assert await store._reading.do(lambda requests: requests.changed_after(0, "bank", 5)) == (10, [], False)
    seen, found, more = await store._reading.do(lambda requests: requests.changed_after(0, NAMESPACE, 4))
    assert (seen, len(found), more) == (4, 4, True)


async def test_a_dropped_watch_is_forgotten(world: SQLiteWorld) -> None:
    """A watch needs no closing: when nobody refers to it any more, its store does not either."""
    store = await world.open()
    dropped = weakref.ref(store.watch())
    assert dropped() is None
    assert not store._watches._watches


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("_GET", "sqlite_autoindex_requests_1"),
        ("_ALL", "by_age"),
        ("_ALL_OPEN", "open_by_age"),
        ("_DENIED", "denials"),
        ("_CHANGED", "by_change"),
        ("_UPDATE", "sqlite_autoindex_requests_1"),
        ("_DELETE", "sqlite_autoindex_requests_1"),
    ],
)
async def test_every_statement_goes_by_an_index(world: SQLiteWorld, statement: str, index: str) -> None:
    """However many requests are stored, none of the statements looks at all of them to find or to sort its own."""
    store = await world.open()
    names = ("namespace", "name", "workload", "since", "change", "most", "state", "denied", "status")

    def plan(requests: Requests) -> str:
        explained = requests.connection.execute(
            f"EXPLAIN QUERY PLAN {getattr(rows, statement)}", dict.fromkeys(names, "")
        )
        return "; ".join(row["detail"] for row in explained)

    found = await store._reading.do(plan)
    assert index in found
    assert "USE TEMP B-TREE FOR ORDER BY" not in found  # sorting within equal times is fine
