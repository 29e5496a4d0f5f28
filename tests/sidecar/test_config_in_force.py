"""Configs: only what compiles, is what it says and is for this pod comes into force, and it does not last (H1)."""

from typing import Any

import orjson
import pytest
from gates import ALLOWED, Running
from peer import KEY, KEY_ID, ScriptedHub, a_document, a_policy

from hitl.audit import RecordKind
from hitl.policy.config import revision_of
from hitl.v1 import gate_pb2, hub_pb2

UNAVAILABLE = gate_pb2.OUTCOME_UNAVAILABLE


def bytes_of(**changes: Any) -> dict[str, Any]:
    """A document with some of its parts replaced, and the revision that belongs to it."""
    document = {**a_document(a_policy(name="other")), **changes}
    return {"document_json": orjson.dumps(document), "revision": revision_of(document)}


GARBAGE: dict[str, Any] = {
    "no JSON": {"document_json": b"{", "revision": "x"},
    "no object": {"document_json": b"[]", "revision": "x"},
    "nothing at all": {"document_json": b"", "revision": ""},
    "a revision that is not the document's": {"revision": "0" * 64},
    "another schema": bytes_of(schema=2),
    "policies of the wrong type": bytes_of(policies=[]) | {"document_json": b'{"schema":1,"policies":7}'},
    "a policy with an unknown key": bytes_of(policies=[a_policy({"acton": "Deny", "tools": ["*"]})]),
    "another namespace": bytes_of(namespaceUID="5f0c2a4e-0000-4000-8000-0000000000ff"),
    "no word about a baseline": bytes_of(baseline="maybe"),
    "a key that was not sent": {"keys": []},
    "a key that is too short": {"keys": [hub_pb2.NamespaceKey(id=KEY_ID, key=KEY[:16])]},
    "no identity": {"identity": hub_pb2.AgentIdentity()},
}


@pytest.mark.parametrize("case", GARBAGE)
async def test_H1_a_hub_that_answers_garbage_changes_nothing(gate: Running, hub: ScriptedHub, case: str) -> None:
    """A config that is garbage is NACKed with a reason, and the last good one goes on deciding."""
    before = gate.sidecar.programmed.revision
    other = a_document(a_policy({"action": "Deny", "tools": ["*"]}, name="other"))
    hub.send(hub.config(other, **GARBAGE[case]))
    await hub.until(lambda: len(hub.acks) == 2)
    assert not hub.acks[1].accepted
    assert hub.acks[1].reason
    assert gate.sidecar.programmed.revision == before
    assert (await gate.answer("get_price")).outcome == ALLOWED


async def test_H1_a_hub_of_another_cluster_is_not_believed(gate: Running, hub: ScriptedHub) -> None:
    """A good config for the same namespace uid under another cluster uid is NACKed: a sidecar never moves."""
    update = hub.config(a_document(a_policy(name="other")))
    update.identity.cluster_uid = "5f0c2a4e-0000-4000-8000-0000000000ff"
    hub.send(update)
    await hub.until(lambda: len(hub.acks) == 2)
    assert not hub.acks[1].accepted
    assert "another hub answers" in hub.acks[1].reason


async def test_a_good_config_is_acknowledged_recorded_and_obeyed(gate: Running, hub: ScriptedHub) -> None:
    """Another policy comes into force with the next call, is ACKed by its revision and stands in the audit log."""
    hub.change_policy(a_policy({"action": "Deny", "tools": ["*"]}, name="stop"))
    await hub.until(lambda: len(hub.acks) == 2)
    assert hub.acks[1] == hub_pb2.Ack(revision=revision_of(hub.document), accepted=True)
    assert (await gate.answer("get_price")).outcome == gate_pb2.OUTCOME_DENIED
    config = next(r for r in reversed(gate.records()) if r.kind is RecordKind.CONFIG)
    assert (config.revision, config.details["policies"]) == (revision_of(hub.document), ["AgentPolicy/shop/stop"])


