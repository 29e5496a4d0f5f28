"""Who a sidecar is on a cluster: real pod-bound tokens, made as kubelets make them, and what is no such token."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.gated_pods import CONTAINER, EVER, NODE, Pods, until
from cluster.token_hubs import Hub, refused, rewritten, shown
from control_plane.running import ControlPlane
from hitl.errors import Forbidden, StoreUnavailable, Unavailable
from hitl.kube.api import KubeAPI
from hitl.kube.marks import SIDECAR, STAMPED
from hitl.kube.paths import path_of
from hitl_operator.cluster.claims import Claims
from hitl_operator.cluster.reviews import Reviewed, judge

EXTRA = "authentication.kubernetes.io/"


@pytest.fixture
async def pods(pods: Pods) -> Pods:
    """With a second ServiceAccount, other."""
    await pods.account("other")
    return pods


@pytest.fixture
async def hub(admin: KubeAPI, pods: Pods) -> AsyncIterator[Hub]:
    """A hub whose caches follow the API server, and which remembers an answer for a moment."""
    async with a_hub(admin, pods) as hub:
        yield hub


@pytest.fixture
async def remembering(admin: KubeAPI, pods: Pods) -> AsyncIterator[Hub]:
    """The same for stories about what it remembers, however long this machine takes for them."""
    async with a_hub(admin, pods, remembered=10 * EVER) as hub:
        yield hub


@asynccontextmanager
async def a_hub(admin: KubeAPI, pods: Pods, **more: float) -> AsyncIterator[Hub]:
    kube_system = await admin.get(path_of("v1", "namespaces", name="kube-system"))
    hub = Hub(admin, kube_system["metadata"]["uid"], **more)
    try:
        await asyncio.wait_for(hub.pods.synced.wait(), EVER)
        await asyncio.wait_for(hub.namespaces.synced.wait(), EVER)
        await until(lambda: hub.namespaces.get(pods.namespace))
        yield hub
    finally:
        await hub.close()


async def test_B1_the_token_of_a_gated_pod_says_everything(hub: Hub, pods: Pods, admin: KubeAPI) -> None:
    """B1: namespace, ServiceAccount, pod and workload, with the uids of namespace, cluster and ServiceAccount."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    identity = await hub.who(await pods.token(pod))
    agent = identity.agent
    assert (agent.namespace, agent.service_account, agent.workload) == (pods.namespace, "support", "deploy/support")
    assert (agent.pod_name, agent.pod_uid) == (pod["metadata"]["name"], pod["metadata"]["uid"])
    assert agent.labels["app"] == "support"
    assert identity.stamped is None
    own = await admin.get(path_of("v1", "namespaces", name=pods.namespace))
    system = await admin.get(path_of("v1", "namespaces", name="kube-system"))
    account = await admin.get(path_of("v1", "serviceaccounts", pods.namespace, "support"))
    assert identity.namespace_uid == own["metadata"]["uid"]
    assert identity.cluster_uid == system["metadata"]["uid"]
    assert identity.requester_uid == account["metadata"]["uid"]


@pytest.mark.parametrize(
    ("owner", "workload"),
    [
        (("apps/v1", "ReplicaSet", "support-7d9f"), "deploy/support"),
        (("apps/v1", "ReplicaSet", "lone"), "rs/lone"),
        (("apps/v1", "StatefulSet", "db"), "sts/db"),
        (("apps/v1", "DaemonSet", "agent"), "ds/agent"),
        (("batch/v1", "Job", "nightly"), "job/nightly"),
        (("argoproj.io/v1alpha1", "Workflow", "train"), "workflow.argoproj.io/train"),
        (None, "pod/a-pod"),
    ],
)
async def test_B4_the_workload_is_the_owner_in_kubectls_words(
    hub: Hub, pods: Pods, owner: tuple[str, str, str] | None, workload: str
) -> None:
    """B4: what limits and handles belong to outlives a single pod."""
    pod = await pods.create("a-pod", owner=owner)
    await hub.knows(pods.namespace, pod)
    assert (await hub.who(await pods.token(pod))).agent.workload == workload


