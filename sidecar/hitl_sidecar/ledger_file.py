"""The ledger on disk: a snapshot now and then, and between two of them a journal of what limits were charged.

A charge is in the journal before its call is answered, so a limit survives a kill -9 exactly; everything else the
ledger knows only makes calls stricter when some seconds of it are missing. A state that is gone, or cannot be read,
where an earlier process kept one, starts with every limit exhausted for one of its windows (DESIGN 18, Limits).
"""

import asyncio
import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import orjson

from hitl.errors import Unavailable
from hitl.policy.ledger import Ledger
from hitl.policy.verdicts import Charge

log = logging.getLogger(__name__)

_SAVE_EVERY = 30.0  # seconds
_JOURNAL_BYTES = 1024 * 1024  # a journal this long is folded into a snapshot at once
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class LedgerFile:
    """Keeps one ledger. Every method belongs to the event loop's thread."""

    def __init__(self, folder: Path, *, now: float, expected: bool) -> None:
        """Read the state in `folder`.

        Args:
            folder: exists.
            now: wall-clock seconds.
            expected: an earlier process ran on this folder, so a missing state is a lost one.
        """
        self._snapshot = folder / "ledger.json"
        self._journal = folder / "ledger.journal"
        self.ledger = self._load(now, expected=expected)
        if self.ledger.lost_because:
            log.warning("limits count as exhausted for one window each: %s", self.ledger.lost_because)
        self._fd = -1
        self._size = 0

    def charge(self, charges: Sequence[Charge], now: float) -> None:
        """Use limits up. Unavailable, STATE_UNWRITABLE, where that cannot be kept: then nothing may run."""
        line = orjson.dumps([now, [dataclasses.astuple(charge) for charge in charges]]) + b"\n"
        try:
            if self._fd < 0:
                self._fd = os.open(self._journal, _FLAGS, 0o600)
                self._size = os.fstat(self._fd).st_size
            if os.write(self._fd, line) != len(line):
                os.ftruncate(self._fd, self._size)
                raise OSError("the disk is full")  # noqa: TRY301 - a short write is the same failure
        except OSError as error:
            raise Unavailable(
                "STATE_UNWRITABLE",
                f"limits cannot be kept, so nothing that is limited may run ({self._journal}: "
                f"{error.strerror or error}); free space there",
            ) from error
        self._size += len(line)
        self.ledger.charge(charges, now)

    def save(self) -> None:
        """Write a snapshot and begin the journal anew. An OSError leaves both as they were and is logged."""
        temporary = self._snapshot.with_suffix(".new")
        try:
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, _FLAGS | os.O_EXCL, 0o600), "wb") as file:
                file.write(self.ledger.dump())
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._snapshot)
            # A crash right here replays the journal onto a snapshot that has it already: stricter, never laxer.
            if self._fd >= 0:
                os.ftruncate(self._fd, 0)
                self._size = 0
            else:
                self._journal.unlink(missing_ok=True)
        except OSError as error:
            log.error("the ledger cannot be saved, its journal goes on: %s: %s", self._snapshot, error)  # noqa: TRY400

    async def run(self) -> None:
        """Save every half minute, and whenever the journal has grown long, until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time() + _SAVE_EVERY
        if not self._snapshot.exists():
            self.save()  # from now on a missing one is a lost one
        while True:
            await asyncio.sleep(1.0)
            if loop.time() >= due or self._size >= _JOURNAL_BYTES:
                due = loop.time() + _SAVE_EVERY
                self.save()

    def close(self) -> None:
        """Save for the next process."""
        self.save()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _load(self, now: float, *, expected: bool) -> Ledger:
        try:
            ledger = Ledger.load(self._snapshot.read_bytes(), now)
        except FileNotFoundError:
            # A journal without a snapshot: the process before was killed in its first moments.
            ledger = Ledger.lost(now) if expected and not self._journal.exists() else Ledger()
        except OSError as error:
            return Ledger.lost(now, f"{self._snapshot}: {error}")
        try:
            lines = self._journal.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return ledger
        except OSError as error:
            return Ledger.lost(now, f"{self._journal}: {error}")
        if lines and not lines[-1].endswith(b"\n"):
            torn = lines.pop()  # by a crash: its call was never answered
            os.truncate(self._journal, self._journal.stat().st_size - len(torn))
        for line in lines:
            try:
                at, charges = orjson.loads(line)
                ledger.charge([Charge(*charge) for charge in charges], at)
            except (ValueError, TypeError) as error:
                return Ledger.lost(now, f"{self._journal} cannot be read: {error}")
        return ledger
