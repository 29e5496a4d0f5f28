"""What an agent can make grow: refusals in the log, activity, Awaits, the audit head's stream (B5, H2)."""

import asyncio
import time
from typing import Any

from gates import Running
from peer import ScriptedHub
from test_holds import REFUND

from hitl.audit import RecordKind
from hitl.v1 import gate_pb2, hub_pb2
from hitl_operator.syncing import MOST_ROWS
from hitl_sidecar.sync import Sync
from hitl_sidecar.usage import Usage


def this_minute() -> int:
    return int(time.time() // 60)


async def test_a_flood_of_refusals_does_not_fill_the_disk(gate: Running) -> None:
    """Past 600 refusals a minute they are only counted; the next record says how many were."""
    before, began = len(gate.records()), this_minute()
    for _ in range(10):
        await asyncio.gather(*(gate.answer("", {}) for _ in range(100)))
    assert len(gate.records()) - before <= 600 * (this_minute() - began + 1)  # each minute that the test has seen
    answer = await gate.answer("get_price")
    assert answer.outcome == gate_pb2.OUTCOME_ALLOWED
    recorded = sum(1 for r in gate.records() if r.decision == "Invalid")
    assert recorded + sum(r.details.get("unrecorded", 0) for r in gate.records()) == 1000


async def test_awaits_are_bounded(gate: Running, hub: ScriptedHub) -> None:
    """A thousand Awaits at once are served, one more is told to come later."""
    await gate.answer("refund", REFUND, wait=0)
    request = hub.only()
    calls = [gate.stub.Await(gate_pb2.AwaitRequest(handle=request.handle), timeout=60) for _ in range(1001)]
    first, *_ = await asyncio.wait([asyncio.ensure_future(_answer(c)) for c in calls], return_when="FIRST_COMPLETED")
    (refused,) = [task.result() for task in first]
    assert (refused.outcome, "Await later" in refused.message) == (gate_pb2.OUTCOME_UNAVAILABLE, True)
    for call in calls:
        call.cancel()


async def _answer(call: Any) -> gate_pb2.AwaitResponse:
    try:
        answer: gate_pb2.AwaitResponse = await call
    except asyncio.CancelledError:
        return gate_pb2.AwaitResponse()
    return answer


async def test_H2_the_audit_head_goes_up_by_itself(gate: Running, hub: ScriptedHub) -> None:
    """Without any hold the hub hears at an interval (a minute in production) where the chain stands."""
    sidecar = gate.sidecar
    sync = Sync(
        sidecar.hub,
        sidecar.programmed,
        epoch="e",
        head=lambda: sidecar.audit.head,
        on_config=lambda _: None,
        usage=Usage(sidecar.metrics.checks),
        head_every=0.01,
    )
    task = asyncio.create_task(sync.run())
    head = (await hub.until(lambda: list(hub.heads)))[0]
    task.cancel()
    record = next(r for r in gate.records() if r.sequence == head.sequence)
    assert (record.kind, head.epoch) == (RecordKind.CONFIG, record.epoch)


async def test_I12_calls_go_up_as_numbers_by_policy_and_action(gate: Running, hub: ScriptedHub) -> None:
    """I12: what ran unasked costs no message of its own; each report has what came since the one before."""
    sidecar = gate.sidecar
    for tool in ("get_price", "get_price", "delete_all"):
        await gate.answer(tool)
    sync = Sync(
        sidecar.hub,
        sidecar.programmed,
        epoch="e",
        head=lambda: sidecar.audit.head,
        on_config=lambda _: None,
        usage=Usage(sidecar.metrics.checks),
        usage_every=0.01,
    )
    task = asyncio.create_task(sync.run())
    first = await hub.until(lambda: hub.usage[:2] if len(hub.usage) > 1 else None)
    await gate.answer("get_price")
    third = await hub.until(lambda: hub.usage[2:])
    task.cancel()
    policy = "AgentPolicy/shop/support"
    assert sorted((row.policy, row.action, row.calls) for row in first) == [
        (policy, gate_pb2.ACTION_ALLOW, 2),
        (policy, gate_pb2.ACTION_DENY, 1),
    ]
    assert [(row.policy, row.action, row.calls) for row in third] == [(policy, gate_pb2.ACTION_ALLOW, 1)]


class Busy(dict[tuple[str, str, str], int]):
    """Counts that have grown whenever somebody looks, as those of a gate that always has calls to check."""

    def items(self) -> Any:
        for key in self:
            self[key] += 1
        return super().items()


async def test_H2_what_is_called_all_the_time_keeps_nothing_else_from_going_up(gate: Running, hub: ScriptedHub) -> None:
    """H2: a message of usage goes up at its interval, however many calls come meanwhile; the rest goes up after it."""
    sidecar = gate.sidecar
    sync = Sync(
        sidecar.hub,
        sidecar.programmed,
        epoch="e",
        head=lambda: sidecar.audit.head,
        on_config=lambda _: None,
        usage=Usage(Busy({("Allow", "allowed", "AgentPolicy/shop/support"): 1})),
        head_every=0.01,
        usage_every=0.01,
    )
    before = len(hub.heads)
    task = asyncio.create_task(sync.run())
    await hub.until(lambda: hub.heads[before:])
    task.cancel()
    assert hub.usage


async def test_B5_what_goes_up_is_split_into_what_a_hub_reads(gate: Running, hub: ScriptedHub) -> None:
    """B5: however much is to be told, no message has more rows or bytes than a hub takes, and nothing is left out."""
    checks: dict[tuple[str, str, str], int] = {
        ("Allow", "allowed", f"AgentPolicy/shop/p-{n}"): n for n in range(1, 1201)
    }
    sidecar = gate.sidecar
    sync = Sync(
        sidecar.hub,
        sidecar.programmed,
        epoch="e",
        head=lambda: sidecar.audit.head,
        on_config=lambda _: None,
        usage=Usage(checks),
        usage_every=0.01,
    )
    for number in range(1500):
        sync.note(hub_pb2.ActivityRecord(tool=f"shop/{number}", summary="\N{FACE WITH TEARS OF JOY}" * 600))
    before = len(hub.activity)
    task = asyncio.create_task(sync.run())
    rows = await hub.until(lambda: list(hub.usage) if len(hub.usage) >= 1200 else None)
    records = await hub.until(lambda: hub.activity[before:] if len(hub.activity) >= before + 1500 else None)
    task.cancel()
    assert [record.tool for record in records] == [f"shop/{number}" for number in range(1500)]
    assert {row.policy: row.calls for row in rows} == {policy: calls for (_, _, policy), calls in checks.items()}
    assert max(each for each, _ in hub.batches) <= MOST_ROWS
    assert max(size for _, size in hub.batches) <= 300_000