@pytest.mark.parametrize(
    ("owner", "workload"),
    [
        (("x.example/v1", "Deploy", "support"), "deploy.x.example/support"),
        (("v1", "Deploy", "support"), "deploy.core/support"),
        (("apps/v1", "Deployment", "support"), "deployment.apps/support"),
        (("apps/v1", "Deploy", "support"), "deploy.apps/support"),
        (("apps/v1", "replicaset", "support-7d9f"), "replicaset.apps/support-7d9f"),
        (("x.example/v1", "ReplicaSet", "support-7d9f"), "replicaset.x.example/support-7d9f"),
        (("apps.x.example/v1", "StatefulSet", "db"), "statefulset.apps.x.example/db"),
        (("v1", "Pod", "other"), "pod.core/other"),
        (("x.example/v1", "deploy/support", "support"), "pod/a-pod"),
        (("x.example/v1", "deploy", "/support"), "pod/a-pod"),
        (("x.example/v1", "Deploy.apps", "support"), "pod/a-pod"),
        (("apps/v1", "ReplicaSet", "support/x-7d9f"), "pod/a-pod"),
        (("apps/v1", "ReplicaSet", "-7d9f"), "pod/a-pod"),
    ],
)
async def test_B4_an_owner_of_a_made_up_kind_has_no_short_name(
    hub: Hub, pods: Pods, owner: tuple[str, str, str], workload: str
) -> None:
    """B4: whatever kind somebody writes down, it is not taken for a Deployment, nor for another pod."""
    pod = await pods.create("a-pod", owner=owner)
    await hub.knows(pods.namespace, pod)
    assert (await hub.who(await pods.token(pod))).agent.workload == workload


@pytest.mark.parametrize("template_hash", ["lenient-7d9f", "t-lenient-7d9f", "", "7D9F", "9f"])
async def test_B4_a_label_does_not_say_which_deployment_a_replicaset_is_of(
    hub: Hub, pods: Pods, template_hash: str
) -> None:
    """B4: present or stamped, it tells whether there is one; what its name is, the ReplicaSet's own name tells."""
    owner = ("apps/v1", "ReplicaSet", "support-lenient-7d9f")
    label = {"pod-template-hash": template_hash}
    one = await pods.create("one", owner=owner, labels=label)
    two = await pods.create("two", owner=owner, annotations={STAMPED: json.dumps(label)})
    await hub.knows(pods.namespace, one, two)
    assert (await hub.who(await pods.token(one))).agent.workload == "rs/support-lenient-7d9f"
    assert (await hub.who(await pods.token(two))).agent.workload == "deploy/support-lenient"


async def test_B4_who_may_make_pods_may_copy_the_owner_of_one(hub: Hub, pods: Pods) -> None:
    """B4, the limit of it: the reference stands in every pod to be read, uid and all, and is good in another one."""
    pod = await pods.create()
    body = {
        "metadata": {**{key: pod["metadata"][key] for key in ("labels", "ownerReferences")}, "name": "a-copy"},
        "spec": {"serviceAccountName": "support", "nodeName": NODE, "containers": [{**CONTAINER, "name": SIDECAR}]},
    }
    copy = await pods.admin.create(path_of("v1", "pods", pods.namespace), body)
    await hub.knows(pods.namespace, pod, copy)
    both = [(await hub.who(await pods.token(each))).agent for each in (pod, copy)]
    assert {(each.service_account, each.workload) for each in both} == {("support", "deploy/support")}


async def test_B1_a_token_for_another_audience_is_refused(hub: Hub, pods: Pods) -> None:
    """B1: one for the API server, and one that claims our audience without having it."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    other = await pods.token(pod, audience="https://kubernetes.default.svc")
    assert "audience" in await refused(hub, other)
    assert hub.reviews.asked == 0
    assert "does not accept" in await refused(hub, rewritten(other, aud=["hitl.dev/hub"]))


async def test_B1_a_token_bound_to_no_pod_is_refused(hub: Hub, pods: Pods) -> None:
    """B1: it passes a TokenReview, and says nothing of a pod; nor does claiming one help."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    loose = await pods.token(None, audience="https://kubernetes.default.svc")
    ours: dict[str, Any] = {"aud": ["hitl.dev/hub"]}
    assert "bound to no pod" in await refused(hub, rewritten(loose, **ours))
    bound = {"namespace": pods.namespace, "serviceaccount": {"name": "support"}, "pod": {"name": "x", "uid": "y"}}
    assert "no gated pod" in await refused(hub, rewritten(loose, **ours, **{"kubernetes.io": bound}))
    bound["pod"] = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    assert "does not accept" in await refused(hub, rewritten(loose, **ours, **{"kubernetes.io": bound}))


