"""What go.mod pins, read from go.mod, so that a version stands in one place."""

from dataclasses import dataclass
from pathlib import Path

from go_programs.modules import architecture, go_of, pin_of, read

HOME = Path(__file__).parent


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
    text = go_mod if go_mod is not None else read(HOME)
    return Versions(
        kubernetes=pin_of("k8s.io/kubernetes", text),
        etcd=pin_of("go.etcd.io/etcd/server/v3", text),
        go=go_of(text),
    )
