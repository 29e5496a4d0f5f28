"""One root key per installation, and the keys of namespaces that come from it (DESIGN 18 Keys, SECURITY D1).

A namespace key is HKDF-SHA256(root, namespace UID, epoch). The current epoch and the one before it are live, so that a
call held under the old key can still be released after a rotation. No key enters a request, a log or an error.
"""

import os
import secrets
import stat
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hitl.errors import Unavailable

_ROOT_BYTES = 32


@dataclass(frozen=True, slots=True)
class NamespaceKey:
    """A key and the name it goes by in digests and documents."""

    id: str
    key: bytes = field(repr=False)


class Keyring:
    """Hands out namespace keys; keeps the root to itself."""

    def __init__(self, root: bytes, epoch: int) -> None:
        if len(root) != _ROOT_BYTES or epoch < 1:
            raise ValueError("a keyring takes 32 bytes and an epoch from 1")
        self._root = root
        self._epoch = epoch
        self._known: dict[str, tuple[NamespaceKey, ...]] = {}

    def keys_of(self, namespace_uid: str) -> tuple[NamespaceKey, ...]:
        """The live keys of a namespace, the current one first; two, or one before the first rotation."""
        known = self._known.get(namespace_uid)
        if known is None:
            epochs = range(self._epoch, max(self._epoch - 2, 0), -1)
            known = tuple(self._derive(namespace_uid, epoch) for epoch in epochs)
            self._known[namespace_uid] = known
        return known

    def _derive(self, namespace_uid: str, epoch: int) -> NamespaceKey:
        info = f"hitl.dev/namespace-key/v1\0{namespace_uid}\0{epoch}".encode()
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._root)
        return NamespaceKey(f"k{epoch}-{sha256(b'hitl.dev/key-id/v1' + key).hexdigest()[:12]}", key)


def open_keyring(folder: Path, *, rotate: bool = False) -> Keyring:
    """The keyring of a home: ``root`` and ``epoch`` in `folder`, made on first use.

    Args:
        folder: made with mode 0700 if it is not there.
        rotate: begin a new epoch; the one before stays live, older ones end.

    Raises:
        Unavailable: KEY_UNSAFE where another account could read or swap the root key, KEY_BROKEN where it is no key.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = _read_private(folder / "root")
    if root is None:
        root = _create_once(folder / "root", secrets.token_bytes(_ROOT_BYTES))
    if len(root) != _ROOT_BYTES:
        raise Unavailable(
            "KEY_BROKEN",
            f"{folder / 'root'}: has {len(root)} bytes, wanted {_ROOT_BYTES}; restore it from a backup, or remove it: "
            "calls held under the lost key then have to be made again",
        )
    stored = _read_private(folder / "epoch")
    if stored is None:
        stored = _create_once(folder / "epoch", b"1\n")
    if not stored.strip().isdigit() or int(stored) < 1:
        raise Unavailable(
            "KEY_BROKEN", f"{folder / 'epoch'}: is {stored[:20]!r}, wanted a number from 1; write 1 into it"
        )
    epoch = int(stored)
    if rotate:
        epoch += 1
        _create_once(folder / "epoch.new", f"{epoch}\n".encode())
        (folder / "epoch.new").replace(folder / "epoch")
    return Keyring(root, epoch)


def _read_private(path: Path) -> bytes | None:
    """The content of a file that only this account can read; None if there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable("KEY_UNSAFE", f"{path}: cannot be opened as a plain file: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise Unavailable(
                "KEY_UNSAFE", f"{path}: is not a plain file of this account; remove it or run as its owner"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise Unavailable(
                "KEY_UNSAFE",
                f"{path}: has mode {stat.S_IMODE(found.st_mode):04o}, so other accounts may have read it; "
                f"run: chmod 600 {path}, and rotate the keys if somebody could have looked",
            )
        return file.read(1024)


def _create_once(path: Path, content: bytes) -> bytes:
    """Write a private file whole or not at all; if another process was faster, its content is what counts."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return _read_private(path) or b""
    finally:
        draft.unlink()
    return content
