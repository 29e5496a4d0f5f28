"""Spans of calls, as a real OTLP collector gets them from a real sidecar process (DESIGN 13, I10)."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from gates import ALLOWED, EVER, PENDING
from peer import ScriptedHub
from test_holds import REFUND
from test_process import Process, launch

from hitl.tracing import is_wanted, open_traces, trace_id_of
from hitl.v1 import gate_pb2
from otlp import Collector, collector, said

__all__ = ["collector", "launch"]
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_call_is_a_span_of_its_callers_trace(launch: Callable[..., Any], collector: Collector) -> None:
    """Name, attributes and parent are those of the conventions; OTEL_SERVICE_NAME unset, the program names itself."""
    process: Process = await launch()
    await process.until_said("is in force")
    request = gate_pb2.CheckRequest(
        call=gate_pb2.ToolCall(server="shop", tool="get_price", arguments_json=b"{}", call_id="c-1", session_id="s-1")
    )
    answer = await process.stub.Check(request, timeout=EVER, metadata=(("traceparent", CALLER),))
    assert answer.outcome == ALLOWED
    (span,) = await collector.got(1)
    assert span.name == "execute_tool get_price"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace_id_of(CALLER), CALLER.split("-")[2])
    attributes = said(span)
    assert attributes["gen_ai.operation.name"] == "execute_tool"
    assert attributes["gen_ai.tool.name"] == "get_price"
    assert (attributes["gen_ai.tool.call.id"], attributes["gen_ai.conversation.id"]) == ("c-1", "s-1")
    assert (attributes["hitl.outcome"], attributes["hitl.action"]) == ("ALLOWED", "Allow")
    assert collector.services == {"hitl-sidecar"}


async def test_what_resumes_a_held_call_links_to_the_span_that_asked(
    launch: Callable[..., Any], hub: ScriptedHub, collector: Collector
) -> None:
    """The request carries the first span's name, also past a restart; the call that is let through links to it."""
    process: Process = await launch()
    await process.until_said("is in force")
    assert (await process.check("refund", REFUND, wait=0)).outcome == PENDING
    (request,) = hub.requests.values()
    assert await process.end(signal.SIGTERM) == 0
    process = await launch()
    await process.until_said("is in force")
    hub.approve(request)
    assert (await process.check("refund", REFUND)).outcome == ALLOWED
    asked, resumed = await collector.got(2)
    assert request.spec.traceparent == f"00-{asked.trace_id.hex()}-{asked.span_id.hex()}-01"
    assert [(link.trace_id, link.span_id) for link in resumed.links] == [(asked.trace_id, asked.span_id)]
    assert (said(asked)["hitl.outcome"], said(resumed)["hitl.outcome"]) == ("PENDING", "ALLOWED")
    assert said(resumed)["hitl.handle"] == request.handle


async def test_I10_no_argument_is_in_a_span(launch: Callable[..., Any], collector: Collector) -> None:
    """I10: what the agent wants to do it with stays here, and what it names freely cannot draw on a screen."""
    process: Process = await launch()
    await process.until_said("is in force")
    await process.check("get_price", {"note": "canary-7f3a"}, session_id="s\x1b[31m", justification="canary-7f3a")
    (span,) = await collector.got(1)
    assert b"canary-7f3a" not in span.SerializeToString()
    assert "\x1b" not in said(span)["gen_ai.conversation.id"]


async def test_a_caller_that_leaves_ends_its_span(
    launch: Callable[..., Any], hub: ScriptedHub, collector: Collector
) -> None:
    """A held call whose caller goes is told as such."""
    process: Process = await launch()
    await process.until_said("is in force")
    waits = asyncio.create_task(process.check("refund", REFUND))
    await hub.until(lambda: hub.requests)
    waits.cancel()
    (span,) = await collector.got(1)
    assert said(span)["hitl.outcome"] == "CANCELLED_BY_CALLER"


async def test_a_collector_that_is_away_holds_nothing_up(
    launch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls are answered and the process ends in order, though every span is lost."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    process: Process = await launch()
    await process.until_said("is in force")
    assert (await process.check("get_price")).outcome == ALLOWED
    assert await process.end() == 0
    assert "Traceback" not in process.said


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_spans_are_made_only_where_the_environment_says_where_to(environment: dict[str, str], wanted: bool) -> None:
    """The standard variables decide; without them there are no traces at all."""
    assert is_wanted(environment) is wanted
    if not wanted:
        assert open_traces("hitl-test", environment) is None


def test_nothing_is_imported_where_nobody_collects() -> None:
    """A sidecar carries none of OpenTelemetry until the environment names a collector."""
    code = "import sys, hitl_sidecar.main; print([each for each in sys.modules if each.startswith('opentelemetry')])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
