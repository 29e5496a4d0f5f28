"""Whether an archive is whole: every change, cut end, dropped epoch, fork and swapped file (SECURITY H2).

Works on a copy, offline, with nothing but the public key. What it cannot see is named in docs/audit.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from hitl.audit.chain import Head
from hitl.audit.checkpoint import IsGood
from hitl.audit.layout import CHECKPOINTS, POLICIES, REQUESTS, SEGMENTS
from hitl.audit.records import Epoch, Records, read_records
from hitl.audit.runs import Vouched, read_checkpoints
from hitl.audit.verify import ChainProblem, ProblemKind, Walk
from hitl.policy.config import COMPILER, revision_named

_ON_ITS_WAY: Final = timedelta(minutes=5)
"""Before the newest checkpoint: what a sidecar said of its log within that need not have been handed over yet."""


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """What `verify_archive` found.

    Attributes:
        pods, epochs, records: of sidecars, each record once.
        checkpoints: whose signature is good. keys: fingerprints that made them.
        requests, policies: files that are vouched for.
        last: time of the newest checkpoint; None where there is none.
        problems: empty where everything holds.
        notes: what is no tampering and worth knowing.
    """

    pods: int
    epochs: int
    records: int
    checkpoints: int
    keys: tuple[str, ...]
    requests: int
    policies: int
    last: datetime | None
    problems: tuple[ChainProblem, ...]
    notes: tuple[str, ...]


def is_archive(path: Path) -> bool:
    """Whether a folder looks like one."""
    return (path / CHECKPOINTS).is_dir() or (path / SEGMENTS).is_dir()


def verify_archive(root: Path, is_good: IsGood) -> ArchiveReport:
    """Everything that is wrong with an archive. OSError: it cannot be read."""
    vouched = read_checkpoints(root, is_good)
    records = read_records(root)
    problems = [*vouched.problems, *records.problems]
    notes = [*vouched.notes, *records.notes]
    for pod in sorted({*records.pods, *vouched.heads}):
        found, said = _pod(records, vouched, pod)
        problems += found
        notes += said
    files = list(_files(root, vouched))
    problems += [each for each in files if isinstance(each, ChainProblem)]
    notes += [each for each in files if isinstance(each, str)]
    missing, older = _policies(root, records, vouched)
    problems += missing
    notes += older
    if not vouched.checkpoints:
        problems.append(ChainProblem(ProblemKind.MISSING, CHECKPOINTS, "no checkpoint is here whose signature is good"))
    return ArchiveReport(
        len(records.pods),
        sum(len(epochs) for epochs in records.pods.values()),
        records.count,
        vouched.checkpoints,
        tuple(sorted(vouched.keys)),
        sum(path.startswith(REQUESTS) for path in vouched.files),
        sum(path.startswith(POLICIES) for path in vouched.files),
        vouched.last,
        tuple(problems),
        tuple(dict.fromkeys(notes)),
    )


def _pod(records: Records, vouched: Vouched, pod: str) -> tuple[list[ChainProblem], list[str]]:
    """One sidecar's chain, through all its epochs."""
    notes: list[str] = []
    anchors: dict[tuple[str, int], str] = {}
    here = records.pods.get(pod, {})
    for name, heads in vouched.epochs_of(pod).items():
        gone = vouched.gone.get((pod, name))
        known = here[name].records if name in here else {}
        for sequence, digest in heads.items():
            if gone is not None and sequence <= gone.sequence:
                continue
            if sequence not in known and _is_on_its_way(vouched, pod, name, sequence):
                notes.append(f"{vouched.name_of(pod)}: record {sequence} of epoch {name} was not handed over yet")
                continue
            anchors[name, sequence] = digest
    walk = Walk(anchors, place=vouched.name_of(pod))
    if pod in records.pods:
        for epoch, lines in records.in_order(pod):
            if (behind := _gone_before(vouched, pod, epoch)) is not None and walk.epoch != behind.epoch:
                walk.begin_behind(behind)
            for line in lines:
                walk.step(line)
    report = walk.report()
    whose = vouched.name_of(pod)
    problems = [ChainProblem(each.kind, each.place, f"{whose}: {each.message}") for each in report.problems]
    problems += _unsigned(records, vouched, pod)
    return problems, notes + [f"{whose}: {note}" for note in report.notes]


