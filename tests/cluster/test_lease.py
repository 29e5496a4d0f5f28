"""The Lease on a real API server: whatever happens to server, clocks and candidates, at no moment do two hold it."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.gated_pods import EVER, until
from control_plane.running import ControlPlane
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.credentials import TokenFile
from hitl.kube.paths import path_of
from hitl_operator.cluster.lease import Lease, monotonic

DURATION, RENEW, RETRY = 3.0, 2.0, 0.3  # seconds: as in production, in a fifth of the time
# Who is kept from the processor for RENEW loses it, as it must be. Where a story is about somebody who keeps it, or
# about what happens long before the duration is over, that must not take part in it.
CALM = {"duration": 60.0, "renew": 40.0}
NAME = "hitl-operator"


class Candidates:
    """Candidates for one Lease, watched all the time."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace
        self.path = path_of("coordination.k8s.io/v1", "leases", namespace, NAME)
        self.all: list[Lease] = []
        self.looks = 0
        self.held: list[tuple[float, str]] = []
        self.overlaps: list[tuple[str, ...]] = []
        self.last_held: dict[str, float] = {}
        self._tasks: dict[Lease, asyncio.Task[None]] = {}
        self._stack = contextlib.AsyncExitStack()
        self._watching = asyncio.create_task(self._watch())

    async def add(self, identity: str, **more: Any) -> Lease:
        """A candidate with connections of its own, trying."""
        api = await self._stack.enter_async_context(KubeAPI.open(Access.from_kubeconfig(self.plane.admin)))
        timing = {"duration": DURATION, "renew": RENEW, "retry": RETRY}
        lease = Lease(api, self.namespace, NAME, identity, **{**timing, **more})
        self.all.append(lease)
        self._tasks[lease] = asyncio.create_task(lease.run())
        return lease

    async def stop(self, lease: Lease) -> None:
        """The candidate's process ends in order."""
        self._tasks[lease].cancel()
        await asyncio.gather(self._tasks[lease], return_exceptions=True)

    async def until(self, wanted: Callable[[], Any]) -> None:
        """Returns once it is so; the test fails if it never is."""
        await until(wanted)

    async def stored(self, api: KubeAPI) -> dict[str, Any]:
        return dict((await api.get(self.path))["spec"])

    def since(self, moment: float) -> list[tuple[float, str]]:
        """Who began to hold it since then, or nobody, and when."""
        return [each for each in self.held if each[0] >= moment]

    async def _watch(self) -> None:
        """Note who holds it, every few milliseconds, all asked at one moment."""
        while True:
            moment = monotonic()
            holders = tuple(lease.identity for lease in self.all if lease.is_held)
            self.last_held |= dict.fromkeys(holders, moment)
            self.looks += 1
            if len(holders) > 1:
                self.overlaps.append(holders)
            now = holders[0] if holders else ""
            if not self.held or self.held[-1][1] != now:
                self.held.append((monotonic(), now))
            await asyncio.sleep(0.002)

    async def close(self) -> None:
        for lease in self.all:
            await self.stop(lease)
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self._stack.aclose()
        began = self.held[0][0]
        intervals = ", ".join(f"{moment - began:.2f} s {who or 'nobody'}" for moment, who in self.held)
        print(f"{self.looks} looks; {intervals}; overlapping: {len(self.overlaps)}")  # noqa: T201 - for who reads -s


@pytest.fixture
async def candidates(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Candidates]:
    """Candidates of a fresh namespace. However a story goes, it ends with the same check: never two at once."""
    candidates = Candidates(control_plane, namespace)
    yield candidates
    await candidates.close()
    assert candidates.looks
    assert candidates.overlaps == []


async def test_the_first_candidate_makes_the_lease_and_holds_it(candidates: Candidates, admin: KubeAPI) -> None:
    """There is no Lease yet: it is created, with times in UTC to the microsecond."""
    lease = await candidates.add("a")
    await candidates.until(lambda: lease.is_held)
    spec = await candidates.stored(admin)
    assert (spec["holderIdentity"], spec["leaseTransitions"], spec["leaseDurationSeconds"]) == ("a", 1, 3)
    renewed = datetime.fromisoformat(spec["renewTime"])
    assert abs(datetime.now(UTC) - renewed) < timedelta(minutes=1)
    assert spec["renewTime"].endswith("Z")


async def test_of_eight_that_begin_together_one_holds(candidates: Candidates) -> None:
    """Create and compare-and-set: whoever is second reads again and waits."""
    leases = [await candidates.add(f"replica-{number}") for number in range(8)]
    await candidates.until(lambda: any(lease.is_held for lease in leases))
    await candidates.until(lambda: {lease.holder for lease in leases} in [{lease.identity} for lease in leases])


