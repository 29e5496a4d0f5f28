"""The standalone hub as a process: it starts, is killed, comes back, and says what it is (DESIGN 18)."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hubs import EVER, POLICY, RELEASED, Sidecar, World, a_spec, eventually, with_call_id, within

from hitl.approvals.requests import State
from hitl.v1 import hub_pb2

SERVING = health_pb2.HealthCheckResponse.SERVING


class Process:
    """One hub process on a world's home."""

    def __init__(self, world: World, process: asyncio.subprocess.Process, log: Path) -> None:
        self.address = f"unix:{world.home.socket}"
        self.log = log
        self._process = process

    @classmethod
    async def start(cls, world: World, *options: str) -> "Process":
        log = world.folder / "hub.log"
        command = [sys.executable, "-m", "hitl_operator.standalone", "--home", str(world.home.path), *options]
        if "-f" not in options:
            command += ["-f", str(world.policies)]
        with log.open("ab") as stream:
            process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stderr=stream)
        return cls(world, process, log)

    async def serving(self) -> "Process":
        async with aio.insecure_channel(self.address, options=[("grpc.max_reconnect_backoff_ms", 100)]) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)

            async def look() -> int:
                assert self._process.returncode is None, self.log.read_text()
                try:
                    return int((await health.Check(health_pb2.HealthCheckRequest(), timeout=1)).status)
                except aio.AioRpcError:
                    return 0

            await eventually(look, lambda status: status == SERVING)
        return self

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        return int(await within(self._process.wait()))

    async def ended(self) -> int:
        return int(await within(self._process.wait()))


@pytest.fixture
async def processes(world: World) -> AsyncIterator[list[Process]]:
    """Processes of a test; whatever still runs afterwards is ended."""
    running: list[Process] = []
    yield running
    for process in running:
        await process.end(signal.SIGKILL)


async def test_I6_a_hub_killed_between_approval_and_release_releases_once(
    world: World, processes: list[Process]
) -> None:
    """I6: kill -9 after the vote; the next hub finds it, the sidecar attaches again, one of twenty tries gets it."""
    first = await (await Process.start(world)).serving()
    processes.append(first)
    spec = with_call_id("toolu_1")
    sidecar = await world.sidecar(first.address)
    await sidecar.sync()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    assert await first.end(signal.SIGKILL) == -signal.SIGKILL
    second = await (await Process.start(world)).serving()
    processes.append(second)
    again = await world.sidecar(second.address, pod=sidecar.agent.pod_uid, epoch=sidecar.epoch)
    await again.sync()
    back = await again.watch(held.handle)
    await back.ready()
    answers = await asyncio.gather(*(again.consume(held.handle, spec.digest) for _ in range(20)))
    assert [answer.release for answer in answers].count(RELEASED) == 1
    assert (await again.open(spec)).outcome == "ALREADY_RELEASED"


async def test_I6_a_hub_killed_while_many_consume_has_released_at_most_once(
    world: World, processes: list[Process]
) -> None:
    """I6: kill -9 in the middle of a race: over both lives of the hub RELEASED was said at most once."""
    first = await (await Process.start(world)).serving()
    processes.append(first)
    sidecar = await world.sidecar(first.address)
    await sidecar.sync()
    specs = [a_spec() for _ in range(10)]
    held = [await sidecar.open(spec) for spec in specs]
    for each in held:
        await world.decide(each.handle, "ana")
        await each.ready()
    racing = [
        asyncio.create_task(sidecar.consume(each.handle, spec.digest))
        for spec, each in zip(specs, held, strict=True)
        for _ in range(5)
    ]
    await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
    await first.end(signal.SIGKILL)
    said = await asyncio.gather(*racing, return_exceptions=True)
    second = await (await Process.start(world)).serving()
    processes.append(second)
    again = await world.sidecar(second.address, pod=sidecar.agent.pod_uid, epoch=sidecar.epoch)
    await again.sync()
    for number, (spec, each) in enumerate(zip(specs, held, strict=True)):
        before = [
            answer.release
            for answer in said[number * 5 : number * 5 + 5]
            if isinstance(answer, hub_pb2.ConsumeResponse)
        ]
        await again.watch(each.handle)
        after = await again.consume(each.handle, spec.digest)
        assert [*before, after.release].count(RELEASED) <= 1
        assert (await world.state_of(each.handle, State.CONSUMED)).status.consumed_digest == spec.digest


