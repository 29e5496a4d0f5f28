"""What the operator may write, and what nobody may (I5)."""

from dataclasses import replace

import pytest

from hitl.approvals.conditions import with_outcome
from hitl.approvals.requests import ApprovalRequest, RequestStatus, State
from hitl.errors import Conflict, Refused
from stores.asking import (
    NAME,
    NAMESPACE,
    Now,
    a_decision,
    a_note,
    a_spec,
    approved_by,
    believed,
    cancelled,
    consumed,
    ended,
    two_people,
    with_a_round,
)
from stores.contract.world import OUTCOMES, Store, StoreTests, World, decided, opened


class Outcomes(StoreTests):
    """Compare-and-set, within the life cycle."""

    async def test_a_write_to_an_old_version_is_a_conflict(self, world: World, store: Store) -> None:
        """Compare-and-set: whoever read an older version gets Conflict, and what was written meanwhile stays."""
        read = await opened(world, store)
        voted = await store.decide(NAMESPACE, NAME, a_decision(read))
        with pytest.raises(Conflict, match="read it and decide again"):
            await store.write_status(read, cancelled(read, world.clock()))
        assert await store.get(NAMESPACE, NAME) == voted

    async def test_every_change_has_a_version_of_its_own(self, world: World, store: Store) -> None:
        """Equal versions are equal content: each change brings a version that was not there before."""
        request = await opened(world, store)
        versions = [request.version]
        for reviewer in ("ana", "ben"):
            request = await store.decide(NAMESPACE, NAME, a_decision(request, reviewer))
            versions.append(request.version)
        request = await store.write_status(request, believed(request))
        versions.append(request.version)
        assert len(set(versions)) == 4
        assert (await store.get(NAMESPACE, NAME)).version == request.version

    async def test_writing_what_stands_there_changes_nothing(self, world: World, store: Store) -> None:
        """An equal status is no change: the version stays, so nobody's compare-and-set fails by it."""
        request = await opened(world, store)
        assert await store.write_status(request, request.status) == request
        assert await store.get(NAMESPACE, NAME) == request

    async def test_what_was_asked_is_immutable(self, world: World, store: Store) -> None:
        """I5: a writer that brings another spec changes the status only; the stored question stays."""
        request = await opened(world, store)
        forged = replace(request, spec=a_spec(summary="something harmless", digest="0" * 64), labels={"a": "b"})
        written = await store.write_status(forged, cancelled(request, world.clock()))
        assert written.spec == a_spec()
        assert await store.get(NAMESPACE, NAME) == written

    @pytest.mark.parametrize(
        "breach",
        [
            "a decision is removed",
            "a decision is changed",
            "a person votes twice",
            "a vote is counted that nobody cast",
            "a note is removed",
            "the hub's word is taken back",
            "one write votes and decides",
            "consumed without approval",
            "state and conditions differ",
            "an outcome is set to False",
            "requirements shrink",
            "a timeout more than the policy grants",
            "the deadline moves back",
        ],
    )
    async def test_I5_a_pending_request_keeps_to_its_life_cycle(self, world: World, store: Store, breach: str) -> None:
        """I5: whoever holds the newest version is still refused what the life cycle forbids, and nothing is written."""
        request = await opened(world, store, spec=two_people())
        request = await store.decide(NAMESPACE, NAME, a_decision(request))
        request = await store.note(NAMESPACE, NAME, a_note(request))
        request = await store.write_status(request, believed(request))
        with pytest.raises(Refused):
            await store.write_status(request, self._breach(request, breach, world.clock))
        assert await store.get(NAMESPACE, NAME) == request

    @staticmethod
    def _breach(request: ApprovalRequest, breach: str, clock: Now) -> RequestStatus:
        status = request.status
        first = status.decisions[0]
        both = approved_by(request, clock(), "ben")
        match breach:
            case "a decision is removed":
                return replace(status, decisions=(), verified=())
            case "a decision is changed":
                return replace(status, decisions=(replace(first, reason="changed my mind"),))
            case "a person votes twice":
                return replace(status, decisions=(first, replace(first, reviewer="ANA")))
            case "a vote is counted that nobody cast":
                return replace(status, verified=both.status.verified)
            case "a note is removed":
                return replace(status, notes=())
            case "the hub's word is taken back":
                return replace(status, verified=())
            case "one write votes and decides":
                return ended(both, State.APPROVED, clock)
            case "consumed without approval":
                return with_outcome(status, State.CONSUMED, "Released", "released", clock())
            case "state and conditions differ":
                return replace(cancelled(request, clock()), state=State.PENDING)
            case "an outcome is set to False":
                end = cancelled(request, clock())
                return replace(end, conditions=(replace(end.conditions[0], status="False"),), state=State.PENDING)
            case "requirements shrink":
                return replace(status, requirements=(replace(status.requirements[0], approvals=1),))
            case "a timeout more than the policy grants":
                return with_a_round(status)
            case "the deadline moves back":
                return replace(status, expiration_time=clock())
        raise AssertionError(breach)

    @pytest.mark.parametrize("state", OUTCOMES)
    async def test_I5_an_outcome_is_never_taken_back(self, world: World, store: Store, state: State) -> None:
        """I5: once an outcome is True no write removes it, nor makes another one of it, nor adds a vote."""
        request = await decided(world, store, state)
        pending = replace(request.status, conditions=(), state=State.PENDING, resolved_time=None)
        late = replace(request.status, decisions=(*request.status.decisions, a_decision(request, "ben")))
        other = State.DENIED if state is not State.DENIED else State.CANCELLED
        instead = with_outcome(pending, other, "Other", "something else", world.clock())
        for status in (pending, late, instead):
            with pytest.raises(Refused):
                await store.write_status(request, status)
        assert await store.get(NAMESPACE, NAME) == request

    async def test_an_approved_request_is_consumed_later(self, world: World, store: Store) -> None:
        """Approved may be followed by Consumed: both stand, with what was released, when and to whom."""
        request = await decided(world, store, State.APPROVED)
        await world.later()
        now = world.clock()
        request = await store.write_status(request, consumed(request, now))
        assert [condition.type for condition in request.status.conditions] == ["Approved", "Consumed"]
        assert request.status.consumed_time == now
        assert await store.get(NAMESPACE, NAME) == request
