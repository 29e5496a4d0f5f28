"""The processes that measurements run against: a hub, a sidecar and an empty echo, each one as people start them."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

POLICY = """\
apiVersion: hitl.dev/v1alpha1
kind: AgentPolicy
metadata: {name: bench}
spec:
  rules:
  - {action: Deny, tools: ["delete_*"]}
  - {action: Allow, tools: ["get_*"]}
  - {action: Confirm, tools: ["refund"], reviewers: [support]}
  approval: {timeout: 1h, holdBudget: 10m}
"""
UNLIMITED = """\
flood: {tool: 1000000, pod: 1000000}
maxPending: {workload: 20000, namespace: 20000}
"""
_ECHO = """
import asyncio, grpc, sys
from grpc import aio

async def echo(data, context):
    return data

async def main():
    server = aio.server()
    methods = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", methods),))
    server.add_insecure_port(sys.argv[1])
    await server.start()
    await server.wait_for_termination()

asyncio.run(main())
"""
_QUICK = (("grpc.initial_reconnect_backoff_ms", 10), ("grpc.max_reconnect_backoff_ms", 20))


@dataclass(frozen=True, slots=True)
class Stage:
    """A hub that serves, and a folder for everything else."""

    folder: Path
    metrics_port: int

    @property
    def gate(self) -> str:
        """Address of the sidecar's socket."""
        return f"unix:{self.folder / 'gate.sock'}"

    def waiting(self) -> int:
        """How many requests the hub holds open now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith("hitl_holds_in_progress{"))

    @contextmanager
    def sidecar(self, *, ready: bool = True) -> Iterator[subprocess.Popen[bytes]]:
        """A sidecar process; `ready`: it has a config when the block begins."""
        command = ["hitl_sidecar", "--socket", str(self.folder / "gate.sock"), "--state", str(self.folder / "state")]
        with _process("-m", *command, "--hub", f"unix:{self.folder / 'home' / 'hub.sock'}") as child:
            if ready:
                _wait(self.gate)
            yield child

    @contextmanager
    def echo(self) -> Iterator[str]:
        """The address of an echo with an empty handler."""
        address = f"unix:{self.folder / 'echo.sock'}"
        with _process("-c", _ECHO, address):
            yield address


@contextmanager
def stage(settings: str = "") -> Iterator[Stage]:
    """A hub on a fresh home, with these settings."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="hitl-bench-") as name:
        folder = Path(name)
        (folder / "policy.yaml").write_text(POLICY)
        (folder / "settings.yaml").write_text(settings or "{}")
        command = ["hitl_operator.standalone", "--home", str(folder / "home"), "-f", str(folder / "policy.yaml")]
        port = _free_port()
        with _process("-m", *command, "--settings", str(folder / "settings.yaml"), "--metrics-port", str(port)):
            _wait(f"unix:{folder / 'home' / 'hub.sock'}")
            yield Stage(folder, port)


def resident(pid: int) -> float:
    """Resident memory of a process, MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait(address: str, seconds: float = 60.0) -> None:
    """Until health says SERVING."""
    give_up = time.monotonic() + seconds
    with grpc.insecure_channel(address, options=_QUICK) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while time.monotonic() < give_up:
            try:
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1)
            except grpc.RpcError:
                answer = None
            if answer is not None and answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
            time.sleep(0.02)
    raise TimeoutError(f"{address} did not become ready within {seconds:.0f} s")
