"""Everything that takes part, started in order and ended in the opposite one."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from control_plane.demo.cluster import Cluster
from control_plane.demo.pods import AgentPod
from control_plane.demo.replicas import Replicas
from control_plane.processes import Processes
from control_plane.running import ControlPlane
from hitl.errors import HitlError
from hitl_cli.demo.world import World

REPLICAS = ("hub-1", "hub-2")
PODS = 2
AUTHOR = "pat@example.com"


@dataclass(frozen=True, slots=True)
class Stage:
    """What the races are run on.

    Attributes:
        policies: by file name, the text of what stands in the cluster.
    """

    cluster: Cluster
    replicas: Replicas
    pods: tuple[AgentPod, ...]
    world: World
    policies: Mapping[str, str]

    def apply(self, text: str) -> None:
        """Apply a policy as its author."""
        done = self.cluster.kubectl_of(AUTHOR, "apply", "-f", "-", stdin=text)
        if done.returncode != 0:
            raise HitlError(f"kubectl apply as {AUTHOR}: {done.stderr.strip()}")


@contextmanager
def staged(folder: Path, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Iterator[Stage]:
    """Start all of it in `folder`, whose path must be short, and end it with the block.

    Args:
        folder: empty; certificates, logs, sockets and what the agents work on.
        say: told what stands, with the seconds it took.
        clock: monotonic seconds.
    """
    began = clock()

    def stands(what: str) -> None:
        nonlocal began
        say(f"  {clock() - began:5.1f} s  {what}")
        began = clock()

    with ControlPlane.start(folder / "control-plane", controller_manager=True) as plane, _processes() as processes:
        stands("etcd, kube-apiserver and kube-controller-manager")
        cluster = Cluster(plane, folder)
        cluster.prepare(pods=PODS)
        stands("CRDs, admission policies and roles, acted upon; Deployment shop-agent")
        replicas = Replicas(REPLICAS, cluster, processes, folder)
        replicas.start(*REPLICAS)
        stands(f"operator replicas {' and '.join(REPLICAS)}, ready; {cluster.leader()} holds the Lease")
        world = World(folder / "world")
        world.build()
        stage = Stage(
            cluster, replicas, tuple(_pods(cluster, replicas, processes, world, folder)), world, demo_policies()
        )
        for text in stage.policies.values():
            stage.apply(text)
        for pod in stage.pods:
            pod.start_sidecar()
            pod.start_agent()
        stands(f"policies by {AUTHOR}; {PODS} pods, each with a sidecar that shows its own token")
        yield stage


def _pods(cluster: Cluster, replicas: Replicas, processes: Processes, world: World, folder: Path) -> Iterator[AgentPod]:
    """Each prefers another replica, so that both have work."""
    addresses = list(replicas.addresses.values())
    for number, (name, uid) in enumerate(cluster.pods(PODS)):
        hubs = addresses[number % len(addresses) :] + addresses[: number % len(addresses)]
        home = folder / f"pod-{number + 1}"
        home.mkdir()
        yield AgentPod(name, uid, cluster=cluster, hubs=hubs, processes=processes, world=world.folder, folder=home)


def demo_policies() -> dict[str, str]:
    """The policy and tool servers that `hitl demo` uses on one machine."""
    shipped = resources.files("hitl_cli.demo") / "policies"
    return {name: (shipped / name).read_text() for name in ("shop.yaml", "tools.yaml")}


@contextmanager
def _processes() -> Iterator[Processes]:
    processes = Processes()
    try:
        yield processes
    finally:
        processes.close()
