"""What an implementation lends to the contract, and the words its stories are told in."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, Protocol, TypeVar

import pytest

from hitl.approvals.requests import ApprovalRequest, RequestSpec, State
from hitl.stores.protocol import ApprovalStore, ReviewerStore, Watch
from stores.asking import NAME, NAMESPACE, Clock, Now, a_decision, a_denial, a_spec, believed, ended, opening

T = TypeVar("T")
OUTCOMES = (State.APPROVED, State.DENIED, State.EXPIRED, State.CANCELLED, State.CONSUMED)


class Store(ApprovalStore, ReviewerStore, Protocol):
    """Both sides of one store."""


class World(Protocol):
    """What an implementation lends to the suite."""

    clock: Now

    async def open(self) -> Store:
        """One more store on the same requests, as another process would have it; whoever made the world closes it."""
        ...

    async def later(self) -> None:
        """So much time passes that the stamps of this store tell it."""
        ...

    async def until(self, moment: datetime) -> None:
        """The store's time comes to `moment`."""
        ...

    def is_now(self, stamp: datetime | None) -> bool:
        """Whether the store made this stamp just now, as exactly as its stamps are."""
        ...


class StandingStill:
    """The time of stores that take it from their maker: it stands until a story moves it, and stamps are exact."""

    def __init__(self) -> None:
        self.clock = Clock()

    async def later(self) -> None:
        self.clock.advance(60)

    async def until(self, moment: datetime) -> None:
        self.clock.now = moment

    def is_now(self, stamp: datetime | None) -> bool:
        return stamp == self.clock()


async def opened(
    world: World, store: ApprovalStore, name: str = NAME, *, namespace: str = NAMESPACE, spec: RequestSpec | None = None
) -> ApprovalRequest:
    spec = spec or a_spec()
    return await store.create(namespace, name, spec, opening(world.clock, spec))


async def decided(world: World, store: Store, state: State, name: str = NAME, **where: Any) -> ApprovalRequest:
    """A stored request that went all the way to `state`."""
    request = await opened(world, store, name, **where)
    vote = a_denial(request) if state is State.DENIED else a_decision(request)
    request = await store.decide(request.namespace, request.name, vote)
    request = await store.write_status(request, believed(request))
    return await store.write_status(request, ended(request, state, world.clock))


async def at_once(*attempts: Awaitable[T]) -> list[T | BaseException]:
    return await asyncio.gather(*attempts, return_exceptions=True)


def kinds(results: Iterable[object]) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)


async def next_of(watch: Watch) -> ApprovalRequest:
    """The next change; a promise that is broken fails the test instead of stopping it."""
    async with asyncio.timeout(60):
        return await anext(watch)


async def until(watch: Watch, is_wanted: Callable[[ApprovalRequest], bool]) -> list[ApprovalRequest]:
    """Every change up to the wanted one."""
    seen = [await next_of(watch)]
    while not is_wanted(seen[-1]):
        seen.append(await next_of(watch))
    return seen


class StoreTests:
    """A part of the contract; whoever derives from it provides the fixture `world`."""

    @pytest.fixture
    async def store(self, world: World) -> Store:
        return await world.open()
