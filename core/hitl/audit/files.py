"""Where the lines of a log stand: one file, or a directory of segments in the order of their names."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hitl.audit.chain import AuditRecord
from hitl.errors import InvalidInput

SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log, without its newline. `is_torn`: it has none, because a crash or a full disk cut it."""

    text: bytes
    place: str
    is_torn: bool = False


def segments(path: Path) -> list[Path]:
    """The files of a log, oldest first: `path` itself, or the directory's ``*.jsonl``."""
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]


def lines_of(path: Path) -> Iterator[Line]:
    """Every line of every segment with its place, ``file:line``."""
    for segment in segments(path):
        with segment.open("rb") as file:
            for number, text in enumerate(file, 1):
                yield Line(text.rstrip(b"\n"), f"{segment.name}:{number}", is_torn=not text.endswith(b"\n"))


def read(path: Path) -> Iterator[AuditRecord]:
    """The records of a log, oldest first. A torn last line is skipped: its call was refused.

    InvalidInput, naming file and line, for a line that is no record: `hitl audit verify` says more.
    """
    for line in lines_of(path):
        if line.is_torn:
            continue
        try:
            yield AuditRecord.parse(line.text)
        except InvalidInput as error:
            raise InvalidInput(f"{line.place}: {error}; next: hitl audit verify {path}") from error
