"""Holds from opening to their end, over a real socket and a real store."""

import asyncio
from dataclasses import replace

import grpc
import pytest
from grpc import aio
from hubs import RELEASED, HubHere, Sidecar, World, a_spec, counted, digest_of, with_call_id

from hitl.approvals.requests import DecisionKind, State
from hitl.policy.verdicts import EscalationStep, Requirement
from hitl.v1 import gate_pb2, hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.holding import HoldStream

DENIED = DecisionKind.DENIED


async def test_a_held_call_is_released_once_a_person_approves(world: World, sidecar: Sidecar) -> None:
    """Opening waits, an approval makes it ready, Consume releases, and the request tells the whole story."""
    spec = a_spec()
    held = await sidecar.open(spec)
    assert (held.outcome, held.state.ready, held.state.attached) == ("PENDING", False, False)
    assert "one of leads" in held.state.message
    await world.decide(held.handle, "ana")
    ready = await held.ready()
    assert [(review.reviewer, review.approved) for review in ready.reviews] == [("ana", True)]
    released = await sidecar.consume(held.handle, spec.digest)
    assert (released.release, released.reason_code) == (RELEASED, "REVIEWER")
    stored = await world.state_of(held.handle, State.CONSUMED)
    assert stored.status.consumed_by == f"{sidecar.agent.pod_uid}/{sidecar.epoch}"
    assert stored.status.consumed_digest == spec.digest
    assert [condition.type for condition in stored.status.conditions] == ["Approved", "Consumed"]
    assert [(entry.reviewer, entry.groups) for entry in stored.status.verified] == [("ana", ("leads",))]
    assert await held.end() == "ALREADY_RELEASED"


