"""What go.mod pins, read from go.mod, so that a version stands in one place."""

import platform
import re
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).parent
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions without their leading v, e.g. kubernetes 1.36.3, etcd 3.6.8, go 1.26.0."""

    kubernetes: str
    etcd: str
    go: str

    @property
    def folder(self) -> str:
        """The cache folder's name: versions and machine, e.g. `1.36.3-3.6.8-amd64`."""
        return f"{self.kubernetes}-{self.etcd}-{architecture()}"


def pinned(go_mod: str | None = None) -> Versions:
    """The versions of `go_mod`'s text (our go.mod)."""
    text = go_mod if go_mod is not None else (HOME / "go.mod").read_text()
    return Versions(
        kubernetes=_found(r"^\s*k8s\.io/kubernetes v(\S+)", text),
        etcd=_found(r"^\s*go\.etcd\.io/etcd/server/v3 v(\S+)", text),
        go=_found(r"^go (\S+)", text),
    )


def architecture() -> str:
    """This machine's architecture in Go's words."""
    machine = platform.machine().lower()
    return MACHINES.get(machine, machine)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"go.mod names nothing like {pattern}; it must pin k8s.io/kubernetes, etcd/server/v3 and go")
    return found[1]
