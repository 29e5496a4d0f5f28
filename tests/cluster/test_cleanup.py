"""What ended long ago goes, and only once an archive has it (DESIGN 8, SECURITY H2)."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.gated_pods import EVER
from cluster.voting import Court, Json
from evidence.archives import a_checked, an_archive
from hitl.audit.signing import PublicKeys
from hitl.errors import ApiError, Unavailable
from hitl.kube.paths import path_of
from hitl_operator.archive.archive import Archive
from hitl_operator.cluster.audit_key import NAME, open_audit_key, read_audit_key
from hitl_operator.cluster.cleanup import Cleanup, Resolved, overdue

NOW = datetime(2026, 5, 2, 12, tzinfo=UTC)


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


async def swept(court: Court, archive: Archive | None, *, leads: bool = True) -> int:
    async with court.operator() as api:
        return await Cleanup(api, archive, leads=lambda: leads).sweep()


async def is_there(court: Court, request: Json) -> bool:
    try:
        return bool(await court.look(request))
    except ApiError as error:
        if error.status != 404:
            raise
        return False


def kept(folder: Path, request: Json) -> list[Json]:
    """What the archive has of a request, oldest version first."""
    files = folder.glob(f"requests/*/{request['metadata']['uid']}.*.json")
    found = [json.loads(file.read_bytes()) for file in files]
    return sorted(found, key=lambda each: int(each["metadata"]["resourceVersion"]))


async def test_H2_what_ended_is_archived_and_only_what_is_old_goes(court: Court, tmp_path: Path) -> None:
    """H2: every ended request is in the archive, signed, as it stands; of them the old one is deleted."""
    archive = an_archive(tmp_path)
    old, recent = await an_ended_request(court), await an_ended_request(court, hours=1)
    waiting = await court.ask()
    await swept(court, archive)
    there = [await is_there(court, request) for request in (old, recent, waiting)]
    assert there == [False, True, True]
    (copy,) = kept(tmp_path, old)
    assert copy["spec"] == old["spec"]
    assert copy["status"]["state"] == "Cancelled"
    assert [len(kept(tmp_path, request)) for request in (recent, waiting)] == [1, 0]
    assert a_checked(tmp_path).problems == ()
    await archive.close()


async def test_H2_without_an_archive_nothing_is_deleted(court: Court) -> None:
    """H2: as long as no archive is set up what ended stays, however old."""
    request = await an_ended_request(court, hours=1000)
    assert await swept(court, None) == 0
    assert await is_there(court, request)


async def test_H2_what_the_archive_cannot_take_stays(court: Court, tmp_path: Path) -> None:
    """H2: while the archive cannot be written nothing is deleted; once it can, it goes, archived."""
    folder = tmp_path / "archive"
    folder.write_text("no folder")
    archive = an_archive(folder)
    request = await an_ended_request(court)
    assert await swept(court, archive) == 0
    assert await is_there(court, request)
    assert "archive" in archive.trouble
    folder.unlink()
    again = an_archive(folder, run="hub-2")
    await swept(court, again)
    assert not await is_there(court, request)
    assert len(kept(folder, request)) == 1
    for each in (archive, again):
        await each.close()


async def test_H2_whoever_dies_between_archive_and_delete_leaves_a_copy(court: Court, tmp_path: Path) -> None:
    """H2: the next leader archives the same version over again, deletes it then, and the archive is whole."""
    first, second = an_archive(tmp_path), an_archive(tmp_path, run="hub-2")
    request = await an_ended_request(court)
    leading = iter([True, False])
    async with court.operator() as api:
        assert await Cleanup(api, first, leads=lambda: next(leading, False)).sweep() == 0
    assert await is_there(court, request)
    assert len(kept(tmp_path, request)) == 1
    await swept(court, second)
    assert not await is_there(court, request)
    assert len(kept(tmp_path, request)) == 1
    for each in (first, second):
        await each.close()
    assert a_checked(tmp_path).problems == ()


async def test_H2_what_is_written_after_it_was_archived_is_archived_too(court: Court, tmp_path: Path) -> None:
    """H2: a remark that came after the copy was taken is in a second one before the request goes."""
    archive = an_archive(tmp_path)
    request = await an_ended_request(court, hours=1)
    async with court.operator() as api:
        cleanup = Cleanup(api, archive, leads=lambda: True)
        await cleanup.sweep()
        changed = await court.outcome(request, {"notesApplied": 0, "escalated": 0}, api)
        await cleanup.sweep()
    versions = [each["metadata"]["resourceVersion"] for each in kept(tmp_path, request)]
    assert versions == [request["metadata"]["resourceVersion"], changed["metadata"]["resourceVersion"]]
    await archive.close()


async def test_only_the_leader_cleans_up(court: Court, tmp_path: Path) -> None:
    """A replica that does not hold the Lease archives and deletes nothing."""
    archive = an_archive(tmp_path)
    request = await an_ended_request(court)
    assert await swept(court, archive, leads=False) == 0
    assert await is_there(court, request)
    assert kept(tmp_path, request) == []
    await archive.close()


async def test_deletions_are_bounded(court: Court, tmp_path: Path) -> None:
    """A backlog goes bit by bit: past so many deletions in a minute the rest waits for the next one."""
    archive = an_archive(tmp_path)
    requests = [await an_ended_request(court) for _ in range(3)]
    seconds = 0.0
    async with court.operator() as api:
        cleanup = Cleanup(api, archive, leads=lambda: True, per_minute=1, monotonic=lambda: seconds)
        for _ in range(2):
            assert await cleanup.sweep() <= 1
        assert sum([await is_there(court, request) for request in requests]) >= 2
        async with asyncio.timeout(EVER):
            while any([await is_there(court, request) for request in requests]):
                seconds += 61.0
                assert await cleanup.sweep() <= 1
    await archive.close()


async def test_H2_the_key_is_made_once_and_its_public_half_published(court: Court) -> None:
    """H2: two replicas that start at once sign with one key, and a ConfigMap has the public half for auditors."""
    async with court.operator() as api:
        first, second = await asyncio.gather(*(open_audit_key(api, "hitl-system") for _ in range(2)))
        published = await api.get(path_of("v1", "configmaps", "hitl-system", NAME))
    assert first.fingerprint == second.fingerprint
    assert first.pem.decode() in published["data"].values()
    text = b"a checkpoint"
    keys = PublicKeys([pem.encode() for pem in published["data"].values()])
    assert keys.is_good(first.fingerprint, text, second.sign(text))


@pytest.mark.parametrize("seed", ["", "no base64", "AAAA"])
def test_a_broken_key_is_named_and_not_shown(seed: str) -> None:
    """What stands in the Secret and is no key ends the start, with the next step."""
    with pytest.raises(Unavailable, match="restore it from a backup"):
        read_audit_key({"data": {"seed": seed}})
