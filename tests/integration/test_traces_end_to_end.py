"""One trace from the call over the people who decided to the release, through real processes (DESIGN 13)."""

import asyncio
import tempfile
import urllib.request
from pathlib import Path

import pytest

from hitl_cli.demo.stage import Stage
from hitl_cli.demo.world import World
from otlp import Collector, collector, said

__all__ = ["collector"]
pytestmark = pytest.mark.timeout(300)


def story(stage: Stage) -> str:
    """A held call, approved and run; the hub's metrics afterwards, as Prometheus asks for them."""
    World(stage.folder / "world").build()
    stage.lay()
    stage.start_hub()
    stage.start_sidecar()
    stage.start_agent()
    arguments = {"customer": "C-20817", "amount": 100, "currency": "eur"}
    order = {"do": "check", "server": "payments", "tool": "create_refund", "arguments": arguments, "callID": "t"}
    name = stage.answer(stage.order(**order, wait=0))["handle"].partition("/")[2]
    assert stage.hitl("approve", name, "--as", "ana").returncode in (0, 5)  # 5: not counted yet, two seconds on
    assert stage.answer(stage.order(**order))["outcome"] == "ALLOWED"
    page = urllib.request.Request(
        stage.metrics_url("hub"), headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    with urllib.request.urlopen(page, timeout=60) as answer:
        return str(answer.read().decode())


async def test_call_approval_and_release_are_one_trace(collector: Collector) -> None:
    """The hub's span of the wait hangs under the call's; what resumed links there; the histogram names the trace."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="hitl-") as folder:
        stage = Stage(Path(folder))
        try:
            metrics = await asyncio.to_thread(story, stage)
        finally:
            await asyncio.to_thread(stage.close)
    spans = {each.name: each for each in await collector.got(3)}
    waited = spans["await_approval create_refund"]
    asked, resumed = sorted(
        (each for each in collector.spans if each.name == "execute_tool create_refund"),
        key=lambda each: each.start_time_unix_nano,
    )
    assert (waited.trace_id, waited.parent_span_id) == (asked.trace_id, asked.span_id)
    assert waited.end_time_unix_nano > waited.start_time_unix_nano
    assert said(waited)["hitl.outcome"] == "Consumed"
    assert [link.span_id for link in resumed.links] == [asked.span_id]
    assert collector.services == {"hitl-hub", "hitl-sidecar"}
    exemplar = f'# {{trace_id="{asked.trace_id.hex()}"}}'
    kinds = {line.partition("_bucket")[0] for line in metrics.splitlines() if exemplar in line}
    assert kinds == {"hitl_hold_duration_seconds", "hitl_review_latency_seconds"}
