"""The chart's tools: pinned, each got by itself, and those that are got are the pinned ones."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from charts.tools import NAMES, ProvisionFailed, provide
from charts.tools.provide import TOOLS, Tool, ways

ROOT = Path(__file__).parents[2]

# Notes what it was asked for; what it "builds" is a program that does nothing.
GO = """#!/bin/sh
if [ "$1" = env ]; then echo go1.26.9; exit; fi
echo "$*" >> "$ASKED"
while [ $# -gt 1 ]; do
  if [ "$1" = -o ]; then echo '#!/bin/sh' > "$2"; chmod +x "$2"; fi
  shift
done
"""


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which Go notes what it was asked for."""
    go = executable(tmp_path / "bin" / "go", GO)
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    return tmp_path / "asked"


def test_one_tool_is_built_without_the_others_and_knows_its_version(tmp_path: Path, asked: Path) -> None:
    """Who needs Helm 3 waits for Helm 3 alone; it is told its version and the Kubernetes of its client."""
    said: list[str] = []
    place = provide("helm3", environment={"HITL_CACHE": str(tmp_path / "cache")}, say=said.append)
    assert place.parent.parent == tmp_path / "cache" / "chart-tools"
    (built,) = asked.read_text().splitlines()
    helm = next(tool for tool in TOOLS if tool.name == "helm3")
    assert f"-X helm.sh/helm/v3/internal/version.version=v{helm.version}" in built
    assert re.search(r"-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=\d\d ", built)
    assert said == ["building takes about 1 min on two cores, once; Ctrl-C stops it", "building helm3 … 1 of 1"]


def test_the_second_time_nothing_is_built(tmp_path: Path, asked: Path) -> None:
    """What was built once lies in the cache."""
    environment = {"HITL_CACHE": str(tmp_path / "cache")}
    first = provide("kubeconform", environment=environment, say=lambda _: None)
    assert provide("kubeconform", environment=environment, say=lambda _: None) == first
    assert len(asked.read_text().splitlines()) == 1


def test_a_folder_of_tools_is_used_for_what_it_has(tmp_path: Path, asked: Path) -> None:
    """HITL_CHART_TOOLS may name a folder with some of them; only what it lacks is built."""
    mine = executable(tmp_path / "mine" / "helm4")
    environment = {"HITL_CACHE": str(tmp_path / "cache"), "HITL_CHART_TOOLS": str(mine.parent)}
    assert provide("helm4", environment=environment, say=lambda _: None) == mine
    assert not asked.exists()
    assert provide("kube-score", environment=environment, say=lambda _: None).is_relative_to(tmp_path / "cache")


def test_a_folder_without_any_tool_is_a_mistake_that_is_named(tmp_path: Path) -> None:
    """A HITL_CHART_TOOLS that names the wrong folder is said at once, not silently built around."""
    with pytest.raises(ProvisionFailed, match=r"HITL_CHART_TOOLS is .*, where none of helm3, helm4"):
        provide("helm3", environment={"HITL_CHART_TOOLS": str(tmp_path)}, ways_of=ways)


def test_every_tool_is_pinned_by_hash() -> None:
    """Each has a go.mod that names it as its tool in one version, and a go.sum with that version's hash."""
    for tool in TOOLS:
        assert f"tool {tool.package}\n" in (tool.home / "go.mod").read_text()
        assert f"{tool.module} v{tool.version} h1:" in (tool.home / "go.sum").read_text()
    assert {tool.name for tool in TOOLS} == {path.parent.name for path in (ROOT / "charts" / "tools").glob("*/go.mod")}


@pytest.mark.parametrize("tool", TOOLS, ids=NAMES)
def test_what_is_got_is_the_pinned_version(tool: Tool) -> None:
    """The real program, asked for its version, says the one of go.mod."""
    ask = {"kubeconform": "-v", "promtool": "--version"}.get(tool.name, "version")
    said = subprocess.run([provide(tool.name), ask], capture_output=True, text=True, timeout=60, check=True)
    assert re.search(rf"\bv?{re.escape(tool.version)}\b", said.stdout), said.stdout


def test_a_tool_that_is_not_there_is_refused_by_name() -> None:
    """`python -m charts.tools helm5` ends with exit code 2 and what there is."""
    tried = subprocess.run(
        [sys.executable, "-m", "charts.tools", "helm5"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (tried.returncode, tried.stdout) == (2, "")
    assert tried.stderr == f"chart tools: there is no helm5; there are {', '.join(NAMES)}\n"
