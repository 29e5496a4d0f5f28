"""Which votes count: signed by the right person, over this request and decision, just now (SECURITY C1, D5)."""

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hubs import RELEASED, HubHere, Sidecar, World, a_spec, counted, eventually

from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Note, NoteType, Proof, State
from hitl.approvals.signing import signed_note
from hitl.stores.people import add_reviewer, sign

Forge = Callable[[World, ApprovalRequest, ApprovalRequest], Decision]


def by_another_key(world: World, request: ApprovalRequest, _: ApprovalRequest) -> Decision:
    return world.signed(request, "ana", key_of="cy")


def replayed_from_another_request(world: World, request: ApprovalRequest, other: ApprovalRequest) -> Decision:
    taken = world.signed(other, "ana")
    return replace(taken, digest=request.spec.digest, request_uid=request.uid)


def turned_from_a_denial(world: World, request: ApprovalRequest, _: ApprovalRequest) -> Decision:
    return replace(world.signed(request, "ana", DecisionKind.DENIED), decision=DecisionKind.APPROVED, category=None)


def with_an_edit_put_in(world: World, request: ApprovalRequest, _: ApprovalRequest) -> Decision:
    return replace(world.signed(request, "ana"), arguments_patch={"amount": 1})


def with_a_newer_time(world: World, request: ApprovalRequest, _: ApprovalRequest) -> Decision:
    old = world.signed(request, "ana", at=world.clock() - timedelta(days=1))
    assert old.proof is not None
    return replace(old, proof=replace(old.proof, time=world.clock().replace(microsecond=0)))


def signed_long_ago(world: World, request: ApprovalRequest, _: ApprovalRequest) -> Decision:
    return world.signed(request, "ana", at=world.clock() - timedelta(minutes=6))


def signed_in_the_future(world: World, request: ApprovalRequest, _: ApprovalRequest) -> Decision:
    return world.signed(request, "ana", at=world.clock() + timedelta(minutes=10))


def unsigned(world: World, request: ApprovalRequest, _: ApprovalRequest) -> Decision:
    return replace(world.signed(request, "ana"), proof=None)


def of_another_kind(world: World, request: ApprovalRequest, _: ApprovalRequest) -> Decision:
    signed = world.signed(request, "ana")
    assert signed.proof is not None
    return replace(signed, proof=Proof("totp", signed.proof.signature, time=signed.proof.time))


def garbage(world: World, request: ApprovalRequest, _: ApprovalRequest) -> Decision:
    signed = world.signed(request, "ana")
    assert signed.proof is not None
    return replace(signed, proof=Proof("ed25519", "not base64 ∞", time=signed.proof.time))


def as_somebody_unknown(world: World, request: ApprovalRequest, _: ApprovalRequest) -> Decision:
    return world.signed(request, "mallory", key_of="ana")


def in_a_group_of_others(world: World, request: ApprovalRequest, _: ApprovalRequest) -> Decision:
    return world.signed(request, "cy", groups=("leads",))


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (by_another_key, "signature"),
        (replayed_from_another_request, "signature"),
        (turned_from_a_denial, "signature"),
        (with_an_edit_put_in, "signature"),
        (with_a_newer_time, "signature"),
        (garbage, "signature"),
        (signed_long_ago, "stale"),
        (signed_in_the_future, "stale"),
        (unsigned, "not_signed"),
        (of_another_kind, "not_signed"),
        (as_somebody_unknown, "no_person"),
        (in_a_group_of_others, "groups"),
    ],
)
async def test_D5_a_vote_that_is_not_what_it_claims_never_counts_and_is_seen(
    world: World, hub: HubHere, caplog: pytest.LogCaptureFixture, forge: Forge, reason: str
) -> None:
    """D5: forged, replayed, altered, stale and foreign votes are refused, counted by cause, logged, and shown."""
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    held, other = await sidecar.open(a_spec()), await sidecar.open(a_spec())
    store = await world.store()
    request = await world.state_of(held.handle, State.PENDING)
    decision = forge(world, request, await world.state_of(other.handle, State.PENDING))
    await store.decide("shop", request.name, decision)
    await counted(hub, 1, "decisions_rejected_total", reason=reason)
    stored = await store.get("shop", request.name)
    (entry,) = stored.status.verified
    assert entry.reviewer == decision.reviewer
    assert entry.refused
    assert stored.status.state is State.PENDING
    assert any("decision-rejected" in line and f"cause={reason}" in line for line in caplog.messages)
    assert hub.count("decisions_total", decision="approved", tier="confirm") == 0
    answer = await sidecar.consume(held.handle, request.spec.digest)
    assert answer.release != RELEASED
    assert list(answer.reviews) == []


