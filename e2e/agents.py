"""Agents in pods: a container that has nothing but a socket, and what it asks through it."""

import json
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from e2e.cluster import EVER, Cluster

PYTHON: Final = "/usr/bin/python3.11"
SLEEP: Final = [PYTHON, "-c", "import signal; signal.sigwait({signal.SIGTERM})"]
RESTRICTED: Final = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
# One call through the socket that the injected environment names; the answer as a line of JSON.
CALL: Final = """
import json, os, sys, grpc
from google.protobuf.duration_pb2 import Duration
from hitl.v1 import gate_pb2, gate_pb2_grpc
server, tool, arguments, wait = sys.argv[1:5]
with grpc.insecure_channel(os.environ["HITL_GATE"]) as channel:
    call = gate_pb2.ToolCall(server=server, tool=tool, arguments_json=arguments.encode())
    request = gate_pb2.CheckRequest(call=call, wait=Duration(seconds=int(wait)))
    answer = gate_pb2_grpc.GateServiceStub(channel).Check(request, timeout=int(wait) + 60, wait_for_ready=True)
outcome = gate_pb2.Outcome.Name(answer.outcome).removeprefix("OUTCOME_")
print(json.dumps({"outcome": outcome, "handle": answer.handle, "reason": answer.reason_code, "words": answer.message}))
"""
_POOL: Final = ThreadPoolExecutor(8)


def container_of(on: Cluster, *command: str) -> dict[str, Any]:
    """A container named agent that passes Pod Security restricted; its image has Python and the stubs of the API."""
    return {
        "name": "agent",
        "image": on.image("sidecar"),
        "imagePullPolicy": "IfNotPresent",
        "command": list(command) or SLEEP,
        "securityContext": RESTRICTED,
    }


def agent_in(on: Cluster, namespace: str, name: str) -> "Agent":
    """A Deployment with one agent, once its pod is ready."""
    labels = {"app": name}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [container_of(on)], "terminationGracePeriodSeconds": 5},
        },
    }
    on.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
    )
    on.done("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=240s")
    return Agent(on, namespace, f"deployment/{name}")


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that runs: what it asks, it asks from inside its own container."""

    on: Cluster
    namespace: str
    place: str

    def call(self, tool: str, wait: int = 0, **arguments: Any) -> dict[str, str]:
        """The answer to ``server/tool``; waits up to `wait` seconds where people are asked."""
        server, _, name = tool.partition("/")
        words = (server, name, json.dumps(arguments), str(wait))
        command = ("exec", "-n", self.namespace, self.place, "-c", "agent", "--", PYTHON, "-P", "-c", CALL, *words)
        try:
            answer: dict[str, str] = json.loads(self.on.done(*command))
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"{tool}: no answer within {late.timeout} s") from late
        return answer

    def held(self, tool: str, **arguments: Any) -> "Future[dict[str, str]]":
        """The answer to a call that people are asked about, in the background.

        A Check waits for 45 s at most; whoever is answered PENDING makes the same call again, and waits on.
        """
        return _POOL.submit(self._again, tool, arguments)

    def _again(self, tool: str, arguments: dict[str, Any]) -> dict[str, str]:
        end = time.monotonic() + EVER
        while (answer := self.call(tool, 45, **arguments))["outcome"] == "PENDING":
            assert time.monotonic() < end, f"{tool}: nobody decided within {EVER:.0f} s"
        return answer
