"""The mirror against servers that do not stream lists, break their word, go back in time, or cut connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web

from hitl.errors import ApiError, HitlError, InvalidInput, StoreUnavailable
from hitl.kube.api import KubeAPI
from hitl.kube.reflector import INITIAL_EVENTS_END, Reflector
from kube.api_servers import a_page, an_object, answer, event, events, serving, status

Watching = Callable[[web.Request], Awaitable[web.StreamResponse]]
END = {
    "type": "BOOKMARK",
    "object": {"metadata": {"resourceVersion": "10", "annotations": {INITIAL_EVENTS_END: "true"}}},
}


class Script:
    """A server that answers by what is asked for, and notes it: "stream", "page AFTER", "watch FROM"."""

    def __init__(self, *, stream: Watching, pages: dict[str, Any], watch: Watching) -> None:
        self.asked: list[str] = []
        self.stream, self.pages, self.watch = stream, pages, watch

    async def serve(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if query.get("sendInitialEvents"):
            self.asked.append("stream")
            return await self.stream(request)
        if query.get("watch"):
            self.asked.append(f"watch {query['resourceVersion']}")
            return await self.watch(request)
        self.asked.append(f"page {query.get('continue', '')}".strip())
        if "PartialObjectMetadata;" in request.headers["Accept"]:
            wrong = "you requested PartialObjectMetadata, but the requested object is a list"
            return answer(status(406, "NotAcceptable", wrong), 406)
        return answer(self.pages[query.get("continue", "")])


async def not_served(_: web.Request) -> web.StreamResponse:
    return answer(status(422, "Invalid", "sendInitialEvents is forbidden for watch"), 422)


async def stays_open(request: web.Request, *lines: dict[str, Any]) -> web.StreamResponse:
    response = await events(request, *lines)
    await asyncio.Event().wait()
    return response


@asynccontextmanager
async def mirroring(
    script: Script,
    *,
    keep: Callable[[dict[str, Any]], str | None] = lambda found: found["metadata"]["resourceVersion"],
    metadata_only: bool = False,
) -> AsyncIterator[tuple[Reflector[str], list[HitlError]]]:
    troubles: list[HitlError] = []
    async with serving(script.serve) as access, KubeAPI.open(access) as api:
        reflector: Reflector[str] = Reflector(
            api, "/things", keep=keep, on_trouble=troubles.append, metadata_only=metadata_only
        )
        running = asyncio.create_task(reflector.run())
        try:
            yield reflector, troubles
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):  # none of these takes a second, unless others want the machine
        while not is_so():  # noqa: ASYNC110 - what it waits for happens on a socket
            await asyncio.sleep(0.005)


async def asked_a_second(script: Script) -> float:
    """How often the server is asked in a second, over as long as the machine takes to let one pass."""
    loop = asyncio.get_running_loop()
    began, before = loop.time(), len(script.asked)
    await asyncio.sleep(1)
    return (len(script.asked) - before) / (loop.time() - began)


def shown(reflector: Reflector[str]) -> dict[str, str]:
    return {name: kept for (_, name), kept in reflector.items.items()}


async def test_where_lists_are_not_streamed_pages_are_read() -> None:
    """A server without WatchList is no trouble: pages, then a watch from the first page's version; and it is kept."""
    script = Script(
        stream=not_served,
        pages={"": a_page(10, an_object("a", 1), after="more"), "more": a_page(12, an_object("b", 2))},
        watch=lambda request: stays_open(request, event("DELETED", "a", 11)),
    )
    async with mirroring(script) as (reflector, troubles):
        await until(lambda: shown(reflector) == {"b": "2"})
        assert reflector.synced.is_set()
        assert reflector.version == "11"
        assert script.asked == ["stream", "page", "page more", "watch 10"]
        assert troubles == []


async def test_a_mirror_is_synced_only_when_everything_was_sent() -> None:
    """Before the bookmark that ends the initial events nothing counts as complete."""
    complete = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = await events(request, event("ADDED", "a", 1), event("ADDED", "b", 2))
        await complete.wait()
        await response.write(json.dumps(END).encode() + b"\n")
        await asyncio.Event().wait()
        return response

    script = Script(stream=stream, pages={}, watch=stays_open)
    async with mirroring(script) as (reflector, _):
        await until(lambda: len(reflector.items) == 2)
        assert not reflector.synced.is_set()
        complete.set()
        await until(reflector.synced.is_set)
        assert reflector.version == "10"


async def test_a_stream_that_ends_before_its_bookmark_is_replaced_by_pages() -> None:
    """A server that never says that this was all is reported and asked for pages instead."""
    script = Script(
        stream=lambda request: events(request, event("ADDED", "a", 1)),
        pages={"": a_page(10, an_object("a", 1))},
        watch=stays_open,
    )
    async with mirroring(script) as (reflector, troubles):
        await until(reflector.synced.is_set)
        assert isinstance(troubles[0], StoreUnavailable)
        assert script.asked[:2] == ["stream", "page"]


