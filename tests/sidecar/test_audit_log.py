"""The audit log on disk: chained over processes and segments, and a disk that is full refuses everything (H2)."""

import asyncio
import contextlib
import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from gates import ALLOWED, Running, until
from peer import ScriptedHub
from test_holds import REFUND, waiting

from hitl.audit import RecordKind, read, segments, verify
from hitl.errors import Unavailable
from hitl.v1 import gate_pb2
from hitl_sidecar.audit_log import AuditLog

UNAVAILABLE = gate_pb2.OUTCOME_UNAVAILABLE


def now() -> datetime:
    return datetime(2026, 5, 1, 12, tzinfo=UTC)


def a_log(folder: Path, epoch: str = "e1", **more: Any) -> AuditLog:
    return AuditLog(folder / "audit", epoch=epoch, clock=now, **more)


async def written(folder: Path, epoch: str, calls: int, **more: Any) -> None:
    """One process's log, from start to stop."""
    log = a_log(folder, epoch, **more)
    for number in range(calls):
        log.append(RecordKind.VERDICT, {"tool": f"shop/tool_{number}"})
    await log.close()


async def test_H2_processes_and_segments_are_one_chain(folder: Path) -> None:
    """Three processes, each rotating its segments, leave one log that verifies."""
    for epoch in ("e1", "e2", "e3"):
        await written(folder, epoch, 50, segment_bytes=4096)
    report = verify(folder / "audit")
    assert (report.records, report.epochs, report.problems, report.notes) == (156, 3, (), ())
    assert len(segments(folder / "audit")) > 6


async def test_the_log_is_for_this_account_alone(folder: Path) -> None:
    """Folder 0700, segments 0600, whatever the umask is."""
    before = os.umask(0)
    try:
        await written(folder, "e1", 1)
    finally:
        os.umask(before)
    assert (folder / "audit").stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in segments(folder / "audit")] == [0o600]


async def test_H2_a_record_is_in_the_file_before_append_returns(folder: Path) -> None:
    """Nothing is buffered in the process: kill -9 loses no record."""
    log = a_log(folder)
    log.append(RecordKind.VERDICT, {"tool": "shop/x"})
    assert [record.tool for record in read(folder / "audit")] == ["", "shop/x"]
    await log.close()


async def test_H2_a_torn_tail_is_skipped_by_the_next_process(folder: Path) -> None:
    """Half a line at the end of a killed process's log is no tampering; the next epoch goes on from the whole ones."""
    await written(folder, "e1", 3)
    (segment,) = segments(folder / "audit")
    segment.write_bytes(segment.read_bytes()[:-20])
    await written(folder, "e2", 1)
    report = verify(folder / "audit")
    assert (report.problems, report.epochs) == ((), 2)
    assert any("torn line" in note for note in report.notes)


async def test_durable_returns_once_everything_is_synced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many who wait at once share a few syncs, and none returns before one that began after its record."""
    synced: list[int] = []
    real = os.fdatasync

    def counted(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    log = a_log(folder)

    async def one(number: int) -> None:
        log.append(RecordKind.DECISION, {"tool": f"shop/tool_{number}"})
        size = segments(folder / "audit")[0].stat().st_size
        await log.durable()
        assert synced[-1] >= size

    await asyncio.gather(*(one(number) for number in range(100)))
    assert 1 <= len(synced) < 20
    await log.close()


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    path = folder / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here ({mounted.stderr.strip()}); RLIMIT_FSIZE is tested instead")
    yield path
    subprocess.run(["umount", str(path)], check=True)


async def fill(log: AuditLog) -> int:
    """Write until nothing fits; how many records did."""
    before = log.head.sequence
    with contextlib.suppress(Unavailable):
        for _ in range(10_000):
            log.append(RecordKind.VERDICT, {"tool": "shop/x", "message": "x" * 400})
    assert "full" in log.error or "No space left" in log.error
    return log.head.sequence - before


async def test_a_full_disk_refuses_and_loses_nothing(small_disk: Path) -> None:
    """A really full file system: refused with the path and the next step; what was written verifies, no half line."""
    log = a_log(small_disk)
    count = await fill(log)
    report = verify(small_disk / "audit")
    assert (report.records, report.problems) == (count + 1, ())
    assert not any("torn" in note for note in report.notes)
    await log.close()


async def test_a_disk_with_room_again_goes_on_and_says_what_was_missed(small_disk: Path) -> None:
    """Space is freed: the next record is preceded by a gap record with the number of refused calls."""
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 40_000)
    log = a_log(small_disk)
    await fill(log)
    filler.unlink()
    await until(log.probe)
    log.append(RecordKind.VERDICT, {"tool": "shop/after"})
    await log.close()
    gap, after, _ = list(read(small_disk / "audit"))[-3:]
    assert (gap.kind, gap.details["refused"]) == (RecordKind.GAP, 1)
    assert after.tool == "shop/after"
    assert verify(small_disk / "audit").problems == ()


async def test_a_file_size_limit_refuses_like_a_full_disk(folder: Path) -> None:
    """RLIMIT_FSIZE: the record that does not fit is refused, the log stays whole, and goes on once it may."""
    log = a_log(folder)
    log.append(RecordKind.VERDICT, {"tool": "shop/before"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = segments(folder / "audit")[0].stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, hard))
    try:
        with pytest.raises(Unavailable, match="audit log cannot be written"):
            log.append(RecordKind.VERDICT, {"tool": "shop/refused"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await until(log.probe)
    log.append(RecordKind.VERDICT, {"tool": "shop/after"})
    await log.close()
    assert [r.tool for r in read(folder / "audit") if r.tool] == ["shop/before", "shop/after"]
    assert verify(folder / "audit").problems == ()


class Disk:
    """The small file system under a sidecar's state."""

    def __init__(self, path: Path, gate: Running) -> None:
        self._filler = path / "filler"
        self._gate = gate

    def fill(self) -> None:
        """Leave not a page, and in the log's own last page less than any record needs."""
        with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        audit, folder = self._gate.sidecar.audit, self._gate.options.state / "audit"
        page = os.sysconf("SC_PAGE_SIZE")
        while (room := page - segments(folder)[-1].stat().st_size % page) > 400:
            audit.append(RecordKind.VERDICT, {"message": "x" * max(0, room - 700)})

    def empty(self) -> None:
        self._filler.unlink()


