"""Deletes whole days that are too old, after a signed note of what stood there, so that nobody misses it later."""

import contextlib
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from hitl.audit.chain import AuditRecord, hash_of
from hitl.audit.checkpoint import ChainHead, Expired, RunEnd
from hitl.audit.layout import BY_DAY, CHECKPOINTS, LINES, SEGMENTS
from hitl.errors import InvalidInput
from hitl_operator.archive.epochs import LONGEST_EPOCH
from hitl_operator.archive.pending import LARGEST
from hitl_operator.archive.runs import end_of
from hitl_operator.logs import Log

_GOING = ".expired"
_MOST_CHAINS: Final = 20_000  # of a day, in memory; one that is written to again after so many others is noted twice

_log = Log(__name__)


def expire(root: Path, today: date, days: int, note: Callable[[Expired], None]) -> None:
    """Delete what is older than `days`; `note` is called, and has to be durable, before anything of a folder goes.

    A folder has as many notes as its chains take, each of at most `LARGEST`, and memory for `_MOST_CHAINS` of them: how
    many there are is for the sidecars to say, and one that lies makes them up.

    Raises:
        OSError: something could not be read, noted or deleted; the next time it is tried again.
    """
    before = today - timedelta(days=days)
    going = root / _GOING
    for folder in _too_old(root, before):
        path = str(folder.relative_to(root))
        note(Expired(path, runs=tuple(_runs(folder))))
        for chains in _chains(folder):
            note(Expired(path, chains))
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


def _chains(folder: Path) -> Iterator[tuple[ChainHead, ...]]:
    """The last record of each chain, some at a time. Who reads takes the highest of a chain that comes twice."""
    if folder.parent.name != SEGMENTS:
        return
    last: OrderedDict[tuple[str, str], ChainHead] = OrderedDict()
    for file in sorted(folder.glob(f"*{LINES}")):
        with file.open("rb") as lines:
            for text in lines:
                pod, _, line = text.rstrip(b"\n").partition(b"\t")
                try:
                    record = AuditRecord.parse(line)
                except InvalidInput:
                    continue
                if len(record.epoch) > LONGEST_EPOCH:
                    continue  # no checkpoint names it either
                chain = pod.decode(errors="replace"), record.epoch
                known = last.get(chain)
                if known is None or record.sequence >= known.sequence:
                    last[chain] = ChainHead(*chain, record.sequence, hash_of(line), stored=True)
                last.move_to_end(chain)
                if len(last) > _MOST_CHAINS:
                    yield _oldest(last)
    while last:
        yield _oldest(last)


def _oldest(last: OrderedDict[tuple[str, str], ChainHead]) -> tuple[ChainHead, ...]:
    return tuple(last.popitem(last=False)[1] for _ in range(min(LARGEST, len(last))))


def _runs(folder: Path) -> Iterator[RunEnd]:
    if folder.parent.name != CHECKPOINTS:
        return
    ends = [end for file in sorted(folder.glob(f"*{LINES}")) if (end := end_of(file)) is not None]
    yield from {end.run: end for end in ends}.values()
