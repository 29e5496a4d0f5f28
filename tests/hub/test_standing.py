"""What the hub does while it cannot be proved that only people decide, or after the storage went back (C4, D2)."""

import pytest
from hubs import RELEASED, HubHere, Sidecar, World, a_spec, counted, eventually

from hitl.approvals.requests import ApprovalRequest, DecisionKind, State
from hitl.v1 import hub_pb2
from hitl_operator.standing import ENFORCEMENT_LOST, REWOUND, Lost

NOT_READY = hub_pb2.ConsumeResponse.RELEASE_NOT_READY
REFUSED = hub_pb2.ConsumeResponse.RELEASE_REFUSED


class Proof:
    """Stands until a story says otherwise."""

    def __init__(self) -> None:
        self.lost: Lost | None = None

    def lose(self, reason: str = ENFORCEMENT_LOST) -> None:
        self.lost = Lost(reason, "not now; ask an administrator")

    async def vouch(self, request: ApprovalRequest) -> Lost | None:
        return self.lost if request.status.decisions else None


@pytest.fixture
def proof() -> Proof:
    return Proof()


@pytest.fixture
async def hub(world: World, proof: Proof) -> HubHere:
    return await world.hub(standing=proof)


@pytest.mark.parametrize("reason", [ENFORCEMENT_LOST, REWOUND])
async def test_C4_D2_in_a_gap_new_holds_are_unavailable(
    hub: HubHere, sidecar: Sidecar, proof: Proof, reason: str
) -> None:
    """C4, D2: nobody is asked while the answer could not be believed; the agent hears which of the two it is."""
    proof.lose(reason)
    held = await sidecar.open(a_spec())
    assert (held.outcome, held.state.reason_code) == ("UNAVAILABLE", reason)
    assert not hub.hub.tracker.open


async def test_C4_a_vote_in_a_gap_is_not_counted_and_is_afterwards(
    world: World, hub: HubHere, sidecar: Sidecar, proof: Proof
) -> None:
    """C4: the vote waits; once the checks stand again and it was not voided, it counts and the call is released."""
    spec = a_spec()
    held = await sidecar.open(spec)
    proof.lose()
    await world.decide(held.handle, "ana")
    entry = hub.hub.tracker.open[held.handle]

    async def was_looked_at() -> bool:
        return bool(entry.request.status.decisions) and not entry.is_busy

    await eventually(was_looked_at, bool)
    assert (await world.state_of(held.handle, State.PENDING)).status.verified == ()
    assert (await sidecar.consume(held.handle, spec.digest)).release == NOT_READY
    proof.lost = None
    hub.hub.settler.look_at_all()
    await held.ready()
    assert (await sidecar.consume(held.handle, spec.digest)).release == RELEASED


@pytest.mark.parametrize(("reason", "answer"), [(ENFORCEMENT_LOST, NOT_READY), (REWOUND, REFUSED)])
@pytest.mark.usefixtures("hub")
async def test_C4_D2_what_was_ready_is_not_released_in_a_gap(
    world: World, sidecar: Sidecar, proof: Proof, reason: str, answer: int
) -> None:
    """C4, D2: approved before, asked for in the gap: nothing runs, and the request keeps its approval."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    proof.lose(reason)
    said = await sidecar.consume(held.handle, spec.digest)
    assert (said.release, said.reason_code) == (answer, reason)
    assert (await world.state_of(held.handle, State.PENDING, State.APPROVED)).status.consumed_by == ""


async def test_I13_in_a_gap_a_voted_request_still_expires(
    world: World, hub: HubHere, sidecar: Sidecar, proof: Proof
) -> None:
    """I13: time goes on, and who waits is told that it is over."""
    held = await sidecar.open(a_spec(timeout=60))
    proof.lose()
    await world.decide(held.handle, "ana")
    world.clock.advance(61)
    hub.tick()
    assert await held.end() == "EXPIRED"


async def test_C4_in_a_gap_an_agent_may_still_withdraw(
    world: World, hub: HubHere, sidecar: Sidecar, proof: Proof
) -> None:
    """C4: to take back a call needs nobody's vote."""
    held = await sidecar.open(a_spec())
    await world.decide(held.handle, "ana", DecisionKind.APPROVED)
    await held.ready()
    proof.lose()
    assert await sidecar.cancel(held.handle) == "OUTCOME_CANCELLED"


async def test_C4_a_voided_request_is_counted_and_its_holder_told(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """C4: voiding ends the hold as cancelled, with the reason in the request and one more in the alert's metric."""
    held = await sidecar.open(a_spec())
    await world.decide(held.handle, "cy")

    async def judged() -> bool:
        return bool((await world.state_of(held.handle, State.PENDING)).status.verified)

    await eventually(judged, bool)
    namespace, _, name = held.handle.partition("/")
    assert not await hub.hub.settler.void(namespace, name, "in a gap", unless_known=True), "this hub judged it itself"
    assert await hub.hub.settler.void(namespace, name, "in a gap", unless_known=False)
    assert await held.end() == "CANCELLED"
    await counted(hub, 1, "requests_voided_total")
    assert (await world.state_of(held.handle, State.CANCELLED)).status.conditions[-1].reason == "EnforcementLost"
