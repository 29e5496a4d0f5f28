"""Every way to weaken the API server's checks is seen, and voids what was written meanwhile (SECURITY C4)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from cluster.enforcing import SECRET, Cluster, eventually
from cluster.restarts import restarted
from cluster.voting import ANA, EDITOR, Json, a_court, vote_of
from control_plane.installing import install
from control_plane.running import ControlPlane
from hitl.approvals.requests import State
from hitl.errors import ApiError
from hitl.kube import shipped
from hitl.kube.comparison import difference, guards
from hitl_operator.cluster.probe import PROBE

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster-weakened")]

POLICIES, BINDINGS = "validatingadmissionpolicy", "validatingadmissionpolicybinding"
TRIES = 20  # of a story that needs to be quicker than the API server, which looks at its policies once a second
ELSEWHERE = {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}
EXCEPT = [
    {"apiGroups": ["hitl.dev"], "apiVersions": ["*"], "operations": ["*"], "resources": ["approvalrequests/status"]}
]

WEAKENED: dict[str, tuple[str, str, Json, str]] = {
    "a binding that only audits": (BINDINGS, "hitl-decisions", {"spec": {"validationActions": ["Audit"]}}, "Audit"),
    "a binding for other namespaces": (
        BINDINGS,
        "hitl-decisions",
        {"spec": {"matchResources": {"namespaceSelector": ELSEWHERE}}},
        "spec.matchResources was added",
    ),
    "a binding that leaves votes out": (
        BINDINGS,
        "hitl-decisions",
        {"spec": {"matchResources": {"excludeResourceRules": EXCEPT}}},
        "spec.matchResources was added",
    ),
    "a binding with parameters": (
        BINDINGS,
        "hitl-writers",
        {"spec": {"paramRef": {"name": "x", "namespace": "default", "parameterNotFoundAction": "Allow"}}},
        "spec.paramRef was added",
    ),
    "a binding to another policy": (BINDINGS, "hitl-decisions", {"spec": {"policyName": "hitl-writers"}}, "policyName"),
    "a policy that lets errors pass": (POLICIES, "hitl-decisions", {"spec": {"failurePolicy": "Ignore"}}, "Ignore"),
    "a policy with one more condition": (
        POLICIES,
        "hitl-writers",
        {"spec": {"matchConditions": [{"name": "never", "expression": "false"}]}},
        "spec.matchConditions",
    ),
    "a policy for other namespaces": (
        POLICIES,
        "hitl-decisions",
        {"spec": {"matchConstraints": {"namespaceSelector": ELSEWHERE}}},
        "spec.matchConstraints.namespaceSelector",
    ),
    "a policy that leaves votes out": (
        POLICIES,
        "hitl-decisions",
        {"spec": {"matchConstraints": {"excludeResourceRules": EXCEPT}}},
        "excludeResourceRules was added",
    ),
    "a policy that asks nothing": (
        POLICIES,
        "hitl-operator-writes",
        {"spec": {"validations": [{"expression": "true"}]}},
        "spec.validations",
    ),
}


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


async def forged(cluster: Cluster, request: Json) -> Json:
    """Once nothing stops it: an editor writes a vote in ana's name."""
    path = cluster.court.path(request["metadata"]["name"], "status")
    entry = vote_of(ANA, request)

    async def written() -> Json | None:
        async with cluster.court.api(EDITOR) as api:
            try:
                return await api.merge_patch(path, {"status": {"decisions": [entry]}}, field_manager="kubectl")
            except ApiError as error:
                if error.status != 403:
                    raise
                return None

    return await eventually(written)


async def voted_in_time(cluster: Cluster) -> Json:
    """A request with a vote whose time is up soon: as soon as this machine lets a vote come before it."""
    for expires in (1.5, 6, 24, 60):
        request = await cluster.court.ask(expires=expires)
        try:
            await cluster.court.vote(ANA, request)
        except ApiError as error:
            if "no longer pending" not in error.message:
                raise
            continue
        return request
    raise AssertionError("no vote comes within a minute")


