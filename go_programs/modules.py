"""What a go.mod pins, read from it, so that a version stands in one place."""

import platform
import re
from pathlib import Path

MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def pin_of(module: str, go_mod: str) -> str:
    """The version that `go_mod`'s text pins of `module`, without its leading v, e.g. 1.36.3."""
    return _found(rf"^\s*(?:require )?{re.escape(module)} v(\S+)", go_mod, module)


def go_of(go_mod: str) -> str:
    """The Go that `go_mod`'s text wants at least, e.g. 1.26.0."""
    return _found(r"^go (\S+)", go_mod, "go")


def read(folder: Path) -> str:
    """The text of the go.mod in `folder`."""
    return (folder / "go.mod").read_text()


def architecture() -> str:
    """This machine's architecture in Go's words."""
    machine = platform.machine().lower()
    return MACHINES.get(machine, machine)


def _found(pattern: str, text: str, what: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"go.mod pins no {what}; it must, for that is what is built and what its cache is named after")
    return found[1]
