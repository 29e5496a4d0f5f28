"""The audit log's form: linked lines, and a `verify` that says what was done to them (SECURITY H2)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.audit import AuditRecord, Chain, Head, HumanDecision, ProblemKind, RecordKind, Report, read, segments, verify
from hitl.errors import InvalidInput

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def grow(chain: Chain, kind: RecordKind = RecordKind.VERDICT, **fields: Any) -> bytes:
    line = chain.peek(kind, NOON, fields)
    chain.accept(line)
    return line


def an_epoch(name: str, calls: int, previous: Head | None = None, *, stop: bool = True) -> tuple[list[bytes], Head]:
    """Start, some verdicts, stop; and the head it leaves behind."""
    chain = Chain(name, previous)
    named = {"epoch": previous.epoch, "seq": previous.sequence} if previous else None
    lines = [grow(chain, RecordKind.START, previous=named)]
    lines += [grow(chain, tool=f"shop/tool_{number}", decision="Allow") for number in range(calls)]
    if stop:
        lines.append(grow(chain, RecordKind.STOP))
    return lines, chain.head


def a_log() -> tuple[list[bytes], list[Head]]:
    """Two epochs of six records each, chained."""
    first, head = an_epoch("e1", 4)
    second, end = an_epoch("e2", 4, head)
    return first + second, [head, end]


def kinds(report: Report) -> list[ProblemKind]:
    return [problem.kind for problem in report.problems]


def test_H2_a_whole_log_verifies_and_is_counted() -> None:
    """A log nobody touched has no problems, and the report counts records, epochs and heads."""
    lines, heads = a_log()
    report = verify(lines, anchors=heads)
    assert (report.records, report.epochs, report.problems, report.notes) == (12, 2, (), ())
    assert list(report.heads) == heads


def test_H2_a_changed_record_is_named() -> None:
    """Rewriting one field of record 3 is reported as a change of record 3, at its line."""
    lines, _ = a_log()
    lines[2] = lines[2].replace(b'"Allow"', b'"Deny"')
    report = verify(lines)
    assert kinds(report) == [ProblemKind.CHANGED]
    assert report.problems[0].place == "line 3"
    assert "record 3 of epoch e1" in report.problems[0].message


def test_H2_a_removed_record_is_named() -> None:
    """Cutting records 3 and 4 out is reported once, with their numbers."""
    lines, _ = a_log()
    del lines[2:4]
    report = verify(lines)
    assert kinds(report) == [ProblemKind.MISSING]
    assert "records 3–4 are missing of epoch e1" in report.problems[0].message


def test_H2_reordered_records_are_named() -> None:
    """Two neighbours that changed places are reported as moved."""
    lines, _ = a_log()
    lines[2], lines[3] = lines[3], lines[2]
    assert ProblemKind.REORDERED in kinds(verify(lines))


def test_H2_an_inserted_record_is_named() -> None:
    """A forged record with a sequence that exists already is reported."""
    lines, _ = a_log()
    lines.insert(3, lines[2].replace(b'"Allow"', b'"Deny"'))
    assert ProblemKind.REORDERED in kinds(verify(lines))


def test_H2_a_line_that_is_no_record_is_named_once() -> None:
    """Garbage in place of a record is one problem, not a cascade."""
    lines, _ = a_log()
    lines[3] = b"\x00\x00\n"
    report = verify(lines)
    assert kinds(report) == [ProblemKind.UNREADABLE]
    assert report.problems[0].place == "line 4"


def test_H2_a_missing_epoch_is_named() -> None:
    """A log whose first epoch was taken away says from which epoch the rest began."""
    lines, _ = a_log()
    report = verify(lines[6:])
    assert kinds(report) == [ProblemKind.MISSING]
    assert "began from epoch e1 record 6, which is not here" in report.problems[0].message


def test_H2_a_cut_end_of_an_earlier_epoch_is_named() -> None:
    """The next epoch remembers how long the one before was, so its missing tail is counted."""
    lines, _ = a_log()
    report = verify(lines[:4] + lines[6:])
    assert kinds(report) == [ProblemKind.MISSING]
    assert "records 5–6 are missing of epoch e1" in report.problems[0].message


def test_H2_a_changed_last_record_of_an_epoch_is_named() -> None:
    """The next epoch began from its hash, so even the last record of an epoch cannot be rewritten."""
    lines, _ = a_log()
    lines[5] = lines[5].replace(b'"stop"', b'"start"')
    report = verify(lines)
    assert kinds(report) == [ProblemKind.CHANGED]
    assert "epoch e2 began from" in report.problems[0].message


def test_H2_a_missing_tail_shows_only_against_a_head_kept_elsewhere() -> None:
    """Nothing follows the end, so cutting it is invisible alone and reported with the hub's head as anchor."""
    lines, heads = a_log()
    assert verify(lines[:-2]).problems == ()
    report = verify(lines[:-2], anchors=heads)
    assert kinds(report) == [ProblemKind.MISSING]
    assert "record 6 of epoch e2 is known elsewhere, but that epoch ends here at 4" in report.problems[0].message


def test_H2_an_epoch_that_vanished_whole_shows_against_its_head() -> None:
    """An anchor of an epoch of which no record is left is reported as such."""
    first, head = an_epoch("e1", 1)
    report = verify(first, anchors=[head, Head("e9", 4, "f" * 64)])
    assert "no record of that epoch is here" in report.problems[0].message


