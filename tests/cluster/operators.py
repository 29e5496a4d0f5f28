"""Replicas of the operator and sidecars as processes of their own, on a real API server, and people who decide."""

import asyncio
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cluster.gated_pods import EVER, Pods, until
from control_plane.certificates import Authority
from control_plane.installing import applied
from control_plane.running import ControlPlane, free_ports
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, State
from hitl.kube.access import Access
from hitl.kube.shipped import DEFAULT
from hitl.stores.kubernetes import KubernetesStore
from hitl.v1 import gate_pb2, gate_pb2_grpc

NAME = "hitl-operator.hitl-system.svc"
GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{DEFAULT.namespace}")
ANA = "ana@example.com"
_ANSWER_WITHIN = 60.0  # seconds for one page; no test asks a replica that it sent SIGSTOP
_numbers = itertools.count(1)


class Operator:
    """One replica."""

    def __init__(self, name: str, folder: Path, plane: ControlPlane, *pair: Path) -> None:
        """`pair`: its certificate and key; none: its own, in a Secret."""
        self.name = name
        self.log = folder / f"{name}.log"
        self.settings = folder / f"{name}.yaml"
        listen, http = free_ports(2)
        self.address, self.http = f"127.0.0.1:{listen}", f"127.0.0.1:{http}"
        self._plane = plane
        self._pair = pair
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *more: str, user: str = DEFAULT.operator) -> "Operator":
        """Start the process; `ready` waits until it is."""
        kubeconfig = self._plane.kubeconfig(user, GROUPS)
        command = ["--kubeconfig", str(kubeconfig), "--listen", self.address, "--http", self.http]
        command += ["--replica", self.name, *more]
        for option, path in zip(("--tls-cert", "--tls-key"), self._pair, strict=False):
            command += [option, str(path)]
        if self.settings.exists():
            command += ["--settings", str(self.settings)]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "hitl_operator.cluster", *command, stdin=asyncio.subprocess.DEVNULL, stderr=log
            )
        return self

    async def ready(self) -> "Operator":
        async def look() -> bool:
            assert self._process is not None
            assert self._process.returncode is None, self.log.read_text()
            return (await self.get("/readyz"))[0] == 200

        await until(look)
        return self

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text; (0, "") while it does not answer."""
        return await asyncio.to_thread(_get, f"http://{self.http}{path}")

    def admission(self) -> str:
        """Where its webhook listens, by its log; for a replica that is ready and was given port 0."""
        found = re.findall(r" admission listen=(\S+)", self.log.read_text())
        assert found, self.log.read_text()
        return str(found[-1])

    async def leads(self) -> bool:
        return "hitl_leader 1.0" in (await self.get("/metrics"))[1]

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after a signal."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(number)
            if number is signal.SIGTERM:
                self._process.send_signal(signal.SIGCONT)
        return await self.ended()

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        async with asyncio.timeout(EVER):
            return await self._process.wait()


class SidecarProcess:
    """The sidecar of one pod, and an agent's connection to it."""

    def __init__(self, pod: Mapping[str, Any], token: str, ca: Path | str) -> None:
        """`ca`: a file, or the PEM itself as injection gives it."""
        self.pod = pod
        self.folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="hitl-"))
        self.token = self.folder / "token"
        self.token.write_text(token)
        self.log = self.folder / "sidecar.log"
        self.ran: list[str] = []
        self.reasons: dict[str, str] = {}
        self._ca = ca
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Any = None

    async def start(self, *hubs: str) -> "SidecarProcess":
        socket = self.folder / "gate.sock"
        command = ["--socket", str(socket), "--state", str(self.folder / "state"), "--hub", ",".join(hubs)]
        command += ["--hub-token", str(self.token), "--hub-name", NAME]
        environment = dict(os.environ)
        if isinstance(self._ca, str):
            environment["HITL_HUB_CA_PEM"] = self._ca
        else:
            command += ["--hub-ca", str(self._ca)]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "hitl_sidecar", *command, stdin=asyncio.subprocess.DEVNULL, stderr=log,
                env=environment,
            )  # fmt: skip
        self._channel = aio.insecure_channel(f"unix:{socket}", options=[("grpc.initial_reconnect_backoff_ms", 50)])
        self.stub: Any = gate_pb2_grpc.GateServiceStub(self._channel)
        health = health_pb2_grpc.HealthStub(self._channel)

        async def serving() -> bool:
            assert self._process is not None
            assert self._process.returncode is None, self.log.read_text()
            try:
                answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=EVER)
            except aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        await until(serving)
        return self

    async def check(self, call_id: str, tool: str = "create_refund", *, wait: bool = True) -> str:
        """Ask for a call, and run it where that is allowed; the outcome."""
        call = gate_pb2.ToolCall(server="stripe", tool=tool, call_id=call_id, arguments_json=b'{"amount": 15000}')
        request = gate_pb2.CheckRequest(call=call)
        if not wait:
            request.wait.FromSeconds(0)
        answer = await self.stub.Check(request, timeout=EVER)
        if answer.outcome == gate_pb2.OUTCOME_ALLOWED:
            self.ran.append(call_id)
        self.reasons[call_id] = answer.reason_code
        return str(gate_pb2.Outcome.Name(answer.outcome)).removeprefix("OUTCOME_")

    async def insist(self, call_id: str, seconds: float = EVER) -> str:
        """Ask again and again, as an agent does, until it is told something that asking again does not change."""

        async def ask() -> str:
            outcome = await self.check(call_id)
            return "" if outcome in ("PENDING", "UNAVAILABLE") else outcome

        return str(await until(ask, seconds))

    async def stop(self) -> None:
        """End the process; what it keeps stays, and `start` begins another on it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await asyncio.wait_for(self._process.wait(), EVER)
        if self._channel is not None:
            await self._channel.close()

    async def end(self) -> None:
        await self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Installation:
    """Replicas, sidecars of one gated namespace, and ana, who may decide there."""

    def __init__(self, pods: Pods, folder: Path) -> None:
        self.pods = pods
        self.folder = folder
        authority = Authority("hub-ca")
        self.ca: Path | str = folder / "hub-ca.crt"
        self.ca.write_bytes(authority.pem)
        self.pair: tuple[Path, ...] = authority.server("hub", names=(NAME,)).write(folder, "hub")
        self.operators: list[Operator] = []
        self.sidecars: list[SidecarProcess] = []
        self.store = KubernetesStore(pods.admin)

    def operator(self, name: str) -> Operator:
        """A replica that is still to be started."""
        operator = Operator(name, self.folder, self.pods.plane, *self.pair)
        self.operators.append(operator)
        return operator

    async def replicas(self, *names: str) -> list[Operator]:
        """Replicas that are ready."""
        found = [await self.operator(name).start() for name in names]
        for each in found:
            await each.ready()
        return found

    async def sidecar(self, *operators: Operator) -> SidecarProcess:
        """The sidecar of a pod of its own, with a config; it prefers the first replica."""
        pod = await self.pods.create(f"support-{next(_numbers)}")
        sidecar = SidecarProcess(pod, await self.pods.token(pod), self.ca)
        self.sidecars.append(sidecar)
        return await sidecar.start(*(each.address for each in operators))

    async def people(self) -> None:
        """Ana is in group support and may confirm; her policy holds refunds for that group."""
        namespace = self.pods.namespace
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "ana", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hitl-reviewer"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": ANA}],
        }
        policy = {
            "apiVersion": "hitl.dev/v1alpha1",
            "kind": "AgentPolicy",
            "metadata": {"name": "support", "namespace": namespace},
            "spec": {
                "rules": [
                    {"action": "Allow", "tools": ["stripe/get_*"]},
                    {"action": "Confirm", "tools": ["stripe/*"], "reviewers": ["support"]},
                ],
                "approval": {"holdBudget": "10m"},  # who waits does so to its own deadline, however long a test takes
            },
        }
        await asyncio.to_thread(applied, self.pods.plane, binding, policy)

    async def pending(self, count: int = 1) -> list[ApprovalRequest]:
        """The open requests, once there are so many."""

        async def look() -> list[ApprovalRequest]:
            found = await self.store.list(self.pods.namespace, pending_only=True)
            return found if len(found) == count else []

        found: list[ApprovalRequest] = await until(look)
        return found

    async def approve(self, *requests: ApprovalRequest) -> None:
        """Ana approves, as herself."""
        access = Access.from_kubeconfig(self.pods.plane.kubeconfig(ANA, ["support"]))
        async with KubernetesStore.open(access) as store:
            for request in requests:
                decision = Decision(ANA, DecisionKind.APPROVED, request.spec.digest, request.uid, groups=("support",))
                await store.decide(request.namespace, request.name, decision)

    async def state(self, request: ApprovalRequest, wanted: State) -> ApprovalRequest:
        """The request, once it is in this state."""

        async def look() -> ApprovalRequest | None:
            found = await self.store.get(request.namespace, request.name)
            return found if found.status.state is wanted else None

        found: ApprovalRequest = await until(look)
        return found

    async def close(self) -> None:
        """End all of them; what they said is for who looks at a failure."""
        for each in (*self.operators, *self.sidecars):
            sys.stderr.write(f"--- {each.log}\n{each.log.read_text() if each.log.exists() else ''}")
        for sidecar in self.sidecars:
            await sidecar.end()
        for operator in self.operators:
            await operator.end()
        await self.store.aclose()


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_WITHIN) as answer:
            return int(answer.status), str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""
