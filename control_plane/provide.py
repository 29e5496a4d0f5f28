"""Get the control plane's programs, from the first of these that has them.

1. the folder that KUBEBUILDER_ASSETS names;
2. the cache: `$HITL_CACHE/control-plane/<kubernetes>-<etcd>-<machine>`, by default under `~/.cache/hitl`;
3. the official envtest archive of the pinned version (without kube-controller-manager);
4. a build from the Go modules that go.mod pins, about four minutes once.

`python -m control_plane.provide` does it and prints where each program lies. Whoever needs them calls `provide`; one
of several at once builds, the others wait for it.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from control_plane.versions import Versions, pinned
from control_plane.ways import NAMES, ways
from go_programs import provide as providing
from go_programs.provide import Kind, ProvisionFailed
from go_programs.ways import Say, Way

__all__ = ["Programs", "ProvisionFailed", "provide"]

TITLE = "control plane"


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the four programs lie."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path
    kube_controller_manager: Path


def provide(
    *,
    environment: Mapping[str, str] | None = None,
    say: Say | None = None,
    ways_of: Callable[[Versions, Path, Say], Sequence[Way]] = ways,
) -> Programs:
    """The four programs; those that are missing are fetched or built into the cache.

    Args:
        environment: where KUBEBUILDER_ASSETS and HITL_CACHE are looked up (this process's).
        say: told what is being done and what failed on the way (lines on standard error).
        ways_of: the ways to try, in order, for what neither KUBEBUILDER_ASSETS nor the cache has.

    Raises:
        ProvisionFailed: no way had a program; nothing half-built stays behind.
    """
    versions = pinned()
    kind = Kind(TITLE, NAMES, "KUBEBUILDER_ASSETS", "control-plane", versions.folder, versions.go)
    places = providing.provide(
        kind, NAMES, lambda cache, told: ways_of(versions, cache, told), environment=environment, say=say
    )
    return Programs(*(places[name] for name in NAMES))


def main() -> int:
    """Provide and print the place of each program; exit code 1 and the reason where that fails, 130 if stopped."""
    return providing.told(TITLE, lambda: astuple(provide()))


if __name__ == "__main__":
    sys.exit(main())
