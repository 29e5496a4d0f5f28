"""What the thin client makes of a server's answers, and of servers that give none."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from hitl.errors import ApiError, InvalidInput, StoreUnavailable
from hitl.kube.access import Access, Impersonation
from hitl.kube.api import KubeAPI
from hitl.kube.credentials import TokenFile
from hitl.kube.paths import path_of
from kube.api_servers import a_page, an_object, answer, event, events, serving, status

PATH = path_of("v1", "configmaps", "shop")


async def test_writes_ask_for_strict_validation_and_name_their_manager() -> None:
    """C5: every write says fieldValidation=Strict and a field manager; patches say of which kind they are."""
    seen: list[tuple[str, str, str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        query = request.query
        seen.append((request.method, request.content_type, query["fieldValidation"], query["fieldManager"]))
        assert query.get("dryRun") == "All"
        return answer({})

    async with serving(handler) as access, KubeAPI.open(access) as api:
        await api.create(PATH, {}, dry_run=True)
        await api.replace(f"{PATH}/a", {}, dry_run=True)
        await api.merge_patch(f"{PATH}/a", {}, field_manager="m", dry_run=True)
        await api.json_patch(f"{PATH}/a", [], dry_run=True)
        await api.apply(f"{PATH}/a", {}, field_manager="ana", dry_run=True)
    assert seen == [
        ("POST", "application/json", "Strict", "hitl"),
        ("PUT", "application/json", "Strict", "hitl"),
        ("PATCH", "application/merge-patch+json", "Strict", "m"),
        ("PATCH", "application/json-patch+json", "Strict", "hitl"),
        ("PATCH", "application/apply-patch+yaml", "Strict", "ana"),
    ]


@pytest.mark.parametrize("code", [500, 502, 503, 504])
async def test_a_server_that_cannot_is_unavailable(code: int) -> None:
    """5xx is "could not tell", with the server's own words."""

    async def handler(_: web.Request) -> web.Response:
        return answer(status(code, "InternalError", "etcd is slow"), code)

    async with serving(handler) as access, KubeAPI.open(access) as api:
        with pytest.raises(StoreUnavailable, match="etcd is slow"):
            await api.get(PATH)


async def test_a_no_carries_status_reason_message_and_details() -> None:
    """Every other status from 400 on is ApiError, as the Status object has it; text of a proxy is kept as well."""

    async def handler(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(status=418, text="I am a teapot")
        return answer(status(422, "Invalid", "spec: wrong", causes=[{"field": "spec", "message": "wrong"}]), 422)

    async with serving(handler) as access, KubeAPI.open(access) as api:
        with pytest.raises(ApiError) as invalid:
            await api.create(PATH, {})
        with pytest.raises(ApiError, match="teapot"):
            await api.get(PATH)
    error = invalid.value
    assert (error.status, error.reason, error.message) == (422, "Invalid", "spec: wrong")
    assert error.details["causes"] == [{"field": "spec", "message": "wrong"}]


async def test_too_many_requests_is_waited_out_within_the_deadline() -> None:
    """429 did nothing: also a write is sent again after Retry-After, and is StoreUnavailable only past the deadline."""
    tries = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        if tries < 3 or request.method == "PATCH":
            return answer(status(429, "TooManyRequests"), 429, {"Retry-After": "0.01"})
        return answer({"made": tries})

    async with serving(handler) as access, KubeAPI.open(access) as api:
        assert await api.create(PATH, {}) == {"made": 3}
        with pytest.raises(StoreUnavailable, match="did not answer within"):
            await api.merge_patch(f"{PATH}/a", {}, deadline=0.3)


async def test_a_server_that_says_nothing_is_given_up_at_the_deadline() -> None:
    """No call waits for longer than its deadline; the message names server, method and path, and what to do."""

    async def handler(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(handler) as access, KubeAPI.open(access, deadline=0.2) as api:
        with pytest.raises(StoreUnavailable, match=r"did not answer within 0.2 s \(GET /api/v1/namespaces/shop"):
            await api.get(PATH)
        with pytest.raises(StoreUnavailable, match="read again to see whether it was taken"):
            await api.merge_patch(f"{PATH}/a", {}, deadline=0.1)


async def test_an_address_where_nobody_listens_is_unavailable() -> None:
    """A refused connection says so in words."""
    async with KubeAPI.open(Access("http://127.0.0.1:1")) as api:
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await api.get(PATH)


async def test_a_read_survives_a_connection_that_died_while_idle_and_a_write_is_not_sent_twice() -> None:
    """A kept-alive connection that the server closed: GET is tried once more, POST and PATCH reach it at most once."""
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.method)
        if len(seen) in (2, 4):  # the second use of a connection: gone without an answer
            assert request.transport is not None
            request.transport.abort()
        return answer({})

    async with serving(handler) as access, KubeAPI.open(access) as api:
        await api.get(PATH)
        await api.get(PATH)
        assert seen == ["GET", "GET", "GET"]
        with pytest.raises(StoreUnavailable, match="closed the connection"):
            await api.create(PATH, {})
    assert seen == ["GET", "GET", "GET", "POST"]


async def test_a_renewed_token_is_read_again(tmp_path: Path) -> None:
    """A token that the server no longer takes is read again from its file, once, and the call goes on."""
    file = tmp_path / "token"
    file.write_text("old\n")
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        if seen[-1] == "Bearer old" and len(seen) > 1:
            file.write_text("new\n")
        return answer({}) if seen[-1] == "Bearer new" or len(seen) == 1 else answer(status(401, "Unauthorized"), 401)

    async with serving(handler) as access, KubeAPI.open(replace(access, bearer=TokenFile(file))) as api:
        await api.get(PATH)
        await api.create(PATH, {})
    assert seen == ["Bearer old", "Bearer old", "Bearer new"]


async def test_a_watch_that_was_refused_for_its_token_is_tried_with_a_newer_one(tmp_path: Path) -> None:
    """401 ends a watch, and the next one reads the token again though the old one would still have been held."""
    file = tmp_path / "token"
    file.write_text("old")

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] == "Bearer old":
            file.write_text("new")
            return answer(status(401, "Unauthorized"), 401)
        return await events(request, event("ADDED", "a", 8))

    async with serving(handler) as access, KubeAPI.open(replace(access, bearer=TokenFile(file))) as api:
        with pytest.raises(ApiError):
            await anext(api.watch(PATH))
        assert [kind async for kind, _ in api.watch(PATH)] == ["ADDED"]


