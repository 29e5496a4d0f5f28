"""Consume, Cancel and Report: released at most once, by the process that holds the call, as what was approved."""

import asyncio
from dataclasses import replace

import grpc
import pytest
from grpc import aio
from hubs import RELEASED, HubHere, Sidecar, World, a_spec, digest_of, with_call_id

from hitl.approvals.requests import ApprovalRequest, DecisionKind, State
from hitl.policy.verdicts import Requirement
from hitl.v1 import gate_pb2, hub_pb2

REFUSED = hub_pb2.ConsumeResponse.RELEASE_REFUSED
SPENT = hub_pb2.ConsumeResponse.RELEASE_SPENT
ENDED = hub_pb2.ConsumeResponse.RELEASE_ENDED
NOT_READY = hub_pb2.ConsumeResponse.RELEASE_NOT_READY


async def test_I6_of_many_who_consume_at_once_one_gets_it(world: World, hub: HubHere) -> None:
    """I6: two sidecars at two hubs on one file race ten times each; one is told to run, nobody else is."""
    spec = with_call_id("toolu_1")
    sidecars = [await world.sidecar(hub), await world.sidecar(await world.hub())]
    held = []
    for sidecar in sidecars:
        await sidecar.sync()
        held.append(await sidecar.open(spec))
    await world.decide(held[0].handle, "ana")
    await asyncio.gather(*(each.ready() for each in held))
    racing = [each.consume(held[0].handle, spec.digest) for each in sidecars for _ in range(10)]
    releases = [answer.release for answer in await asyncio.gather(*racing)]
    assert (releases.count(RELEASED), releases.count(SPENT)) == (1, 19)
    stored = await world.state_of(held[0].handle, State.CONSUMED)
    assert [condition.type for condition in stored.status.conditions].count("Consumed") == 1