def test_H2_a_log_rewritten_with_new_hashes_shows_against_its_anchor() -> None:
    """Whoever rewrites every line and every hash still cannot reach the head that the hub keeps."""
    _, head = an_epoch("e1", 3)
    forged, _ = an_epoch("e1", 2, stop=False)
    chain = Chain("e1")
    forged = [grow(chain, RecordKind.START, previous=None)]
    forged += [grow(chain, tool="shop/other", decision="Allow") for _ in range(3)]
    forged.append(grow(chain, RecordKind.STOP))
    assert verify(forged).problems == ()
    assert kinds(verify(forged, anchors=[head])) == [ProblemKind.CHANGED]


def test_H2_a_torn_tail_is_a_note_and_no_tampering() -> None:
    """A crash in the middle of a write leaves half a line: it is said so, and the next epoch goes on without it."""
    first, head = an_epoch("e1", 2, stop=False)
    second, _ = an_epoch("e2", 1, head)
    torn = verify([*first, b'{"epoch":"e1","seq":4,"pre'])
    assert torn.problems == ()
    assert "torn line of 26 bytes" in torn.notes[0]
    assert verify([*first, *second]).problems == ()


def test_H2_a_killed_process_is_noted() -> None:
    """An epoch without a stop record that another one follows is noted as killed."""
    first, head = an_epoch("e1", 1, stop=False)
    second, _ = an_epoch("e2", 1, head)
    assert "epoch e1 has no stop record" in verify(first + second).notes[0]


def test_segments_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    """A rotated log in a directory verifies and reads as one."""
    lines, heads = a_log()
    (tmp_path / "000002-e2.jsonl").write_bytes(b"".join(lines[6:]))
    (tmp_path / "000001-e1.jsonl").write_bytes(b"".join(lines[:6]))
    (tmp_path / "notes.txt").write_text("not a segment")
    assert [file.name for file in segments(tmp_path)] == ["000001-e1.jsonl", "000002-e2.jsonl"]
    assert verify(tmp_path, anchors=heads).problems == ()
    assert [record.sequence for record in read(tmp_path)] == [1, 2, 3, 4, 5, 6] * 2


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Every named field survives writing and reading; what is not named stands in `details`."""
    fields: dict[str, Any] = {
        "agent_id": "shop/deploy/support/support-1",
        "user": "ana@example.com",
        "tool": "stripe/create_refund",
        "arguments": {"amount": 15000},
        "decision": "Approved",
        "reason": "REVIEWER",
        "human_decision": {"approved": True, "response_time_ms": 48000},
        "reviewer": "bo@example.com",
        "proof": "ed25519:c2ln",
        "digest": "ab" * 32,
        "revision": "cd" * 32,
        "waits": {"held_ms": 48000},
        "odd": 1,
    }
    file = tmp_path / "a.jsonl"
    file.write_bytes(grow(Chain("e1"), RecordKind.DECISION, **fields))
    (record,) = read(file)
    assert record.human_decision == HumanDecision(approved=True, response_time_ms=48000)
    assert (record.time, record.kind, record.sequence) == (NOON, RecordKind.DECISION, 1)
    assert (record.arguments, record.waits, record.details) == ({"amount": 15000}, {"held_ms": 48000}, {"odd": 1})
    assert all(
        getattr(record, name) == fields[name] for name in ("agent_id", "user", "tool", "reviewer", "proof", "digest")
    )


def test_reading_names_file_and_line_of_what_is_no_record(tmp_path: Path) -> None:
    """A damaged line stops reading with its place and the command that says more; a torn tail does not."""
    file = tmp_path / "a.jsonl"
    lines, _ = an_epoch("e1", 1)
    file.write_bytes(b"".join(lines) + b'{"torn')
    assert len(list(read(file))) == 3
    file.write_bytes(lines[0] + b'{"epoch": 1}\n')
    with pytest.raises(InvalidInput, match=r"a\.jsonl:2: not an audit record .*hitl audit verify"):
        list(read(file))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"7",
        b'{"epoch":"e","seq":"1"}',
        b'{"epoch":"e","seq":0,"prev":"","time":"2026-05-01","kind":"stop"}',
    ],
)
def test_what_is_no_record_is_refused(line: bytes) -> None:
    """Lines that are JSON but no record, or no JSON at all, are InvalidInput and nothing else."""
    with pytest.raises(InvalidInput):
        AuditRecord.parse(line)


def _changed(lines: list[bytes], at: int, other: int) -> list[bytes]:
    record = orjson.loads(lines[at])
    record["forged"] = other
    return [*lines[:at], orjson.dumps(record) + b"\n", *lines[at + 1 :]]


def _removed(lines: list[bytes], at: int, _: int) -> list[bytes]:
    return lines[:at] + lines[at + 1 :]


def _swapped(lines: list[bytes], at: int, other: int) -> list[bytes]:
    swapped = list(lines)
    swapped[at], swapped[other] = swapped[other], swapped[at]
    return swapped


def _copied(lines: list[bytes], at: int, other: int) -> list[bytes]:
    return [*lines[:other], lines[at], *lines[other:]]


@given(st.sampled_from([_changed, _removed, _swapped, _copied]), st.integers(0, 11), st.integers(0, 11))
def test_H2_whatever_is_done_to_a_log_shows(tamper: Any, at: int, other: int) -> None:
    """Changing, removing, moving or copying any record is reported, wherever it stands, given the last heads."""
    lines, heads = a_log()
    tampered: Sequence[bytes] = tamper(lines, at, other)
    if list(tampered) == lines:
        return
    assert verify(tampered, anchors=heads).problems
