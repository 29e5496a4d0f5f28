"""Terms that somebody wrote count for nothing, be it in a gap of the API server's checks or by a stolen token (C4)."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest

from cluster.enforcing import Cluster, Replica, eventually
from cluster.voting import ANA, BO, Json, Person, a_court, applies, note_of, vote_of
from control_plane.installing import install
from control_plane.running import ControlPlane
from hitl.approvals.requests import RequestSpec, State
from hitl.approvals.settle import Release, consume
from hitl.errors import ApiError
from hitl.policy.verdicts import EscalationStep, Requirement
from stores.asking import a_spec

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster-weakened")]

HOUR = 3600
WIDER = {"escalated": 1, "requirements": [{"name": "lead", "anyOf": ["managers", "oncall"]}]}


@pytest.fixture(scope="module")
def weak_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane whose policies may be removed: never the shared one."""
    with ControlPlane.start(tmp_path_factory.mktemp("weakened")) as plane:
        install(plane)
        yield plane


@pytest.fixture
async def cluster(weak_plane: ControlPlane) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        cluster = Cluster(weak_plane, a_court(weak_plane), stack)
        yield cluster
        await cluster.mend()


def for_managers() -> RequestSpec:
    """Managers decide; in an hour the on-call may, too."""
    asked = (Requirement("lead", any_of=("managers",)),)
    return a_spec(
        on_behalf_of="", requirements=asked, escalation=(EscalationStep(HOUR, ("oncall",)),), timeout=2 * HOUR
    )


async def through(cluster: Cluster, person: Person, request: Json, terms: Json) -> None:
    """Once nothing stops it: somebody writes these terms."""
    path = cluster.court.path(request["metadata"]["name"], "status")

    async def written() -> bool:
        async with cluster.court.api(person) as api:
            try:
                await api.merge_patch(path, {"status": terms}, field_manager="kubectl")
            except ApiError as error:
                if error.status != 403:
                    raise
                return False
            return True

    await eventually(written)


async def release_of(replica: Replica, request: Json) -> Release:
    """What a sidecar that holds the call would be told now."""
    metadata = request["metadata"]
    found = await replica.store.get(metadata["namespace"], metadata["name"])
    judged, _ = await replica.settler.judged_if_vouched(found)
    return consume(judged, datetime.now(UTC), digest=request["spec"]["digest"], by="pod-uid/epoch-1").release


async def test_C4_I13_terms_written_in_a_gap_end_the_request(cluster: Cluster) -> None:
    """C4, I3, I13: who let himself in, or put the end off for decades, while a binding was away has voided the request;
    what nobody touched goes on.
    """
    replica = await cluster.standing()
    court = cluster.court
    widened, put_off, untouched = [await court.ask(for_managers(), expires=2 * HOUR) for _ in range(3)]
    known = await replica.settle(widened)  # this very replica has looked at it before, which vouches for no terms
    assert known.status.escalated == 0
    cluster.kubectl("delete", "validatingadmissionpolicybinding", "hitl-decisions")
    await through(cluster, BO, widened, WIDER)
    await through(cluster, BO, put_off, {"expirationTime": "2099-01-01T00:00:00.000000Z"})
    await cluster.mend()
    await replica.until_it_stands()
    for request in (widened, put_off):
        ended = await replica.settle(request)
        assert ended.status.state is State.CANCELLED
        assert ended.status.conditions[-1].reason == "EnforcementLost"
        assert await release_of(replica, request) is Release.ENDED
    assert (await replica.settle(untouched)).status.state is State.PENDING


async def test_C4_D5_a_stolen_token_lets_nobody_in_before_the_time(cluster: Cluster) -> None:
    """C4, D5: an escalation that the operator's token writes before it is due lets no on-call approve; a reviewer's own
    note does.
    """
    replica = await cluster.standing()
    court = cluster.court
    request = await court.ask(for_managers(), expires=2 * HOUR)
    async with court.operator() as api:
        await court.outcome(request, WIDER, api)
    await court.vote(BO, request, vote_of(BO, request, groups=["oncall"]))
    found = await replica.settle(request)
    assert (found.status.state, len(found.status.verified)) == (State.PENDING, 1)
    assert await release_of(replica, request) is Release.NOT_READY

    path = court.path(request["metadata"]["name"], "status")
    async with court.api(ANA) as api:
        await applies(api, path, request, [note_of(ANA, request, "Escalate")], manager="hitl-ana-note", where="notes")
    assert await release_of(replica, request) is Release.RELEASED
    assert (await replica.settle(request)).status.state is State.APPROVED


async def test_C4_I13_a_stolen_token_keeps_nothing_open(cluster: Cluster) -> None:
    """I13: a deadline within the week that the API server takes does not put off the end that the timeout gives."""
    replica = await cluster.standing()
    request = await cluster.court.ask(a_spec(on_behalf_of="", timeout=2), expires=2)
    later = datetime.fromisoformat(request["metadata"]["creationTimestamp"]) + timedelta(days=6)
    async with cluster.court.operator() as api:
        await cluster.court.outcome(request, {"expirationTime": later.strftime("%Y-%m-%dT%H:%M:%SZ")}, api)

    async def expired() -> bool:
        return (await replica.settle(request)).status.state is State.EXPIRED

    await eventually(expired)
