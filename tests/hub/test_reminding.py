"""People are told again that a call waits for them: once for each reminder, by whoever settles it (issue 4, I10)."""

from dataclasses import replace

import pytest
from hubs import World, a_spec, eventually, logged

from approvals.asked import a_request, at
from hitl.approvals.requests import OnTimeout
from hitl.approvals.settle import settle
from hitl.policy.verdicts import Requirement
from hitl_operator.reminding import Reminder, reminder

REMINDED = a_request(remind=300, requirements=(Requirement("leads", approvals=2, any_of=("leads", "oncall")),))


@pytest.mark.parametrize(
    ("after", "told", "wanted"),
    [
        (299, 0, None),
        (300, 0, Reminder(1, "2 people of leads or oncall", "10m")),
        (330, 0, Reminder(1, "2 people of leads or oncall", "9m30s")),
        (330, 1, None),
        (361, 0, None),  # whoever led then has told it
        (601, 0, Reminder(2, "2 people of leads or oncall", "4m59s")),
        (899, 2, None),
        (900, 2, None),  # it has ended
    ],
)
def test_one_reminder_is_told_when_it_is_due(after: float, told: int, wanted: Reminder | None) -> None:
    """The newest alone, with what is missing and how long is left; one that is old is not told by who comes late."""
    now = at(after)
    assert reminder(REMINDED, settle(REMINDED, now), told, now) == wanted


def test_a_request_without_groups_waits_for_who_may_approve() -> None:
    """Where a policy names nobody, the words do not either; and where it does not remind, nobody is told again."""
    request = a_request(remind=10)
    found = reminder(request, settle(request, at(15)), 0, at(15))
    assert found is not None
    assert found.waits_for == "1 person who may approve"
    silent = a_request()
    assert reminder(silent, settle(silent, at(400)), 0, at(400)) is None


def test_another_round_goes_on_reminding() -> None:
    """What is left is that of the round it is in."""
    request = replace(REMINDED, spec=replace(REMINDED.spec, on_timeout=OnTimeout.RETRY))
    found = reminder(request, settle(request, at(905)), 2, at(905))
    assert found is not None
    assert (found.number, found.left) == (3, "14m")


async def test_each_reminder_is_told_once_and_only_by_who_settles(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A hub that neither leads nor has anybody waiting tells nothing, until it leads; however often it is looked at."""
    caplog.set_level("INFO")
    leads = False
    hub = await world.hub(leads=lambda: leads)
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    held = await sidecar.open(a_spec(timeout=900, remind=60))
    entry = hub.hub.tracker.open[held.handle]

    def told() -> list[str]:
        return [line for line in caplog.messages if line.startswith("reminder ")]

    async def is_quiet() -> bool:
        return not entry.is_busy

    async def looked_at(seconds: float) -> None:
        world.clock.advance(seconds)
        for _ in range(3):
            hub.hub.settler.look_at_all()
            await eventually(is_quiet, bool)

    await looked_at(61)
    await logged(caplog, "reminder ", "number=1", held.handle, "left=")
    sidecar.hang_up()

    async def is_alone() -> bool:
        return not entry.waiters

    await eventually(is_alone, bool)
    await looked_at(60)
    assert len(told()) == 1
    leads = True
    await logged(caplog, "reminder ", "number=2")
    await looked_at(1)
    assert len(told()) == 2


async def test_a_hub_that_starts_anew_tells_the_next_one(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """What was due while no hub ran, more than a minute ago, is not told late; the timer brings the next by itself."""
    caplog.set_level("INFO")
    first = await world.hub()
    sidecar = await world.sidecar(first)
    await sidecar.sync()
    held = await sidecar.open(a_spec(timeout=900, remind=120))
    await first.stop()
    world.clock.advance(200)
    second = await world.hub()

    async def is_known() -> bool:
        entry = second.hub.tracker.open.get(held.handle)
        return entry is not None and entry.found is not None and not entry.is_busy

    await eventually(is_known, bool)
    assert not [line for line in caplog.messages if line.startswith("reminder ")]
    world.clock.advance(41)
    second.tick()
    await logged(caplog, "reminder ", "number=2", held.handle)
