"""What stored requests cost the operator: memory for each that has ended and for each that is open."""

import asyncio
import time
from datetime import UTC, datetime

from benchmarks.cluster import Running, running
from benchmarks.processes import resident
from benchmarks.rows import Row, ceiling
from hitl.approvals.conditions import CancelReason
from hitl.approvals.opening import first_status
from hitl.approvals.requests import CallShown, Kind, RequestSpec
from hitl.approvals.settle import cancel
from hitl.errors import AlreadyExists, Conflict, StoreUnavailable
from hitl.policy.verdicts import Requirement
from hitl.stores.kubernetes import KubernetesStore

RESOLVED = 8_000
OPEN = 2_000
WARM = 500  # before anything is measured that grows: what a program needs once is not for each request
_AT_ONCE = 16
_AGAIN = 1.0  # seconds until a request that a busy server did not answer in time is tried again
_WITHIN = 900.0  # seconds within which all requests have to be stored
_SETTLED = 20.0  # seconds without news after which memory is read


def run() -> list[Row]:
    """KiB for each request, resolved and open; a leader's start over all of them."""
    with running() as stage:
        empty = _after_restart(stage)
        asyncio.run(fill(stage, WARM, ends=True))
        warm = resident(stage.operator)
        asyncio.run(fill(stage, RESOLVED - WARM, ends=True, first=WARM))
        grown = resident(stage.operator)
        resolved = _after_restart(stage)
        asyncio.run(fill(stage, OPEN, ends=False))
        opened = _settled(stage)
        began = time.perf_counter()
        restarted = _after_restart(stage)
        seconds = time.perf_counter() - began - _SETTLED
    return [
        Row("operator memory with nothing stored", f"{empty:.0f} MiB"),
        ceiling(
            f"operator memory for each of {RESOLVED} resolved requests, after a restart",
            max(0.0, 1024 * (resolved - empty) / RESOLVED), 1.0, "KiB",
        ),
        ceiling(
            f"  for who saw them come and go, after the first {WARM}",
            max(0.0, 1024 * (grown - warm) / (RESOLVED - WARM)), 1.0, "KiB",
        ),
        ceiling(f"operator memory for each of {OPEN} open requests", 1024 * (opened - resolved) / OPEN, 25.0, "KiB"),
        ceiling("  after a restart", 1024 * (restarted - empty) / OPEN, 25.0, "KiB"),
        Row(f"start of a replica with {RESOLVED + OPEN} stored requests, until ready", f"{seconds:.1f} s"),
    ]  # fmt: skip


def _after_restart(stage: Running) -> float:
    stage.replicas.restart("hub-1")
    return _settled(stage)


def _settled(stage: Running) -> float:
    time.sleep(_SETTLED)
    return resident(stage.operator)


async def fill(stage: Running, count: int, *, ends: bool, first: int = 0) -> None:
    """Store `count` requests as the operator does, numbered from `first`; `ends`: they are over already."""
    numbers = iter(range(first, first + count))
    stored = 0
    async with KubernetesStore.open(stage.as_operator(), clock=lambda: datetime.now(UTC)) as store:

        async def hand() -> None:
            nonlocal stored
            for number in numbers:
                await _store(store, number, ends=ends)
                stored += 1

        try:
            async with asyncio.timeout(_WITHIN), asyncio.TaskGroup() as hands:
                for _ in range(_AT_ONCE):
                    hands.create_task(hand())
        except TimeoutError:
            raise RuntimeError(
                f"only {stored} of {count} requests were stored within {_WITHIN:.0f} s; measure on a machine that has "
                "less to do"
            ) from None


async def _store(store: KubernetesStore, number: int, *, ends: bool) -> None:
    """Store one; again where a busy server did not say in time that it is stored."""
    spec = _spec(number)
    name = f"refund-{'r' if ends else 'o'}{number:09d}"
    while True:
        now = datetime.now(UTC)
        try:
            try:
                request = await store.create("shop", name, spec, first_status(spec, now))
            except AlreadyExists:
                request = await store.get("shop", name)
            if ends and not request.status.state.is_terminal:
                status = cancel(request, now, CancelReason.WITHDRAWN, "measured", release_window=300)
                await store.write_status(request, status)
        except (StoreUnavailable, Conflict):
            await asyncio.sleep(_AGAIN)
            continue
        return


def _spec(number: int) -> RequestSpec:
    """As large as a usual one: half a kilobyte of arguments."""
    digest = f"{number:064x}"
    return RequestSpec(
        kind=Kind.TOOL_CALL,
        summary=f"refund 150.00 EUR to customer C-{number}",
        requester="system:serviceaccount:shop:shop-agent",
        agent_pod="shop-agent-1",
        agent_pod_uid="6f2c1c1e-6a0b-4d0e-9d63-3f3d6c0d6c11",
        service_account="shop-agent",
        workload=f"deploy/agent-{number % 400}",
        session_id="s-1",
        call=CallShown("payments", "refund", f'{{"customer":"C-{number}","amount":15000,"note":"{"x" * 450}"}}'),
        digest=digest,
        key=digest,
        sameness=digest,
        tier="confirm",
        requirements=(Requirement("reviewers", 1, ("support",)),),
        timeout=86_400,
        justification="Three days late, and the SLA promises two. " * 4,
        explanation="rule refunds of AgentPolicy/shop/bench",
    )
