"""The home directory of a standalone control plane: what lies where, and what to type when it is not there."""

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hitl.errors import HitlError

# The kernel keeps 108 bytes for a Unix socket's path, the closing zero included.
LONGEST_SOCKET_PATH = 107


@dataclass(frozen=True, slots=True)
class Home:
    """A home directory; `path` is absolute."""

    path: Path

    @classmethod
    def find(cls, named: str | None, environment: Mapping[str, str]) -> "Home":
        """--home, else HITL_HOME, else ~/.hitl."""
        chosen = named or environment.get("HITL_HOME") or "~/.hitl"
        return cls(Path(chosen).expanduser().absolute())

    @property
    def database(self) -> Path:
        """Requests and their decisions."""
        return self.path / "hitl.db"

    @property
    def hub_socket(self) -> Path:
        """Where the control plane listens for sidecars."""
        return self.path / "hub.sock"

    @property
    def gate_socket(self) -> Path:
        """Where the sidecar that `hitl dev` starts listens for agents."""
        return self.path / "gate.sock"

    @property
    def sidecar_state(self) -> Path:
        """State of the sidecar that `hitl dev` starts, its audit log included."""
        return self.path / "sidecar"

    @property
    def reviewers(self) -> Path:
        """Names, groups and public keys of the people who may decide."""
        return self.path / "reviewers.yaml"

    @property
    def people(self) -> Path:
        """Private keys of the people who decide on this machine."""
        return self.path / "people"

    @property
    def audit_heads(self) -> Path:
        """Where the control plane saw the audit chains of its sidecars stand."""
        return self.path / "audit-heads.jsonl"

    @property
    def last_good(self) -> Path:
        """The policies that were accepted last."""
        return self.path / "config" / "last-good.json"

    def uid(self) -> str:
        """What signatures of this home are bound to; made by its control plane when it first starts."""
        file = self.path / "home.json"
        try:
            stored: str = json.loads(file.read_bytes())["clusterUID"]
        except FileNotFoundError as error:
            raise HitlError(
                f"no control plane has run in {self.path} yet, so nothing can be decided there\n"
                "Start one: hitl dev -f DIR"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise HitlError(f"{file}: cannot be read ({error}); restore it from a backup") from error
        return stored

    def key_names(self) -> list[str]:
        """People whose private key lies in this home."""
        return sorted(key.stem for key in self.people.glob("*.key"))

    def audit_logs(self) -> list[Path]:
        """Audit logs of every sidecar that keeps its state in this home, oldest first."""
        return sorted(self.path.glob("sidecar*/**/*.jsonl"), key=lambda log: (log.stat().st_mtime, log))

    def need_database(self) -> Path:
        """The database, or an error that says how to get one."""
        if not self.database.exists() and self.reviewers.exists():
            raise HitlError(
                f"nothing has run here yet: {self.path} has reviewers, and no requests (no hitl.db in it)\n"
                "Start it: hitl dev -f DIR    A first policy: hitl init"
            )
        if not self.database.exists():
            raise HitlError(
                f"there is no hitl home at {self.path} (no hitl.db in it)\n"
                "Start one: hitl dev -f DIR    A first policy: hitl init    "
                "Another home: --home DIR or HITL_HOME"
            )
        return self.database

    def need_nobody(self) -> None:
        """Refuse a home that somebody serves: asked whether they are ready, the old ones would answer for the new."""
        for path, who in ((self.hub_socket, "a control plane"), (self.gate_socket, "a sidecar")):
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.connect(str(path))
                raise HitlError(f"{who} serves {path} already; end it first, or choose another home: --home DIR")

    def need_socket_room(self) -> None:
        """Refuse a home whose sockets the kernel could not bind."""
        longest = len(os.fsencode(self.gate_socket))
        if longest > LONGEST_SOCKET_PATH:
            raise HitlError(
                f"{self.gate_socket} has {longest} bytes, a Unix socket's path at most {LONGEST_SOCKET_PATH}; "
                "choose a shorter --home"
            )
