"""The ways to get programs that are not there yet: the official archive, and a build from Go modules."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane.versions import HOME, Versions
from go_programs.go import Go
from go_programs.ways import Build, Program, Say, Way, WayFailed

KUBERNETES = "k8s.io/kubernetes/cmd/"
ARCHIVED = frozenset({"etcd", "kube-apiserver", "kubectl"})
NAMES = ("etcd", "kube-apiserver", "kubectl", "kube-controller-manager")

LOOK = 20.0  # seconds for a look into the archive's index: without a network we go on at once, not after minutes
TOOL = 120.0  # seconds to build the tool that reads the archive
DOWNLOAD = 300.0  # seconds for its 70 MB


def ways(versions: Versions, home: Path, say: Say) -> tuple[Way, ...]:
    """The archive first, for it takes seconds; then the build."""
    go = Go(home, versions.go, say)
    return Archive(go, versions, say), Build(go, programs(versions), say)


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


def programs(versions: Versions) -> dict[str, Program]:
    """How each is built; Kubernetes' programs are told their version."""
    major, minor, *_ = versions.kubernetes.split(".")
    told = {"gitVersion": f"v{versions.kubernetes}", "gitMajor": major, "gitMinor": minor}
    stamps = {f"k8s.io/component-base/version.{key}": value for key, value in told.items()}
    return {
        "etcd": Program("go.etcd.io/etcd/server/v3", HOME, seconds=25),
        "kube-apiserver": Program(f"{KUBERNETES}kube-apiserver", HOME, seconds=135, stamps=stamps),
        "kubectl": Program(f"{KUBERNETES}kubectl", HOME, seconds=30, stamps=stamps),
        "kube-controller-manager": Program(f"{KUBERNETES}kube-controller-manager", HOME, seconds=50, stamps=stamps),
    }


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