async def test_I9_each_end_has_its_own_outcome(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """I9: a denial, an expiry and a withdrawal are told apart, each with words of its own."""
    denied, expired, cancelled = [await sidecar.open(a_spec(timeout=60)) for _ in range(3)]
    await world.decide(denied.handle, "ana", DENIED)
    assert await denied.end() == "DENIED"
    assert "not this customer" in denied.state.message
    assert await sidecar.cancel(cancelled.handle) == "OUTCOME_CANCELLED"
    assert await cancelled.end() == "CANCELLED"
    world.clock.advance(61)
    hub.tick()
    assert await expired.end() == "EXPIRED"
    assert "not a refusal" in expired.state.message
    assert (await world.state_of(expired.handle, State.EXPIRED)).status.decisions == ()


async def test_a_retry_attaches_instead_of_asking_twice(world: World, sidecar: Sidecar) -> None:
    """The same call opened again, also by another pod of the workload, waits on the same request."""
    spec = with_call_id("toolu_1")
    first = await sidecar.open(spec)
    again = await sidecar.open(spec)
    assert (again.handle, again.state.attached) == (first.handle, True)
    store = await world.store()
    assert len(await store.list()) == 1


async def test_opens_of_one_call_at_once_make_one_request(world: World, sidecar: Sidecar) -> None:
    """Twenty concurrent opens of one call, half of them through a second hub, end on one request."""
    other = await world.sidecar(await world.hub())
    spec = a_spec()
    held = await asyncio.gather(*(each.open(spec) for each in (sidecar, other) for _ in range(10)))
    assert len({each.handle for each in held}) == 1
    assert sum(not each.state.attached for each in held) == 1
    assert len(await (await world.store()).list()) == 1


async def test_B4_a_call_id_stands_for_one_call(world: World, sidecar: Sidecar) -> None:
    """B4: another call under a used call_id is refused, while the first one waits and after it was decided."""
    spec = with_call_id("toolu_1")
    first = await sidecar.open(spec)
    other = replace(spec, digest=digest_of("another"))
    refused = await sidecar.open(other)
    assert (refused.outcome, refused.state.reason_code, refused.handle) == ("INVALID", "CALL_ID_REUSED", first.handle)
    await sidecar.cancel(first.handle)
    assert (await sidecar.open(other)).state.reason_code == "CALL_ID_REUSED"


async def test_I6_a_call_id_that_was_released_never_runs_again(world: World, sidecar: Sidecar) -> None:
    """I6: after the release the same call_id is answered ALREADY_RELEASED, by whatever pod it comes."""
    spec = with_call_id("toolu_1")
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED
    again = await sidecar.open(spec)
    assert (again.outcome, again.handle) == ("ALREADY_RELEASED", held.handle)


async def test_the_same_call_without_call_id_asks_anew_and_names_the_earlier_one(
    world: World, sidecar: Sidecar
) -> None:
    """Without a call_id a second identical call is a new question, and people see that there was one before."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    await sidecar.consume(held.handle, spec.digest)
    again = await sidecar.open(spec)
    assert again.outcome == "PENDING"
    assert again.handle != held.handle
    stored = await world.state_of(again.handle, State.PENDING)
    assert f"shop/{stored.spec.earlier}" == held.handle
    in_another_session = await sidecar.open(replace(a_spec(), session_id="s-2", sameness=spec.sameness))
    stored = await world.state_of(in_another_session.handle, State.PENDING)
    assert f"shop/{stored.spec.earlier}" == again.handle


async def test_B4_a_denied_call_is_not_asked_again_for_a_while(world: World, sidecar: Sidecar) -> None:
    """B4: the same call gets the same denial until the cooldown is over, in any session and from a fresh hub."""
    spec = a_spec(denial_cooldown=600)
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana", DENIED)
    await held.end()
    same = a_spec(sameness=spec.sameness, session_id="s-2")
    for each in (sidecar, await world.sidecar(await world.hub())):
        refused = await each.open(same)
        assert (refused.outcome, refused.state.reason_code, refused.handle) == ("DENIED", "COOLDOWN", held.handle)
        assert "not this customer" in refused.state.message
    world.clock.advance(601)
    assert (await sidecar.open(same)).outcome == "PENDING"


async def test_B4_three_denials_of_a_tool_refuse_the_tool(world: World, sidecar: Sidecar) -> None:
    """B4: after three denials of one tool another call of it is refused, one of another tool is asked."""
    for _ in range(3):
        held = await sidecar.open(a_spec())
        await world.decide(held.handle, "ana", DENIED)
        await held.end()
    refused = await sidecar.open(a_spec())
    assert (refused.outcome, refused.state.reason_code) == ("DENIED", "TOOL_COOLDOWN")
    spec = a_spec()
    assert (await sidecar.open(replace(spec, call=replace(spec.call, tool="send_mail")))).outcome == "PENDING"


async def test_a_dropped_stream_ends_no_request(world: World, sidecar: Sidecar) -> None:
    """After the stream broke the request waits on; it is approved with nobody there, and released on return."""
    spec = a_spec()
    held = await sidecar.open(spec)
    sidecar.hang_up()
    await world.decide(held.handle, "ana")
    await world.state_of(held.handle, State.APPROVED)
    back = await sidecar.watch(held.handle)
    assert (back.outcome, back.state.ready, back.state.attached) == ("APPROVED", True, True)
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED


async def test_a_dropped_ref_hears_nothing_more(world: World, sidecar: Sidecar) -> None:
    """Once nobody waits on a ref its request is approved as unheld and cannot be consumed by that process."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await sidecar.drop(held)
    await world.decide(held.handle, "ana")
    await world.state_of(held.handle, State.APPROVED)
    assert (await sidecar.consume(held.handle, spec.digest)).reason_code == "NOT_HELD"


async def test_D2_an_approval_that_nobody_picks_up_lapses(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """D2: after the release window the approval is gone, and the outcome says that it is not a denial."""
    spec = a_spec()
    held = await sidecar.open(spec)
    sidecar.hang_up()
    await world.decide(held.handle, "ana")
    await world.state_of(held.handle, State.APPROVED)
    back = await sidecar.watch(held.handle)
    world.clock.advance(301)
    assert (await sidecar.consume(held.handle, spec.digest)).outcome == gate_pb2.OUTCOME_EXPIRED
    assert await back.end() == "EXPIRED"
    assert back.state.reason_code == "RELEASE_WINDOW"


async def test_an_approval_in_time_is_not_called_expired(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """A holder that does not consume leaves a request that is Approved, and stays so past its deadline."""
    held = await sidecar.open(a_spec(timeout=60))
    await world.decide(held.handle, "ana")
    await held.ready()
    world.clock.advance(3)
    hub.tick()
    await world.state_of(held.handle, State.APPROVED)
    world.clock.advance(60)
    hub.tick()
    assert (await world.state_of(held.handle, State.APPROVED, State.EXPIRED)).status.state is State.APPROVED


async def test_escalation_lets_others_decide(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """When a step comes due its group is added, those who wait are told, and its people may decide."""
    requirements = (Requirement("leads", any_of=("leads",), origin="AgentPolicy/shop/support"),)
    steps = (EscalationStep(300, ("trainees",), "AgentPolicy/shop/support"),)
    spec = a_spec(requirements=requirements, escalation=steps)
    held = await sidecar.open(spec)
    world.clock.advance(301)
    hub.tick()
    await held.until(lambda state: "trainees" in state.message)
    await world.decide(held.handle, "cy")
    await held.ready()
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED
    await counted(hub, 1, "hold_escalations_total")


async def test_a_signed_note_moves_the_deadline_and_a_forged_one_does_not(
    world: World, hub: HubHere, sidecar: Sidecar
) -> None:
    """A reviewer's own extension counts; one signed with somebody else's key is refused and moves nothing."""
    held = await sidecar.open(a_spec(timeout=60))
    before = held.state.expire_time.seconds
    await world.extend(held.handle, "bo", 30, key_of="cy")
    await counted(hub, 1, "decisions_rejected_total", reason="signature")
    await world.extend(held.handle, "ana", 15)
    moved = await held.until(lambda state: state.expire_time.seconds != before)
    assert moved.expire_time.seconds - before == 15 * 60


async def test_B5_a_workload_may_not_have_more_than_its_share_waiting(world: World, sidecar: Sidecar) -> None:
    """B5: twenty calls of a workload wait, the others are refused with LIMIT, whichever pod they come from."""
    held = await asyncio.gather(*(sidecar.open(a_spec()) for _ in range(50)))
    outcomes = [(each.outcome, each.state.reason_code) for each in held]
    assert outcomes.count(("PENDING", "WAITING")) == 20
    assert outcomes.count(("DENIED", "LIMIT")) == 30
    pod = await world.sidecar(f"unix:{world.folder}/hub1.sock", pod="another")
    assert (await pod.open(a_spec())).state.reason_code == "LIMIT"
    other = await world.sidecar(f"unix:{world.folder}/hub1.sock", workload="deploy/coder")
    assert (await other.open(a_spec())).outcome == "PENDING"


async def test_B5_at_its_bound_a_workload_still_attaches_and_one_end_makes_room(world: World, sidecar: Sidecar) -> None:
    """B5: at the bound a retry attaches; when one request has ended, exactly one more is opened."""
    specs = [a_spec() for _ in range(20)]
    held = [await sidecar.open(spec) for spec in specs]
    assert (await sidecar.open(specs[0])).state.attached
    await sidecar.cancel(held[0].handle)
    assert (await sidecar.open(a_spec())).outcome == "PENDING"
    assert (await sidecar.open(a_spec())).state.reason_code == "LIMIT"


@pytest.mark.parametrize(
    "who", [{"workload": "deploy/coder"}, {"service_account": "other"}, {"workload": "deploy/coder", "pod": "thief"}]
)
async def test_B4_a_handle_gives_nothing_to_another_workload(
    world: World, hub: HubHere, sidecar: Sidecar, who: dict[str, str]
) -> None:
    """B4: another workload or ServiceAccount can neither watch, consume, cancel nor report what it has a handle of."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    thief = await world.sidecar(hub, **who)
    await thief.sync()
    watched = await thief.watch(held.handle)
    assert (watched.outcome, watched.state.reason_code, watched.handle) == ("INVALID", "NO_SUCH_REQUEST", "")
    for attempt in (
        thief.consume(held.handle, spec.digest),
        thief.cancel(held.handle),
        thief.report(held.handle, gate_pb2.RESULT_SUCCEEDED),
    ):
        with pytest.raises(aio.AioRpcError) as caught:
            await attempt
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "deploy/support" not in (caught.value.details() or "")
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED


async def test_B4_what_a_sidecar_says_it_is_counts_for_nothing(world: World, sidecar: Sidecar) -> None:
    """B4: identity fields of a spec are overwritten by what the connection established."""
    claimed = {
        "requester": "ana",
        "requester_uid": "x",
        "workload": "deploy/other",
        "service_account": "admin",
        "agent_pod_uid": "x",
    }
    held = await sidecar.open(a_spec(**claimed, on_behalf_of="eve", on_behalf_of_verified=True))
    spec = (await world.state_of(held.handle, State.PENDING)).spec
    assert (spec.requester, spec.requester_uid) == ("system:serviceaccount:shop:support", "")
    assert (spec.workload, spec.service_account) == ("deploy/support", "support")
    assert (spec.agent_pod, spec.agent_pod_uid) == (sidecar.agent.pod_name, sidecar.agent.pod_uid)
    assert not spec.on_behalf_of_verified


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"summary": "refund \u202e RUE"}, "spec.summary: holds characters that nobody can see"),
        ({"justification": "a\x1b[2J"}, "spec.justification: holds characters"),
        ({"alternatives": ("fine", "no\u200bt")}, "spec.alternatives[1]: holds characters"),
        ({"summary": "x" * 161}, "spec.summary: has 161 characters, at most 160"),
        ({"checkpoint": "x" * 1025}, "spec.checkpoint: has 1025 characters"),
        ({"context": "x" * 20000}, "spec.context: has 20000 characters"),
        ({"alternatives": ("x",) * 65}, "spec.alternatives: has 65 entries"),
        ({"digest": "f00"}, "spec.digest: must be 64 hex digits"),
        ({"earlier": "../other"}, "spec.earlier"),
        ({"earlier": "nobodys"}, "spec.earlier: nobodys is no request of this workload"),
    ],
)
async def test_G1_what_is_not_escaped_or_too_long_is_not_stored(
    world: World, sidecar: Sidecar, changes: dict[str, object], said: str
) -> None:
    """G1: the hub refuses text that could draw an interface and fields past their bound, naming the field."""
    refused = await sidecar.open(a_spec(**changes))
    assert (refused.outcome, refused.state.reason_code) == ("INVALID", "INVALID_REQUEST")
    assert said in refused.state.message
    assert await (await world.store()).list() == []


async def test_garbage_on_one_ref_does_not_end_the_others(world: World, sidecar: Sidecar) -> None:
    """A spec that is no JSON, or says a thing twice, ends its own ref; a hold beside it is released as ever."""
    spec = a_spec()
    held = await sidecar.open(spec)
    for garbage in (b"", b"\xff", b"[]", b'{"kind":"ToolCall","kind":"Question"}', b"{" * 3000):
        assert (await sidecar.open_json(garbage)).state.reason_code == "INVALID_REQUEST"
    await world.decide(held.handle, "ana")
    await held.ready()
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED


async def test_one_wait_too_many_ends_on_its_own_ref(
    world: World, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the most refs that a stream may have the next one hears LIMIT; the holds before it go on and are released,
    and there is room again.
    """
    monkeypatch.setattr("hitl_operator.holding._MOST_REFS", 2)
    spec = a_spec()
    held = await sidecar.open(spec)
    await sidecar.watch(held.handle)
    refused = await sidecar.watch(held.handle)
    assert (refused.outcome, refused.state.reason_code) == ("UNAVAILABLE", "LIMIT")
    await world.decide(held.handle, "ana")
    await held.ready()
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED
    assert await held.end() == "ALREADY_RELEASED"
    assert (await sidecar.open(a_spec())).outcome == "PENDING"


async def test_B5_who_asks_and_does_not_read_is_not_heard_for_ever(
    world: World, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B5: answers that a peer does not take are kept up to a bound; past it nothing is read until it takes some."""
    monkeypatch.setattr("hitl_operator.holding._MOST_REFS", 50)
    hub = await world.hub()
    stream = HoldStream(Identity(sidecar.agent, "uid", "cluster"), hub.hub)
    asked, taken, takes, plenty = 0, 0, asyncio.Event(), asyncio.Event()

    async def read() -> hub_pb2.HoldRequest:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return hub_pb2.HoldRequest(ref=f"r{asked}")

    async def write(_: hub_pb2.HoldResponse) -> None:
        nonlocal taken
        await takes.wait()
        taken += 1
        if taken == 1000:
            plenty.set()
        await asyncio.sleep(0)

    serving = asyncio.create_task(stream.serve(read, write))
    for _ in range(5000):
        await asyncio.sleep(0)
    assert asked < 600
    takes.set()
    async with asyncio.timeout(60):
        await plenty.wait()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
