"""Find programs of one kind, and get those that are missing into the cache.

They are looked for, each by itself,
1. in the folder that the kind's environment variable names;
2. in the cache: `$HITL_CACHE/<shelf>/<version>`, by default under `~/.cache/hitl`;
3. by the kind's ways, in order.
One of several processes at once gets them, the others wait for it.
"""

import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from go_programs.ways import Say, Way, WayFailed

MANIFEST = "sizes.json"


class ProvisionFailed(Exception):
    """The programs could not be had; the message says what each way ran into and what to do."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Programs that belong together.

    Args:
        title: what lines about them begin with.
        names: what they are called, also as files.
        variable: the environment variable that names a folder which has some of them.
        shelf: their folder in the cache.
        version: names the folder on the shelf, so that another version or machine never finds these.
        go: the Go that builds them, at least.
    """

    title: str
    names: tuple[str, ...]
    variable: str
    shelf: str
    version: str
    go: str


def provide(
    kind: Kind,
    names: Sequence[str],
    ways_of: Callable[[Path, Say], Sequence[Way]],
    *,
    environment: Mapping[str, str] | None = None,
    say: Say | None = None,
) -> dict[str, Path]:
    """Where each of `names` lies; those that are missing are got into the cache.

    Args:
        kind: what they are programs of.
        names: the programs that are wanted; the others of the kind are left alone.
        ways_of: given the cache and `say`, the ways to try, in order, for what is neither given nor in the cache.
        environment: where the kind's variable and HITL_CACHE are looked up (this process's).
        say: told what is being done and what failed on the way (lines on standard error).

    Raises:
        ProvisionFailed: no way had a program; nothing half-built stays behind.
    """
    environment = os.environ if environment is None else environment
    say = say or (lambda line: print(f"{kind.title}: {line}", file=sys.stderr, flush=True))
    cache = cache_of(environment)
    shelf = cache / kind.shelf
    folder = shelf / kind.version
    found = _given(kind, environment)
    wanted = [name for name in names if name not in found]
    if _missing(wanted, folder):
        try:
            with _alone(shelf / f"{kind.version}.lock", say):
                # Somebody may have built them while we waited.
                if missing := _missing(wanted, folder):
                    _fetch(kind, missing, folder, ways_of(cache, say), say)
        except OSError as error:
            raise ProvisionFailed(
                f"the cache {shelf} cannot be written: {error.strerror or error} ({error.filename or shelf}); make "
                f"room there, set HITL_CACHE to a folder of yours, or {kind.variable} to one that has the programs"
            ) from error
    return {name: found.get(name, folder / name) for name in names}


def _given(kind: Kind, environment: Mapping[str, str]) -> dict[str, Path]:
    """What the variable's folder has; it need not have all."""
    given = environment.get(kind.variable)
    if not given:
        return {}
    found = {name: Path(given) / name for name in kind.names if os.access(Path(given) / name, os.X_OK)}
    if not found:
        raise ProvisionFailed(
            f"{kind.variable} is {given}, where none of {', '.join(kind.names)} lies as an executable file; "
            "point it to the folder that has them, or unset it to have them fetched or built"
        )
    return found


def cache_of(environment: Mapping[str, str]) -> Path:
    """Where everything is kept that was got: HITL_CACHE, else ~/.cache/hitl."""
    home = environment.get("HITL_CACHE")
    return Path(home) if home else Path.home() / ".cache" / "hitl"


def _missing(names: Sequence[str], folder: Path) -> list[str]:
    """Those of `names` that are not whole in the cache; a truncated or foreign file counts as missing."""
    sizes = _sizes(folder)
    return [name for name in names if not _whole(folder / name, sizes.get(name))]


def _sizes(folder: Path) -> dict[str, int]:
    try:
        read = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):  # whatever lies there instead, it vouches for no program
        return {}
    return read if isinstance(read, dict) else {}


def _whole(program: Path, size: int | None) -> bool:
    return size is not None and os.access(program, os.X_OK) and program.stat().st_size == size


def _fetch(kind: Kind, missing: Sequence[str], folder: Path, tries: Sequence[Way], say: Say) -> None:
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
            _keep(left, Path(fresh), folder)
        left = _missing(left, folder)
        if not left:
            return
    raise ProvisionFailed(
        f"no way to get {', '.join(left)}:\n"
        + "\n".join(f"  - {failure}" for failure in failures)
        + f"\nInstall Go {kind.go} or newer with a network, or set {kind.variable} to a folder that has "
        + f"{', '.join(left)}."
    )


def _keep(names: Sequence[str], fresh: Path, folder: Path) -> None:
    """Move what lies in `fresh` into the cache, each in one step, then write down what a whole one weighs."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = _sizes(folder)
    for name in names:
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


def told(title: str, provided: Callable[[], Iterable[Path]]) -> int:
    """Provide and print the place of each program; exit code 1 and the reason where that fails, 130 if stopped."""
    try:
        places = list(provided())
    except ProvisionFailed as failure:
        print(f"{title}: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{title}: stopped; what is whole stays in the cache, the rest is built next time", file=sys.stderr)
        return 130
    for place in places:
        print(place)
    return 0
