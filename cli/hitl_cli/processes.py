"""Other programs of hitl as child processes: started, waited for by asking them, and ended by their own ids."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hitl.errors import HitlError

# A laptop under load starts Python and gRPC in about a second; a minute means that something is wrong.
_START_SECONDS = 60.0
# Draining ends every hold first; after this the process is ended the hard way.
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 0.05


class Program:
    """One child. It gets its own process group: Ctrl-C reaches only us, and we end children in the right order."""

    def __init__(self, name: str, module: str, arguments: Sequence[str]) -> None:
        self.name = name
        self._child = subprocess.Popen(  # noqa: S603 - our own module with our own interpreter
            [sys.executable, "-m", module, *arguments], stdin=subprocess.DEVNULL, stdout=sys.stderr, process_group=0
        )

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
        if self.exit_code is not None:
            return
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


class Programs:
    """Children in the order they were started; leaving the block ends them in the opposite order."""

    def __init__(self) -> None:
        self._running: list[Program] = []

    def start(self, name: str, module: str, arguments: Sequence[str]) -> Program:
        """Start one more."""
        program = Program(name, module, arguments)
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
