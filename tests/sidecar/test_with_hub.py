"""The sidecar with the real hub: a process of its own, a SQLite store, and people who sign (B4, D3, H2)."""

import base64
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from gates import ALLOWED, EVER, PENDING, Running
from grpc_health.v1 import health_pb2, health_pb2_grpc
from test_holds import REFUND

from hitl.approvals.requests import ApprovalRequest, Category, Decision, DecisionKind, Proof
from hitl.approvals.signing import signed_text
from hitl.audit import RecordKind
from hitl.stores.people import OVERRIDE, add_reviewer, sign
from hitl.stores.sqlite import SQLiteStore
from hitl.v1 import gate_pb2
from hitl_sidecar.options import Options

POLICY = """\
apiVersion: hitl.dev/v1alpha1
kind: AgentPolicy
metadata: {name: support}
spec:
  rules:
  - {action: Confirm, tools: ["shop/refund"], reviewers: [support]}
  - {action: Confirm, tools: ["shop/transfer"], reviewers: [support, managers]}
"""
_workloads = itertools.count(1)


class RealHub:
    """A standalone hub and the people of its home."""

    def __init__(self, home: Path) -> None:
        self.home = home

    async def decide(self, handle: str, reviewer: str, kind: DecisionKind = DecisionKind.APPROVED, **more: Any) -> None:
        """What `hitl approve` and `hitl deny` do: sign, and write one's own entry."""
        namespace, _, name = handle.partition("/")
        async with SQLiteStore.open(self.home / "hitl.db", clock=lambda: datetime.now(UTC)) as store:
            request = await store.get(namespace, name)
            await store.decide(namespace, name, self._signed(request, reviewer, kind, **more))

    async def request(self, handle: str) -> ApprovalRequest:
        namespace, _, name = handle.partition("/")
        async with SQLiteStore.open(self.home / "hitl.db", clock=lambda: datetime.now(UTC)) as store:
            return await store.get(namespace, name)

    def _signed(self, request: ApprovalRequest, reviewer: str, kind: DecisionKind, **more: Any) -> Decision:
        unsigned = Proof("ed25519", time=datetime.now(UTC))
        groups = {"ana": ("support",), "bo": ("managers",), "cy": ("support", "managers"), "di": ()}[reviewer]
        decision = Decision(reviewer, kind, request.spec.digest, request.uid, groups=groups, proof=unsigned, **more)
        cluster_uid = orjson.loads((self.home / "home.json").read_bytes())["clusterUID"]
        signature = base64.b64encode(sign(self.home, reviewer, signed_text(cluster_uid, request, decision))).decode()
        return replace(decision, proof=replace(unsigned, signature=signature))


@pytest.fixture(scope="module")
def real_hub() -> Iterator[RealHub]:
    """One hub process for this module; each test is another workload to it."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="hitl-"))
    (folder / "policy.yaml").write_text(POLICY)
    home = folder / "home"
    command = [sys.executable, "-m", "hitl_operator.standalone", "--home", str(home), "-f", str(folder / "policy.yaml")]
    child = subprocess.Popen([*command, "--namespace", "shop"], stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(
            f"unix:{home / 'hub.sock'}", options=[("grpc.max_reconnect_backoff_ms", 100)]
        ) as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=120, wait_for_ready=True)
        for name, groups in (("ana", ("support",)), ("bo", ("managers",)), ("cy", ("support", "managers"))):
            add_reviewer(home, name, groups)
        add_reviewer(home, "di", (), (OVERRIDE,))
        yield RealHub(home)
    finally:
        child.terminate()
        child.wait()
        shutil.rmtree(folder)


@pytest.fixture
def options(folder: Path, real_hub: RealHub) -> Options:
    """Sidecars of a workload that no other test has."""
    return Options(
        socket=folder / "gate.sock",
        hub=f"unix:{real_hub.home / 'hub.sock'}",
        state=folder / "state",
        namespace="shop",
        workload=f"deploy/w{next(_workloads)}-{os.getpid()}",
        service_account="support",
        pod_name="support-1",
    )


async def test_H2_an_approval_is_recorded_with_its_signature(gate: Running, real_hub: RealHub) -> None:
    """A person signs, the call runs once, and the decision's record carries reviewer and signature."""
    held = await gate.answer("refund", REFUND, wait=0)
    await real_hub.decide(held.handle, "ana", reason="fine")
    answer = await gate.answer("refund", REFUND)
    assert (answer.outcome, answer.handle) == (ALLOWED, held.handle)
    request = await real_hub.request(held.handle)
    assert request.status.decisions[0].proof is not None
    decision = next(r for r in gate.records() if r.kind is RecordKind.DECISION)
    assert (decision.reviewer, decision.proof) == ("ana", f"ed25519:{request.status.decisions[0].proof.signature}")


async def test_D4_an_override_is_recorded_as_one_and_the_agent_is_told(gate: Running, real_hub: RealHub) -> None:
    """D4: one person runs what two were to agree to; audit says override, and the agent hears of an exception."""
    held = await gate.answer("transfer", REFUND, wait=0)
    await real_hub.decide(held.handle, "di", DecisionKind.OVERRIDDEN, reason="INC-88")
    answer = await gate.answer("transfer", REFUND)
    assert (answer.outcome, answer.reason_code) == (ALLOWED, "OVERRIDDEN")
    assert "Approved as an exception" in answer.message
    assert [(each.reviewer, each.approved, each.overridden) for each in answer.reviews] == [("di", True, True)]
    decision = next(r for r in gate.records() if r.kind is RecordKind.DECISION)
    assert decision.human_decision is not None
    assert (decision.human_decision.approved, decision.human_decision.override) == (True, True)
    assert (decision.reviewer, decision.details["reviews"][0]["reason"]) == ("di", "INC-88")
    assert decision.details["reviews"][0]["override"] is True


