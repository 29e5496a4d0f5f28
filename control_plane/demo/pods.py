"""One agent pod: its sidecar and its agent as two processes, with the token its kubelet would mount."""

import itertools
import json
import queue
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control_plane.demo.cluster import Cluster
from control_plane.demo.objects import HUB_NAME
from control_plane.processes import Processes
from hitl.errors import HitlError

READY = 60.0  # seconds until a sidecar has a config
ANSWER = 70.0  # seconds; the gate answers within its hold budget of 45


class AgentPod:
    """Sidecar and agent of the pod `name`.

    Args:
        name, uid: as the cluster has it.
        hubs: addresses of the hub's replicas, the preferred one first.
        world: folder of what the agent works on; the pods share it.
        folder: socket, token, audit log; its path must be short, for the socket.
    """

    def __init__(
        self,
        name: str,
        uid: str,
        *,
        cluster: Cluster,
        hubs: Sequence[str],
        processes: Processes,
        world: Path,
        folder: Path,
    ) -> None:
        self.name = name
        self._cluster = cluster
        self._hubs = hubs
        self._processes = processes
        self._world = world
        self._folder = folder
        self._socket = folder / "gate" / "gate.sock"
        self._answers: dict[str, queue.Queue[dict[str, Any]]] = {}
        self._refs = itertools.count(1)
        self._socket.parent.mkdir(parents=True, mode=0o700)
        self._token = folder / "token"
        self._token.touch(mode=0o600)
        self._token.write_text(cluster.hub_token(name, uid))

    def start_sidecar(self) -> None:
        """Start the sidecar and wait until it has a config."""
        command: list[str | Path] = [
            sys.executable, "-m", "hitl_sidecar", "--socket", self._socket, "--state", self._folder / "state",
            "--hub", ",".join(self._hubs), "--hub-ca", self._cluster.hub_ca, "--hub-token", self._token,
            "--hub-name", HUB_NAME, "--pod-name", self.name,
        ]  # fmt: skip
        self._processes.start(f"{self.name} sidecar", command, log=self.log("sidecar"))
        self._await_sidecar()

    def kill_sidecar(self) -> None:
        """SIGKILL; its socket and its audit log stay."""
        self._processes.kill(f"{self.name} sidecar")

    def start_agent(self) -> None:
        """Start the agent; a thread sorts its answers by order."""
        name = f"{self.name} agent"
        command: list[str | Path] = [
            sys.executable, "-m", "hitl_cli.demo.agent", "--socket", self._socket, "--world", self._world,
        ]  # fmt: skip
        self._processes.start(name, command, log=self.log("agent"), talks=True)
        self._orders, answers = self._processes.pipes(name)
        threading.Thread(target=self._sort, args=(answers,), daemon=True).start()

    def order(self, **order: Any) -> str:
        """Give the agent an order; the ref is for `answer`."""
        ref = str(next(self._refs))
        self._answers[ref] = queue.Queue()
        self._orders.write(json.dumps({"ref": ref, **order}).encode() + b"\n")
        self._orders.flush()
        return ref

    def answer(self, ref: str) -> dict[str, Any]:
        """What became of an order; an agent that does not answer in time is a fault of the demonstration."""
        try:
            return self._answers[ref].get(timeout=ANSWER)
        except queue.Empty:
            raise HitlError(f"the agent of {self.name} gave no answer within {ANSWER:.0f} s") from None

    def log(self, program: str) -> Path:
        """Where its sidecar or agent writes."""
        return self._folder / f"{program}.log"

    def _await_sidecar(self) -> None:
        until = time.monotonic() + READY
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
        with grpc.insecure_channel(f"unix:{self._socket}", options=options) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < until and self._processes.ended(f"{self.name} sidecar") is None:
                try:
                    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
                except grpc.RpcError:
                    answer = None
                if answer is not None and answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
                time.sleep(0.05)
        raise HitlError(
            f"the sidecar of {self.name} has no config; it said:\n{self.log('sidecar').read_text()[-1500:]}"
        )

    def _sort(self, answers: IO[bytes]) -> None:
        for line in answers:
            answer = json.loads(line)
            self._answers[answer["ref"]].put(answer)
