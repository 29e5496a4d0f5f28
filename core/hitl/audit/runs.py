"""What the checkpoints of an archive vouch for, and what is wrong with them themselves. Reads; no clock, no writing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from hitl.audit.chain import NO_HASH
from hitl.audit.checkpoint import ChainHead, Checkpoint, IsGood, RunEnd, parse_checkpoint, signed_part
from hitl.audit.files import Line
from hitl.audit.layout import CHECKPOINTS, LINES, run_of
from hitl.audit.verify import ChainProblem, ProblemKind
from hitl.errors import InvalidInput


@dataclass(slots=True)
class Vouched:
    """What signed checkpoints say.

    Attributes:
        heads: of each pod, by epoch, the hash of the record at each sequence that was signed.
        stored: of each pod and epoch, the newest sequence that the archive had.
        said: of each pod, epoch and sequence that only its sidecar said, when.
        files: SHA-256 of files, by path.
        expired: folders that were deleted for their age.
        gone: of each pod and epoch, the last record that went with them.
        whose: namespace, workload and pod, by the pod's UID.
        keys: fingerprints of the keys that signed.
        problems, notes: of the checkpoints themselves.
        first, last: times of the oldest and the newest checkpoint; None where there is none.
    """

    heads: dict[str, dict[str, dict[int, str]]] = field(default_factory=dict)
    stored: dict[tuple[str, str], int] = field(default_factory=dict)
    said: dict[tuple[str, str, int], datetime] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    gone: dict[tuple[str, str], ChainHead] = field(default_factory=dict)
    whose: dict[str, str] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    problems: list[ChainProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checkpoints: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def name_of(self, pod: str) -> str:
        """A pod for people."""
        return f"{self.whose[pod]} ({pod})" if pod in self.whose else f"pod {pod}"

    def epochs_of(self, pod: str) -> Mapping[str, Mapping[int, str]]:
        """`heads` of one pod."""
        return self.heads.get(pod, {})

    def problem(self, kind: ProblemKind, place: str, message: str) -> None:
        """Found."""
        self.problems.append(ChainProblem(kind, place, message))

    def take(self, found: Checkpoint, place: str) -> None:
        """A checkpoint whose signature is good."""
        self.checkpoints += 1
        self.keys.add(found.key)
        self.first = min(self.first or found.time, found.time)
        self.last = max(self.last or found.time, found.time)
        for head in found.heads:
            self._take_head(head, found.time, place)
        for file in found.files:
            if self.files.setdefault(file.path, file.sha256) != file.sha256:
                self.problem(ProblemKind.CHANGED, file.path, f"{place} vouches for another content than one before it")
        for expired in found.expired:
            self.expired.add(expired.folder)
            for head in expired.chains:
                known = self.gone.get((head.pod, head.epoch))
                if known is None or known.sequence < head.sequence:
                    self.gone[head.pod, head.epoch] = head

    def _take_head(self, head: ChainHead, time: datetime, place: str) -> None:
        chain = head.pod, head.epoch
        if head.whose:
            self.whose[head.pod] = head.whose
        if (
            self.heads.setdefault(head.pod, {}).setdefault(head.epoch, {}).setdefault(head.sequence, head.hash)
            != head.hash
        ):
            self.problem(
                ProblemKind.FORKED,
                place,
                f"{self.name_of(head.pod)} has two records {head.sequence} of epoch {head.epoch}: one was shown to "
                "the hub here, another one elsewhere",
            )
        if head.stored:
            self.stored[chain] = max(self.stored.get(chain, 0), head.sequence)
        else:
            self.said.setdefault((*chain, head.sequence), time)


@dataclass(slots=True)
class _Run:
    """One run, as far as it was read; `hash` is None behind a line that is no checkpoint."""

    name: str
    sequence: int = 0
    hash: str | None = NO_HASH
    hashes: dict[int, str] = field(default_factory=dict)


def read_checkpoints(root: Path, is_good: IsGood) -> Vouched:
    """Every checkpoint of an archive; one whose signature is not good vouches for nothing."""
    vouched = Vouched()
    runs: dict[str, _Run] = {}
    saw: list[tuple[RunEnd, str]] = []
    gone: dict[str, RunEnd] = {}
    begun: list[tuple[_Run, Checkpoint, str]] = []
    for name, lines in _by_run(root):
        run = runs[name] = _Run(name)
        for line in lines:
            found = _read(vouched, run, line, is_good)
            if found is None:
                continue
            if found.sequence != 1 and len(run.hashes) == 1:
                begun.append((run, found, line.place))
            saw += [(end, line.place) for end in found.saw]
            for expired in found.expired:
                for end in expired.runs:
                    gone[end.run] = max(end, gone.get(end.run, end), key=lambda each: each.sequence)
    for run, found, place in begun:
        before = gone.get(run.name)
        if before is None or (before.sequence, before.hash) != (found.sequence - 1, found.prev):
            vouched.problem(
                ProblemKind.MISSING, place, f"checkpoints before {found.sequence} of run {run.name}: its beginning"
            )
    for end, place in saw:
        _compare(vouched, end, place, runs.get(end.run), gone.get(end.run))
    return vouched


def _by_run(root: Path) -> Iterator[tuple[str, Iterable[Line]]]:
    files: defaultdict[str, list[Path]] = defaultdict(list)
    for file in sorted((root / CHECKPOINTS).glob(f"*/*{LINES}")):
        files[run_of(file.name)].append(file)
    for run, found in sorted(files.items()):
        yield run, (line for file in found for line in lines_with_place(root, file))


def lines_with_place(root: Path, file: Path) -> Iterator[Line]:
    """The lines of a file of the archive, with the path in it and the number as place."""
    path = file.relative_to(root)
    with file.open("rb") as lines:
        for number, text in enumerate(lines, 1):
            yield Line(text.removesuffix(b"\n"), f"{path}:{number}", is_torn=not text.endswith(b"\n"))


def _read(vouched: Vouched, run: _Run, line: Line, is_good: IsGood) -> Checkpoint | None:
    if line.is_torn:
        vouched.notes.append(f"{line.place}: torn line: a crash cut it while it was written")
        return None
    try:
        found = parse_checkpoint(line.text)
        good = is_good(found.key, *signed_part(line.text))
    except InvalidInput as error:
        vouched.problem(ProblemKind.UNREADABLE, line.place, str(error))
        run.sequence, run.hash = run.sequence + 1, None
        return None
    if not good or found.run != run.name:
        why = "its signature is not good" if found.run == run.name else f"it is of run {found.run}"
        vouched.problem(
            ProblemKind.UNSIGNED, line.place, f"checkpoint {found.sequence}: {why} (key {found.key}); it proves nothing"
        )
        run.sequence, run.hash = run.sequence + 1, None
        return None
    _link(vouched, run, found, line.place)
    digest = sha256(line.text).hexdigest()
    run.sequence, run.hash = found.sequence, digest
    run.hashes[found.sequence] = digest
    vouched.take(found, line.place)
    return found


def _link(vouched: Vouched, run: _Run, found: Checkpoint, place: str) -> None:
    wanted = run.sequence + 1
    if found.sequence > wanted and run.hashes:
        vouched.problem(
            ProblemKind.MISSING, place, f"checkpoints {wanted}–{found.sequence - 1} of run {run.name} before this line"
        )
    elif found.sequence < wanted:
        vouched.problem(
            ProblemKind.REORDERED, place, f"checkpoint {found.sequence} stands after {run.sequence}: moved or put in"
        )
    elif found.sequence == wanted and run.hash is not None and found.prev != run.hash:
        vouched.problem(
            ProblemKind.CHANGED, place, f"checkpoint {run.sequence} of run {run.name} is not what this is linked to"
        )


def _compare(vouched: Vouched, end: RunEnd, place: str, run: _Run | None, gone: RunEnd | None) -> None:
    """`end` was seen by another run: it must still be there, unless it went for its age."""
    if gone is not None and gone.sequence >= end.sequence:
        return
    found = run.hashes.get(end.sequence) if run is not None else None
    if found is None:
        what = f"run {end.run} had {end.sequence} checkpoints when {place} was written"
        have = f"it ends here at {run.sequence}" if run is not None else "none of them is here"
        vouched.problem(ProblemKind.MISSING, place, f"{what}, and {have}")
    elif found != end.hash:
        vouched.problem(ProblemKind.CHANGED, place, f"checkpoint {end.sequence} of run {end.run} was another one then")
