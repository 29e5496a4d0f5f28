"""What only the Kubernetes store has to say: the server's refusals, openings by several hubs, times, odd objects."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.running import ControlPlane
from hitl.approvals.opening import Refuse
from hitl.approvals.requests import State
from hitl.approvals.settle import settle
from hitl.approvals.settlement import Outcome
from hitl.errors import (
    ApiError,
    Forbidden,
    InvalidDecision,
    NoLongerPending,
    NotFound,
    Refused,
    StoreUnavailable,
)
from hitl.kube.paths import path_of
from hitl.policy.settings import Settings
from hitl.stores.kubernetes import KubernetesStore
from hitl.stores.kubernetes.objects import new_object, path_to, request_of
from hitl.stores.kubernetes.refusals import of_reading
from hitl_operator.keys import Keyring
from hitl_operator.metrics import HubMetrics
from hitl_operator.opening import Opened, Opener
from hitl_operator.settling import Settler
from hitl_operator.tracking import Tracker
from hitl_operator.turns import Turns
from hitl_operator.verification import SignatureVerifier
from stores.asking import NAME, NAMESPACE, a_decision, a_denial, a_note, a_spec, believed, cancelled, two_people
from stores.contract.world import decided, opened
from stores.kubernetes_world import BothSides, KubernetesWorld, kubernetes_world


@pytest.fixture
async def world(control_plane: ControlPlane) -> AsyncIterator[KubernetesWorld]:
    async with kubernetes_world(control_plane) as world:
        yield world


@pytest.fixture
async def store(world: KubernetesWorld) -> BothSides:
    return await world.open()


MANY = Settings(max_pending_per_workload=1000, max_pending_per_namespace=1000)


def an_opener(store: KubernetesStore, settings: Settings = MANY) -> Opener:
    """A hub's opener with a memory of its own."""
    tracker, metrics = Tracker(), HubMetrics()
    verifier = SignatureVerifier(lambda: None, "cluster")

    def now() -> datetime:
        return datetime.now(UTC)

    settler = Settler(store, tracker, verifier, metrics, clock=now, release_window=lambda: 300)
    return Opener(store, tracker, settler, metrics, Turns(96), clock=now, settings=lambda: settings)


async def test_I6_four_hubs_open_fifty_calls_once_each(world: KubernetesWorld, store: BothSides) -> None:
    """I6: four hubs that open the same fifty calls at once create fifty requests; 150 attach to what they found."""
    (key,) = Keyring(b"k" * 32, 1).keys_of("namespace-uid")
    openers = [an_opener(await world.open()) for _ in range(4)]
    specs = [a_spec(digest=f"{n:064x}", key=f"{n:064x}", sameness=f"{n:064x}") for n in range(50)]
    results = await asyncio.gather(
        *(opener.open(NAMESPACE, spec, key, supersedes=False) for spec in specs for opener in openers)
    )
    assert not [result for result in results if isinstance(result, Refuse)]
    opens = [result for result in results if isinstance(result, Opened)]
    assert Counter(result.attached for result in opens) == {False: 50, True: 150}
    stored = await store.list()
    assert len(stored) == 50
    assert {result.entry.request.uid for result in opens} == {request.uid for request in stored}


@pytest.mark.parametrize("hubs", [1, 2, 4])
async def test_B5_hubs_that_open_at_once_keep_a_workload_s_bound(
    world: KubernetesWorld, store: BothSides, hubs: int
) -> None:
    """B5: whichever of them the workload's pods are connected to; each other hub adds one at most."""
    (key,) = Keyring(b"k" * 32, 1).keys_of("namespace-uid")
    openers = [an_opener(await world.open(), Settings()) for _ in range(hubs)]
    specs = [a_spec(digest=f"{n:064x}", key=f"{n:064x}", sameness=f"{n:064x}") for n in range(40 * hubs)]
    results = await asyncio.gather(
        *(openers[n % hubs].open(NAMESPACE, spec, key, supersedes=False) for n, spec in enumerate(specs))
    )
    bound = Settings().max_pending_per_workload
    assert bound <= len(await store.list()) < bound + hubs
    assert sum(isinstance(result, Refuse) for result in results) == len(specs) - len(await store.list())


async def test_I13_a_request_of_a_hub_that_died_after_the_create_ends_in_time(
    world: KubernetesWorld, store: BothSides
) -> None:
    """I13: nothing was ever written but the create, and everybody else reads when it ends, in which terms."""
    await (await world.operator_api()).create(path_to(NAMESPACE), new_object(NAMESPACE, NAME, a_spec(timeout=60)))
    read = await (await world.open()).get(NAMESPACE, NAME)
    assert read.status.state is State.PENDING
    assert read.status.expiration_time == read.created + timedelta(seconds=60)
    assert read.status.requirements == a_spec().requirements
    assert settle(read, read.created + timedelta(seconds=60)).outcome is Outcome.EXPIRED
    assert [request.name for request in await store.list(pending_only=True)] == [NAME]


