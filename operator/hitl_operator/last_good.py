"""The last accepted generation on disk, so that a restart beside a broken file still has it (SECURITY C6).

The file holds what authors wrote, nothing secret; it is 0600 because whoever can write it can write policy.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from hitl.errors import InvalidInput, Unavailable
from hitl.policy.parse import parse_policy, parse_tool_server
from hitl.policy.settings import parse_settings, settings_document
from hitl_operator.sources import Entry, Generation

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class LastGood:
    """A generation, and where it came from.

    Attributes:
        paths: the files and folders it was read from, resolved and sorted.
        number: counts the generations that this home accepted, from 1.
        accepted: when; None in a file of an older version.
        invalid_since: since when what is written beside it has been invalid; None: it is not.
    """

    generation: Generation
    paths: tuple[str, ...] = ()
    number: int = 1
    accepted: datetime | None = None
    invalid_since: datetime | None = None


def read_last_good(path: Path) -> LastGood | None:
    """What was written last; None if nothing was.

    Raises:
        Unavailable: LAST_GOOD_BROKEN where the file is there and cannot be used.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return _kept(orjson.loads(raw))
    except (InvalidInput, ValueError, KeyError, TypeError) as error:
        raise Unavailable(
            "LAST_GOOD_BROKEN", f"{path}: cannot be used ({error}); mend the policy files, or remove this file"
        ) from error


def write_last_good(path: Path, kept: LastGood) -> None:
    """Replace the file whole."""
    document = {
        "schema": _SCHEMA,
        "paths": kept.paths,
        "number": kept.number,
        "accepted": kept.accepted.isoformat() if kept.accepted else None,
        "invalidSince": kept.invalid_since.isoformat() if kept.invalid_since else None,
        "settings": settings_document(kept.generation.settings),
        "entries": [
            {
                "kind": entry.kind,
                "namespace": entry.namespace,
                "name": entry.name,
                "uid": entry.uid,
                "generation": entry.generation,
                "spec": entry.spec,
            }
            for entry in kept.generation.entries
        ],
    }
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _kept(stored: dict[str, Any]) -> LastGood:
    if stored["schema"] != _SCHEMA:
        raise InvalidInput(f"its schema is {stored['schema']!r}, wanted {_SCHEMA}")
    entries = tuple(_entry(each) for each in stored["entries"])
    accepted, since = stored.get("accepted"), stored["invalidSince"]
    return LastGood(
        Generation(entries, parse_settings(stored["settings"])),
        paths=tuple(str(path) for path in stored.get("paths", ())),
        number=int(stored.get("number", 1)),
        accepted=datetime.fromisoformat(accepted) if accepted else None,
        invalid_since=datetime.fromisoformat(since) if since else None,
    )


def _entry(stored: dict[str, Any]) -> Entry:
    metadata = {key: stored[key] for key in ("name", "namespace", "uid", "generation")}
    kind, spec = stored["kind"], stored["spec"]
    parsed = parse_tool_server(metadata, spec) if kind == "ToolServer" else parse_policy(kind, metadata, spec)
    return Entry(kind, **metadata, spec=spec, parsed=parsed)
