"""What reviewers may write: one decision, eight notes, nothing else."""

from dataclasses import replace
from datetime import timedelta

import pytest

from hitl.approvals.requests import DecisionKind, NoteType, Proof, State
from hitl.approvals.timeline import deadline_of
from hitl.errors import Forbidden, InvalidDecision, NoLongerPending, NotFound, Refused
from stores.asking import NAME, NAMESPACE, a_decision, a_denial, a_note, a_spec, two_people
from stores.contract.world import OUTCOMES, Store, StoreTests, World, decided, opened

A_DAY = timedelta(days=1)


class Reviewing(StoreTests):
    """Votes and notes are added, never changed."""

    async def test_a_decision_is_appended_with_the_stores_time(self, world: World, store: Store) -> None:
        """`decide` adds exactly one entry, stamped by the store whatever time its writer claims, and nothing else."""
        request = await opened(world, store)
        await world.later()
        claimed = a_decision(request, reason="looks right", groups=("support-leads",), time=request.created - A_DAY)
        written = await store.decide(NAMESPACE, NAME, claimed)
        stamp = written.status.decisions[0].time
        assert world.is_now(stamp)
        assert written.status == replace(request.status, decisions=(replace(claimed, time=stamp),))
        assert await store.get(NAMESPACE, NAME) == written

    async def test_everything_in_a_decision_survives(self, world: World, store: Store) -> None:
        """Patch, reason and groups come back as they were given, to the last character."""
        request = await opened(world, store)
        vote = a_decision(request, arguments_patch={"amount": 1250}, reason='"ok" — 100 % 🟢', groups=("b", "a"))
        await store.decide(NAMESPACE, NAME, vote)
        read = await store.get(NAMESPACE, NAME)
        stamp = read.status.decisions[0].time
        assert world.is_now(stamp)
        assert read.status.decisions == (replace(vote, time=stamp),)

    async def test_D4_an_override_that_shows_nothing_or_says_nothing_is_not_stored(
        self, world: World, store: Store
    ) -> None:
        """D4: no store takes an override without a factor or signature, without a reason, or with a changed call."""
        request = await opened(world, store)
        bare = a_decision(request, "ana", DecisionKind.OVERRIDDEN, reason="INC-88")
        shown = replace(bare, proof=Proof("oidc", factors=("otp",), time=world.clock()))
        for vote in (bare, replace(shown, reason=" "), replace(shown, arguments_patch={"amount": 1250})):
            with pytest.raises((Forbidden, InvalidDecision)):
                await store.decide(NAMESPACE, NAME, vote)
        assert await store.get(NAMESPACE, NAME) == request

    async def test_I5_nobody_decides_twice(self, world: World, store: Store) -> None:
        """I5: a second decision of one reviewer is Refused, also under another spelling; the first stays."""
        request = await opened(world, store, spec=two_people())
        voted = await store.decide(NAMESPACE, NAME, a_decision(request, "ana"))
        for name in ("ana", "Ana"):
            with pytest.raises(Refused, match="already"):
                await store.decide(NAMESPACE, NAME, a_denial(request, name))
        assert await store.get(NAMESPACE, NAME) == voted

    @pytest.mark.parametrize("state", OUTCOMES)
    async def test_I5_voting_ends_with_the_first_outcome(self, world: World, store: Store, state: State) -> None:
        """I5: after an outcome a decision gets NoLongerPending, and the record does not change."""
        request = await decided(world, store, state)
        with pytest.raises(NoLongerPending):
            await store.decide(NAMESPACE, NAME, a_decision(request, "ben"))
        with pytest.raises(NoLongerPending):
            await store.note(NAMESPACE, NAME, a_note(request, "ben"))
        assert await store.get(NAMESPACE, NAME) == request

    async def test_a_decision_after_the_deadline_is_late_by_the_stores_clock(self, world: World, store: Store) -> None:
        """At expirationTime a decision is NoLongerPending though nobody wrote Expired yet."""
        request = await opened(world, store, spec=a_spec(timeout=1))
        await world.until(deadline_of(request))
        with pytest.raises(NoLongerPending, match="expired"):
            await store.decide(NAMESPACE, NAME, a_decision(request))

    @pytest.mark.parametrize("wrong", [{"digest": "0" * 64}, {"request_uid": "another"}])
    async def test_a_decision_for_something_else_is_invalid(
        self, world: World, store: Store, wrong: dict[str, str]
    ) -> None:
        """A decision that echoes another digest or uid than the request's is InvalidDecision and not recorded."""
        request = await opened(world, store)
        with pytest.raises(InvalidDecision):
            await store.decide(NAMESPACE, NAME, a_decision(request, **wrong))
        assert await store.get(NAMESPACE, NAME) == request

    async def test_the_requester_may_not_decide(self, world: World, store: Store) -> None:
        """Who made the call, like every ServiceAccount, is Forbidden to decide it."""
        request = await opened(world, store)
        with pytest.raises(Forbidden):
            await store.decide(NAMESPACE, NAME, a_decision(request, request.spec.requester))
        assert await store.get(NAMESPACE, NAME) == request

    async def test_a_decision_on_nothing_is_not_found(self, world: World, store: Store) -> None:
        """NotFound where there is no request of that name."""
        request = await opened(world, store)
        with pytest.raises(NotFound):
            await store.decide("bank", NAME, a_decision(request))
        with pytest.raises(NotFound):
            await store.note("bank", NAME, a_note(request))

    async def test_a_reviewer_has_eight_notes(self, world: World, store: Store) -> None:
        """Notes are appended with the store's time; the ninth of one reviewer is Refused, another's first is not."""
        request = await opened(world, store)
        for n in range(1, 9):
            await world.later()
            request = await store.note(NAMESPACE, NAME, a_note(request, n=n))
            note = request.status.notes[-1]
            assert world.is_now(note.time)
            assert note == a_note(request, n=n, time=note.time)
        with pytest.raises(Refused):
            await store.note(NAMESPACE, NAME, a_note(request, n=9))
        written = await store.note(NAMESPACE, NAME, a_note(request, "ben"))
        assert len(written.status.notes) == 9
        assert await store.get(NAMESPACE, NAME) == written

    async def test_feedback_is_welcome_after_the_end(self, world: World, store: Store) -> None:
        """Feedback may be noted on a request that has ended; it changes nothing else."""
        request = await decided(world, store, State.EXPIRED)
        feedback = a_note(request, type=NoteType.FEEDBACK, minutes=0, reason="ask earlier")
        written = await store.note(NAMESPACE, NAME, feedback)
        stamp = written.status.notes[0].time
        assert world.is_now(stamp)
        assert written.status == replace(request.status, notes=(replace(feedback, time=stamp),))

    async def test_a_note_for_another_uid_is_invalid(self, world: World, store: Store) -> None:
        """A note that echoes another uid is InvalidDecision and not recorded."""
        request = await opened(world, store)
        with pytest.raises(InvalidDecision):
            await store.note(NAMESPACE, NAME, a_note(request, request_uid="another"))
        assert await store.get(NAMESPACE, NAME) == request
