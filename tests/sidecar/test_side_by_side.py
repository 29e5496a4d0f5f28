"""What happens between two steps of one call: other calls, another config, an edit, a longer wait."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from gates import ALLOWED, EVER, PENDING, Running
from peer import ScriptedHub, a_document, a_policy

from hitl.policy.settings import Settings
from hitl.v1 import gate_pb2, hub_pb2

LIMITED = {
    "action": "Confirm",
    "tools": ["shop/pay"],
    "reviewers": ["support"],
    "limit": {"sum": "amount", "max": 100, "per": "24h"},
}
PADDED = {"pad": ["xxxxxxxxxx"] * 6000}
# The most that a large search may be given: what comes of it is asked here, and not how long it takes.
PATIENT = Settings(evaluation_deadline=30)


@pytest.fixture
def searching(gate: Running, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Holds the search of large calls up until the event it gives is set."""
    go_on, searched = threading.Event(), gate.sidecar._gate._judged_large

    def slow(request: gate_pb2.CheckRequest) -> Any:
        judged = searched(request)
        assert go_on.wait(EVER)
        return judged

    monkeypatch.setattr(gate.sidecar._gate, "_judged_large", slow)
    return go_on.set


async def test_I1_calls_that_are_approved_together_share_one_limit(start: Any, hub: ScriptedHub) -> None:
    """Five calls of 100 under a limit of 100, approved in the same moment: one runs, four are refused with LIMIT."""
    hub.document = a_document(a_policy(LIMITED))
    gate = await start()
    await gate.programmed()
    calls = [gate.check("pay", {"amount": 100, "to": number}) for number in range(5)]
    await gate.waits(5)
    for request in list(hub.requests.values()):
        hub.approve(request)
    said = [(answer.outcome, answer.reason_code) for answer in [await call for call in calls]]
    assert sorted(said) == [(ALLOWED, "REVIEWER"), *[(gate_pb2.OUTCOME_DENIED, "LIMIT")] * 4]
    assert len(hub.consumed) == 1


async def test_a_limit_set_aside_for_a_release_that_came_to_nothing_is_free_again(start: Any, hub: ScriptedHub) -> None:
    """NOT_READY gives the room back: the next release has it."""
    hub.document = a_document(a_policy(LIMITED))
    gate = await start()
    await gate.programmed()
    answers = [hub_pb2.ConsumeResponse(release=hub_pb2.ConsumeResponse.RELEASE_NOT_READY)]

    async def not_ready_once(_: Any) -> Any:
        return answers.pop() if answers else None

    hub.on_consume = not_ready_once
    call = gate.check("pay", {"amount": 100})
    await gate.waits(1)
    hub.approve(hub.only())
    await hub.until(lambda: len(hub.consumed) == 1)
    hub.approve(hub.only())
    assert (await call).outcome == ALLOWED


async def test_A5_large_calls_side_by_side_do_not_pass_a_limit_together(start: Any, hub: ScriptedHub) -> None:
    """Twelve padded calls at once under a limit of two: two run."""
    hub.document = a_document(settings=PATIENT)
    gate = await start()
    await gate.programmed()
    calls = [gate.check("limited", {**PADDED, "number": number}) for number in range(12)]
    said = [(await call).outcome for call in calls]
    assert said.count(ALLOWED) == 2


async def test_I8_a_large_call_is_judged_by_the_config_in_force_when_it_is_answered(
    gate: Running, hub: ScriptedHub, searching: Callable[[], Any]
) -> None:
    """A Deny that was accepted while the arguments were searched binds."""
    call = gate.check("get_x", PADDED)
    await asyncio.sleep(0)
    hub.change_policy(a_policy({"action": "Deny", "tools": ["shop/*"]}))
    await hub.until(lambda: len(hub.acks) == 2)
    searching()
    assert (await call).outcome == gate_pb2.OUTCOME_DENIED


async def test_I9_a_call_that_has_waited_long_still_gets_a_stricter_request(gate: Running, hub: ScriptedHub) -> None:
    """Superseded after a long wait: PENDING with the new handle, not UNAVAILABLE."""
    call = gate.check("pay", {"amount": 1})
    await gate.waits(1)
    first = hub.only()
    (hold,) = gate.sidecar.holding.table
    hold.callers[0].first_by -= 60  # as if it had been asked a minute ago
    hub.change_policy(a_policy({"action": "MultiFactor", "tools": ["shop/pay"], "reviewers": ["ops", "managers"]}))
    await hub.until(lambda: len(hub.acks) == 2)
    hub.approve(first)
    answer = await call
    assert (answer.outcome, len(hub.requests)) == (PENDING, 2)
    assert answer.handle not in ("", first.handle)


async def test_H2_a_cancellation_after_an_approval_is_recorded_too(gate: Running, hub: ScriptedHub) -> None:
    """Approved, not released because the config changed, then denied by it: the log ends on Cancelled."""

    async def config_changed(_: Any) -> hub_pb2.ConsumeResponse:
        return hub_pb2.ConsumeResponse(release=hub_pb2.ConsumeResponse.RELEASE_NOT_READY, reason_code="CONFIG_CHANGED")

    hub.on_consume = config_changed
    call = gate.check("pay", {"amount": 1})
    await gate.waits(1)
    hub.approve(hub.only())
    await hub.until(lambda: hub.consumed)
    hub.change_policy(a_policy({"action": "Deny", "tools": ["shop/pay"]}))
    assert (await call).reason_code == "TIGHTENED"
    await gate.stop()
    decisions = [record.decision for record in gate.records() if record.kind == "decision"]
    assert decisions == ["Approved", "Cancelled"]


async def test_D3_an_edit_belongs_to_the_call_it_was_made_for(start: Any, hub: ScriptedHub) -> None:
    """The call_id of an edited call with other arguments is CALL_ID_REUSED, and never the edited call."""
    two = [{"name": "two", "approvals": 2, "anyOf": ["support"]}]
    hub.document = a_document(a_policy({"action": "Confirm", "tools": ["shop/pay"], "requirements": two}))
    gate = await start()
    await gate.programmed()
    call = gate.check("pay", {"amount": 1, "to": "bob"}, call_id="x")
    await gate.waits(1)
    request = hub.only()
    request.patch, request.editor = {"amount": 2}, "ana"
    hub.end(request, gate_pb2.OUTCOME_CANCELLED, "EDITED", "ana wants a changed call")
    assert (await call).outcome == PENDING
    other = await gate.answer("pay", {"amount": 9999, "to": "mallory"}, call_id="x")
    assert (other.outcome, other.reason_code) == (gate_pb2.OUTCOME_INVALID, "CALL_ID_REUSED")
    successor = next(each for each in hub.requests.values() if each is not request)
    hub.approve(successor, by="bo")
    same = await gate.answer("pay", {"amount": 1, "to": "bob"}, call_id="x")
    assert (same.outcome, orjson.loads(same.arguments_json)) == (ALLOWED, {"amount": 2, "to": "bob"})


async def test_B5_dry_runs_have_a_flood_limit_of_their_own(start: Any, hub: ScriptedHub) -> None:
    """They count for nothing else, and past the pod's flood limit they are refused for a while."""
    hub.document = a_document(settings=Settings(flood_per_pod=3))
    gate = await start()
    await gate.programmed()
    said = [(await gate.answer("get_x", {}, dry_run=True)).outcome for _ in range(5)]
    assert said == [ALLOWED] * 3 + [gate_pb2.OUTCOME_UNAVAILABLE] * 2
    assert (await gate.answer("get_x", {})).outcome == ALLOWED