async def test_a_holder_that_ends_in_order_hands_over_at_once(candidates: Candidates) -> None:
    """The next one need not wait for the duration."""
    first = await candidates.add("a", **CALM)
    await candidates.until(lambda: first.is_held)
    second = await candidates.add("b", **CALM)
    await candidates.until(lambda: second.holder == "a")
    began = monotonic()
    await candidates.stop(first)
    assert not first.is_held
    await candidates.until(lambda: second.is_held)
    assert monotonic() - began < CALM["duration"]


async def test_who_waits_for_a_change_is_told_of_both(candidates: Candidates) -> None:
    """`wait_change` says True when holding begins and False when it ends."""
    lease = await candidates.add("a", retry=RETRY)
    assert await asyncio.wait_for(lease.wait_change(), EVER) is True
    ending = asyncio.create_task(lease.wait_change())
    await asyncio.sleep(0)
    await candidates.stop(lease)
    assert await asyncio.wait_for(ending, EVER) is False


async def test_a_frozen_api_server_ends_the_holding_and_never_makes_two(candidates: Candidates) -> None:
    """The holder stops by its own clock while the server is silent; after the thaw one of the two goes on."""
    first = await candidates.add("a")
    await candidates.until(lambda: first.is_held)
    second = await candidates.add("b")
    await candidates.until(lambda: second.holder == "a")
    candidates.plane.freeze()
    try:
        began = monotonic()
        await candidates.until(lambda: not first.is_held)
        await candidates.until(lambda: monotonic() - began > DURATION + RENEW)
        assert candidates.last_held["a"] - began <= RENEW
        assert not first.is_held
        assert not second.is_held
    finally:
        candidates.plane.thaw()
    await candidates.until(lambda: first.is_held or second.is_held)


async def test_a_wall_clock_that_jumps_changes_nothing(candidates: Candidates) -> None:
    """Times in the Lease are for people: two clocks that disagree by hours, and step, decide nothing."""
    steps = itertools.cycle(timedelta(hours=each) for each in (0, -5, 9, -2, 30))
    written = []

    def jumping() -> datetime:
        written.append(datetime.now(UTC) + next(steps))
        return written[-1]

    first = await candidates.add("a", **CALM, wall=jumping)
    await candidates.until(lambda: first.is_held)
    second = await candidates.add("b", **CALM, wall=lambda: datetime.now(UTC) - timedelta(days=400))
    await candidates.until(lambda: second.holder == "a")
    seen = len(written)
    await candidates.until(lambda: len(written) > seen + 10)
    assert first.is_held
    assert not second.is_held


async def test_who_finds_it_stolen_stops_and_waits_its_turn(candidates: Candidates, admin: KubeAPI) -> None:
    """Somebody writes himself in: the holder stops with its next look, and ours come back after the duration."""
    for name in ("a", "b"):
        await candidates.add(name, **CALM)
    await candidates.until(lambda: candidates.held[-1][1])
    began = monotonic()
    await admin.merge_patch(candidates.path, {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3}})
    await candidates.until(lambda: len(candidates.since(began)) == 2)
    (lost, nobody), (back, somebody) = candidates.since(began)
    assert (nobody, somebody in ("a", "b")) == ("", True)
    assert lost - began < CALM["renew"]
    assert back - began >= 3


async def test_a_deleted_lease_is_still_its_holders(candidates: Candidates, admin: KubeAPI) -> None:
    """Deleting it must not let a second one begin before the first has stopped or written it anew."""
    first = await candidates.add("a", **CALM)
    await candidates.until(lambda: first.is_held)
    second = await candidates.add("b", **CALM, retry=0.05)
    await candidates.until(lambda: second.holder == "a")
    await admin.delete(candidates.path)

    async def is_back() -> bool:
        with contextlib.suppress(ApiError):
            return (await candidates.stored(admin))["holderIdentity"] == "a"
        return False

    await until(is_back)
    assert first.is_held


async def test_H1_a_token_that_is_away_for_a_moment_ends_no_candidate(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """H1: what goes on without it goes on; why it does not hold is said, with the file, until it is back."""
    access, file = Access.from_kubeconfig(control_plane.admin), tmp_path / "token"
    async with KubeAPI.open(replace(access, bearer=TokenFile(file))) as api:
        lease = Lease(api, namespace, NAME, "a", **{"retry": RETRY, **CALM})
        running = asyncio.create_task(lease.run())
        await until(lambda: lease.trouble.why)
        assert f"{file}: the token cannot be read" in lease.trouble.why
        assert not running.done()
        file.write_text("the certificate says who it is")
        await until(lambda: lease.is_held)
        assert lease.trouble.why == ""
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_times_that_could_overlap_are_refused() -> None:
    """A holder must stop before others may begin."""
    with pytest.raises(ValueError, match="retry < renew < duration"):
        Lease(None, "hitl-system", NAME, "a", duration=10, renew=10)  # type: ignore[arg-type]
