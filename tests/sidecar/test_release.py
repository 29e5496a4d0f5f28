"""What is judged again at release: a tightened policy, another digest, an edited call (I7, I8, SECURITY D1, D3)."""

from typing import Any

import orjson
import pytest
from gates import ALLOWED, PENDING, Running
from peer import CLUSTER_UID, KEY, NAMESPACE_UID, Request, ScriptedHub, a_document, a_policy
from test_holds import REFUND, waiting

from hitl.audit import RecordKind
from hitl.policy.calls import Agent
from hitl.policy.digest import digest_of
from hitl.policy.envelope import parse_call
from hitl.policy.freezes import Freeze
from hitl.v1 import gate_pb2, hub_pb2

DENY_ALL = {"action": "Deny", "tools": ["*"]}
ONE_PERSON = {"action": "Confirm", "tools": ["*"], "reviewers": ["support"]}
TWO_PEOPLE = {"action": "Confirm", "tools": ["*"], "reviewers": ["support", "managers"]}
STOP = Freeze("inc-88", "shop", "u-88", 1, "ana@example.com", "INC-88: strange pushes")


def digest(arguments: dict[str, Any]) -> str:
    """The digest of a refund as the sidecar of these tests must compute it."""
    agent = Agent("shop", service_account="support", workload="deploy/support")
    call = parse_call("shop", "refund", orjson.dumps(arguments))
    return digest_of(
        KEY, cluster_uid=CLUSTER_UID, namespace_uid=NAMESPACE_UID, agent=agent, on_behalf_of=None, call=call
    )


async def test_D1_the_digest_is_keyed_and_binds_call_agent_and_place(gate: Running, hub: ScriptedHub) -> None:
    """What is asked and what is consumed carry the keyed digest of exactly this call of this workload."""
    call, request = await waiting(gate, hub)
    hub.approve(request)
    await call
    assert request.spec.digest == digest(REFUND) == hub.consumed[0].digest
    assert request.spec.key == request.spec.digest


async def test_I8_a_policy_that_denies_ends_the_wait_at_once(gate: Running, hub: ScriptedHub) -> None:
    """Tightened to Deny while the call waits: DENIED, TIGHTENED, the request is withdrawn, nothing is consumed."""
    call, request = await waiting(gate, hub)
    await gate.waits(1)
    hub.change_policy(a_policy(DENY_ALL, generation=2))
    answer = await call
    assert (answer.outcome, answer.reason_code, answer.handle) == (
        gate_pb2.OUTCOME_DENIED,
        "TIGHTENED",
        request.handle,
    )
    assert [(c.handle, c.condition_reason) for c in hub.cancelled] == [(request.handle, "PolicyTightened")]
    assert hub.consumed == []
    record = gate.records()[-1]
    assert (record.kind, record.decision, record.reason) == (RecordKind.DECISION, "Cancelled", "TIGHTENED")


async def test_I8_an_approval_under_a_laxer_policy_does_not_release(gate: Running, hub: ScriptedHub) -> None:
    """Stricter by the time it is approved: Superseded, a new request with both requirements, PENDING on that one."""
    hub.change_policy(a_policy(ONE_PERSON))
    await hub.until(lambda: len(hub.acks) == 2)
    call, request = await waiting(gate, hub)
    hub.change_policy(a_policy(TWO_PEOPLE, generation=2))
    await hub.until(lambda: len(hub.acks) == 3)
    hub.approve(request)
    answer = await call
    assert (answer.outcome, answer.permit) == (PENDING, "")
    assert answer.handle != request.handle
    assert [(c.handle, c.condition_reason) for c in hub.cancelled] == [(request.handle, "Superseded")]
    assert [r.any_of for r in hub.requests[answer.handle].spec.requirements] == [("support",), ("managers",)]
    assert hub.consumed == []


