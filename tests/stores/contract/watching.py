"""What a watch shows: every change, the last one always."""

import asyncio
from contextlib import aclosing

import pytest

from hitl.errors import AlreadyExists
from stores.asking import NAME, NAMESPACE, a_decision, a_denial, a_spec, cancelled
from stores.contract.world import Store, StoreTests, World, next_of, opened, until


class Watching(StoreTests):
    """Watches of one store and of several on the same requests."""

    async def test_a_watch_sees_what_is_created_and_changed(self, world: World, store: Store) -> None:
        """Creation, vote and outcome each arrive, the newest as `get` has it."""
        watch = store.watch()
        created = await opened(world, store)
        assert await next_of(watch) == created
        voted = await store.decide(NAMESPACE, NAME, a_decision(created))
        assert await next_of(watch) == voted
        end = await store.write_status(voted, cancelled(voted, world.clock()))
        assert await next_of(watch) == end == await store.get(NAMESPACE, NAME)

    async def test_a_watch_sees_what_other_stores_write(self, world: World, store: Store) -> None:
        """A reviewer's decision through a store of his own arrives at the hub's watch, and the other way round."""
        other = await world.open()
        here, there = store.watch(), other.watch()
        request = await opened(world, store)
        assert await next_of(there) == request
        assert await next_of(here) == request
        voted = await other.decide(NAMESPACE, NAME, a_decision(request))
        assert await next_of(here) == voted
        assert await next_of(there) == voted

    async def test_watch_first_and_list_second_misses_nothing(self, world: World, store: Store) -> None:
        """A watch reports from the call on, not from its first step: what happens between the two arrives."""
        other = await world.open()
        watch = store.watch()
        own = await opened(world, store, "own")
        foreign = await opened(world, other, "foreign")
        assert await store.list() == sorted([own, foreign], key=lambda each: (each.created, each.name))
        assert {(await next_of(watch)).name, (await next_of(watch)).name} == {"own", "foreign"}

    async def test_a_watch_does_not_report_what_was_before(self, world: World, store: Store) -> None:
        """What was written before the call does not arrive."""
        await opened(world, store, "before")
        watch = store.watch()
        await opened(world, store, "after")
        assert (await next_of(watch)).name == "after"

    async def test_a_watch_leaves_out_what_its_caller_knows_and_nothing_else(self, world: World, store: Store) -> None:
        """Of many requests known in the version that was written none arrives again, their next change does."""
        written: dict[tuple[str, str], str] = {}
        watch = store.watch(known=lambda namespace, name, version: written.get((namespace, name)) == version)
        for n in range(200):
            request = await opened(world, store, f"own-{n}")
            written[request.namespace, request.name] = request.version
        voted = await store.decide(NAMESPACE, request.name, a_decision(request))
        foreign = await opened(world, await world.open(), "foreign")
        assert await until(watch, lambda each: each == foreign) == [voted, foreign]

    async def test_a_watch_keeps_to_its_namespace(self, world: World, store: Store) -> None:
        """With a namespace only its requests arrive, however much happens elsewhere."""
        watch = store.watch("bank")
        for n in range(100):
            await opened(world, store, f"noise-{n}")
        wanted = await opened(world, store, namespace="bank")
        assert await next_of(watch) == wanted

    async def test_changes_that_nobody_looked_at_arrive_as_the_last_one(self, world: World, store: Store) -> None:
        """Several changes between two looks may be one; versions never go back, and the last one always arrives."""
        watch = store.watch()
        request = await opened(world, store, spec=a_spec(requirements=(), denials_to_end=30))
        for n in range(20):
            request = await store.decide(NAMESPACE, NAME, a_denial(request, f"person-{n}"))
        seen = await until(watch, lambda each: each.version == request.version)
        counts = [len(each.status.decisions) for each in seen]
        assert counts == sorted(set(counts))
        assert counts[-1] == 20

    async def test_a_write_that_changes_nothing_wakes_nobody(self, world: World, store: Store) -> None:
        """Writing an equal status, a refused write and a deletion are not reported."""
        request = await opened(world, store)
        doomed = await opened(world, store, "doomed")
        watch = store.watch()
        await store.write_status(request, request.status)
        with pytest.raises(AlreadyExists):
            await opened(world, store)
        await store.delete(doomed)
        after = await opened(world, store, "after")
        assert await next_of(watch) == after

    async def test_a_cancelled_step_loses_nothing(self, world: World, store: Store) -> None:
        """Giving up waiting for the next change does not lose it: the next step has it."""
        watch = store.watch()
        step = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        request = await opened(world, store)
        assert await next_of(watch) == request

    async def test_every_watch_sees_everything(self, world: World, store: Store) -> None:
        """Two watches of one store do not take changes from each other."""
        first, second = store.watch(), store.watch(NAMESPACE)
        names = {f"r-{n}" for n in range(150)}
        await asyncio.gather(*(opened(world, store, name) for name in names))
        for watch in (first, second):
            assert {(await next_of(watch)).name for _ in names} == names

    async def test_closing_a_watch_ends_whoever_waits_on_it(self, world: World, store: Store) -> None:
        """After `aclose` the waiting step ends, and so does every later one; closing twice does no harm."""
        watch = store.watch()

        async def follow() -> int:
            return len([each async for each in watch])

        async with aclosing(watch):
            following = asyncio.ensure_future(follow())
            await opened(world, store)
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            assert await following in (0, 1)
        await watch.aclose()
        with pytest.raises(StopAsyncIteration):
            await next_of(watch)
