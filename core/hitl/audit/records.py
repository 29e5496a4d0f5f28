"""The records of an archive by the pod that wrote them: all runs put together, what came twice once. Reads."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from hitl.audit.chain import AuditRecord, RecordKind, hash_of
from hitl.audit.files import Line
from hitl.audit.layout import LINES, SEGMENTS
from hitl.audit.runs import lines_with_place
from hitl.audit.verify import ChainProblem, ProblemKind
from hitl.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Stood:
    """Where a record stands: file, bytes, and line for people."""

    hash: str
    file: int
    offset: int
    size: int
    number: int


@dataclass(slots=True)
class Epoch:
    """One process of a sidecar.

    Attributes:
        records: by sequence.
        previous: epoch and sequence that its first record names; None where that is not here, or it was the first.
        began: time of the first record that was found.
    """

    name: str
    began: datetime
    records: dict[int, Stood] = field(default_factory=dict)
    previous: tuple[str, int] | None = None


@dataclass(slots=True)
class Records:
    """All of an archive, as an index: the lines themselves stay on the disk.

    Attributes:
        pods: epochs of each pod's UID.
        revisions: that records name, each with the time of the first.
        compilers: that configs were compiled with.
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    pods: defaultdict[str, dict[str, Epoch]] = field(default_factory=lambda: defaultdict(dict))
    revisions: dict[str, datetime] = field(default_factory=dict)
    compilers: set[str] = field(default_factory=set)
    problems: list[ChainProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    count: int = 0

    def in_order(self, pod: str) -> Iterator[tuple[Epoch, Iterator[Line]]]:
        """A pod's epochs as they followed each other, each with its lines in their order."""
        for epoch in ordered(self.pods[pod]):
            yield epoch, self._lines(epoch)

    def _lines(self, epoch: Epoch) -> Iterator[Line]:
        open_file: tuple[int, Any] | None = None
        try:
            for _, stood in sorted(epoch.records.items()):
                if open_file is None or open_file[0] != stood.file:
                    if open_file is not None:
                        open_file[1].close()
                    open_file = stood.file, self.files[stood.file].open("rb")
                open_file[1].seek(stood.offset)
                yield Line(open_file[1].read(stood.size), self.place(stood))
        finally:
            if open_file is not None:
                open_file[1].close()

    def place(self, stood: Stood) -> str:
        """For people."""
        return f"{self.files[stood.file].relative_to(self.root)}:{stood.number}"


def read_records(root: Path) -> Records:
    """Every record of an archive. One that came twice, after a crash or through two replicas, counts once."""
    found = Records(root, sorted((root / SEGMENTS).glob(f"*/*{LINES}")))
    for index, file in enumerate(found.files):
        offset = 0
        for number, line in enumerate(lines_with_place(root, file), 1):
            pod, mark, text = line.text.partition(b"\t")
            size = len(line.text) + 1
            if line.is_torn:
                found.notes.append(f"{line.place}: torn line: a crash cut it; nobody was told that it is here")
            elif not mark:
                found.problems.append(ChainProblem(ProblemKind.UNREADABLE, line.place, "not a pod, a tab and a record"))
            else:
                stood = Stood(hash_of(text), index, offset + len(pod) + 1, len(text), number)
                _take(found, pod.decode(errors="backslashreplace"), text, stood)
            offset += size
    return found


def _take(found: Records, pod: str, text: bytes, stood: Stood) -> None:
    try:
        record = AuditRecord.parse(text)
    except InvalidInput as error:
        found.problems.append(ChainProblem(ProblemKind.UNREADABLE, found.place(stood), f"pod {pod}: {error}"))
        return
    epochs = found.pods[pod]
    epoch = epochs.setdefault(record.epoch, Epoch(record.epoch, record.time))
    known = epoch.records.setdefault(record.sequence, stood)
    if known.hash != stood.hash:
        found.problems.append(
            ChainProblem(
                ProblemKind.FORKED,
                found.place(stood),
                f"pod {pod} has two records {record.sequence} of epoch {record.epoch}: this one and that of "
                f"{found.place(known)}",
            )
        )
    if known is not stood:
        return
    found.count += 1
    if record.sequence == 1:
        epoch.previous = _previous(record)
    if record.revision:
        time = found.revisions.get(record.revision, record.time)
        found.revisions[record.revision] = min(time, record.time)
    if record.kind is RecordKind.CONFIG and isinstance(compiler := record.details.get("compiler"), str):
        found.compilers.add(compiler)


def _previous(record: AuditRecord) -> tuple[str, int] | None:
    named = record.details.get("previous")
    if not isinstance(named, dict):
        return None
    epoch, sequence = named.get("epoch"), named.get("seq")
    return (epoch, sequence) if isinstance(epoch, str) and isinstance(sequence, int) else None


def ordered(epochs: dict[str, Epoch]) -> list[Epoch]:
    """As each names the one before it; where that is not here, by time."""
    following: defaultdict[str, list[Epoch]] = defaultdict(list)
    waiting: list[Epoch] = []
    for epoch in sorted(epochs.values(), key=lambda each: (each.began, each.name)):
        before = epoch.previous
        if before is not None and before[0] in epochs and before[0] != epoch.name:
            following[before[0]].append(epoch)
        else:
            waiting.append(epoch)
    found: list[Epoch] = []
    seen: set[str] = set()
    waiting.reverse()
    rest = iter(epochs.values())  # one for all circles: a sidecar may make up as many as it has lines
    while waiting or len(found) < len(epochs):
        # What is left names itself in a circle, which no honest sidecar can.
        epoch = waiting.pop() if waiting else next(each for each in rest if each.name not in seen)
        if epoch.name not in seen:
            seen.add(epoch.name)
            found.append(epoch)
            waiting.extend(reversed(following[epoch.name]))
    return found
