"""``GET /metrics`` and ``GET /readyz``, and nothing else: as much HTTP as Prometheus and kubelets need, and no thread.

In a pod both come from outside of it, and so may any neighbour: nothing that is served is about one call, connections
are few and short, and there is no way to change anything.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

from hitl.errors import Unavailable
from hitl_sidecar.metrics import GateMetrics

ANYWHERE: Final = "*"
"""As a host: every address of this machine."""

_ANSWER_WITHIN: Final = 10.0  # seconds
_MOST: Final = 32  # connections at once, some 10 KB each; a scraper and a kubelet have one each
_TEXT: Final = b"text/plain; version=1.0.0; charset=utf-8"


class MetricsServer:
    """Serves the numbers of one process, and whether it is ready.

    Args:
        metrics: of the process.
        unready: why calls cannot be decided by policy now; empty where they can.
    """

    def __init__(self, metrics: GateMetrics, unready: Callable[[], str]) -> None:
        self._metrics = metrics
        self._unready = unready
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def start(self, port: int, host: str = "127.0.0.1") -> int:
        """Listen there; the port, a free one for 0. Unavailable, METRICS_PORT, for one that is taken."""
        try:
            if host == ANYWHERE:
                self._server = await asyncio.start_server(self._answer, sock=_everywhere(port))
            else:
                self._server = await asyncio.start_server(self._answer, host, port)
        except OSError as error:
            raise Unavailable(
                "METRICS_PORT", f"--metrics-port {port}: {error.strerror or error}; choose another port"
            ) from error
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= _MOST:
            writer.transport.abort()
            return
        self._connections += 1
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_ANSWER_WITHIN):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._response(head))
                    await writer.drain()
        finally:
            self._connections -= 1
            writer.close()

    def _response(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        status, body = b"200 OK", b""
        if method not in (b"GET", b"HEAD"):
            status, body = b"405 Method Not Allowed", b"only GET\n"
        elif path == b"/metrics":
            body = self._metrics.render()
        elif path == b"/readyz":
            unready = self._unready()
            status, body = (b"503 Service Unavailable", f"{unready}\n".encode()) if unready else (status, b"ok\n")
        else:
            status, body = b"404 Not Found", b"see /metrics and /readyz\n"
        shown = b"" if method == b"HEAD" else body
        return b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
            status,
            _TEXT,
            len(body),
            shown,
        )


def _everywhere(port: int) -> socket.socket:
    """A listening socket for IPv4 and IPv6, or for what this machine has of them."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # IPv6 is there and switched off; a port that is taken is found again below
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
