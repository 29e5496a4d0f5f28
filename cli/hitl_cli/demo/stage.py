"""The demo's processes: a control plane, a sidecar and an agent, started and ended by the demo, told apart by pid.

Everything lives in one scratch folder; nothing listens beyond Unix sockets and loopback.
"""

import asyncio
import base64
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from hitl.approvals.requests import Decision, DecisionKind, Proof
from hitl.errors import Unavailable
from hitl.stores.sqlite import SQLiteStore
from hitl_cli.processes import Program


class Stage:
    """Starts, kills and ends the processes, and speaks to the agent and to `hitl`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.policies = folder / "policies"
        self.hub_socket = self.home / "hub.sock"
        self.gate_socket = folder / "gate" / "gate.sock"
        self._ports = {"hub": _free_port(), "sidecar": _free_port()}
        self._counted_before: Counter[str] = Counter()
        self._paused = ""
        self._programs: dict[str, Program] = {}
        self._answers: dict[str, queue.Queue[dict[str, Any]]] = {}
        self._refs = 0

    def lay(self) -> None:
        """Write the policies and make two reviewers with a key each."""
        self.policies.mkdir(parents=True)
        self.gate_socket.parent.mkdir(mode=0o700)
        for name in ("shop.yaml", "tools.yaml"):
            shipped = resources.files("hitl_cli.demo") / "policies" / name
            (self.policies / name).write_text(shipped.read_text())
        for name, group in (("ana", "support"), ("bo", "managers")):
            done = self.hitl("dev", "reviewer", "add", name, "--group", group)
            if done.returncode:
                raise Unavailable("DEMO", f"no key could be made for {name}: {done.stderr.strip()}")

    def start_hub(self) -> None:
        """Start the control plane and wait until it serves."""
        policies, port = str(self.policies), str(self._ports["hub"])
        self._start("hub", "hitl_operator.standalone", "--home", str(self.home), "-f", policies, "--metrics-port", port)
        self._programs["hub"].wait_until_serving(self.hub_socket)

    def start_sidecar(self) -> None:
        """Start the sidecar and wait until it has a config."""
        arguments = ["--socket", str(self.gate_socket), "--hub", f"unix:{self.hub_socket}"]
        arguments += ["--state", str(self.folder / "state"), "--metrics-port", str(self._ports["sidecar"])]
        arguments += [
            "--workload",
            "deploy/shop-agent",
            "--service-account",
            "shop-agent",
            "--pod-name",
            "shop-agent-0",
        ]
        self._start("sidecar", "hitl_sidecar", *arguments)
        self._programs["sidecar"].wait_until_serving(self.gate_socket)

    def start_agent(self) -> None:
        """Start the agent; a thread sorts its answers by order."""
        agent = self._start(
            "agent", "hitl_cli.demo.agent", "--socket", str(self.gate_socket), "--world", str(self.folder / "world")
        )
        threading.Thread(target=self._sort_answers, args=(agent,), daemon=True).start()

    def order(self, **order: Any) -> str:
        """Give the agent an order; the ref is for `answer`."""
        self._refs += 1
        ref = str(self._refs)
        self._answers[ref] = queue.Queue()
        agent = self._programs["agent"]
        agent.stdin.write(json.dumps({"ref": ref, **order}) + "\n")
        agent.stdin.flush()
        return ref

    def answer(self, ref: str, *, within: float = 70.0) -> dict[str, Any]:
        """What became of an order; an agent that does not answer in time is a fault of the demo."""
        try:
            return self._answers[ref].get(timeout=within)
        except queue.Empty:
            raise Unavailable("DEMO", f"the agent gave no answer within {within:.0f} s; see {self.folder}") from None

    def hitl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the real command line in a process of its own, as a reviewer would."""
        command = [sys.executable, "-m", "hitl_cli.main", *arguments]
        environment = {**os.environ, "HITL_HOME": str(self.home), "NO_COLOR": "1", "COLUMNS": "100"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)  # noqa: S603 - our own program

    def forge_approval(self, handle: str, reviewer: str) -> None:
        """What a process of the same account could do: a vote in a reviewer's name, its signature made up."""
        now = datetime.now(UTC)
        proof = Proof("ed25519", base64.b64encode(bytes(64)).decode(), time=now)

        async def write() -> None:
            namespace, _, name = handle.partition("/")
            async with SQLiteStore.open(self.home / "hitl.db", clock=lambda: now) as store:
                shown = await store.get(namespace, name)
                vote = Decision(
                    reviewer, DecisionKind.APPROVED, shown.spec.digest, shown.uid, groups=("support",), proof=proof
                )
                await store.decide(namespace, name, vote)

        asyncio.run(write())

    def kill(self, name: str) -> None:
        """SIGKILL: no farewell, no flush. A scrape before it keeps its counters, as Prometheus would."""
        if name in self._ports and name != self._paused:
            self._counted_before += self._counters_of(name)
        self._programs.pop(name).kill()

    def pause(self, name: str) -> None:
        """SIGSTOP: there, but silent."""
        self._paused = name
        self._programs[name].send(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT."""
        self._paused = ""
        self._programs[name].send(signal.SIGCONT)

    def counters(self) -> Counter[str]:
        """Every counter of both processes, by its text form; what a killed process had counted is kept."""
        counted = Counter(self._counted_before)
        for name in self._ports.keys() & self._programs.keys():
            counted += self._counters_of(name)
        return counted

    def metrics_url(self, name: str) -> str:
        """Where the hub or the sidecar is scraped."""
        return f"http://127.0.0.1:{self._ports[name]}/metrics"

    def close(self) -> None:
        """End what is still running, gently."""
        for name in ("agent", "sidecar", "hub"):
            if program := self._programs.pop(name, None):
                program.send(signal.SIGCONT)
                program.end()

    def log_of(self, name: str) -> str:
        """What a process wrote to stderr, newest last."""
        path = self.folder / f"{name}.log"
        return path.read_text()[-2000:] if path.exists() else ""

    def _start(self, name: str, module: str, *arguments: str) -> Program:
        with (self.folder / f"{name}.log").open("a") as log:
            self._programs[name] = Program(name, module, arguments, log=log, piped=name == "agent")
        return self._programs[name]

    def _counters_of(self, name: str) -> Counter[str]:
        counted: Counter[str] = Counter()
        with urllib.request.urlopen(self.metrics_url(name), timeout=20) as page:  # noqa: S310 - our own, on loopback
            for line in page.read().decode().splitlines():
                sample, _, value = line.rpartition(" ")
                if sample.partition("{")[0].endswith(("_total", "_count")) and sample.startswith("hitl_"):
                    counted[sample] += int(float(value))
        return counted

    def _sort_answers(self, agent: Program) -> None:
        for line in agent.stdout:
            answer = json.loads(line)
            self._answers[answer["ref"]].put(answer)


def _free_port() -> int:
    import socket  # noqa: PLC0415 - nobody else here needs it

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
