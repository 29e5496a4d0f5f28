"""Many writers at once (I5, I6): what must hold whoever is first."""

import asyncio
from collections.abc import Awaitable

from hitl.approvals.requests import ApprovalRequest, State
from hitl.errors import Conflict, HitlError, NoLongerPending
from stores.asking import NAME, NAMESPACE, a_decision, a_denial, a_spec, believed, cancelled, consumed, two_people
from stores.contract.world import Store, StoreTests, World, at_once, kinds, opened


class Races(StoreTests):
    """No interleaving breaks the record."""

    async def test_I6_one_of_twenty_consumers_wins(self, world: World, store: Store) -> None:
        """I6: twenty sidecars that consume one approval at once, through four hubs, are one release, 19 Conflicts."""
        hubs = [await world.open() for _ in range(4)]
        request = await opened(world, store)
        request = await store.decide(NAMESPACE, NAME, a_decision(request))
        request = await store.write_status(request, believed(request))
        results = await at_once(
            *(
                hubs[n % 4].write_status(request, consumed(request, world.clock(), by=f"pod-{n}/epoch"))
                for n in range(20)
            )
        )
        assert kinds(results) == {"ApprovalRequest": 1, "Conflict": 19}
        winner = next(result for result in results if isinstance(result, ApprovalRequest))
        assert await store.get(NAMESPACE, NAME) == winner

    async def test_four_hubs_open_fifty_keys_once_each(self, world: World, store: Store) -> None:
        """Four hubs that open the same 50 names at once store 50 requests; the other 150 attempts are AlreadyExists."""
        hubs = [await world.open() for _ in range(4)]
        results = await at_once(*(opened(world, hub, f"key-{n}") for n in range(50) for hub in hubs))
        assert kinds(results) == {"ApprovalRequest": 50, "AlreadyExists": 150}
        stored = {request.name: request for request in await store.list()}
        assert stored == {result.name: result for result in results if isinstance(result, ApprovalRequest)}

    async def test_two_reviewers_at_once_are_both_recorded(self, world: World, store: Store) -> None:
        """Votes do not conflict with each other: ten people who decide at once all stand there."""
        others = [store, await world.open()]
        request = await opened(world, store, spec=a_spec(requirements=(), denials_to_end=30))
        people = {f"person-{n}" for n in range(10)}
        await asyncio.gather(
            *(others[n % 2].decide(NAMESPACE, NAME, a_denial(request, name)) for n, name in enumerate(sorted(people)))
        )
        read = await store.get(NAMESPACE, NAME)
        assert {decision.reviewer for decision in read.status.decisions} == people
        assert len(read.status.decisions) == 10

    async def test_I5_one_reviewer_at_once_in_many_places_is_one_vote(self, world: World, store: Store) -> None:
        """I5: ten decisions of one person at once are one vote and nine times Refused."""
        others = [store, await world.open()]
        request = await opened(world, store, spec=two_people())
        votes = [a_decision(request) if n % 2 else a_denial(request) for n in range(10)]
        results = await at_once(*(others[n % 2].decide(NAMESPACE, NAME, vote) for n, vote in enumerate(votes)))
        assert kinds(results) == {"ApprovalRequest": 1, "Refused": 9}
        assert len((await store.get(NAMESPACE, NAME)).status.decisions) == 1

    async def test_I5_a_vote_that_races_an_outcome_is_before_it_or_not_at_all(self, world: World, store: Store) -> None:
        """I5: a decision during a cancellation is recorded before it or is NoLongerPending; never after or lost."""
        reviewer = await world.open()

        async def end(request: ApprovalRequest) -> None:
            while True:
                try:
                    await store.write_status(request, cancelled(request, world.clock()))
                except Conflict:
                    request = await store.get(NAMESPACE, request.name)
                else:
                    return

        for n in range(20):
            request = await opened(world, store, f"r-{n}")
            vote, ending = reviewer.decide(NAMESPACE, request.name, a_decision(request)), end(request)
            voted = (await at_once(vote, ending))[0] if n % 2 else (await at_once(ending, vote))[1]
            stored = await store.get(NAMESPACE, request.name)
            assert stored.status.state is State.CANCELLED
            if isinstance(voted, ApprovalRequest):
                assert voted.status.state is State.PENDING
                assert stored.status.decisions == voted.status.decisions
            else:
                assert isinstance(voted, NoLongerPending)
                assert stored.status.decisions == ()

    async def test_I6_a_release_that_races_a_cancellation_is_one_or_the_other(self, world: World, store: Store) -> None:
        """I6: Consumed and Cancelled written at once from one read leave exactly one of them, and one Conflict."""
        other = await world.open()
        for n in range(20):
            request = await opened(world, store, f"r-{n}")
            request = await store.decide(NAMESPACE, request.name, a_decision(request))
            request = await store.write_status(request, believed(request))
            results = await at_once(
                store.write_status(request, consumed(request, world.clock())),
                other.write_status(request, cancelled(request, world.clock())),
            )
            assert kinds(results) == {"ApprovalRequest": 1, "Conflict": 1}
            won = next(result for result in results if isinstance(result, ApprovalRequest))
            assert await other.get(NAMESPACE, request.name) == won

    async def test_one_bad_write_in_a_burst_hurts_nobody_else(self, world: World, store: Store) -> None:
        """Of many writes at once each gets its own answer: refused ones leave no trace, the others are stored."""
        request = await opened(world, store)
        await opened(world, store, "taken")
        attempts: list[Awaitable[object]] = []
        for n in range(100):
            attempts += [
                opened(world, store, f"good-{n}"),
                opened(world, store, "taken"),
                store.decide(NAMESPACE, "missing", a_decision(request)),
                store.decide(NAMESPACE, NAME, a_decision(request, digest="0" * 64)),
            ]
        results = await at_once(*attempts)
        assert kinds(results) == {"ApprovalRequest": 100, "AlreadyExists": 100, "NotFound": 100, "InvalidDecision": 100}
        assert all(isinstance(result, ApprovalRequest | HitlError) for result in results)
        assert len(await store.list()) == 102
        assert await store.get(NAMESPACE, NAME) == request
