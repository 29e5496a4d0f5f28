"""The sidecar as a process of its own: flags, readiness, signals, a full disk, a swapped socket (SECURITY E2)."""

import asyncio
import re
import resource
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from gates import ALLOWED, EVER, PENDING, a_request
from grpc import aio
from peer import ScriptedHub
from test_holds import REFUND

from hitl.audit import segments, verify
from hitl.v1 import gate_pb2, gate_pb2_grpc


class Process:
    """A sidecar that was started as people start it."""

    def __init__(self, folder: Path, child: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.child = child
        self.said = ""
        self.channel = aio.insecure_channel(
            f"unix:{folder / 'gate.sock'}", options=[("grpc.initial_reconnect_backoff_ms", 50)]
        )
        self.stub: Any = gate_pb2_grpc.GateServiceStub(self.channel)

    async def until_said(self, pattern: str) -> re.Match[str]:
        """Read what it says on stderr until it says this."""
        assert self.child.stderr is not None
        async with asyncio.timeout(EVER):
            while not (found := re.search(pattern, self.said)):
                line = await self.child.stderr.readline()
                assert line, f"it ended without saying {pattern!r}:\n{self.said}"
                self.said += line.decode()
        return found

    async def check(self, tool: str, arguments: Any = None, **more: Any) -> gate_pb2.CheckResponse:
        request = a_request(tool, arguments, **more)
        answer: gate_pb2.CheckResponse = await self.stub.Check(request, timeout=EVER, wait_for_ready=True)
        return answer

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after a signal; what it said is in `said`."""
        if self.child.returncode is None:
            self.child.send_signal(number)
        assert self.child.stderr is not None
        async with asyncio.timeout(EVER):
            self.said += (await self.child.stderr.read()).decode()
            return await self.child.wait()


@pytest.fixture
async def launch(folder: Path, hub: ScriptedHub) -> AsyncIterator[Callable[..., Any]]:
    """Starts sidecar processes; whatever still runs after the test is killed."""
    started: list[Process] = []

    async def launch(*flags: str) -> Process:
        arguments = ["--socket", str(folder / "gate.sock"), "--hub", hub.address, "--state", str(folder / "state")]
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "hitl_sidecar", *arguments, "--namespace", "shop", *flags),
            stderr=asyncio.subprocess.PIPE,
        )
        process = Process(folder, child)
        started.append(process)
        return process

    yield launch
    for process in started:
        if process.child.returncode is None:
            process.child.kill()
            await process.child.wait()
        await process.channel.close(None)


async def test_it_serves_and_ends_in_order(launch: Callable[..., Any], folder: Path) -> None:
    """From start to SIGTERM: allowed calls, exit code 0, no socket left, a log that verifies with a stop record."""
    process: Process = await launch()
    await process.until_said("is in force")
    assert (await process.check("get_price")).outcome == ALLOWED
    assert await process.end() == 0
    assert not (folder / "gate.sock").exists()
    report = verify(folder / "state" / "audit")
    assert (report.problems, report.notes) == ((), ())


async def test_a_call_that_waits_at_sigterm_is_pending(launch: Callable[..., Any], hub: ScriptedHub) -> None:
    """The agent gets its handle instead of a broken connection."""
    process: Process = await launch()
    await process.until_said("is in force")
    waits = asyncio.create_task(process.check("refund", REFUND))
    stream = await hub.until(lambda: hub.streams)
    await hub.until(lambda: hub.requests)
    await asyncio.wait_for(_answered(stream[0]), EVER)
    # A second call is only answered after the state of the first one was read.
    assert (await process.check("refund", {"amount": 2}, wait=0)).outcome == PENDING
    assert await process.end() == 0
    answer = await waits
    assert (answer.outcome, answer.handle) == (PENDING, next(iter(hub.requests)))


async def _answered(stream: Any) -> None:
    while not stream.outbox.empty():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


async def test_what_was_made_is_for_this_account_alone(launch: Callable[..., Any], folder: Path) -> None:
    """State, audit log and socket have no bits for anybody else."""
    process: Process = await launch()
    await process.until_said("is in force")
    await process.check("limited")
    modes = {path: path.lstat().st_mode & 0o077 for path in [*(folder / "state").rglob("*"), folder / "gate.sock"]}
    assert set(modes.values()) == {0}, modes


async def test_H2_two_sidecars_never_share_a_state(launch: Callable[..., Any], folder: Path) -> None:
    """They would write one audit chain: the second ends with one line, the first goes on and its chain is whole."""
    first: Process = await launch()
    await first.until_said("is in force")
    second: Process = await launch("--socket", str(folder / "other.sock"))
    assert await second.child.wait() == 1
    await second.end()
    assert "another sidecar runs on it" in second.said
    assert "Traceback" not in second.said
    assert (await first.check("get_price")).outcome == ALLOWED
    await first.end()
    assert verify(folder / "state" / "audit").problems == ()


async def test_E2_a_taken_socket_ends_the_start(launch: Callable[..., Any], folder: Path) -> None:
    """A second sidecar on the same path: exit code 1, one line that names the process and the next step."""
    first: Process = await launch()
    await first.until_said("is in force")
    second: Process = await launch("--state", str(folder / "other"))
    assert await second.child.wait() == 1
    await second.end()
    assert f"process {first.child.pid} serves there" in second.said
    assert "Traceback" not in second.said
    assert (await first.check("get_price")).outcome == ALLOWED


async def test_E2_a_swapped_socket_ends_the_process(launch: Callable[..., Any], folder: Path) -> None:
    """Somebody puts another socket in our place: the process stops serving and says why, exit code 1."""
    process: Process = await launch()
    await process.until_said("is in force")
    (folder / "elsewhere.sock").touch()
    (folder / "swap").symlink_to(folder / "elsewhere.sock")
    (folder / "swap").rename(folder / "gate.sock")
    async with asyncio.timeout(EVER):
        assert await process.child.wait() == 1
    await process.end()
    assert "was removed or replaced" in process.said
    assert (folder / "gate.sock").is_symlink()


async def test_a_disk_that_fills_up_refuses_until_there_is_room(launch: Callable[..., Any], folder: Path) -> None:
    """RLIMIT_FSIZE on the running process: UNAVAILABLE, AUDIT_UNWRITABLE; with room again calls are allowed."""
    process: Process = await launch()
    await process.until_said("is in force")
    (segment,) = segments(folder / "state" / "audit")
    size = segment.stat().st_size
    _, hard = resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (size + 100, hard))
    refused = await process.check("get_price")
    assert (refused.outcome, refused.reason_code) == (gate_pb2.OUTCOME_UNAVAILABLE, "AUDIT_UNWRITABLE")
    resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (hard, hard))
    await process.until_said("writable again")
    assert (await process.check("get_price")).outcome == ALLOWED
    await process.end()
    assert verify(folder / "state" / "audit").problems == ()


async def test_I6_after_a_kill_the_same_call_attaches_and_runs_once(
    launch: Callable[..., Any], hub: ScriptedHub, folder: Path
) -> None:
    """Kill -9 while a call waits, approval, a new process: the same call is ALLOWED once, and the log is one chain."""
    first: Process = await launch()
    await first.until_said("is in force")
    waits = asyncio.create_task(first.check("refund", REFUND, call_id="toolu_1"))
    await hub.until(lambda: hub.requests)
    first.child.kill()
    with pytest.raises(aio.AioRpcError) as error:
        await waits
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    hub.approve(hub.only())
    second: Process = await launch()
    await second.until_said("is in force")
    answers = [await second.check("refund", REFUND, call_id="toolu_1") for _ in range(2)]
    assert [answer.outcome for answer in answers] == [ALLOWED, gate_pb2.OUTCOME_ALREADY_RELEASED]
    assert len(hub.consumed) == 1
    await second.end()
    report = verify(folder / "state" / "audit")
    assert (report.epochs, report.problems) == (2, ())
    assert any("was killed" in note for note in report.notes)


async def test_metrics_are_served_on_loopback(launch: Callable[..., Any], hub: ScriptedHub) -> None:
    """Checks by action, outcome and policy, durations, holds, config age and gRPC's own, with nothing of a call."""
    process: Process = await launch("--metrics-port", "0", "--tcp", "127.0.0.1:0")
    port = (await process.until_said(r"http://127\.0\.0\.1:(\d+)/metrics"))[1]
    await process.until_said("is in force")
    await process.check("get_price", {"item": "very-particular-tea"}, claimed_user="kim")
    await process.check("refund", REFUND, wait=0)
    text = await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/metrics")
    for name in (
        'hitl_checks_total{action="Allow",outcome="allowed",policy="AgentPolicy/shop/support"} 1.0',
        'hitl_checks_total{action="Confirm",outcome="pending",policy="AgentPolicy/shop/support"} 1.0',
        "hitl_check_duration_seconds_bucket",
        'hitl_sidecar_holds{tier="confirm"} 0.0',
        "hitl_config_age_seconds",
        "hitl_audit_writable 1.0",
        'grpc_server_handled_total{grpc_code="OK",grpc_method="Check",grpc_service="hitl.v1.GateService"} 2.0',
    ):
        assert name in text
    assert not re.search("hitl_hold|hitl_review|hitl_decisions", text)  # the hub's: sums over both count each once
    assert not re.search("very-particular-tea|kim|refund-1|20817", text)


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=EVER) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tcp", "0.0.0.0:1"], "must be a loopback address"),
        (["--label", "x"], "write key=value"),
        (["--metrics-port", "99999"], "invalid"),
    ],
)
async def test_flags_that_cannot_be_meant_are_refused(launch: Callable[..., Any], flags: list[str], words: str) -> None:
    """Exit code 1 or 2 with words, and no traceback."""
    process: Process = await launch(*flags)
    assert await process.end(0) in (1, 2)
    assert words in process.said
    assert "Traceback" not in process.said


async def test_a_state_that_cannot_be_kept_ends_the_start(launch: Callable[..., Any], folder: Path) -> None:
    """The state's folder is a file: exit code 1, the path, and what to do."""
    (folder / "state").write_text("")
    process: Process = await launch()
    assert await process.end(0) == 1
    assert re.search(r"error: --state .*; give a folder that can be written", process.said)
    assert (folder / "state").read_text() == ""
