"""`verify_archive` on archives that the hub's own code wrote: honest ones hold, all others are found (SECURITY H2)."""

import asyncio
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evidence.archives import KEY, NOON, Log, a_checked, an_archive, said, shipped, who
from hitl.audit.archive import ArchiveReport, verify_archive
from hitl.audit.report import rows_of
from hitl.audit.signing import AuditKey, PublicKeys
from hitl.audit.verify import ProblemKind
from hitl_operator.archive.archive import EndedRequest
from hitl_operator.archive.expiry import expire

REQUEST = EndedRequest("uid-r", "77", NOON, {"metadata": {"uid": "uid-r"}, "status": {"state": "Denied"}})


def kinds(report: ArchiveReport) -> set[ProblemKind]:
    return {problem.kind for problem in report.problems}


async def an_honest_one(folder: Path) -> dict[str, Log]:
    """Two pods, one of them with two epochs, through two runs of the hub, with what came twice; its logs."""
    logs = {"uid-1": Log(), "uid-2": Log()}
    first = an_archive(folder)
    await first.open()
    await shipped(first, logs["uid-1"].epoch("e1", 4, stop=False))
    second_pod = logs["uid-2"].epoch("x1", 6)
    await shipped(first, second_pod[:3], who("uid-2"))
    first.said(said(logs["uid-2"].head, who("uid-2")))
    await first.keep_requests([REQUEST])
    await first.close()
    second = an_archive(folder, run="hub-2")
    await second.open()
    await shipped(second, second_pod[2:], who("uid-2"))
    await shipped(second, logs["uid-1"].epoch("e2", 2))
    await second.keep_policy(b'{"schema":1}')
    await second.close()
    return logs


async def test_H2_an_honest_history_holds(tmp_path: Path) -> None:
    """H2: through a restart of hub and sidecar, with a line handed over twice, everything is there once."""
    await an_honest_one(tmp_path)
    report = a_checked(tmp_path)
    assert report.problems == ()
    assert (report.pods, report.epochs, report.records) == (2, 3, 17)
    assert (report.requests, report.policies, report.keys) == (1, 1, (KEY.fingerprint,))


def lines_of(folder: Path) -> list[tuple[Path, list[bytes]]]:
    return [(file, file.read_bytes().splitlines(True)) for file in sorted(folder.glob("*/*/*.jsonl"))]


def rewritten(folder: Path, change: Callable[[str, list[bytes]], list[bytes]]) -> None:
    """Every segment as `change` makes it of the file's name and its lines."""
    for file, lines in lines_of(folder):
        if file.parts[-3] == "segments":
            file.write_bytes(b"".join(change(file.name, lines)))


async def test_H2_a_cut_tail_is_found(tmp_path: Path) -> None:
    """H2: without its last record a log that was acknowledged whole is short, and the epoch and record are named."""
    await an_honest_one(tmp_path)
    rewritten(tmp_path, lambda name, lines: lines[:-1] if name.startswith("hub-2") else lines)
    report = a_checked(tmp_path)
    assert kinds(report) == {ProblemKind.MISSING}
    assert any("record 4 of epoch e2" in str(each) for each in report.problems)


async def test_H2_a_dropped_epoch_is_found(tmp_path: Path) -> None:
    """H2: a process of which not one record is left is named, first, last or only one of its pod."""
    await an_honest_one(tmp_path)
    for epoch in (b"e1", b"e2", b"x1"):
        copy = tmp_path.with_name(f"copy-{epoch.decode()}")
        shutil.copytree(tmp_path, copy)
        mark = b'"epoch":"' + epoch + b'","seq"'
        rewritten(copy, lambda _, lines, mark=mark: [line for line in lines if mark not in line])  # type: ignore[misc]
        report = a_checked(copy)
        assert ProblemKind.MISSING in kinds(report)
        assert any(f"epoch {epoch.decode()}" in str(each) for each in report.problems)


async def test_H2_a_dropped_segment_or_run_of_checkpoints_is_found(tmp_path: Path) -> None:
    """H2: any one file that is taken away is missed, but the newest run's end, which nobody saw yet."""
    await an_honest_one(tmp_path)
    for number, (file, _) in enumerate(lines_of(tmp_path)):
        copy = tmp_path.with_name(f"copy-{number}")
        shutil.copytree(tmp_path, copy)
        (copy / file.relative_to(tmp_path)).unlink()
        assert a_checked(copy).problems, file


