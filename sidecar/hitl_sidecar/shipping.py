"""Hands the audit log over to the hub's archive, in order, beside everything else: no call ever waits for it (I12).

What is handed over is on this machine's disk already, and stays there. How far the archive has it stands in a file
beside the log, written after the hub's answer: a crash in between hands the same lines over twice, never none.
"""

import asyncio
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitl.audit.files import segments
from hitl.errors import HitlError
from hitl_sidecar.audit_log import AuditLog, Synced
from hitl_sidecar.backoff import Backoff
from hitl_sidecar.hub import Hub

log = logging.getLogger(__name__)

_EVERY: Final = 5.0  # seconds between two looks at what is new
_ASK_AGAIN: Final = 60.0  # seconds until a hub without an archive is asked again
_SLOWEST: Final = 60.0  # seconds between two attempts while the archive cannot be reached
_BATCH: Final = 256 << 10  # bytes of one call
_LONGEST: Final = 1 << 20  # bytes of one record; the hub takes no more
_LEAVE: Final = 3.0  # seconds that a sidecar which ends has for the rest


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log: name of a segment, and bytes of it."""

    segment: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Lines, perhaps none, and the position behind them."""

    lines: bytes
    end: Position


class Shipper:
    """Hands one state folder's log over."""

    def __init__(self, hub: Hub, audit: AuditLog, state: Path) -> None:
        """`state`: folder of the sidecar, with the log in ``audit``."""
        self._hub = hub
        self._audit = audit
        self._folder = state / "audit"
        self._note = state / "archived.json"
        self._has_archive = False
        self._trouble = ""
        self._position: Position | None = None

    async def run(self) -> None:
        """Hand over what is new, again and again, until cancelled."""
        backoff = Backoff(first=0.5, most=_SLOWEST)
        while True:
            try:
                await self.catch_up()
            except (HitlError, OSError) as error:
                self._log_once(str(error))
                await asyncio.sleep(backoff.wait())
                continue
            self._trouble = ""
            backoff.reset()
            await asyncio.sleep(_EVERY if self._has_archive else _ASK_AGAIN)

    async def finish(self) -> None:
        """The rest, in a few seconds; what does not get through stays here and is said."""
        try:
            async with asyncio.timeout(_LEAVE):
                await self.catch_up()
        except (HitlError, OSError, TimeoutError) as error:
            log.warning("the end of the audit log is not archived: %s", error or "no answer in time")

    async def catch_up(self) -> None:
        """Hand over everything that is on the disk here. HitlError, OSError: not all of it could be."""
        if not self._has_archive:
            self._has_archive = await self._hub.ship(b"")
        while self._has_archive:
            position = self._position
            if position is None:
                position = await asyncio.to_thread(_read_note, self._note)
            batch = await asyncio.to_thread(_read, self._folder, position, self._audit.synced)
            if batch.lines:
                self._has_archive = await self._hub.ship(batch.lines)
                if not self._has_archive:
                    return
            if batch.end != position:
                await asyncio.to_thread(_write_note, self._note, batch.end)
            self._position = batch.end
            if not batch.lines and batch.end == position:
                return

    def _log_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("the audit log is not archived now, and kept here: %s", trouble)


def _read(folder: Path, position: Position, synced: Synced) -> _Batch:
    """The lines behind a position that are on the disk here, as many as go into one call."""
    found = [each for each in segments(folder) if each.name >= position.segment]
    if not found:
        return _Batch(b"", position)
    segment = found[0]
    offset = position.offset if segment.name == position.segment else 0
    is_open = segment.name >= synced.segment
    with segment.open("rb") as file:
        if not is_open:
            os.fsync(file.fileno())  # an earlier process may have been killed before it did
        there = os.fstat(file.fileno()).st_size
        end = min(there, synced.offset if segment.name == synced.segment else 0) if is_open else there
        if offset > there:
            offset = 0  # it was cut: what stands there now is for the archive to compare
        lines = _whole_lines(file.fileno(), offset, end)
    if lines:
        return _Batch(lines, Position(segment.name, offset + len(lines)))
    if not is_open and len(found) > 1:  # behind a torn end, if it has one
        return _Batch(b"", Position(found[1].name, 0))
    return _Batch(b"", Position(segment.name, offset))


def _whole_lines(file: int, offset: int, end: int) -> bytes:
    for most in (_BATCH, _LONGEST):
        read = os.pread(file, max(0, min(most, end - offset)), offset)
        lines = read[: read.rfind(b"\n") + 1]
        if lines or len(read) < most:
            return lines
    raise OSError(f"a record of the audit log has more than {_LONGEST} bytes; no sidecar wrote that")


def _read_note(note: Path) -> Position:
    """The beginning where there is none, or none that can be read: then all is handed over again."""
    try:
        found = json.loads(note.read_bytes())
        return Position(str(found["segment"]), max(0, int(found["offset"])))
    except FileNotFoundError:
        return Position()
    except (ValueError, KeyError, TypeError):
        log.warning("%s: cannot be read; the audit log is archived from its beginning", note)
        return Position()


def _write_note(note: Path, position: Position) -> None:
    draft = note.with_name(f".{note.name}")
    with draft.open("w") as file:
        json.dump({"segment": position.segment, "offset": position.offset}, file)
        file.flush()
        os.fdatasync(file.fileno())
    draft.replace(note)