REVIEWED: dict[str, Any] = {
    "authenticated": True,
    "audiences": ["hitl.dev/hub"],
    "user": {
        "username": "system:serviceaccount:shop:support",
        "uid": "u-1",
        "extra": {
            "authentication.kubernetes.io/pod-name": ["support-0"],
            "authentication.kubernetes.io/pod-uid": ["p-1"],
            "authentication.kubernetes.io/node-name": ["node-1"],
        },
    },
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"authenticated": False}, "does not accept"),
        ({"authenticated": "true"}, "does not accept"),
        ({"audiences": []}, "not for audience"),
        ({"audiences": ["https://kubernetes.default.svc"]}, "not for audience"),
        ({"audiences": None}, "not for audience"),
        ({"user": {**REVIEWED["user"], "username": "system:serviceaccount:shop:other"}}, "another ServiceAccount"),
        ({"user": {**REVIEWED["user"], "username": "ana@example.com"}}, "another ServiceAccount"),
        ({"user": {**REVIEWED["user"], "extra": {}}}, "bound to no pod"),
        ({"user": {**REVIEWED["user"], "extra": None}}, "bound to no pod"),
        (
            {"user": {**REVIEWED["user"], "extra": {**REVIEWED["user"]["extra"], f"{EXTRA}pod-uid": ["p-2"]}}},
            "bound to no pod, or to another",
        ),
        (
            {"user": {**REVIEWED["user"], "extra": {**REVIEWED["user"]["extra"], f"{EXTRA}pod-name": []}}},
            "bound to no pod, or to another",
        ),
    ],
)
def test_B1_a_review_that_says_less_than_the_token_claims_is_no(change: dict[str, Any], words: str) -> None:
    """B1: the review's pod, uid, account and audience decide, not those that the token shows."""
    claims = Claims("shop", "support", "support-0", "p-1", datetime.now(UTC))
    assert judge(REVIEWED, claims) == Reviewed("u-1", "node-1")
    with pytest.raises(Forbidden, match=words):
        judge({**REVIEWED, **change}, claims)


async def test_B1_a_deleted_pods_token_is_refused_at_once(hub: Hub, pods: Pods) -> None:
    """B1: though a TokenReview would accept it for eleven seconds more, and though it was let in a moment ago."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    token = await pods.token(pod)
    await hub.who(token)
    before = hub.reviews.asked
    await pods.kill(pod["metadata"]["name"])
    await until(lambda: hub.pods.get(pods.namespace, pod["metadata"]["name"]) is None)
    assert "no gated pod" in await refused(hub, token)
    assert hub.reviews.asked == before, "what a TokenReview would say is not waited for"


async def test_B1_another_pod_of_the_same_name_is_another(hub: Hub, pods: Pods) -> None:
    """B1: the name is the same, the uid is not, and the old token is not the new pod's."""
    first = await pods.create("support-0")
    await hub.knows(pods.namespace, first)
    old = await pods.token(first)
    await hub.who(old)
    await pods.kill("support-0")
    second = await pods.create("support-0")
    await hub.knows(pods.namespace, second)
    assert "no gated pod" in await refused(hub, old)
    assert (await hub.who(await pods.token(second))).agent.pod_uid == second["metadata"]["uid"]


async def test_B1_a_pod_that_is_being_deleted_may_drain_until_its_grace_is_over(hub: Hub, pods: Pods) -> None:
    """B1: what it began may end well; after the grace period it is gone, whether or not a kubelet says so."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    token = await pods.token(pod)
    await pods.end(pod["metadata"]["name"], 30)
    name = pod["metadata"]["name"]
    await until(lambda: (known := hub.pods.get(pods.namespace, name)) and known.ends)
    await hub.who(token)
    hub.clock.ahead = timedelta(seconds=31)
    assert "grace period" in await refused(hub, token)


async def test_B1_a_pod_without_the_sidecar_is_refused(hub: Hub, pods: Pods) -> None:
    """B1: a label alone makes no gated pod."""
    pod = await pods.create(init=())
    await hub.knows(pods.namespace, pod)
    assert "hitl-sidecar" in await refused(hub, await pods.token(pod))


async def test_B1_a_pod_without_the_label_is_refused(hub: Hub, pods: Pods) -> None:
    """B1: the hub does not even know it; nor any longer one that lost its label while it ran."""
    bare = await pods.create("bare", gated=False)
    assert "hitl.dev/gated" in await refused(hub, await pods.token(bare))
    pod = await pods.create("support-0")
    await hub.knows(pods.namespace, pod)
    token = await pods.token(pod)
    await hub.who(token)
    patch = {"metadata": {"labels": {"hitl.dev/gated": None}}}
    await pods.admin.merge_patch(path_of("v1", "pods", pods.namespace, "support-0"), patch)
    await until(lambda: hub.pods.get(pods.namespace, "support-0") is None)
    assert "no gated pod" in await refused(hub, token)


async def test_B1_a_namespace_that_is_not_gated_is_refused(hub: Hub, pods: Pods) -> None:
    """B1: the label is what the injector goes by, so without it nothing in there was injected."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    token = await pods.token(pod)
    await hub.who(token)
    patch = {"metadata": {"labels": {"hitl.dev/injection": "disabled"}}}
    await pods.admin.merge_patch(path_of("v1", "namespaces", name=pods.namespace), patch)
    await until(lambda: not (hub.namespaces.get(pods.namespace) or pods).is_gated)  # type: ignore[union-attr]
    assert "kubectl label namespace" in await refused(hub, token)