async def test_C1_votes_as_a_group_of_others_are_refused_by_the_server(
    world: KubernetesWorld, store: BothSides
) -> None:
    """C1: the server's policy refuses a group that is not the reviewer's; its sentence reaches the person."""
    request = await opened(world, store)
    with pytest.raises(Forbidden, match="managers"):
        await store.decide(NAMESPACE, NAME, a_decision(request, groups=("managers",)))
    assert (await store.get(NAMESPACE, NAME)) == request


async def test_I3_nobody_speaks_for_another(world: KubernetesWorld, store: BothSides) -> None:
    """I3: an entry in another's name is refused by the server, whatever the program that sends it checks."""
    request = await opened(world, store)
    ana = await world.reviewer("ana")
    with pytest.raises(Forbidden, match="you are ana and speak for nobody else"):
        await ana.decide(NAMESPACE, NAME, a_decision(request, "ben"))
    with pytest.raises(Forbidden, match="you are ana and speak for nobody else"):
        await ana.note(NAMESPACE, NAME, a_note(request, "ben"))
    assert (await store.get(NAMESPACE, NAME)) == request


async def test_C1_who_has_no_role_is_told_which_one_to_ask_for(world: KubernetesWorld, store: BothSides) -> None:
    """C1: without rights nothing is read, nothing is decided; the message names the role."""
    request = await opened(world, store)
    stranger = KubernetesStore(await world.api("stranger"))
    for attempt in (
        stranger.get(NAMESPACE, NAME),
        stranger.list(NAMESPACE),
        stranger.decide(NAMESPACE, NAME, a_decision(request, "stranger")),
    ):
        with pytest.raises(Forbidden, match="role hitl-viewer"):
            await attempt


async def test_C3_only_the_operator_writes_requests(world: KubernetesWorld, store: BothSides) -> None:
    """C3: a reviewer's store creates nothing, writes no outcome and deletes nothing; the request is untouched."""
    request = await opened(world, store)
    ana = await world.reviewer("ana")
    with pytest.raises(Forbidden):
        await ana.create(NAMESPACE, "forged", a_spec(), request.status)
    with pytest.raises(Forbidden):
        await ana.write_status(request, cancelled(request, world.clock()))
    with pytest.raises(Forbidden):
        await ana.delete(request)
    assert await store.list() == [request]


async def test_C2_votes_of_one_person_and_others_stand_side_by_side(world: KubernetesWorld, store: BothSides) -> None:
    """C2: a decision and eight notes of one person and a vote of another: nobody's apply removes anything."""
    request = await opened(world, store, spec=two_people())
    for n in range(1, 5):
        request = await store.note(NAMESPACE, NAME, a_note(request, n=n))
    await store.decide(NAMESPACE, NAME, a_decision(request))
    await store.decide(NAMESPACE, NAME, a_denial(request, "ben"))
    for n in range(5, 9):
        request = await store.note(NAMESPACE, NAME, a_note(request, n=n))
    assert [decision.reviewer for decision in request.status.decisions] == ["ana", "ben"]
    assert [note.n for note in request.status.notes] == list(range(1, 9))
    assert all(world.is_now(entry.time) for entry in (*request.status.decisions, *request.status.notes))


async def test_D3_an_edit_that_removes_an_argument_survives(world: KubernetesWorld, store: BothSides) -> None:
    """D3: null in a patch means removal; it is stored and read as it was written, at every level."""
    spec = a_spec(patchable=("/amount", "/note", "/meta"))
    request = await opened(world, store, spec=spec)
    patch = {"amount": 1250, "note": None, "meta": {"tag": None, "n": [1, {"a": 1.5}]}}
    written = await store.decide(NAMESPACE, NAME, a_decision(request, arguments_patch=patch))
    assert written.status.decisions[0].arguments_patch == patch
    assert (await store.get(NAMESPACE, NAME)).status.decisions[0].arguments_patch == patch


async def test_I5_a_write_that_slips_past_our_checks_is_refused_by_the_server(
    world: KubernetesWorld, store: BothSides
) -> None:
    """I5: an outcome taken back by the operator itself, without our guard, is refused by the CRD."""
    request = await decided(world, store, State.APPROVED)
    operator = await world.operator_api()
    body = {"status": {"state": "Pending", "conditions": [], "resolvedTime": None}}
    with pytest.raises(ApiError) as error:
        await operator.merge_patch(path_to(NAMESPACE, NAME, status=True), body)
    assert error.value.status == 422
    assert await store.get(NAMESPACE, NAME) == request


