"""A Unix socket that is ours alone: bound under a umask in a private folder, watched for as long as we serve it.

Same rules as for the gate's socket (SECURITY E2): nothing is ever chmod'ed by path, a live server is never replaced,
and a server whose socket was swapped stops rather than go on unseen.
"""

import asyncio
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hitl.errors import Unavailable

_LONGEST = 107  # bytes of sun_path, without its closing zero
_LOOK_EVERY = 1.0  # seconds between two looks at the inode


@dataclass(slots=True)
class SocketClaim:
    """The right to serve at `path`, held through a lock on a file beside it until `close`."""

    path: Path
    _lock: int
    _inode: tuple[int, int] | None = None

    @contextmanager
    def binding(self) -> Iterator[str]:
        """Yields the gRPC address; whatever binds inside gets mode 0600, and its inode is remembered."""
        before = os.umask(0o177)
        try:
            yield f"unix:{self.path}"
        finally:
            os.umask(before)
        self._inode = _inode_of(self.path)
        if self._inode is None:
            raise Unavailable("SOCKET_LOST", f"{self.path}: nothing was bound there")

    async def lost(self) -> None:
        """Returns once another file, or none, stands where our socket was."""
        while _inode_of(self.path) == self._inode:  # noqa: ASYNC110 - a file system offers no event to await
            await asyncio.sleep(_LOOK_EVERY)

    def close(self) -> None:
        """Remove the socket if it is still ours, and let the next server have the place."""
        if self._inode is not None and _inode_of(self.path) == self._inode:
            self.path.unlink(missing_ok=True)
        os.close(self._lock)


def claim_socket(path: Path) -> SocketClaim:
    """Make the folder if need be and take the place, removing only a dead socket of our own.

    Raises:
        Unavailable: SOCKET_PATH where path or folder are unfit, SOCKET_TAKEN where somebody serves there or where
            something stands that is no dead socket of ours.
    """
    if len(os.fsencode(path)) > _LONGEST:
        raise Unavailable(
            "SOCKET_PATH", f"{path}: longer than {_LONGEST} bytes, which no Unix socket can be; choose a shorter --home"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.stat()
    if folder.st_uid != os.geteuid() or stat.S_IMODE(folder.st_mode) & 0o077:
        raise Unavailable(
            "SOCKET_PATH",
            f"{path.parent}: must belong to this account and be closed to others, has owner {folder.st_uid} and mode "
            f"{stat.S_IMODE(folder.st_mode):04o}; run: chmod 700 {path.parent}",
        )
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _taken(path, "another hub serves there") from error
        _remove_dead(path)
    except BaseException:
        os.close(lock)
        raise
    return SocketClaim(path, lock)


def _remove_dead(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise _taken(path, "what stands there is not a socket of this account")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            raise _taken(path, f"it does not answer like a dead socket ({error})") from error
        else:
            raise _taken(path, "somebody serves there")


def _taken(path: Path, why: str) -> Unavailable:
    return Unavailable("SOCKET_TAKEN", f"{path}: {why}; stop it, remove it, or choose another --home")


def _inode_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