@pytest.fixture
async def cramped(small_disk: Path, start: Callable[..., Any]) -> tuple[Running, Disk]:
    """A sidecar whose state lies on a small disk."""
    gate: Running = await start(state=small_disk / "state")
    await gate.programmed()
    return gate, Disk(small_disk, gate)


async def test_I2_with_the_log_full_every_call_is_refused(cramped: tuple[Running, Disk]) -> None:
    """AUDIT_UNWRITABLE for what would be allowed, denied or held alike; health says NOT_SERVING; then it goes on."""
    gate, disk = cramped
    disk.fill()
    for tool in ("get_price", "delete_item", "refund"):
        answer = await gate.answer(tool)
        assert (answer.outcome, answer.reason_code, answer.permit) == (UNAVAILABLE, "AUDIT_UNWRITABLE", "")
        assert re.search("disk is full|No space left on device", answer.message)
        assert "free space there" in answer.message
    await gate.sidecar.server.tell_health()
    assert await gate.health() == "NOT_SERVING"
    disk.empty()
    await until(gate.sidecar.audit.probe)
    assert (await gate.answer("get_price")).outcome == ALLOWED


async def test_I13_holds_end_when_the_log_cannot_be_written(cramped: tuple[Running, Disk], hub: ScriptedHub) -> None:
    """Another call finds the disk full: who waits is told UNAVAILABLE with the handle, and the request stays."""
    gate, disk = cramped
    call, request = await waiting(gate, hub)
    await gate.waits(1)
    disk.fill()
    await gate.answer("get_price")
    answer = await call
    assert (answer.outcome, answer.reason_code, answer.handle) == (UNAVAILABLE, "AUDIT_UNWRITABLE", request.handle)
    assert hub.cancelled == []


async def test_I2_an_approval_that_cannot_be_recorded_is_not_consumed(
    cramped: tuple[Running, Disk], hub: ScriptedHub
) -> None:
    """Approved while the disk is full: UNAVAILABLE, and the approval is not used up; with room again it is."""
    gate, disk = cramped
    call, request = await waiting(gate, hub)
    await gate.waits(1)
    disk.fill()
    hub.approve(request)
    assert (await call).outcome == UNAVAILABLE
    assert hub.consumed == []
    disk.empty()
    await until(gate.sidecar.audit.probe)
    assert (await gate.answer("refund", REFUND)).outcome == ALLOWED
    assert verify(gate.options.state / "audit").problems == ()


async def test_I2_a_limit_that_cannot_be_kept_is_not_used(cramped: tuple[Running, Disk]) -> None:
    """A limited call whose charge does not fit on the disk is refused: nothing runs uncounted."""
    gate, disk = cramped
    disk.fill()
    answer = await gate.answer("limited")
    assert (answer.outcome, answer.permit) == (UNAVAILABLE, "")
