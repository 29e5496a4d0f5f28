"""Kubernetes Events: what people see without asking, once, bounded, and never an argument (I10, G1, DESIGN 18)."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.enforcing import eventually
from cluster.gated_pods import until
from cluster.operators import GROUPS
from cluster.voting import Court, Json, a_court
from control_plane.running import ControlPlane
from hitl.approvals.conditions import with_outcome
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Proof, State, Verified
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.credentials import TokenFile
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT
from hitl.policy.calls import Agent
from hitl.policy.verdicts import OnTimeout, Requirement
from hitl.stores.kubernetes.objects import request_of
from hitl.v1 import gate_pb2, hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.cluster.events import About, Events
from hitl_operator.reminding import Reminder
from stores.asking import a_spec

AT = datetime(2026, 5, 1, 2, 47, 10, tzinfo=UTC)


@pytest.fixture
def court(control_plane: ControlPlane) -> Court:
    """A namespace in which nobody else's Events stand."""
    return a_court(control_plane)


@asynccontextmanager
async def posting(
    court: Court, *, at: datetime = AT, instance: str = "hitl-1", **options: Any
) -> AsyncIterator[Events]:
    """Events of one replica that are posted as they are said."""
    async with court.operator() as api:
        events = Events(api, "hitl-system", instance, clock=lambda: at, **options)
        running = asyncio.create_task(events.run())
        try:
            yield events
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def found(court: Court, wanted: int, namespace: str = "", **fields: str) -> list[Json]:
    """So many Events with these values; fails where it is never that many."""

    async def look() -> list[Json]:
        async with court.admin() as api:
            page = await api.list_page(path_of("v1", "events", namespace or court.namespace))
        events = [item for item in page["items"] if fields.items() <= item.items()]
        return events if len(events) >= wanted else []

    events: list[Json] = await eventually(look)
    assert len(events) == wanted
    return events


async def a_request(court: Court) -> ApprovalRequest:
    return request_of(await court.ask(a_spec(on_behalf_of="", summary="refund 150.00 EUR")))


def identity(court: Court, *, pod: str = "support-1", workload: str = "deploy/support") -> Identity:
    return Identity(Agent(court.namespace, "support", workload, pod, f"uid-{pod}"), "ns-uid", "cluster-uid")


def ran(tool: str = "stripe/refund", action: int = gate_pb2.ACTION_NOTIFY, summary: str = "refund") -> Any:
    return hub_pb2.ActivityRecord(action=action, tool=tool, why="rule small", summary=summary)  # type: ignore[arg-type]


async def test_a_held_and_decided_call_is_told_on_the_request(court: Court) -> None:
    """Who describes a request reads that it was held and how it ended; the pod is named beside."""
    request = await a_request(court)
    ended = with_outcome(request.status, State.CANCELLED, "EnforcementLost", "why", AT)
    async with posting(court) as events:
        events.opened(request)
        events.written(request, replace(request, status=ended))
        (held,) = await found(court, 1, reason="Held")
        (over,) = await found(court, 1, reason="Cancelled")
    assert held["involvedObject"]["uid"] == request.uid
    assert held["related"]["name"] == request.spec.agent_pod
    assert "refund 150.00 EUR" in held["message"]
    assert (held["type"], over["type"]) == ("Normal", "Warning")


async def test_I10_an_event_says_no_more_than_the_summary(court: Court) -> None:
    """I10: neither arguments nor people's words nor their names stand in an Event."""
    request = request_of(await court.ask(a_spec(on_behalf_of="kim@example.com", summary="pay", justification="hush")))
    ended = with_outcome(request.status, State.DENIED, "DeniedByReviewer", 'denied by ana@example.com: "no"', AT)
    async with posting(court) as events:
        events.opened(request)
        events.written(request, replace(request, status=ended))
        (over,) = await found(court, 1, reason="Denied")
        (held,) = [each for each in await found_of(court, request, 1) if each["reason"] == "Held"]
    for word in ("15000", "hush", "kim@", "ana@", '"no"'):
        assert word not in str((held["message"], over["message"]))


async def found_of(court: Court, request: ApprovalRequest, least: int) -> list[Json]:
    async def look() -> list[Json]:
        async with court.admin() as api:
            page = await api.list_page(path_of("v1", "events", court.namespace))
        events = [item for item in page["items"] if item["involvedObject"].get("uid") == request.uid]
        return events if len(events) >= least else []

    events: list[Json] = await eventually(look)
    return events


