"""Whatever a reviewer gets past the API server, the request is read, others decide it, and it ends (I2, I13, C4)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.enforcing import Cluster, Replica, eventually
from cluster.voting import (
    ANA,
    BO,
    EDITOR,
    JUNIOR,
    MIA,
    Court,
    Json,
    Person,
    a_court,
    applies,
    condition,
    note_of,
    proof,
    vote_of,
)
from control_plane.installing import install
from control_plane.running import ControlPlane
from hitl.approvals.conditions import LONGEST_MESSAGE
from hitl.approvals.requests import Kind, State
from hitl.approvals.settle import expire
from hitl.errors import ApiError
from hitl.policy.verdicts import Requirement
from hitl.stores.kubernetes import KubernetesStore
from hitl.stores.kubernetes.objects import request_of
from stores.asking import a_spec

TWO = a_spec(on_behalf_of="", requirements=(Requirement("leads", approvals=2),))
QUESTION = replace(TWO, kind=Kind.QUESTION)
WIDE = [10**19, 1e19, -1e19, 2**63, 2**64 - 1, -(2**63), 9007199254740993, 1.7e308]


@pytest.fixture
async def replica(court: Court) -> AsyncIterator[Replica]:
    """A replica for which votes count."""
    async with AsyncExitStack() as stack:
        yield await Cluster(court.plane, court, stack).standing()


async def listed(replica: Replica, request: Json) -> bool:
    """Whether the hub sees it among what waits."""
    namespace, name = request["metadata"]["namespace"], request["metadata"]["name"]
    return name in [each.name for each in await replica.store.list(namespace, pending_only=True)]


@pytest.mark.parametrize("number", WIDE, ids=str)
async def test_I2_I13_no_number_of_a_reviewer_hides_a_request(court: Court, replica: Replica, number: float) -> None:
    """I2, I13: an edit with any number that the API server takes leaves the request where it was: others deny it."""
    request = await court.ask(TWO)
    await court.vote(JUNIOR, request, vote_of(JUNIOR, request, argumentsPatch={"amount": number}))
    assert await listed(replica, request)
    await court.vote(ANA, request, vote_of(ANA, request, "Denied"))
    found = await replica.settle(request)
    assert found.status.state is State.DENIED
    assert found.status.decisions[0].unreadable == ""


async def test_I2_what_cannot_be_read_is_shown_as_refused(court: Court, replica: Replica) -> None:
    """I2: a proof in a time zone of 24 hours is let in; that vote never counts and says why, and the next one does."""
    request = await court.ask(TWO)
    there = (datetime.now(UTC) + timedelta(hours=24)).strftime("%Y-%m-%dT%H:%M:%S+24:00")
    person = MIA.with_factors("mfa")
    await court.vote(person, request, vote_of(person, request, proof=proof("mfa", time=there)))
    found = await replica.settle(request)
    assert found.status.state is State.PENDING
    (word,) = (await court.look(request))["status"]["verified"]
    assert word["reviewer"] == MIA.name
    assert "what mia@example.com wrote cannot be read: proof.time" in word["refused"]
    await court.vote(ANA, request, vote_of(ANA, request, "Denied"))
    assert (await replica.settle(request)).status.state is State.DENIED


async def test_I13_notes_of_one_person_under_two_spellings_keep_nobody_from_deciding(
    court: Court, replica: Replica
) -> None:
    """I13, I5: the API server takes notes of ünal and Ünal; the hub writes on, and counts the first of each number."""
    twins = [Person(f"{letter}nal@example.com", ("leads",), ("hitl-reviewer",)) for letter in ("ü", "Ü")]
    for twin in twins:
        court.let_in(twin, {})
        court.until_allowed(twin, "extend", "ar", "--subresource=confirm")
    request = await court.ask(TWO)
    path = court.path(request["metadata"]["name"], "status")
    for number, twin in enumerate(twins):
        async with court.api(twin) as api:
            await applies(api, path, request, [note_of(twin, request)], manager=f"twin-{number}", where="notes")
    found = await replica.settle(request)
    assert sorted(bool(each.refused) for each in found.status.verified) == [False, True]
    assert found.status.notes_applied == 1
    await court.vote(BO, request, vote_of(BO, request, "Denied"))
    assert (await replica.settle(request)).status.state is State.DENIED


async def test_I13_a_crowd_that_denies_at_length_ends_it(court: Court, replica: Replica) -> None:
    """I13: 18 denials of 2000 characters each are one outcome that the API server takes."""
    crowd = [Person(f"denier-{n:02d}@example.com", ("deniers",)) for n in range(18)]
    court.let_in_group("deniers", "hitl-senior-reviewer", "hitl-test-writes-anything", member=crowd[0])
    request = await court.ask(replace(TWO, denials_to_end=18))
    for person in crowd:
        await court.vote(person, request, vote_of(person, request, "Denied", reason="é" * 2000))
    found = await replica.settle(request)
    assert found.status.state is State.DENIED
    assert len(found.status.conditions[-1].message) < LONGEST_MESSAGE


numbers = st.sampled_from(WIDE) | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
free = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ZONES = ["Z", "+00:00", "-00:00", "+24:00", "+00:60", "-23:59", "+14:00"]


@st.composite
def entries(draw: st.DrawFn) -> tuple[bool, Json]:
    """What a reviewer adds to a vote (is it on a question?), within the types that the CRD has."""
    asks = draw(st.booleans())
    more: Json = {"reason": draw(st.text(min_size=1, max_size=20))}
    if draw(st.booleans()):
        zone = draw(st.sampled_from(ZONES))
        hours, minutes = (0, 0) if zone == "Z" else (int(zone[:3]), int(zone[0] + zone[4:]))
        there = datetime.now(UTC) + timedelta(hours=hours, minutes=minutes)
        fraction = draw(st.sampled_from(["", ".1", ".123456"]))
        more["proof"] = proof("mfa", time=there.strftime(f"%Y-%m-%dT%H:%M:%S{fraction}{zone}"))
    more |= {"answer": draw(free)} if asks else {"argumentsPatch": {"amount": draw(free)}}
    return asks, more


@pytest.fixture(scope="module")
def court_of_many(control_plane: ControlPlane) -> Court:
    """One namespace for all examples."""
    return a_court(control_plane)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(found=entries())
def test_I13_whatever_is_taken_is_read_and_can_be_ended(court_of_many: Court, found: tuple[bool, Json]) -> None:
    """I13: of every entry that CRD and policy take, the request is read, the hub judges it, and its end is written."""
    asyncio.run(_taken_read_and_ended(court_of_many, *found))


async def _taken_read_and_ended(court: Court, asks: bool, more: Json) -> None:
    request = await court.ask(QUESTION if asks else TWO)
    person = ANA.with_factors("mfa")
    with contextlib.suppress(ApiError):  # it was not taken
        await court.vote(person, request, vote_of(person, request, **more))
    async with court.operator() as api:
        store = KubernetesStore(api)
        seen = request_of(await court.look(request))
        late = datetime.now(UTC) + timedelta(days=8)
        ended = await store.write_status(seen, expire(seen, late))
        assert ended.status.state is State.EXPIRED
        await store.aclose()


# --- What gets in while nothing keeps it out


@pytest.fixture(scope="module")
def weak_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane whose policies may be removed: never the shared one."""
    with ControlPlane.start(tmp_path_factory.mktemp("unguarded")) as plane:
        install(plane)
        yield plane


