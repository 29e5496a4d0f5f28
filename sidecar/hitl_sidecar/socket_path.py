"""The gate's Unix socket: bound under a umask, never over anything else, and watched for as long as it is served (E2).

gRPC binds it itself and would silently take the path from a server that is alive, so the path is looked at first, and
the result afterwards: whoever answers on the path must be this very process.
"""

import asyncio
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hitl.errors import Unavailable

_LONGEST = 107  # bytes of sun_path without its closing zero
_OWN_ACCOUNT: Final = 0o600  # who shares the socket's folder has the same account, unless it is said otherwise
_LOOK_EVERY = 1.0  # seconds between two looks at the inode
_PEER = struct.Struct("iII")  # pid, uid, gid of SO_PEERCRED


class SocketPath:
    """A path that this process serves at. `claim` it, bind inside `binding`, then await `lost`.

    Args:
        path: of the socket.
        mode: who may connect, of those who reach its folder. In a pod that is every container which mounts it, under
            whatever user; none of them can write into the folder (SECURITY E2).
    """

    def __init__(self, path: Path, mode: int = _OWN_ACCOUNT) -> None:
        self.path = path
        self._umask = 0o777 & ~mode
        self._inode: tuple[int, int] | None = None

    def claim(self) -> None:
        """Make sure that the path is free, removing nothing but a dead socket of this account.

        Raises:
            Unavailable: SOCKET_PATH where no socket can be there, SOCKET_TAKEN where something else is.
        """
        if len(os.fsencode(self.path)) > _LONGEST:
            raise Unavailable(
                "SOCKET_PATH",
                f"--socket {self.path}: longer than {_LONGEST} bytes, as no Unix socket can be; choose a shorter path",
            )
        if not self.path.parent.is_dir():
            raise Unavailable("SOCKET_PATH", f"--socket {self.path}: no folder {self.path.parent}; make it first")
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unavailable("SOCKET_PATH", f"--socket {self.path}: {error.strerror}; choose another path") from error
        if not stat.S_ISSOCK(found.st_mode):
            raise self._taken(f"a {_kind_of(found.st_mode)} stands there")
        if found.st_uid != os.geteuid():
            raise self._taken(f"a socket of account {found.st_uid} stands there")
        if (pid := self._peer()) is not None:
            raise self._taken(f"process {pid} serves there")
        self.path.unlink()

    @contextmanager
    def binding(self) -> Iterator[str]:
        """Yield the gRPC address; what is bound inside has its mode from its first moment. No chmod follows: a path
        can be swapped between bind and chmod.

        Raises:
            Unavailable: SOCKET_TAKEN where afterwards somebody else answers on the path.
        """
        before = os.umask(self._umask)
        try:
            yield f"unix:{self.path}"
        finally:
            os.umask(before)
        self._inode = self._look()
        if self._inode is None or self._peer() != os.getpid():
            self._inode = None
            raise self._taken("it was swapped while the gate was being bound")

    async def lost(self) -> None:
        """Return once the path leads anywhere but to the socket that was bound: removed, replaced, or now a link."""
        while self._look() == self._inode:  # noqa: ASYNC110 - a file system offers no event to await
            await asyncio.sleep(_LOOK_EVERY)

    def release(self) -> None:
        """Remove the socket if it is still ours."""
        if self._inode is not None and self._look() == self._inode:
            self.path.unlink(missing_ok=True)

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if stat.S_ISSOCK(found.st_mode) else None

    def _peer(self) -> int | None:
        """The process that listens on the path; None where nobody does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(os.fspath(self.path))
            except (ConnectionRefusedError, FileNotFoundError):
                return None
            except OSError as error:
                raise self._taken(f"it does not answer like a dead socket ({error})") from error
            pid: int = _PEER.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0]
            return pid

    def _taken(self, why: str) -> Unavailable:
        return Unavailable(
            "SOCKET_TAKEN", f"--socket {self.path}: {why}; stop or remove what is there, or choose another path"
        )


def _kind_of(mode: int) -> str:
    kinds = {stat.S_IFLNK: "symbolic link", stat.S_IFDIR: "folder", stat.S_IFREG: "file", stat.S_IFIFO: "pipe"}
    return kinds.get(stat.S_IFMT(mode), "device")
