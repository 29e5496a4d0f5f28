"""What stands in a row as the hub's own word is believed only where this hub said it, or finds the same (D5)."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hubs import RELEASED, HubHere, World, a_spec

from hitl.approvals.conditions import with_outcome
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, RequestStatus, State, Verified
from hitl.policy.verdicts import EscalationStep, Requirement

Forge = Callable[[World, ApprovalRequest], tuple[Decision, Verified]]
LEADS = Verified("ana", groups=("leads",))


def unsigned(world: World, request: ApprovalRequest) -> tuple[Decision, Verified]:
    return replace(world.signed(request, "ana"), proof=None), LEADS


def by_another_key(world: World, request: ApprovalRequest) -> tuple[Decision, Verified]:
    return world.signed(request, "ana", key_of="cy"), LEADS


def in_a_group_of_others(world: World, request: ApprovalRequest) -> tuple[Decision, Verified]:
    return world.signed(request, "cy"), Verified("cy", groups=("leads",))


def a_denial_put_aside(world: World, request: ApprovalRequest) -> tuple[Decision, Verified]:
    return world.signed(request, "ana", DecisionKind.DENIED), Verified("ana", refused="not signed")


async def _write(world: World, request: ApprovalRequest, *statuses: RequestStatus) -> None:
    store = await world.store()
    for status in statuses:
        request = await store.write_status(request, status)


def _tell(world: World, **terms: Any) -> None:
    """As who may write the file puts terms into the only request."""
    with closing(sqlite3.connect(world.home.database)) as connection, connection:
        (stored,) = connection.execute("SELECT status FROM requests").fetchone()
        connection.execute("UPDATE requests SET status = ?", (json.dumps(json.loads(stored) | terms),))


@pytest.mark.parametrize("is_approved", [False, True])
@pytest.mark.parametrize("forge", [unsigned, by_another_key, in_a_group_of_others, a_denial_put_aside])
async def test_D5_a_word_of_the_hub_that_no_hub_said_releases_nothing(
    world: World, hub: HubHere, caplog: pytest.LogCaptureFixture, forge: Forge, is_approved: bool
) -> None:
    """D5: `verified`, or Approved, written beside a forged vote while no hub ran ends the request at the next start."""
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    spec = a_spec()
    held = await sidecar.open(spec)
    request = await world.state_of(held.handle, State.PENDING)
    await hub.stop()
    decision, entry = forge(world, request)
    voted = replace(request.status, decisions=(replace(decision, time=world.clock()),))
    forged = [voted, replace(voted, verified=(entry,))]
    if is_approved:
        forged.append(with_outcome(forged[-1], State.APPROVED, "RequirementsMet", "approved by ana", world.clock()))
    await _write(world, request, *forged)
    again = await world.sidecar(await world.hub(), pod=sidecar.agent.pod_uid)
    await again.sync()
    stored = await world.state_of(held.handle, State.CANCELLED)
    assert stored.status.conditions[-1].reason == "EnforcementLost"
    assert any("stored-word-doubted" in line for line in caplog.messages)
    assert (await again.watch(held.handle)).outcome == "CANCELLED"
    assert (await again.consume(held.handle, spec.digest)).release != RELEASED


async def test_D5_approved_without_votes_releases_nothing(world: World, hub: HubHere) -> None:
    """D5: Approved alone, written by nobody who may, ends the request, also while the hub runs."""
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    held = await sidecar.open(a_spec())
    request = await world.state_of(held.handle, State.PENDING)
    status = with_outcome(request.status, State.APPROVED, "RequirementsMet", "approved by ana", world.clock())
    await _write(world, request, status)
    assert await held.end() == "CANCELLED"
    assert (await world.state_of(held.handle, State.CANCELLED)).status.conditions[-1].reason == "EnforcementLost"


async def test_D5_what_another_hub_verified_stands_after_a_restart(world: World, hub: HubHere) -> None:
    """D5: a true word is found again: one of two votes was verified before the restart, the second one comes after."""
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    spec = a_spec(requirements=(replace(a_spec().requirements[0], approvals=2),))
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.until(lambda state: len(state.reviews) == 1)
    await hub.stop()
    again = await world.sidecar(await world.hub(), pod=sidecar.agent.pod_uid)
    await again.sync()
    held = await again.watch(held.handle)
    await world.decide(held.handle, "bo")
    await held.ready()
    assert (await again.consume(held.handle, spec.digest)).release == RELEASED


async def test_D5_while_the_people_cannot_be_read_no_stored_word_releases(world: World, hub: HubHere) -> None:
    """D5: a hub that starts beside a broken reviewers.yaml does not go by Approved; mended, the approval stands."""
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    spec = a_spec()
    held = await sidecar.open(spec)
    sidecar.hang_up()
    await world.decide(held.handle, "ana")
    world.clock.advance(3)
    hub.tick()
    await world.state_of(held.handle, State.APPROVED)
    await hub.stop()
    good = world.home.reviewers.read_text()
    world.home.reviewers.write_text(good + "- name: [\n")
    other = await world.hub()
    again = await world.sidecar(other, pod=sidecar.agent.pod_uid)
    await again.sync()
    refused = await again.watch(held.handle)
    assert (refused.outcome, refused.state.reason_code) == ("UNAVAILABLE", "REVIEWERS")
    world.home.reviewers.write_text(good)
    other.look()
    held = await again.watch(held.handle)
    await held.ready()
    assert (await again.consume(held.handle, spec.digest)).release == RELEASED


async def test_D5_fewer_people_than_the_spec_asks_for_release_nothing(world: World, hub: HubHere) -> None:
    """D5: whoever shrinks the requirements in the status, beside one true vote and Approved, ends the request."""
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    spec = a_spec(requirements=(replace(a_spec().requirements[0], approvals=2),))
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.until(lambda state: len(state.reviews) == 1)
    await hub.stop()
    _tell(world, requirements=[{"name": "leads", "approvals": 1, "secondFactor": "None"}])
    request = await world.state_of(held.handle, State.PENDING)
    assert request.status.requirements[0].approvals == 1
    approved = with_outcome(request.status, State.APPROVED, "RequirementsMet", "approved by ana", world.clock())
    await _write(world, request, approved)
    again = await world.sidecar(await world.hub(), pod=sidecar.agent.pod_uid)
    await again.sync()
    assert (await again.watch(held.handle)).outcome == "CANCELLED"
    assert (await world.state_of(held.handle, State.CANCELLED)).status.conditions[-1].reason == "EnforcementLost"
    assert (await again.consume(held.handle, spec.digest)).release != RELEASED


async def test_C4_D5_terms_that_somebody_wrote_let_nobody_in(world: World, hub: HubHere) -> None:
    """C4, D5: a step counted before its time, other groups and a deadline in decades change nothing at home either;
    when the step is due, the same vote counts.
    """
    world.person("olga", "oncall")
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    asked = (Requirement("leads", any_of=("leads",)),)
    spec = a_spec(requirements=asked, escalation=(EscalationStep(600, ("oncall",)),))
    held = await sidecar.open(spec)
    await world.state_of(held.handle, State.PENDING)
    await hub.stop()
    wider = [{"name": "leads", "approvals": 1, "anyOf": ["leads", "oncall"], "secondFactor": "None"}]
    _tell(world, escalated=1, requirements=wider, expirationTime="2099-01-01T00:00:00.000000Z")
    request = await world.state_of(held.handle, State.PENDING)
    assert (request.status.escalated, request.status.expiration_time) == (1, datetime(2099, 1, 1, tzinfo=UTC))
    other = await world.hub()
    again = await world.sidecar(other, pod=sidecar.agent.pod_uid)
    await again.sync()
    held = await again.watch(held.handle)
    await world.decide(held.handle, "olga")
    await held.until(lambda state: len(state.reviews) == 1)
    assert (await again.consume(held.handle, spec.digest)).release != RELEASED
    world.clock.advance(601)
    other.tick()
    await held.ready()
    assert (await again.consume(held.handle, spec.digest)).release == RELEASED


async def test_I13_a_deadline_that_somebody_wrote_keeps_nothing_open(world: World, hub: HubHere) -> None:
    """I13: at the end that its timeout gives the request expires, whatever deadline stands in the row."""
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    held = await sidecar.open(a_spec())
    await world.state_of(held.handle, State.PENDING)
    await hub.stop()
    _tell(world, expirationTime="2099-01-01T00:00:00.000000Z")
    world.clock.advance(901)
    await world.hub()
    assert (await world.state_of(held.handle, State.EXPIRED)).status.conditions[-1].reason == "NotDecided"
