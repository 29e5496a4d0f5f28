"""Deletes whole days that are too old, after a signed note of what stood there, so that nobody misses it later."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

from hitl.audit.chain import AuditRecord, hash_of
from hitl.audit.checkpoint import ChainHead, Expired, RunEnd
from hitl.audit.layout import BY_DAY, CHECKPOINTS, LINES, SEGMENTS
from hitl.errors import InvalidInput
from hitl_operator.archive.runs import end_of
from hitl_operator.logs import Log

_GOING = ".expired"

_log = Log(__name__)


def expire(root: Path, today: date, days: int, note: Callable[[Expired], None]) -> None:
    """Delete what is older than `days`; `note` is called, and has to be durable, before anything of a folder goes.

    Raises:
        OSError: something could not be read, noted or deleted; the next time it is tried again.
    """
    before = today - timedelta(days=days)
    going = root / _GOING
    for folder in _too_old(root, before):
        path = str(folder.relative_to(root))
        note(Expired(path, tuple(_chains(folder)), tuple(_runs(folder))))
        going.mkdir(mode=0o750, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another replica was faster
            folder.rename(going / f"{folder.parent.name}-{folder.name}")  # whole or not at all, for who verifies now
        _log.info("archive-expired", folder=path)
    shutil.rmtree(going, ignore_errors=True)


def _too_old(root: Path, before: date) -> Iterator[Path]:
    """Segments first: what is known of their chains must not go before they do."""
    for kind in BY_DAY:
        place = root / kind
        for folder in sorted(place.iterdir()) if place.is_dir() else ():
            try:
                day = date.fromisoformat(folder.name)
            except ValueError:
                continue  # somebody else's
            if day < before:
                yield folder


def _chains(folder: Path) -> Iterator[ChainHead]:
    if folder.parent.name != SEGMENTS:
        return
    last: dict[tuple[str, str], ChainHead] = {}
    for file in sorted(folder.glob(f"*{LINES}")):
        with file.open("rb") as lines:
            for text in lines:
                pod, _, line = text.rstrip(b"\n").partition(b"\t")
                try:
                    record = AuditRecord.parse(line)
                except InvalidInput:
                    continue
                chain = pod.decode(errors="replace"), record.epoch
                known = last.get(chain)
                if known is None or record.sequence >= known.sequence:
                    last[chain] = ChainHead(*chain, record.sequence, hash_of(line), stored=True)
    yield from last.values()


def _runs(folder: Path) -> Iterator[RunEnd]:
    if folder.parent.name != CHECKPOINTS:
        return
    ends = [end for file in sorted(folder.glob(f"*{LINES}")) if (end := end_of(file)) is not None]
    yield from {end.run: end for end in ends}.values()
