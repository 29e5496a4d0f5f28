"""`python -m images`: build the images of sidecar and operator.

Where a Docker engine answers, by it, from the Dockerfiles; else as archives under dist/images, of the same parts:
Debian's Python and the pinned wheels. `ctr -n k8s.io images import FILE` or `docker load -i FILE` takes them in.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from go_programs.modules import architecture
from go_programs.provide import cache_of
from hitl import __version__
from images import archive, debian, dockerfile

_ROOT: Final = Path(__file__).parent.parent
_PROGRAMS: Final = ("sidecar", "operator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build; 1 and words on stderr where that cannot be done here."""
    parser = argparse.ArgumentParser(prog="python -m images", description=__doc__)
    parser.add_argument("program", nargs="*", help=f"one of {', '.join(_PROGRAMS)}  [all]")
    parser.add_argument("--prefix", default="localhost/", help="of the images' names, e.g. a registry  [%(default)s]")
    parser.add_argument("--tag", default=__version__, help="[%(default)s]")
    parser.add_argument("--archive", action="store_true", help="write archives, also where a Docker engine answers")
    given = parser.parse_args(arguments)
    if foreign := sorted(set(given.program) - set(_PROGRAMS)):
        parser.error(f"there is no program {', '.join(foreign)}; there are {', '.join(_PROGRAMS)}")
    programs = given.program or _PROGRAMS
    names = {program: f"{given.prefix}hitl-{program}:{given.tag}" for program in programs}
    try:
        if not given.archive and _engine_answers():
            _by_engine(names)
        else:
            _as_archives(names)
    except debian.NoWay as problem:
        sys.stderr.write(f"images: {problem}\n")
        return 1
    return 0


def _engine_answers() -> bool:
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _by_engine(names: dict[str, str]) -> None:
    for program, name in names.items():
        command = ["docker", "build", "--file", str(_ROOT / program / "Dockerfile"), "--tag", name, str(_ROOT)]
        if subprocess.run(command, check=False).returncode:
            raise debian.NoWay(f"docker build of {program} failed; its words are above")
        sys.stdout.write(f"{name}\n")


def _as_archives(names: dict[str, str]) -> None:
    machine = platform.machine()
    cache = cache_of(os.environ) / f"debian-{debian.RELEASE}-{machine}"
    with tempfile.TemporaryDirectory(prefix="hitl-images-") as temporary:
        work = Path(temporary)
        base = work / "base"
        base.mkdir()
        versions = debian.tree(cache, base)
        lower = archive.layer(base, more={**debian.PEOPLE, "etc/hitl-packages": _listed(versions)})
        wheel = _wheel(work)
        for program, name in names.items():
            upper = archive.layer(_application(program, wheel, base, work / program, machine), "app")
            path = _ROOT / "dist" / "images" / f"hitl-{program}.tar"
            settings = dockerfile.read(_ROOT / program / "Dockerfile")
            digest = archive.write(path, name, [lower, upper], settings, architecture=architecture())
            size = (len(lower) + len(upper)) / (1 << 20)
            sys.stdout.write(f"{name}  {size:.0f} MiB  {digest}\n  {path}\n")


def _listed(versions: dict[str, str]) -> bytes:
    return json.dumps(versions, indent=1, sort_keys=True).encode()


def _wheel(work: Path) -> Path:
    """The wheel of this checkout."""
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(work / "wheel"), str(_ROOT))
    return next((work / "wheel").glob("*.whl"))


def _application(program: str, wheel: Path, base: Path, into: Path, machine: str) -> Path:
    """What is under /app: the pinned packages of one program and itself, compiled by the image's own Python."""
    version = debian.PYTHON.removeprefix("python")
    tag = version.replace(".", "")
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(36, 16, -1)] + [f"manylinux2014_{machine}"]
    target = ["--target", str(into), "--no-compile"]
    _pip(
        "install", *target, "--require-hashes", "--only-binary", ":all:", "--python-version", version,
        "--implementation", "cp", "--abi", f"cp{tag}", "--abi", "abi3", "--abi", "none",
        *(word for each in platforms for word in ("--platform", each)),
        "-r", str(_ROOT / "requirements" / f"{program}.txt"),
    )  # fmt: skip
    _pip("install", *target, "--no-deps", str(wheel))
    debian.run(base, ["-m", "images.application", program, str(into)], packages=_ROOT)
    return into


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()] or ["it failed without a word"]
        raise debian.NoWay(f"pip {arguments[0]}: {words[-1]}")


if __name__ == "__main__":
    sys.exit(main())
