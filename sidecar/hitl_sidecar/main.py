"""The sidecar process: brings the gate up, serves, and takes it down in order.

``python -m hitl_sidecar --socket PATH --hub unix:PATH --state DIR``. It ends with code 0 on SIGTERM and SIGINT, with 1
and words on stderr where it cannot go on, with 2 where it was called wrongly.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hitl.errors import HitlError, Unavailable
from hitl.policy.calls import Agent
from hitl.policy.escaping import as_plain
from hitl.tracing import Traces, open_traces
from hitl_sidecar.asked import Edits
from hitl_sidecar.audit_log import AuditLog
from hitl_sidecar.declared import DeclaredTools
from hitl_sidecar.gate import Gate
from hitl_sidecar.hold_stream import HoldStream
from hitl_sidecar.holding import Holding
from hitl_sidecar.hub import Hub
from hitl_sidecar.hub_bundle import HubBundle
from hitl_sidecar.hub_channel import places_of
from hitl_sidecar.judge import Judge
from hitl_sidecar.ledger_file import LedgerFile
from hitl_sidecar.logs import log_to
from hitl_sidecar.metrics import GateMetrics, Readings
from hitl_sidecar.metrics_server import MetricsServer
from hitl_sidecar.options import Options, parse
from hitl_sidecar.permits import Permits
from hitl_sidecar.programmed import InForce, Programmed
from hitl_sidecar.recorder import Recorder
from hitl_sidecar.release import Releaser
from hitl_sidecar.reporting import Reports
from hitl_sidecar.server import GateServer
from hitl_sidecar.service import GateService
from hitl_sidecar.shipping import Shipper
from hitl_sidecar.socket_path import SocketPath
from hitl_sidecar.sync import Sync
from hitl_sidecar.usage import Usage

log = logging.getLogger(__name__)

_PROBE_EVERY = 1.0  # seconds between attempts to write the audit log again


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit code."""
    options = parse(arguments)
    log_to(level=logging.DEBUG if options.verbose else logging.INFO)
    os.umask(0o077)  # whatever is made from here on is for this account alone
    try:
        with _alone_in(options.state):
            return asyncio.run(serve(options))
    except HitlError as error:
        sys.stderr.write(f"error: {as_plain(str(error))}\n")
        return 1


