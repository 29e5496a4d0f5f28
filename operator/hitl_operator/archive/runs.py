"""The runs of checkpoints that stand in an archive, and where each ends."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from hitl.audit.checkpoint import RunEnd, parse_checkpoint
from hitl.audit.layout import CHECKPOINTS, LINES, run_of
from hitl.errors import InvalidInput

_DAYS: Final = 3
"""Newest folders that are looked at: older runs were seen by runs that stand in these."""


def ends_of_other_runs(root: Path, own: str) -> Iterator[RunEnd]:
    """The newest checkpoint of every run but `own` that ended lately, or still goes on."""
    folder = root / CHECKPOINTS
    days = sorted(each for each in folder.iterdir() if each.is_dir())[-_DAYS:] if folder.is_dir() else []
    newest: dict[str, Path] = {}
    for day in days:
        for file in sorted(day.glob(f"*{LINES}")):
            newest[run_of(file.name)] = file
    for run, file in sorted(newest.items()):
        if run != own and (end := end_of(file)) is not None:
            yield end


def end_of(file: Path) -> RunEnd | None:
    """The last whole checkpoint in a file; None where there is none, which `audit verify` has words for."""
    whole, _, _ = file.read_bytes().rpartition(b"\n")
    line = whole.rpartition(b"\n")[2]
    try:
        found = parse_checkpoint(line)
    except InvalidInput:
        return None
    return RunEnd(found.run, found.sequence, sha256(line).hexdigest())
