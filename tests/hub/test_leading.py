"""Several hubs side by side: who writes, and that nothing waits for ever where nobody leads (I13, DESIGN 11, 14)."""

from hubs import RELEASED, World, a_spec, counted, eventually

from hitl.approvals.requests import State


async def test_only_the_leader_settles_what_nobody_waits_for(world: World) -> None:
    """A request whose sidecar is gone is left alone by a hub that does not lead, and expired by the one that does."""
    leads = False
    follower = await world.hub(leads=lambda: leads)
    sidecar = await world.sidecar(follower)
    await sidecar.sync()
    held = await sidecar.open(a_spec(timeout=60))
    sidecar.hang_up()
    entry = follower.hub.tracker.open[held.handle]

    async def is_alone() -> bool:
        return not entry.waiters

    await eventually(is_alone, bool)
    world.clock.advance(61)
    follower.tick()

    async def was_passed_over() -> bool:
        return entry.passed_over and not entry.is_busy

    await eventually(was_passed_over, bool)
    assert (await world.state_of(held.handle, State.PENDING)).status.conditions == ()
    leads = True  # and the hub finds that out by itself
    assert (await world.state_of(held.handle, State.EXPIRED)).status.state is State.EXPIRED


async def test_I13_who_waits_is_served_also_while_nobody_leads(world: World) -> None:
    """I13: votes on a held call are counted, and it is released, by the hub that holds it; no leader is needed."""
    hub = await world.hub(leads=lambda: False)
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED


async def test_I13_who_begins_to_wait_finds_what_was_left_to_others_settled(world: World) -> None:
    """I13: a vote came while nobody waited and nobody led; who attaches then is told that the call is ready."""
    hub = await world.hub(leads=lambda: False)
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    held = await sidecar.open(a_spec())
    sidecar.hang_up()
    entry = hub.hub.tracker.open[held.handle]

    async def voted_and_left() -> bool:
        return bool(entry.request.status.decisions) and entry.passed_over and not entry.is_busy

    async def is_alone() -> bool:
        return not entry.waiters

    await eventually(is_alone, bool)
    await world.decide(held.handle, "ana")
    await eventually(voted_and_left, bool)
    assert (await world.state_of(held.handle, State.PENDING)).status.verified == ()
    again = await sidecar.watch(held.handle)
    assert (await again.ready()).ready


async def test_I13_a_new_call_after_an_expiry_that_nobody_wrote_asks_anew(world: World) -> None:
    """I13, I9: a call whose earlier request expired unnoticed is not answered with that: a new request is made."""
    hub = await world.hub(leads=lambda: False)
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    spec = a_spec(timeout=60)
    first = await sidecar.open(spec)
    sidecar.hang_up()
    entry = hub.hub.tracker.open[first.handle]

    async def is_alone() -> bool:
        return not entry.waiters

    async def was_passed_over() -> bool:
        return entry.passed_over and not entry.is_busy

    await eventually(is_alone, bool)
    world.clock.advance(61)
    hub.tick()
    await eventually(was_passed_over, bool)
    second = await sidecar.open(spec)
    assert second.outcome == "PENDING"
    assert second.handle != first.handle
    assert (await world.state_of(first.handle, State.EXPIRED)).status.state is State.EXPIRED


async def test_two_hubs_leave_a_held_call_to_the_one_that_holds_it(world: World) -> None:
    """The other hub, which does not lead, writes nothing about it."""
    holder, other = await world.hub(leads=lambda: False), await world.hub(leads=lambda: False)
    sidecar = await world.sidecar(holder)
    await sidecar.sync()
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED
    await counted(holder, 1, "holds_total", tier="confirm", outcome="consumed")
    assert other.count("decisions_total", decision="approved", tier="confirm") == 0