async def test_H2_swapped_lines_and_segments_do_not_hide_a_change(tmp_path: Path) -> None:
    """H2: order within files is nothing that counts, so swapping them changes nothing; what they say does."""
    await an_honest_one(tmp_path)
    rewritten(tmp_path, lambda _, lines: lines[::-1])
    assert a_checked(tmp_path).problems == ()
    rewritten(tmp_path, lambda _, lines: [line.replace(b"uid-1\t", b"uid-9\t") for line in lines])
    assert {ProblemKind.MISSING, ProblemKind.UNSIGNED} <= kinds(a_checked(tmp_path))


async def test_H2_a_forked_chain_is_found(tmp_path: Path) -> None:
    """H2: a sidecar that shows one record 3 to one replica and another to the next is found by both."""
    log, other = Log(), Log()
    log.epoch("e1", 4)
    other.epoch("e1", 4, summary="what really happened")
    for run, lines in (("hub-1", log.lines), ("hub-2", other.lines)):
        archive = an_archive(tmp_path, run=run)
        await archive.open()
        await shipped(archive, lines)
        await archive.close()
    report = a_checked(tmp_path)
    assert ProblemKind.FORKED in kinds(report)
    assert any("two records 2 of epoch e1" in str(each) for each in report.problems)


async def test_H2_a_log_that_was_written_anew_is_found_by_what_was_said_before(tmp_path: Path) -> None:
    """H2: the hub heard of a head with a release; the log handed over later has another record there."""
    log, forged = Log(), Log()
    log.epoch("e1", 4)
    forged.epoch("e1", 4, summary="nothing")
    archive = an_archive(tmp_path)
    await archive.open()
    archive.said(said(log.head))
    await archive.tick()
    await shipped(archive, forged.lines)
    await archive.close()
    assert ProblemKind.FORKED in kinds(a_checked(tmp_path))


async def test_H2_a_sidecar_that_stops_handing_over_is_found(tmp_path: Path) -> None:
    """H2: what it said of itself is signed; what never came is missing, unless it was said just now."""
    log, at = Log(), [NOON]
    lines = log.epoch("e1", 4)
    archive = an_archive(tmp_path, clock=lambda: at[0])
    await archive.open()
    await shipped(archive, lines[:2])
    archive.said(said(log.head))
    await archive.tick()
    report = a_checked(tmp_path)
    assert report.problems == ()
    assert any("record 6 of epoch e1 was not handed over yet" in note for note in report.notes)
    at[0] += timedelta(hours=1)
    await archive.keep_policy(b"{}")
    await archive.close()
    assert kinds(a_checked(tmp_path)) == {ProblemKind.MISSING}


async def test_H2_what_nobody_signed_proves_nothing(tmp_path: Path) -> None:
    """H2: checkpoints under a key that the auditor does not hold, and records put in afterwards, are named."""
    await an_honest_one(tmp_path)
    strange = PublicKeys([AuditKey(bytes(32)).pem])
    assert ProblemKind.UNSIGNED in kinds(verify_archive(tmp_path, strange.is_good))
    segment = next(file for file, _ in lines_of(tmp_path) if file.parts[-3] == "segments")
    put_in = Log()
    put_in.epoch("made-up", 2)
    with segment.open("ab") as file:
        file.write(b"".join(b"uid-7\t" + line for line in put_in.lines))
    (problem,) = a_checked(tmp_path).problems
    assert problem.kind is ProblemKind.UNSIGNED
    assert "uid-7" in problem.message


async def test_H2_requests_and_policies_are_as_they_were_signed(tmp_path: Path) -> None:
    """H2: a changed or removed request is named by its file; so is a policy text that records were decided under."""
    await an_honest_one(tmp_path)
    (request,) = tmp_path.glob("requests/*/*.json")  # noqa: ASYNC240
    request.write_bytes(request.read_bytes().replace(b"Denied", b"Failed"))
    (policy,) = tmp_path.glob("policies/*.json")  # noqa: ASYNC240
    policy.unlink()
    assert kinds(a_checked(tmp_path)) == {ProblemKind.CHANGED, ProblemKind.MISSING}


async def test_H2_a_record_without_its_policy_text_is_found(tmp_path: Path) -> None:
    """H2: a revision that no archived text has the name of is named."""
    archive, log = an_archive(tmp_path), Log()
    await archive.open()
    await shipped(archive, log.epoch("e1", revision="a" * 64))
    await archive.close()
    (problem,) = a_checked(tmp_path).problems
    assert "the policy text of revision aaaa" in problem.message


