"""What is wrong with a log: changed, removed, reordered and inserted records, missing tails and missing epochs.

Alone, a log proves that nothing before its last record was touched. That the end is the end needs heads kept elsewhere:
give them as `anchors`. Whoever can rewrite every line can also rewrite every hash; anchors are what he cannot reach.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hitl.audit.chain import NO_HASH, AuditRecord, Head, RecordKind, hash_of
from hitl.audit.files import Line, lines_of
from hitl.errors import InvalidInput


class ProblemKind(StrEnum):
    """What was done to a log."""

    CHANGED = "changed"
    MISSING = "missing"
    REORDERED = "reordered"
    UNREADABLE = "unreadable"
    FORKED = "forked"
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True)
class ChainProblem:
    """One sign of tampering or loss, and where it shows."""

    kind: ProblemKind
    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.kind}: {self.message}"


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found.

    Attributes:
        records: lines that are records.
        epochs: sidecar processes that wrote them.
        problems: empty where the chain holds.
        notes: what is no tampering and worth knowing: torn tails, processes that were killed.
        heads: the newest record of every epoch, for anchoring the next time.
    """

    records: int
    epochs: int
    problems: tuple[ChainProblem, ...]
    notes: tuple[str, ...] = ()
    heads: tuple[Head, ...] = ()


def verify(source: Path | Iterable[bytes], anchors: Iterable[Head] = ()) -> Report:
    """Walk a log (file, directory of segments, or its lines with their newlines) and say everything that is wrong."""
    walk = Walk({(anchor.epoch, anchor.sequence): anchor.hash for anchor in anchors})
    lines = lines_of(source) if isinstance(source, Path) else _numbered(source)
    for line in lines:
        walk.step(line)
    return walk.report()


def _numbered(lines: Iterable[bytes]) -> Iterable[Line]:
    for number, text in enumerate(lines, 1):
        yield Line(text.rstrip(b"\n"), f"line {number}", is_torn=not text.endswith(b"\n"))


@dataclass(slots=True)
class Walk:
    """Where the walk stands. `hash` is None behind a line that nothing can be said about."""

    anchors: dict[tuple[str, int], str]
    epoch: str = ""
    sequence: int = 0
    hash: str | None = NO_HASH
    place: str = ""
    stopped: bool = True
    records: int = 0
    problems: list[ChainProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    heads: dict[str, Head] = field(default_factory=dict)

    def step(self, line: Line) -> None:
        if line.is_torn:
            self.notes.append(
                f"{line.place}: torn line of {len(line.text)} bytes: a crash or a full disk cut it while it was "
                f"written; its call was refused"
            )
            return
        try:
            record = AuditRecord.parse(line.text)
        except InvalidInput as error:
            self._problem(ProblemKind.UNREADABLE, line.place, str(error))
            self.sequence += 1  # something stood here
            self.hash = None
            return
        self.records += 1
        if record.epoch == self.epoch:
            self._next_of_epoch(record, line.place)
        elif record.epoch in self.heads:
            self._problem(
                ProblemKind.REORDERED,
                line.place,
                f"record {record.sequence} of epoch {record.epoch} stands after records of epoch {self.epoch}",
            )
        else:
            self._first_of_epoch(record, line.place)
        self._move(record, line)

    def begin_behind(self, head: Head) -> None:
        """What follows was linked to this record, which is not here any more and whose absence is accounted for."""
        self.epoch, self.sequence, self.hash, self.stopped = head.epoch, head.sequence, head.hash, True

    def _next_of_epoch(self, record: AuditRecord, place: str) -> None:
        wanted = self.sequence + 1
        if record.sequence > wanted:
            gone = _span(wanted, record.sequence - 1)
            self._problem(ProblemKind.MISSING, place, f"{gone} of epoch {self.epoch} before this line")
        elif record.sequence < wanted:
            self._problem(
                ProblemKind.REORDERED,
                place,
                f"record {record.sequence} of epoch {self.epoch} stands after record {self.sequence}: moved or put in",
            )
        elif self.hash is not None and record.prev != self.hash:
            self._problem(
                ProblemKind.CHANGED,
                self.place,
                f"record {self.sequence} of epoch {self.epoch} is not what record {record.sequence} was linked to",
            )

    def _first_of_epoch(self, record: AuditRecord, place: str) -> None:
        self._note_unfinished()
        if record.sequence != 1:
            gone = _span(1, record.sequence - 1)
            self._problem(ProblemKind.MISSING, place, f"{gone} of epoch {record.epoch}: its beginning")
            return
        if self.hash is None or record.prev == self.hash:
            return
        previous = record.details.get("previous") if record.kind is RecordKind.START else None
        epoch, sequence = (previous.get("epoch"), previous.get("seq")) if isinstance(previous, dict) else (None, None)
        if epoch == self.epoch and isinstance(sequence, int) and sequence > self.sequence:
            gone = _span(self.sequence + 1, sequence)
            self._problem(ProblemKind.MISSING, self.place, f"{gone} of epoch {self.epoch} after this line: its end")
        elif epoch == self.epoch:
            self._problem(
                ProblemKind.CHANGED,
                self.place,
                f"record {self.sequence} of epoch {self.epoch} is not the one that epoch {record.epoch} began from",
            )
        else:
            self._problem(
                ProblemKind.MISSING,
                place,
                f"epoch {record.epoch} began from epoch {epoch or '?'} record {sequence or '?'}, which is not here",
            )

    def _move(self, record: AuditRecord, line: Line) -> None:
        digest = hash_of(line.text)
        anchor = self.anchors.pop((record.epoch, record.sequence), digest)
        if anchor != digest:
            self._problem(
                ProblemKind.CHANGED,
                line.place,
                f"record {record.sequence} of epoch {record.epoch} is not the one whose hash was kept elsewhere",
            )
        self.epoch, self.sequence, self.hash, self.place = record.epoch, record.sequence, digest, line.place
        self.stopped = record.kind is RecordKind.STOP
        self.heads[record.epoch] = Head(record.epoch, record.sequence, digest)

    def _note_unfinished(self) -> None:
        if not self.stopped:
            self.notes.append(f"{self.place}: epoch {self.epoch} has no stop record: its process was killed")

    def report(self) -> Report:
        for epoch, sequence in self.anchors:
            seen = self.heads.get(epoch)
            self._problem(
                ProblemKind.MISSING,
                self.place or "the log",
                f"record {sequence} of epoch {epoch} is known elsewhere, but "
                + (f"that epoch ends here at {seen.sequence}" if seen else "no record of that epoch is here"),
            )
        return Report(
            self.records, len(self.heads), tuple(self.problems), tuple(self.notes), tuple(self.heads.values())
        )

    def _problem(self, kind: ProblemKind, place: str, message: str) -> None:
        self.problems.append(ChainProblem(kind, place, message))


def _span(first: int, last: int) -> str:
    return f"record {first} is missing" if first == last else f"records {first}–{last} are missing"