async def test_I6_a_late_read_of_a_released_call_is_told_spent(
    world: World, hub: HubHere, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I6: a Consume whose read is overtaken by the release hears that it was released, not that nobody holds it."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    before = await world.state_of(held.handle, State.PENDING)
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED
    assert await held.end() == "ALREADY_RELEASED"
    store = hub.hub.releaser._store
    read, late = store.get, [before]

    async def get(namespace: str, name: str) -> ApprovalRequest:
        return late.pop() if late else await read(namespace, name)

    monkeypatch.setattr(store, "get", get)
    assert (await sidecar.consume(held.handle, spec.digest)).release == SPENT
    assert late == []


async def test_I6_an_approval_raced_by_expiry_ends_one_way(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """I6: whoever is first, a request whose time is up is released or expired, never both, and stays so."""
    for _ in range(5):
        spec = a_spec(timeout=60)
        held = await sidecar.open(spec)
        await world.decide(held.handle, "ana")
        await held.ready()
        world.clock.advance(60)
        hub.tick()
        answer = await sidecar.consume(held.handle, spec.digest)
        stored = await world.state_of(held.handle, State.CONSUMED, State.EXPIRED)
        ends = [condition.type for condition in stored.status.conditions if condition.type != "Approved"]
        assert ends == ["Consumed" if answer.release == RELEASED else "Expired"]


async def test_I7_another_digest_is_not_released(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """I7: a call that is not the approved one is refused and counted, and the approved one can still run."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    answer = await sidecar.consume(held.handle, digest_of("something worse"))
    assert (answer.release, answer.reason_code) == (REFUSED, "DIGEST_MISMATCH")
    answer = await sidecar.consume(held.handle, digest_of("something worse"), original_digest=spec.digest)
    assert answer.release == REFUSED
    assert hub.count("digest_mismatches_total") == 2
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED


async def test_D3_an_edit_is_released_under_its_own_digest(world: World, sidecar: Sidecar) -> None:
    """D3: with an edit the changed call is released, naming the old digest beside it; the unchanged one is not."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana", arguments_patch={"amount": 12000})
    ready = await held.ready()
    assert (ready.arguments_patch_json, ready.editor) == (b'{"amount":12000}', "ana")
    assert (await sidecar.consume(held.handle, spec.digest)).release == REFUSED
    edited = digest_of("amount 12000")
    assert (await sidecar.consume(held.handle, edited, original_digest=spec.digest)).release == RELEASED
    stored = await world.state_of(held.handle, State.CONSUMED)
    assert (stored.status.consumed_digest, stored.spec.digest) == (edited, spec.digest)


async def test_D3_an_edit_that_others_must_see_ends_the_request(world: World, sidecar: Sidecar) -> None:
    """D3: where two must agree an edit supersedes the request, and the new one shuts its editor out."""
    two = (Requirement("leads", approvals=2, any_of=("leads",)),)
    spec = with_call_id("toolu_1", requirements=two)
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana", arguments_patch={"amount": 12000})
    assert await held.end() == "CANCELLED"
    assert (held.state.reason_code, held.state.arguments_patch_json) == ("EDITED", b'{"amount":12000}')
    name = held.handle.partition("/")[2]
    edited = replace(spec, digest=digest_of("amount 12000"), earlier=name)
    successor = await sidecar.open(edited, supersedes=True)
    assert successor.outcome == "PENDING"
    assert (await world.state_of(successor.handle, State.PENDING)).spec.excluded == ("ana",)


async def test_I5_two_people_fill_two_places(world: World, sidecar: Sidecar) -> None:
    """A request for two leads is not ready after one, also not for Consume, and is after the second."""
    spec = a_spec(tier="multi-factor", requirements=(Requirement("leads", approvals=2, any_of=("leads",)),))
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.until(lambda state: len(state.reviews) == 1)
    answer = await sidecar.consume(held.handle, spec.digest)
    assert (answer.release, answer.message) == (NOT_READY, f"{held.handle.partition('/')[2]} has 1 of 2 approvals")
    await world.decide(held.handle, "bo")
    await held.ready()
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED


async def test_D2_only_the_process_that_holds_the_call_consumes_it(
    world: World, hub: HubHere, sidecar: Sidecar
) -> None:
    """D2: another pod, another process of the same pod and a mere watcher are refused; the holder is not."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    for other in (
        await world.sidecar(hub, pod="other"),
        await world.sidecar(hub, pod=sidecar.agent.pod_uid, epoch="restarted"),
    ):
        await other.sync()
        await other.watch(held.handle, holding=False)
        assert (await other.consume(held.handle, spec.digest)).reason_code == "NOT_HELD"
    assert (await sidecar.consume(held.handle, spec.digest, epoch="restarted")).reason_code == "NOT_HELD"
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED


async def test_D2_a_release_whose_answer_was_lost_is_not_given_again(world: World, sidecar: Sidecar) -> None:
    """D2: the same process asking once more is told SPENT: nobody knows whether the first answer arrived."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED
    again = await sidecar.consume(held.handle, spec.digest)
    assert (again.release, again.reason_code) == (SPENT, "PERMIT_SPENT")


async def test_I8_a_verdict_under_an_old_config_releases_nothing(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """I8: once the policy changed, a release judged by the old one is put off and asked for again."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    (world.policies / "freeze.yaml").write_text(
        "apiVersion: hitl.dev/v1alpha1\nkind: ClusterAgentPolicy\nmetadata: {name: stop}\n"
        "spec:\n  rules:\n  - {action: Deny, tools: ['delete_*']}\n"
    )
    hub.look()
    answer = await sidecar.consume(held.handle, spec.digest)
    assert (answer.release, answer.reason_code) == (NOT_READY, "CONFIG_CHANGED")
    assert sidecar.config is not None
    assert (await sidecar.next_config()).revision != ""
    held.state.ready = False
    await held.ready()
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED


async def test_I8_a_sidecar_that_cannot_compile_the_new_config_releases_by_its_last_good_one(
    world: World, hub: HubHere, sidecar: Sidecar
) -> None:
    """After a NACK the last good revision stays in force for that sidecar, and no other revision does."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    (world.policies / "more.yaml").write_text(
        "apiVersion: hitl.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: more}\nspec:\n  rules:\n"
        "  - {action: Deny, tools: ['delete_*']}\n"
    )
    hub.look()
    await sidecar.next_config(ack=False, reason="rule 1: I know no such key")
    assert (await sidecar.consume(held.handle, spec.digest, revision="0" * 64)).reason_code == "CONFIG_CHANGED"
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED


async def test_a_withdrawal_says_what_was_faster(world: World, sidecar: Sidecar) -> None:
    """Cancel is idempotent, and of a decided or released request it gives that outcome back."""
    withdrawn, denied, released = [await sidecar.open(a_spec()) for _ in range(3)]
    assert await sidecar.cancel(withdrawn.handle) == "OUTCOME_CANCELLED"
    assert await sidecar.cancel(withdrawn.handle) == "OUTCOME_CANCELLED"
    await world.decide(denied.handle, "ana", DecisionKind.DENIED)
    await denied.end()
    assert await sidecar.cancel(denied.handle) == "OUTCOME_DENIED"
    await world.decide(released.handle, "ana")
    digest = (await world.state_of(released.handle, State.PENDING)).spec.digest
    await released.ready()
    await sidecar.consume(released.handle, digest)
    assert await sidecar.cancel(released.handle) == "OUTCOME_ALREADY_RELEASED"


async def test_a_vote_that_came_before_the_withdrawal_wins(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """A denial that is stored but not yet settled is settled by Cancel, not overwritten."""
    held = await sidecar.open(a_spec())
    entry = hub.hub.tracker.open[held.handle]
    entry.is_busy = True  # the settler has not come to it yet
    await world.decide(held.handle, "ana", DecisionKind.DENIED)
    assert await sidecar.cancel(held.handle) == "OUTCOME_DENIED"
    assert (await world.state_of(held.handle, State.DENIED)).status.state is State.DENIED


@pytest.mark.parametrize("reason", ["", "EnforcementLost", "Deleted", "Approved"])
async def test_a_sidecar_cannot_end_a_request_for_reasons_that_are_not_its_own(sidecar: Sidecar, reason: str) -> None:
    """Only Withdrawn, PolicyTightened and Superseded are a sidecar's to give."""
    held = await sidecar.open(a_spec())
    with pytest.raises(aio.AioRpcError) as caught:
        await sidecar.cancel(held.handle, reason)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_I8_a_tightened_policy_ends_a_request_as_denied(world: World, sidecar: Sidecar) -> None:
    """I8: PolicyTightened is told to the agent as DENIED with reason TIGHTENED."""
    held = await sidecar.open(a_spec())
    assert await sidecar.cancel(held.handle, "PolicyTightened") == "OUTCOME_DENIED"
    assert await held.end() == "DENIED"
    assert held.state.reason_code == "TIGHTENED"


async def test_the_first_report_stands_and_only_its_releaser_gives_it(
    world: World, hub: HubHere, sidecar: Sidecar
) -> None:
    """Report is idempotent, never changes its word, and is taken only from the process that released the call."""
    spec = a_spec()
    held = await sidecar.open(spec)
    with pytest.raises(aio.AioRpcError) as caught:
        await sidecar.report(held.handle, gate_pb2.RESULT_SUCCEEDED)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    await world.decide(held.handle, "ana")
    await held.ready()
    await sidecar.consume(held.handle, spec.digest)
    with pytest.raises(aio.AioRpcError, match="only that sidecar may report"):
        await sidecar.report(held.handle, gate_pb2.RESULT_SUCCEEDED, epoch="another")
    await sidecar.report(held.handle, gate_pb2.RESULT_FAILED)
    await sidecar.report(held.handle, gate_pb2.RESULT_FAILED)
    with pytest.raises(aio.AioRpcError, match="the first report stands"):
        await sidecar.report(held.handle, gate_pb2.RESULT_SUCCEEDED)
    assert (await world.state_of(held.handle, State.CONSUMED)).status.result == "Failed"
    looked = await sidecar.watch(held.handle, holding=False)
    assert looked.state.reported_result == gate_pb2.RESULT_FAILED


async def test_a_request_that_vanished_is_not_created_again(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """Deleted behind our back: at the next look who waits is told CANCELLED, and nothing is released."""
    specs = [a_spec(), a_spec()]
    consumed, expired = [await sidecar.open(spec) for spec in specs]
    store = await world.store()
    for held in (consumed, expired):
        await store.delete(await world.state_of(held.handle, State.PENDING))
    with pytest.raises(aio.AioRpcError) as caught:
        await sidecar.consume(consumed.handle, specs[0].digest)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    world.clock.advance(901)
    hub.tick()
    for held in (consumed, expired):
        assert await held.end() == "CANCELLED"
        assert held.state.reason_code == "DELETED"
    assert await store.list() == []
