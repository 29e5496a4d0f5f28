"""The lower layer without a Docker engine: Debian's Python and what it is linked with, as distroless images have it.

Packages are fetched by apt, which verifies Debian's signatures, into a folder of their own; nothing on this machine is
changed and no root is needed. Nothing in an image is run while it is made but its own Python, to compile its library.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

RELEASE: Final = "bookworm"
"""Whose Python the Dockerfiles name, too."""

PYTHON: Final = "python3.11"

_PACKAGES: Final = (
    "base-files", "libc6", "libgcc-s1", "gcc-12-base", "libstdc++6", "zlib1g", "libssl3", "libffi8", "libexpat1",
    "libbz2-1.0", "liblzma5", "libsqlite3-0", "libuuid1", "libcrypt1", f"lib{PYTHON}-minimal", f"lib{PYTHON}-stdlib",
    f"{PYTHON}-minimal",
)  # fmt: skip
# /bin and its like are links into /usr, as on every Debian since 2023; packages still use the old names.
_LINKS: Final = ("bin", "sbin", "lib", "lib64")
_UNUSED: Final = (
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/info",
    "usr/share/bug",
    "var",
    "etc",
)
_UNUSED_MODULES: Final = ("test", "idlelib", "lib2to3", "ensurepip", "distutils", "pydoc_data", "tkinter", "turtledemo")
# Extensions that are linked with what is not here; nobody imports them.
_UNLINKED: Final = ("_curses", "_curses_panel", "_dbm", "nis", "readline", "_gdbm", "_tkinter")
_SECONDS: Final = 600.0

PEOPLE: Final = {
    "etc/passwd": (
        b"root:x:0:0:root:/root:/sbin/nologin\n"
        b"nonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
        b"hitl-sidecar:x:64918:64918:hitl-sidecar:/:/sbin/nologin\n"
    ),
    "etc/group": b"root:x:0:\nnonroot:x:65532:\nhitl-sidecar:x:64918:\n",
}
"""Files that name the users an image runs as."""


class NoWay(Exception):
    """The layer cannot be made here; the message says why and what to do."""


def tree(cache: Path, into: Path) -> dict[str, str]:
    """Lay the base out; the version of each package that went into it.

    Args:
        cache: where packages are kept from one time to the next.
        into: an empty folder.

    Raises:
        NoWay: this is no Debian of the right release, or a package cannot be had.
    """
    for program in ("apt-get", "dpkg-deb", "tar"):
        if shutil.which(program) is None:
            raise NoWay(f"there is no {program} here; start a Docker engine, or build on Debian 12")
    if (found := _release()) != RELEASE:
        raise NoWay(f"this is {found}, the images are made of {RELEASE}; start a Docker engine, or build on Debian 12")
    packages = _fetch(cache)
    for link in _LINKS:
        (into / "usr" / link).mkdir(parents=True)
        (into / link).symlink_to(f"usr/{link}")
    for package in packages:
        _unpack(package, into)
    for unused in (*_UNUSED, *(f"usr/lib/{PYTHON}/{name}" for name in _UNUSED_MODULES)):
        shutil.rmtree(into / unused, ignore_errors=True)
    for name in _UNLINKED:
        for extension in (into / "usr/lib" / PYTHON / "lib-dynload").glob(f"{name}.*.so"):
            extension.unlink()
    _keep_licences_alone(into / "usr/share/doc")
    for folder in ("etc", "tmp", "var/tmp", "root"):
        (into / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("tmp", "var/tmp"):
        (into / folder).chmod(0o1777)
    run(into, ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(into), "-p", "/",
               str(into / "usr/lib" / PYTHON)])  # fmt: skip
    return dict(_version(package) for package in packages)


def run(tree: Path, arguments: Sequence[str], *, packages: Path | None = None) -> None:
    """Run the tree's own Python on this machine, without root: by its own loader and libraries.

    Raises:
        NoWay: it does not run here, or failed; the message has its last words.
    """
    libraries = next((tree / "usr/lib").glob("*-linux-gnu*"))
    loader = next(iter((*libraries.glob("ld-linux*"), *(tree / "usr/lib64").glob("ld-linux*"))))
    paths = {
        "PYTHONHOME": str(tree / "usr"),
        "PYTHONPATH": str(packages or ""),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }
    _call(
        [str(loader), "--library-path", str(libraries), str(tree / "usr/bin" / PYTHON), "-P", *arguments],
        environment=paths,
    )


def _release() -> str:
    release = Path("/etc/os-release")
    lines = release.read_text("utf-8").splitlines() if release.exists() else []
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    return said.get("VERSION_CODENAME", said.get("ID", "an unknown system")).strip('"')


def _fetch(cache: Path) -> list[Path]:
    """The packages, in the order of their names."""
    state = cache / "apt"
    for folder in (state / "lists/partial", state / "cache/archives/partial", cache / "packages"):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    options = [
        f"Dir::State={state}", f"Dir::State::status={state}/status", f"Dir::State::lists={state}/lists",
        f"Dir::Cache={state}/cache", "APT::Sandbox::User=root", "Acquire::Languages=none",
    ]  # fmt: skip
    apt = ["apt-get", "-q", *(word for option in options for word in ("-o", option))]
    _call([*apt, "update"])
    printed = _call([*apt, "--print-uris", "download", *_PACKAGES])
    _call([*apt, "download", *_PACKAGES], folder=cache / "packages")
    # One line each: 'address' name size hash. What else lies there is of another time.
    found = [cache / "packages" / line.split()[1] for line in printed.splitlines() if line.startswith("'")]
    if len(found) != len(_PACKAGES) or not all(package.is_file() for package in found):
        raise NoWay(f"apt-get named {len(found)} of {len(_PACKAGES)} packages; look into {cache}")
    return sorted(found)


def _unpack(package: Path, into: Path) -> None:
    files = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, check=True).stdout
    # Links at the root stay links: a package that brings /lib/x must put it into /usr/lib.
    unpack = ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", str(into)]
    done = subprocess.run(unpack, input=files, capture_output=True, check=False)
    if done.returncode:
        raise NoWay(f"{package.name}: cannot be unpacked: {done.stderr.decode().strip()}")


def _version(package: Path) -> tuple[str, str]:
    name, version = _call(["dpkg-deb", "-W", "--showformat=${Package} ${Version}", str(package)]).split()
    return name, version


def _keep_licences_alone(folder: Path) -> None:
    for file in sorted(folder.rglob("*"), reverse=True):
        if file.is_dir() and not file.is_symlink():
            if not any(file.iterdir()):
                file.rmdir()
        elif file.name != "copyright":
            file.unlink()


def _call(command: Sequence[str], *, folder: Path | None = None, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        raise NoWay(f"{command[0]}: no end within {_SECONDS:.0f} s") from late
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "it failed without a word").splitlines()
        raise NoWay(f"{Path(command[0]).name}: {words[-1]}")
    return done.stdout