@pytest.fixture
async def weak(weak_plane: ControlPlane) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        cluster = Cluster(weak_plane, a_court(weak_plane), stack)
        yield cluster
        await cluster.mend()


async def unguarded(cluster: Cluster, *written: tuple[Json, Json]) -> None:
    """An editor writes these statuses while no policy of ours is bound; they are put back."""
    for binding in ("hitl-decisions", "hitl-writers", "hitl-operator-writes"):
        cluster.kubectl("delete", "validatingadmissionpolicybinding", binding)
    for request, status in written:
        path = cluster.court.path(request["metadata"]["name"], "status")

        async def through(path: str = path, status: Json = status) -> bool:
            async with cluster.court.api(EDITOR) as api:
                try:
                    await api.merge_patch(path, {"status": status}, field_manager="kubectl")
                except ApiError as error:
                    if error.status == 403:
                        return False
                    raise
            return True

        await eventually(through)
    await cluster.mend()


def deep(levels: int) -> Any:
    found: Any = "x"
    for _ in range(levels):
        found = [found]
    return found


NO_TIME = "2026-05-01T02:47:10+24:00"
POISONS: dict[str, Callable[[Json], Json]] = {
    "a time that nobody reads": lambda r: {"expirationTime": NO_TIME, "decisions": [vote_of(ANA, r)]},
    "a field that a vote does not have": lambda r: {"decisions": [vote_of(ANA, r, mood={"a": 1})]},
    "an answer deeper than the hub reads": lambda r: {"decisions": [vote_of(ANA, r, answer=deep(100))]},
    "a word on a vote that nobody cast": lambda _: {"verified": [{"reviewer": "nobody", "note": 0}]},
}


