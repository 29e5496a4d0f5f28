"""The ways to get programs that are not there yet; the one that every kind has is a build from Go modules."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from go_programs.go import Go, WayFailed

__all__ = ["Build", "Program", "Say", "Way", "WayFailed"]

Say = Callable[[str], None]

BUILD = 2700.0  # seconds for one program; the largest, kube-apiserver, takes 134 on two cores


class Way(Protocol):
    """One way to get programs."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def fetch(self, names: Sequence[str], into: Path) -> None:
        """Put those of `names` that this way has into `into`; raise WayFailed with the reason where it has none."""


@dataclass(frozen=True, slots=True)
class Program:
    """How one program is built.

    `package` is what go.mod in `home` pins as a tool; `seconds` is about how long that takes on two cores with
    nothing built before; `stamps` are the variables that its makers set when they link it (`-X`), mostly its version,
    which an unstamped build does not know; `tags` leave out what nobody here needs.
    """

    package: str
    home: Path
    seconds: int
    stamps: Mapping[str, str] = field(default_factory=dict)
    tags: str = ""

    @property
    def flags(self) -> str:
        """For the linker: no symbols, and the stamps."""
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.stamps.items())])


@dataclass(frozen=True, slots=True)
class Build:
    """A build of the pinned Go modules, each verified by go.sum."""

    go: Go
    programs: Mapping[str, Program]
    say: Say
    name: str = "build from Go modules"

    def fetch(self, names: Sequence[str], into: Path) -> None:
        minutes = round(sum(self.programs[name].seconds for name in names) / 60)
        if minutes:
            self.say(f"building takes about {minutes} min on two cores, once; Ctrl-C stops it")
        for number, name in enumerate(names, 1):
            self.say(f"building {name} … {number} of {len(names)}")
            program = self.programs[name]
            self.go.run(
                "build", "-trimpath", *(["-tags", program.tags] if program.tags else []), "-ldflags", program.flags,
                "-o", str(into / name), program.package, folder=program.home, seconds=BUILD,
            )  # fmt: skip
