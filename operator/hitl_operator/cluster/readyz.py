"""What the kubelet and Prometheus ask: /healthz, /readyz with the reasons, /metrics."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from hitl.errors import Unavailable

Checks: TypeAlias = Mapping[str, Callable[[], str]]
"""By name: why it is not ready; empty where it is."""
Remarks: TypeAlias = Callable[[], Mapping[str, str]]
"""By name: what somebody should see to though it takes nothing from being ready."""


def open_points(checks: Checks) -> dict[str, str]:
    """What is not ready, by name."""
    return {name: why for name, check in checks.items() if (why := check())}


@asynccontextmanager
async def serve_probes(
    address: tuple[str, int], checks: Checks, remarks: Remarks, registry: CollectorRegistry, leads: Callable[[], bool]
) -> AsyncIterator[int]:
    """Answer while the block runs; gives the port. `leads`: whether this replica does, which is neither good nor bad.

    Raises:
        Unavailable: HTTP_ADDRESS, where the address cannot be bound.
    """
    application = web.Application()
    application.add_routes(
        [
            web.get("/healthz", _alive),
            web.get("/readyz", lambda _request: _readiness(checks, remarks, leads)),
            web.get("/metrics", lambda _request: _metrics(registry)),
        ]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    host, port = address
    try:
        site = web.TCPSite(runner, host or None, port)
        try:
            await site.start()
        except OSError as error:
            raise Unavailable("HTTP_ADDRESS", f"--http {host}:{port}: cannot be bound ({error.strerror})") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _alive(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _readiness(checks: Checks, remarks: Remarks, leads: Callable[[], bool]) -> web.Response:
    missing = open_points(checks)
    lines = [f"[-] {name}: {missing[name]}" if name in missing else f"[+] {name}" for name in checks]
    lines += [f"[!] {name}: {remark}" for name, remark in remarks().items()]
    lines.append(f"[ ] lease: {'this replica leads' if leads() else 'another replica leads, or none'}")
    return web.Response(status=503 if missing else 200, text="\n".join(lines) + "\n")


async def _metrics(registry: CollectorRegistry) -> web.Response:
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
