"""The official archive and the build: what they ask Go for, and how each says that it cannot.

Go and the archive's tool are small programs in their place, so that nothing is downloaded or compiled.
"""

import os
from pathlib import Path

import pytest

from control_plane.versions import pinned
from control_plane.ways import NAMES, ways
from go_programs.ways import WayFailed

# Notes what it was asked for; what it "builds" is the text of $BUILT.
GO = """#!/bin/sh
if [ "$1" = env ]; then echo go1.26.1; exit; fi
echo "CGO_ENABLED=$CGO_ENABLED go $*" >> "$ASKED"
while [ $# -gt 1 ]; do
  if [ "$1" = -o ]; then printf '%s' "$BUILT" > "$2"; chmod +x "$2"; fi
  shift
done
"""
# The archive's tool: lists versions, and lays the three programs of one into its store.
TOOL = """#!/bin/sh
if [ "$1" = list ]; then echo "(available) v{listed} linux/amd64"; exit {code}; fi
mkdir -p "$6/here"
for name in etcd kube-apiserver kubectl; do echo "$name" > "$6/here/$name"; chmod +x "$6/here/$name"; done
printf '%s' "$6/here"
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which Go notes what it was asked for."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(GO)
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("BUILT", "#!/bin/sh\n")
    return tmp_path / "asked"


def fetched(tmp_path: Path, way: int, *names: str) -> tuple[list[str], list[str]]:
    """What the way was told to say, and the programs that it had."""
    said: list[str] = []
    into = tmp_path / "into"
    into.mkdir()
    ways(pinned(), tmp_path / "home", said.append)[way].fetch(names, into)
    return said, sorted(path.name for path in into.iterdir() if path.name in NAMES)


def test_the_build_says_what_it_does_and_stamps_versions(tmp_path: Path, asked: Path) -> None:
    """One line per program on the way; Kubernetes' programs know their version; nothing links against the machine."""
    said, had = fetched(tmp_path, 1, "etcd", "kube-apiserver")
    assert said == [
        "building takes about 3 min on two cores, once; Ctrl-C stops it",
        "building etcd … 1 of 2",
        "building kube-apiserver … 2 of 2",
    ]
    assert had == ["etcd", "kube-apiserver"]
    etcd, server = asked.read_text().splitlines()
    assert etcd.endswith("go.etcd.io/etcd/server/v3")
    assert "gitVersion" not in etcd
    assert f"version.gitVersion=v{pinned().kubernetes}" in server
    assert server.startswith("CGO_ENABLED=0 go build -trimpath ")


def test_the_archive_gives_what_it_has(tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three programs come from the archive of exactly the pinned version; it is not asked for the fourth."""
    monkeypatch.setenv("BUILT", TOOL.format(listed=pinned().kubernetes, code=0))
    said, had = fetched(tmp_path, 0, *NAMES)
    assert had == ["etcd", "kube-apiserver", "kubectl"]
    assert said == [
        f"downloading etcd, kube-apiserver, kubectl {pinned().kubernetes} from the official envtest archive"
    ]
    assert "setup-envtest" in asked.read_text()


@pytest.mark.parametrize(
    ("code", "reason"),
    [(0, "it has no .* for this machine"), (2, "^not reachable$")],
    ids=["another version only", "not reachable"],
)
def test_an_archive_that_cannot_serve_says_why(
    tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str
) -> None:
    """Another version is not taken instead, and an archive out of reach is a reason, not a crash."""
    monkeypatch.setenv("BUILT", TOOL.format(listed="1.2.3", code=code))
    with pytest.raises(WayFailed, match=reason):
        fetched(tmp_path, 0, *NAMES)
    assert asked.exists()


def test_the_archive_is_not_asked_for_what_it_never_has(tmp_path: Path, asked: Path) -> None:
    """For kube-controller-manager alone nobody looks into the archive."""
    assert fetched(tmp_path, 0, "kube-controller-manager") == ([], [])
    assert not asked.exists()
