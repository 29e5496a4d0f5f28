"""HTTP to one API server over aiohttp: many calls at once, watches, connections that notice a peer that is gone."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import aiohttp
import yarl
from multidict import CIMultiDict

from hitl.errors import InvalidInput, StoreUnavailable
from hitl.kube.access import Access
from hitl.kube.transport import CONNECT, LARGEST_ANSWER, NO_CONNECTION, Answer, Call, Headers, Transport

# Bytes. One object, in a watch's line, is 1.5 MiB in etcd, and each <, > and & of it six characters in JSON.
_LARGEST_LINE: Final = 16 << 20
# Seconds. The API server keeps an idle connection for 90; a write on one that it is about to close would be lost.
_KEEP_ALIVE: Final = 45.0
# Seconds until a peer that is gone without a word is noticed: 15 + 3 probes of 5, as client-go's HTTP/2 pings do.
_SILENT, _PROBE, _PROBES = 15, 5, 3


class SessionTransport(Transport):
    """Over one aiohttp session.

    A connection that the server closed while nobody used it is the rule, not an error: aiohttp tries a GET, PUT or
    DELETE once more on a new one.
    """

    def __init__(
        self, access: Access, session: aiohttp.ClientSession, tls: ssl.SSLContext | None, *, deadline: float
    ) -> None:
        super().__init__(access, deadline=deadline)
        self._session = session
        self._options: dict[str, Any] = {"ssl": tls if tls is not None else False, "allow_redirects": False}
        if access.proxy:
            self._options |= _proxy(access)
        if access.tls_server_name:
            self._options["server_hostname"] = access.tls_server_name

    async def lines(
        self, path: str, params: Mapping[str, str], *, accept: str, idle: float
    ) -> AsyncGenerator[bytes, None]:
        """The lines of an answer that goes on; silence for longer than `idle` seconds is StoreUnavailable.

        Each wait has a timeout of its own, so that one step after the other may be taken by different tasks.
        """
        call = Call("GET", path, params, accept=accept)
        patience = self._deadline
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(patience):
                    headers = await self._headers(call)
                    response = await stack.enter_async_context(self._request(call, headers))
                    if response.status == 401:
                        self._has_newer_than(dict(headers).get("Authorization", ""))  # for the next try
                    if response.status >= 300:
                        raise self._refused(response.status, await self._read(response, call), call)
                patience = idle
                rest = b""
                while True:
                    async with asyncio.timeout(patience):
                        chunk = await response.content.readany()
                    if not chunk:
                        return
                    *whole, rest = (rest + chunk).split(b"\n")
                    if len(rest) > _LARGEST_LINE:
                        raise self._unavailable(call, f"sent a line of over {_LARGEST_LINE >> 20} MiB")
                    for line in filter(None, whole):
                        yield line
        except TimeoutError:
            raise self._unavailable(call, f"was silent for {patience:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(call, _words(error)) from error

    async def _headers(self, call: Call) -> Headers:
        """For who stays, a token that is not to be had is one that may be had in a moment: kubelet puts a new one into
        its file. Nothing was sent.
        """
        try:
            return await super()._headers(call)
        except InvalidInput as error:
            raise StoreUnavailable(
                f"the API server {self.server} cannot be asked ({call.method} {call.path}): {error}"
            ) from error

    async def _exchange(self, call: Call, headers: Headers) -> Answer:
        try:
            async with self._request(call, headers) as response:
                body = await self._read(response, call)
                found = response.headers
                return Answer(response.status, body, found.get("Date", ""), found.get("Retry-After", ""))
        except aiohttp.ConnectionTimeoutError:
            raise self._unavailable(call, NO_CONNECTION) from None
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(call, _words(error)) from error

    def _request(self, call: Call, headers: Headers) -> Any:
        url = f"{self._access.server}{call.path}"
        return self._session.request(
            call.method, url, params=call.params, headers=CIMultiDict(headers), data=call.document, **self._options
        )

    async def _read(self, response: aiohttp.ClientResponse, call: Call) -> bytes:
        found = bytearray()
        async for chunk in response.content.iter_any():
            found += chunk
            if len(found) > LARGEST_ANSWER:
                raise self._too_large(call)
        return bytes(found)


class Connector(aiohttp.TCPConnector):
    """Ends at once what is not used again: a call that was given up, a watch.

    aiohttp says goodbye over TLS and waits for the answer, which a server that hangs does not give: for half a minute
    each of its calls would keep a socket, past the end of the loop.
    """

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        if should_close or protocol.should_close:
            protocol.abort()
        super()._release(key, protocol, should_close=should_close)


@asynccontextmanager
async def connected(
    access: Access, *, user_agent: str, deadline: float, connections: int
) -> AsyncIterator[SessionTransport]:
    """A transport for as long as the block lasts. InvalidInput: the access cannot be used."""
    tls = await asyncio.to_thread(access.tls)
    connector = Connector(limit=connections, keepalive_timeout=_KEEP_ALIVE, socket_factory=_socket)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
        headers={"User-Agent": user_agent},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield SessionTransport(access, session, tls, deadline=deadline)


def _proxy(access: Access) -> dict[str, Any]:
    """Where calls go through. The password stands apart: aiohttp puts addresses into its errors."""
    address = yarl.URL(access.proxy)
    name, password = address.user or "", address.password or ""
    if ":" in name:
        raise InvalidInput(f"{access.place}: the proxy's user name has a colon in it, which HTTP cannot carry")
    proof = {"Authorization": aiohttp.encode_basic_auth(name, password)} if name or password else None
    return {"proxy": address.with_user(None), "proxy_headers": proof}


def _socket(address: Any) -> socket.socket:
    """A socket that notices a peer that is gone; aiohttp hands over what getaddrinfo gave."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", _SILENT), ("TCP_KEEPINTVL", _PROBE), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, name):  # not everywhere, and a bonus
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


def _words(error: Exception) -> str:
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"cannot be reached: the proxy answered {error.status}; see proxy-url in the kubeconfig, HTTPS_PROXY"
        case aiohttp.ClientResponseError():  # in full it repeats the address
            return f"failed: {error.message}"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return f"cannot be trusted ({error}); see certificate-authority-data in the kubeconfig"
        case aiohttp.ClientConnectorError():
            return f"cannot be reached ({error.os_error.strerror or error.os_error}); is it up, and the address right?"
        case aiohttp.ServerDisconnectedError() | ConnectionResetError() | aiohttp.ClientPayloadError():
            return "closed the connection"
    return f"failed: {str(error) or type(error).__name__}"
