"""What is frozen in a home: ``freezes.json``, written by `hitl freeze` and followed by the standalone hub.

Whoever has the account of a home can write this file, as everything else there (DESIGN 18): it stops agents that were
started by mistake or go wrong, and nobody who means to go on.
"""

import fcntl
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from hitl.errors import HitlError, InvalidPolicy, Problem
from hitl.policy.config import MOST_FREEZES
from hitl.policy.freezes import Freeze
from hitl.policy.parsing_freezes import read_freeze
from hitl.policy.parsing_reader import Problems, Reader

FILE: Final = "freezes.json"
_LARGEST: Final = 1 << 20  # bytes
_SCHEMA: Final = 1


class Unreadable(HitlError):
    """The file is there and cannot be used, so nobody knows what is stopped."""


def read_freezes(path: Path) -> tuple[Freeze, ...]:
    """Every freeze that is written there, those past their time included; none where there is no file.

    Raises:
        Unreadable: naming the file and what is wrong in it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Unreadable(f"{path}: is no file; remove it")
        raw = file.read(_LARGEST + 1)
    try:
        document = orjson.loads(raw) if len(raw) <= _LARGEST else None
        return _freezes(document)
    except (orjson.JSONDecodeError, InvalidPolicy) as error:
        raise Unreadable(f"{path}: cannot be used ({error}); correct it, or remove it to thaw everything") from error


def change_freezes(path: Path, change: Callable[[tuple[Freeze, ...]], tuple[Freeze, ...]]) -> tuple[Freeze, ...]:
    """Replace the file whole with what `change` makes of it, one writer at a time; what stands there then.

    Raises:
        Unreadable: it cannot be used as it is.
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _only_writer(path):
        wanted = change(read_freezes(path))
        document = {"schema": _SCHEMA, "freezes": [freeze.to_json() for freeze in wanted]}
        fresh = path.with_name(f".{path.name}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    return wanted


def new_uid() -> str:
    """For a freeze that is pressed now."""
    return str(uuid.uuid4())


def _freezes(document: Any) -> tuple[Freeze, ...]:
    problems = Problems()
    reader = Reader(document, "", problems)
    reader.require("schema", "freezes")
    if reader.value("schema") != _SCHEMA:
        reader.problem("schema", f"this release knows {_SCHEMA}")
    entries = [] if reader.raw.get("freezes") == [] else list(reader.children("freezes", most=MOST_FREEZES))
    reader.asks("freezes")
    found = []
    for entry in entries:
        entry.require("name", "namespace", "uid", "generation")
        metadata = {key: entry.text(key, limit=253) for key in ("name", "namespace", "uid")}
        found.append(
            read_freeze(entry, {**metadata, "generation": entry.whole("generation", default=1, low=1, high=1)})
        )
        entry.done()
    reader.done()
    if problems.found:
        raise InvalidPolicy(tuple(problems.found[:1]) or (Problem("", "empty"),))
    return tuple(found)


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def in_force(freezes: tuple[Freeze, ...], now: datetime) -> tuple[Freeze, ...]:
    """Those whose time is not over."""
    return tuple(each for each in freezes if each.until is None or each.until > now)