async def test_C4_what_is_shipped_is_found_as_shipped(cluster: Cluster) -> None:
    """C4: the server's defaults are no difference: every policy, binding and the CRD is recognised as shipped."""
    found = guards(shipped.admission(), shipped.crds())
    async with cluster.court.admin() as api:
        assert [difference(guard, await api.get(guard.path)) for guard in found] == [""] * len(found)
    vital = {guard.name for guard in found if guard.is_vital}
    assert vital == {"hitl-decisions", "hitl-writers", "hitl-operator-writes", "approvalrequests.hitl.dev"}


@pytest.mark.parametrize("weakened", WEAKENED)
async def test_C4_every_way_to_weaken_is_named(cluster: Cluster, weakened: str) -> None:
    """C4: whatever is changed in a policy or its binding ends the counting at the next look, which says what it is."""
    kind, name, patch, words = WEAKENED[weakened]
    replica = await cluster.standing()
    cluster.change(kind, name, patch)
    assert await replica.look() == "ENFORCEMENT_LOST"
    assert words in replica.enforcement.why
    assert name in replica.enforcement.why


@pytest.mark.parametrize("kind", [POLICIES, BINDINGS])
async def test_C4_a_removed_guard_is_missed(cluster: Cluster, kind: str) -> None:
    """C4: a policy or binding that is gone ends the counting."""
    replica = await cluster.standing()
    cluster.kubectl("delete", kind, "hitl-decisions")
    assert await replica.look() == "ENFORCEMENT_LOST"
    assert "hitl-decisions is not there" in replica.enforcement.why


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/spec/versions/0/schema/openAPIV3Schema/x-kubernetes-validations", "x-kubernetes-validations is missing"),
        ("/spec/versions/0/schema/openAPIV3Schema/properties/status/x-kubernetes-validations/0", "validations"),
        (
            "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/decisions/items/properties/reviewer/pattern",
            "pattern is missing",
        ),
    ],
)
async def test_C4_a_looser_schema_is_named(cluster: Cluster, path: str, words: str) -> None:
    """C4: rules and bounds taken out of the CRD end the counting, and the place is said."""
    replica = await cluster.standing()
    step = f'[{{"op":"remove","path":"{path}"}}]'
    cluster.kubectl("patch", "crd", "approvalrequests.hitl.dev", "--type=json", "-p", step)
    assert await replica.look() == "ENFORCEMENT_LOST"
    assert words in replica.enforcement.why


async def test_C4_another_guard_is_reported_and_voids_nothing(cluster: Cluster) -> None:
    """C4: votes do not rest on the policy for hub tokens; that it changed is shown by a metric of its own."""
    replica = await cluster.standing()
    cluster.change(BINDINGS, "hitl-hub-tokens", {"spec": {"validationActions": ["Warn"]}})
    assert await replica.look() == ""
    shown = {
        sample.labels["guard"]: sample.value
        for metric in replica.metrics.as_shipped.collect()
        for sample in metric.samples
    }
    assert shown["ValidatingAdmissionPolicyBinding/hitl-hub-tokens"] == 0
    assert shown["ValidatingAdmissionPolicyBinding/hitl-decisions"] == 1


async def test_C4_what_is_stored_but_not_acted_upon_is_noticed(cluster: Cluster) -> None:
    """C4: a binding that was put back is stored as shipped before the server goes by it; only the trial tells."""
    replica = await cluster.standing()

    async def lets_through() -> bool:
        return "not refused" in await replica.probe.refused()

    for _ in range(TRIES):
        cluster.kubectl("delete", BINDINGS, "hitl-decisions")
        await eventually(lets_through)
        await cluster.put_back()
        assert await replica.look() == "ENFORCEMENT_LOST"
        if "not refused" in replica.enforcement.why:
            break  # else the server was quicker than our look, and had taken it up
    assert (
        replica.enforcement.why
        == "an entry in another person's name was not refused; policy hitl-decisions does not act"
    )


