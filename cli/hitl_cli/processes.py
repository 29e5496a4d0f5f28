"""Other programs of hitl as child processes: started, waited for by asking them, and ended by their own ids."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TextIO

from hitl.errors import HitlError

# A laptop under load starts Python and gRPC in about a second, a machine that many share in half a minute; two minutes
# mean that something is wrong.
_START_SECONDS = 120.0
# Draining ends every hold first; after this the process is ended the hard way.
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 0.05


class Program:
    """One child. It gets its own process group: Ctrl-C reaches only us, and we end children in the right order."""

    def __init__(
        self, name: str, module: str, arguments: Sequence[str], *, log: TextIO | None = None, piped: bool = False
    ) -> None:
        """Start it. What it says goes to our stderr or to `log`; `piped`: we talk to it over stdin and stdout."""
        self.name = name
        self._child = subprocess.Popen(  # noqa: S603 - our own module with our own interpreter
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else log or sys.stderr,
            stderr=log,
            text=True,
            process_group=0,
        )

    @property
    def stdin(self) -> IO[str]:
        """Its input, of a piped one."""
        assert self._child.stdin is not None, f"{self.name} was not started with pipes"
        return self._child.stdin

    @property
    def stdout(self) -> IO[str]:
        """Its output, of a piped one."""
        assert self._child.stdout is not None, f"{self.name} was not started with pipes"
        return self._child.stdout

    def send(self, what: signal.Signals) -> None:
        """Send it a signal, by its own id."""
        self._child.send_signal(what)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._child.poll()

    def wait_until_serving(self, socket: Path) -> None:
        """Return once gRPC health on `socket` says SERVING. HitlError if the process ends or takes too long."""
        import grpc  # noqa: PLC0415 - start-up: 70 ms that only `hitl dev` needs
        from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

        give_up = time.monotonic() + _START_SECONDS
        # Without these gRPC looks again only after a second, and a newcomer waits for nothing.
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
        with grpc.insecure_channel(f"unix:{socket}", options=options) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < give_up:
                if self.exit_code is not None:
                    raise HitlError(
                        f"the {self.name} ended while it was starting (exit code {self.exit_code}); see above"
                    )
                try:
                    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
                except grpc.RpcError:
                    answer = None
                if answer is not None and answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
                time.sleep(_LOOK_SECONDS)
        raise HitlError(f"the {self.name} did not become ready on {socket} within {_START_SECONDS:.0f}s; see above")

    def end(self) -> None:
        """Ask it to drain and wait; end it the hard way if it does not."""
        if self.exit_code is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._reap()

    def kill(self) -> None:
        """End it without a farewell."""
        self._child.kill()
        self._reap()

    def _reap(self) -> None:
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


class Programs:
    """Children in the order they were started; leaving the block ends them in the opposite order."""

    def __init__(self) -> None:
        self._running: list[Program] = []

    def start(self, name: str, module: str, arguments: Sequence[str], *, log: TextIO | None = None) -> Program:
        """Start one more."""
        program = Program(name, module, arguments, log=log)
        self._running.append(program)
        return program

    def wait_for_an_end(self) -> Program:
        """Block until one of them has ended, and return that one."""
        while True:
            for program in self._running:
                if program.exit_code is not None:
                    return program
            time.sleep(_LOOK_SECONDS * 4)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in reversed(self._running):
            program.end()
