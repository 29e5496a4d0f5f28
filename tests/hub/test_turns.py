"""A flood of one pod at the store waits for itself alone, and its streams for nobody's place (SECURITY B5, F3)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from grpc import aio
from hubs import HubHere, Sidecar, World, a_spec, eventually, within

from hitl.errors import NotFound
from hitl.policy.calls import Agent
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.streams import MOST, Streams
from hitl_operator.turns import Turns


class Store:
    """Where look-ups wait until they are let go, one after the other, in the order in which they got there."""

    def __init__(self, at_once: int) -> None:
        self.turns = Turns(at_once)
        self.order: list[str] = []
        self.at_once = self.most = 0
        self._gate = asyncio.Semaphore(0)

    async def look_up(self, pod: str, namespace: str = "crowd") -> None:
        async with self.turns.turn(namespace, pod):
            self.order.append(pod)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            try:
                await self._gate.acquire()
            finally:
                self.at_once -= 1

    def answer(self, count: int = 1) -> None:
        for _ in range(count):
            self._gate.release()


@asynccontextmanager
async def flooding(*floods: Callable[[], Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Each of these has begun, and waits where it has to."""
    tasks = [asyncio.create_task(flood()) for flood in floods]
    await asyncio.sleep(0)
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_B5_namespaces_take_turns_and_in_each_its_pods() -> None:
    """B5: who comes last is next but for one of each other namespace, however many pods another one makes."""
    store = Store(1)
    crowd = [lambda n=n: store.look_up(f"a{n % 3}") for n in range(30)]
    async with flooding(*crowd) as tasks, flooding(lambda: store.look_up("b", "quiet")) as others:
        own = asyncio.create_task(store.look_up("late"))
        await asyncio.sleep(0)
        store.answer(100)
        await asyncio.gather(*tasks, *others, own)
    assert store.order.index("b") <= 2
    assert store.order.index("late") <= 5
    assert len(store.order) == 32
    assert store.most == 1


async def test_B5_alone_one_pod_has_all_turns_there_are() -> None:
    """B5: a share is of what others want, too."""
    store = Store(4)
    async with flooding(*[lambda: store.look_up("a")] * 20) as tasks:
        store.answer(20)
        await asyncio.gather(*tasks)
    assert store.most == 4


async def test_B5_who_goes_while_it_waits_keeps_no_turn() -> None:
    """B5: before its turn, and in the very moment in which it comes; afterwards all of them are there again."""
    store = Store(2)
    async with flooding(*[lambda: store.look_up("a")] * 4) as tasks:
        tasks[2].cancel()
        store.answer()
        await asyncio.wait([tasks[0]])  # its turn has just gone to the fourth
        tasks[3].cancel()
        await asyncio.gather(tasks[2], tasks[3], return_exceptions=True)
    async with flooding(*[lambda: store.look_up("b")] * 2):
        await eventually(_now(lambda: store.at_once), lambda found: found == 2)


def _now(look: Callable[[], Any]) -> Callable[[], Any]:
    async def found() -> Any:
        return look()

    return found


def who(pod: str) -> Identity:
    return Identity(Agent("shop", "support", "deploy/support", pod, pod), "ns", "cluster")


async def test_B5_a_flood_of_unknown_handles_keeps_nobody_else_waiting(world: World) -> None:
    """B5: whoever may make pods can ask for handles that nobody has; another pod's look-up overtakes them."""
    hub = await world.hub(at_once=4)
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    held = await sidecar.open(a_spec())
    order: list[str] = []

    async def find(pod: str, handle: str) -> None:
        with suppress(NotFound):
            await hub.hub.find(who(pod), handle)
        order.append(pod)

    flood = [asyncio.create_task(find("flood", f"shop/nothing-{n}")) for n in range(400)]
    own = asyncio.create_task(find("own", held.handle))
    await within(asyncio.gather(*flood, own))
    assert order.index("own") < 200


async def test_B5_what_no_request_can_be_named_is_refused_without_a_look(world: World, hub: HubHere) -> None:
    """B5: it costs nobody's store anything."""
    await hub.stop()  # its store is closed; who asked it would hear something else
    for name in ("", "UPPER", "a/b", "x" * 64, "-x", "\N{LATIN SMALL LETTER E WITH ACUTE}"):
        with pytest.raises(NotFound, match="is no request of namespace"):
            await hub.hub.find(who("own"), f"shop/{name}")


async def test_F3_one_pod_keeps_a_few_streams_and_the_newest_gets_in(world: World, hub: HubHere) -> None:
    """F3: with an epoch of its own on each; the oldest ends, another pod's stays, and the list has no more of them."""
    other = await world.sidecar(hub)
    await other.sync()
    crowd = [await world.sidecar(hub, pod="crowd", epoch=f"epoch-{n}") for n in range(MOST + 4)]
    for each in crowd:
        await each.sync()
    for each in crowd[:4]:
        await ended(each)
    await eventually(_now(lambda: len(hub.hub.sidecars)), lambda found: found == MOST + 1)
    assert {each.epoch for each in hub.hub.sidecars} == {other.epoch, *(each.epoch for each in crowd[4:])}
    assert len(hub.hub.syncs) == MOST + 1


async def ended(sidecar: Sidecar) -> None:
    while await within(sidecar._sync.read()) is not aio.EOF:
        pass


async def test_F3_one_pod_keeps_a_few_hold_streams(world: World, hub: HubHere) -> None:
    """F3: and what it holds on the newest goes on."""
    crowd = [await world.sidecar(hub, pod="crowd") for _ in range(MOST + 2)]
    spec = a_spec()
    for each in crowd:
        held = await each.open(spec)
    await eventually(_now(lambda: len(hub.hub.holds)), lambda found: found == MOST)
    await crowd[-1].sync()
    await world.decide(held.handle, "ana")
    await held.ready()
    assert (await crowd[-1].consume(held.handle, spec.digest)).release == hub_pb2.ConsumeResponse.RELEASE_RELEASED


def test_F3_what_has_ended_takes_no_place() -> None:
    """F3: of any number that come and go none is kept."""
    streams = Streams()
    for number in range(100):
        with streams.opened("pod"), streams.opened(f"pod-{number}") as crowded:
            assert len(streams) == 2
        assert not crowded.is_set()
    assert len(streams) == 0
    assert streams._open == {}