async def test_too_old_a_version_leads_to_a_new_look_in_which_deletions_are_found() -> None:
    """410 in the middle of a watch: the next look drops what is gone, and tells no change of what stayed."""
    changes: list[tuple[str, str | None, str | None]] = []

    async def watch(request: web.Request) -> web.StreamResponse:
        if request.query["resourceVersion"] == "20":
            return await stays_open(request)
        return await events(request, {"type": "ERROR", "object": status(410, "Expired")})

    script = Script(
        stream=not_served,
        pages={"": a_page(10, an_object("gone", 1), an_object("stays", 2))},
        watch=watch,
    )
    async with mirroring(script) as (reflector, troubles):
        reflector._on_change = lambda key, was, now: changes.append((key[1], was, now))
        await until(reflector.synced.is_set)
        script.pages = {"": a_page(20, an_object("stays", 2))}
        await until(lambda: shown(reflector) == {"stays": "2"})
        await until(lambda: script.asked[-1] == "watch 20")
        assert ("gone", "1", None) in changes
        assert all(name != "stays" or was is None for name, was, _ in changes)
        assert any(isinstance(trouble, ApiError) for trouble in troubles)


@pytest.mark.parametrize("metadata_only", [False, True])
async def test_D2_a_storage_that_was_set_back_is_noticed_in_silence(metadata_only: bool) -> None:
    """D2: a watch from a version of the future hears nothing: its orderly end without a word is checked and looked
    into, and a list is asked for as a list, whatever the watch asked for.
    """
    script = Script(stream=not_served, pages={"": a_page(100, an_object("a", 99))}, watch=events)
    async with mirroring(script, metadata_only=metadata_only) as (reflector, troubles):
        await until(reflector.synced.is_set)
        script.pages = {"": a_page(5, an_object("restored", 3))}
        await until(lambda: shown(reflector) == {"restored": "3"})
        assert reflector.version == "5"
        assert any("set back" in str(trouble) for trouble in troubles)


@pytest.mark.parametrize("problem", [InvalidInput("odd"), KeyError("odd"), OverflowError("odd"), RecursionError("odd")])
async def test_H1_what_keep_cannot_read_is_left_out_and_reported(problem: Exception) -> None:
    """H1: one object that cannot be read stops nothing: it is not kept, and is told by its name."""

    def keep(found: dict[str, Any]) -> str | None:
        if found["metadata"]["name"] == "odd":
            raise problem
        return "kept"

    script = Script(
        stream=lambda request: stays_open(request, event("ADDED", "odd", 1), event("ADDED", "fine", 2), END),
        pages={},
        watch=stays_open,
    )
    async with mirroring(script, keep=keep) as (reflector, troubles):
        await until(reflector.synced.is_set)
        assert shown(reflector) == {"fine": "kept"}
        (told,) = map(str, troubles)
        assert told.startswith("/things: shop/odd is passed over: ")
        assert script.asked == ["stream"]


async def test_H1_what_somebody_does_with_the_news_of_one_object_stops_nothing() -> None:
    """H1: a listener that stumbles over one object hears of the next; the mirror is right all the same."""

    def changed(key: tuple[str, str], _was: str | None, _now: str | None) -> None:
        if key[1] == "odd":
            raise ValueError("stumbled")

    script = Script(stream=not_served, pages={"": a_page(1)}, watch=stays_open)
    async with mirroring(script) as (reflector, troubles):
        reflector._on_change = changed
        script.watch = lambda request: stays_open(request, event("ADDED", "odd", 2), event("ADDED", "fine", 3))
        await until(lambda: shown(reflector) == {"odd": "2", "fine": "3"})
        assert "shop/odd is passed over: ValueError: stumbled" in str(troubles[0])


async def test_H1_a_watch_that_tells_nonsense_is_begun_again_in_growing_pauses() -> None:
    """H1: lines that are no events end neither the mirror nor its follower, and the server is not pestered."""

    async def nonsense(request: web.Request) -> web.StreamResponse:
        response = await events(request, event("ADDED", "a", 11))
        await response.write(b'{"type":"ADDED"}\n' if len(script.asked) % 2 else b"<html>\n")
        return response

    script = Script(stream=not_served, pages={"": a_page(10)}, watch=nonsense)
    async with mirroring(script) as (reflector, troubles):
        await until(lambda: len(troubles) >= 3)
        assert shown(reflector) == {"a": "11"}
        assert all(isinstance(trouble, StoreUnavailable) for trouble in troubles)
        assert "no event" in str(troubles[0])
        assert await asked_a_second(script) <= 4


async def test_a_server_that_ends_every_watch_at_once_is_not_pestered() -> None:
    """Orderly but instant ends are followed by growing pauses: a second has room for few of them."""
    script = Script(
        stream=lambda request: events(request, END),
        pages={"": a_page(10)},
        watch=events,
    )
    async with mirroring(script) as (reflector, _):
        await until(reflector.synced.is_set)
        await until(lambda: sum(asked.startswith("watch") for asked in script.asked) >= 3)
        assert await asked_a_second(script) <= 8
