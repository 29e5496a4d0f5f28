"""The sidecar's audit log on disk: one segment after another, each line bound to the one before (SECURITY H2).

A record is written (to the kernel, about two microseconds) before its call is answered, so a process that is killed
loses none. Approvals and releases are also on the disk before their call is released, many with one fdatasync; all
others follow within a second. While a record cannot be written nothing is answered but UNAVAILABLE (DESIGN 14), and
the first record after such a gap says how many calls were refused in it.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hitl import __version__
from hitl.audit.chain import AuditRecord, Chain, Head, RecordKind, hash_of
from hitl.audit.files import SUFFIX, segments
from hitl.errors import InvalidInput, Unavailable

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 * 1024 * 1024
_TAIL_BYTES = 1024 * 1024  # more than the longest record, so the end of a segment holds a whole one
_SYNC_WITHIN = 1.0  # seconds until records that nobody waits for are on the disk
_PROBE_EVERY = 0.1  # seconds between attempts to write again: a flood of calls must not become a flood of writes
_CREATE = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Synced:
    """The segment that is written now, by name, and the bytes of it that are on the disk.

    What stands in earlier segments will not change, but perhaps is not on the disk yet: sync it before you rely on it.
    """

    segment: str = ""
    offset: int = 0


class AuditLog:
    """The one writer of one process's epoch. Every method belongs to the event loop's thread.

    Attributes:
        continues: an earlier process wrote here.
        on_failure: called once when the log can no longer be written.
    """

    def __init__(
        self, folder: Path, *, epoch: str, clock: Callable[[], datetime], segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        """Continue the log in `folder`, made with mode 0700 if it is missing.

        A disk that is full now does not stop the start: the log begins as not writable. Any other OSError is raised.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._clock = clock
        self._segment_bytes = segment_bytes
        found = segments(folder)
        self._previous = _head_of(found)
        self._chain = Chain(epoch, self._previous)
        self._index = _index_of(found[-1]) if found else 0
        self._fd = -1
        self._size = 0
        self._retired: list[int] = []
        self._new_segment = False
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="audit-sync")
        self._syncing: asyncio.Task[None] | None = None
        self._sync_timer: asyncio.TimerHandle | None = None
        self._synced = 0
        self._on_disk = Synced()
        self._error = ""
        self._refused = 0
        self._probed = 0.0
        self.continues = bool(found)
        self.on_failure: Callable[[Unavailable], None] | None = None
        try:
            self._start()
        except OSError as error:
            self._fail(error)

    @property
    def head(self) -> Head:
        """The newest record; goes to the hub with holds, releases and once a minute."""
        return self._chain.head

    @property
    def synced(self) -> "Synced":
        """How far this process's records are on the disk for certain."""
        return self._on_disk

    @property
    def error(self) -> str:
        """Why nothing can be written now; empty while all is well."""
        return self._error

    def need_writable(self) -> None:
        """Unavailable, AUDIT_UNWRITABLE, while nothing can be written: ask before anything else changes."""
        if self._error and not self.probe():
            self._refused += 1
            raise self._unavailable()

    def append(self, kind: RecordKind, fields: Mapping[str, Any]) -> None:
        """Write one record. Unavailable, AUDIT_UNWRITABLE, where that fails: the caller must not answer otherwise."""
        self.need_writable()
        try:
            self._write(kind, fields)
        except OSError as error:
            self._fail(error)
            self._refused += 1
            raise self._unavailable() from error
        if self._sync_timer is None:
            self._sync_timer = asyncio.get_running_loop().call_later(_SYNC_WITHIN, self._sync_in_background)

    async def durable(self) -> None:
        """Return once every record appended so far is on the disk. Unavailable, AUDIT_UNWRITABLE, where that fails."""
        wanted = self._chain.sequence
        while self._synced < wanted:
            if self._error:
                raise self._unavailable()
            if self._syncing is None:
                self._syncing = asyncio.create_task(self._sync())
            await asyncio.shield(self._syncing)

    def probe(self) -> bool:
        """Try to write again, at most ten times a second. Whether the log is writable."""
        if not self._error:
            return True
        now = time.monotonic()
        if now - self._probed < _PROBE_EVERY:
            return False
        self._probed = now
        try:
            self._write(RecordKind.GAP, {"refused": self._refused, "message": self._error})
        except OSError as error:
            self._fail(error)
            return False
        log.info("the audit log is writable again; %d calls were refused meanwhile", self._refused)
        self._error, self._refused = "", 0
        return True

    async def close(self) -> None:
        """Write the stop record, leave everything on the disk. A full disk is logged: nobody is left to be told."""
        try:
            self.append(RecordKind.STOP, {})
            await self.durable()
        except Unavailable as error:
            log.error("the audit log ends without a stop record: %s", error)  # noqa: TRY400 - the message says it all
        if self._sync_timer is not None:
            self._sync_timer.cancel()
        self._syncer.shutdown()
        for fd in [*self._retired, self._fd]:
            if fd >= 0:
                os.close(fd)
        self._retired, self._fd = [], -1

    # Writing.

    def _start(self) -> None:
        previous = {"epoch": self._previous.epoch, "seq": self._previous.sequence} if self._previous else None
        self._write(RecordKind.START, {"version": __version__, "previous": previous})

    def _open_segment(self) -> None:
        path = self._folder / self._name(self._index + 1)
        fd = os.open(path, _CREATE, 0o600)
        self._index += 1
        self._retire()
        self._fd, self._size, self._new_segment = fd, 0, True
        self._on_disk = Synced(path.name)

    def _name(self, index: int) -> str:
        return f"{index:06d}-{self._chain.epoch}{SUFFIX}"

    def _retire(self) -> None:
        """Leave the open segment to the next sync, which may be at work on it in its thread right now."""
        if self._fd >= 0:
            self._retired.append(self._fd)
            self._fd = -1

    def _write(self, kind: RecordKind, fields: Mapping[str, Any]) -> None:
        if self._fd < 0 or self._size >= self._segment_bytes:
            self._open_segment()
        if self._chain.sequence == 0 and kind is not RecordKind.START:
            self._start()
        line = self._chain.peek(kind, self._clock(), fields)
        written = os.write(self._fd, line)
        if written != len(line):
            raise OSError(f"the disk is full: only {written} of {len(line)} bytes could be written")
        self._size += written
        self._chain.accept(line)

    def _fail(self, error: OSError) -> None:
        is_news = not self._error
        if is_news:
            log.error(
                "the audit log cannot be written, every call is refused until it can: %s: %s", self._folder, error
            )
        self._error = f"{self._folder}: {error.strerror or error}"
        if self._fd >= 0:
            try:
                os.ftruncate(self._fd, self._size)  # half a line would look like a crash to whoever verifies
            except OSError:
                self._retire()
        if is_news and self.on_failure is not None:
            self.on_failure(self._unavailable())

    def _unavailable(self) -> Unavailable:
        return Unavailable(
            "AUDIT_UNWRITABLE",
            f"the audit log cannot be written, so nothing may run ({self._error}); free space there",
        )

    # Syncing.

    async def _sync(self) -> None:
        reached, retired, self._retired = self._chain.sequence, self._retired, []
        on_disk = Synced(self._name(self._index), self._size) if self._fd >= 0 else self._on_disk
        folder, self._new_segment = self._folder if self._new_segment else None, False
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._syncer, _sync_files, retired, self._fd, folder)
        except OSError as error:
            # After a failed sync the kernel may have dropped the pages: go on in a new segment.
            self._fail(error)
            self._retire()
        else:
            self._synced = reached
            self._on_disk = on_disk
        finally:
            self._syncing = None

    def _sync_in_background(self) -> None:
        self._sync_timer = None
        if self._syncing is None and self._synced < self._chain.sequence:
            self._syncing = asyncio.create_task(self._sync())


def _sync_files(retired: list[int], current: int, folder: Path | None) -> None:
    """In the syncing thread. `folder`: given where a segment was made in it since; its name must reach the disk too."""
    try:
        for fd in [*retired, current]:
            if fd >= 0:
                os.fdatasync(fd)
    finally:
        for fd in retired:
            os.close(fd)
    if folder is not None:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _index_of(segment: Path) -> int:
    """The number that a segment's name begins with; a file with another name counts as none."""
    number = segment.name.partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _head_of(found: list[Path]) -> Head | None:
    """The newest whole record of an earlier process; None where there is none."""
    for segment in reversed(found):
        with segment.open("rb") as file:
            file.seek(max(0, segment.stat().st_size - _TAIL_BYTES))
            whole, _, _ = file.read().rpartition(b"\n")
        if whole:
            line = whole.rpartition(b"\n")[2]
            try:
                record = AuditRecord.parse(line)
            except InvalidInput:
                # Somebody changed it. Chain to what stands there; `verify` names it.
                return Head("", 0, hash_of(line))
            return Head(record.epoch, record.sequence, hash_of(line))
    return None
