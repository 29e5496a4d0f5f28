"""Await, Cancel, Report and DeclareTools, health and reflection."""

from typing import Any

import orjson
import pytest
from gates import ALLOWED, EVER, PENDING, Running
from google.protobuf.duration_pb2 import Duration
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from peer import ScriptedHub, a_policy
from test_holds import REFUND, waiting

from hitl.audit import RecordKind
from hitl.v1 import gate_pb2, hub_pb2

LOOK = Duration(seconds=0)


async def a_request_of(gate: Running, hub: ScriptedHub) -> Any:
    """A request that waits."""
    await gate.answer("refund", REFUND, wait=0, checkpoint="thread-7")
    return hub.only()


async def test_await_looks_and_waits_without_releasing(gate: Running, hub: ScriptedHub) -> None:
    """PENDING at a look; APPROVED once people agreed; nothing is consumed by waiting."""
    request = await a_request_of(gate, hub)
    look = await gate.stub.Await(gate_pb2.AwaitRequest(handle=request.handle, wait=LOOK), timeout=EVER)
    assert (look.outcome, look.checkpoint) == (PENDING, "thread-7")
    assert look.expire_time.seconds > request.created
    waits = gate.stub.Await(gate_pb2.AwaitRequest(handle=request.handle), timeout=EVER)
    await hub.until(lambda: len(request.refs) == 3)
    request.outcome = gate_pb2.OUTCOME_APPROVED
    hub.tell(request)
    assert (await waits).outcome == gate_pb2.OUTCOME_APPROVED
    assert hub.consumed == []


async def test_await_tells_what_was_reported(gate: Running, hub: ScriptedHub) -> None:
    """After release Await says ALREADY_RELEASED and how it ended."""
    request = await a_request_of(gate, hub)
    hub.on_open = None
    hub.requests[request.handle].outcome = gate_pb2.OUTCOME_ALREADY_RELEASED
    answer = await gate.stub.Await(gate_pb2.AwaitRequest(handle=request.handle), timeout=EVER)
    assert answer.outcome == gate_pb2.OUTCOME_ALREADY_RELEASED


@pytest.mark.parametrize("handle", ["", "refund-1", "shop/", "/x", "sh\u202eop/x", "a/" + "x" * 400])
async def test_await_refuses_what_is_no_handle(gate: Running, handle: str) -> None:
    """A malformed handle is INVALID and says what a handle looks like."""
    answer = await gate.stub.Await(gate_pb2.AwaitRequest(handle=handle), timeout=EVER)
    assert answer.outcome == gate_pb2.OUTCOME_INVALID
    assert "namespace/name" in answer.message


async def test_I1_await_never_says_allowed(gate: Running, hub: ScriptedHub) -> None:
    """A hub that answers ALLOWED to an Await is not understood: UNAVAILABLE."""
    request = await a_request_of(gate, hub)
    hub.requests[request.handle].outcome = gate_pb2.OUTCOME_ALLOWED
    answer = await gate.stub.Await(gate_pb2.AwaitRequest(handle=request.handle), timeout=EVER)
    assert answer.outcome == gate_pb2.OUTCOME_UNAVAILABLE


async def test_cancel_withdraws_and_the_waiting_call_is_told(gate: Running, hub: ScriptedHub) -> None:
    """Cancel: the request ends as Withdrawn, Cancel and the waiting call both say CANCELLED."""
    call, request = await waiting(gate, hub)
    answer = await gate.stub.Cancel(gate_pb2.CancelRequest(handle=request.handle, reason="no longer"), timeout=EVER)
    assert answer.outcome == gate_pb2.OUTCOME_CANCELLED == (await call).outcome
    assert [(c.reason, c.condition_reason) for c in hub.cancelled] == [("no longer", "Withdrawn")]


async def test_B4_cancelling_what_is_not_ours_is_not_found(gate: Running) -> None:
    """The hub knows no such request of this workload: NOT_FOUND, whoever guessed the handle."""
    code, details = await gate.failing("Cancel", gate_pb2.CancelRequest(handle="shop/foreign-1"))
    assert code == "NOT_FOUND"
    assert "no such request of this workload" in details


