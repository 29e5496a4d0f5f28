"""The gate's socket for agents that run as somebody else, as in a pod, and readiness for who asks from outside (E2)."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from gates import EVER, Running
from peer import ScriptedHub

from hitl_sidecar.metrics_server import MetricsServer
from hitl_sidecar.options import Options, parse

AGENT = 12345  # a user that is neither root nor this one

# What an agent does that is not to be trusted: become AGENT, connect, then try to take the socket's place.
TRIES = f"""
import os, socket, sys
os.setgroups([])
os.setgid({AGENT})
os.setuid({AGENT})
path = sys.argv[1]
with socket.socket(socket.AF_UNIX) as client:
    try:
        client.connect(path)
        print("connected")
    except PermissionError:
        print("refused")
for what, act in (
    ("unlinked", lambda: os.unlink(path)),
    ("moved", lambda: os.rename(path, path + "2")),
    ("wrote", lambda: open(os.path.join(os.path.dirname(path), "mine"), "w")),
    ("changed", lambda: os.chmod(path, 0o600)),
):
    try:
        act()
        print(what)
    except OSError:
        pass
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody reaches and only this account writes into, as a read-only mount is to others."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="hitl-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def as_root() -> tuple[str, ...]:
    """What stands before a command that may become another user: nothing for root, sudo where CI is somebody else.

    Elsewhere nobody's sudo is used unasked, and the test is skipped. CI skips nothing: there it fails.
    """
    if os.geteuid() == 0:
        return ()
    reason = "only root can become another user, and this account is not"
    if not os.environ.get("CI"):
        pytest.skip(f"{reason}; run this test as root")
    sudo = shutil.which("sudo")
    if sudo is None or subprocess.run([sudo, "-n", "true"], check=False, timeout=EVER).returncode:
        pytest.fail(f"{reason}; CI has to be root, or to have a sudo that asks for no password")
    return sudo, "-n"


async def tried(path: Path, as_root: Sequence[str]) -> list[str]:
    """What AGENT managed to do with the socket."""
    child = await asyncio.create_subprocess_exec(
        *as_root, sys.executable, "-I", "-S", "-c", TRIES, str(path), stdout=asyncio.subprocess.PIPE, cwd="/"
    )
    said, _ = await asyncio.wait_for(child.communicate(), EVER)
    assert child.returncode == 0
    return said.decode().split()


@pytest.mark.parametrize(("mode", "outcome"), [(0o666, "connected"), (0o600, "refused")])
async def test_E2_who_may_connect_is_said_by_the_mode(
    options: Options, open_folder: Path, as_root: tuple[str, ...], mode: int, outcome: str
) -> None:
    """Another user connects to a socket of mode 0666 and to none of 0600, and takes the place of neither."""
    path = open_folder / "gate.sock"
    gate = Running(replace(options, socket=path, socket_mode=mode))
    await gate.start()
    try:
        assert await tried(path, as_root) == [outcome]
        assert stat.S_IMODE(path.lstat().st_mode) == mode
    finally:
        await gate.stop()


async def test_E2_the_mode_does_not_hang_on_the_umask(options: Options, open_folder: Path) -> None:
    """With the strictest umask around it the socket is as open as it was asked to be, and the umask stays."""
    before = os.umask(0o077)
    try:
        gate = Running(replace(options, socket=open_folder / "gate.sock", socket_mode=0o666))
        await gate.start()
        assert os.umask(0o077) == 0o077
        assert stat.S_IMODE(gate.options.socket.lstat().st_mode) == 0o666
        await gate.stop()
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--socket-mode", "0777", "0666"),
        ("--metrics-host", "localhost", "no IP address"),
        ("--metrics-host", "", "no IP"),
    ],
)
def test_what_cannot_be_meant_is_refused(flag: str, value: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and words that say what may stand there."""
    with pytest.raises(SystemExit) as error:
        parse(["--socket", "/s", "--hub", "unix:/h", "--state", "/t", f"{flag}={value}"])
    assert error.value.code == 2
    assert words in capsys.readouterr().err


def asked(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=EVER) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_ready_means_that_a_config_is_in_force(options: Options, hub: ScriptedHub) -> None:
    """A startup probe says no, with the reason, until the first config came; then it says yes (DESIGN 14)."""
    gate = Running(options)
    server = MetricsServer(gate.sidecar.metrics, gate.sidecar.unready)
    port = await server.start(0, "*")
    try:
        status, words = await asyncio.to_thread(asked, port, "/readyz")
        assert (status, "the gate has no policy yet" in words) == (503, True)
        await gate.start()
        await gate.programmed()
        assert await asyncio.to_thread(asked, port, "/readyz") == (200, "ok\n")
        status, words = await asyncio.to_thread(asked, port, "/else")
        assert (status, words) == (404, "see /metrics and /readyz\n")
    finally:
        await server.stop()
        await gate.stop()


async def test_F3_a_crowd_of_connections_costs_little_and_ends_nothing(options: Options) -> None:
    """A neighbour of the pod opens a thousand: all but a few are hung up at once, and the next one is answered."""
    gate = Running(options)
    server = MetricsServer(gate.sidecar.metrics, gate.sidecar.unready)
    port = await server.start(0)
    crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
    try:
        async with asyncio.timeout(EVER):
            ended = 0
            for reader, _ in crowd[32:]:
                ended += not await _rest(reader)
        assert ended == 168
        for _, writer in crowd:
            writer.close()
        for _, writer in crowd:
            with suppress(OSError):  # reset; without waiting it is a warning of another test
                await writer.wait_closed()
        async with asyncio.timeout(EVER):
            while (await asyncio.to_thread(_status, port)) != 503:
                pass
    finally:
        await server.stop()
        await gate.sidecar.close()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


def _status(port: int) -> int:
    try:
        return asked(port, "/readyz")[0]
    except OSError:
        return 0
