"""The expiry sweep on the API server: what nobody holds any more is settled by the replica that leads (I13)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from cluster.enforcing import SOON, Cluster, Replica, eventually
from cluster.voting import ANA, Court, Json, vote_of
from hitl.approvals.requests import State


@pytest.fixture
async def cluster(court: Court) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield Cluster(court.plane, court, stack)


@asynccontextmanager
async def working(*replicas: Replica) -> AsyncIterator[None]:
    """Replicas that follow the API server and settle."""
    tasks = [asyncio.create_task(work) for each in replicas for work in (each.settler.run(), each.settler.follow())]
    try:
        for each in replicas:
            await asyncio.wait_for(each.settler.is_following.wait(), SOON)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ends_as(court: Court, request: Json, state: State) -> Json:
    async def look() -> Json | None:
        found = await court.look(request)
        return found if found["status"]["state"] == state else None

    found: Json = await eventually(look)
    return found


def expired_by(replica: Replica) -> float:
    """How many requests this replica has written down as expired."""
    labels = {"tier": "confirm", "outcome": "expired"}
    return replica.hub_metrics.registry.get_sample_value("hitl_holds_total", labels) or 0.0


async def test_I13_the_leader_expires_what_nobody_holds(cluster: Cluster) -> None:
    """I13: a request whose agent is gone ends in time, though no sidecar waits for it anywhere."""
    leader, follower = await cluster.standing(), await cluster.standing(leads=lambda: False)
    async with working(leader, follower):
        request = await cluster.court.ask(expires=1.5)
        await ends_as(cluster.court, request, State.EXPIRED)

        async def counted() -> bool:
            return expired_by(leader) >= 1

        await eventually(counted)
    assert expired_by(follower) == 0


async def test_I13_the_next_leader_does_what_the_last_one_left(cluster: Cluster) -> None:
    """I13: while nobody leads an expired request and a vote wait; who takes the Lease settles both by itself."""
    leads = False
    replica = await cluster.standing(leads=lambda: leads)
    late, voted = await cluster.court.ask(expires=1), await cluster.court.ask()
    await cluster.court.vote(ANA, voted, vote_of(ANA, voted, groups=["support-leads"]))
    async with working(replica):

        async def passed_over() -> bool:
            handles = [f"{cluster.court.namespace}/{each['metadata']['name']}" for each in (late, voted)]
            entries = [replica.tracker.open.get(handle) for handle in handles]
            return all(entry is not None and entry.passed_over for entry in entries)

        await eventually(passed_over)
        assert (await cluster.court.look(voted))["status"].get("verified") is None
        leads = True
        await ends_as(cluster.court, late, State.EXPIRED)
        await ends_as(cluster.court, voted, State.APPROVED)


async def test_what_two_replicas_want_to_write_is_written_once(cluster: Cluster) -> None:
    """Two that both take themselves for the leader, as for a moment after a freeze, do not get in each other's way."""
    one, other = await cluster.standing(), await cluster.standing()
    async with working(one, other):
        requests = [await cluster.court.ask(expires=2) for _ in range(5)]
        for request in requests:
            ended = await ends_as(cluster.court, request, State.EXPIRED)
            assert [each["type"] for each in ended["status"]["conditions"]] == ["Expired"]
