"""A freeze in the sidecar: it binds at once, ends what waits, and is outlived by no older config (I1, I8, I9)."""

from datetime import UTC, datetime

from gates import ALLOWED, Running
from peer import ScriptedHub, a_document, a_policy
from test_holds import waiting

from hitl.audit import RecordKind
from hitl.policy.freezes import Freeze
from hitl.policy.globs import Glob
from hitl.v1 import gate_pb2

STOP = Freeze("inc-88", "shop", "u-88", 1, "ana@example.com", "INC-88: strange pushes")


def freeze(hub: ScriptedHub, *freezes: Freeze) -> None:
    """The hub sends a config in which this is frozen."""
    hub.document = a_document(a_policy(), freezes=freezes)
    hub.send(hub.config())


async def test_I1_what_ran_before_is_refused_with_who_and_why(gate: Running, hub: ScriptedHub) -> None:
    """DENIED, FROZEN, with the words of the one who froze it; thawed, it runs again."""
    assert (await gate.check("get_order", {})).outcome == ALLOWED
    freeze(hub, STOP)
    await hub.until(lambda: len(hub.acks) == 2)
    answer = await gate.check("get_order", {})
    assert (answer.outcome, answer.reason_code, answer.permit) == (gate_pb2.OUTCOME_DENIED, "FROZEN", "")
    assert 'frozen by ana@example.com: "INC-88: strange pushes"' in answer.message
    assert "Do not retry before people have lifted the freeze" in answer.message
    record = gate.records()[-1]
    assert (record.kind, record.decision, record.reason) == (RecordKind.VERDICT, "Deny", "FROZEN")
    freeze(hub)
    await hub.until(lambda: len(hub.acks) == 3)
    assert (await gate.check("get_order", {})).outcome == ALLOWED


async def test_I9_a_call_that_waits_is_cancelled_not_denied(gate: Running, hub: ScriptedHub) -> None:
    """I8, I9: nobody said no to the call; its request ends as Cancelled/Frozen and nothing is consumed."""
    call, request = await waiting(gate, hub)
    await gate.waits(1)
    freeze(hub, STOP)
    answer = await call
    assert (answer.outcome, answer.reason_code, answer.handle) == (
        gate_pb2.OUTCOME_CANCELLED,
        "FROZEN",
        request.handle,
    )
    assert "nobody said no" in answer.message
    assert [(each.handle, each.condition_reason) for each in hub.cancelled] == [(request.handle, "Frozen")]
    assert hub.consumed == []
    record = gate.records()[-1]
    assert (record.kind, record.decision, record.reason) == (RecordKind.DECISION, "Cancelled", "FROZEN")


async def test_I8_an_approval_does_not_release_what_is_frozen(gate: Running, hub: ScriptedHub) -> None:
    """I8: approved in the moment in which it was frozen, the call is judged again and not consumed."""
    call, request = await waiting(gate, hub)
    freeze(
        hub, Freeze("t", "shop", "u-t", 1, "ana", "INC-9", datetime(2030, 1, 1, tzinfo=UTC), (Glob.parse("refund"),))
    )
    hub.approve(request)
    answer = await call
    assert (answer.outcome, answer.reason_code) == (gate_pb2.OUTCOME_CANCELLED, "FROZEN")
    assert "until 2030-01-01 00:00 UTC" in answer.message
    assert hub.consumed == []


async def test_a_config_with_an_override_of_another_type_is_refused_whole(gate: Running, hub: ScriptedHub) -> None:
    """What this release does not know is not ignored: NACK, and what was in force stays."""
    document = a_document(a_policy(), freezes=(STOP,))
    document["overrides"][0]["type"] = "Incident"
    hub.document = document
    hub.send(hub.config())
    await hub.until(lambda: len(hub.acks) == 2)
    assert not hub.acks[-1].accepted
    assert "overrides[0].type" in hub.acks[-1].reason
