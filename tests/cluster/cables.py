"""A cable between a client and an API server that can be cut, or go dead without a word."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

from hitl.kube.access import Access


class Cable:
    """Forwards bytes. `cut` ends every connection and takes no new one; `numb` lets nothing through any more."""

    def __init__(self, host: str, port: int) -> None:
        self._far = (host, port)
        self._through = asyncio.Event()
        self._through.set()
        self._is_cut = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0

    def cut(self) -> None:
        self._is_cut = True
        for task in self._tasks:
            task.cancel()

    def mend(self) -> None:
        self._is_cut = False
        self._through.set()

    def numb(self) -> None:
        self._through.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far = None
        try:
            far_reader, far = await asyncio.open_connection(*self._far)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far))
                both.create_task(self._pump(far_reader, writer))
        except (asyncio.CancelledError, OSError, ExceptionGroup):
            pass  # this end or that one is gone; so is the other one now
        finally:
            self._tasks.discard(task)
            for each in (writer, far):
                if each is not None:
                    each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1 << 16):
            await self._through.wait()
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError


@asynccontextmanager
async def cable_to(access: Access) -> AsyncIterator[tuple[Cable, Access]]:
    """A cable to the server of `access`, and the access through it."""
    server = urlsplit(access.server)
    assert server.hostname is not None
    assert server.port is not None
    cable = Cable(server.hostname, server.port)
    listening = await asyncio.start_server(cable._serve, "127.0.0.1", 0)
    cable.port = listening.sockets[0].getsockname()[1]
    try:
        yield cable, replace(access, server=f"https://127.0.0.1:{cable.port}")
    finally:
        cable.cut()
        listening.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await listening.wait_closed()
