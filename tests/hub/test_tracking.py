"""What the hub knows of open requests, in whatever order it reads them."""

from dataclasses import replace

import pytest
from hubs import HubHere, Sidecar, World, a_spec, eventually

from hitl.approvals.requests import ApprovalRequest, Note, NoteType, RequestStatus, State, Verified
from hitl_operator.tracking import Tracker


async def a_pending(world: World, sidecar: Sidecar) -> ApprovalRequest:
    return await world.state_of((await sidecar.open(a_spec())).handle, State.PENDING)


@pytest.mark.parametrize("what", ["decisions", "notes", "verified", "escalated"])
async def test_I5_a_late_read_takes_nothing_back(world: World, sidecar: Sidecar, what: str) -> None:
    """I5: a picture from before a vote, a note, the hub's word or an escalation step does not replace the newer one."""
    before = await a_pending(world, sidecar)
    voted = replace(before.status, decisions=(world.signed(before, "ana"),))
    news: dict[str, RequestStatus] = {
        "decisions": voted,
        "notes": replace(before.status, notes=(Note("bo", 1, before.uid, NoteType.ESCALATE),)),
        "verified": replace(voted, verified=(Verified("ana"),)),
        "escalated": replace(before.status, escalated=1),
    }
    if what == "verified":
        before = replace(before, status=voted)
    after = replace(before, version="later", status=news[what])
    tracker = Tracker()
    tracker.observe(after)
    assert tracker.observe(before) is None
    assert tracker.open[before.handle].request is after


async def test_a_picture_with_more_is_taken_and_so_is_another_request_of_the_name(
    world: World, sidecar: Sidecar
) -> None:
    """News is taken in whatever its version is called; a request made anew begins without votes."""
    before = await a_pending(world, sidecar)
    voted = replace(before, version="0", status=replace(before.status, decisions=(world.signed(before, "ana"),)))
    anew = replace(before, version="1", uid="another")
    tracker = Tracker()
    for picture in (before, voted, anew):
        assert tracker.observe(picture) is not None
        assert tracker.open[before.handle].request is picture


async def test_I13_a_row_that_lost_its_vote_still_expires(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """I13: what the hub knows may be more than what is stored; the store's word is final and the deadline comes."""
    held = await sidecar.open(a_spec(timeout=60))
    entry = hub.hub.tracker.open[held.handle]

    async def is_busy() -> bool:
        return entry.is_busy

    await eventually(is_busy, lambda busy: not busy)
    known = entry.request
    entry.request = replace(known, version="gone", status=replace(known.status, decisions=(world.signed(known, "cy"),)))
    world.clock.advance(61)
    hub.tick()
    assert await held.end() == "EXPIRED"


async def test_B5_what_is_remembered_of_workloads_is_bounded(world: World, sidecar: Sidecar) -> None:
    """B5: workloads come and go by the thousand; of who asked least recently the denials are read again."""
    pending = await a_pending(world, sidecar)
    tracker, now = Tracker(), world.clock()
    for number in range(3_000):
        tracker.seed_denials("shop", f"pod/{number}", ())
        tracker.reserve("shop", f"pod/{number}", 1)
        tracker.reserve("shop", f"pod/{number}", -1)
        assert tracker.knows_denials_of("shop", "pod/0"), "it asks all the time"
        tracker.denials_of("shop", "pod/0", now)
    assert not tracker.knows_denials_of("shop", "pod/1")
    assert len(tracker._denied) == 2_000
    assert not tracker._per_workload
    for number in range(60):
        denied = [replace(pending, name=f"{number}-{n}") for n in range(200)]
        tracker.seed_denials("shop", f"job/{number}", denied)
    assert sum(len(each) for each in tracker._denied.values()) == 10_000
    assert len(tracker.denials_of("shop", "job/59", now)) == 200
