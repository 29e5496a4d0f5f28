"""The home directory of a standalone hub: what lies where, and who it is for good."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import orjson

from hitl.errors import InvalidInput, Unavailable
from hitl.stores.freezes import FILE as FREEZES

_FILE = "home.json"


@dataclass(frozen=True, slots=True)
class Home:
    """One home.

    Attributes:
        path: the directory, 0700.
        cluster_uid: of the home; in every digest and signature, so neither is good anywhere else.
        namespace_uid: of its one namespace.
    """

    path: Path
    cluster_uid: str
    namespace: str
    namespace_uid: str

    @property
    def socket(self) -> Path:
        """Where sidecars connect."""
        return self.path / "hub.sock"

    @property
    def database(self) -> Path:
        """Requests."""
        return self.path / "hitl.db"

    @property
    def keys(self) -> Path:
        """Folder of the root key."""
        return self.path / "keys"

    @property
    def reviewers(self) -> Path:
        """Who may decide."""
        return self.path / "reviewers.yaml"

    @property
    def freezes(self) -> Path:
        """What is frozen."""
        return self.path / FREEZES

    @property
    def last_good(self) -> Path:
        """The last accepted config."""
        return self.path / "config" / "last-good.json"

    @property
    def audit_heads(self) -> Path:
        """Where the sidecars' audit chains stood."""
        return self.path / "audit-heads.jsonl"


def open_home(path: Path, namespace: str | None) -> Home:
    """The home at `path`, made on first use.

    Args:
        path: absolute.
        namespace: its namespace if it is new (None: ``default``); of an old one, what it is expected to be.

    Raises:
        Unavailable: HOME_UNSAFE where other accounts can write into it, HOME_BROKEN where it cannot be read.
        InvalidInput: it belongs to another namespace.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise Unavailable(
            "HOME_BROKEN", f"{path}: cannot be a home: {error.strerror}; choose another --home"
        ) from error
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Unavailable(
            "HOME_UNSAFE",
            f"{path}: keys lie in it, so it must belong to this account and be closed to others; run: chmod 700 {path}",
        )
    file = path / _FILE
    if not file.exists():
        uids = {"clusterUID": str(uuid.uuid4()), "namespaceUID": str(uuid.uuid4())}
        _write_once(file, orjson.dumps({"namespace": namespace or "default", **uids}, option=orjson.OPT_INDENT_2))
    try:
        stored = orjson.loads(file.read_bytes())
        cluster_uid, namespace_uid = uuid.UUID(stored["clusterUID"]), uuid.UUID(stored["namespaceUID"])
        home = Home(path, str(cluster_uid), str(stored["namespace"]), str(namespace_uid))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(
            "HOME_BROKEN", f"{file}: cannot be read ({error}); restore it: without it no held call can be released"
        ) from error
    if namespace not in (None, home.namespace):
        raise InvalidInput(f"{path}: is the home of namespace {home.namespace}; choose another --home for {namespace}")
    return home


def _write_once(file: Path, content: bytes) -> None:
    """Whole or not at all; if another process was faster, its file stands."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