@pytest.mark.parametrize(("key", "shown"), [("a\nb", r"a\nb"), ("a\u202eb", r"a\\u202eb")])
async def test_G1_an_argument_whose_name_cannot_be_seen_is_held_like_any_other(
    gate: Running, real_hub: RealHub, key: str, shown: str
) -> None:
    """G1: people see the name escaped and cannot edit that argument; the rest of the call they can."""
    held = await gate.answer("refund", {**REFUND, key: 1}, wait=0)
    assert held.outcome == PENDING
    spec = (await real_hub.request(held.handle)).spec
    assert shown in spec.call.arguments_preview
    assert set(spec.patchable) == {f"/{name}" for name in REFUND}


async def test_I6_a_second_identical_call_names_the_earlier_request(gate: Running, real_hub: RealHub) -> None:
    """Released once, asked again without a call_id: a new request that names the one before."""
    held = await gate.answer("refund", REFUND, wait=0)
    await real_hub.decide(held.handle, "ana")
    assert (await gate.answer("refund", REFUND)).outcome == ALLOWED
    again = await gate.answer("refund", REFUND, wait=0)
    assert again.outcome == PENDING
    assert (await real_hub.request(again.handle)).spec.earlier == held.handle.partition("/")[2]


async def test_D3_an_edit_of_one_reviewer_runs_at_once(gate: Running, real_hub: RealHub) -> None:
    """One approval suffices: the agent gets the reviewer's arguments, and the hub keeps both digests."""
    held = await gate.answer("refund", REFUND, wait=0)
    await real_hub.decide(held.handle, "ana", arguments_patch={"amount": 12000})
    answer = await gate.answer("refund", REFUND)
    assert answer.outcome == ALLOWED
    assert orjson.loads(answer.arguments_json) == {**REFUND, "amount": 12000}
    request = await real_hub.request(held.handle)
    assert request.status.consumed_digest == answer.verdict.digest != request.spec.digest


async def test_D3_an_edit_where_two_must_agree_asks_the_others(gate: Running, real_hub: RealHub) -> None:
    """The editor is excluded from the new request; with the others' word the original call runs as edited."""
    waits = gate.check("transfer", REFUND)
    (handle,) = await _handles(gate, 1)
    await real_hub.decide(handle, "ana", arguments_patch={"amount": 12000})
    answer = await waits
    assert (answer.outcome, answer.permit) == (PENDING, "")
    successor = await real_hub.request(answer.handle)
    assert (answer.handle != handle, successor.spec.excluded) == (True, ("ana",))
    for reviewer in ("bo", "cy"):
        await real_hub.decide(answer.handle, reviewer)
    released = await gate.answer("transfer", REFUND)
    assert (released.outcome, released.handle) == (ALLOWED, answer.handle)
    assert orjson.loads(released.arguments_json)["amount"] == 12000


async def _handles(gate: Running, count: int) -> list[str]:
    """Of the holds that the hub has answered."""
    await gate.waits(count)
    return [hold.handle for hold in gate.sidecar.holding.table]


async def test_B4_a_denied_call_is_not_asked_again(gate: Running, real_hub: RealHub) -> None:
    """Denied with a category: the waiting call hears it, and the same call in another session is refused unasked."""
    waits = gate.check("refund", REFUND)
    (handle,) = await _handles(gate, 1)
    await real_hub.decide(
        handle, "ana", DecisionKind.DENIED, reason="refunded yesterday", category=Category.MISSING_CONTEXT
    )
    denied = await waits
    assert (denied.outcome, denied.reason_code) == (gate_pb2.OUTCOME_DENIED, "REVIEWER")
    assert "refunded yesterday" in denied.message
    again = await gate.answer("refund", REFUND, session_id="another", call_id="new")
    assert (again.outcome, again.reason_code) == (gate_pb2.OUTCOME_DENIED, "COOLDOWN")


async def test_B4_handles_do_not_cross_workloads(gate: Running, start: Callable[..., Any], folder: Path) -> None:
    """Another workload that knows the handle can neither await nor cancel it; its own same call asks anew."""
    held = await gate.answer("refund", REFUND, wait=0, call_id="toolu_1")
    stranger: Running = await start(
        socket=folder / "other.sock", state=folder / "other", workload=f"deploy/stranger-{os.getpid()}"
    )
    await stranger.programmed()
    seen = await stranger.stub.Await(gate_pb2.AwaitRequest(handle=held.handle), timeout=EVER)
    assert (seen.outcome, seen.checkpoint, list(seen.reviews)) == (gate_pb2.OUTCOME_INVALID, "", [])
    code, _ = await stranger.failing("Cancel", gate_pb2.CancelRequest(handle=held.handle))
    assert code == "NOT_FOUND"
    own = await stranger.answer("refund", REFUND, wait=0, call_id="toolu_1")
    assert (own.outcome, own.handle == held.handle) == (PENDING, False)


async def test_a_report_reaches_whoever_awaits(gate: Running, real_hub: RealHub) -> None:
    """Released, executed, reported: Await tells ALREADY_RELEASED with the result."""
    held = await gate.answer("refund", REFUND, wait=0)
    await real_hub.decide(held.handle, "ana")
    permit = (await gate.answer("refund", REFUND)).permit
    report = gate_pb2.ReportRequest(permit=permit, result=gate_pb2.RESULT_FAILED)
    await gate.stub.Report(report, timeout=EVER)
    answer = await gate.stub.Await(gate_pb2.AwaitRequest(handle=held.handle), timeout=EVER)
    assert (answer.outcome, answer.reported_result) == (
        gate_pb2.OUTCOME_ALREADY_RELEASED,
        gate_pb2.RESULT_FAILED,
    )
