"""What the gate answers at once: allowed, notified, refused, malformed, dry (I1, I2, I9, I12)."""

import asyncio
from typing import Any

import pytest
from gates import EVER, Running
from peer import ScriptedHub, a_policy

from hitl.audit import RecordKind, verify
from hitl.v1 import gate_pb2


async def test_an_allowed_call_gets_a_permit_and_a_record(gate: Running) -> None:
    """Allow: ALLOWED with a permit, and one verdict in the audit log that names rule, agent and arguments."""
    answer = await gate.answer("get_price", {"item": "tea"}, claimed_user="kim")
    assert (answer.outcome, answer.reason_code, answer.handle) == (gate_pb2.OUTCOME_ALLOWED, "RULE", "")
    assert answer.permit
    assert answer.verdict.action == gate_pb2.ACTION_ALLOW
    record = gate.records()[-1]
    assert (record.kind, record.decision, record.tool, record.user) == (
        RecordKind.VERDICT,
        "Allow",
        "shop/get_price",
        "kim",
    )
    assert record.arguments == {"item": "tea"}
    assert record.agent_id == "shop/deploy/support/support-1"
    assert record.rule == "AgentPolicy/shop/support#rule-2"
    assert record.revision == answer.verdict.revision


async def test_I12_allowed_and_notified_calls_need_no_hub(gate: Running, hub: ScriptedHub) -> None:
    """With the hub gone Allow and Notify are still answered ALLOWED, and no request was created for them."""
    await hub.stop()
    assert (await gate.answer("get_price")).outcome == gate_pb2.OUTCOME_ALLOWED
    assert (await gate.answer("note", {"text": "hi"})).outcome == gate_pb2.OUTCOME_ALLOWED
    assert hub.requests == {}
    assert hub.opens == []


async def test_a_notified_call_is_told_to_the_hub(gate: Running, hub: ScriptedHub) -> None:
    """Notify runs, and a batched activity record goes up with tool and rule."""
    await gate.answer("note", {"text": "hi"})
    (record,) = await hub.until(lambda: list(hub.activity))
    assert (record.action, record.tool, record.why) == (gate_pb2.ACTION_NOTIFY, "shop/note", "rule rule-3")


async def test_I1_a_denied_call_gets_no_permit(gate: Running, hub: ScriptedHub) -> None:
    """Deny: DENIED with the rule's reason and no permit; nobody is asked."""
    answer = await gate.answer("delete_item", {"id": 1})
    assert (answer.outcome, answer.reason_code, answer.permit) == (gate_pb2.OUTCOME_DENIED, "RULE", "")
    assert hub.opens == []


BAD_CALLS: dict[str, dict[str, Any]] = {
    "arguments that are no object": {"arguments": b"[1]"},
    "duplicate keys": {"arguments": b'{"a":1,"a":2}'},
    "fifty levels": {"arguments": b'{"a":' * 50 + b"1" + b"}" * 50},
    "ten megabytes": {"arguments": b'{"a":"' + b"x" * 10_000_000 + b'"}'},
    "invalid UTF-8": {"arguments": b'{"a":"\xff"}'},
    "NaN": {"arguments": b'{"a":NaN}'},
    "an integer that does not survive": {"arguments": b'{"a":9007199254740993}'},
    "a homoglyph in the tool's name": {"tool": "g\u0435t_price"},
    "a slash in the tool's name": {"tool": "a/b"},
    "no tool": {"tool": ""},
    "confidence over a hundred": {"confidence_percent": 101},
    "a checkpoint that is too long": {"checkpoint": "x" * 2000},
    "a checkpoint that cannot be seen": {"checkpoint": "a\u202eb"},
    "a user token, which this hub cannot review": {"user_token": "eyJ…"},
    "context that is no object": {"context_json": b"7"},
}


@pytest.mark.parametrize("case", BAD_CALLS)
async def test_I2_a_malformed_call_is_invalid_and_says_why(gate: Running, hub: ScriptedHub, case: str) -> None:
    """Every malformed call is answered INVALID with a message, is recorded without its arguments, and asks nobody."""
    bad = {"tool": "get_price", **BAD_CALLS[case]}
    answer = await gate.answer(bad.pop("tool"), bad.pop("arguments", None), **bad)
    assert (answer.outcome, answer.reason_code, answer.permit) == (gate_pb2.OUTCOME_INVALID, "INVALID_CALL", "")
    assert len(answer.message) > len("The call is malformed: . Nothing ran. Correct the call.")
    record = gate.records()[-1]
    assert (record.decision, record.arguments) == ("Invalid", None)
    assert hub.opens == []


async def test_I2_bytes_that_are_no_message_are_invalid(gate: Running) -> None:
    """What is not even a protobuf is INVALID, not an error of the transport."""
    call = gate.raw("Check")
    answer = gate_pb2.CheckResponse.FromString(await call(b"\xff\xff\xff", timeout=EVER))
    assert answer.outcome == gate_pb2.OUTCOME_INVALID


async def test_I2_without_a_config_every_call_is_unavailable(hub: ScriptedHub, start: Any) -> None:
    """H1: a sidecar that has not heard from its hub refuses, says NO_CONFIG, and is not serving."""
    hub.is_mute = True
    gate: Running = await start()
    answer = await gate.answer("get_price")
    assert (answer.outcome, answer.reason_code) == (gate_pb2.OUTCOME_UNAVAILABLE, "NO_CONFIG")
    assert await gate.health() == "NOT_SERVING"


