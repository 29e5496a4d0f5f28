"""HTTP servers that answer like an API server in the cases that a real one cannot be brought to at will."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from hitl.kube.access import Access

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Access]:
    """A server on loopback that answers everything by `handler`, and the access to it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Access(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


def answer(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


def status(code: int, reason: str, message: str = "no", **details: Any) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


async def events(request: web.Request, *lines: Mapping[str, Any]) -> web.StreamResponse:
    """A watch that sends these and goes on; the handler ends it."""
    response = web.StreamResponse()
    await response.prepare(request)
    for line in lines:
        await response.write(json.dumps(line).encode() + b"\n")
    return response


def event(kind: str, name: str, version: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "object": an_object(name, version, **more)}


def an_object(name: str, version: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name, "resourceVersion": str(version)}, **more}


def a_page(version: int, *items: Mapping[str, Any], after: str = "") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version), "continue": after}, "items": list(items)}
