"""HTTP to one API server: connections, credentials, deadlines, bounds, and what every failure means."""

import asyncio
import random
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
import orjson
from multidict import CIMultiDict

from hitl.errors import ApiError, HitlError, StoreUnavailable
from hitl.kube.access import Access

# Bytes. A page of 500 requests at their largest is 13 MB; one object, in a watch's line, is 1.5 MiB in etcd.
_LARGEST_ANSWER: Final = 64 << 20
_LARGEST_LINE: Final = 8 << 20
# Seconds. The API server keeps an idle connection for 90; a write on one that it is about to close would be lost.
_KEEP_ALIVE: Final = 45.0
_CONNECT: Final = 5.0
# Seconds until a peer that is gone without a word is noticed: 15 + 3 probes of 5, as client-go's HTTP/2 pings do.
_SILENT, _PROBE, _PROBES = 15, 5, 3


class Transport:
    """Requests to one server. Raises as `hitl.kube.api.KubeAPI` says."""

    def __init__(
        self, access: Access, session: aiohttp.ClientSession, tls: ssl.SSLContext | None, *, deadline: float
    ) -> None:
        self._access = access
        self._session = session
        self._deadline = deadline
        self._impersonation = access.impersonate.headers() if access.impersonate else []
        self._options: dict[str, Any] = {"ssl": tls if tls is not None else False, "allow_redirects": False}
        if access.proxy:
            self._options["proxy"] = access.proxy
        if access.tls_server_name:
            self._options["server_hostname"] = access.tls_server_name
        self._fetching = asyncio.Lock()
        self._refused_token = ""
        self._date = ("", 0.0)

    def server_time(self) -> datetime | None:
        """What time it is for the server, by its last answer, to about a second; None before the first."""
        date, heard = self._date
        return None if not date else parsedate_to_datetime(date) + timedelta(seconds=time.monotonic() - heard)

    async def call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        content: str = "application/json",
        accept: str = "application/json",
        deadline: float | None = None,
    ) -> dict[str, Any]:
        """One call and its answer, an object.

        A connection that the server closed while nobody used it is the rule, not an error: aiohttp tries a GET, PUT or
        DELETE once more on a new one (PUT and DELETE are bound to a version or uid, the second time does nothing).
        POST and PATCH are never sent twice, but for 429, which says that nothing was done.
        """
        document = None if body is None else orjson.dumps(body)
        call = _Call(method, path, params, document, content, accept)
        seconds = self._deadline if deadline is None else deadline
        try:
            async with asyncio.timeout(seconds):
                while True:
                    status, answer, again = await self._once(call)
                    if status < 400:
                        return self._parsed(answer, call)
                    if status != 429:
                        raise self._refused(status, answer, call)
                    await asyncio.sleep(again)
        except TimeoutError:
            raise self._unavailable(call, f"did not answer within {seconds:g} s") from None

    async def lines(
        self, path: str, params: Mapping[str, str], *, accept: str, idle: float
    ) -> AsyncGenerator[bytes, None]:
        """The lines of an answer that goes on; silence for longer than `idle` seconds is StoreUnavailable.

        Each wait has a timeout of its own, so that one step after the other may be taken by different tasks.
        """
        call = _Call("GET", path, params, accept=accept)
        patience = self._deadline
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(patience):
                    response = await stack.enter_async_context(self._request(call, await self._headers(call)))
                    stack.callback(_hang_up, response)
                    if response.status >= 400:
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

    def refusal(self, status: Mapping[str, Any], path: str) -> HitlError:
        """What a metav1.Status in the middle of a watch means: ApiError, or StoreUnavailable where it could not."""
        return self._meaning(status, _Call("GET", path))

    def _meaning(self, status: Mapping[str, Any], call: "_Call") -> HitlError:
        code = int(status.get("code") or 500)
        message = str(status.get("message") or "no reason given")
        if code == 429 or code >= 500:
            return self._unavailable(call, f"answered {code}: {message}")
        return ApiError(code, str(status.get("reason") or ""), message, status.get("details"))

    async def _once(self, call: "_Call") -> tuple[int, bytes, float]:
        """Status, body and, for 429, seconds to wait."""
        while True:
            headers = await self._headers(call)
            try:
                async with self._request(call, headers) as response:
                    self._date = response.headers.get("Date", ""), time.monotonic()
                    answer = await self._read(response, call)
            except TimeoutError:
                raise
            except (aiohttp.ClientError, OSError) as error:
                raise self._unavailable(call, _words(error)) from error
            if response.status == 401 and self._has_newer_than(headers.get("Authorization", "")):
                continue  # the server did nothing
            return response.status, answer, _seconds_to_wait(response) if response.status == 429 else 0.0

    def _has_newer_than(self, refused: str) -> bool:
        """Whether another token may be had than the refused one; each is tried once."""
        if not refused or refused == self._refused_token:
            return False
        self._refused_token = refused
        self._access.bearer.drop()
        return True

    def _request(self, call: "_Call", headers: CIMultiDict[str]) -> Any:
        url = f"{self._access.server}{call.path}"
        return self._session.request(
            call.method, url, params=call.params, headers=headers, data=call.document, **self._options
        )

    async def _headers(self, call: "_Call") -> CIMultiDict[str]:
        headers = CIMultiDict(self._impersonation)
        headers["Accept"] = call.accept
        if call.document is not None:
            headers["Content-Type"] = call.content
        bearer = self._access.bearer
        token = bearer.held()
        if token is None:
            async with self._fetching:  # one plugin at a time, however many calls wait for it
                token = bearer.held()
                if token is None:
                    token = await asyncio.to_thread(bearer.fetch)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    async def _read(self, response: aiohttp.ClientResponse, call: "_Call") -> bytes:
        found = bytearray()
        async for chunk in response.content.iter_any():
            found += chunk
            if len(found) > _LARGEST_ANSWER:
                raise self._unavailable(call, f"answered more than {_LARGEST_ANSWER >> 20} MiB; ask for fewer at once")
        return bytes(found)

    def _parsed(self, answer: bytes, call: "_Call") -> dict[str, Any]:
        try:
            parsed = orjson.loads(answer)
        except orjson.JSONDecodeError:
            parsed = None
        if not isinstance(parsed, dict):
            raise self._unavailable(call, "did not answer with JSON; is something else listening there?")
        return parsed

    def _refused(self, code: int, answer: bytes, call: "_Call") -> HitlError:
        try:
            status = orjson.loads(answer)
        except orjson.JSONDecodeError:
            status = {"message": answer[:500].decode("utf-8", "replace").strip()}
        return self._meaning({**(status if isinstance(status, dict) else {}), "code": code}, call)

    def _unavailable(self, call: "_Call", what: str) -> StoreUnavailable:
        reading = call.method == "GET"
        return StoreUnavailable(
            f"the API server {self._access.server} {what} ({call.method} {call.path})"
            f"{'' if reading else '; read again to see whether it was taken'}"
        )


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    params: Mapping[str, str] | None = None
    document: bytes | None = None
    content: str = "application/json"
    accept: str = "application/json"


