"""Files that are whole or not there, and lines that are on the disk before anybody is told so. For one thread."""

import os
from datetime import date
from pathlib import Path
from typing import Final

from hitl.audit.layout import lines_file

MODE: Final = 0o640  # an auditor's group may read
_FOLDER_MODE: Final = 0o750
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def write_once(root: Path, path: str, content: bytes, draft: str) -> bool:
    """Put a file there, durably; False where one of that content stands there already. OSError: it is not there.

    Args:
        root: the archive.
        path: in it.
        content: all of it.
        draft: a name that no other process uses; what a crash leaves under it is written over.
    """
    target = root / path
    make_folder(target.parent, root)
    try:
        if target.read_bytes() == content:
            sync_file(target)  # whoever wrote it may have died before it was on the disk
            sync_folder(target.parent)
            return False
    except FileNotFoundError:
        pass
    place = target.parent / f".{draft}"
    with os.fdopen(os.open(place, _FLAGS | os.O_TRUNC, MODE), "wb") as file:
        os.fchmod(file.fileno(), MODE)
        file.write(content)
        file.flush()
        os.fdatasync(file.fileno())
    place.replace(target)
    sync_folder(target.parent)
    return True


def make_folder(folder: Path, root: Path) -> None:
    """The folder and those above it up to `root`, each known to the one above on the disk."""
    if folder.is_dir():
        return
    if folder != root:
        make_folder(folder.parent, root)
    folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    folder.chmod(_FOLDER_MODE)
    sync_folder(folder.parent)


def sync_file(path: Path) -> None:
    """What others wrote to it is on the disk afterwards."""
    _sync(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Names made in it are on the disk afterwards."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lines:
    """One growing file of whole lines."""

    def __init__(self, root: Path, path: str) -> None:
        """Empty. OSError where it cannot be made."""
        target = root / path
        make_folder(target.parent, root)
        self.path = path
        # Names are of this process alone, so what stands there is of an attempt of its own that the disk refused.
        self._descriptor = os.open(target, _FLAGS | os.O_APPEND, MODE)
        self.size = 0
        self.is_broken = False
        try:
            os.ftruncate(self._descriptor, 0)
            os.fchmod(self._descriptor, MODE)
            sync_folder(target.parent)
        except OSError:
            os.close(self._descriptor)
            raise

    def append(self, lines: bytes) -> None:
        """All of it is on the disk, or OSError and none of it counts: `is_broken` where nothing may follow it here."""
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self._undo()
            raise
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            self.is_broken = True  # the kernel may have dropped pages: what follows goes into a new file
            raise
        self.size += len(lines)

    def _undo(self) -> None:
        """Half a line must not stand before the next one."""
        try:
            os.ftruncate(self._descriptor, self.size)
        except OSError:
            self.is_broken = True  # a torn end is passed over by whoever reads: nobody was told that it is there

    def close(self) -> None:
        """No more will come."""
        os.close(self._descriptor)


class Rolling:
    """Lines of one kind and run, in a new file for every day and past `most` bytes."""

    def __init__(self, root: Path, kind: str, run: str, most: int) -> None:
        self._root = root
        self._kind = kind
        self._run = run
        self._most = most
        self._file: Lines | None = None
        self._day: date | None = None
        self._number = 0

    def append(self, day: date, lines: bytes) -> None:
        """Durably. OSError: nothing of it counts."""
        file = self._file
        if file is not None and (file.is_broken or file.size >= self._most or day != self._day):
            self._file = None
            file.close()
        if self._file is None:
            self._file = Lines(self._root, lines_file(self._kind, day, self._run, self._number + 1))
            self._day = day
            self._number += 1
        self._file.append(lines)

    def close(self) -> None:
        """No more will come."""
        if self._file is not None:
            self._file.close()
            self._file = None
