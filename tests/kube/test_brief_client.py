"""The client of programs that are gone in a moment answers, refuses and gives up as the one that stays."""

import asyncio
import gzip
import json
import socket
from dataclasses import replace

import pytest
from aiohttp import web

from hitl.errors import ApiError, StoreUnavailable
from hitl.kube.access import Access, Impersonation
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from kube.api_servers import answer, serving, status

PATH = path_of("v1", "configmaps", "shop")


async def test_calls_go_out_together_as_the_one_who_is_impersonated() -> None:
    """Several at once, every header of the impersonation included, groups each in one of its own."""
    seen: list[tuple[str, list[str]]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.headers["Impersonate-User"], request.headers.getall("Impersonate-Group")))
        return answer({"path": request.path_qs})

    async with serving(handler) as access:
        as_ana = replace(access, impersonate=Impersonation("ana", ("a", "b")))
        async with KubeAPI.brief(as_ana) as api:
            answers = await asyncio.gather(*(api.get(PATH, {"n": f"{n} &"}) for n in range(8)))
    assert sorted(each["path"] for each in answers) == [f"{PATH}?n={n}+%26" for n in range(8)]
    assert seen == [("ana", ["a", "b"])] * 8


async def test_what_is_written_arrives_and_what_is_packed_is_unpacked() -> None:
    """A body with its type goes out; a gzip answer comes back as what it was."""

    async def handler(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "gzip"
        body = {"got": await request.json(), "type": request.content_type}
        packed = gzip.compress(json.dumps(body).encode())
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    async with serving(handler) as access, KubeAPI.brief(access) as api:
        assert await api.create(PATH, {"a": "ü"}) == {"got": {"a": "ü"}, "type": "application/json"}


async def test_no_and_cannot_are_told_apart() -> None:
    """A 403 is ApiError with the server's words, a 500 StoreUnavailable."""

    async def handler(request: web.Request) -> web.Response:
        code = 403 if request.method == "GET" else 500
        return answer(status(code, "Whatever", "in its own words"), code)

    async with serving(handler) as access, KubeAPI.brief(access) as api:
        with pytest.raises(ApiError, match="in its own words") as refused:
            await api.get(PATH)
        with pytest.raises(StoreUnavailable, match="in its own words"):
            await api.create(PATH, {})
    assert refused.value.status == 403


async def test_a_server_that_says_nothing_is_given_up_at_the_deadline() -> None:
    """No call waits for longer, and closing the client does not wait for the thread that does."""

    async def handler(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    loop = asyncio.get_running_loop()
    async with serving(handler) as access:
        began = loop.time()
        async with KubeAPI.brief(access, deadline=30) as api:
            with pytest.raises(StoreUnavailable, match=r"did not answer within 0.2 s"):
                await api.get(PATH, deadline=0.2)
        await loop.shutdown_default_executor()
    assert loop.time() - began < 20


async def test_a_server_to_which_there_is_no_connection_is_not_said_to_be_slow() -> None:
    """The time it took is said: five seconds for a handshake that nobody answers, not the ten of the call."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()  # connections are taken up by the kernel, and nobody ever says a word of TLS
        access = Access(f"https://127.0.0.1:{deaf.getsockname()[1]}", verify=False)
        async with KubeAPI.brief(access) as api:
            with pytest.raises(StoreUnavailable, match=r"could not be connected to within 5 s; is it up"):
                await api.get(PATH)


async def test_an_address_where_nobody_listens_is_unavailable() -> None:
    """A refused connection says so in words."""
    async with KubeAPI.brief(Access("http://127.0.0.1:1")) as api:
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await api.get(PATH)


async def test_a_larger_answer_than_anybody_needs_is_refused_before_it_fills_the_memory() -> None:
    """F1 for API servers: 65 MiB out of 64 KB of gzip is StoreUnavailable."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(bytes(65 << 20)), headers={"Content-Encoding": "gzip"})

    async with serving(handler) as access, KubeAPI.brief(access, deadline=60) as api:
        with pytest.raises(StoreUnavailable, match="more than 64 MiB"):
            await api.get(PATH)