@pytest.mark.parametrize("policy", ["hitl-decisions", "hitl-writers", "hitl-operator-writes"])
async def test_C4_each_trial_is_refused_by_its_own_policy(cluster: Cluster, policy: str) -> None:
    """C4: with one binding gone exactly the trial of that policy gets through; the others do not hide it."""
    replica = await cluster.standing()
    cluster.kubectl("delete", BINDINGS, policy)

    async def found() -> str:
        return await replica.probe.refused()

    assert f"policy {policy} does not act" in await eventually(found)


async def test_C4_votes_count_again_ten_seconds_after_forged_ones_are_refused(cluster: Cluster) -> None:
    """C4: neither at the start nor after a gap does anything count before the server has refused for ten seconds."""
    replica = await cluster.replica()

    async def refused() -> bool:
        await replica.look()
        return "are left" in replica.enforcement.why

    for _ in ("at the start", "after a gap"):
        await eventually(refused)
        replica.seconds += 9.9
        assert await replica.look() == "ENFORCEMENT_LOST"
        replica.seconds += 0.2
        assert await replica.look() == ""
        cluster.change(BINDINGS, "hitl-decisions", {"spec": {"validationActions": ["Audit"]}})
        assert await replica.look() == "ENFORCEMENT_LOST"
        await cluster.mend()


async def test_C4_a_vote_forged_in_a_gap_ends_the_request(cluster: Cluster) -> None:
    """C4: a binding removed for seconds lets a forged vote in that nothing reveals later; the request is voided."""
    replica = await cluster.standing()
    voided, gaps = replica.voided, replica.gaps  # another story's, which ended in a gap
    request, untouched = await cluster.court.ask(), await cluster.court.ask()
    cluster.kubectl("delete", BINDINGS, "hitl-decisions")
    await forged(cluster, request)
    await cluster.mend()
    await replica.until_it_stands()
    ended = await replica.settle(request)
    assert ended.status.state is State.CANCELLED
    assert ended.status.conditions[-1].reason == "EnforcementLost"
    assert (await replica.settle(untouched)).status.state is State.PENDING
    assert (replica.voided, replica.gaps) == (voided + 1, gaps + 1)
    assert [reason for reason, _ in replica.told][-2:] == ["EnforcementLost", "EnforcementStands"]


async def test_C4_a_guard_changed_and_put_back_between_two_looks_is_a_gap(cluster: Cluster) -> None:
    """C4: nobody looked while the binding was away, yet the next vote asks and finds that it is not the same one."""
    replica = await cluster.standing()
    request = await cluster.court.ask()
    cluster.kubectl("delete", BINDINGS, "hitl-decisions")
    await forged(cluster, request)
    await cluster.mend()
    seen = await replica.settle(request)
    assert seen.status.verified == ()
    assert seen.status.state is State.PENDING
    assert not replica.enforcement.stands
    await replica.until_it_stands()
    assert (await replica.settle(request)).status.state is State.CANCELLED


async def test_C4_a_vote_forged_on_a_server_without_admission_policies_is_not_believed(cluster: Cluster) -> None:
    """C4: everything is stored as shipped, and nobody looked since the server was started without the plugin; the vote
    itself asks for a trial, and what the trial shows is a gap, even if the next look finds everything well.
    """
    replica = await cluster.standing()
    request = await cluster.court.ask()
    try:
        await asyncio.to_thread(
            cluster.plane.restart_apiserver, "--disable-admission-plugins=ServiceAccount,ValidatingAdmissionPolicy"
        )
        await forged(cluster, request)
        assert replica.enforcement.stands, "nobody has looked"
        found = await replica.settle(request)
        assert (found.status.state, found.status.verified) == (State.PENDING, ())
        assert not replica.enforcement.stands
    finally:
        await asyncio.to_thread(restarted, cluster.plane)
    await replica.until_it_stands()
    ended = await replica.settle(request)
    assert ended.status.state is State.CANCELLED
    assert ended.status.conditions[-1].reason == "EnforcementLost"


