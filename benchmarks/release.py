"""From a reviewer's patch to the agent's answer, through a real API server with all admission policies on: at a steady
rate, and with everything at once. Beside it, in the same run, what the two writes cost alone.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from statistics import median, quantiles
from typing import Any

import orjson
from grpc import aio

from benchmarks.cluster import Running, running
from benchmarks.rows import Row, ceiling
from control_plane.demo.objects import NAMESPACE
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind
from hitl.errors import NoLongerPending, StoreUnavailable
from hitl.stores.kubernetes import KubernetesStore
from hitl.v1 import gate_pb2, gate_pb2_grpc

RATE = 20  # decisions a second
STEADY = 400
AT_ONCE = 200
_HANDS = 16  # reviewers who decide at the same time
_BUDGET_MS = 250.0
_GIVE_UP = 300.0  # seconds
_LOOK_AGAIN = 0.2  # seconds


def run() -> list[Row]:
    """Latency at the steady rate, decisions a second at saturation."""
    with running() as stage:
        return asyncio.run(_measure(stage))


async def _measure(stage: Running) -> list[Row]:
    address = await asyncio.to_thread(stage.sidecar)
    async with aio.insecure_channel(address) as channel, _reviewers(stage) as reviewers:
        stub: Any = gate_pb2_grpc.GateServiceStub(channel)  # type: ignore[no-untyped-call]
        await _decided(stub, reviewers, 20, rate=RATE, first=0)  # connections, caches
        steady = await _decided(stub, reviewers, STEADY, rate=RATE, first=1_000)
        began = time.perf_counter()
        burst = await _decided(stub, reviewers, AT_ONCE, rate=0, first=10_000)
        seconds = time.perf_counter() - began - min(burst.opened, default=0.0)
    *_, p99 = quantiles(steady.took, n=100)
    return [
        Row(f"reviewer's patch to agent's answer, {RATE} decisions/s, p50", f"{median(steady.took):.0f} ms"),
        ceiling(f"reviewer's patch to agent's answer, {RATE} decisions/s, p99", p99, _BUDGET_MS, "ms", digits=0),
        Row("  of which the reviewer's own write, p50", f"{median(steady.wrote):.0f} ms"),
        Row(f"{AT_ONCE} decisions at once by {_HANDS} reviewers, decisions a second", f"{AT_ONCE / seconds:.0f}"),
        Row("  patch to answer, p50", f"{median(burst.took):.0f} ms"),
        Row(
            "calls tried / lost / released twice",
            f"{STEADY + AT_ONCE} / {steady.lost + burst.lost} / {steady.twice + burst.twice}",
            f"{STEADY + AT_ONCE} / 0 / 0",
            steady.lost + burst.lost + steady.twice + burst.twice == 0,
        ),
    ]


class Decided:
    """What became of a number of calls; times in ms, `opened` in seconds."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.wrote: list[float] = []
        self.opened: list[float] = []
        self.lost = 0
        self.twice = 0


async def _decided(stub: Any, reviewers: list[KubernetesStore], count: int, *, rate: int, first: int) -> Decided:
    """Hold `count` calls, approve them at `rate` a second (0: all at once), and see each of them answered."""
    found = Decided()
    began = time.perf_counter()
    calls = {n: asyncio.ensure_future(stub.Check(_request(first + n), timeout=_GIVE_UP)) for n in range(count)}
    waiting = await _waiting(reviewers[0], {f"b-{first + n}" for n in calls})
    found.opened.append(time.perf_counter() - began)
    hands = asyncio.Semaphore(_HANDS)
    start = time.perf_counter()

    async def approve(number: int) -> None:
        request = waiting[f"b-{first + number}"]
        if rate:
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        async with hands:
            patched = time.perf_counter()
            vote = Decision("ana@example.com", DecisionKind.APPROVED, request.spec.digest, request.uid)
            await _vote(reviewers[number % _HANDS], request, vote)
            found.wrote.append(1000 * (time.perf_counter() - patched))
        answer = await calls[number]
        found.took.append(1000 * (time.perf_counter() - patched))
        if answer.outcome != gate_pb2.OUTCOME_ALLOWED:
            found.lost += 1
            print(f"{answer.handle}: {answer.reason_code} {answer.message}", file=sys.stderr)
        again = await stub.Check(_request(first + number), timeout=_GIVE_UP)
        found.twice += again.outcome == gate_pb2.OUTCOME_ALLOWED

    await asyncio.gather(*(approve(number) for number in calls))
    return found


async def _vote(reviewer: KubernetesStore, request: ApprovalRequest, vote: Decision) -> None:
    """As a reviewer does: once more where the server did not answer in time."""
    async with asyncio.timeout(_GIVE_UP):
        while True:
            try:
                await reviewer.decide(request.namespace, request.name, vote)
            except StoreUnavailable:
                continue
            except NoLongerPending:  # the first try was taken, and the call has run
                pass
            return


async def _waiting(store: KubernetesStore, wanted: set[str]) -> dict[str, ApprovalRequest]:
    """The requests of these calls, by call_id, once all are open."""
    async with asyncio.timeout(_GIVE_UP):
        while True:
            with contextlib.suppress(StoreUnavailable):
                found = {each.spec.call.call_id: each for each in await store.list(NAMESPACE, pending_only=True)}
                if wanted <= found.keys():
                    return found
            await asyncio.sleep(_LOOK_AGAIN)


@asynccontextmanager
async def _reviewers(stage: Running) -> AsyncIterator[list[KubernetesStore]]:
    """Connections of one reviewer, as many as hands."""
    access = stage.access("ana@example.com", ["support"])
    async with KubernetesStore.open(access, clock=lambda: datetime.now(UTC)) as store:
        yield [store] * _HANDS


def _request(number: int) -> gate_pb2.CheckRequest:
    arguments = {"customer": f"C-{number}", "amount": 15000, "note": "x" * 450}
    call = gate_pb2.ToolCall(
        server="payments", tool="refund", arguments_json=orjson.dumps(arguments), call_id=f"b-{number}"
    )
    return gate_pb2.CheckRequest(call=call)