def _is_on_its_way(vouched: Vouched, pod: str, epoch: str, sequence: int) -> bool:
    at = vouched.said.get((pod, epoch, sequence))
    is_stored = vouched.stored.get((pod, epoch), 0) >= sequence
    return at is not None and not is_stored and vouched.last is not None and vouched.last - at <= _ON_ITS_WAY


def _gone_before(vouched: Vouched, pod: str, epoch: Epoch) -> Head | None:
    """The record before this epoch's first one, where it was deleted for its age."""
    first = min(epoch.records)
    name, sequence = (epoch.name, first - 1) if first > 1 else (epoch.previous or ("", 0))
    gone = vouched.gone.get((pod, name))
    return Head(name, sequence, gone.hash) if gone is not None and gone.sequence == sequence else None


def _unsigned(records: Records, vouched: Vouched, pod: str) -> Iterator[ChainProblem]:
    for epoch in records.pods.get(pod, {}).values():
        signed = max(vouched.epochs_of(pod).get(epoch.name, {0: ""}))
        newest = max(epoch.records)
        if newest > signed:
            yield ChainProblem(
                ProblemKind.UNSIGNED,
                records.place(epoch.records[newest]),
                f"{vouched.name_of(pod)}: no checkpoint vouches for record {newest} of epoch {epoch.name}, only for "
                f"those up to {signed}: put in, or its checkpoint was taken away",
            )


def _files(root: Path, vouched: Vouched) -> Iterator[ChainProblem | str]:
    """Ended requests and policy texts: as they were signed, and none that nobody signed."""
    for path, digest in sorted(vouched.files.items()):
        file = root / path
        if ".." in Path(path).parts or Path(path).is_absolute():
            yield ChainProblem(ProblemKind.UNREADABLE, path, "a checkpoint names a file outside the archive")
        elif not file.is_file():
            if str(Path(path).parent) not in vouched.expired:
                yield ChainProblem(ProblemKind.MISSING, path, "a checkpoint vouches for it, and it is not here")
        elif sha256(file.read_bytes()).hexdigest() != digest:
            yield ChainProblem(ProblemKind.CHANGED, path, "it is not what a checkpoint vouches for")
    for pattern in (f"{REQUESTS}/*/*.json", f"{POLICIES}/*.json"):
        for file in sorted(root.glob(pattern)):
            path = str(file.relative_to(root))
            if path in vouched.files or file.name.startswith("."):
                continue
            yield f"{path}: no checkpoint vouches for it: a crash came before, or it was put in; it counts for nothing"


def _policies(root: Path, records: Records, vouched: Vouched) -> tuple[list[ChainProblem], list[str]]:
    names = policy_names(root, records.compilers)
    problems, notes = [], []
    for revision, since in sorted(records.revisions.items()):
        if revision in names:
            continue
        if vouched.first is not None and since < vouched.first:
            notes.append(f"revision {revision}: its policy text was served before there was this archive")
        else:
            problems.append(
                ChainProblem(
                    ProblemKind.MISSING, POLICIES, f"the policy text of revision {revision}, used from {since}"
                )
            )
    return problems, notes


def policy_names(root: Path, compilers: set[str]) -> dict[str, str]:
    """Path of the policy text of each revision, by its name under each of these compilers and our own."""
    names: dict[str, str] = {}
    for file in sorted((root / POLICIES).glob("[!.]*.json")):
        document = file.read_bytes()
        for compiler in {*compilers, COMPILER}:
            names[revision_named(document, compiler)] = str(file.relative_to(root))
    return names
