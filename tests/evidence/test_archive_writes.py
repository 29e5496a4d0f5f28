"""What the archive is told to keep is on its disk, whole and signed; what it refuses is said (SECURITY H2, B5)."""

import asyncio
import os
import stat
from pathlib import Path

import orjson
import pytest

from evidence.archives import KEY, NOON, Log, an_archive, checkpoints, said, shipped, who
from hitl.audit.layout import key_file
from hitl.audit.signing import PublicKeys
from hitl.errors import InvalidInput, Refused, Unavailable
from hitl.v1 import hub_pb2
from hitl_operator.archive.archive import EndedRequest
from hitl_operator.archive.segments import LARGEST, piece_of
from hitl_operator.archive.shipping import Shipping

EVER = 120.0  # seconds after which a test has failed


def stored(folder: Path) -> list[bytes]:
    return [line for file in sorted(folder.glob("segments/*/*.jsonl")) for line in file.read_bytes().splitlines(True)]


def found(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


async def test_H2_what_is_acknowledged_stands_there_byte_by_byte_and_is_signed(tmp_path: Path) -> None:
    """H2: lines stand behind their pod's uid as they were sent, and a checkpoint names their last record."""
    archive, log = an_archive(tmp_path), Log()
    await archive.open()
    lines = log.epoch("e1")
    await shipped(archive, lines)
    assert stored(tmp_path) == [b"uid-1\t" + line for line in lines]
    head = checkpoints(tmp_path)[-1].heads[0]
    assert (head.pod, head.epoch, head.sequence, head.hash, head.stored) == ("uid-1", "e1", 5, log.head.hash, True)
    await archive.close()


async def test_H2_many_sidecars_at_once_share_syncs_and_lose_nothing(tmp_path: Path) -> None:
    """H2: two hundred pods that hand over at the same time are all there, in far fewer checkpoints than pods."""
    archive = an_archive(tmp_path)
    await archive.open()
    logs = {f"uid-{number}": Log() for number in range(200)}
    await asyncio.gather(*(shipped(archive, log.epoch("e1"), who(pod)) for pod, log in logs.items()))
    assert len(stored(tmp_path)) == 1000
    assert {head.pod for each in checkpoints(tmp_path) for head in each.heads} == logs.keys()
    assert len(checkpoints(tmp_path)) < 100
    await archive.close()


async def test_files_are_for_the_account_and_its_group(tmp_path: Path) -> None:
    """Nobody else may read evidence, and only the operator may write it: 0640, and 0750 for folders."""
    folder = tmp_path / "archive"
    archive = an_archive(folder)
    old = os.umask(0o077)
    try:
        await archive.open()
        await shipped(archive, Log().epoch("e1"))
        await archive.keep_policy(b"{}")
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(each.stat().st_mode) for each in folder.rglob("*") if each.is_file()}
    assert modes == {0o640}
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.rglob("*") if each.is_dir()} == {0o750}
    await archive.close()


async def test_the_public_key_stands_beside_what_it_signed(tmp_path: Path) -> None:
    """An auditor finds the public key in the archive, to be compared with the one that the cluster publishes."""
    archive = an_archive(tmp_path)
    await archive.open()
    keys = PublicKeys([(tmp_path / key_file(KEY.fingerprint)).read_bytes()])
    assert keys.fingerprints == (KEY.fingerprint,)
    await archive.close()


async def test_requests_and_policies_are_kept_once_and_signed(tmp_path: Path) -> None:
    """The same version of a request kept twice is one file; a policy text is named by its hash."""
    archive = an_archive(tmp_path)
    await archive.open()
    request = EndedRequest("uid-r", "77", NOON, {"metadata": {"uid": "uid-r"}, "status": {"state": "Denied"}})
    await archive.keep_requests([request])
    await archive.keep_requests([request])
    await archive.keep_policy(b'{"schema":1}')
    (kept,) = found(tmp_path, "requests/2026-05-01/*.json")
    assert orjson.loads(kept.read_bytes()) == request.document
    files = {file.path for each in checkpoints(tmp_path) for file in each.files}
    assert str(kept.relative_to(tmp_path)) in files
    assert len(files) == 2
    await archive.close()


async def test_H2_a_run_names_the_ends_of_those_before_it(tmp_path: Path) -> None:
    """H2: so a run of checkpoints that vanishes later, or loses its end, is missed."""
    first = an_archive(tmp_path)
    await first.open()
    await shipped(first, Log().epoch("e1"))
    await first.close()
    second = an_archive(tmp_path, run="hub-2")
    await second.open()
    (saw,) = checkpoints(tmp_path)[-1].saw
    assert (saw.run, saw.sequence) == ("hub-1", len(checkpoints(tmp_path)) - 1)
    await second.close()


