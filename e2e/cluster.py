"""A cluster with nodes that journeys run on: one on this machine, or whatever KUBECONFIG names."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

import charts
import charts.tools
from control_plane.provide import provide
from e2e.node.running import running
from hitl import __version__

ROOT: Final = Path(__file__).parent.parent
CHART: Final = Path(charts.__path__[0]) / "hitl"
PATIENCE: Final = 300.0  # seconds that one command may take
EVER: Final = 240.0  # seconds after which a journey has failed
NAMESPACE: Final = "hitl-system"


class NoCluster(Exception):
    """There is none to run on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a platform engineer has: an administrator's kubeconfig, kubectl with the plugin, Helm, and images.

    Attributes:
        kubeconfig: the administrator's.
        people: folder for kubeconfigs of others, who act by impersonation.
        prefix: of the images' names.
        tag: of the images.
    """

    kubeconfig: Path
    people: Path
    prefix: str
    tag: str = __version__

    def image(self, program: str) -> str:
        return f"{self.prefix}hitl-{program}:{self.tag}"

    def run(self, *command: str, who: Path | None = None, text: str | None = None, patience: float = PATIENCE) -> Done:
        """Run kubectl, helm or another command that uses KUBECONFIG; a refusal is an exit code."""
        kubectl, plugin = provide().kubectl.parent, Path(sys.executable).parent
        environment = {
            **os.environ,
            "KUBECONFIG": str(who or self.kubeconfig),
            "PATH": f"{kubectl}:{plugin}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            command, input=text, env=environment, capture_output=True, text=True, timeout=patience, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def kubectl(self, *arguments: str, who: Path | None = None, text: str | None = None) -> Done:
        return self.run("kubectl", *arguments, who=who, text=text)

    def helm(self, *arguments: str, values: Mapping[str, Any] | None = None) -> Done:
        given = () if values is None else ("--values", "-")
        text = None if values is None else json.dumps(values)
        return self.run(str(charts.tools.provide("helm4")), *arguments, *given, text=text)

    def done(self, *arguments: str, who: Path | None = None, text: str | None = None) -> str:
        """What kubectl prints where it succeeds; it must."""
        done = self.kubectl(*arguments, who=who, text=text)
        assert done.code == 0, f"kubectl {' '.join(arguments)}\n{done.out}{done.err}"
        return done.out

    def apply(self, *objects: Mapping[str, Any], who: Path | None = None) -> None:
        self.done("apply", "-f", "-", who=who, text="\n---\n".join(map(json.dumps, objects)))

    def read(self, *words: str) -> dict[str, Any]:
        """What kubectl gets."""
        found: dict[str, Any] = json.loads(self.done("get", *words, "-o", "json"))
        return found

    def person(self, name: str, *groups: str) -> Path:
        """The kubeconfig of somebody else: the administrator, who speaks as them."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        for user in config["users"]:
            user["user"] |= {"as": name, "as-groups": [*groups, "system:authenticated"]}
        path = self.people / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path


def until(look: Callable[[], bool], what: str) -> None:
    """Look until it is so."""
    end = time.monotonic() + EVER
    while not look():
        assert time.monotonic() < end, f"waited {EVER:.0f} s until {what}"
        time.sleep(0.5)


@contextmanager
def cluster(folder: Path, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """A cluster for as long as the block lasts.

    Args:
        folder: a short path; logs of the node and of its containers stay in it.
        environment: KUBECONFIG names a throw-away cluster that has, or can pull, the images under
            HITL_IMAGES (a prefix such as ``registry.example.com/team/``).

    Raises:
        NoCluster: KUBECONFIG without HITL_IMAGES.
        NoNode: this machine cannot run a node.
    """
    people = folder / "people"
    people.mkdir(parents=True, exist_ok=True)
    if given := environment.get("KUBECONFIG"):
        prefix = environment.get("HITL_IMAGES", "")
        if not prefix:
            raise NoCluster(
                "KUBECONFIG is set and HITL_IMAGES is not: say under which prefix that cluster finds the images, e.g. "
                "HITL_IMAGES=registry.example.com/team/ (build and push them with `python -m images --prefix …`), or "
                "unset KUBECONFIG to use a node on this machine"
            )
        yield Cluster(Path(given), people, prefix)
        return
    with running(folder / "n") as node:
        for program in ("operator", "sidecar"):
            node.take(ROOT / "dist" / "images" / f"hitl-{program}.tar")
        yield Cluster(node.plane.admin, people, "localhost/")


def logs(cluster: Cluster, namespaces: Sequence[str]) -> str:
    """What is known of every pod, for who reads a failure."""
    parts = [cluster.kubectl("get", "pods,events", "-A", "-o", "wide").out]
    for namespace in namespaces:
        for pod in cluster.kubectl("get", "pods", "-n", namespace, "-o", "name").out.split():
            said = cluster.kubectl("logs", "-n", namespace, pod, "--all-containers", "--prefix", "--tail=60")
            parts.append(f"--- {namespace} {pod}\n{said.out}{said.err}")
    return "\n".join(parts)
