"""What ended long ago goes, and only once an archive has it (DESIGN 8, SECURITY H2)."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cluster.voting import Court, Json
from hitl.errors import ApiError
from hitl_operator.cluster.cleanup import Archive, Cleanup, NoArchive, Resolved, overdue

NOW = datetime(2026, 5, 2, 12, tzinfo=UTC)


class FileArchive:
    """Keeps whole requests as files, named after uid and version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, request: Json) -> None:
        metadata = request["metadata"]
        (self.folder / f"{metadata['uid']}-{metadata['resourceVersion']}.json").write_text(json.dumps(request))

    async def has(self, resolved: Resolved) -> bool:
        return (self.folder / f"{resolved.uid}-{resolved.version}.json").exists()


def resolved(name: str, hours: float, namespace: str = "shop") -> Resolved:
    return Resolved(namespace, name, f"uid-{name}", "1", NOW - timedelta(hours=hours))


def test_what_ended_a_day_ago_is_overdue() -> None:
    """The time to live counts from the end, and the oldest goes first."""
    found = overdue([resolved("new", 23.9), resolved("old", 24), resolved("older", 30)], NOW)
    assert [each.name for each in found] == ["older", "old"]


def test_of_too_many_the_oldest_go_at_once() -> None:
    """Past the bound of one namespace the oldest need not wait for their day; other namespaces are not counted in."""
    many = [resolved(f"r{number}", number / 10) for number in range(6)]
    found = overdue([*many, resolved("elsewhere", 1, "lab")], NOW, most=4)
    assert [each.name for each in found] == ["r5", "r4"]


async def an_ended_request(court: Court, *, hours: float = 25) -> Json:
    """Cancelled so many hours ago."""
    request = await court.ask()
    at = (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    condition = {
        "type": "Cancelled", "status": "True", "reason": "Withdrawn", "message": "agent", "lastTransitionTime": at
    }  # fmt: skip
    status = {"state": "Cancelled", "conditions": [condition], "resolvedTime": at}
    async with court.operator() as api:
        return await court.outcome(request, status, api)


async def swept(court: Court, archive: Archive, *, leads: bool = True) -> int:
    async with court.operator() as api:
        return await Cleanup(api, archive, leads=lambda: leads).sweep()


async def is_there(court: Court, request: Json) -> bool:
    try:
        return bool(await court.look(request))
    except ApiError as error:
        if error.status != 404:
            raise
        return False


async def test_H2_what_the_archive_has_is_deleted_and_nothing_else(court: Court, tmp_path: Path) -> None:
    """H2: of three ended requests only that one goes which is old enough and confirmed in this very version."""
    archive = FileArchive(tmp_path)
    archived, unknown, recent = [await an_ended_request(court, hours=hours) for hours in (25, 25, 1)]
    waiting = await court.ask()
    for request in (archived, recent, waiting):
        archive.keep(request)
    assert await swept(court, archive) == 1
    there = [await is_there(court, request) for request in (archived, unknown, recent, waiting)]
    assert there == [False, True, True, True]


async def test_H2_without_an_archive_nothing_is_deleted(court: Court) -> None:
    """H2: as long as no archive is set up what ended stays, however old."""
    request = await an_ended_request(court, hours=1000)
    assert await swept(court, NoArchive()) == 0
    assert await is_there(court, request)


async def test_H2_what_was_written_after_it_was_archived_is_kept(court: Court, tmp_path: Path) -> None:
    """H2: a remark that came after the copy was taken is not lost: the request stays until that version is archived."""
    archive = FileArchive(tmp_path)
    request = await an_ended_request(court)
    archive.keep(request)
    async with court.operator() as api:
        changed = await court.outcome(request, {"notesApplied": 0, "escalated": 0}, api)
    assert await swept(court, archive) == 0
    archive.keep(changed)
    assert await swept(court, archive) == 1


async def test_only_the_leader_cleans_up(court: Court, tmp_path: Path) -> None:
    """A replica that does not hold the Lease deletes nothing."""
    archive = FileArchive(tmp_path)
    request = await an_ended_request(court)
    archive.keep(request)
    assert await swept(court, archive, leads=False) == 0
    assert await is_there(court, request)


async def test_deletions_are_bounded(court: Court, tmp_path: Path) -> None:
    """A backlog goes bit by bit: past so many deletions in a minute the rest waits for the next one."""
    archive = FileArchive(tmp_path)
    for _ in range(3):
        archive.keep(await an_ended_request(court))
    seconds = 0.0
    async with court.operator() as api:
        cleanup = Cleanup(api, archive, leads=lambda: True, per_minute=2, monotonic=lambda: seconds)
        assert await cleanup.sweep() == 2
        assert await cleanup.sweep() == 0
        seconds = 61.0
        assert await cleanup.sweep() == 1