async def test_B1_a_token_of_another_service_account_is_refused(hub: Hub, pods: Pods) -> None:
    """B1: the API server binds a token to a pod of the same account only; a claim to the contrary is no token."""
    pod = await pods.create(account="other")
    await hub.knows(pods.namespace, pod)
    token = await pods.token(pod, account="other")
    assert (await hub.who(token)).agent.service_account == "other"
    names = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    bound = {"namespace": pods.namespace, "serviceaccount": {"name": "support"}, "pod": names}
    assert "runs as other" in await refused(hub, rewritten(token, **{"kubernetes.io": bound}))


async def test_B1_a_deleted_service_account_ends_new_calls_and_open_streams(hub: Hub, pods: Pods) -> None:
    """B1: what was remembered of its token lasts for seconds, and an open stream until its next review."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    token = await pods.token(pod)
    identity = await hub.who(token)
    ended = asyncio.create_task(hub.authenticator.ended(identity, shown(token)))
    await pods.admin.delete(path_of("v1", "serviceaccounts", pods.namespace, "support"))
    assert "does not accept" in await asyncio.wait_for(ended, EVER)
    assert "does not accept" in await refused(hub, token)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ((), "carries one token"),
        ((("authorization", ""),), "Bearer TOKEN"),
        ((("authorization", "Basic YTpi"),), "Bearer TOKEN"),
        ((("authorization", "Bearer "),), "Bearer TOKEN"),
        ((("authorization", "Bearer x"),), "no ServiceAccount token"),
        ((("authorization", "Bearer a.b.c"),), "no ServiceAccount token"),
        ((("authorization", "Bearer a.e30.c"),), "no ServiceAccount token"),
        ((("authorization", "Bearer " + "a" * 9000),), "Bearer TOKEN"),
        ((("authorization", "Bearer x"), ("authorization", "Bearer y")), "carries one token"),
    ],
)
async def test_F3_what_is_no_token_costs_no_review(hub: Hub, metadata: Any, words: str) -> None:
    """F3: it is refused in words before the API server hears of it."""
    with pytest.raises(Forbidden, match=words):
        await hub.authenticator.authenticate(metadata)
    assert hub.reviews.asked == 0


async def test_F3_a_flood_of_bad_tokens_keeps_no_good_one_waiting(hub: Hub, pods: Pods) -> None:
    """F3: a thousand forged tokens of a pod that exists, beside the first call of another pod."""
    victim, other = await pods.create("support-0"), await pods.create("support-1")
    await hub.knows(pods.namespace, victim)
    await hub.knows(pods.namespace, other)
    stem, good, known = await pods.token(victim), await pods.token(other), await pods.token(victim)
    await hub.who(known)
    forged = [asyncio.create_task(hub.who(rewritten(stem, jti=str(number)))) for number in range(1000)]
    await asyncio.sleep(0)
    assert (await hub.who(good)).agent.pod_name == "support-1"
    assert (await hub.who(known)).agent.pod_name == "support-0"
    said = await asyncio.gather(*forged, return_exceptions=True)
    assert {type(each) for each in said} <= {Forbidden, Unavailable}
    assert hub.reviews.asked < 20
    strangers = [rewritten(stem, **{"kubernetes.io": {**bound_to(str(number), pods)}}) for number in range(1000)]
    before = hub.reviews.asked
    said = await asyncio.gather(*map(hub.who, strangers), return_exceptions=True)
    assert {type(each) for each in said} == {Forbidden}
    assert hub.reviews.asked == before


def bound_to(uid: str, pods: Pods) -> dict[str, Any]:
    return {
        "namespace": pods.namespace,
        "serviceaccount": {"name": "support"},
        "pod": {"name": "support-0", "uid": uid},
    }


async def test_F3_a_token_is_reviewed_once_however_many_ask(remembering: Hub, pods: Pods) -> None:
    """F3: calls at the same time share one review, and the next ones its answer for seconds."""
    pod = await pods.create()
    await remembering.knows(pods.namespace, pod)
    token = await pods.token(pod)
    said = await asyncio.gather(*(remembering.who(token) for _ in range(100)))
    assert len({each.agent.pod_uid for each in said}) == 1
    await remembering.who(token)
    assert remembering.reviews.asked == 1


async def test_B2_both_the_stamped_and_the_present_labels_count(hub: Hub, pods: Pods) -> None:
    """B2: what the pod was injected with goes along with what it carries now; a broken stamp is no stamp."""
    stamp = json.dumps({"app": "support", "tier": "gold"})
    pod = await pods.create("support-0", annotations={STAMPED: stamp}, labels={"app": "other"})
    broken = await pods.create("support-1", annotations={STAMPED: "[]"})
    for each in (pod, broken):
        await hub.knows(pods.namespace, each)
    identity = await hub.who(await pods.token(pod))
    assert identity.agent.labels["app"] == "other"
    assert identity.stamped == {"app": "support", "tier": "gold"}
    assert STAMPED in await refused(hub, await pods.token(broken))


async def test_B2_a_stamp_that_is_rewritten_takes_no_present_label_away(hub: Hub, pods: Pods) -> None:
    """B2: who writes one, another, or a broken one on a running pod ends its streams, and it is still what it is."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    token = await pods.token(pod)
    path = path_of("v1", "pods", pods.namespace, pod["metadata"]["name"])
    for stamp in ({}, {"app": "lenient"}, {"app": "", "pod-template-hash": "x"}):
        identity = await hub.who(token)
        ended = asyncio.create_task(hub.authenticator.ended(identity, shown(token)))
        await pods.admin.merge_patch(path, {"metadata": {"annotations": {STAMPED: json.dumps(stamp)}}})
        assert "changed" in await asyncio.wait_for(ended, EVER)
        now = await hub.who(token)
        assert now.stamped == stamp
        assert now.agent.labels == pod["metadata"]["labels"]
        assert now.agent.workload == "deploy/support"
    await pods.admin.merge_patch(path, {"metadata": {"annotations": {STAMPED: '{"app": null}'}}})
    await until(lambda: (known := hub.pods.get(pods.namespace, pod["metadata"]["name"])) and known.flaw)
    assert STAMPED in await refused(hub, token)