@pytest.mark.parametrize("poison", POISONS)
async def test_I13_C4_whatever_was_written_in_a_gap_is_ended(weak: Cluster, poison: str) -> None:
    """I13, C4: what the hub cannot read, judge or write around is voided all the same, and everything else goes on."""
    replica = await weak.standing()
    poisoned, other = await weak.court.ask(TWO), await weak.court.ask()
    await unguarded(weak, (poisoned, POISONS[poison](poisoned)))
    await replica.until_it_stands()
    ended = (await weak.court.look(poisoned))["status"]
    assert [(each["type"], each["reason"]) for each in ended["conditions"]] == [("Cancelled", "EnforcementLost")]
    assert replica.enforcement.record.quarantined == frozenset()
    await weak.court.vote(ANA, other, vote_of(ANA, other, groups=["support-leads"]))
    assert (await replica.settle(other)).status.state is State.APPROVED


async def test_I13_one_object_deeper_than_parsers_go_hides_no_other(weak: Cluster) -> None:
    """I13: 1500 levels in one answer keep neither lists nor watches from telling of the others."""
    replica = await weak.standing()
    poisoned, other = await weak.court.ask(QUESTION), await weak.court.ask()
    nested = Path(weak.court.plane.admin).parent / "deep.json"
    entry = json.dumps({"status": {"decisions": [vote_of(ANA, poisoned, answer="@")]}})
    nested.write_text(entry.replace('"@"', "[" * 1500 + "]" * 1500))  # deeper than json writes
    for binding in ("hitl-decisions", "hitl-writers", "hitl-operator-writes"):
        weak.kubectl("delete", "validatingadmissionpolicybinding", binding)
    patch = ["patch", "ar", poisoned["metadata"]["name"], "-n", weak.court.namespace, "--subresource=status"]

    async def through() -> bool:
        return weak.plane.kubectl(*patch, "--type=merge", f"--patch-file={nested}").returncode == 0

    await eventually(through)
    await weak.mend()
    names = {each.name for each in await replica.store.list(weak.court.namespace, pending_only=True)}
    assert names == {each["metadata"]["name"] for each in (poisoned, other)}
    await replica.until_it_stands()
    ended = await replica.store.get(weak.court.namespace, poisoned["metadata"]["name"])
    assert ended.status.conditions[-1].reason == "EnforcementLost"
    assert "deeper than 32 levels" in ended.status.decisions[0].unreadable


async def test_I13_what_cannot_be_read_expires_before_anything_counts_again(weak: Cluster) -> None:
    """I13: time goes on in a gap as well: past creation plus timeout its end is written, unread."""
    replica = await weak.standing()
    request = await weak.court.ask(replace(TWO, timeout=1))
    await replica.settle(request)
    await unguarded(weak, (request, {"expirationTime": NO_TIME}))
    assert not await listed(replica, request)
    assert replica.settler.last_resort.unread == 1

    async def ended() -> bool:
        await replica.settler.last_resort.sweep()
        return replica.settler.last_resort.unread == 0

    await eventually(ended)
    found = (await weak.court.look(request))["status"]
    assert (found["state"], found["conditions"][0]["reason"]) == ("Expired", "NotDecided")
    assert not replica.tracker.open


async def test_C4_what_cannot_even_be_ended_is_never_released_and_stops_nobody(weak: Cluster) -> None:
    """C4: a request that the API server takes no end for is remembered by its uid: by every replica, also after a
    restart, nothing in it counts, while all others are decided; deleted, it is forgotten.
    """
    replica = await weak.standing()
    stuck, other = await weak.court.ask(), await weak.court.ask()
    full = [condition(f"Told{n}", status="Unknown") for n in range(16)]  # there is no room for one more
    await unguarded(weak, (stuck, {"conditions": full, "decisions": [vote_of(BO, stuck)]}))
    await replica.until_it_stands()
    assert replica.enforcement.record.quarantined == {stuck["metadata"]["uid"]}
    assert replica.metrics.quarantined.collect()[0].samples[0].value == 1
    assert [reason for reason, _ in replica.told][-2:] == ["RequestsQuarantined", "EnforcementStands"]
    for request in (stuck, other):
        await weak.court.vote(ANA, request, vote_of(ANA, request, groups=["support-leads"]))
    later = await weak.standing()
    for each in (replica, later):
        assert (await each.settle(stuck)).status.verified == ()
    assert (await later.settle(other)).status.state is State.APPROVED
    async with weak.court.operator() as api:
        await api.delete(weak.court.path(stuck["metadata"]["name"]))
    weak.change("validatingadmissionpolicybinding", "hitl-decisions", {"spec": {"validationActions": ["Audit"]}})
    assert await later.look() == "ENFORCEMENT_LOST"
    await weak.mend()
    await later.until_it_stands()
    assert later.enforcement.record.quarantined == frozenset()