async def test_a_hub_that_is_asked_to_stop_drains(world: World, processes: list[Process]) -> None:
    """SIGTERM ends the streams in peace, keeps the requests, removes the socket and exits with 0."""
    hub = await (await Process.start(world)).serving()
    processes.append(hub)
    sidecar = await world.sidecar(hub.address)
    await sidecar.sync()
    held = await sidecar.open(a_spec())
    assert await hub.end(signal.SIGTERM) == 0
    assert not world.home.socket.exists()
    await world.state_of(held.handle, State.PENDING)
    assert "Traceback" not in hub.log.read_text()


async def test_G5_standalone_says_that_it_is_cooperative(world: World, processes: list[Process]) -> None:
    """G5: once, at the start, with the reason; and the log never shows an argument (I10)."""
    hub = await (await Process.start(world)).serving()
    processes.append(hub)
    sidecar = await world.sidecar(hub.address)
    await sidecar.sync()
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    await sidecar.consume(held.handle, spec.digest)
    await hub.end(signal.SIGTERM)
    text = hub.log.read_text()
    assert text.count("standalone mode is cooperative") == 1
    assert [word for word in ("opened", "decided", "consumed") if f"INFO {word}" not in text] == []
    assert "15000" not in text
    assert spec.digest not in text


async def test_everything_in_a_home_is_for_its_account_alone(world: World, processes: list[Process]) -> None:
    """Whatever the umask of whoever starts it, no file of the home can be read or written by others."""
    before = os.umask(0)
    try:
        hub = await Process.start(world)
    finally:
        os.umask(before)
    processes.append(await hub.serving())
    sidecar = await world.sidecar(hub.address)
    await sidecar.sync()
    await sidecar.open(a_spec())
    await hub.end(signal.SIGTERM)
    found = [world.home.path, *world.home.path.rglob("*")]
    assert len(found) > 6
    assert [str(path) for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


async def test_a_second_hub_on_one_home_is_refused(world: World, processes: list[Process]) -> None:
    """Two processes never share a socket: the second ends with words, the first goes on."""
    first = await (await Process.start(world)).serving()
    processes.append(first)
    second = await Process.start(world)
    assert await second.ended() == 1
    assert "another hub serves there" in second.log.read_text()
    sidecar = await world.sidecar(first.address)
    await sidecar.sync()


async def test_E2_a_hub_whose_socket_was_swapped_stops(world: World, processes: list[Process]) -> None:
    """E2: with another socket in its place nobody would reach it, so it ends and says why."""
    hub = await (await Process.start(world)).serving()
    processes.append(hub)
    world.home.socket.rename(world.home.path / "away.sock")
    assert await hub.ended() == 1
    assert "was removed or replaced" in hub.log.read_text()


async def test_policies_that_never_compiled_end_the_start_with_every_problem(
    world: World, processes: list[Process]
) -> None:
    """A first start with broken policies names file and line and exits with 1, instead of serving nobody."""
    (world.policies / "support.yaml").write_text(POLICY.replace("Allow", "Alow").replace("stripe/*", "stripe/**"))
    hub = await Process.start(world)
    processes.append(hub)
    assert await hub.ended() == 1
    text = hub.log.read_text()
    assert f"{world.policies / 'support.yaml'}:6" in text
    assert f"{world.policies / 'support.yaml'}:7" in text
    assert "mend what is named above" in text


@pytest.mark.parametrize("content", ["", "# nothing yet\n", None])
async def test_a_first_start_without_any_policy_says_how_to_begin(
    world: World, processes: list[Process], content: str | None
) -> None:
    """An empty folder or file at the start of a home ends it with 1 and the command that writes a first policy."""
    file = world.policies / "support.yaml"
    file.unlink() if content is None else file.write_text(content)
    hub = await Process.start(world)
    processes.append(hub)
    assert await hub.ended() == 1
    assert "run `hitl init`" in hub.log.read_text()


async def test_a_changed_file_reaches_a_sidecar_of_the_process(world: World, processes: list[Process]) -> None:
    """The process looks at its files by itself: an edit arrives as a new config, a vote of a new person counts."""
    hub = await (await Process.start(world)).serving()
    processes.append(hub)
    sidecar = await world.sidecar(hub.address)
    await sidecar.sync()
    (world.policies / "support.yaml").write_text(POLICY.replace("get_*", "read_*"))
    assert b"read_*" in (await sidecar.next_config()).document_json
    world.person("dee", "leads")
    held = await sidecar.open(a_spec())
    await world.decide(held.handle, "dee")
    await held.ready()


async def test_metrics_are_served_on_loopback(world: World, processes: list[Process]) -> None:
    """The metrics of DESIGN 13 that belong to the hub are there, and a policy without people is reported."""
    (world.policies / "more.yaml").write_text(
        "apiVersion: hitl.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: more}\n"
        "spec: {approval: {reviewers: [nobody-is-in-it]}}\n"
    )
    hub = await Process.start(world, "--metrics-port", "0")
    processes.append(await hub.serving())
    sidecar = await world.sidecar(hub.address)
    await sidecar.sync()
    await sidecar.open(a_spec())

    async def scraped() -> str:
        line = next(line for line in hub.log.read_text().splitlines() if " metrics " in line)
        with await asyncio.to_thread(
            urlopen, line.partition('url="')[2].rstrip('"') or line.partition("url=")[2]
        ) as page:
            return str(page.read().decode())

    text = await eventually(scraped, lambda text: 'hitl_holds_in_progress{tier="confirm"} 1.0' in text)
    assert 'hitl_policy_unmanned{policy="AgentPolicy/shop/more"} 1.0' in text
    assert 'hitl_policy_unmanned{policy="AgentPolicy/shop/support"} 0.0' in text
    assert 'hitl_sidecars{current="true"} 1.0' in text
    for name in ("decisions_total", "hold_duration_seconds", "review_latency_seconds", "digest_mismatches_total"):
        assert f"hitl_{name}" in text


async def test_D1_rotated_keys_leave_a_held_call_releasable(world: World, processes: list[Process]) -> None:
    """D1: after --rotate-keys sidecars get two keys, the new one in force, and the call held before is released."""
    first = await (await Process.start(world)).serving()
    processes.append(first)
    sidecar = await world.sidecar(first.address)
    await sidecar.sync()
    spec = a_spec()
    held = await sidecar.open(spec)
    await first.end(signal.SIGTERM)
    second = await (await Process.start(world, "--rotate-keys")).serving()
    processes.append(second)
    again = await world.sidecar(second.address, pod=sidecar.agent.pod_uid, epoch=sidecar.epoch)
    await again.sync()
    assert sidecar.config is not None
    assert again.config is not None
    old = {key.id for key in sidecar.config.keys}
    assert old < {key.id for key in again.config.keys}
    back = await again.watch(held.handle)
    await world.decide(held.handle, "ana")
    await back.ready()
    assert (await again.consume(held.handle, spec.digest)).release == RELEASED


@pytest.mark.parametrize("options", [(), ("-f",), ("-f", "x", "--metrics-port", "many"), ("-f", "x", "--colour")])
async def test_a_wrong_call_is_a_usage_error(options: tuple[str, ...]) -> None:
    """Without --home, without policies or with an option that is none it exits with 2 and shows its usage."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hitl_operator.standalone", *options), stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(EVER):
        _, text = await process.communicate()
    assert process.returncode == 2
    assert b"usage:" in text


async def test_a_home_that_is_read_only_says_so(folder: Path) -> None:
    """Where nothing can be written the start ends with 1 and one line that names the place and the next step."""
    world = World(folder)
    command = [sys.executable, "-m", "hitl_operator.standalone", "--home", str(world.home.path)]
    inside = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec {' '.join(command)} -f x"
    process = await asyncio.create_subprocess_exec("unshare", "-rm", "sh", "-c", inside, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(EVER):
        _, text = await process.communicate()
    await world.aclose()
    if b"unshare" in text or b"mount:" in text:
        pytest.skip("no mount namespaces here")
    assert process.returncode == 1
    (line,) = text.decode().splitlines()
    assert f"{world.home.path}" in line
    assert "is read-only" in line
    assert "choose another --home" in line


async def test_a_home_of_another_namespace_is_not_taken_over(world: World) -> None:
    """A home keeps its namespace: keys and digests belong to it."""
    hub = await Process.start(world, "--namespace", "bank")
    assert await hub.ended() == 1
    assert "is the home of namespace shop" in hub.log.read_text()


async def test_a_sidecar_of_another_namespace_hears_why(world: World, processes: list[Process]) -> None:
    """B4: the hub says which namespace it serves instead of lending its own."""
    hub = await (await Process.start(world)).serving()
    processes.append(hub)
    sidecar: Sidecar = await world.sidecar(hub.address, namespace="bank")
    with pytest.raises(aio.AioRpcError, match="--namespace shop"):
        await sidecar.cancel("bank/x")
