"""When the hub looks at a request again, whatever the clock does."""

from hubs import HubHere, Sidecar, World, a_spec, eventually

from hitl.approvals.requests import State


async def test_I13_a_clock_that_steps_back_as_a_deadline_comes_loses_no_deadline(
    world: World, hub: HubHere, sidecar: Sidecar
) -> None:
    """I13: taken from the timers at its deadline, but settled only after the clock stepped back fifty seconds, a
    request still waits; and it expires when its time comes again.
    """
    held = await sidecar.open(a_spec(timeout=60))
    world.clock.advance(60.1)
    hub.hub.settler.call_due()  # queued: no worker runs before the next await
    world.clock.advance(-50)
    entry = hub.hub.tracker.open[held.handle]

    async def is_busy() -> bool:
        return entry.is_busy

    await eventually(is_busy, lambda busy: not busy)
    assert (await world.state_of(held.handle, State.PENDING)).status.conditions == ()
    world.clock.advance(50)
    hub.tick()
    assert await held.end() == "EXPIRED"
