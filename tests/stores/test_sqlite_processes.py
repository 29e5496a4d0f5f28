"""Several processes on one SQLite file: each sees what the others write, and acknowledged writes outlive a kill -9."""

import asyncio
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from hitl.approvals.requests import ApprovalRequest, State
from hitl.approvals.settle import Release, consume
from hitl.errors import Conflict
from stores.asking import NAME, NAMESPACE, a_decision, a_spec, believed, cancelled, consumed, opening
from stores.conftest import SQLiteWorld

ANOTHER = Path(__file__).with_name("another_process.py")
Start: TypeAlias = Callable[..., Awaitable[Process]]


@asynccontextmanager
async def stopped_at_the_end(process: Process) -> AsyncIterator[Process]:
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def start(world: SQLiteWorld) -> AsyncIterator[Start]:
    """Starts another process on the world's file, at the world's time."""
    async with AsyncExitStack() as stack:

        async def begin(*job: str) -> Process:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(ANOTHER), str(world.path), world.clock().isoformat(), *job, stdin=PIPE, stdout=PIPE
            )
            return await stack.enter_async_context(stopped_at_the_end(process))

        yield begin


async def said(process: Process) -> list[str]:
    """The next line's words; empty at the end."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return (await process.stdout.readline()).decode().split()


async def held(world: SQLiteWorld) -> ApprovalRequest:
    store = await world.open()
    return await store.create(NAMESPACE, NAME, a_spec(), opening(world.clock))


async def ready(world: SQLiteWorld) -> ApprovalRequest:
    """Approved by ana, and her vote believed: only the release is missing."""
    request = await held(world)
    store = await world.open()
    request = await store.decide(NAMESPACE, NAME, a_decision(request))
    return await store.write_status(request, believed(request))


async def test_a_decision_of_another_process_arrives_at_the_watch(world: SQLiteWorld, start: Start) -> None:
    """While the hub watches, a reviewer's program decides in a process of its own; the hub is told, with that vote."""
    request = await held(world)
    hub = await world.open()
    watch = hub.watch(NAMESPACE)
    reviewer = await start("decide", NAME, "ana")
    async with asyncio.timeout(60):
        seen = await anext(watch)
    assert [decision.reviewer for decision in seen.status.decisions] == ["ana"]
    assert seen.uid == request.uid
    assert await said(reviewer) == [seen.version]
    assert await hub.get(NAMESPACE, NAME) == seen


async def test_I6_of_four_processes_that_consume_at_once_one_releases(world: SQLiteWorld, start: Start) -> None:
    """I6: four processes read the same approval, then all try to release it; one does, three get Conflict."""
    await ready(world)
    sidecars = [await start("consume", NAME, f"pod-{n}/epoch") for n in range(4)]
    for sidecar in sidecars:
        assert await said(sidecar) == ["ready"]
    for sidecar in sidecars:
        assert sidecar.stdin is not None
        sidecar.stdin.write(b"go\n")
    results = [await said(sidecar) for sidecar in sidecars]
    assert Counter(word for result in results for word in result) == {"released": 1, "Conflict": 3}
    stored = await (await world.open()).get(NAMESPACE, NAME)
    assert stored.status.consumed_by == f"pod-{results.index(['released'])}/epoch"


async def test_I6_D2_a_release_outlives_the_process_that_wrote_it(world: SQLiteWorld, start: Start) -> None:
    """I6, D2: a hub that is killed right after its release was acknowledged leaves it Consumed; nothing runs again."""
    before = await ready(world)
    hub = await start("consume", NAME, "pod-1/epoch")
    assert await said(hub) == ["ready"]
    assert hub.stdin is not None
    hub.stdin.write(b"go\n")
    assert await said(hub) == ["released"]
    hub.send_signal(signal.SIGKILL)
    await hub.wait()
    store = await world.open()
    stored = await store.get(NAMESPACE, NAME)
    assert stored.status.state is State.CONSUMED
    again = consume(stored, world.clock(), digest=stored.spec.digest, by="pod-2/epoch")
    assert again.release is Release.SPENT
    with pytest.raises(Conflict):
        await store.write_status(before, consumed(before, world.clock(), by="pod-2/epoch"))


async def test_I2_a_commit_that_the_disk_refuses_is_nobodys_success(world: SQLiteWorld, start: Start) -> None:
    """I2: where the system refuses to write the log, all writes of that commit fail, and none of them is there later.

    What was acknowledged before is; with room again the same store goes on.
    """
    writer = await start("fill")
    acknowledged, failed = set(), set()
    while (line := await said(writer)) and line[0] != "room":
        (acknowledged if line[1] == "ApprovalRequest" else failed).add(line[0])
    assert f"{world.path}:" in line
    assert failed
    assert await said(writer) == ["after", "ApprovalRequest"]
    stored = {request.name for request in await (await world.open()).list()}
    assert stored == acknowledged | {"after"}


async def test_I5_I6_a_writer_killed_in_a_burst_loses_nothing_it_acknowledged(world: SQLiteWorld, start: Start) -> None:
    """I5, I6: kill -9 in the middle of many writes; all that was acknowledged is there, and no request is half-written.

    What was not acknowledged may be there or not, but then whole: a later step of the same life.
    """
    steps = [("Pending", "0"), ("Pending", "1"), ("Pending", "1"), ("Cancelled", "1")]
    writer = await start("burst")
    acknowledged: dict[str, tuple[int, str, str]] = {}

    def note(line: list[str]) -> None:
        if len(line) == 4:  # the kill may cut a line short
            acknowledged[line[0]] = (int(line[1]), line[2], line[3])

    for _ in range(500):
        note(await said(writer))
    writer.kill()
    while line := await said(writer):
        note(line)
    assert len(acknowledged) > 100

    store = await world.open()
    stored = {request.name: request for request in await store.list(NAMESPACE)}
    for name, (version, state, decisions) in acknowledged.items():
        found = stored[name]
        now = (found.status.state.value, str(len(found.status.decisions)))
        assert int(found.version) >= version
        assert steps.index(now) >= steps.index((state, decisions))
        if int(found.version) == version:
            assert now == (state, decisions)
    versions = [int(request.version) for request in stored.values()]
    assert len(set(versions)) == len(versions)
    assert {(each.status.state.value, str(len(each.status.decisions))) for each in stored.values()} <= set(steps)

    survivor = next(request for request in stored.values() if request.status.state is State.PENDING)
    await store.write_status(survivor, cancelled(survivor, world.clock()))
    connection = sqlite3.connect(world.path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
