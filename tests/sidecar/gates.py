"""A sidecar in this process on a real socket, and a scripted hub as its peer."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from peer import ScriptedHub

from hitl.audit import AuditRecord, read
from hitl.v1 import gate_pb2, gate_pb2_grpc
from hitl_sidecar.main import Sidecar
from hitl_sidecar.options import Options
from hitl_sidecar.socket_path import SocketPath

EVER = 60.0  # seconds after which a test has failed; only a machine that others want as well takes so long
ALLOWED = gate_pb2.OUTCOME_ALLOWED
PENDING = gate_pb2.OUTCOME_PENDING


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(dir="/tmp", prefix="hitl-"))
    yield path
    shutil.rmtree(path)


class Running:
    """A sidecar that runs in this event loop, and an agent's connection to it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.jumped = 0.0
        self.sidecar = Sidecar(options, monotonic=lambda: time.monotonic() + self.jumped)
        self.path = SocketPath(options.socket, options.socket_mode)
        self._tasks: list[asyncio.Task[None]] = []
        self.channel: Any = None
        self._is_over = False

    async def start(self) -> None:
        self.sidecar.server.bind(self.path)
        await self.sidecar.server.start()
        self._tasks = [asyncio.create_task(step) for step in self.sidecar.runs()]
        self.channel = aio.insecure_channel(f"unix:{self.options.socket}")
        self.stub: Any = gate_pb2_grpc.GateServiceStub(self.channel)

    async def programmed(self) -> None:
        """Wait until a config is in force."""
        await until(lambda: self.sidecar.programmed.revision)
        await self.sidecar.server.tell_health()

    async def waits(self, callers: int) -> None:
        """Wait until so many callers wait on holds that the hub has answered."""
        await until(lambda: sum(len(hold.callers) for hold in self.sidecar.holding.table if hold.is_open) == callers)

    async def stop(self) -> None:
        """As on SIGTERM; a second time changes nothing."""
        if self._is_over:
            return
        self._is_over = True
        await self.sidecar.stop()
        await self.kill()
        await self.sidecar.close()
        self.path.release()

    async def kill(self) -> None:
        """As far as a process can die inside another one: nothing is answered or saved any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.channel.close(None)

    def records(self) -> list[AuditRecord]:
        return list(read(self.options.state / "audit"))

    async def health(self) -> str:
        """What the health service says."""
        answer = await health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(), timeout=EVER)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    # What an agent does.

    def raw(self, method: str) -> Any:
        """A method that sends and receives bytes."""
        return self.channel.unary_unary(f"/hitl.v1.GateService/{method}")

    async def failing(self, method: str, request: Any) -> tuple[str, str]:
        """Code and details of an RPC that must fail."""
        with pytest.raises(aio.AioRpcError) as error:
            await getattr(self.stub, method)(request, timeout=EVER)
        return error.value.code().name, error.value.details() or ""

    def check(self, tool: str, arguments: Any = None, *, deadline: float | None = EVER, **more: Any) -> Any:
        """An RPC under way."""
        return self.stub.Check(a_request(tool, arguments, **more), timeout=deadline)

    async def answer(self, tool: str, arguments: Any = None, **more: Any) -> gate_pb2.CheckResponse:
        response: gate_pb2.CheckResponse = await self.check(tool, arguments, **more)
        return response


async def answer_in_time(gate: Running, outcome: int, tool: str, arguments: Any) -> gate_pb2.CheckResponse:
    """What a caller hears that gives up after a second; after longer ones where it heard something else, or nothing.

    A tenth of a caller's time is kept back for the answer: where others want the machine, too, a tenth of a second is
    not enough. A gate that kept nothing back would be late for every deadline.
    """
    for deadline in (1.0, 4.0):
        with contextlib.suppress(aio.AioRpcError):
            answer = await gate.answer(tool, arguments, deadline=deadline)
            if answer.outcome == outcome:
                return answer
    return await gate.answer(tool, arguments, deadline=20.0)


async def until(condition: Callable[[], Any], seconds: float = EVER) -> Any:
    """Look again and again until something is so; the test fails if it never is."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - what is looked at has no event for tests
            await asyncio.sleep(0.002)
    return found


def a_request(
    tool: str,
    arguments: Any = None,
    *,
    wait: float | None = None,
    dry_run: bool = False,
    user_token: str = "",
    server: str = "shop",
    **call: Any,
) -> gate_pb2.CheckRequest:
    """A CheckRequest; bytes as arguments are sent as they are."""
    data = arguments if isinstance(arguments, bytes) else orjson.dumps({} if arguments is None else arguments)
    request = gate_pb2.CheckRequest(
        call=gate_pb2.ToolCall(server=server, tool=tool, arguments_json=data, **call),
        dry_run=dry_run,
        user_token=user_token,
    )
    if wait is not None:
        request.wait.CopyFrom(Duration(seconds=int(wait), nanos=int(wait % 1 * 1e9)))
    return request


@pytest.fixture
async def hub(folder: Path) -> AsyncIterator[ScriptedHub]:
    """A scripted hub that runs."""
    scripted = ScriptedHub(folder / "hub.sock")
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
def options(folder: Path, hub: ScriptedHub) -> Options:
    """What the sidecars of a test are started with."""
    return Options(
        socket=folder / "gate.sock",
        hub=hub.address,
        state=folder / "state",
        namespace="shop",
        workload="deploy/support",
        service_account="support",
        pod_name="support-1",
        labels={"app": "support"},
    )


@pytest.fixture
async def start(options: Options) -> AsyncIterator[Callable[..., Any]]:
    """Starts further sidecars; each one is stopped after the test."""
    running: list[Running] = []

    async def start(**changes: Any) -> Running:
        one = Running(replace(options, **changes))
        running.append(one)
        await one.start()
        return one

    yield start
    for one in running:
        with contextlib.suppress(asyncio.CancelledError):
            await one.stop()


@pytest.fixture
async def gate(start: Callable[..., Any]) -> Running:
    """A sidecar with a config."""
    running: Running = await start()
    await running.programmed()
    return running
