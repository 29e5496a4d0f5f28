"""An override through a real hub: released once, counted for alerts, and nothing of the sort for who may not (D4)."""

from dataclasses import replace

import pytest
from hubs import RELEASED, HubHere, Sidecar, World, a_spec, counted, logged

from hitl.approvals.conditions import OVERRIDDEN, outcome
from hitl.approvals.requests import DecisionKind, State, Verified
from hitl.policy.verdicts import Requirement
from hitl.stores.people import OVERRIDE, add_reviewer

WORDS = "INC-88: the site is down"
TWO = (Requirement("lead", any_of=("leads",)), Requirement("manager", any_of=("managers",)))


async def test_D4_an_override_is_released_once_and_counted_for_alerts(
    world: World, hub: HubHere, sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    """D4: ready without anybody else, told to the sidecar as an override, Approved as Overridden; counted per tier."""
    add_reviewer(world.home.path, "ola", (), (OVERRIDE,))
    assert hub.count("breakglass_total", tier="confirm") == 0
    spec = a_spec(requirements=TWO)
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ola", DecisionKind.OVERRIDDEN, reason=WORDS)
    state = await held.ready()
    assert [(each.reviewer, each.approved, each.overridden, each.reason) for each in state.reviews] == [
        ("ola", True, True, WORDS)
    ]
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED
    stored = await world.state_of(held.handle, State.CONSUMED)
    approved = outcome(stored.status.conditions, State.APPROVED)
    assert approved is not None
    assert (approved.reason, approved.message) == (OVERRIDDEN, f'overridden by ola (break-glass): "{WORDS}"')
    await counted(hub, 1, "breakglass_total", tier="confirm")
    assert hub.count("breakglass_total", tier="multi-factor") == 0
    await logged(caplog, "overridden", "reviewer=ola", WORDS)
    assert (await sidecar.consume(held.handle, spec.digest)).release != RELEASED


async def test_D4_who_may_not_override_is_refused_by_the_hub(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """D4: a rightly signed override of somebody without the right counts nothing, raises no alert, and says why."""
    held = await sidecar.open(a_spec(requirements=TWO))
    await world.decide(held.handle, "ana", DecisionKind.OVERRIDDEN, reason=WORDS)
    await counted(hub, 1, "decisions_rejected_total", reason="no_right")
    stored = await world.state_of(held.handle, State.PENDING)
    (entry,) = stored.status.verified
    assert entry.refused == "ana may not override: reviewers.yaml has no may: [override] for them"
    assert hub.count("breakglass_total", tier="confirm") == 0
    assert (await sidecar.consume(held.handle, stored.spec.digest)).release != RELEASED


async def test_D5_an_approval_is_not_turned_into_an_override(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """D5: what was signed as an approval, by somebody who may override, is no override."""
    add_reviewer(world.home.path, "ola", ("leads",), (OVERRIDE,))
    held = await sidecar.open(a_spec(requirements=TWO))
    request = await world.state_of(held.handle, State.PENDING)
    signed = world.signed(request, "ola", reason=WORDS)
    store = await world.store()
    await store.decide("shop", request.name, replace(signed, decision=DecisionKind.OVERRIDDEN))
    await counted(hub, 1, "decisions_rejected_total", reason="signature")
    assert (await sidecar.consume(held.handle, request.spec.digest)).release != RELEASED


async def test_D5_an_override_that_somebody_wrote_as_verified_ends_the_request(
    world: World, hub: HubHere, sidecar: Sidecar
) -> None:
    """D5: a stored word on an override of somebody without the right is judged anew, and nothing is released on it."""
    held = await sidecar.open(a_spec(requirements=TWO))
    request = await world.state_of(held.handle, State.PENDING)
    await hub.stop()
    store = await world.store()
    await store.decide("shop", request.name, world.signed(request, "ana", DecisionKind.OVERRIDDEN, reason=WORDS))
    voted = await store.get("shop", request.name)
    await store.write_status(voted, replace(voted.status, verified=(Verified("ana"),)))
    again = await world.sidecar(await world.hub(), pod=sidecar.agent.pod_uid)
    await again.sync()
    ended = await world.state_of(held.handle, State.CANCELLED)
    assert ended.status.conditions[-1].reason == "EnforcementLost"
    assert (await again.consume(held.handle, request.spec.digest)).release != RELEASED
