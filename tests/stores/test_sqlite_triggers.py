"""The file itself keeps the core of I5 against programs that write past `transitions.guard`."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest

from hitl.approvals.requests import State
from stores.asking import NAME, NAMESPACE, a_decision, a_note, a_spec, believed, ended, opening
from stores.conftest import SQLiteWorld


@pytest.fixture
async def past_the_guard(world: SQLiteWorld) -> AsyncIterator[sqlite3.Connection]:
    """Another program's connection to a file with one approved request, with a decision and a note."""
    store = await world.open()
    request = await store.create(NAMESPACE, NAME, a_spec(), opening(world.clock))
    request = await store.decide(NAMESPACE, NAME, a_decision(request))
    request = await store.note(NAMESPACE, NAME, a_note(request))
    request = await store.write_status(request, believed(request))
    await store.write_status(request, ended(request, State.APPROVED, world.clock))
    with closing(sqlite3.connect(world.path, isolation_level=None)) as connection:
        yield connection


def status_of(connection: sqlite3.Connection) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(connection.execute("SELECT status FROM requests").fetchone()[0])
    return status


def write(connection: sqlite3.Connection, status: dict[str, Any]) -> None:
    text = json.dumps(status, separators=(",", ":"))
    connection.execute("UPDATE requests SET status = ?, state = ?", (text, status["state"]))


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"decisions": []}, "a decision is never changed or removed"),
        ({"notes": []}, "a note is never changed or removed"),
        ({"conditions": []}, "an outcome is never changed or removed"),
    ],
)
async def test_I5_what_was_recorded_cannot_be_taken_out(
    past_the_guard: sqlite3.Connection, change: dict[str, Any], refusal: str
) -> None:
    """I5: an UPDATE that drops a decision, a note or an outcome is aborted by the file."""
    before = status_of(past_the_guard)
    with pytest.raises(sqlite3.IntegrityError, match=refusal):
        write(past_the_guard, before | change)
    assert status_of(past_the_guard) == before


async def test_I5_no_vote_is_added_after_the_outcome(past_the_guard: sqlite3.Connection) -> None:
    """I5: an UPDATE that adds a decision to an approved request is aborted."""
    before = status_of(past_the_guard)
    another = before["decisions"][0] | {"reviewer": "ben"}
    with pytest.raises(sqlite3.IntegrityError, match="voting has ended"):
        write(past_the_guard, before | {"decisions": [*before["decisions"], another]})
    assert status_of(past_the_guard) == before


async def test_I5_a_changed_decision_is_a_removed_one(past_the_guard: sqlite3.Connection) -> None:
    """I5: an UPDATE that turns an approval into a denial in its place is aborted."""
    before = status_of(past_the_guard)
    turned = before["decisions"][0] | {"decision": "Denied"}
    with pytest.raises(sqlite3.IntegrityError, match="a decision is never changed"):
        write(past_the_guard, before | {"decisions": [turned]})


async def test_I5_the_end_is_the_end(past_the_guard: sqlite3.Connection) -> None:
    """I5: once Consumed, Denied, Expired or Cancelled a row's state never changes again."""
    before = status_of(past_the_guard)
    released = before["conditions"][0] | {"type": "Consumed", "reason": "Released"}
    after = before | {"conditions": [*before["conditions"], released], "state": "Consumed"}
    write(past_the_guard, after)
    with pytest.raises(sqlite3.IntegrityError, match="an ended request is never revived"):
        write(past_the_guard, after | {"state": "Pending"})


@pytest.mark.parametrize(
    "change",
    [
        "spec = json_set(spec, '$.summary', 'harmless')",
        "uid = 'another'",
        "workload = 'deploy/other'",
        "name = 'other'",
    ],
)
async def test_I5_what_was_asked_is_immutable_in_the_file(past_the_guard: sqlite3.Connection, change: str) -> None:
    """I5: an UPDATE of spec, uid, workload or name is aborted."""
    with pytest.raises(sqlite3.IntegrityError, match="what was asked is never changed"):
        past_the_guard.execute(f"UPDATE requests SET {change}")


async def test_the_state_column_is_that_of_the_status(past_the_guard: sqlite3.Connection) -> None:
    """The column that lists and counts go by cannot differ from the status beside it."""
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        past_the_guard.execute("UPDATE requests SET state = 'Pending'")