async def released(gate: Running, hub: ScriptedHub) -> gate_pb2.CheckResponse:
    """A call that people allowed."""
    call, request = await waiting(gate, hub)
    hub.approve(request)
    answer: gate_pb2.CheckResponse = await call
    assert answer.outcome == ALLOWED
    return answer


async def test_a_report_closes_the_permit_once(gate: Running, hub: ScriptedHub) -> None:
    """The first report is recorded and told to the hub; the same again answers the same and changes nothing."""
    answer = await released(gate, hub)
    report = gate_pb2.ReportRequest(permit=answer.permit, result=gate_pb2.RESULT_SUCCEEDED, output_json=b'{"ok":1}')
    first = await gate.stub.Report(report, timeout=EVER)
    second = await gate.stub.Report(report, timeout=EVER)
    assert first == second == gate_pb2.ReportResponse()
    assert [(r.handle, r.result) for r in hub.reported] == [(answer.handle, gate_pb2.RESULT_SUCCEEDED)]
    reports = [record for record in gate.records() if record.kind is RecordKind.REPORT]
    assert [(r.tool, r.decision, r.handle) for r in reports] == [("shop/refund", "Succeeded", answer.handle)]


async def test_I10_a_result_is_redacted_where_the_policy_says_so(gate: Running, hub: ScriptedHub) -> None:
    """redaction.responses: the secret in the output is replaced and named; what is no JSON is withheld."""
    hub.change_policy(a_policy(redaction={"responses": True}))
    await hub.until(lambda: len(hub.acks) == 2)
    permit = (await gate.answer("get_price")).permit
    secret = b"AKIAIOSFODNN7EXAMPLE"
    report = gate_pb2.ReportRequest(permit=permit, output_json=b'{"text":"key %s"}' % secret)
    shown = await gate.stub.Report(report, timeout=EVER)
    assert secret not in shown.output_json
    assert b"[REDACTED:" in shown.output_json
    assert shown.findings
    odd = await gate.stub.Report(gate_pb2.ReportRequest(permit=permit, output_json=b"key %s" % secret), timeout=EVER)
    assert not odd.HasField("output_json")
    assert odd.withheld_message


async def test_a_report_after_a_restart_still_redacts(gate: Running, hub: ScriptedHub, start: Any) -> None:
    """A permit of an earlier process closes nothing and is no reason to show a secret."""
    hub.change_policy(a_policy(redaction={"responses": True}))
    await hub.until(lambda: len(hub.acks) == 2)
    permit = (await gate.answer("get_price")).permit
    await gate.stop()
    again: Running = await start()
    await again.programmed()
    report = gate_pb2.ReportRequest(permit=permit, output_json=b'{"text":"AKIAIOSFODNN7EXAMPLE"}')
    assert b"AKIA" not in (await again.stub.Report(report, timeout=EVER)).output_json


@pytest.mark.parametrize("permit", ["", "x", "a b.1", "../../etc.1", "é.1"])
async def test_a_report_without_a_permit_is_refused(gate: Running, permit: str) -> None:
    """What is no permit is INVALID_ARGUMENT and says which one to send."""
    code, details = await gate.failing("Report", gate_pb2.ReportRequest(permit=permit))
    assert code == "INVALID_ARGUMENT"
    assert "the one that Check gave" in details


async def test_a_report_with_an_unknown_result_is_refused(gate: Running) -> None:
    """A result of a newer release is INVALID_ARGUMENT, not taken for success."""
    permit = (await gate.answer("get_price")).permit
    report = gate_pb2.ReportRequest(permit=permit, result=9)  # type: ignore[arg-type]
    assert (await gate.failing("Report", report))[0] == "INVALID_ARGUMENT"


def a_tool(name: str, **definition: Any) -> gate_pb2.ToolDefinition:
    return gate_pb2.ToolDefinition(name=name, definition_json=orjson.dumps({"name": name, **definition}))


