"""The SQLite file itself: who may reach it, what is refused, and what its failures say."""

import asyncio
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hitl.errors import StoreError, StoreUnavailable
from hitl.stores.sqlite import SQLiteStore
from hitl.stores.sqlite.file import connect, unavailable
from hitl.stores.sqlite.rows import Transaction
from hitl.stores.sqlite.schema import SCHEMA
from hitl.stores.sqlite.turns import Turns
from stores.asking import NAME, NAMESPACE, Clock, a_decision, a_spec, cancelled, opening
from stores.conftest import SQLiteWorld


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def a_stored_request(world: SQLiteWorld) -> SQLiteStore:
    store = await world.open(patience=0.05)
    await store.create(NAMESPACE, NAME, a_spec(), opening(world.clock))
    return store


async def refused(path: Path) -> str:
    """What opening says that must not succeed."""
    with pytest.raises(StoreUnavailable) as raised:
        async with SQLiteStore.open(path, clock=Clock()):
            pass
    return str(raised.value)


# --- who may reach it


async def test_only_the_owner_can_reach_the_files(world: SQLiteWorld) -> None:
    """Under any umask a new database and the files beside it have mode 0600, in a directory of 0700."""
    before = os.umask(0)
    try:
        await a_stored_request(world)
    finally:
        os.umask(before)
    assert mode(world.path.parent) == 0o700
    files = list(world.path.parent.iterdir())
    assert {file.name for file in files} == {"hitl.db", "hitl.db-wal", "hitl.db-shm", "hitl.db-turn"}
    assert {mode(file) for file in files} == {0o600}


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o602])
async def test_a_database_that_others_reach_is_refused(world: SQLiteWorld, bits: int) -> None:
    """A file that group or others can read or write is not opened; the message has the chmod that mends it."""
    world.path.parent.mkdir(mode=0o700)
    world.path.touch()
    world.path.chmod(bits)
    message = await refused(world.path)
    assert f"mode {bits:04o}" in message
    assert f"chmod 0600 {world.path}" in message


@pytest.mark.parametrize("bits", [0o770, 0o777, 0o1777])
async def test_a_directory_in_which_others_can_swap_the_file_is_refused(world: SQLiteWorld, bits: int) -> None:
    """Whoever can write the directory can put another database there, so it is refused too, sticky or not."""
    world.path.parent.mkdir()
    world.path.parent.chmod(bits)
    assert f"chmod {bits & ~0o022:04o} {world.path.parent}" in await refused(world.path)
    assert not world.path.exists()