async def test_I6_a_stale_operator_cannot_release(world: KubernetesWorld, store: BothSides) -> None:
    """I6: after the request changed by whoever, a compare-and-set with the old version is a conflict on the server."""
    request = await opened(world, store)
    await store.note(NAMESPACE, NAME, a_note(request))
    operator = await world.operator_api()
    body = {"metadata": {"resourceVersion": request.version}, "status": {"rounds": 0}}
    with pytest.raises(ApiError) as error:
        await operator.merge_patch(path_to(NAMESPACE, NAME, status=True), body)
    assert error.value.status == 409


async def test_a_request_deleted_under_a_reviewers_hands_is_not_found(world: KubernetesWorld, store: BothSides) -> None:
    """Deleted while pending: the reviewer hears NotFound, and under a new request of that name InvalidDecision."""
    request = await opened(world, store)
    await store.delete(request)
    with pytest.raises(NotFound):
        await store.decide(NAMESPACE, NAME, a_decision(request))
    again = await opened(world, store)
    with pytest.raises(InvalidDecision, match="made anew"):
        await store.decide(NAMESPACE, NAME, a_decision(request))
    assert again.uid != request.uid


async def test_a_reviewer_without_a_clock_of_his_own_goes_by_the_servers(
    world: KubernetesWorld, store: BothSides
) -> None:
    """A laptop whose clock is a day ahead still decides in time: without a clock the store asks the server's."""
    request = await opened(world, store)
    api = await world.api("ana", ("reviewers", "support-leads"))
    ahead = KubernetesStore(api, clock=lambda: datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(NoLongerPending, match="expired"):
        await ahead.decide(NAMESPACE, NAME, a_decision(request))
    written = await KubernetesStore(api).decide(NAMESPACE, NAME, a_decision(request))
    assert len(written.status.decisions) == 1


async def test_terms_that_a_create_cannot_carry_are_written_with_the_first_write(
    world: KubernetesWorld, store: BothSides
) -> None:
    """After the operator's first write the stored object says when it ends, for columns and other programs."""
    request = await opened(world, store)
    voted = await store.decide(NAMESPACE, NAME, a_decision(request))
    raw = (await world.admin.get(path_to(NAMESPACE, NAME)))["status"]
    assert sorted(raw) == ["decisions", "state"]
    await store.write_status(voted, believed(voted))
    raw = (await world.admin.get(path_to(NAMESPACE, NAME)))["status"]
    assert request_of(await world.admin.get(path_to(NAMESPACE, NAME))).status.expiration_time is not None
    assert sorted(raw) == ["decisions", "expirationTime", "requirements", "state", "verified"]


async def test_an_object_that_cannot_be_read_hides_no_other(
    world: KubernetesWorld, store: BothSides, caplog: pytest.LogCaptureFixture
) -> None:
    """One request that this release cannot read is left out of lists with an error in the log; `get` says why."""
    fine = await opened(world, store)
    odd = new_object(NAMESPACE, "odd", a_spec())
    odd["spec"]["timeout"] = "1ms"  # fits the CRD, and is no number of whole seconds
    await (await world.operator_api()).create(path_to(NAMESPACE), odd)
    with caplog.at_level(logging.ERROR):
        assert await store.list() == [fine]
    assert "shop/odd cannot be read by this release" in caplog.text
    with pytest.raises(StoreUnavailable, match=r"spec\.timeout"):
        await store.get(NAMESPACE, "odd")


async def test_a_namespace_that_is_gone_takes_no_request(world: KubernetesWorld, store: BothSides) -> None:
    """Creating where there is no namespace is NotFound with its name, not a request somewhere else."""
    with pytest.raises(NotFound, match="no namespace nowhere"):
        await opened(world, store, namespace="nowhere")


async def test_a_server_without_our_resources_says_that_hitl_is_not_installed(world: KubernetesWorld) -> None:
    """A missing CRD is no empty list: StoreUnavailable says what is missing and how to see it."""
    absent = path_of("hitl.dev/v1alpha1", "approvalrequests", NAMESPACE).replace("v1alpha1", "v9")
    with pytest.raises(ApiError) as error:
        await world.admin.get(absent)
    meant = of_reading(error.value, NAMESPACE, NAME)
    assert isinstance(meant, StoreUnavailable)
    assert "hitl is not installed there" in str(meant)


async def test_what_the_server_refuses_to_create_is_refused_with_its_words(
    world: KubernetesWorld, store: BothSides
) -> None:
    """G1: text with invisible characters is refused by the CRD; the field is named and nothing is stored."""
    with pytest.raises(Refused, match=r"spec\.summary"):
        await opened(world, store, spec=a_spec(summary="refund \u202e 00.051"))
    assert await store.list() == []
