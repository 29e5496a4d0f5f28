"""Watches of the Kubernetes store on a server that freezes, restarts, forgets, and sits behind bad cables."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cluster.cables import Cable, cable_to
from cluster.restarts import restarted
from control_plane.running import ControlPlane
from hitl.approvals.requests import ApprovalRequest, State
from hitl.errors import StoreUnavailable
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.shipped import DEFAULT
from hitl.stores.kubernetes import KubernetesStore
from hitl.stores.protocol import Watch
from stores.asking import NAME, NAMESPACE, a_decision
from stores.contract.world import decided, next_of, opened
from stores.kubernetes_world import OPERATORS_GROUPS, BothSides, KubernetesWorld, kubernetes_world


@pytest.fixture
async def world(control_plane: ControlPlane) -> AsyncIterator[KubernetesWorld]:
    async with kubernetes_world(control_plane) as world:
        yield world


@pytest.fixture
async def store(world: KubernetesWorld) -> BothSides:
    return await world.open()


@asynccontextmanager
async def behind_a_cable(
    world: KubernetesWorld, *, idle: float | None = None, deadline: float = 30.0
) -> AsyncIterator[tuple[Cable, KubernetesStore]]:
    direct = Access.from_kubeconfig(world.plane.admin, as_user=DEFAULT.operator, as_groups=OPERATORS_GROUPS)
    async with cable_to(direct) as (cable, access), KubeAPI.open(access, deadline=deadline) as api:
        store = KubernetesStore(api, watch_timeout=10, watch_idle=idle)
        await store.anchor()
        yield cable, store
        await store.aclose()


async def patiently(watch: Watch) -> tuple[ApprovalRequest, int]:
    """The next change, however often the store could not look, and how often that was."""
    failures = 0
    async with asyncio.timeout(90):
        while True:
            try:
                return await anext(watch), failures
            except StoreUnavailable:
                failures += 1


async def test_a_cut_connection_loses_nothing(world: KubernetesWorld, store: BothSides) -> None:
    """What is written while the cable is cut arrives once it is mended; in between it is StoreUnavailable."""
    async with behind_a_cable(world) as (cable, distant):
        watch = distant.watch()
        first = await opened(world, store, "first")
        assert await next_of(watch) == first
        cable.cut()
        second = await opened(world, store, "second")
        with pytest.raises(StoreUnavailable):
            await next_of(watch)
        cable.mend()
        assert (await patiently(watch))[0] == second


async def test_a_short_cut_is_not_worth_a_word(world: KubernetesWorld, store: BothSides) -> None:
    """A connection that ends and can be had again at once is taken up without an error."""
    async with behind_a_cable(world) as (cable, distant):
        watch = distant.watch()
        await opened(world, store, "first")
        await next_of(watch)
        cable.cut()
        cable.mend()
        second = await opened(world, store, "second")
        assert await next_of(watch) == second


async def test_a_dead_watch_is_deaf_no_longer_than_its_idle_time(world: KubernetesWorld, store: BothSides) -> None:
    """A connection that went dead without a word is given up after the idle time; what was missed arrives."""
    async with behind_a_cable(world, idle=1.5, deadline=3.0) as (cable, distant):
        watch = distant.watch()
        first = await opened(world, store, "first")
        assert (await patiently(watch))[0] == first
        cable.numb()
        second = await opened(world, store, "second")
        with pytest.raises(StoreUnavailable):
            await next_of(watch)
        cable.mend()
        assert (await patiently(watch))[0] == second


async def test_a_frozen_server_thaws_and_the_watch_goes_on(
    world: KubernetesWorld, store: BothSides, control_plane: ControlPlane
) -> None:
    """While the server is frozen reads are StoreUnavailable, never an empty answer; after the thaw all is there."""
    async with behind_a_cable(world, idle=2.0, deadline=3.0) as (_, hasty):
        watch = hasty.watch()
        first = await opened(world, store, "first")
        assert (await patiently(watch))[0] == first
        control_plane.freeze()
        try:
            for read in (hasty.get(NAMESPACE, "first"), hasty.list(), hasty.list(pending_only=True)):
                with pytest.raises(StoreUnavailable, match="did not answer"):
                    await read
            with pytest.raises(StoreUnavailable):
                await next_of(watch)
        finally:
            control_plane.thaw()
        second = await opened(world, store, "second")
        found = (await patiently(watch))[0]
        while found.name != "second":
            found = (await patiently(watch))[0]
        assert found == second


async def test_a_server_that_forgot_is_caught_up_with(
    world: KubernetesWorld, store: BothSides, control_plane: ControlPlane
) -> None:
    """After a restart the old version is 410: every change since arrives once, what did not change does not."""
    unchanged = await opened(world, store, "unchanged")
    before = await opened(world, store, "before")
    async with behind_a_cable(world) as (cable, distant):
        watch = distant.watch()
        # Oldest first by the server's seconds, so either may come first.
        assert {request.name for request in await distant.list()} == {before.name, unchanged.name}
        cable.cut()
        voted = await store.decide(NAMESPACE, "before", a_decision(before))
        new = await opened(world, store, "new")
        await store.delete(await decided(world, store, State.DENIED, "gone"))
        await asyncio.to_thread(restarted, control_plane)
        cable.mend()
        found = [(await patiently(watch))[0] for _ in range(2)]
        assert sorted(found, key=lambda each: each.name) == [voted, new]
        last = await opened(world, store, "last")
        assert (await patiently(watch))[0] == last


async def test_a_deletion_is_told_to_who_asked_for_it(world: KubernetesWorld, store: BothSides) -> None:
    """on_deleted hears handle and uid; the watch itself says nothing (C3: a request that vanished is found out)."""
    told: list[tuple[str, str]] = []
    listening = KubernetesStore(await world.operator_api(), on_deleted=lambda handle, uid: told.append((handle, uid)))
    await listening.anchor()
    watch = listening.watch()
    request = await opened(world, store)
    assert await next_of(watch) == request
    await store.delete(request)
    after = await opened(world, store, "after")
    assert await next_of(watch) == after
    assert told == [(f"{NAMESPACE}/{NAME}", request.uid)]
    await listening.aclose()


async def test_a_watch_of_a_fresh_store_begins_before_its_list(world: KubernetesWorld, store: BothSides) -> None:
    """Without any look before: `watch` first and `list` second misses nothing, because the list waits for the watch."""
    fresh = KubernetesStore(await world.operator_api())
    watch = fresh.watch()
    listing = asyncio.ensure_future(fresh.list())
    made = [await opened(world, store, f"r-{n}") for n in range(5)]
    listed = {request.name for request in await listing}
    missing = {request.name for request in made} - listed
    while missing:
        missing.discard((await next_of(watch)).name)
    await fresh.aclose()


async def test_a_dropped_watch_ends_its_work(world: KubernetesWorld, store: BothSides) -> None:
    """Dropping a watch closes it: no task is left behind that keeps a connection."""

    def working() -> int:
        return sum(task.get_name() == "hitl-store-watch" for task in asyncio.all_tasks())

    watch = store.watch()
    await opened(world, store)
    await next_of(watch)
    assert working() == 1
    del watch
    gc.collect()
    async with asyncio.timeout(60):
        while working():  # noqa: ASYNC110 - a task's end tells nobody who does not hold it
            await asyncio.sleep(0.01)