async def test_a_link_is_judged_by_where_it_leads(world: SQLiteWorld, tmp_path: Path) -> None:
    """A link from a safe directory into one that others can write is refused."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    world.path.parent.mkdir(mode=0o700)
    world.path.symlink_to(shared / "hitl.db")
    assert str(shared) in await refused(world.path)


async def test_a_directory_in_its_place_is_refused(world: SQLiteWorld) -> None:
    """A path that is no file is named as such."""
    world.path.mkdir(parents=True, mode=0o700)
    assert "is not a file" in await refused(world.path)


# --- what it holds


@pytest.mark.parametrize(
    ("statements", "wanted"),
    [
        ([f"PRAGMA user_version = {SCHEMA + 1}"], "another release of hitl"),
        (["PRAGMA application_id = 7"], "another program"),
    ],
)
async def test_a_file_of_another_release_or_program_is_refused(
    world: SQLiteWorld, statements: list[str], wanted: str
) -> None:
    """A newer schema, or a database that is not ours, is refused by name and not changed."""
    async with SQLiteStore.open(world.path, clock=world.clock):
        pass
    with closing(sqlite3.connect(world.path)) as connection:
        for statement in statements:
            connection.execute(statement)
    before = world.path.read_bytes()
    message = await refused(world.path)
    assert wanted in message
    assert str(world.path) in message
    assert world.path.read_bytes() == before


async def test_a_file_of_the_first_release_is_read_on(world: SQLiteWorld) -> None:
    """A file of schema 1 keeps its requests, and from then on is one of this release."""
    async with SQLiteStore.open(world.path, clock=world.clock) as store:
        stored = await store.create("shop", "refund-1", a_spec(), opening(world.clock))
    with closing(sqlite3.connect(world.path)) as connection:
        connection.execute("PRAGMA user_version = 1")
    async with SQLiteStore.open(world.path, clock=world.clock) as store:
        assert await store.get("shop", "refund-1") == stored
    with closing(sqlite3.connect(world.path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)


async def test_a_foreign_database_is_not_written_into(world: SQLiteWorld) -> None:
    """A database with tables of its own and no mark of any program is not taken for an empty one."""
    world.path.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(world.path)) as connection:
        connection.execute("CREATE TABLE recipes (name)")
    world.path.chmod(0o600)
    assert "another program" in await refused(world.path)


async def test_a_file_that_is_no_database_is_refused(world: SQLiteWorld) -> None:
    """Other content is named as not being a SQLite database, and left as it is."""
    world.path.parent.mkdir(mode=0o700)
    world.path.write_bytes(b"a letter to my aunt\n" * 500)
    world.path.chmod(0o600)
    assert "not a SQLite database" in await refused(world.path)
    assert world.path.read_bytes() == b"a letter to my aunt\n" * 500


async def test_a_store_opens_again_with_everything_in_it(world: SQLiteWorld) -> None:
    """What was stored before the last process closed is there for the next one."""
    async with SQLiteStore.open(world.path, clock=world.clock) as store:
        created = await store.create(NAMESPACE, NAME, a_spec(), opening(world.clock))
    async with SQLiteStore.open(world.path, clock=world.clock) as store:
        assert await store.list() == [created]


async def test_versions_go_on_after_the_newest_request_was_deleted(world: SQLiteWorld) -> None:
    """A version is never given twice, also not after deleting and opening again: watches and holders rely on it."""
    store = await a_stored_request(world)
    first = await store.get(NAMESPACE, NAME)
    await store.delete(first)
    second = await (await world.open()).create(NAMESPACE, NAME, a_spec(), opening(world.clock))
    assert int(second.version) > int(first.version)


# --- what goes wrong


async def test_I2_a_full_disk_writes_nothing_and_says_so(world: SQLiteWorld) -> None:
    """I2: when SQLite finds no more space, all writes of that transaction are refused, nothing of them is stored.

    Afterwards, with space again, the store goes on.
    """
    store = await a_stored_request(world)

    def limit(pages: int) -> Callable[[Transaction], None]:
        return lambda transaction: transaction.connection.execute(f"PRAGMA max_page_count = {pages}").close()

    await store._writing.do(limit(1))  # SQLite takes the pages in use as the least
    large = a_spec(explanation="x" * 200_000)
    results = await asyncio.gather(
        *(store.create(NAMESPACE, f"large-{n}", large, opening(world.clock)) for n in range(5)), return_exceptions=True
    )
    for result in results:
        assert isinstance(result, StoreUnavailable)
        assert "the disk is full" in str(result)
        assert str(world.path) in str(result)
    assert [request.name for request in await store.list()] == [NAME]
    await store._writing.do(limit(1_000_000))
    await store.create(NAMESPACE, "large-0", large, opening(world.clock))
    assert len(await store.list()) == 2


async def test_a_file_that_another_program_keeps_locked_is_unavailable(world: SQLiteWorld) -> None:
    """Another program's transaction makes writes fail after `patience`; reads go on, and later writes succeed."""
    store = await a_stored_request(world)
    request = await store.get(NAMESPACE, NAME)
    with closing(sqlite3.connect(world.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=f"{world.path}: another process keeps it locked"):
            await store.decide(NAMESPACE, NAME, a_decision(request))
        assert await store.get(NAMESPACE, NAME) == request
        other.execute("ROLLBACK")
    voted = await store.decide(NAMESPACE, NAME, a_decision(request))
    assert len(voted.status.decisions) == 1


async def test_a_process_that_does_not_end_its_turn_is_named(world: SQLiteWorld) -> None:
    """While one of our processes hangs within a write, others fail after `patience` and say how to find it."""
    store = await a_stored_request(world)
    turns = Turns(world.path, patience=5)
    try:
        with turns.taken(), pytest.raises(StoreUnavailable, match=r"fuser .*hitl\.db-turn"):
            await store.create(NAMESPACE, "late", a_spec(), opening(world.clock))
    finally:
        turns.close()
    await store.create(NAMESPACE, "late", a_spec(), opening(world.clock))


@pytest.mark.parametrize("replaced", [False, True])
async def test_I2_a_file_that_was_moved_away_is_not_written_any_more(world: SQLiteWorld, replaced: bool) -> None:
    """I2: once the file was removed or replaced under a running store, reads, writes and watches all fail."""
    store = await a_stored_request(world)
    request = await store.get(NAMESPACE, NAME)
    watch = store.watch()
    waiting = asyncio.ensure_future(anext(watch))
    world.path.rename(world.path.with_suffix(".gone"))
    if replaced:
        shutil.copy(world.path.with_suffix(".gone"), world.path)
    for attempt in (
        waiting,
        store.get(NAMESPACE, NAME),
        store.write_status(request, cancelled(request, world.clock())),
    ):
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            async with asyncio.timeout(60):
                await attempt


async def test_damage_is_named_with_the_file(world: SQLiteWorld) -> None:
    """Overwritten pages are reported as damage to this file, with what to do, and nothing of them is guessed."""
    async with SQLiteStore.open(world.path, clock=world.clock) as store:
        for n in range(50):
            await store.create(NAMESPACE, f"r-{n}", a_spec(), opening(world.clock))
    with world.path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (world.path.stat().st_size - 8192))
    with pytest.raises(StoreUnavailable, match=f"{world.path}: it is damaged"):
        async with SQLiteStore.open(world.path, clock=world.clock) as store:
            await store.list()


