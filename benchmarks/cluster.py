"""A control plane, one replica of the operator and, where wanted, a gated pod with its sidecar: for measurements."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import UNLIMITED
from control_plane.demo.cluster import Cluster
from control_plane.demo.objects import NAMESPACE
from control_plane.demo.pods import AgentPod
from control_plane.demo.replicas import Replicas
from control_plane.processes import Processes
from control_plane.running import ControlPlane
from hitl.kube.access import Access

REPLICA = "hub-1"
POLICY = """\
apiVersion: hitl.dev/v1alpha1
kind: AgentPolicy
metadata: {name: bench, namespace: shop}
spec:
  rules:
  - {action: Deny, tools: ["delete_*"]}
  - {action: Allow, tools: ["get_*"]}
  - {action: Confirm, tools: ["refund"]}
  approval: {timeout: 1h, holdBudget: 10m}
"""


@dataclass(frozen=True, slots=True)
class Running:
    """What a measurement works on."""

    cluster: Cluster
    replicas: Replicas
    processes: Processes
    folder: Path

    @property
    def hub(self) -> str:
        """Address of the hub."""
        return self.replicas.addresses[REPLICA]

    @property
    def operator(self) -> int:
        """Pid of the operator."""
        return self.processes.pid(REPLICA)

    def access(self, user: str, groups: Sequence[str] = ()) -> Access:
        """How somebody reaches the API server, with a certificate of their own."""
        return Access.from_kubeconfig(self.cluster.plane.kubeconfig(user, groups, namespace=NAMESPACE))

    def as_operator(self) -> Access:
        """How the operator does."""
        return Access.from_kubeconfig(self.replicas.kubeconfig)

    def sidecar(self) -> str:
        """Start a sidecar for the pod of the agent; the address of its socket, once it has a config."""
        (name, uid), *_ = self.cluster.pods(1)
        folder = self.folder / "pod"
        folder.mkdir()
        pod = AgentPod(
            name, uid, cluster=self.cluster, hubs=[self.hub], processes=self.processes, world=folder, folder=folder
        )
        pod.start_sidecar()
        return f"unix:{folder / 'gate' / 'gate.sock'}"


@contextmanager
def running() -> Iterator[Running]:
    """A cluster with one replica whose limits are raised, and the policy above."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="hitl-bench-") as name:
        folder, processes = Path(name), Processes()
        try:
            with ControlPlane.start(folder / "control-plane", controller_manager=True) as plane:
                cluster = Cluster(plane, folder)
                cluster.prepare(pods=1)
                settings = folder / "settings.yaml"
                settings.write_text(UNLIMITED)
                replicas = Replicas((REPLICA,), cluster, processes, folder, settings=settings)
                replicas.start(REPLICA)
                done = plane.kubectl("apply", "-f", "-", stdin=POLICY)
                if done.returncode:
                    raise RuntimeError(done.stderr)
                yield Running(cluster, replicas, processes, folder)
        finally:
            processes.close()