async def test_H1_a_config_goes_stale_without_the_hub(gate: Running, hub: ScriptedHub) -> None:
    """The last good config serves for maxStaleness (15 min) without the hub, then calls are STALE_CONFIG."""
    await hub.stop()
    gate.jumped = 890
    assert (await gate.answer("get_price")).outcome == ALLOWED
    gate.jumped = 901
    answer = await gate.answer("get_price")
    assert (answer.outcome, answer.reason_code) == (UNAVAILABLE, "STALE_CONFIG")
    await gate.sidecar.server.tell_health()
    assert await gate.health() == "NOT_SERVING"


async def test_H1_a_heartbeat_keeps_the_config_fresh(gate: Running, hub: ScriptedHub) -> None:
    """The hub's word that this revision is the current one counts as hearing from it; the audit head goes up."""
    gate.jumped = 890
    hub.send(hub_pb2.Heartbeat(revision=gate.sidecar.programmed.revision))
    hub.change_policy(a_policy(), a_policy({"action": "Deny", "tools": ["x"]}, name="more"))
    await hub.until(lambda: len(hub.acks) == 2)
    gate.jumped = 1700
    assert (await gate.answer("get_price")).outcome == ALLOWED


async def test_H1_a_heartbeat_for_another_revision_does_not_refresh(gate: Running, hub: ScriptedHub) -> None:
    """A hub that wants another revision than the one that runs (it was NACKed) does not keep that one alive."""
    gate.jumped = 500
    hub.send(hub_pb2.Heartbeat(revision="0" * 64))
    hub.send(hub_pb2.ConfigUpdate(document_json=b"{"))
    await hub.until(lambda: len(hub.acks) == 2)
    gate.jumped = 901
    assert (await gate.answer("get_price")).reason_code == "STALE_CONFIG"


async def test_H1_a_hub_that_knows_nothing_new_keeps_nothing_fresh(gate: Running, hub: ScriptedHub) -> None:
    """A hub that lost the API server says since when; its config serves for maxStaleness from then on."""
    revision = gate.sidecar.programmed.revision
    gate.jumped = 500
    hub.send(hub_pb2.Heartbeat(revision=revision, age_seconds=450))
    hub.send(hub.config(age_seconds=450))
    await hub.until(lambda: len(hub.acks) == 2)
    gate.jumped = 940
    assert (await gate.answer("get_price")).outcome == ALLOWED
    gate.jumped = 951
    assert (await gate.answer("get_price")).reason_code == "STALE_CONFIG"


async def test_H1_a_new_config_is_as_old_as_the_hub_says(gate: Running, hub: ScriptedHub) -> None:
    """A sidecar that starts beside a hub without API server does not take its config for a fresh one."""
    hub.change_policy(a_policy(name="more"), age_seconds=899)
    await hub.until(lambda: len(hub.acks) == 2)
    gate.jumped = 2
    assert (await gate.answer("get_price")).reason_code == "STALE_CONFIG"


async def test_a_sidecar_says_hello_with_what_it_runs(gate: Running, hub: ScriptedHub) -> None:
    """After a reconnect the sidecar names the revision it still runs, its epoch and its compiler."""
    await hub.stop()
    await hub.start()
    first, second = await hub.until(lambda: hub.hellos if len(hub.hellos) == 2 else None)
    assert (first.revision, second.revision) == ("", gate.sidecar.programmed.revision)
    assert first.epoch == second.epoch
    assert first.compiler.startswith("hitl-")
    assert list(first.schemas) == [1]


async def test_a_standalone_sidecar_says_who_it_is(gate: Running, hub: ScriptedHub) -> None:
    """What it was started with travels in the metadata: namespace, ServiceAccount, workload, pod and labels."""
    agent = hub.agent
    assert agent is not None
    assert (agent.namespace, agent.service_account, agent.workload) == ("shop", "support", "deploy/support")
    assert (agent.pod_name, agent.labels) == ("support-1", {"app": "support"})
    assert agent.pod_uid