@pytest.mark.parametrize(
    ("column", "value", "wanted"),
    [
        ("spec", '{"kind": "ToolCall", "mood": "sunny"}', "spec.mood: is not a known field"),
        ("spec", "{}", "spec.kind: is missing"),
        ("created", "yesterday", "metadata.creationTimestamp: is 'yesterday'"),
    ],
)
async def test_I2_a_row_that_cannot_be_read_is_an_error_with_its_place(
    world: SQLiteWorld, column: str, value: str, wanted: str
) -> None:
    """I2: a row changed by hand is never half-read: the error names file, request and field."""
    store = await a_stored_request(world)
    with closing(sqlite3.connect(world.path)) as connection:
        connection.execute("DROP TRIGGER question_is_immutable")
        connection.execute(f"UPDATE requests SET {column} = ?", (value,))
        connection.commit()
    with pytest.raises(StoreUnavailable) as raised:
        await store.list()
    assert wanted in str(raised.value)
    assert f"{world.path}: request {NAMESPACE}/{NAME}" in str(raised.value)


def test_every_kind_of_failure_has_its_next_step(tmp_path: Path) -> None:
    """SQLite's words on a read-only file, and on one it cannot open, become a message with the next step."""
    path = tmp_path / "hitl.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    with closing(connect(path, patience=0, reading=True)) as connection, pytest.raises(sqlite3.Error) as read_only:
        connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(sqlite3.Error) as nowhere:
        connect(tmp_path / "nowhere" / "hitl.db", patience=0, reading=True).execute("SELECT 1 FROM t")
    for raised, wanted in ((read_only, "read-only"), (nowhere, "cannot be opened")):
        error = unavailable(path, raised.value)
        assert isinstance(error, StoreError)
        assert str(error).startswith(f"{path}: ")
        assert wanted in str(error)
