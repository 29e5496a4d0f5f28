"""Following what changes in the file, whoever changes it."""

import asyncio
import contextlib
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from hitl.approvals.requests import ApprovalRequest
from hitl.stores.sqlite.file import Identity, connect, unavailable

# Seconds between two looks for other processes' commits; a look reads 4 bytes of shared memory.
_INTERVAL: Final = 0.02

# Looks for changes after a number; says how far it looked, what it found, and whether there is more.
Look = Callable[[int], Awaitable[tuple[int, list[ApprovalRequest], bool]]]


class ChangeWatch:
    """A cursor over the numbered changes of the file: nothing is queued for it, so it costs the same however many wait.

    A request that changes again before it is looked at has moved behind the cursor's reach and arrives once, as it is
    then: that is how changes coalesce, and why the last one is never missed.
    """

    def __init__(self, look: Look, start: int) -> None:
        self._look = look
        self._seen = start
        self._found: deque[ApprovalRequest] = deque()
        self._stirred = asyncio.Event()
        self._is_closed = False

    def __aiter__(self) -> "ChangeWatch":
        return self

    async def __anext__(self) -> ApprovalRequest:
        while not self._is_closed:
            if self._found:
                return self._found.popleft()
            self._stirred.clear()  # before looking: what comes after the look stirs again
            self._seen, found, more = await self._look(self._seen)
            self._found.extend(found)
            if not found and not more and not self._is_closed:
                await self._stirred.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.end()

    def end(self) -> None:
        """As `aclose`, for who cannot wait."""
        self._is_closed = True
        self._stirred.set()

    def stir(self) -> None:
        """Something may have changed."""
        self._stirred.set()


class Watches:
    """All watches of one store, and the thread that notices other processes' commits while there is any.

    Raises:
        sqlite3.Error: the file cannot be opened.
    """

    def __init__(self, path: Path, identity: Identity, *, patience: float) -> None:
        self._path = path
        self._identity = identity
        self._loop = asyncio.get_running_loop()
        # Of its own: data_version tells of commits by *other* connections.
        self._connection = connect(path, patience=patience, reading=True)
        self._one_at_a_time = threading.Lock()
        self._watches: weakref.WeakSet[ChangeWatch] = weakref.WeakSet()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, look: Look) -> ChangeWatch:
        """A watch for whatever is committed from now on.

        Looks at the file at once and on the caller's thread, some 20 µs: looked at later, what happened in between
        would be taken for old.

        Raises:
            StoreUnavailable: it cannot be looked at.
        """
        try:
            with self._one_at_a_time:
                start = int(self._connection.execute("SELECT count FROM changes").fetchone()[0])
        except sqlite3.Error as error:
            raise unavailable(self._path, error) from error
        watch = ChangeWatch(look, start)
        self._watches.add(watch)
        if self._thread is None:
            self._thread = threading.Thread(target=self._poll, name="hitl-store-watch", daemon=True)
            self._thread.start()
        return watch

    def stir(self) -> None:
        """Let every watch look; on the loop."""
        for watch in list(self._watches):
            watch.stir()

    def end(self) -> None:
        """End every watch; on the loop."""
        for watch in list(self._watches):
            watch.end()

    async def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _poll(self) -> None:
        before = self._version()
        self._tell()  # for what was committed before this thread had its first look
        while not self._closing.wait(_INTERVAL):
            now = self._version()
            if now != before:
                before = now
                self._tell()

    def _version(self) -> tuple[int, bool]:
        """Changes with every commit of another connection, and once each when the file goes and comes back."""
        try:
            with self._one_at_a_time:
                version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            return -1, False
        return version, self._identity.holds()

    def _tell(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it whoever watched
            self._loop.call_soon_threadsafe(self.stir)
