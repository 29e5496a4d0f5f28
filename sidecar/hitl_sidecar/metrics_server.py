"""``GET /metrics`` on loopback, and nothing else: as much HTTP as a scraper needs, without a thread."""

import asyncio
import contextlib
from typing import Final

from hitl.errors import Unavailable
from hitl_sidecar.metrics import GateMetrics

_ANSWER_WITHIN: Final = 10.0  # seconds
_TEXT: Final = b"text/plain; version=1.0.0; charset=utf-8"


class MetricsServer:
    """Serves the numbers of one process."""

    def __init__(self, metrics: GateMetrics) -> None:
        self._metrics = metrics
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1; the port, a free one for 0. Unavailable, METRICS_PORT, for one that is taken."""
        try:
            self._server = await asyncio.start_server(self._answer, "127.0.0.1", port)
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
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_ANSWER_WITHIN):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(head))
                await writer.drain()
        writer.close()

    def _response(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        status, body = b"200 OK", b""
        if method not in (b"GET", b"HEAD"):
            status, body = b"405 Method Not Allowed", b"only GET\n"
        elif path != b"/metrics":
            status, body = b"404 Not Found", b"see /metrics\n"
        else:
            body = self._metrics.render()
        shown = b"" if method == b"HEAD" else body
        return b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
            status,
            _TEXT,
            len(body),
            shown,
        )
