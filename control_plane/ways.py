"""The ways to get programs that are not there yet: the official archive, and a build from Go modules."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from control_plane.go import Go, WayFailed
from control_plane.versions import HOME, Versions

__all__ = ["NAMES", "Archive", "Build", "Say", "Way", "WayFailed", "ways"]

Say = Callable[[str], None]

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
NAMES = tuple(PACKAGES)
ARCHIVED = frozenset({"etcd", "kube-apiserver", "kubectl"})

LOOK = 20.0  # seconds for a look into the archive's index: without a network we go on at once, not after minutes
TOOL = 120.0  # seconds to build the tool that reads the archive
DOWNLOAD = 300.0  # seconds for its 70 MB
BUILD = 2700.0  # seconds for one program; kube-apiserver takes 134 on two cores


class Way(Protocol):
    """One way to get programs."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def fetch(self, names: Sequence[str], into: Path) -> None:
        """Put those of `names` that this way has into `into`; raise WayFailed with the reason where it has none."""


def ways(versions: Versions, home: Path, say: Say) -> tuple[Way, ...]:
    """The archive first, for it takes seconds; then the build."""
    go = Go(home, versions.go, say)
    return Archive(go, versions, say), Build(go, versions, say)


@dataclass(frozen=True, slots=True)
class Archive:
    """The official envtest archive, by the tool of its makers, which compares the hash of what it downloads."""

    go: Go
    versions: Versions
    say: Say
    name: str = "official envtest archive"

    def fetch(self, names: Sequence[str], into: Path) -> None:
        wanted = [name for name in names if name in ARCHIVED]
        if not wanted:
            return
        tool, store = into / "setup-envtest", into / "envtest"
        package = "sigs.k8s.io/controller-runtime/tools/setup-envtest"
        self.go.run("build", "-o", str(tool), package, folder=HOME / "envtest", seconds=TOOL)
        version = self.versions.kubernetes
        try:
            listed = _tool([str(tool), "list", version, "--bin-dir", str(store)], LOOK)
        except WayFailed as failure:
            # What the tool says of it are Go's words, a line as long as three.
            raise WayFailed("not reachable") from failure
        if f"v{version}" not in listed:
            raise WayFailed(f"it has no {version} for this machine")
        self.say(f"downloading {', '.join(wanted)} {version} from the {self.name}")
        place = _tool([str(tool), "use", version, "--print", "path", "--bin-dir", str(store)], DOWNLOAD)
        for name in wanted:
            shutil.move(Path(place.strip()) / name, into / name)


@dataclass(frozen=True, slots=True)
class Build:
    """A build of the pinned Go modules, each verified by go.sum."""

    go: Go
    versions: Versions
    say: Say
    name: str = "build from Go modules"

    def fetch(self, names: Sequence[str], into: Path) -> None:
        if "kube-apiserver" in names:
            self.say("building takes about four minutes on two cores, once; Ctrl-C stops it")
        for number, name in enumerate(names, 1):
            self.say(f"building {name} … {number} of {len(names)}")
            flags = self._flags(name)
            self.go.run(
                "build", "-trimpath", "-ldflags", flags, "-o", str(into / name), PACKAGES[name],
                folder=HOME, seconds=BUILD,
            )  # fmt: skip

    def _flags(self, name: str) -> str:
        """Strip symbols; tell Kubernetes' programs their version, which an unstamped build does not know."""
        flags = ["-s", "-w"]
        if name != "etcd":
            major, minor, *_ = self.versions.kubernetes.split(".")
            stamps = {"gitVersion": f"v{self.versions.kubernetes}", "gitMajor": major, "gitMinor": minor}
            flags += [f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamps.items()]
        return " ".join(flags)


def _tool(command: Sequence[str], seconds: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=_quiet())
    except subprocess.TimeoutExpired as late:
        raise WayFailed(f"no answer within {seconds:.0f} s") from late
    if done.returncode != 0:
        raise WayFailed(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed without a word")
    return done.stdout


def _quiet() -> dict[str, str]:
    """Our environment without what would turn the tool away from the archive."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("ENVTEST_", "KUBEBUILDER_"))}