@pytest.mark.parametrize(
    ("document", "outcome"),
    [
        (a_document(a_policy(TWO_PEOPLE, generation=2)), PENDING),
        (a_document(a_policy(DENY_ALL, generation=2)), gate_pb2.OUTCOME_DENIED),
        (a_document(a_policy(ONE_PERSON, generation=2), freezes=(STOP,)), gate_pb2.OUTCOME_CANCELLED),
    ],
    ids=["more is asked", "forbidden", "frozen"],
)
async def test_I8_D4_an_override_does_not_release_what_the_policy_says_by_now(
    gate: Running, hub: ScriptedHub, document: dict[str, Any], outcome: int
) -> None:
    """I8, D4: overridden, and then forbidden, frozen or made stricter, it is judged anew and not released."""

    async def changed(_: hub_pb2.ConsumeRequest) -> hub_pb2.ConsumeResponse:
        hub.document = document
        hub.send(hub.config())
        return hub_pb2.ConsumeResponse(release=hub_pb2.ConsumeResponse.RELEASE_NOT_READY, reason_code="CONFIG_CHANGED")

    hub.change_policy(a_policy(ONE_PERSON))
    await hub.until(lambda: len(hub.acks) == 2)
    call, request = await waiting(gate, hub)
    hub.on_consume = changed
    hub.approve(request, by="ola", overridden=True)
    await hub.until(lambda: len(hub.acks) == 3)
    hub.on_consume = None
    hub.tell(request)
    answer = await call
    assert (answer.outcome, answer.permit) == (outcome, "")
    assert len(hub.consumed) == 1


async def test_I8_a_laxer_policy_changes_nothing(gate: Running, hub: ScriptedHub) -> None:
    """Less strict by the time it is approved: the approval still releases, once."""
    call, request = await waiting(gate, hub)
    hub.change_policy(a_policy({"action": "Allow", "tools": ["*"]}, generation=2))
    await hub.until(lambda: len(hub.acks) == 2)
    hub.approve(request)
    assert (await call).outcome == ALLOWED
    assert len(hub.consumed) == 1


async def test_I8_the_release_names_the_revision_it_was_judged_under(gate: Running, hub: ScriptedHub) -> None:
    """Consume carries the revision of the second evaluation, not that of the first."""
    call, request = await waiting(gate, hub)
    held_under = gate.sidecar.programmed.revision
    hub.change_policy(a_policy(name="again", generation=2))
    await hub.until(lambda: len(hub.acks) == 2)
    hub.approve(request)
    await call
    assert hub.consumed[0].revision == gate.sidecar.programmed.revision != held_under


async def test_I7_a_tool_that_moved_is_another_call(gate: Running, hub: ScriptedHub) -> None:
    """The server's endpoint changed while the call waited: another digest, so the approval does not release."""
    call, request = await waiting(gate, hub)
    server = {
        "name": "shop",
        "uid": "u1",
        "generation": 1,
        "spec": {"endpoint": "https://elsewhere.example.com/mcp"},
    }
    hub.document = a_document(tool_servers=[server])
    hub.send(hub.config())
    await hub.until(lambda: [ack.accepted for ack in hub.acks] == [True, True])
    hub.approve(request)
    answer = await call
    assert (answer.outcome, answer.permit) == (PENDING, "")
    assert hub.requests[answer.handle].spec.digest != request.spec.digest
    assert hub.consumed == []


async def test_D3_an_edit_runs_with_the_reviewers_arguments(gate: Running, hub: ScriptedHub) -> None:
    """One approval suffices: the patched call is consumed under its own digest and handed back to be run."""
    call, request = await waiting(gate, hub)
    hub.approve(request, patch={"amount": 12000})
    answer = await call
    edited = {**REFUND, "amount": 12000}
    assert answer.outcome == ALLOWED
    assert orjson.loads(answer.arguments_json) == edited
    (consumed,) = hub.consumed
    assert (consumed.digest, consumed.original_digest) == (digest(edited), digest(REFUND))
    release = gate.records()[-1]
    assert (release.digest, release.details["original_digest"], release.details["editor"]) == (
        digest(edited),
        digest(REFUND),
        "ana",
    )


async def test_D3_an_edit_may_only_touch_what_was_shown(gate: Running, hub: ScriptedHub) -> None:
    """A patch on an argument that was redacted is not followed: nothing is consumed, nothing runs."""
    call = gate.check("refund", {"amount": 1, "password": "hunter2-correct-horse"})
    request = (await hub.until(lambda: list(hub.requests.values())))[0]
    hub.approve(request, patch={"password": "mine-now-battery"})
    answer = await call
    assert (answer.outcome, answer.reason_code, answer.permit) == (gate_pb2.OUTCOME_UNAVAILABLE, "HUB_GARBAGE", "")
    assert hub.consumed == []


@pytest.mark.parametrize("patch", [b"[1]", b"{", b"7"])
async def test_D3_a_patch_that_is_no_object_is_not_followed(gate: Running, hub: ScriptedHub, patch: bytes) -> None:
    """Garbage in place of a merge patch: UNAVAILABLE, and nothing is consumed."""
    call, request = await waiting(gate, hub)
    await gate.waits(1)
    stream, ref = request.refs[0]
    request.ready = True
    state = hub.state(request, ref, attached=False)
    state.arguments_patch_json = patch
    stream.outbox.put_nowait(state)
    assert (await call).outcome == gate_pb2.OUTCOME_UNAVAILABLE
    assert hub.consumed == []


async def test_D3_an_edit_that_the_policy_denies_is_refused(gate: Running, hub: ScriptedHub) -> None:
    """The edited call is evaluated like any other: a rule that denies it ends the request, DENIED."""
    rules = [{"action": "Deny", "tools": ["*"], "args": {"amount": {"max": 100}}}, ONE_PERSON]
    hub.change_policy(a_policy(*rules))
    await hub.until(lambda: len(hub.acks) == 2)
    call, request = await waiting(gate, hub)
    hub.approve(request, patch={"amount": 50})
    answer = await call
    assert (answer.outcome, answer.reason_code) == (gate_pb2.OUTCOME_DENIED, "TIGHTENED")
    assert hub.consumed == []


async def test_D3_an_edit_that_needs_more_people_asks_them_without_the_editor(gate: Running, hub: ScriptedHub) -> None:
    """The edited call falls under a stricter rule: Superseded, and a new request for it excludes the editor."""
    rules = [{**TWO_PEOPLE, "args": {"amount": {"min": 20000}}}, ONE_PERSON]
    hub.change_policy(a_policy(*rules))
    await hub.until(lambda: len(hub.acks) == 2)
    call, request = await waiting(gate, hub)
    hub.approve(request, patch={"amount": 30000})
    answer = await call
    assert (answer.outcome, answer.permit) == (PENDING, "")
    successor = hub.requests[answer.handle]
    assert successor.spec.excluded == ("ana",)
    assert successor.spec.digest == digest({**REFUND, "amount": 30000})
    assert hub.cancelled[0].condition_reason == "Superseded"


async def made_way(gate: Running, hub: ScriptedHub) -> Request:
    """A call that two people must decide, changed by one of them: the hub ends it, and a new one is open."""
    hub.change_policy(a_policy(TWO_PEOPLE))
    await hub.until(lambda: len(hub.acks) == 2)
    call, request = await waiting(gate, hub)
    request.patch, request.editor = {"amount": 12000}, "ana"
    hub.end(request, gate_pb2.OUTCOME_CANCELLED, "EDITED", "A reviewer would approve only with this change.")
    answer = await call
    assert (answer.outcome, answer.permit) == (PENDING, "")
    return hub.requests[answer.handle]


async def test_D3_an_edit_among_several_people_opens_the_edited_call_anew(gate: Running, hub: ScriptedHub) -> None:
    """Where others must agree the hub ends the request; the sidecar opens the edited call, the editor excluded."""
    successor = await made_way(gate, hub)
    assert successor.spec.excluded == ("ana",)
    assert successor.spec.digest == digest({**REFUND, "amount": 12000})


async def test_D3_the_original_call_stands_for_the_edited_one(gate: Running, hub: ScriptedHub) -> None:
    """The agent repeats what it sent: once the others agree it is ALLOWED with the edited arguments."""
    successor = await made_way(gate, hub)
    hub.approve(successor, by="bo")
    answer = await gate.answer("refund", REFUND)
    assert (answer.outcome, answer.handle) == (ALLOWED, successor.handle)
    assert orjson.loads(answer.arguments_json) == {**REFUND, "amount": 12000}
    assert hub.consumed[0].digest == successor.spec.digest


async def test_a_limit_that_is_used_up_at_release_does_not_release(gate: Running, hub: ScriptedHub) -> None:
    """A held call under a limit that others used up meanwhile: DENIED with LIMIT, nothing is consumed."""
    limited = {"action": "Confirm", "tools": ["*"], "limit": {"calls": 1, "per": "1h"}}
    hub.change_policy(a_policy(limited))
    await hub.until(lambda: len(hub.acks) == 2)
    first, one = await waiting(gate, hub)
    second, other = await waiting(gate, hub, session_id="s2")
    hub.approve(one)
    assert (await first).outcome == ALLOWED
    hub.approve(other)
    answer = await second
    assert (answer.outcome, answer.reason_code) == (gate_pb2.OUTCOME_DENIED, "LIMIT")
    assert len(hub.consumed) == 1