async def test_H2_what_went_for_its_age_is_not_missed_and_nothing_else_may_go(tmp_path: Path) -> None:
    """H2: days that are deleted after a signed note leave a whole archive; without the note they are missed."""
    log, at = Log(), [NOON]
    archive = an_archive(tmp_path, clock=lambda: at[0], monotonic=lambda: 86400.0 * (at[0] - NOON).days)
    await archive.open()
    await shipped(archive, log.epoch("e1", 3, stop=False))
    await archive.keep_requests([REQUEST])
    later = log.epoch("e2", 3)
    await shipped(archive, later[:2])
    at[0] += timedelta(days=390)
    await shipped(archive, later[2:])
    unnoted = tmp_path.with_name("unnoted")
    shutil.copytree(tmp_path, unnoted)
    shutil.rmtree(unnoted / "segments" / "2026-05-01")
    assert ProblemKind.MISSING in kinds(a_checked(unnoted))
    at[0] += timedelta(days=20)
    await archive.tick()
    assert not (tmp_path / "segments" / "2026-05-01").exists()
    assert not (tmp_path / "checkpoints" / "2026-05-01").exists()
    assert not (tmp_path / "requests" / "2026-05-01").exists()
    assert a_checked(tmp_path).problems == ()
    await archive.close()


def test_nothing_goes_before_its_time(tmp_path: Path) -> None:
    """A folder of exactly so many days stays, and what is no day of ours is not touched."""
    for name in ("2026-05-01", "notes"):
        (tmp_path / "segments" / name).mkdir(parents=True)
    expire(tmp_path, NOON.date() + timedelta(days=400), 400, lambda _: None)
    assert sorted(each.name for each in (tmp_path / "segments").iterdir()) == ["2026-05-01", "notes"]
    expire(tmp_path, NOON.date() + timedelta(days=401), 400, lambda _: None)
    assert [each.name for each in (tmp_path / "segments").iterdir()] == ["notes"]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One honest archive; each example changes a copy of one of its files."""
    folder = tmp_path_factory.mktemp("honest")
    asyncio.run(an_honest_one(folder))
    return folder


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_H2_any_single_bit_that_changes_is_found(honest: Path, data: st.DataObject) -> None:
    """H2: whichever bit of whichever line, request or policy text turns over, something is wrong with the archive."""
    files = sorted(file for file in honest.rglob("*") if file.is_file() and file.suffix in (".jsonl", ".json"))
    file = data.draw(st.sampled_from(files))
    whole = file.read_bytes()
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        file.write_bytes(changed)
        report = a_checked(honest)
        # Without its newline the last line of a file is as if it was being written; where it is needed it is missed.
        is_torn = bit // 8 == len(whole) - 1 and any("torn line" in note for note in report.notes)
        assert report.problems or is_torn, f"{file.name}, byte {bit // 8} of {len(whole)}"
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize(
    "change",
    [
        (b'"epoch":"e1"', b'"epoch":{"a":1}'),
        (b'"epoch":"e1"', b'"epoch":"' + b"e" * 5000 + b'"'),
        (b'"seq":4', b'"seq":true'),
        (b'"seq":4', b'"seq":99999999999999999999999'),
        (b'"time":"2026-05-01T12:00:00Z"', b'"time":"2026-05-01T12:00:00"'),
        (b'"time":"2026-05-01T12:00:00Z"', b'"time":"9999-12-31T23:59:59-14:00"'),
        (b'"decision":"Allow"', b'"revision":["x"]'),
        (b'"decision":"Allow"', b'"human_decision":[1]'),
        (b'"kind":"verdict"', b'"kind":"\xff"'),
    ],
)
async def test_H2_no_line_of_a_lying_sidecar_keeps_others_from_being_verified(
    tmp_path: Path, change: tuple[bytes, bytes]
) -> None:
    """H2: whatever stands where a record should, it is archived and named, and the honest pod beside it holds."""
    archive, honest, liar = an_archive(tmp_path), Log(), Log()
    lines = liar.epoch("e1", 3, stop=False)
    assert change[0] in lines[-1]
    await shipped(archive, honest.epoch("x1"))
    await shipped(archive, [*lines[:-1], lines[-1].replace(*change)], who("uid-liar", "liar-1"))
    await archive.close()
    report = a_checked(tmp_path)
    assert report.problems
    assert {("uid-liar" in str(each)) or ("liar-1" in str(each)) for each in report.problems} == {True}
    assert rows_of(tmp_path, PublicKeys([KEY.pem]).is_good, since=None, until=None) == []
