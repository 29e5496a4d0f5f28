"""What the client of those who stay and that of those who are gone in a moment do alike, byte for byte."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import web

from hitl.errors import ApiError, StoreUnavailable
from hitl.kube.access import Access, Impersonation
from hitl.kube.api import KubeAPI
from hitl.kube.credentials import FixedToken
from hitl.kube.paths import path_of
from kube.api_servers import answer, serving, status

PATH = path_of("v1", "configmaps", "shop")
Client = Callable[[Access], AbstractAsyncContextManager[KubeAPI]]
both = pytest.mark.parametrize("client", [KubeAPI.open, KubeAPI.brief], ids=["open", "brief"])


@asynccontextmanager
async def listening(said: list[bytes], reply: bytes) -> AsyncIterator[str]:
    """A server that keeps what it hears, answers each head with these bytes and hangs up; its host and port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@both
async def test_I4_a_name_outside_ascii_is_the_same_person_to_both(client: Client) -> None:
    """I4: whoever reads as müller votes as müller: names go out in UTF-8, as kubectl sends them."""
    said: list[bytes] = []
    async with listening(said, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as address:
        who = Impersonation("müller", ("Ωmega",), "ü-1", {"hitl.dev/ämr": ("hwk", "ключ")})
        async with client(Access(f"http://{address}", impersonate=who)) as api:
            assert await api.get(PATH) == {}
    heads = [each for each in said[0].split(b"\r\n") if each.lower().startswith(b"impersonate")]
    assert [each.decode() for each in heads] == [
        "Impersonate-User: müller",
        "Impersonate-Group: Ωmega",
        "Impersonate-Uid: ü-1",
        "Impersonate-Extra-hitl.dev%2F%C3%A4mr: hwk",
        "Impersonate-Extra-hitl.dev%2F%C3%A4mr: ключ",
    ]


@both
@pytest.mark.parametrize("code", [300, 301, 302, 303, 304, 307, 308])
async def test_I2_an_answer_that_points_elsewhere_is_no_success(client: Client, code: int) -> None:
    """I2: nothing was read or written; it is not followed, so no credentials go where somebody says."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return answer({}, code, {"Location": "/elsewhere"})

    async with serving(handler) as access, client(access) as api:
        with pytest.raises(StoreUnavailable, match=f"answered {code}, which points elsewhere"):
            await api.get(PATH)
        with pytest.raises(StoreUnavailable, match="read again to see whether it was taken"):
            await api.create(PATH, {})
    assert asked == [PATH, PATH]


async def test_I2_a_watch_that_is_pointed_elsewhere_is_none() -> None:
    """I2: a redirect in place of a watch is a server that cannot answer, not one without changes."""

    async def handler(_: web.Request) -> web.Response:
        return answer({}, 302, {"Location": "/elsewhere"})

    async with serving(handler) as access, KubeAPI.open(access) as api:
        with pytest.raises(StoreUnavailable, match="answered 302, which points elsewhere"):
            await anext(api.watch(PATH))


@both
async def test_G1_who_is_not_known_over_plain_http_hears_why(client: Client) -> None:
    """G1: credentials are left out over plain http, so its 401 says what to change."""

    async def handler(_: web.Request) -> web.Response:
        return answer(status(401, "Unauthorized", "Unauthorized"), 401)

    async with serving(handler) as access, client(access) as api:
        with pytest.raises(ApiError, match="Unauthorized; over plain http no credentials are sent: give its https"):
            await api.get(PATH)


@both
async def test_G1_a_proxy_that_refuses_is_named_without_its_password(client: Client) -> None:
    """G1: user name and password reach the proxy and stand in no error, nor in what a trace shows with it."""
    said: list[bytes] = []
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with listening(said, refusal) as address:
        access = Access("https://10.0.0.1:6443", proxy=f"http://ana:CANARY%2F7@{address}")
        async with client(access) as api:
            with pytest.raises(StoreUnavailable, match="the proxy answered 407; see proxy-url") as error:
                await api.get(PATH)
    assert base64.b64encode(b"ana:CANARY/7") in said[0]
    assert_unseen(error.value)


@both
@pytest.mark.parametrize(
    "reply", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000 + b"\r\n\r\n"], ids=["no HTTP", "huge"]
)
async def test_G1_what_is_no_answer_shows_no_token(client: Client, reply: bytes) -> None:
    """G1: HTTP libraries keep headers with their errors; what is raised and traced holds none of them."""
    async with listening([], reply) as address:
        access = Access(f"http://{address}", bearer=FixedToken("CANARY/7"))
        async with client(access) as api:
            with pytest.raises(StoreUnavailable) as error:
                await api.get(PATH)
    assert_unseen(error.value)


def assert_unseen(error: BaseException) -> None:
    shown: BaseException | None = error
    while shown is not None:
        assert "CANARY" not in str(shown)
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
