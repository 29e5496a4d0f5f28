"""What the last stage of a Dockerfile says of how its image runs."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """How containers of an image run.

    Attributes:
        user: as ``uid:gid``.
        entrypoint: the program and its first arguments.
        environment: ``NAME=value`` each.
    """

    user: str
    entrypoint: tuple[str, ...]
    environment: tuple[str, ...]


def read(path: Path) -> Settings:
    """USER, ENTRYPOINT and ENV of the last stage; ValueError names what is missing."""
    found: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.clear()
        elif word in {"USER", "ENTRYPOINT", "ENV"}:
            if word in found:
                raise ValueError(f"{path}: {word} stands twice in the last stage; keep one")
            found[word] = rest.strip()
    if missing := {"USER", "ENTRYPOINT", "ENV"} - found.keys():
        raise ValueError(f"{path}: its last stage has no {', '.join(sorted(missing))}")
    return Settings(found["USER"], tuple(json.loads(found["ENTRYPOINT"])), tuple(shlex.split(found["ENV"])))
