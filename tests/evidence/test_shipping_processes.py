"""Audit logs on their way into the archive; real processes are killed, moved and starved (SECURITY H2, I10, I12)."""

import asyncio
import random
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evidence.archives import a_checked
from evidence.processes import EVER, Stage, archived

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Nothing runs yet."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="hitl-"))
    stage = Stage(folder)
    yield stage
    await stage.close()
    shutil.rmtree(folder)


async def test_H2_a_log_reaches_the_archive_whole_and_its_end_too(stage: Stage) -> None:
    """H2: every line of a sidecar that ends in order, its stop record included, is archived as it stands in the log."""
    await stage.start_hub()
    sidecar = await stage.start_sidecar()
    await stage.check(50)
    await stage.until_archived()  # what is under way when a sidecar ends may be handed over once more
    assert await sidecar.end(signal.SIGTERM) == 0
    assert list(dict.fromkeys(archived(stage.archive))) == stage.written()
    assert stage.hub is not None
    assert await stage.hub.end(signal.SIGTERM) == 0
    report = a_checked(stage.archive)
    assert (report.problems, report.records, report.epochs) == ((), len(stage.written()), 1)
    assert report.policies == 1


@pytest.mark.parametrize("seed", range(3))
async def test_H2_kill_9_at_any_moment_loses_nothing_and_doubles_nothing(stage: Stage, seed: int) -> None:
    """H2: hub and sidecar are killed again and again while lines are written, sent, synced, signed and acknowledged;
    whatever was acknowledged is there, in the end everything is, and in the verified view each record once.
    """
    chance = random.Random(seed)
    await stage.start_hub()
    await stage.start_sidecar()
    for _ in range(6):
        calling = asyncio.create_task(stage.check(chance.randint(1, 60)))
        await asyncio.sleep(chance.uniform(0.0, 1.5))
        await asyncio.wait((calling,))
        calling.exception()  # before a config came the gate refuses, which is not what this is about
        victim = chance.choice(("hub", "sidecar"))
        child = stage.hub if victim == "hub" else stage.sidecar
        assert child is not None
        if chance.random() < 0.5:
            late = asyncio.create_task(stage.check(20))
            await asyncio.sleep(chance.uniform(0.0, 0.05))
            await child.end()
            late.cancel()
            await asyncio.gather(late, return_exceptions=True)
        else:
            await child.end()
        acknowledged = stage.acknowledged()  # first: the other one goes on
        there = set(archived(stage.archive))
        assert [line for line in acknowledged if line not in there] == []
        await (stage.start_hub() if victim == "hub" else stage.start_sidecar())
    await stage.check()
    await stage.until_archived()
    report = a_checked(stage.archive)
    assert report.problems == ()
    assert report.records == len(stage.written())
    assert set(archived(stage.archive)) == set(stage.written())


async def test_H2_lines_whose_acknowledgement_was_lost_count_once(stage: Stage) -> None:
    """H2: a sidecar that was killed before it noted the answer hands the same lines over again, also to another hub."""
    await stage.start_hub()
    sidecar = await stage.start_sidecar()
    await stage.check(20)
    await stage.until_archived()
    await sidecar.end()
    (stage.state / "archived.json").unlink()
    assert stage.hub is not None
    await stage.hub.end()
    await stage.start_hub()
    await stage.start_sidecar()
    await stage.check()
    await stage.until_archived()
    lines = archived(stage.archive)
    assert len(lines) > len(set(lines)), "nothing came twice, so this shows nothing"
    report = a_checked(stage.archive)
    assert (report.problems, report.records) == ((), len(stage.written()))


async def test_H2_another_replica_with_a_folder_of_its_own_takes_over(stage: Stage) -> None:
    """H2: what one replica acknowledged is not sent to the next; put into one folder, both verify as one history."""
    first, second = stage.folder / "first", stage.folder / "second"
    hub = await stage.start_hub(first)
    await stage.start_sidecar()
    await stage.check(30)
    await stage.until_archived()
    await hub.end()
    await stage.start_hub(second)
    await stage.check(30)
    await stage.until_archived()
    assert not set(archived(first)) & set(archived(second))
    both = stage.folder / "both"
    for folder in (first, second):
        shutil.copytree(folder, both, dirs_exist_ok=True)
    report = a_checked(both)
    assert (report.problems, report.records) == ((), len(stage.written()))
    assert a_checked(second).problems, "half of a history is none"


async def test_H2_a_full_archive_stops_nobody_and_misses_nothing_afterwards(stage: Stage) -> None:
    """H2: where no file may grow any more calls go on, lines stay with the sidecar, and come once there is room."""
    hub = await stage.start_hub(largest_file=128 << 10)  # far above what else a hub writes
    await stage.start_sidecar()
    await stage.check(20)
    await stage.until_archived()
    await stage.check(350)
    await stage.until(lambda: "archive-unwritable" in hub.log.read_text())
    await stage.check(100)
    acknowledged = stage.acknowledged()  # first: both go on
    there = set(archived(stage.archive))
    assert [line for line in acknowledged if line not in there] == []
    assert 20 <= len(acknowledged) < len(stage.written())
    await hub.end()
    await stage.start_hub()
    await stage.until_archived()
    report = a_checked(stage.archive)
    assert (report.problems, report.records) == ((), len(stage.written()))


async def test_I12_no_allowed_call_waits_for_the_archive(stage: Stage) -> None:
    """I12: with the hub stopped in its tracks, in the middle of taking lines, allowed calls are answered as before."""
    hub = await stage.start_hub()
    await stage.start_sidecar()
    await stage.check(20)
    hub.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(600):
            await stage.check(500)
    finally:
        hub.process.send_signal(signal.SIGCONT)
    await stage.until_archived()
    assert set(archived(stage.archive)) == set(stage.written())


async def test_I10_no_raw_argument_reaches_the_archive(stage: Stage) -> None:
    """I10: a secret in a call's arguments is redacted before the line is written, so the archive never has it."""
    from hitl.v1 import gate_pb2

    await stage.start_hub()
    sidecar = await stage.start_sidecar()
    secret = b"sk_live_51H8xQ2eZvKYlo2C0aBcDeFgHiJkLmNoPqRsTuVwXyZ"
    async with stage.gate() as gate:
        arguments = b'{"item":"x","api_key":"' + secret + b'"}'
        call = gate_pb2.ToolCall(server="shop", tool="get_price", arguments_json=arguments)
        await gate.Check(gate_pb2.CheckRequest(call=call), timeout=EVER, wait_for_ready=True)
    await stage.until_archived()
    await sidecar.end(signal.SIGTERM)
    everything = b"".join(archived(stage.archive))
    assert b"get_price" in everything
    assert secret not in everything