async def test_H2_what_sidecars_say_is_signed_though_they_hand_nothing_over(tmp_path: Path) -> None:
    """H2: heads that come with holds and releases are in the next checkpoint, and so are two that contradict."""
    archive, log, other = an_archive(tmp_path), Log(), Log()
    await archive.open()
    log.epoch("e1")
    other.epoch("e1", summary="forged")
    archive.said(said(log.head))
    archive.said(said(other.head))
    await archive.tick()
    heads = checkpoints(tmp_path)[-1].heads
    assert {(head.sequence, head.hash, head.stored) for head in heads} == {
        (5, log.head.hash, False),
        (5, other.head.hash, False),
    }
    await archive.close()


async def test_B5_one_pod_hands_over_one_call_at_a_time_and_no_more_than_fits(tmp_path: Path) -> None:
    """B5: a second call of the same pod is refused at once, too large or half lines are refused by name."""
    archive = an_archive(tmp_path)
    await archive.open()
    shipping, lines = Shipping(archive), b"".join(Log().epoch("e1"))
    request = hub_pb2.ShipRequest(lines=lines)
    first = asyncio.create_task(shipping.ship(who(), request))
    await asyncio.sleep(0)
    with pytest.raises(Refused):
        await shipping.ship(who(), request)
    assert (await shipping.ship(who("uid-2"), request)).archived
    assert (await first).archived
    with pytest.raises(InvalidInput, match="at most 1048576"):
        piece_of(who(), b"x" * LARGEST + b"\n")
    with pytest.raises(InvalidInput, match="whole lines"):
        piece_of(who(), lines[:-1])
    with pytest.raises(InvalidInput, match="has no uid"):
        piece_of(who("a\tb"), lines)
    await archive.close()


async def test_no_archive_is_said(tmp_path: Path) -> None:
    """A hub without an archive stores nothing and says so."""
    assert not (await Shipping(None).ship(who(), hub_pb2.ShipRequest(lines=b"x\n"))).archived


async def test_H2_a_disk_that_refuses_acknowledges_nothing_and_is_tried_again(tmp_path: Path) -> None:
    """H2: while the folder cannot be written nobody is told that it has something; afterwards everything is there."""
    folder, seconds = tmp_path / "archive", 0.0
    archive, log = an_archive(folder, monotonic=lambda: seconds), Log()
    await archive.open()
    lines = log.epoch("e1")
    (folder / "segments").write_text("not a folder")
    with pytest.raises(Unavailable, match="cannot be written"):
        await shipped(archive, lines)
    assert "segments" in archive.trouble
    (folder / "segments").unlink()
    await archive.keep_policy(b"{}")
    assert not found(folder, "policies/*"), "within a second of a refusal the disk is left alone"
    seconds = 2.0
    await shipped(archive, lines)
    await archive.tick()
    assert archive.trouble == ""
    assert len(stored(folder)) == 5
    assert len(found(folder, "policies/*.json")) == 1
    await archive.close()


async def test_H2_a_disk_that_hangs_counts_as_one_that_refuses(tmp_path: Path) -> None:
    """H2: where a file neither opens nor fails nobody waits for ever; when it goes on all does."""
    seconds, log = 0.0, Log()
    archive = an_archive(tmp_path, monotonic=lambda: seconds, patience=0.2)
    (tmp_path / "keys").mkdir()
    hanging = tmp_path / key_file(KEY.fingerprint)
    os.mkfifo(hanging)
    lines = log.epoch("e1")
    try:
        with pytest.raises(Unavailable, match="has not answered"):
            await shipped(archive, lines)
        seconds = 2.0
        async with asyncio.timeout(EVER):
            await archive.keep_policy(b"{}")
            with pytest.raises(Unavailable, match="has not answered"):
                await shipped(archive, lines)
            archive._patience = EVER  # what follows is written by a real disk, which may be slow
            hanging.open("wb").close()
            seconds = 4.0
            while archive.trouble:
                try:
                    await archive.tick()
                except Unavailable:
                    seconds += 2.0
                    await asyncio.sleep(0.01)
            await shipped(archive, lines)
        # What hung was written late, and counts once like everything that comes twice.
        assert set(stored(tmp_path)) == {b"uid-1\t" + line for line in lines}
        await archive.close()
    finally:  # a thread that still waits for the other end would keep this process for ever
        other_end = os.open(hanging, os.O_RDWR | os.O_NONBLOCK)
        hanging.unlink()
        os.close(other_end)