async def test_D4_an_override_is_an_alarm_that_no_flood_keeps_away(court: Court) -> None:
    """D4, B5: a Warning on the request once its override counts, once for all replicas, whatever else is dropped."""
    request = await a_request(court)
    vote = Decision(
        "ola@example.com",
        DecisionKind.OVERRIDDEN,
        request.spec.digest,
        request.uid,
        reason="INC-88",
        proof=Proof("oidc", factors=("otp",), time=AT),
    )
    stored = replace(request, status=replace(request.status, decisions=(vote,)))
    counted = replace(
        stored, status=replace(stored.status, verified=(Verified(vote.reviewer, second_factor="oidc:otp"),))
    )
    async with posting(court) as events, posting(court, instance="hitl-2") as other:
        for number in range(300):
            events.policy(About("hitl.dev/v1alpha1", "AgentPolicy", court.namespace, f"p-{number}"), "Invalid", "noise")
        events.written(request, stored)  # nobody has said yet that it counts
        for each in (events, other):
            each.written(stored, counted)
            each.written(counted, counted)
        (alarm,) = await found(court, 1, reason="BreakGlass")
    assert alarm["type"] == "Warning"
    assert alarm["involvedObject"]["uid"] == request.uid
    assert f"kubectl hitl show {request.name} -n {court.namespace}" in alarm["message"]
    for word in (vote.reviewer, vote.reason):
        assert word not in str(alarm)


async def test_two_replicas_say_the_same_thing_once(court: Court) -> None:
    """What both saw is one Event, whoever was first."""
    request = await a_request(court)
    async with posting(court) as one, posting(court, instance="hitl-2") as other:
        one.opened(request)
        other.opened(request)
        one.policy(About("hitl.dev/v1alpha1", "AgentPolicy", court.namespace, "last"), "Invalid", "said after it")
        other.policy(About("hitl.dev/v1alpha1", "AgentPolicy", court.namespace, "last"), "Invalid", "said last")
        await found(court, 2, reason="Invalid")
    assert len(await found_of(court, request, 1)) == 1


async def test_I10_people_are_told_again_once_for_each_reminder_and_round(court: Court) -> None:
    """I10: whoever leads, each is one Event: who may decide, how long is left, what to type, and nobody's word."""
    spec = a_spec(on_behalf_of="kim@example.com", summary="pay", timeout=900, on_timeout=OnTimeout.RETRY)
    request = request_of(await court.ask(spec))
    leads = Requirement("leads", any_of=("leads",))
    until = request.created + timedelta(seconds=1800)
    again = replace(request.status, rounds=1, expiration_time=until, requirements=(leads,))
    wider = replace(again, escalated=1, requirements=(replace(leads, any_of=("leads", "oncall")),))
    asked = [replace(request, status=each) for each in (request.status, again, wider)]
    at = request.created + timedelta(seconds=900)
    async with posting(court, at=at) as one, posting(court, at=at + timedelta(seconds=1), instance="hitl-2") as other:
        for events, left in ((one, "9m"), (other, "8m59s")):
            for number in (1, 2, 2):
                events.reminded(request, Reminder(number, "2 people of leads", left))
            events.written(asked[0], asked[1])
            events.written(asked[1], asked[2])
            events.written(asked[2], replace(asked[2], version="later"))
            events.policy(About("hitl.dev/v1alpha1", "AgentPolicy", court.namespace, "last"), "Invalid", left)
        await found(court, 2, reason="Invalid")
        reminders = await found(court, 2, reason="Reminder")
        (round_,) = await found(court, 1, reason="AskedAgain")
        (wider_,) = await found(court, 1, reason="Escalated")
    command = f"kubectl hitl show {request.name} -n {request.namespace}"
    for each in reminders:  # of either replica, whose clocks are a second apart
        assert re.search(rf"waits for 2 people of leads, (9m|8m59s) left \({command}\): pay$", each["message"])
    again_ = rf"was not decided in time and waits once more, (15m|14m) left \({command}\): pay$"
    assert re.search(again_, round_["message"])
    assert re.search("may now be decided by leads or oncall, (15m|14m) left", wider_["message"])
    assert {each["involvedObject"]["uid"] for each in (*reminders, round_, wider_)} == {request.uid}
    assert "kim@" not in str([each["message"] for each in (*reminders, round_, wider_)])


async def test_notify_is_one_event_for_each_workload_tool_and_minute(court: Court) -> None:
    """However many pods call a tool however often, a minute has one Event of it; other actions have none."""
    later = AT.replace(minute=48)
    async with posting(court) as events, posting(court, at=later) as next_minute:
        for pod in ("support-1", "support-2"):
            events.acted(identity(court, pod=pod), [ran(), ran(), ran("mail/send")])
        events.acted(identity(court, workload="deploy/other"), [ran()])
        events.acted(identity(court), [ran(action=gate_pb2.ACTION_DENY), ran(action=gate_pb2.ACTION_ALLOW)])
        next_minute.acted(identity(court), [ran()])
        told = await found(court, 4, reason="Notify")
    assert sorted(each["message"].split(" · ")[0] for each in told) == [
        "deploy/other ran stripe/refund",
        "deploy/support ran mail/send",
        "deploy/support ran stripe/refund",
        "deploy/support ran stripe/refund",
    ]