@asynccontextmanager
async def connected(access: Access, *, user_agent: str, deadline: float, connections: int) -> AsyncIterator[Transport]:
    """A transport for as long as the block lasts. InvalidInput: the access cannot be used."""
    tls = await asyncio.to_thread(access.tls)
    connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=_KEEP_ALIVE, socket_factory=_socket)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
        headers={"User-Agent": user_agent},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield Transport(access, session, tls, deadline=deadline)


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


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """End the connection of an answer that would go on. To say goodbye over TLS first would outlast loop and program."""
    if response.connection is not None and response.connection.transport is not None:
        response.connection.transport.abort()


def _seconds_to_wait(response: aiohttp.ClientResponse) -> float:
    wanted = 1.0
    with suppress(ValueError):
        wanted = float(response.headers.get("Retry-After", wanted))
    return max(0.1, wanted) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads callers, no secret


def _words(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return f"cannot be trusted ({error}); see certificate-authority-data in the kubeconfig"
        case aiohttp.ClientConnectorError():
            return f"cannot be reached ({error.os_error.strerror or error.os_error}); is it up, and the address right?"
        case aiohttp.ServerDisconnectedError() | ConnectionResetError() | aiohttp.ClientPayloadError():
            return "closed the connection"
    return f"failed: {str(error) or type(error).__name__}"
