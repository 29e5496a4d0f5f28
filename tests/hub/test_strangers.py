"""Turns of unknown tokens: pods take turns, a flood of one drops its own, and no turn is ever lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hitl.errors import Unavailable
from hitl_operator.cluster.strangers import Strangers


class Desk:
    """Takes turns and notes in which order they came."""

    def __init__(self, strangers: Strangers) -> None:
        self.strangers = strangers
        self.served: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, *names: str) -> None:
        """Somebody each, named POD or POD/NUMBER, in this order."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._turn(name))
            await asyncio.sleep(0)

    async def _turn(self, name: str) -> None:
        async with self.strangers.turn(name.partition("/")[0]):
            self.served.append(name)

    async def said(self, name: str) -> BaseException | None:
        async with asyncio.timeout(30):
            return (await asyncio.gather(self.tasks[name], return_exceptions=True))[0]

    async def over(self) -> None:
        async with asyncio.timeout(30):
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)


@asynccontextmanager
async def taken(strangers: Strangers) -> AsyncIterator[None]:
    """The one turn is somebody else's for as long as the block lasts."""
    async with strangers.turn("first"):
        yield


async def test_F3_pods_take_turns() -> None:
    """F3: however many ask in the name of one, another's is the next but one."""
    strangers = Strangers(at_once=1, waiting=100)
    desk = Desk(strangers)
    async with taken(strangers):
        await desk.ask(*(f"flooded/{n}" for n in range(50)), "quiet")
    await desk.over()
    assert desk.served.index("quiet") == 1
    assert len(desk.served) == 51


async def test_F3_past_the_bound_the_most_wanted_pod_s_go() -> None:
    """F3: of a flood only what was too much of it is turned away; other pods' wait on."""
    strangers = Strangers(at_once=1, waiting=10)
    desk = Desk(strangers)
    async with taken(strangers):
        await desk.ask("quiet/1", *(f"flooded/{n}" for n in range(100)), "quiet/2")
    await desk.over()
    assert {"quiet/1", "quiet/2"} <= set(desk.served)
    assert len(desk.served) == 10
    busy = [name for name in desk.tasks if isinstance(await desk.said(name), Unavailable)]
    assert len(busy) == 92


async def test_F3_who_tries_again_gets_in_beside_a_flood_of_his_own_pod() -> None:
    """F3: who goes is drawn by lot, so neither those who were first nor those who came last stay for ever."""
    strangers = Strangers(at_once=1, waiting=10)
    for attempt in range(1000):
        desk = Desk(strangers)
        async with taken(strangers):
            await desk.ask(*(f"pod/{n}" for n in range(20)), "pod/mine", *(f"pod/{n}" for n in range(20, 40)))
        await desk.over()
        if "pod/mine" in desk.served:
            assert attempt < 200
            return
    pytest.fail("never let in")


async def test_F3_a_turn_is_not_lost_with_whoever_hangs_up() -> None:
    """F3: he may do so while he waits, or in the moment in which his turn comes."""
    strangers = Strangers(at_once=1, waiting=10)
    desk = Desk(strangers)
    async with taken(strangers):
        await desk.ask("a", "b", "c")
        desk.tasks["a"].cancel()
        await desk.said("a")
    desk.tasks["b"].cancel()  # its turn came just now, and it has not heard of it
    await desk.over()
    assert desk.served == ["c"]
    await desk.ask("d")
    await desk.over()
    assert desk.served == ["c", "d"]


async def test_F3_nobody_waits_for_ever() -> None:
    """F3: where reviews hang, who waits for one is told so, and his place is free."""
    strangers = Strangers(at_once=1, waiting=10, within=0.01)
    desk = Desk(strangers)
    async with taken(strangers):
        await desk.ask("a", "b")
        assert isinstance(await desk.said("a"), Unavailable)
        assert isinstance(await desk.said("b"), Unavailable)
    await desk.ask("c")
    await desk.over()
    assert desk.served == ["c"]
