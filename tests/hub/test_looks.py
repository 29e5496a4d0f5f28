"""Each look at the guards vouches for what was seen before it began, and for nothing later (SECURITY C4)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from hitl.errors import StoreUnavailable
from hitl_operator.cluster.looks import AT_ONCE, Looks

TURNS = 20  # of the loop: more than anything here needs to come to a stand


@dataclass(slots=True)
class Server:
    """What looks read: each is answered when the story says so. The looks under test, and what was judged of them."""

    answers: list[asyncio.Future[str]] = field(default_factory=list)
    judged: list[tuple[str, int]] = field(default_factory=list)
    looks: Looks[str] = field(init=False)
    waiting: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.looks = Looks(self.find, lambda found, covers: self.judged.append((found, covers)))

    async def find(self) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        return await answer

    async def sees(self, *versions: int) -> list[asyncio.Task[None]]:
        """Pictures of these versions are seen now, and all that can happen has happened."""
        tasks = [asyncio.create_task(self.looks.look(version)) for version in versions]
        self.waiting += tasks
        await settled()
        return tasks

    async def answers_with(self, number: int, found: str | Exception) -> None:
        answer = self.answers[number]
        answer.set_exception(found) if isinstance(found, Exception) else answer.set_result(found)
        await settled()


async def settled() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    yield server
    for task in server.waiting:
        task.cancel()
    await asyncio.gather(*server.waiting, return_exceptions=True)


async def test_C4_what_is_seen_together_shares_one_look(server: Server) -> None:
    """C4: a crowd of votes costs one look, and older pictures join it as long as it began after them."""
    crowd = await server.sees(3, 9, 5)
    late = await server.sees(4)
    assert len(server.answers) == 1
    await server.answers_with(0, "well")
    assert server.judged == [("well", 9)]
    assert all(task.done() for task in (*crowd, *late))


async def test_C4_a_look_covers_nothing_that_was_seen_after_it_began(server: Server) -> None:
    """C4: the next vote has a look of its own, which begins at once and covers both; the first one's does not."""
    (first,) = await server.sees(1)
    (second,) = await server.sees(2)
    assert len(server.answers) == 2
    await server.answers_with(0, "well")
    assert server.judged == [("well", 1)]
    assert (first.done(), second.done()) == (True, False)
    await server.answers_with(1, "well")
    assert server.judged == [("well", 1), ("well", 2)]
    assert second.done()


async def test_C4_a_later_look_is_not_judged_before_an_earlier_one(server: Server) -> None:
    """C4: what an earlier look found is known before anything counts by a later one, whichever is answered first."""
    await server.sees(1)
    (second,) = await server.sees(2)
    await server.answers_with(1, "well")
    assert server.judged == []
    assert not second.done()
    await server.answers_with(0, "a gap")
    assert server.judged == [("a gap", 1), ("well", 2)]
    assert second.done()


async def test_C4_no_more_looks_than_that_at_once(server: Server) -> None:
    """C4: who finds no place waits for one and asks again; all who waited meanwhile then share a look."""
    for version in range(1, AT_ONCE + 1):
        await server.sees(version)
    tasks = await server.sees(10, 11, 12)
    assert len(server.answers) == AT_ONCE
    assert not any(task.done() for task in tasks)
    await server.answers_with(0, "well")
    assert all(task.done() for task in tasks)
    await server.sees(10, 11, 12)
    assert len(server.answers) == AT_ONCE + 1
    for number in range(1, AT_ONCE + 1):
        await server.answers_with(number, "well")
    assert server.judged[-1] == ("well", 12)


async def test_C4_a_look_that_failed_vouches_for_nothing(server: Server) -> None:
    """C4: who waited for it is told so and nobody else; the next one, under way already, is judged all the same."""
    (first,) = await server.sees(1)
    (second,) = await server.sees(2)
    await server.answers_with(1, "well")
    await server.answers_with(0, StoreUnavailable("away"))
    assert isinstance(first.exception(), StoreUnavailable)
    assert second.exception() is None
    assert server.judged == [("well", 2)]


async def test_C4_who_gives_up_waiting_ends_nobody_s_look(server: Server) -> None:
    """C4: a release that is cancelled leaves the look to the others who wait for it."""
    began, joined, stays = await server.sees(1, 1, 1)
    began.cancel()
    joined.cancel()
    await server.answers_with(0, "well")
    assert stays.done()
    assert not stays.cancelled()
    assert server.judged == [("well", 1)]


async def test_D2_versions_of_before_a_restore_cover_nothing_after_it(server: Server) -> None:
    """D2: versions begin lower again then; a look covers what was asked for since the one before, not the highest."""
    await server.sees(6000)
    await server.answers_with(0, "well")
    await server.sees(5001)
    await server.answers_with(1, "well")
    assert server.judged == [("well", 6000), ("well", 5001)]
