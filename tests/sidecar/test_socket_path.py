"""The gate's socket: never over anything else, never through a link, and left when it is swapped (SECURITY E2)."""

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from gates import EVER, Running

from hitl.errors import Unavailable
from hitl_sidecar.options import Options
from hitl_sidecar.socket_path import SocketPath


@pytest.fixture
def listener(folder: Path) -> Iterator[socket.socket]:
    """Somebody who serves at gate.sock."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "gate.sock"))
        server.listen()
        yield server


async def refused(options: Options, folder: Path, match: str) -> str:
    """Starting a gate fails, leaving what stands there alone; its reason code."""
    path = folder / "gate.sock"
    before = path.lstat()
    gate = Running(options)
    with pytest.raises(Unavailable, match=match) as error:
        await gate.start()
    await gate.sidecar.close()
    assert path.lstat().st_ino == before.st_ino
    return error.value.reason_code


async def test_E2_a_path_that_is_served_is_refused(options: Options, folder: Path, listener: socket.socket) -> None:
    """Somebody serves there: the process is named and goes on serving."""
    assert await refused(options, folder, f"process {os.getpid()} serves there") == "SOCKET_TAKEN"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "gate.sock"))


@pytest.mark.parametrize("kind", ["file", "folder", "symbolic link", "pipe"])
async def test_E2_nothing_but_a_socket_is_ever_replaced(options: Options, folder: Path, kind: str) -> None:
    """A file, folder, link or pipe at the path is named and left alone."""
    path = folder / "gate.sock"
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case "symbolic link":
            path.symlink_to(folder / "elsewhere.sock")
        case _:
            os.mkfifo(path)
    assert await refused(options, folder, f"a {kind} stands there") == "SOCKET_TAKEN"
    assert not (folder / "elsewhere.sock").exists()


async def test_E2_a_dead_socket_of_this_account_is_replaced(options: Options, folder: Path) -> None:
    """What a killed sidecar left behind does not keep its successor from starting."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "gate.sock"))
    gate = Running(options)
    await gate.start()
    assert await gate.health() == "NOT_SERVING"
    await gate.stop()


async def test_E2_the_socket_is_born_with_mode_0600(gate: Running) -> None:
    """No chmod: with the loosest umask around it the socket is for its owner alone from the first moment."""
    assert stat.S_IMODE(gate.options.socket.lstat().st_mode) == 0o600


async def test_E2_binding_leaves_the_umask_as_it_was(options: Options) -> None:
    """The umask of the process is the same before and after, and the socket's mode does not depend on it."""
    before = os.umask(0)
    try:
        gate = Running(options)
        await gate.start()
        assert os.umask(0) == 0
        assert stat.S_IMODE(gate.options.socket.lstat().st_mode) == 0o600
        await gate.stop()
    finally:
        os.umask(before)


async def test_E2_a_path_that_no_socket_can_have_is_refused(options: Options, folder: Path) -> None:
    """Longer than the kernel allows, or in a folder that is not there: said so, with what to choose instead."""
    for path, words in ((folder / ("x" * 120), "longer than 107 bytes"), (folder / "none" / "g.sock", "no folder")):
        with pytest.raises(Unavailable, match=words) as error:
            SocketPath(path).claim()
        assert error.value.reason_code == "SOCKET_PATH"


@pytest.mark.parametrize("swap", ["another socket", "a link to another socket", "a file", "nothing"])
async def test_E2_a_swapped_socket_is_noticed(gate: Running, folder: Path, swap: str) -> None:
    """Whatever takes the place of our socket, or if nothing does, the watch ends and so does the process."""
    path = gate.options.socket
    watch = asyncio.create_task(gate.path.lost())
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        match swap:
            case "another socket":
                other.bind(str(path))
            case "a link to another socket":
                other.bind(str(folder / "other.sock"))
                path.symlink_to(folder / "other.sock")
            case "a file":
                path.write_text("")
        async with asyncio.timeout(EVER):
            await watch


async def test_E2_a_socket_that_is_not_ours_any_more_is_not_removed(gate: Running, folder: Path) -> None:
    """At the end only our own socket is removed: what took its place stays."""
    path = gate.options.socket
    path.unlink()
    path.write_text("somebody else's")
    gate.path.release()
    assert path.read_text() == "somebody else's"


@pytest.mark.parametrize(
    "address", ["0.0.0.0:0", "[::]:0", "example.com:7443", "127.0.0.1", "127.0.0.1:x", "10.0.0.1:1"]
)
async def test_only_loopback_is_listened_on(options: Options, address: str) -> None:
    """Any other TCP address is refused, naming what may stand there."""
    gate = Running(options)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:7443"):
        gate.sidecar.server.bind_tcp(address)
    await gate.sidecar.close()


async def test_loopback_tcp_serves_grpc_and_no_browser(gate: Running) -> None:
    """A port on 127.0.0.1 answers gRPC; HTTP/1.1, all that a rebound page can send, gets no answer from any method."""
    other = Running(gate.options)
    port = other.sidecar.server.bind_tcp("127.0.0.1:0")
    await other.sidecar.server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /hitl.v1.GateService/Check HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), EVER)
    writer.close()
    assert b"HTTP/1.1 2" not in answer
    assert other.records()[-1].kind.value == "start"
    await other.sidecar.stop()
    await other.sidecar.close()


async def test_a_taken_port_is_refused(options: Options) -> None:
    """Another process listens there: an error, not a port that two share."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        gate = Running(options)
        with pytest.raises(Unavailable, match="choose another port"):
            gate.sidecar.server.bind_tcp(f"127.0.0.1:{other.getsockname()[1]}")
        await gate.sidecar.close()
