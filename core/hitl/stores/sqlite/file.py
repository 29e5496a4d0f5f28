"""Opening the file: who may reach it, how durable it is, and what its errors mean to a person."""

import os
import sqlite3
import stat
from pathlib import Path
from typing import Final

from hitl.errors import StoreUnavailable

# Bytes. A burst makes the write-ahead log large once; this gives the space back at the next checkpoint.
_LOG_LIMIT = 16 << 20

_NEXT_STEP: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space, then try again",
    sqlite3.SQLITE_BUSY: "another process keeps it locked; see which one with: fuser {path}",
    sqlite3.SQLITE_READONLY: "it is read-only here; make file and directory writable for this account",
    sqlite3.SQLITE_PERM: "this account may not open it; open it as its owner",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; see that its directory exists and belongs to this account",
    sqlite3.SQLITE_IOERR: "the disk or its file system fails; see its log and free space, then start again",
    sqlite3.SQLITE_CORRUPT: "it is damaged; stop hitl, move it and its -wal and -shm away for the auditor, start again",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; give hitl another file, or move this one away",
}


def unavailable(path: Path, error: sqlite3.Error) -> StoreUnavailable:
    """What SQLite says, with the file and the next step."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind, the rest says where it was noticed
    step = _NEXT_STEP.get(code, "this should not happen; report it with this message").format(path=path)
    return StoreUnavailable(f"{path}: {step} (SQLite: {error}); nothing was half-written")


def secured(path: Path) -> Path:
    """The real path of a file that only this account can reach; makes file (0600) and directory (0700) where missing.

    Raises:
        StoreUnavailable: others could read, write or swap it, or it cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = path.resolve()
        _check(path.parent, path.parent.stat(), forbidden=0o022, what="can put another database in its place")
        try:
            # Only ever opened to create it: closing a second descriptor of a live database would drop SQLite's locks.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise StoreUnavailable(f"{path} is not a file; give hitl another path") from None
            _check(path, found, forbidden=0o077, what="can read or write it")
    except OSError as error:
        raise StoreUnavailable(
            f"{path}: {error.strerror}; see that {path.parent} exists and belongs to this account"
        ) from error
    return path


def _check(place: Path, found: os.stat_result, *, forbidden: int, what: str) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if mode & forbidden:
        raise StoreUnavailable(
            f"{place} has mode {mode:04o}, so another account {what}; run: chmod {mode & ~forbidden:04o} {place}"
        )
    if found.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
        raise StoreUnavailable(f"{place} belongs to uid {found.st_uid}; run as that account, or use another home")


def connect(path: Path, *, patience: float, reading: bool) -> sqlite3.Connection:
    """A connection to a file that exists, usable from one thread at a time.

    Args:
        path: as `secured` gave it.
        patience: seconds to wait for a lock that another program holds.
        reading: refuse every write through it.

    Raises:
        sqlite3.Error: it is no database, or not to be opened.
    """
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=patience, isolation_level=None, check_same_thread=False
    )
    try:
        # FULL: a commit is on the disk before it is acknowledged. With NORMAL a power cut could take back a Consumed
        # that an agent has acted on, and the same approval would release a second time (I6).
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
        connection.row_factory = sqlite3.Row
        if reading:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


class Identity:
    """Which file a path named when it was opened, to notice when it is removed or replaced under us."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = self._look()

    def holds(self) -> bool:
        return self._look() == self._found

    def check(self) -> None:
        """StoreUnavailable once the path names another file: what is written to the old one would be lost."""
        if not self.holds():
            raise StoreUnavailable(f"{self._path} was removed or replaced while in use; start hitl again")

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - a third of Path.stat's time, before every read and write
        except OSError:
            return None
        return found.st_dev, found.st_ino
