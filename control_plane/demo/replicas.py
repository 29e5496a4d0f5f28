"""The operator's replicas: all alike, each on its own loopback addresses, started, stopped and killed one by one."""

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from control_plane.demo.cluster import Cluster
from control_plane.demo.objects import OPERATOR_NAMESPACE
from control_plane.processes import Processes
from control_plane.running import free_ports
from hitl.errors import HitlError

READY = 90.0  # seconds from start to ready: two Python programs on a machine that has other things to do
TAIL = 12  # lines of a log that a failure shows


class Replicas:
    """`names` are known from the start, with their addresses; which of them run is up to `start` and `kill`."""

    def __init__(
        self,
        names: Sequence[str],
        cluster: Cluster,
        processes: Processes,
        folder: Path,
        *,
        settings: Path | None = None,
    ) -> None:
        """`settings`: the operator's settings file; None: the defaults."""
        ports = free_ports(2 * len(names))
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=False)}
        self._http = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports[len(names) :], strict=True)}
        self._cluster = cluster
        self._processes = processes
        self._folder = folder
        self._settings: list[str | Path] = [] if settings is None else ["--settings", settings]
        self.kubeconfig = cluster.operator_kubeconfig()

    def start(self, *names: str) -> None:
        """Start them together and wait until each says that it is ready."""
        for name in names:
            self._processes.start(name, self._command(name), log=self.log(name))
        for name in names:
            self._await(name)

    def kill(self, name: str) -> None:
        """SIGKILL: connections end, the Lease is not given back, nothing is written any more."""
        self._processes.kill(name)

    def restart(self, name: str) -> None:
        """SIGTERM, and a new process in its place, ready."""
        self._processes.stop(name)
        self.start(name)

    def pause(self, name: str) -> None:
        """SIGSTOP: there, but silent."""
        self._processes.freeze(name)

    def leading(self) -> list[str]:
        """Which of them say, in their metrics, that they hold the Lease now."""
        found = []
        for name, address in self._http.items():
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as page:
                if "\nhitl_leader 1.0\n" in page.read().decode():
                    found.append(name)
        return found

    def log(self, name: str) -> Path:
        """Where it writes."""
        return self._folder / f"{name}.log"

    def _command(self, name: str) -> list[str | Path]:
        return [
            sys.executable, "-m", "hitl_operator.cluster",
            "--namespace", OPERATOR_NAMESPACE, "--kubeconfig", self.kubeconfig, "--replica", name,
            "--listen", self.addresses[name], "--http", self._http[name],
            "--tls-cert", self._cluster.hub_certificate, "--tls-key", self._cluster.hub_key, *self._settings,
        ]  # fmt: skip

    def _await(self, name: str) -> None:
        until = time.monotonic() + READY
        why = "it does not answer"
        while time.monotonic() < until:
            if self._processes.ended(name) is not None:
                why = f"it ended with exit code {self._processes.ended(name)}"
                break
            try:
                with urllib.request.urlopen(f"http://{self._http[name]}/readyz", timeout=5):
                    return
            except urllib.error.HTTPError as unready:
                with unready:
                    why = unready.read().decode(errors="replace").strip()
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                pass
            time.sleep(0.05)
        said = "\n".join(self.log(name).read_text(errors="replace").splitlines()[-TAIL:])
        raise HitlError(f"the operator's replica {name} is not ready: {why}; it said:\n{said}")
