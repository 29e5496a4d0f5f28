"""A freeze through the whole of it: operators and sidecars as processes, one replica killed, the API server away."""

import asyncio
import json
import signal
import time
from typing import Any

import pytest

from cluster.freezing import freeze, thaw
from cluster.gated_pods import until
from cluster.operators import Installation, SidecarProcess
from control_plane.running import ControlPlane
from hitl.approvals.conditions import CancelReason, outcome
from hitl.approvals.requests import State

pytestmark = pytest.mark.timeout(600)


async def test_I8_it_stops_what_runs_what_waits_and_what_was_approved(
    peopled: Installation, control_plane: ControlPlane
) -> None:
    """I1, I8: at both replicas; with one of them killed and the API server away it stays so; thawed, calls run."""
    namespace = peopled.pods.namespace
    first, second = await peopled.replicas("a", "b")
    one, other = await peopled.sidecar(first, second), await peopled.sidecar(second, first)
    await until(lambda: _is_asked(other))  # and nobody waits on it
    (unheld,) = await peopled.pending()
    await peopled.approve(unheld)
    await peopled.state(unheld, State.APPROVED)
    waiting = asyncio.create_task(one.insist("t-1"))
    (held,) = await peopled.pending()
    for sidecar in (one, other):
        assert await sidecar.check("read-before", "get_refund") == "ALLOWED"

    began = time.monotonic()
    freeze(control_plane, namespace, "inc-88", reason="INC-88")
    stored = time.monotonic()
    for sidecar in (one, other):
        await until(lambda sidecar=sidecar: _is_refused(sidecar))
    print(f"kubectl returned after {stored - began:.2f} s, all refused {time.monotonic() - stored:.2f} s later")  # noqa: T201
    assert (await waiting, one.reasons["t-1"]) == ("CANCELLED", "FROZEN")
    for request in (held, unheld):
        ended = await peopled.state(request, State.CANCELLED)
        condition = outcome(ended.status.conditions, State.CANCELLED)
        assert condition is not None
        assert (condition.reason, condition.message) == (CancelReason.FROZEN, 'frozen by admin: "INC-88"')
    await until(lambda: _told(control_plane, namespace, "Frozen"))
    assert 'hitl_freezes{scope="namespace"}' in (await second.get("/metrics"))[1]

    await first.end(signal.SIGKILL)
    assert await one.check("t-2") == "DENIED"
    control_plane.freeze()
    try:
        assert await one.check("t-3") == "DENIED"
        assert await other.check("t-4", "get_refund") == "DENIED"
    finally:
        control_plane.thaw()
    assert {one.reasons[each] for each in ("t-2", "t-3")} == {"FROZEN"}
    late = await peopled.sidecar(second)
    assert await late.check("t-5", "get_refund") == "DENIED"

    thaw(control_plane, namespace, "inc-88")
    await until(lambda: _is_allowed(one))
    await until(lambda: _told(control_plane, namespace, "Thawed"))
    assert one.ran.count("t-1") == 0
    assert other.ran.count("t-0") == 0


async def _is_asked(sidecar: SidecarProcess) -> bool:
    return await sidecar.check("t-0", wait=False) == "PENDING"


async def _is_refused(sidecar: SidecarProcess) -> bool:
    answer = await sidecar.check("probe", "get_refund")
    return (answer, sidecar.reasons["probe"]) == ("DENIED", "FROZEN")


async def _is_allowed(sidecar: SidecarProcess) -> bool:
    return await sidecar.check("probe", "get_refund") == "ALLOWED"


async def _told(plane: ControlPlane, namespace: str, reason: str) -> list[dict[str, Any]]:
    done = await asyncio.to_thread(plane.kubectl, "-n", namespace, "get", "events", "-o", "json")
    found = json.loads(done.stdout)["items"] if done.returncode == 0 else []
    return [
        each
        for each in found
        if each["reason"] == reason and "frozen by admin" in each.get("message", each.get("note", ""))
    ]