async def test_C4_the_log_says_what_changed_and_no_second_counts(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """C4: ten looks in the grace are one line, though the seconds that are left go down."""
    replica = await cluster.replica()

    async def refused() -> bool:
        await replica.look()
        return "are left" in replica.enforcement.why

    await eventually(refused)
    caplog.clear()
    for _ in range(3):
        replica.seconds += 2
        await replica.look()
    assert not [line for line in caplog.messages if line.startswith("enforcement-not-standing")]
    assert "4 s are left" in replica.enforcement.why


async def test_C4_what_was_written_in_the_operator_s_name_does_not_keep_it_from_ending_the_request(
    cluster: Cluster,
) -> None:
    """C4: its own writes are bound by what they change: over forged words, terms and times it still says the end."""
    replica = await cluster.standing()
    court = cluster.court
    request = await court.ask()
    cluster.kubectl("delete", BINDINGS, "hitl-operator-writes")
    forgery = {
        "verified": [{"reviewer": "mallory@example.com", "groups": ["support-leads"], "hardware": True, "note": 0}],
        "requirements": [{"name": "anyone"}],
        "expirationTime": "2020-01-01T00:00:00.000000Z",
    }

    async def through() -> bool:
        try:
            async with court.operator() as api:
                await court.outcome(request, forgery, api)
        except ApiError:
            return False
        return True

    await eventually(through)
    await cluster.mend()
    await replica.until_it_stands()
    ended = await replica.settle(request)
    assert ended.status.conditions[-1].reason == "EnforcementLost"


async def test_C4_a_gap_while_every_replica_was_down_is_seen(cluster: Cluster) -> None:
    """C4: the Secret remembers uid and generation; a vote that came while nobody ran is voided at the next start."""
    await cluster.standing()
    request = await cluster.court.ask()
    cluster.change(BINDINGS, "hitl-decisions", {"spec": {"validationActions": ["Audit"]}})
    await forged(cluster, request)
    await cluster.mend()
    later = await cluster.standing()
    assert (await later.settle(request)).status.conditions[-1].reason == "EnforcementLost"
    gap = later.enforcement.record.gaps[-1]
    assert gap.until is not None
    assert gap.why == "a guard was changed or replaced, and put back"


async def test_C4_a_vote_that_was_verified_before_the_gap_stays(cluster: Cluster) -> None:
    """C4: what was verified while the checks stood is not lost by a gap, nor by a restart in it."""
    replica = await cluster.standing()
    request = await cluster.court.ask()
    await cluster.court.vote(ANA, request, vote_of(ANA, request, groups=["support-leads"]))
    assert (await replica.settle(request)).status.state is State.APPROVED
    await replica.settle(request)  # as a hub does whenever it hears of a change, its own included
    cluster.change(BINDINGS, "hitl-decisions", {"spec": {"validationActions": ["Audit"]}})
    assert await replica.look() == "ENFORCEMENT_LOST"
    await cluster.mend()
    later = await cluster.standing()
    assert (await later.settle(request)).status.state is State.APPROVED


async def test_C4_in_a_gap_nothing_is_counted_but_time_goes_on(cluster: Cluster) -> None:
    """C4, I13: a true vote waits until the checks stand; a request whose time is up expires all the same."""
    replica = await cluster.standing()
    request, late = await cluster.court.ask(), await voted_in_time(cluster)
    await cluster.court.vote(ANA, request)
    cluster.change(BINDINGS, "hitl-writers", {"spec": {"validationActions": ["Audit"]}})
    assert await replica.look() == "ENFORCEMENT_LOST"
    assert (await replica.settle(request)).status.verified == ()

    async def expired() -> bool:
        return (await replica.settle(late)).status.state is State.EXPIRED

    await eventually(expired)


async def test_C4_what_was_asked_may_not_change_in_a_gap(cluster: Cluster) -> None:
    """C4: a summary that was made harmless while the CRD did not guard it ends the request, though nobody had voted."""
    replica = await cluster.standing()
    request = await cluster.court.ask()
    rules = "/spec/versions/0/schema/openAPIV3Schema/x-kubernetes-validations"
    cluster.kubectl(
        "patch", "crd", "approvalrequests.hitl.dev", "--type=json", "-p", f'[{{"op":"remove","path":"{rules}"}}]'
    )
    cluster.kubectl("delete", BINDINGS, "hitl-writers")

    async def changed() -> bool:
        async with cluster.court.api(EDITOR) as api:
            try:
                await api.merge_patch(
                    cluster.court.path(request["metadata"]["name"]), {"spec": {"summary": "harmless"}}
                )
            except ApiError:
                return False
            return True

    await eventually(changed)
    await cluster.mend()
    await replica.until_it_stands()
    assert (await replica.settle(request)).status.conditions[-1].reason == "EnforcementLost"


async def test_C4_a_live_replica_notices_by_itself(cluster: Cluster) -> None:
    """C4: nobody has to ask: a removed binding is seen by the watch, and new holds are refused at once."""
    replica = await cluster.standing()
    running = asyncio.create_task(replica.enforcement.run(replica.settler))
    try:
        cluster.kubectl("delete", BINDINGS, "hitl-decisions")

        async def lost() -> bool:
            return replica.enforcement.lost is not None

        await eventually(lost)
        assert replica.enforcement.lost is not None
        assert replica.enforcement.lost.reason_code == "ENFORCEMENT_LOST"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_C4_two_replicas_agree_on_one_record(cluster: Cluster) -> None:
    """C4: a gap that one replica wrote down is one for the other, and is told to people once."""
    one, other = await cluster.standing(), await cluster.standing()
    one.told.clear()  # of a gap that another story left: whoever comes first finds it by the shared record
    cluster.change(BINDINGS, "hitl-decisions", {"spec": {"validationActions": ["Audit"]}})
    assert [await one.look(), await other.look()] == ["ENFORCEMENT_LOST", "ENFORCEMENT_LOST"]
    await cluster.mend()
    await one.until_it_stands()
    await other.until_it_stands()
    told = [reason for reason, _ in (*one.told, *other.told)]
    assert told.count("EnforcementLost") == 1
    assert one.enforcement.record.since == other.enforcement.record.since


async def test_C4_a_replica_of_another_release_does_not_quarrel(cluster: Cluster) -> None:
    """C4: while releases change, one that ships other policies counts nothing and takes nothing from the rest."""
    replica = await cluster.standing()
    request = await cluster.court.ask()
    await cluster.court.vote(ANA, request, vote_of(ANA, request, groups=["support-leads"]))
    other = await cluster.replica(of=shipped.Shipped(factors=("hwk",)))
    assert await other.look() == "ENFORCEMENT_LOST"
    assert await replica.look() == ""
    assert (await replica.settle(request)).status.state is State.APPROVED
    assert other.told == []


async def test_C4_a_lost_record_believes_nothing(cluster: Cluster) -> None:
    """C4, I2: with the Secret gone nothing is known of the time before, so votes from then are voided."""
    await cluster.standing()
    request = await cluster.court.ask()
    await cluster.court.vote(ANA, request)
    async with cluster.court.admin() as api:
        await api.delete(SECRET)
    later = await cluster.standing()
    assert (await later.settle(request)).status.conditions[-1].reason == "EnforcementLost"


async def test_C4_the_trials_leave_nothing_behind(cluster: Cluster) -> None:
    """C4: the request that forged writes are tried on asks nobody, has ended, and stays as it is."""
    replica = await cluster.standing()
    await replica.look()
    path = f"/apis/hitl.dev/v1alpha1/namespaces/{shipped.DEFAULT.namespace}/approvalrequests"
    async with cluster.court.admin() as api:
        found = await api.list_page(path)
    kept = [item for item in found["items"] if item["metadata"]["name"].startswith("hitl-probe")]
    assert [item["metadata"]["name"] for item in kept] == [PROBE]
    assert kept[0]["status"]["state"] == "Cancelled"
    assert not {"decisions", "notes", "verified"} & kept[0]["status"].keys()
