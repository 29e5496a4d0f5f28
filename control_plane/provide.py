"""Get the control plane's programs, from the first of these that has them.

1. the folder that KUBEBUILDER_ASSETS names;
2. the cache: `$HITL_CACHE/control-plane/<kubernetes>-<etcd>-<machine>`, by default under `~/.cache/hitl`;
3. the official envtest archive of the pinned version (without kube-controller-manager);
4. a build from the Go modules that go.mod pins, about four minutes once.

`python -m control_plane.provide` does it and prints where each program lies. Whoever needs them calls `provide`; one
of several at once builds, the others wait for it.
"""

import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from control_plane.versions import Versions, pinned
from control_plane.ways import NAMES, Say, Way, WayFailed, ways

MANIFEST = "sizes.json"


class ProvisionFailed(Exception):
    """The programs could not be had; the message says what each way ran into and what to do."""


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
    environment = os.environ if environment is None else environment
    say = say or (lambda line: print(f"control plane: {line}", file=sys.stderr, flush=True))
    versions = pinned()
    home = _cache(environment)
    folder = home / versions.folder
    found = _given(environment)
    if missing := _missing(found, folder):
        try:
            with _alone(home / f"{versions.folder}.lock", say):
                # Somebody may have built them while we waited.
                if missing := _missing(found, folder):
                    _fetch(missing, folder, ways_of(versions, home, say), say)
        except OSError as error:
            raise ProvisionFailed(
                f"the cache {home} cannot be written: {error.strerror or error} ({error.filename or home}); make room "
                "there, set HITL_CACHE to a folder of yours, or KUBEBUILDER_ASSETS to one that has the programs"
            ) from error
    places = {name: found.get(name, folder / name) for name in NAMES}
    return Programs(*(places[name] for name in NAMES))


def _given(environment: Mapping[str, str]) -> dict[str, Path]:
    """What KUBEBUILDER_ASSETS has; the official archive lacks kube-controller-manager, so some may be missing."""
    assets = environment.get("KUBEBUILDER_ASSETS")
    if not assets:
        return {}
    found = {name: Path(assets) / name for name in NAMES if os.access(Path(assets) / name, os.X_OK)}
    if not found:
        raise ProvisionFailed(
            f"KUBEBUILDER_ASSETS is {assets}, where none of {', '.join(NAMES)} lies as an executable file; "
            "point it to the folder that has them, or unset it to have them fetched or built"
        )
    return found


def _cache(environment: Mapping[str, str]) -> Path:
    home = environment.get("HITL_CACHE")
    return (Path(home) if home else Path.home() / ".cache" / "hitl") / "control-plane"


def _missing(found: Mapping[str, Path], folder: Path) -> list[str]:
    """The programs that are neither given nor whole in the cache; a truncated or foreign file counts as missing."""
    sizes = _sizes(folder)
    return [name for name in NAMES if name not in found and not _whole(folder / name, sizes.get(name))]


def _sizes(folder: Path) -> dict[str, int]:
    try:
        read = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):  # whatever lies there instead, it vouches for no program
        return {}
    return read if isinstance(read, dict) else {}


def _whole(program: Path, size: int | None) -> bool:
    return size is not None and os.access(program, os.X_OK) and program.stat().st_size == size


def _fetch(missing: Sequence[str], folder: Path, tries: Sequence[Way], say: Say) -> None:
    """Try way after way until nothing is missing; what one way had stays, so that the next try has less to do."""
    failures = []
    left = list(missing)
    for way in tries:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as fresh:
            try:
                way.fetch(left, Path(fresh))
            except WayFailed as failure:
                say(f"{way.name}: {failure}")
                failures.append(f"{way.name}: {failure}")
            _keep(Path(fresh), folder)
        left = (
            _missing({}, folder) if set(left) == set(NAMES) else [name for name in left if name in _missing({}, folder)]
        )
        if not left:
            return
    raise ProvisionFailed(
        f"no way to get {', '.join(left)}:\n"
        + "\n".join(f"  - {failure}" for failure in failures)
        + f"\nInstall Go {pinned().go} or newer with a network, or set KUBEBUILDER_ASSETS to a folder that has "
        + f"{', '.join(NAMES)}."
    )


def _keep(fresh: Path, folder: Path) -> None:
    """Move what lies in `fresh` into the cache, each in one step, then write down what a whole one weighs."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = _sizes(folder)
    for name in NAMES:
        if (fresh / name).exists():
            (fresh / name).replace(folder / name)
            sizes[name] = (folder / name).stat().st_size
    manifest = fresh / MANIFEST
    manifest.write_text(json.dumps(sizes))
    manifest.replace(folder / MANIFEST)


@contextmanager
def _alone(lock: Path, say: Say) -> Iterator[None]:
    """Hold the file lock; the kernel gives it back when its holder ends, however that happens."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("somebody else is getting it, waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Provide and print the place of each program; exit code 1 and the reason where that fails, 130 if stopped."""
    try:
        programs = provide()
    except ProvisionFailed as failure:
        print(f"control plane: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("control plane: stopped; what is whole stays in the cache, the rest is built next time", file=sys.stderr)
        return 130
    for path in (programs.etcd, programs.kube_apiserver, programs.kubectl, programs.kube_controller_manager):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