async def test_declared_tools_are_presented_by_their_best_case(gate: Running) -> None:
    """Each tool in the order given: the least strict action any arguments could get; hidden where that is Deny."""
    tools = [a_tool(name) for name in ("get_price", "delete_item", "refund", "deploy")]
    answer = await gate.stub.DeclareTools(gate_pb2.DeclareToolsRequest(server="shop", tools=tools), timeout=EVER)
    assert [(t.name, gate_pb2.Action.Name(t.best_case), t.hidden) for t in answer.tools] == [
        ("get_price", "ACTION_ALLOW", False),
        ("delete_item", "ACTION_DENY", True),
        ("refund", "ACTION_CONFIRM", False),
        ("deploy", "ACTION_MULTI_FACTOR", False),
    ]


async def test_a_rule_that_looks_at_arguments_may_go_the_agents_way(gate: Running, hub: ScriptedHub) -> None:
    """Denied for some arguments only: shown, and its best case is what the other arguments get."""
    rules = [
        {"action": "Deny", "tools": ["pay"], "args": {"amount": {"min": 100}}},
        {"action": "Allow", "tools": ["pay"], "args": {"amount": {"max": 10}}},
        {"action": "Confirm", "tools": ["pay"]},
    ]
    hub.change_policy(a_policy(*rules))
    await hub.until(lambda: len(hub.acks) == 2)
    request = gate_pb2.DeclareToolsRequest(server="bank", tools=[a_tool("pay")])
    (tool,) = (await gate.stub.DeclareTools(request, timeout=EVER)).tools
    assert (tool.best_case, tool.hidden) == (gate_pb2.ACTION_ALLOW, False)


async def test_A4_two_tools_of_one_normalised_name_are_refused(gate: Running) -> None:
    """Read and READ are one tool to every rule: INVALID_ARGUMENT naming both."""
    request = gate_pb2.DeclareToolsRequest(server="shop", tools=[a_tool("Read"), a_tool("READ")])
    code, details = await gate.failing("DeclareTools", request)
    assert code == "INVALID_ARGUMENT"
    assert "'Read' and 'READ' are both shop/read" in details


@pytest.mark.parametrize("definition", [b"[]", b"{", b'{"a":1,"a":2}', b"x" * 70_000])
async def test_a_definition_that_cannot_be_read_is_refused(gate: Running, definition: bytes) -> None:
    """A definition that is no object, ambiguous or too long is INVALID_ARGUMENT, and none of the list is kept."""
    tools = [a_tool("good"), gate_pb2.ToolDefinition(name="bad", definition_json=definition)]
    code, _ = await gate.failing("DeclareTools", gate_pb2.DeclareToolsRequest(server="shop", tools=tools))
    assert code == "INVALID_ARGUMENT"
    assert gate.sidecar.declared.get("shop/good") is None


async def test_a_declared_tool_raises_its_score(gate: Running, hub: ScriptedHub) -> None:
    """A tool that calls itself destructive scores higher than its harmless name alone."""
    score = {"action": "Score", "tools": ["*"]}
    hub.change_policy(a_policy(score, autonomy="Calibrated"))
    await hub.until(lambda: len(hub.acks) == 2)
    before = await gate.answer("update_note", dry_run=True)
    tool = a_tool("update_note", annotations={"destructiveHint": True})
    await gate.stub.DeclareTools(gate_pb2.DeclareToolsRequest(server="shop", tools=[tool]), timeout=EVER)
    after = await gate.answer("update_note", dry_run=True)
    assert after.verdict.score > before.verdict.score


async def test_health_and_reflection_are_there(gate: Running) -> None:
    """SERVING with a config; grpcurl finds GateService without our protos."""
    assert await gate.health() == "SERVING"
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(gate.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = [answer async for answer in stub.ServerReflectionInfo(iter([asked]), timeout=EVER)]
    names = [service.name for service in answers[0].list_services_response.service]
    assert "hitl.v1.GateService" in names


async def test_the_hub_hears_of_a_report_even_if_the_answer_is_lost(gate: Running, hub: ScriptedHub) -> None:
    """A hub that is away does not keep the agent from its result."""
    answer = await released(gate, hub)
    await hub.stop()
    report = gate_pb2.ReportRequest(permit=answer.permit, result=gate_pb2.RESULT_FAILED)
    assert await gate.stub.Report(report, timeout=EVER) == gate_pb2.ReportResponse()
    assert [r for r in hub.reported if isinstance(r, hub_pb2.HubServiceReportRequest)] == []
