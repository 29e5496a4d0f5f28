"""The hub's socket: private, never taken from the living, and noticed when it is swapped (SECURITY E2)."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from hitl.errors import Unavailable
from hitl_operator import sockets
from hitl_operator.sockets import SocketClaim, claim_socket


def bound(claim: SocketClaim) -> socket.socket:
    """A listening socket at the claimed place."""
    server = socket.socket(socket.AF_UNIX)
    with claim.binding() as address:
        server.bind(address.removeprefix("unix:"))
        server.listen()
    return server


def test_E2_the_socket_is_for_its_owner_from_its_first_moment(folder: Path) -> None:
    """E2: whatever the umask was, folder and socket are closed to others, without a chmod afterwards."""
    before = os.umask(0)
    try:
        claim = claim_socket(folder / "home" / "hub.sock")
        server = bound(claim)
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "home").stat().st_mode) == 0o700
    assert stat.S_IMODE(claim.path.stat().st_mode) == 0o600
    server.close()
    claim.close()
    assert not claim.path.exists()


def test_E2_a_living_server_is_not_replaced(folder: Path) -> None:
    """E2: a second hub at the same place is refused, and the first one's socket stays as it is."""
    claim = claim_socket(folder / "hub.sock")
    server = bound(claim)
    inode = claim.path.stat().st_ino
    with pytest.raises(Unavailable, match="another hub serves there") as caught:
        claim_socket(claim.path)
    assert caught.value.reason_code == "SOCKET_TAKEN"
    assert claim.path.stat().st_ino == inode
    server.close()
    claim.close()


def test_E2_a_living_server_that_took_no_lock_is_not_replaced_either(folder: Path) -> None:
    """E2: somebody else's server is found by asking it."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "hub.sock"))
        server.listen()
        with pytest.raises(Unavailable, match="somebody serves there"):
            claim_socket(folder / "hub.sock")


def test_E2_a_dead_socket_of_ours_is_replaced(folder: Path) -> None:
    """E2: what a killed hub left behind does not keep the next one from starting."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "hub.sock"))
    claim = claim_socket(folder / "hub.sock")
    bound(claim).close()
    claim.close()


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_E2_anything_else_at_the_place_is_left_alone(folder: Path, what: str) -> None:
    """E2: a file, a folder or a link is not removed, whatever it leads to."""
    path = folder / "hub.sock"
    if what == "file":
        path.write_text("precious")
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to(folder / "elsewhere")
    with pytest.raises(Unavailable, match="not a socket of this account"):
        claim_socket(path)
    assert path.is_symlink() or path.exists()


def test_E2_a_folder_that_others_can_enter_is_refused(folder: Path) -> None:
    """E2: in a folder of everybody somebody could put another socket there."""
    folder.chmod(0o755)
    with pytest.raises(Unavailable, match="chmod 700"):
        claim_socket(folder / "hub.sock")


def test_a_path_that_no_socket_can_have_is_named(folder: Path) -> None:
    """A home so deep that its socket has no room is refused with what to do."""
    with pytest.raises(Unavailable, match="choose a shorter --home"):
        claim_socket(folder / ("x" * 100) / "hub.sock")


async def test_E2_a_socket_that_was_swapped_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E2: removing or replacing the socket is noticed, and what stands there then is not removed by us."""
    monkeypatch.setattr(sockets, "_LOOK_EVERY", 0.01)
    claim = claim_socket(folder / "hub.sock")
    server = bound(claim)
    waiting = asyncio.create_task(claim.lost())
    await asyncio.sleep(0)
    assert not waiting.done()
    os.rename(claim.path, folder / "away")  # noqa: PTH104 - what an attacker does
    claim.path.write_text("swapped")
    async with asyncio.timeout(60):
        await waiting
    server.close()
    claim.close()
    assert claim.path.read_text() == "swapped"