async def test_a_dry_run_explains_and_leaves_no_trace(gate: Running, hub: ScriptedHub) -> None:
    """dry_run answers what would be answered, without permit, handle, record, request or count."""
    before = len(gate.records())
    allowed = await gate.answer("get_price", dry_run=True)
    held = await gate.answer("refund", dry_run=True)
    refused = await gate.answer("delete_item", dry_run=True)
    assert [a.outcome for a in (allowed, held, refused)] == [
        gate_pb2.OUTCOME_ALLOWED,
        gate_pb2.OUTCOME_PENDING,
        gate_pb2.OUTCOME_DENIED,
    ]
    assert (allowed.permit, held.handle) == ("", "")
    assert len(gate.records()) == before
    assert hub.opens == []


async def test_flood_control_refuses_with_a_limit(hub: ScriptedHub, gate: Running) -> None:
    """The sixty-first call of a tool within a minute is refused with reason LIMIT and a time to come back."""
    calls = [gate.answer("get_price", {"n": n}) for n in range(61)]
    answers = await asyncio.gather(*calls)
    refused = [answer for answer in answers if answer.outcome != gate_pb2.OUTCOME_ALLOWED]
    assert [(a.outcome, a.reason_code, a.retry_after.seconds) for a in refused] == [
        (gate_pb2.OUTCOME_DENIED, "LIMIT", 60)
    ]


async def test_a_call_with_medium_confidence_is_sent_back_to_the_user(gate: Running) -> None:
    """Confidence of 60 % is answered CLARIFY; the same call with more confidence a moment later is not believed."""
    first = await gate.answer("get_price", {"item": "tea"}, confidence_percent=60)
    again = await gate.answer("get_price", {"item": "tea"}, confidence_percent=95, wait=0)
    assert first.outcome == gate_pb2.OUTCOME_CLARIFY
    assert again.outcome == gate_pb2.OUTCOME_PENDING


async def test_a_large_call_is_searched_off_the_loop_and_answered(gate: Running) -> None:
    """A5: arguments of half a megabyte get their verdict too, here a refusal because nobody could be shown them."""
    answer = await gate.answer("refund", {"text": "word " * 100_000})
    assert answer.outcome == gate_pb2.OUTCOME_DENIED
    assert gate.records()[-1].decision == "Deny"


async def test_I10_what_is_recorded_and_told_is_redacted(gate: Running, hub: ScriptedHub) -> None:
    """A password in the arguments is in no record, no request, no answer and no activity."""
    secret = "hunter2-correct-horse"
    await gate.answer("get_price", {"password": secret})
    await gate.answer("note", {"password": secret})
    held = await gate.answer("refund", {"password": secret}, wait=0, justification=f"password={secret}")
    await hub.until(lambda: hub.activity)
    log = b"".join(file.read_bytes() for file in (gate.options.state / "audit").iterdir())
    seen = log.decode() + repr(hub.opens) + repr(hub.activity) + repr(held)
    assert secret not in seen
    assert "REDACTED" in seen


async def test_questions_are_refused_clearly(gate: Running) -> None:
    """Ask is UNIMPLEMENTED and says what to do instead."""
    code, details = await gate.failing("Ask", gate_pb2.AskRequest(question="?"))
    assert code == "UNIMPLEMENTED"
    assert "ask the user" in details


async def test_a_limit_is_charged_when_a_call_is_allowed(gate: Running) -> None:
    """Two calls an hour are allowed, the third is refused with LIMIT."""
    answers = [await gate.answer("limited", {"n": n}) for n in range(3)]
    assert [a.outcome for a in answers] == [gate_pb2.OUTCOME_ALLOWED] * 2 + [gate_pb2.OUTCOME_DENIED]
    assert answers[2].reason_code == "LIMIT"


async def test_a_limit_survives_a_restart(gate: Running, start: Any) -> None:
    """What was charged before the sidecar ended counts after it has started again."""
    await gate.answer("limited")
    await gate.answer("limited")
    await gate.stop()
    again: Running = await start()
    await again.programmed()
    assert (await again.answer("limited")).outcome == gate_pb2.OUTCOME_DENIED


async def test_H2_the_log_of_two_processes_is_one_chain(gate: Running, start: Any) -> None:
    """A restart begins a new epoch that is chained to the one before, and the whole verifies."""
    await gate.answer("get_price")
    await gate.stop()
    again: Running = await start()
    await again.programmed()
    await again.answer("get_price")
    report = verify(gate.options.state / "audit")
    assert (report.epochs, report.problems, report.notes) == (2, (), ())


async def test_an_answer_names_every_policy_kind_the_same_as_the_wire(gate: Running, hub: ScriptedHub) -> None:
    """A Monitor policy lets a refusal run and says what Enforce would have done, in the answer and in the log."""
    hub.change_policy(a_policy({"action": "Deny", "tools": ["*"]}, mode="Monitor"))
    await hub.until(lambda: len(hub.acks) == 2)
    answer = await gate.answer("anything")
    assert (answer.outcome, answer.verdict.would_have) == (gate_pb2.OUTCOME_ALLOWED, gate_pb2.ACTION_DENY)
    assert gate.records()[-1].would_have == "Deny"