async def test_a_token_that_stays_refused_is_a_no(tmp_path: Path) -> None:
    """401 for a token that does not change is ApiError after one more look, and no endless loop."""
    file = tmp_path / "token"
    file.write_text("stolen")

    async def handler(_: web.Request) -> web.Response:
        return answer(status(401, "Unauthorized"), 401)

    async with serving(handler) as access, KubeAPI.open(replace(access, bearer=TokenFile(file))) as api:
        for _ in range(2):
            with pytest.raises(ApiError) as error:
                await api.get(PATH)
            assert error.value.status == 401


async def test_impersonation_is_sent_as_headers() -> None:
    """User, every group, uid and extras; a slash in an extra's key is percent-encoded."""
    seen: list[tuple[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.extend((k, v) for k, v in request.headers.items() if k.startswith("Impersonate"))
        return answer({})

    who = Impersonation("ana", ("leads", "all"), "u-1", {"hitl.dev/amr": ("hwk", "pwd")})
    async with serving(handler) as access, KubeAPI.open(replace(access, impersonate=who)) as api:
        await api.get(PATH)
    assert seen == [
        ("Impersonate-User", "ana"),
        ("Impersonate-Group", "leads"),
        ("Impersonate-Group", "all"),
        ("Impersonate-Uid", "u-1"),
        ("Impersonate-Extra-hitl.dev%2Famr", "hwk"),
        ("Impersonate-Extra-hitl.dev%2Famr", "pwd"),
    ]


async def test_an_answer_without_end_is_bounded() -> None:
    """A server that sends and sends is cut off at 64 MiB instead of filling the memory."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * (1 << 20))

    async with serving(handler) as access, KubeAPI.open(access, deadline=60) as api:
        with pytest.raises(StoreUnavailable, match="more than 64 MiB"):
            await api.get(PATH)


async def test_a_list_goes_through_all_pages() -> None:
    """`list` follows continue tokens with the same selectors, and ends with the last page."""

    async def handler(request: web.Request) -> web.Response:
        assert request.query["labelSelector"] == "a=b"
        assert request.query["limit"] == "2"
        if request.query.get("continue") == "more":
            return answer(a_page(9, an_object("c", 3)))
        return answer(a_page(9, an_object("a", 1), an_object("b", 2), after="more"))

    async with serving(handler) as access, KubeAPI.open(access) as api:
        names = [each["metadata"]["name"] async for each in api.list(PATH, {"labelSelector": "a=b"}, limit=2)]
    assert names == ["a", "b", "c"]


async def test_a_watch_gives_events_and_raises_what_the_server_says_in_between() -> None:
    """Events arrive as (type, object); an ERROR event is the refusal that it carries: 410 or 5xx."""

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.query["resourceVersion"] == "7"
        code = 410 if "old" in request.path else 500
        error = {"type": "ERROR", "object": status(code, "Expired", "too old")}
        return await events(request, event("ADDED", "a", 8), error)

    async with serving(handler) as access, KubeAPI.open(access) as api:
        for path, wanted in (("/old", ApiError), ("/broken", StoreUnavailable)):
            watch = api.watch(path, version="7")
            kind, found = await anext(watch)
            assert (kind, found["metadata"]["name"]) == ("ADDED", "a")
            with pytest.raises(wanted, match="too old"):
                await anext(watch)


async def test_a_silent_watch_ends_at_its_idle_time() -> None:
    """Silence is not an end: after `idle` seconds without a byte it is StoreUnavailable."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await events(request, event("ADDED", "a", 8))
        await asyncio.Event().wait()
        return response

    async with serving(handler) as access, KubeAPI.open(access) as api:
        watch = api.watch(PATH, idle=0.2)
        async with aclosing(watch):
            assert (await anext(watch))[0] == "ADDED"
            with pytest.raises(StoreUnavailable, match=r"was silent for 0\.2 s"):
                await anext(watch)


async def test_the_servers_time_is_known_from_its_answers() -> None:
    """`server_time` is the Date of the last answer and what has passed since; None before the first."""

    async def handler(_: web.Request) -> web.Response:
        return answer({}, headers={"Date": "Fri, 01 May 2026 02:47:10 GMT"})

    async with serving(handler) as access, KubeAPI.open(access) as api:
        assert api.server_time() is None
        await api.get(PATH)
        now = api.server_time()
    assert now is not None
    assert 0 <= (now - datetime(2026, 5, 1, 2, 47, 10, tzinfo=UTC)).total_seconds() < 30


def test_paths_are_those_of_the_api() -> None:
    """Core and group paths, with namespace, name and subresource; a name cannot step out of its place."""
    assert path_of("v1", "pods") == "/api/v1/pods"
    assert path_of("v1", "pods", "shop", "a", "status") == "/api/v1/namespaces/shop/pods/a/status"
    assert path_of("hitl.dev/v1alpha1", "toolservers", "shop") == "/apis/hitl.dev/v1alpha1/namespaces/shop/toolservers"
    assert path_of("v1", "pods", "shop", "a/../b") == "/api/v1/namespaces/shop/pods/a%2F..%2Fb"
    with pytest.raises(ValueError, match="needs a name"):
        path_of("v1", "pods", "shop", "..")


async def test_H1_a_token_that_is_away_for_a_moment_is_a_server_that_cannot_be_asked(tmp_path: Path) -> None:
    """H1: kubelet puts a new one into the file; until then nothing is sent, and the error names file and next step."""

    async def handler(request: web.Request) -> web.Response:
        return answer({"token": request.headers["Authorization"]})

    file = tmp_path / "token"
    async with serving(handler) as access, KubeAPI.open(replace(access, bearer=TokenFile(file))) as api:
        for content in (None, "", "\x00"):
            if content is not None:
                file.write_text(content)
            with pytest.raises(StoreUnavailable, match=rf"cannot be asked \(GET {PATH}\): {file}"):
                await api.get(PATH)
        file.write_text("good")
        assert await api.get(PATH) == {"token": "Bearer good"}


async def test_what_has_no_json_form_is_refused_in_words() -> None:
    """A whole number of more than 64 bits: the error says what was to be written, and what to do."""

    async def handler(_: web.Request) -> web.Response:
        raise AssertionError("nothing is sent")

    async with serving(handler) as access, KubeAPI.open(access) as api:
        with pytest.raises(InvalidInput, match=r"PATCH .*/a: .* has no JSON form .*64-bit.*as text"):
            await api.merge_patch(f"{PATH}/a", {"data": {"amount": 10**25}})


async def test_I13_of_large_objects_fewer_are_asked_for_at_once() -> None:
    """I13: a page that is more than is read at once is asked for again with fewer items, down to a single one."""
    limits: list[int] = []

    async def handler(request: web.Request) -> web.Response:
        limit = int(request.query["limit"])
        limits.append(limit)
        return answer(a_page(7, *[an_object("a", 7, text="x" * (3 << 20))] * min(limit, 30)))

    async with serving(handler) as access, KubeAPI.open(access, deadline=60) as api:
        page = await api.list_page(PATH, limit=500)
    assert limits == [500, 125, 31, 7]
    assert len(page["items"]) == 7