@pytest.mark.parametrize("same", ["digest", "uid"])
async def test_D5_a_good_signature_over_another_request_or_call_never_counts(
    world: World, hub: HubHere, sidecar: Sidecar, same: str
) -> None:
    """D5: an approval of ana's copied, signature and all, into the row of another call or of a later request of the
    same name does not count there; the store's own check is gone around, as any process of the account can.
    """
    spec = a_spec()
    held = await sidecar.open(spec)
    request = await world.state_of(held.handle, State.PENDING)
    then = replace(request, uid="0" * 32) if same == "digest" else request
    old = world.signed(replace(then, spec=spec if same == "digest" else replace(spec, digest="e" * 64)), "ana")
    copied = replace(old, time=world.clock())
    await (await world.store()).write_status(request, replace(request.status, decisions=(copied,)))
    await counted(hub, 1, "decisions_rejected_total", reason="other_request")
    assert (await sidecar.consume(held.handle, spec.digest)).release != RELEASED
    stored = await world.state_of(held.handle, State.PENDING)
    assert [bool(entry.refused) for entry in stored.status.verified] == [True]


async def test_D5_a_note_for_another_request_never_counts(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """D5: more time that ana gave to an earlier request of the same name is none for this one."""
    request = await world.state_of((await sidecar.open(a_spec())).handle, State.PENDING)
    time = world.clock()
    note = Note(
        "ana", 1, "0" * 32, NoteType.EXTEND, minutes=9, proof=Proof("ed25519", time=time.replace(microsecond=0))
    )
    assert note.proof is not None
    signature = sign(world.home.path, "ana", signed_note(world.home.cluster_uid, request, note))
    proof = replace(note.proof, signature=base64.b64encode(signature).decode())
    judged = await hub.hub.settler._verifier.judge_note(request, replace(note, time=time, proof=proof))
    assert judged is not None
    assert judged.cause == "other_request"


async def test_I4_no_service_account_decides_even_with_a_key(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """I4: a vote in the requester's name is refused by the store; one of another ServiceAccount would be by the hub."""
    request = await world.state_of((await sidecar.open(a_spec())).handle, State.PENDING)
    verifier = hub.hub.settler._verifier
    for name in (request.spec.requester, "system:serviceaccount:shop:other", "SYSTEM:admin"):
        decision = replace(world.signed(request, "ana"), reviewer=name, time=world.clock())
        judged = await verifier.judge_decision(request, decision)
        assert judged is not None
        assert judged.cause == "requester"


async def test_a_vote_waits_while_the_people_cannot_be_read(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """A broken reviewers.yaml makes no vote count and loses none: mended, the vote is judged and the call runs."""
    spec = a_spec()
    held = await sidecar.open(spec)
    file = world.home.reviewers
    good = file.read_text()
    request = await world.state_of(held.handle, State.PENDING)
    vote = world.signed(request, "ana")
    file.write_text(good + "- name: [\n")
    hub.look()
    await (await world.store()).decide("shop", request.name, vote)

    async def tracked() -> Any:
        return hub.hub.tracker.open[held.handle].request.status

    await eventually(tracked, lambda status: len(status.decisions) == 1)
    assert (await tracked()).verified == ()
    file.write_text(good)
    hub.look()
    await held.ready()
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED


async def test_somebody_who_was_just_added_may_decide(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """People are read anew when the file changes, without a restart."""
    held = await sidecar.open(a_spec())
    add_reviewer(world.home.path, "dee", ("leads",))
    hub.look()
    await world.decide(held.handle, "dee")
    await held.ready()


async def test_a_vote_in_time_counts_although_the_hub_was_away(world: World, hub: HubHere) -> None:
    """Freshness goes by the store's stamp: a vote that waited ten minutes for a hub was fresh when it was given."""
    sidecar = await world.sidecar(hub)
    held = await sidecar.open(a_spec())
    request = await world.state_of(held.handle, State.PENDING)
    await hub.stop()
    await world.decide(held.handle, "ana")
    world.clock.advance(600)
    await world.hub()
    assert (await world.state_of(held.handle, State.APPROVED)).name == request.name


async def test_decisions_are_counted_once_by_two_hubs(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """Two hubs see one vote; together they count one decision and one review latency."""
    other = await world.hub()
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    await sidecar.consume(held.handle, spec.digest)
    await world.state_of(held.handle, State.CONSUMED)
    metrics: dict[str, dict[str, str]] = {
        "decisions_total": {"decision": "approved"},
        "review_latency_seconds_count": {},
        "holds_total": {"outcome": "consumed"},
        "hold_duration_seconds_count": {"outcome": "consumed"},
    }

    async def sums() -> list[float]:
        counts = ([each.count(name, tier="confirm", **more) for each in (hub, other)] for name, more in metrics.items())
        return [sum(each) for each in counts]

    # The hub that wrote first counts a moment after the other one has read it.
    assert await eventually(sums, all) == [1, 1, 1, 1]