async def serve(options: Options) -> int:
    """Bring everything up, serve, take everything down. HitlError: why it cannot serve."""
    traces = open_traces("hitl-sidecar", os.environ)
    sidecar = Sidecar(options, traces=traces)
    path = SocketPath(options.socket, options.socket_mode)
    metrics = MetricsServer(sidecar.metrics, sidecar.unready)
    stopped = _stop_signals()
    sidecar.server.bind(path)
    try:
        if options.tcp is not None:
            log.info("listening on 127.0.0.1:%d too", sidecar.server.bind_tcp(options.tcp))
        if options.metrics_port is not None:
            port = await metrics.start(options.metrics_port, options.metrics_host)
            log.info("metrics: http://%s:%d/metrics", options.metrics_host, port)
        await sidecar.server.start()
        log.info("listening on %s", options.socket)
        tasks = [asyncio.create_task(step) for step in sidecar.runs()]
        lost = asyncio.create_task(path.lost())
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(stopped.wait()), lost]
        try:
            await asyncio.wait([*tasks, *ends], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            if lost.done():
                raise Unavailable(
                    "SOCKET_LOST", f"--socket {options.socket}: was removed or replaced; agents would talk to another"
                )
            return 0
        finally:
            log.info("stopping")
            await sidecar.stop()
            for task in [*tasks, *ends]:
                task.cancel()
            await asyncio.gather(*tasks, *ends, return_exceptions=True)
            await metrics.stop()
            await sidecar.close()
            if traces is not None:
                await asyncio.to_thread(traces.close)
    finally:
        path.release()


class Sidecar:
    """Everything that makes up one sidecar process, put together."""

    def __init__(
        self,
        options: Options,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        traces: Traces | None = None,
    ) -> None:
        """HitlError where the state cannot be kept. Clocks in seconds: since the epoch, and one that never jumps."""
        epoch = secrets.token_hex(8)
        agent = Agent(
            namespace=options.namespace,
            service_account=options.service_account,
            workload=options.workload,
            pod_name=options.pod_name,
            pod_uid=_pod_uid(options.state),
            labels=options.labels,
        )
        try:
            self.audit = AuditLog(
                options.state / "audit", epoch=epoch, clock=lambda: datetime.fromtimestamp(wall(), UTC)
            )
        except OSError as error:
            raise _unusable(options.state, error) from error
        self.ledger = LedgerFile(options.state, now=wall(), expected=self.audit.continues)
        self.metrics = GateMetrics()
        self.programmed = Programmed(monotonic)
        self.hub = Hub(options.hub, agent, trust=options.trust)
        self._shipper = Shipper(self.hub, self.audit, options.state)
        self._stream = HoldStream(self.hub)
        self._bundle = HubBundle(options.trust, places_of(options.hub)) if options.trust is not None else None
        self.declared, permits, edits = DeclaredTools(), Permits(epoch), Edits()
        self._sync = Sync(
            self.hub,
            self.programmed,
            epoch=epoch,
            head=lambda: self.audit.head,
            on_config=self._configured,
            usage=Usage(self.metrics.checks),
            on_trust=self._trusted,
        )
        self._recorder = Recorder(self.audit, self._sync, wall)
        judge = Judge(self.ledger, self.declared, wall, tainted=self.audit.continues)
        self.holding = Holding(
            epoch=epoch,
            programmed=self.programmed,
            stream=self._stream,
            judge=judge,
            recorder=self._recorder,
            audit=self.audit,
            declared=self.declared,
            edits=edits,
            wall_clock=wall,
        )
        self._gate = Gate(
            programmed=self.programmed,
            judge=judge,
            recorder=self._recorder,
            audit=self.audit,
            permits=permits,
            metrics=self.metrics,
            holding=self.holding,
        )
        self.holding.releaser = Releaser(
            epoch=epoch,
            programmed=self.programmed,
            hub=self.hub,
            judge=judge,
            recorder=self._recorder,
            audit=self.audit,
            permits=permits,
            edits=edits,
            metrics=self.metrics,
            check_again=self._gate.check_again,
        )
        reports = Reports(
            epoch=epoch,
            programmed=self.programmed,
            hub=self.hub,
            recorder=self._recorder,
            permits=permits,
        )
        service = GateService(
            epoch=epoch,
            gate=self._gate,
            programmed=self.programmed,
            hub=self.hub,
            stream=self._stream,
            declared=self.declared,
            reports=reports,
            metrics=self.metrics,
            traces=traces,
        )
        self.server = GateServer(service, self._can_decide)
        self.audit.on_failure = self.holding.end_all
        self.metrics.readings = Readings(
            config_age=lambda: self.programmed.age,
            audit_error=lambda: self.audit.error,
            waiting=self.holding.waiting,
        )

    def runs(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the server, until cancelled."""
        return [
            self._sync.run(),
            self._stream.run(),
            self._shipper.run(),
            self.ledger.run(),
            self.server.watch_health(),
            self._probe_audit(),
            *([self._bundle.run()] if self._bundle is not None else []),
        ]

    async def stop(self) -> None:
        """Answer everybody who waits, and stop serving."""
        await self.server.stop(self.holding.drain)

    async def close(self) -> None:
        """Leave everything on the disk for the next process."""
        self._gate.close()
        self.ledger.close()
        await self.audit.close()
        await self._shipper.finish()
        await self.hub.close()

    def _configured(self, in_force: InForce) -> None:
        config = in_force.config
        log.info("config %.12s is in force: %d policies", config.revision, len(config.policies) + len(config.baseline))
        with contextlib.suppress(Unavailable):  # the log is not writable: calls are refused, and nothing was decided
            self._recorder.config(in_force)
        self.holding.reconsider(in_force)

    def _trusted(self, ca_pem: str) -> None:
        if self._bundle is not None:
            self._bundle.offer(ca_pem)

    def unready(self) -> str:
        """Why calls cannot be decided by policy now; empty where they can."""
        try:
            self.programmed.current()
        except Unavailable as error:
            return str(error)
        return f"the audit log cannot be written ({self.audit.error})" if self.audit.error else ""

    def _can_decide(self) -> bool:
        return not self.unready()

    async def _probe_audit(self) -> None:
        while True:
            await asyncio.sleep(_PROBE_EVERY)
            self.audit.probe()


@contextlib.contextmanager
def _alone_in(state: Path) -> Iterator[None]:
    """Hold the state folder's lock, which the kernel gives back however the process ends. Two sidecars on one state
    would write one audit chain and charge one limit.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (state / "lock").open("a")
    except OSError as error:
        raise _unusable(state, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(
                "STATE_TAKEN", f"--state {state}: another sidecar runs on it; end that one, or give a folder of its own"
            ) from None
        yield


def _pod_uid(state: Path) -> str:
    """On a cluster the token says it; standalone it is drawn once for each state folder, so a restart is the same pod.

    Unavailable, STATE_UNWRITABLE, where the folder cannot be used.
    """
    file = state / "uid"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            uid = file.read_text().strip()
            if uid.isalnum() and uid.isascii():
                return uid
        uid = secrets.token_hex(16)
        file.write_text(f"{uid}\n")
    except OSError as error:
        raise _unusable(state, error) from error
    return uid


def _unusable(state: Path, error: OSError) -> Unavailable:
    return Unavailable(
        "STATE_UNWRITABLE", f"--state {state}: {error.strerror or error}; give a folder that can be written"
    )


def _stop_signals() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped
