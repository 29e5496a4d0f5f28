"""Held calls: who waits, who is answered what, and that each approval is used once (I1, I6–I9, I13, SECURITY D2)."""

import asyncio
from typing import Any

import pytest
from gates import ALLOWED, EVER, PENDING, Running, answer_in_time
from grpc import aio
from peer import ScriptedHub, a_policy

from hitl.audit import HumanDecision, RecordKind
from hitl.v1 import gate_pb2, hub_pb2

REFUND = {"amount": 15000, "to": "C-20817"}


async def waiting(gate: Running, hub: ScriptedHub, **more: Any) -> tuple[Any, Any]:
    """A held refund: the RPC under way, and the hub's request for it."""
    call = gate.check("refund", REFUND, **more)
    known = set(hub.requests)
    await hub.until(lambda: set(hub.requests) - known)
    (handle,) = set(hub.requests) - known
    return call, hub.requests[handle]


async def test_I1_an_approved_call_is_consumed_and_then_allowed(gate: Running, hub: ScriptedHub) -> None:
    """Approved: the exact digest is consumed under the revision in force, and only then the call is ALLOWED."""
    call, request = await waiting(gate, hub, checkpoint="thread-7", justification="3 days late")
    hub.approve(request)
    answer = await call
    assert (answer.outcome, answer.handle, answer.checkpoint) == (ALLOWED, request.handle, "thread-7")
    assert answer.permit
    assert [(r.reviewer, r.approved) for r in answer.reviews] == [("ana", True)]
    assert not answer.HasField("arguments_json")
    (consumed,) = hub.consumed
    assert (consumed.digest, consumed.original_digest) == (request.spec.digest, "")
    assert consumed.revision == gate.sidecar.programmed.revision
    assert request.spec.justification == "3 days late"


async def test_H2_a_hold_leaves_verdict_decision_and_release_in_the_log(gate: Running, hub: ScriptedHub) -> None:
    """Three records, bound to handle and digest, with reviewer, proof and how long the person took."""
    call, request = await waiting(gate, hub)
    hub.approve(request)
    await call
    verdict, decision, release = gate.records()[-3:]
    assert [r.kind for r in (verdict, decision, release)] == [
        RecordKind.VERDICT,
        RecordKind.DECISION,
        RecordKind.RELEASE,
    ]
    assert [r.decision for r in (verdict, decision, release)] == ["Confirm", "Approved", "Released"]
    assert {r.handle for r in (verdict, decision, release)} == {request.handle}
    assert {r.digest for r in (verdict, decision, release)} == {request.spec.digest}
    assert (decision.reviewer, decision.proof) == ("ana", "ed25519:c2ln")
    assert isinstance(decision.human_decision, HumanDecision)
    assert decision.human_decision.approved
    assert release.waits["held_ms"] >= decision.human_decision.response_time_ms >= 0


async def test_H2_the_hub_is_sent_the_head_of_the_chain(gate: Running, hub: ScriptedHub) -> None:
    """With the hold and with the release goes where the audit chain stood then."""
    call, request = await waiting(gate, hub)
    hub.approve(request)
    await call
    opened, consumed = hub.heads
    written = {(r.epoch, r.sequence): r for r in gate.records()}
    assert opened.sequence < consumed.sequence
    assert written[consumed.epoch, consumed.sequence].kind is RecordKind.DECISION
    assert written[consumed.epoch, consumed.sequence + 1].prev == consumed.head


async def test_wait_zero_answers_pending_at_once(gate: Running, hub: ScriptedHub) -> None:
    """Wait = 0: PENDING with the handle, when it expires, and when to come back; the request stays."""
    answer = await gate.answer("refund", REFUND, wait=0)
    request = hub.only()
    assert (answer.outcome, answer.handle, answer.permit) == (PENDING, request.handle, "")
    assert answer.expire_time.seconds == int(request.created + request.expires_in)
    assert answer.retry_after.seconds > 0
    assert answer.verdict.digest == request.spec.digest
    assert request.outcome == PENDING


async def test_the_same_call_after_approval_is_allowed(gate: Running, hub: ScriptedHub) -> None:
    """PENDING first, approved while nobody waited, then the same call again: ALLOWED, for the same request."""
    first = await gate.answer("refund", REFUND, wait=0)
    hub.approve(hub.only())
    again = await gate.answer("refund", REFUND, wait=0)
    assert (again.outcome, again.handle) == (ALLOWED, first.handle)


async def test_a_retry_attaches_and_is_recorded_once(gate: Running, hub: ScriptedHub) -> None:
    """The same call three times asks once and leaves one verdict."""
    for _ in range(3):
        assert (await gate.answer("refund", REFUND, wait=0)).outcome == PENDING
    assert len(hub.requests) == 1
    assert [r.decision for r in gate.records()].count("Confirm") == 1


async def test_I6_of_two_identical_calls_one_is_released_and_the_other_asks_again(
    gate: Running, hub: ScriptedHub
) -> None:
    """Without call_id they are two calls: one approval, one ALLOWED; the other waits on a request of its own."""
    first, request = await waiting(gate, hub)
    second = gate.check("refund", REFUND, wait=0.5)
    hub.approve(request)
    outcomes = sorted([await first, await second], key=lambda answer: answer.outcome)
    assert [answer.outcome for answer in outcomes] == [ALLOWED, PENDING]
    assert outcomes[0].handle == request.handle != outcomes[1].handle
    assert len(hub.consumed) == 1


async def test_I6_a_call_id_is_released_once(gate: Running, hub: ScriptedHub) -> None:
    """With one call_id they are one call: ALLOWED once, ALREADY_RELEASED for the other and for every later one."""
    first, request = await waiting(gate, hub, call_id="toolu_1")
    second = gate.check("refund", REFUND, call_id="toolu_1")
    await gate.waits(2)
    hub.approve(request)
    assert sorted([(await first).outcome, (await second).outcome]) == [ALLOWED, gate_pb2.OUTCOME_ALREADY_RELEASED]
    assert len(hub.requests) == 1


async def test_B4_a_call_id_with_another_digest_is_refused(gate: Running, hub: ScriptedHub) -> None:
    """The same call_id for other arguments is INVALID, CALL_ID_REUSED, while the first call waits."""
    call, request = await waiting(gate, hub, call_id="toolu_1")
    other = await gate.answer("refund", {**REFUND, "amount": 1}, call_id="toolu_1")
    assert (other.outcome, other.reason_code) == (gate_pb2.OUTCOME_INVALID, "CALL_ID_REUSED")
    hub.approve(request)
    assert (await call).outcome == ALLOWED


async def test_I6_nothing_is_consumed_for_a_caller_that_left(gate: Running, hub: ScriptedHub) -> None:
    """The caller goes, the hub is told, an approval then releases nothing; the same call again is ALLOWED."""
    call, request = await waiting(gate, hub)
    await gate.waits(1)
    call.cancel()
    await hub.until(lambda: hub.streams[0].dropped)
    hub.approve(request)
    assert hub.consumed == []
    again = await gate.answer("refund", REFUND)
    assert (again.outcome, again.handle) == (ALLOWED, request.handle)


ENDINGS = {
    "denied": (
        gate_pb2.OUTCOME_DENIED,
        "REVIEWER",
        'A reviewer said no: "refunded yesterday". Do not retry.',
        "Denied",
    ),
    "expired": (gate_pb2.OUTCOME_EXPIRED, "NOT_DECIDED", "Nobody answered; this is not a refusal.", "Expired"),
    "cancelled": (gate_pb2.OUTCOME_CANCELLED, "WITHDRAWN", "It was withdrawn.", "Cancelled"),
}


@pytest.mark.parametrize("case", ENDINGS)
async def test_I9_each_end_is_told_as_what_it_was(gate: Running, hub: ScriptedHub, case: str) -> None:
    """Denied, expired and cancelled are three outcomes with three texts, to the agent and in the log."""
    outcome, code, text, word = ENDINGS[case]
    call, request = await waiting(gate, hub)
    hub.end(request, outcome, code, text, by="bo" if case == "denied" else "")
    answer = await call
    assert (answer.outcome, answer.reason_code, answer.message, answer.permit) == (outcome, code, text, "")
    record = gate.records()[-1]
    assert (record.kind, record.decision, record.handle) == (RecordKind.DECISION, word, request.handle)
    assert (record.human_decision is not None) == (case == "denied")
    assert hub.consumed == []


async def test_I13_a_caller_is_answered_before_its_deadline(gate: Running, hub: ScriptedHub) -> None:
    """A caller with a deadline and nobody decides: PENDING in time, not an RPC that ran out of time."""
    answer = await answer_in_time(gate, PENDING, "refund", REFUND)
    assert (answer.outcome, answer.handle) == (PENDING, hub.only().handle)


async def test_I13_a_hold_never_outlasts_the_hold_budget(hub: ScriptedHub, gate: Running) -> None:
    """Without a deadline, and with a longer wait, the policy's holdBudget ends the waiting."""
    rule = {"action": "Confirm", "tools": ["*"]}
    hub.change_policy(a_policy(rule, approval={"holdBudget": "1s", "timeout": "10m"}))
    await hub.until(lambda: len(hub.acks) == 2)
    assert (await gate.answer("refund", REFUND, deadline=None, wait=600)).outcome == PENDING


async def test_I13_a_silent_hub_does_not_keep_a_request_alive(gate: Running, hub: ScriptedHub) -> None:
    """Past the request's expiry the caller is told EXPIRED even if the hub says nothing (clocks, DESIGN 14)."""
    hub.on_open = lambda _: None
    call = gate.check("refund", REFUND)
    await hub.until(lambda: hub.opens)
    stream = hub.streams[0]
    state = hub_pb2.HoldResponse(ref="1", handle="shop/refund-1", outcome=PENDING, reason_code="WAITING")
    state.expire_time.GetCurrentTime()
    stream.outbox.put_nowait(state)
    answer = await call
    assert (answer.outcome, answer.reason_code) == (gate_pb2.OUTCOME_EXPIRED, "NOT_DECIDED")


async def test_I2_a_hub_that_does_not_answer_makes_a_hold_unavailable(gate: Running, hub: ScriptedHub) -> None:
    """With the hub gone a call that needs people is UNAVAILABLE, HUB_UNREACHABLE, and is recorded as such."""
    await hub.stop()
    answer = await answer_in_time(gate, gate_pb2.OUTCOME_UNAVAILABLE, "refund", REFUND)
    assert (answer.outcome, answer.reason_code) == (gate_pb2.OUTCOME_UNAVAILABLE, "HUB_UNREACHABLE")
    record = gate.records()[-1]
    assert (record.decision, record.reason) == ("Unavailable", "HUB_UNREACHABLE")


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "refuses"])
async def test_agents_read_nothing_that_is_meant_for_operators(
    gate: Running, hub: ScriptedHub, caplog: pytest.LogCaptureFixture, is_gone: bool
) -> None:
    """A check, an Await and a Cancel: no command, no address, no gRPC word; the gate's log has all of it, once."""
    command = "namespace shop is not gated; run: kubectl label namespace shop hitl.dev/injection=enabled"
    if is_gone:
        await hub.stop()
    else:
        hub.refusal = command
    held = await answer_in_time(gate, gate_pb2.OUTCOME_UNAVAILABLE, "refund", REFUND)
    awaited = await gate.stub.Await(gate_pb2.AwaitRequest(handle="shop/refund-1"), timeout=EVER)
    with pytest.raises(aio.AioRpcError) as cancelled:
        await gate.stub.Cancel(gate_pb2.CancelRequest(handle="shop/refund-1"), timeout=EVER)
    foreign = ("kubectl", "unix:", "UNAUTH", "UNAVAIL", "grpc", "sock", "(")
    for words in (held.message, awaited.message, cancelled.value.details()):
        assert "the hub, through which people are asked, does not" in words
        assert not [word for word in foreign if word in words]
    said = [record.getMessage() for record in caplog.records if record.name == "hitl_sidecar.hold_stream"]
    assert len(said) == 1
    assert hub.address in said[0]
    assert (command in said[0]) is not is_gone


async def test_a_hold_waits_through_a_restart_of_the_hub(gate: Running, hub: ScriptedHub) -> None:
    """The hub goes and comes back: the call waits on, is attached again by its handle, and is then released."""
    call, request = await waiting(gate, hub)
    await gate.waits(1)
    await hub.stop()
    await hub.start()
    await hub.until(lambda: request.refs)
    hub.approve(request)
    assert (await call).outcome == ALLOWED
    assert len(hub.opens) == 1


async def test_D2_a_lost_answer_after_consume_never_runs(gate: Running, hub: ScriptedHub) -> None:
    """The hub consumed and its answer was lost: the call is ALREADY_RELEASED, RELEASE_UNKNOWN, and gets no permit."""
    hub.lose_consume_answers = 1
    call, request = await waiting(gate, hub)
    hub.approve(request)
    answer = await call
    assert (answer.outcome, answer.reason_code, answer.permit) == (
        gate_pb2.OUTCOME_ALREADY_RELEASED,
        "RELEASE_UNKNOWN",
        "",
    )
    assert RecordKind.RELEASE not in [record.kind for record in gate.records()]


async def test_D2_a_release_that_never_reached_the_hub_is_tried_again(gate: Running, hub: ScriptedHub) -> None:
    """Consume failed before the hub took it: it is tried again and ALLOWED once."""
    failures = 2

    async def fail_twice(_: Any) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise ValueError("not taken")
        return None

    hub.on_consume = fail_twice
    call, request = await waiting(gate, hub)
    hub.approve(request)
    assert (await call).outcome == ALLOWED
    assert len(hub.consumed) == 3


async def test_D2_a_release_refused_because_votes_are_missing_waits_on(gate: Running, hub: ScriptedHub) -> None:
    """NOT_READY: the call goes on waiting, and the next time it is ready it is released."""
    answers = [hub_pb2.ConsumeResponse(release=hub_pb2.ConsumeResponse.RELEASE_NOT_READY)]

    async def not_ready_once(_: Any) -> Any:
        return answers.pop() if answers else None

    hub.on_consume = not_ready_once
    call, request = await waiting(gate, hub)
    hub.approve(request)
    await hub.until(lambda: len(hub.consumed) == 1)
    hub.approve(request)
    assert (await call).outcome == ALLOWED


@pytest.mark.parametrize("release", [99, 0, hub_pb2.ConsumeResponse.RELEASE_REFUSED])
async def test_I2_any_other_word_on_a_release_does_not_run(gate: Running, hub: ScriptedHub, release: int) -> None:
    """Refused, unspecified or a release this sidecar does not know: UNAVAILABLE, no permit."""

    async def say(_: Any) -> Any:
        return hub_pb2.ConsumeResponse(release=release, reason_code="DIGEST_MISMATCH")  # type: ignore[arg-type]

    hub.on_consume = say
    call, request = await waiting(gate, hub)
    hub.approve(request)
    answer = await call
    assert (answer.outcome, answer.permit) == (gate_pb2.OUTCOME_UNAVAILABLE, "")


@pytest.mark.parametrize("outcome", [gate_pb2.OUTCOME_ALLOWED, gate_pb2.OUTCOME_UNSPECIFIED, 99])
async def test_I1_a_hub_that_says_allowed_without_consume_is_not_believed(
    gate: Running, hub: ScriptedHub, outcome: int
) -> None:
    """A state with outcome ALLOWED, none, or one nobody knows ends as UNAVAILABLE, HUB_GARBAGE."""
    hub.on_open = lambda _: hub_pb2.HoldResponse(handle="shop/x", outcome=outcome)  # type: ignore[arg-type]
    answer = await gate.answer("refund", REFUND)
    assert (answer.outcome, answer.reason_code) == (gate_pb2.OUTCOME_UNAVAILABLE, "HUB_GARBAGE")


@pytest.mark.parametrize("terms", [b"", b"[]", b'{"kind":"ToolCall"}', b"\xff"])
async def test_I2_terms_that_cannot_be_read_release_nothing(gate: Running, hub: ScriptedHub, terms: bytes) -> None:
    """Ready, with garbage where the approved terms should stand: UNAVAILABLE, and nothing is consumed."""
    hub.on_open = lambda _: hub_pb2.HoldResponse(handle="shop/x", outcome=PENDING, ready=True, terms_json=terms)
    answer = await gate.answer("refund", REFUND)
    assert (answer.outcome, answer.reason_code) == (gate_pb2.OUTCOME_UNAVAILABLE, "HUB_GARBAGE")
    assert hub.consumed == []


async def test_B5_a_hub_that_takes_no_more_holds_is_a_limit(gate: Running, hub: ScriptedHub) -> None:
    """maxPending: DENIED with reason LIMIT and a time to come back, recorded as a refusal."""
    hub.on_open = lambda _: hub_pb2.HoldResponse(
        outcome=gate_pb2.OUTCOME_DENIED, reason_code="LIMIT", message="20 calls wait already."
    )
    answer = await gate.answer("refund", REFUND)
    assert (answer.outcome, answer.reason_code) == (gate_pb2.OUTCOME_DENIED, "LIMIT")
    assert answer.retry_after.seconds > 0
    record = gate.records()[-1]
    assert (record.decision, record.reason) == ("Deny", "LIMIT")


async def test_a_suggestion_is_never_released(gate: Running, hub: ScriptedHub) -> None:
    """Suggest: the hub says SUGGESTED, the agent is told so, and there is nothing to consume."""
    hub.on_open = lambda spec: hub_pb2.HoldResponse(
        handle="shop/s-1", outcome=gate_pb2.OUTCOME_SUGGESTED, reason_code="SUGGEST", message=f"{spec.kind}: yours."
    )
    answer = await gate.answer("suggest")
    assert (answer.outcome, answer.message) == (gate_pb2.OUTCOME_SUGGESTED, "Suggestion: yours.")
    assert hub.consumed == []


async def test_draining_answers_who_waits_with_the_handle(gate: Running, hub: ScriptedHub) -> None:
    """SIGTERM: a waiting call is PENDING with its handle at once, and the request stays."""
    call, request = await waiting(gate, hub)
    await gate.waits(1)
    await asyncio.gather(call, gate.sidecar.stop())
    answer = await call
    await gate.stop()  # after the answer: it closes the agent's connection, too
    assert (answer.outcome, answer.handle) == (PENDING, request.handle)
    assert hub.cancelled == []
    assert gate.records()[-1].kind is RecordKind.STOP


async def test_I6_a_restarted_sidecar_attaches_the_same_call_and_releases_it_once(
    gate: Running, hub: ScriptedHub, start: Any
) -> None:
    """Approved while the sidecar was away: the same call on its successor is ALLOWED, for the same request, once."""
    first = await gate.answer("refund", REFUND, wait=0, call_id="toolu_1")
    await gate.stop()
    hub.approve(hub.only())
    successor: Running = await start()
    await successor.programmed()
    again = await successor.answer("refund", REFUND, call_id="toolu_1")
    assert (again.outcome, again.handle) == (ALLOWED, first.handle)
    assert (await successor.answer("refund", REFUND, call_id="toolu_1")).outcome == gate_pb2.OUTCOME_ALREADY_RELEASED