@pytest.mark.parametrize("what", ["deleted", "relabelled", "namespace"])
async def test_B1_streams_end_when_what_they_rest_on_ends(hub: Hub, pods: Pods, what: str) -> None:
    """B1: a deleted pod, another label (another config, then), a namespace that is no longer gated."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    token = await pods.token(pod)
    identity = await hub.who(token)
    ended = asyncio.create_task(hub.authenticator.ended(identity, shown(token)))
    name = pod["metadata"]["name"]
    match what:
        case "deleted":
            await pods.kill(name)
        case "relabelled":
            path = path_of("v1", "pods", pods.namespace, name)
            await pods.admin.merge_patch(path, {"metadata": {"labels": {"app": "other"}}})
        case _:
            path = path_of("v1", "namespaces", name=pods.namespace)
            await pods.admin.merge_patch(path, {"metadata": {"labels": {"hitl.dev/injection": None}}})
    why = await asyncio.wait_for(ended, EVER)
    words = {"deleted": ("no gated pod", "was deleted"), "relabelled": ("changed",), "namespace": ("not gated",)}
    assert any(word in why for word in words[what])


async def test_B1_a_stream_ends_with_its_token(hub: Hub, pods: Pods) -> None:
    """B1: at the moment that the token itself names, though nobody calls."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    token = await pods.token(pod, seconds=600)
    identity = await hub.who(token)
    hub.clock.ahead = timedelta(seconds=598)
    ended = asyncio.create_task(hub.authenticator.ended(identity, shown(token)))
    assert "has ended" in await asyncio.wait_for(ended, EVER)
    assert "has ended" in await refused(hub, token)


async def test_B1_an_api_server_that_is_silent_lets_nobody_new_in(
    remembering: Hub, pods: Pods, control_plane: ControlPlane
) -> None:
    """B1, I2: whether a token is good cannot be told, which is not yes; who was let in a moment ago still is."""
    pod = await pods.create()
    await remembering.knows(pods.namespace, pod)
    known, fresh = await pods.token(pod), await pods.token(pod)
    await remembering.who(known)
    control_plane.freeze()
    try:
        await remembering.who(known)
        with pytest.raises((StoreUnavailable, Unavailable)):
            await remembering.who(fresh)
    finally:
        control_plane.thaw()
    await until(lambda: could(remembering, fresh))


async def could(hub: Hub, token: str) -> bool:
    try:
        await hub.who(token)
    except (StoreUnavailable, Unavailable):
        return False
    return True
