"""HTTP to one API server for a program that is gone in a moment, on the standard library: aiohttp imports for 0.1 s.

Each call runs in a thread, on one of a few connections that calls take turns at. There is no watching.
"""

import asyncio
import contextlib
import http.client
import socket
import ssl
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from hitl.kube.access import Access
from hitl.kube.transport import CONNECT, LARGEST_ANSWER, NO_CONNECTION, Answer, Call, Headers, Transport

# A TLS handshake with a client certificate costs as much as some calls: a few at once is fastest.
_CONNECTIONS: Final = 3
_CHUNK: Final = 1 << 20
_GZIP: Final = 16 + zlib.MAX_WBITS


class BriefTransport(Transport):
    """Over a few connections of http.client."""

    def __init__(self, access: Access, tls: ssl.SSLContext | None, *, user_agent: str, deadline: float) -> None:
        super().__init__(access, deadline=deadline)
        self._tls = tls
        self._user_agent = user_agent
        self._turns = asyncio.Semaphore(_CONNECTIONS)
        self._idle: list[http.client.HTTPConnection] = []
        self._all: list[http.client.HTTPConnection] = []
        self._is_closed = False

    def lines(
        self,
        path: str,
        params: Mapping[str, str],
        *,
        accept: str,
        idle: float,
    ) -> AsyncGenerator[bytes, None]:
        raise NotImplementedError(f"a brief client cannot watch {path}; open one that stays")

    def close(self) -> None:
        """Close every connection; a thread that still waits at one that nobody waits for any more wakes up."""
        self._is_closed = True
        for connection in self._all:
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _exchange(self, call: Call, headers: Headers) -> Answer:
        async with self._turns:
            return await asyncio.to_thread(self._exchanged, call, headers)

    def _exchanged(self, call: Call, headers: Headers) -> Answer:
        connection = self._idle.pop() if self._idle else self._connection()
        is_good = is_connected = False
        try:
            if connection.sock is None:
                connection.connect()
                connection.sock.settimeout(self._deadline)  # type: ignore[attr-defined]  # it has just connected
            is_connected = True
            answer = self._answer(connection, call, headers)
            is_good = True
        except TimeoutError:
            if not is_connected and self._deadline > CONNECT:
                raise self._unavailable(call, NO_CONNECTION) from None
            raise  # in the words of the caller's deadline
        except (http.client.HTTPException, OSError, zlib.error) as error:
            raise self._unavailable(call, _words(error)) from error
        finally:
            if is_good:
                self._idle.append(connection)
            if not is_good or self._is_closed:
                connection.close()
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        address = urlsplit(self._access.server)
        host, patience = address.hostname or "", min(CONNECT, self._deadline)
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(host, address.port, timeout=patience)
        else:
            connection = http.client.HTTPSConnection(host, address.port, timeout=patience, context=self._tls)
        self._all.append(connection)
        return connection

    def _answer(self, connection: http.client.HTTPConnection, call: Call, headers: Headers) -> Answer:
        prefix = quote(urlsplit(self._access.server).path, safe="/%").rstrip("/")
        query = f"?{urlencode(call.params)}" if call.params else ""
        connection.putrequest(call.method, f"{prefix}{call.path}{query}", skip_accept_encoding=True)
        for name, value in (*headers, ("User-Agent", self._user_agent), ("Accept-Encoding", "gzip")):
            connection.putheader(name, value.encode())  # as text it would go out in Latin-1, and aiohttp's in UTF-8
        if call.document is not None:
            connection.putheader("Content-Length", str(len(call.document)))
        connection.endheaders(call.document)
        response = connection.getresponse()
        body = self._body(response, call)
        return Answer(response.status, body, response.getheader("Date") or "", response.getheader("Retry-After") or "")

    def _body(self, response: http.client.HTTPResponse, call: Call) -> bytes:
        unpacked = zlib.decompressobj(_GZIP) if response.getheader("Content-Encoding") == "gzip" else None
        found = bytearray()
        while chunk := response.read(_CHUNK):
            found += chunk if unpacked is None else unpacked.decompress(chunk, LARGEST_ANSWER)
            if len(found) > LARGEST_ANSWER or (unpacked is not None and unpacked.unconsumed_tail):
                raise self._too_large(call)
        return bytes(found)


@asynccontextmanager
async def connected(access: Access, *, user_agent: str, deadline: float) -> AsyncIterator[Transport]:
    """A transport for as long as the block lasts. InvalidInput: the access cannot be used."""
    if access.proxy or access.tls_server_name:
        # What few kubeconfigs have is worth the wait, and no second implementation.
        from hitl.kube import sessions  # noqa: PLC0415 - see the first line of this file

        async with sessions.connected(access, user_agent=user_agent, deadline=deadline, connections=8) as transport:
            yield transport
        return
    brief = BriefTransport(access, await asyncio.to_thread(access.tls), user_agent=user_agent, deadline=deadline)
    try:
        yield brief
    finally:
        brief.close()


def _words(error: Exception) -> str:
    match error:
        case ssl.SSLError():
            return f"cannot be trusted ({error}); see certificate-authority-data in the kubeconfig"
        case http.client.RemoteDisconnected() | ConnectionResetError():
            return "closed the connection"
        case OSError():
            return f"cannot be reached ({error.strerror or error}); is it up, and the address right?"
    return f"failed: {str(error) or type(error).__name__}"
