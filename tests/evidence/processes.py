"""Hubs with archives and sidecars as processes, on real sockets; either is killed at any moment and started again."""

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from grpc import aio

from hitl.audit.files import segments
from hitl.v1 import gate_pb2, gate_pb2_grpc

EVER = 120.0  # seconds after which a test has failed
_TESTS = Path(__file__).parents[1]
# A sidecar with more patience: the three seconds that it has for the rest of its log are for pods that end, while on a
# machine that others want as well a disk takes longer.
_PATIENT = f"""\
import sys
from hitl_sidecar import main, shipping
shipping._LEAVE = {EVER}
sys.exit(main.main())
"""
_runs = itertools.count(1)


class Child:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    async def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        async with asyncio.timeout(EVER):
            return await self.process.wait()


class Stage:
    """One home with one socket, the archives that hubs fill, and one sidecar's state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.archive = folder / "archive"
        self.state = folder / "state"
        self.hub: Child | None = None
        self.sidecar: Child | None = None
        self._numbers = itertools.count(1)

    async def start_hub(self, archive: Path | None = None, *, largest_file: int = 0) -> Child:
        """Another process of the hub, writing a run of its own; no file of it may grow beyond so many bytes."""
        place = archive or self.archive
        self.hub = child = await self._start(
            "hub", str(_TESTS / "evidence" / "hub_process.py"), str(self.folder), str(place), f"hub-{next(_runs)}",
            str(largest_file),
        )  # fmt: skip
        assert child.process.stdout is not None
        async with asyncio.timeout(EVER):
            said = await child.process.stdout.readline()
        assert said == b"ready\n", child.log.read_text()
        return child

    async def start_sidecar(self) -> Child:
        socket = self.folder / "gate.sock"
        self.sidecar = await self._start(
            "sidecar", "-c", _PATIENT, "--socket", str(socket), "--hub", f"unix:{self.folder / 'hub.sock'}",
            "--state", str(self.state), "--namespace", "shop", "--workload", "deploy/support",
        )  # fmt: skip
        return self.sidecar

    async def _start(self, name: str, *command: str) -> Child:
        log = self.folder / f"{name}.log"
        environment = {**os.environ, "PYTHONPATH": f"{_TESTS}:{_TESTS / 'hub'}"}
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=file, env=environment
            )
        return Child(process, log)

    async def check(self, count: int = 1) -> None:
        """So many allowed calls, each answered."""
        async with self.gate() as gate:
            for number in itertools.islice(self._numbers, count):
                # A tool of its own: no flood of one tool, which would be refused.
                call = gate_pb2.ToolCall(server="shop", tool=f"get_{number}", arguments_json=b'{"item":"x"}')
                request = gate_pb2.CheckRequest(call=call)
                async with asyncio.timeout(EVER):
                    while (answer := await gate.Check(request, wait_for_ready=True)).reason_code == "NO_CONFIG":  # noqa: ASYNC110
                        await asyncio.sleep(0.05)  # it was just started
                assert answer.outcome == gate_pb2.OUTCOME_ALLOWED, answer

    @asynccontextmanager
    async def gate(self) -> AsyncIterator[Any]:
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.use_local_subchannel_pool", 1)]
        async with aio.insecure_channel(f"unix:{self.folder / 'gate.sock'}", options=options) as channel:
            yield gate_pb2_grpc.GateServiceStub(channel)  # type: ignore[no-untyped-call]

    def written(self) -> list[bytes]:
        """Every whole line of the sidecar's own log, oldest first."""
        files = segments(self.state / "audit")
        return [line for file in files for line in file.read_bytes().splitlines(True) if line.endswith(b"\n")]

    def acknowledged(self) -> list[bytes]:
        """Those of them that the archive is known to have."""
        with suppress(FileNotFoundError):
            note = json.loads((self.state / "archived.json").read_text())
            files = segments(self.state / "audit")
            before = [file.read_bytes() for file in files if file.name < note["segment"]]
            partly = [file.read_bytes()[: note["offset"]] for file in files if file.name == note["segment"]]
            whole = b"".join([*before, *partly])
            return [line for line in whole.splitlines(True) if line.endswith(b"\n")]
        return []

    async def until_archived(self) -> None:
        """All that stands in the log now is acknowledged."""
        wanted = len(self.written())
        await self.until(lambda: len(self.acknowledged()) >= wanted)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Returns once it is so; else the test fails, with what the sidecar said."""
        deadline = time.monotonic() + EVER
        while not is_so():
            assert time.monotonic() < deadline, (self.folder / "sidecar.log").read_text()[-2000:]
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        for child in (self.sidecar, self.hub):
            if child is not None and child.process.returncode is None:
                await child.end()


def archived(*folders: Path) -> list[bytes]:
    """Every line in the segments of archives, without the pod, as often as it stands there; of one hub in its order."""
    files = [file for folder in folders for file in sorted(folder.glob("segments/*/*.jsonl"))]
    lines = [line for file in files for line in file.read_bytes().splitlines(True) if line.endswith(b"\n")]
    return [line.partition(b"\t")[2] for line in lines]
