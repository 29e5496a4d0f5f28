"""Get the control plane's programs: KUBEBUILDER_ASSETS, else the cache, else a build from Go modules."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from control_plane.versions import HOME, Versions, pinned

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}


class ProvisionFailed(Exception):
    """The programs could not be had; the message says which ways were tried, why each failed and what to do."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the four programs lie."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path
    kube_controller_manager: Path


def provide() -> Programs:
    """The four programs, from the first way that has them."""
    versions = pinned()
    folder = cache() / versions.folder
    given = os.environ.get("KUBEBUILDER_ASSETS")
    found: dict[str, Path] = {}
    for name in PACKAGES:
        places = [Path(given) / name] if given else []
        places.append(folder / name)
        found[name] = next((place for place in places if os.access(place, os.X_OK)), folder / name)
    missing = [name for name, place in found.items() if not place.exists()]
    if missing:
        _build(missing, folder, versions)
    return Programs(*(found[name] for name in PACKAGES))


def cache() -> Path:
    """HITL_CACHE/control-plane, else ~/.cache/hitl/control-plane."""
    return Path(os.environ.get("HITL_CACHE") or Path.home() / ".cache" / "hitl") / "control-plane"


def _build(names: list[str], folder: Path, versions: Versions) -> None:
    go = shutil.which("go")
    if go is None:
        raise ProvisionFailed(f"go is not on PATH; install Go {versions.go} or set KUBEBUILDER_ASSETS")
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, 1):
        print(f"building {name} … {number} of {len(names)}", file=sys.stderr)
        part = folder / f".{name}.{os.getpid()}"
        major, minor = versions.kubernetes.split(".")[:2]
        stamp = "k8s.io/component-base/version"
        stamps = {"gitVersion": f"v{versions.kubernetes}", "gitMajor": major, "gitMinor": minor}
        flags = " ".join(["-s", "-w", *(f"-X {stamp}.{key}={value}" for key, value in stamps.items())])
        subprocess.run(
            [go, "build", "-C", str(HOME), "-trimpath", "-o", str(part), "-ldflags", flags, PACKAGES[name]],
            env={**os.environ, "CGO_ENABLED": "0"},
            check=True,
        )
        part.rename(folder / name)


if __name__ == "__main__":
    print(provide().kube_apiserver.parent)
