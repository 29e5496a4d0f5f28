"""Get what a node runs, as the control plane's programs are got: given, from the cache, or built from Go modules."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from control_plane.versions import HOME as KUBERNETES
from control_plane.versions import pinned
from go_programs import provide as providing
from go_programs.go import Go
from go_programs.modules import architecture, pin_of, read
from go_programs.provide import Kind
from go_programs.ways import Build, Program, Say

HOME: Final = Path(__file__).parent
TITLE: Final = "node"
_CONTAINERD: Final = "github.com/containerd/containerd/v2"


def provide(*, environment: Mapping[str, str] | None = None, say: Say | None = None) -> dict[str, Path]:
    """Where each program lies, by its name; about six minutes on two cores where all have to be built.

    Args:
        environment: where HITL_NODE_PROGRAMS and HITL_CACHE are looked up (this process's).
        say: told what is being done (lines on standard error).

    Raises:
        ProvisionFailed: one could not be had; the message says what was tried and what to do.
    """
    programs = _programs()
    versions = pinned()
    containerd, coredns = _containerd(), pin_of("github.com/coredns/coredns", read(HOME / "coredns"))
    folder = f"{versions.kubernetes}-{containerd}-{coredns}-{architecture()}"
    kind = Kind(TITLE, tuple(programs), "HITL_NODE_PROGRAMS", "node", folder, versions.go)
    return providing.provide(
        kind,
        kind.names,
        lambda cache, told: (Build(Go(cache, versions.go, told), programs, told),),
        environment=environment,
        say=say,
    )


def _programs() -> dict[str, Program]:
    kubernetes = pinned().kubernetes
    major, minor, *_ = kubernetes.split(".")
    told = {"gitVersion": f"v{kubernetes}", "gitMajor": major, "gitMinor": minor}
    stamps = {f"k8s.io/component-base/version.{key}": value for key, value in told.items()}
    runtime = {f"{_CONTAINERD}/version.Version": f"v{_containerd()}"}
    return {
        **{
            name: Program(f"k8s.io/kubernetes/cmd/{name}", KUBERNETES, seconds, stamps)
            for name, seconds in (("kubelet", 90), ("kube-proxy", 30), ("kube-scheduler", 30))
        },
        **{
            # Snapshotters of file systems that no machine of ours has would need their C libraries.
            name: Program(
                f"{_CONTAINERD}/cmd/{name}", HOME / "containerd", seconds, runtime, "no_btrfs,no_zfs,no_devmapper"
            )
            for name, seconds in (("containerd", 90), ("containerd-shim-runc-v2", 15), ("ctr", 15))
        },
        "coredns": Program(".", HOME / "coredns", 60),
        "pause": Program(".", HOME / "pause", 1),
    }


def _containerd() -> str:
    return pin_of(_CONTAINERD, read(HOME / "containerd"))


if __name__ == "__main__":
    sys.exit(providing.told(TITLE, lambda: provide().values()))
