"""Processes take turns in writing.

SQLite has its own locks and would do without. Two reasons to ask for one more: releases before 3.51.3 can lose pages
when a commit of one process falls into a checkpoint of another (the WAL-reset bug, https://sqlite.org/wal.html),
and here both always happen within a turn; and SQLite's waiters sleep up to 100 ms between two looks.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hitl.errors import StoreUnavailable

_FIRST_WAIT, _LONGEST_WAIT = 0.0005, 0.01  # seconds between two looks


class Turns:
    """A lock file beside the database; the kernel opens it when a process dies."""

    def __init__(self, database: Path, *, patience: float) -> None:
        self._path = database.with_name(f"{database.name}-turn")
        self._patience = patience
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error.strerror}; make it writable for this account") from error

    @contextmanager
    def taken(self) -> Iterator[None]:
        """This process's turn, for one transaction with the checkpoint it may cause.

        Raises:
            StoreUnavailable: another process has had its turn for longer than `patience`.
        """
        self._wait()
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)

    def _wait(self) -> None:
        deadline = time.monotonic() + self._patience
        pause = _FIRST_WAIT
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StoreUnavailable(
                        f"{self._path}: another process has been writing for over {self._patience:g} s; "
                        f"see which one with: fuser {self._path}"
                    ) from None
            else:
                return
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_WAIT)
