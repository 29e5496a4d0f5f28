"""Connections over TLS to a server that hangs: they end with the call that was given up, not half a minute later."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from control_plane.certificates import Authority
from hitl.errors import StoreUnavailable
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


class HangingServer:
    """Takes one request, sends `answer`, and from then on says nothing, not even goodbye."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        authority = Authority()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*authority.server("api").write(folder, "api"))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(60)
        self._answer = answer
        self.asked = threading.Event()
        self.left = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.access = Access(f"https://127.0.0.1:{self._listener.getsockname()[1]}", ca=authority.pem)

    def _serve(self) -> None:
        raw, _ = self._listener.accept()
        raw.settimeout(60)
        with self._context.wrap_socket(raw, server_side=True) as connection:
            connection.recv(1 << 16)
            connection.sendall(self._answer)
            self.asked.set()
            # What TLS still has to say is read as bytes and left without an answer.
            with socket.socket(fileno=connection.detach()) as bare, suppress(ConnectionResetError):
                bare.setblocking(True)
                while bare.recv(1 << 16):
                    pass
        self.left.set()

    def close(self) -> None:
        self._listener.close()
        self._thread.join()


@pytest.fixture(params=[b"", HEAD], ids=["no-answer", "half-an-answer"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HangingServer]:
    """A server that hangs, before its answer or within it."""
    found = HangingServer(tmp_path, request.param)
    yield found
    found.close()


async def test_a_call_past_its_deadline_ends_its_connection(server: HangingServer) -> None:
    """The server sees the end of it while the session goes on: within seconds, where a goodbye may take thirty."""
    async with KubeAPI.open(server.access, deadline=0.5) as api:
        with pytest.raises(StoreUnavailable, match="did not answer within"):
            await api.get("/api/v1/namespaces/shop/configmaps")
        assert await asyncio.to_thread(server.left.wait, 20)


async def test_a_call_that_is_cancelled_ends_its_connection(server: HangingServer) -> None:
    """Likewise where nobody waits for the answer any more."""
    async with KubeAPI.open(server.access) as api:
        call = asyncio.create_task(api.get("/api/v1/namespaces/shop/configmaps"))
        assert await asyncio.to_thread(server.asked.wait, 20)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await asyncio.to_thread(server.left.wait, 20)