async def test_G1_what_a_sidecar_did_not_escape_is_not_told(court: Court) -> None:
    """G1: a record with control or bidi characters becomes no Event."""
    async with posting(court) as events:
        events.acted(
            identity(court, workload="deploy/g1"), [ran(summary="x\u202ey"), ran(tool="a/b", summary="\x1b[31m")]
        )
        events.acted(identity(court, workload="deploy/g1"), [ran(tool="last/one")])

        async def look() -> list[str]:
            async with court.admin() as api:
                page = await api.list_page(path_of("v1", "events", court.namespace))
            return [item["message"] for item in page["items"] if "deploy/g1" in item["message"]]

        assert await eventually(look) == ["deploy/g1 ran last/one · rule small · refund"]


async def test_a_flood_of_events_is_dropped_not_queued(court: Court) -> None:
    """Past a hundred at once Events of a namespace are dropped and counted; nothing waits for them, nothing grows."""
    async with court.operator() as api:
        events = Events(api, "hitl-system", "hitl-1", clock=lambda: AT, monotonic=lambda: 0.0)
        for number in range(5000):
            events.acted(identity(court), [ran(f"tool/{number}")])
        assert events.waiting == 100


async def test_B5_C4_a_flood_in_one_namespace_drops_neither_others_events_nor_the_alarm(court: Court) -> None:
    """B5, C4: tools of names that an agent chooses; the alarm is posted first, then one of each namespace."""
    words = f"binding hitl-decisions is not there, says {court.namespace}"
    at = AT + timedelta(hours=1)  # an alarm is told once for each moment, and another test tells one at AT
    async with court.operator() as api:
        events = Events(api, "hitl-system", "hitl-1", clock=lambda: at, monotonic=lambda: 0.0)
        for number in range(5000):
            events.acted(identity(court), [ran(f"tool/{number}")])
        events.policy(About("hitl.dev/v1alpha1", "AgentPolicy", "default", "late"), "Invalid", words)
        events.enforcement("EnforcementLost", words)
        assert events.waiting == 102
        running = asyncio.create_task(events.run())
        try:
            (alarm,) = await found(court, 1, "hitl-system", reason="EnforcementLost", message=words)
            (other,) = await found(court, 1, "default", reason="Invalid", message=words)
            before = [each async for each in _notified(court) if int(each) < int(other["metadata"]["resourceVersion"])]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert int(alarm["metadata"]["resourceVersion"]) < int(other["metadata"]["resourceVersion"])
    assert len(before) <= 1


async def _notified(court: Court) -> AsyncIterator[str]:
    """Versions of the Events about what ran."""
    async with court.admin() as api:
        async for item in api.list(path_of("v1", "events", court.namespace)):
            if item["reason"] == "Notify":
                yield item["metadata"]["resourceVersion"]


async def test_B5_of_what_waits_who_has_most_gives_way(court: Court) -> None:
    """B5: ten namespaces that flood together fill what may wait, and another one's Event still has its place."""
    async with court.operator() as api:
        events = Events(api, "hitl-system", "hitl-1", clock=lambda: AT, monotonic=lambda: 0.0)

        def tell(namespace: str, number: int) -> None:
            events.policy(About("hitl.dev/v1alpha1", "AgentPolicy", namespace, f"p-{number}"), "Invalid", "why")

        for number in range(100):
            for crowd in range(10):
                tell(f"crowd-{crowd}", number)
        assert events.waiting == 1000
        for number in range(5):
            tell("quiet", number)
        assert events.waiting == 1000
        assert len(events._waiting["quiet"]) == 5
        assert max(map(len, events._waiting.values())) <= 100


async def test_H1_a_token_that_is_away_for_a_moment_ends_no_posting(
    court: Court, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """H1: the Event that could not be posted is lost and said so, with the file; the next one is told."""
    access, file = Access.from_kubeconfig(court.plane.kubeconfig(DEFAULT.operator, GROUPS)), tmp_path / "token"
    async with KubeAPI.open(replace(access, bearer=TokenFile(file))) as api:
        events = Events(api, "hitl-system", "hitl-1", clock=lambda: AT)
        running = asyncio.create_task(events.run())
        events.policy(About("hitl.dev/v1alpha1", "AgentPolicy", court.namespace, "first"), "Invalid", "said in vain")
        await until(lambda: "event-not-posted" in caplog.text)
        assert f"{file}: the token cannot be read" in caplog.text
        file.write_text("the certificate says who it is")
        events.policy(About("hitl.dev/v1alpha1", "AgentPolicy", court.namespace, "second"), "Invalid", "said next")
        await found(court, 1, message="said next")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_C4_a_loss_of_enforcement_is_told_in_the_operators_namespace(court: Court) -> None:
    """C4: the alert stands where administrators look, each time anew."""
    async with posting(court) as events:
        words = f"binding hitl-decisions is not there, says {court.namespace}"  # others tell theirs in that place too
        events.enforcement("EnforcementLost", words)
        (told,) = await found(court, 1, "hitl-system", reason="EnforcementLost", message=words)
    assert told["type"] == "Warning"
