"""What the leader tells of pods that run without a gate: number, reason, Event, log (DESIGN 11, 13)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from cluster.gated_pods import until
from cluster.rights import bound
from cluster.test_kubectl_hitl_unprotected import a_pod, web
from cluster_fixtures import a_namespace
from control_plane.installing import applied
from control_plane.running import ControlPlane
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT
from hitl.kube.unprotected import Why, gated_since, unprotected
from hitl_operator.cluster.events import Events, Said
from hitl_operator.cluster.namespaces import NamespaceCache
from hitl_operator.cluster.unprotected import UnprotectedPods

METRIC = "hitl_unprotected_pods"
A_LOOK = 600.0  # seconds for some looks: each lists the pods of every gated namespace that other tests left
WHAT = "without a gate (no sidecar), so nobody is asked about its calls. Next:"


class Leader:
    """A replica's report with the operator's own rights, on one API server."""

    def __init__(self, api: KubeAPI, namespaces: NamespaceCache, say: Callable[[Said], None]) -> None:
        self.registry = CollectorRegistry()
        self.is_one = True
        self.said: list[Said] = []
        self.now = 0.0

        def tell(said: Said) -> None:
            self.said.append(said)
            say(said)

        self.report = UnprotectedPods(
            api,
            namespaces,
            leads=lambda: self.is_one,
            say=tell,
            clock=lambda: datetime(2026, 5, 2, 12, tzinfo=UTC) + timedelta(seconds=self.now),
            registry=self.registry,
            monotonic=lambda: self.now,
        )

    def shown(self, why: Why) -> float | None:
        """The metric, over all namespaces of the server; None where nothing is shown."""
        return self.registry.get_sample_value(METRIC, {"why": why.value})

    def in_namespace(self, name: str) -> dict[Why, int]:
        """The numbers of one namespace."""
        return dict(self.report.counts.get(name, {}))

    def about(self, name: str) -> list[Said]:
        """What was said of one namespace."""
        return [each for each in self.said if each.about.namespace == name]


@asynccontextmanager
async def a_leader(plane: ControlPlane, *gated: str, user: str = DEFAULT.operator) -> AsyncIterator[Leader]:
    """With these namespaces known to it, and Events posted; `user`: as whom it reads and writes."""
    groups = (
        []
        if user != DEFAULT.operator
        else ["system:serviceaccounts", f"system:serviceaccounts:{DEFAULT.namespace}", "system:authenticated"]
    )
    async with KubeAPI.open(Access.from_kubeconfig(plane.kubeconfig(user, groups)), deadline=60) as api:
        namespaces, events = NamespaceCache(api), Events(api, DEFAULT.namespace, "replica-1")
        leader = Leader(api, namespaces, events.say)
        tasks = [asyncio.create_task(each) for each in (namespaces.run(), events.run())]
        try:
            await until(lambda: all((found := namespaces.get(name)) and found.is_gated for name in gated))
            yield leader
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def delete_pods(plane: ControlPlane, namespace: str, *names: str) -> None:
    """At once, as if their kubelet had confirmed it."""
    done = plane.kubectl("delete", "pod", *names, "-n", namespace, "--force", "--grace-period=0")
    assert done.returncode == 0, done.stderr


async def test_pods_without_a_gate_are_counted_by_reason(control_plane: ControlPlane) -> None:
    """Gated ones, those that ended and those of other namespaces are not; what was made anew is counted no longer."""
    namespace, open_one = a_namespace(control_plane), a_namespace(control_plane, gated=False)
    assert control_plane.kubectl("label", "namespace", namespace, "hitl.dev/opt-out=allowed").returncode == 0
    applied(
        control_plane,
        web("web-5d9c7-a", namespace),
        web("web-5d9c7-b", namespace),
        a_pod("out", namespace, {"hitl.dev/inject": "false"}),
        a_pod("gated", namespace, {"hitl.dev/gated": "true"}),
        web("web-5d9c7-a", open_one),
    )
    async with a_leader(control_plane, namespace) as leader:

        async def counted() -> bool:
            await leader.report.look()
            return leader.in_namespace(namespace) == {Why.NO_SIDECAR: 2, Why.OPTED_OUT: 1}

        await until(counted, A_LOOK)  # a moment passes until the cache knows that pods may opt out
        assert open_one not in leader.report.counts
        assert (leader.shown(Why.NO_SIDECAR) or 0) >= 2
        assert (leader.shown(Why.OPTED_OUT) or 0) >= 1
        delete_pods(control_plane, namespace, "web-5d9c7-a", "web-5d9c7-b")
        await leader.report.look()
        assert leader.in_namespace(namespace) == {Why.OPTED_OUT: 1}


async def test_each_workload_gets_one_event_an_hour(control_plane: ControlPlane, admin: KubeAPI) -> None:
    """It stands on a pod, says how many there are and what to type; who opted out gets none."""
    namespace = a_namespace(control_plane)
    applied(control_plane, web("web-5d9c7-a", namespace), web("web-5d9c7-b", namespace), a_pod("bare", namespace))
    async with a_leader(control_plane, namespace) as leader:
        await leader.report.look()
        await leader.report.look()

        async def posted() -> list[dict[str, Any]]:
            events = [each async for each in admin.list(path_of("v1", "events", namespace))]
            found = [each for each in events if each["reason"] == "Unprotected"]
            return found if len(found) >= 2 else []

        found = await until(posted)
        words = sorted(each["message"] for each in found)
        assert words == [
            f"deploy/web: 2 pods run {WHAT} kubectl rollout restart deploy/web -n {namespace}",
            f"pod/bare: a pod runs {WHAT} kubectl delete pod bare -n {namespace}, and apply its manifest again",
        ]
        assert {each["type"] for each in found} == {"Warning"}
        assert {each["involvedObject"]["kind"] for each in found} == {"Pod"}
        names = {said.name for said in leader.about(namespace)}
        leader.now += 3600
        await leader.report.look()
        assert len({said.name for said in leader.about(namespace)}) == 2 * len(names) == 4


async def test_who_does_not_lead_shows_no_number(control_plane: ControlPlane) -> None:
    """Numbers of two replicas would be added up; the one that leads counts anew at once."""
    namespace = a_namespace(control_plane)
    applied(control_plane, web("web-5d9c7-a", namespace))
    async with a_leader(control_plane, namespace) as leader:
        task = asyncio.create_task(leader.report.run())
        await until(lambda: leader.shown(Why.NO_SIDECAR), A_LOOK)
        leader.is_one = False
        await until(lambda: leader.shown(Why.NO_SIDECAR) is None, A_LOOK)
        assert leader.report.counts == {}
        leader.is_one = True
        await until(lambda: leader.in_namespace(namespace) == {Why.NO_SIDECAR: 1}, A_LOOK)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_many_workloads_are_counted_and_few_named(control_plane: ControlPlane) -> None:
    """A namespace full of strangers' pods makes 20 Events an hour, and the number says the rest."""
    namespace = a_namespace(control_plane)
    applied(control_plane, *(a_pod(f"bare-{number}", namespace) for number in range(25)))
    async with a_leader(control_plane, namespace) as leader:
        await leader.report.look()
        assert leader.in_namespace(namespace) == {Why.NO_SIDECAR: 25}
        assert len(leader.about(namespace)) == 20


async def test_a_namespace_that_cannot_be_read_keeps_its_numbers(control_plane: ControlPlane) -> None:
    """What is not known is not taken for none, and somebody is told, until it can be read again."""
    namespace, user = a_namespace(control_plane), "hitl-test-counter"
    rule = {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list", "watch"]}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": user}}
    binding = bound("ClusterRole", {"name": user}, user, user)
    applied(control_plane, web("web-5d9c7-a", namespace), role | {"rules": [rule]}, binding)
    async with a_leader(control_plane, namespace, user=user) as leader:

        async def looks(*, fails: bool) -> bool:
            await leader.report.look()
            return bool(leader.report.trouble.why) is fails

        await until(lambda: looks(fails=False), A_LOOK)
        assert leader.in_namespace(namespace) == {Why.NO_SIDECAR: 1}
        assert control_plane.kubectl("delete", "clusterrolebinding", user).returncode == 0
        await until(lambda: looks(fails=True), A_LOOK)
        assert 'cannot list resource "pods"' in leader.report.trouble.why
        assert leader.in_namespace(namespace) == {Why.NO_SIDECAR: 1}
        assert (leader.shown(Why.NO_SIDECAR) or 0) >= 1
        applied(control_plane, binding)
        await until(lambda: looks(fails=False), A_LOOK)


def managed(*fields: tuple[str, Sequence[str]]) -> dict[str, Any]:
    """Metadata of a namespace that managers wrote labels of, each at a time."""
    return {
        "name": "lab",
        "managedFields": [
            {"time": when, "fieldsV1": {"f:metadata": {"f:labels": {f"f:{label}": {} for label in labels}}}}
            for when, labels in fields
        ],
    }


def test_since_when_a_namespace_is_gated_is_read_from_who_wrote_its_label() -> None:
    """The earliest manager of the label counts; without one nobody knows, and no pod is called older."""
    found = gated_since(
        managed(
            ("2026-05-01T10:00:00Z", ["team"]),
            ("2026-05-02T10:00:00Z", ["hitl.dev/injection"]),
            ("2026-05-03T10:00:00Z", ["hitl.dev/injection", "team"]),
        )
    )
    assert found == datetime(2026, 5, 2, 10, tzinfo=UTC)
    pod = {"name": "a", "namespace": "lab", "uid": "u", "creationTimestamp": "2026-05-02T09:59:59Z"}
    assert unprotected(pod, since=found, may_opt_out=False).why is Why.OLDER
    assert unprotected(pod | {"creationTimestamp": "2026-05-02T10:00:00Z"}, since=found, may_opt_out=False).why is (
        Why.NO_SIDECAR
    )
    for unknown in (
        {"name": "lab"},
        managed(("2026-05-01T10:00:00Z", ["team"])),
        {"managedFields": [{"fieldsV1": {}}]},
    ):
        assert gated_since(unknown) is None
    assert unprotected(pod, since=None, may_opt_out=True).why is Why.NO_SIDECAR
    opted = pod | {"labels": {"hitl.dev/inject": "false"}}
    assert unprotected(opted, since=found, may_opt_out=True).why is Why.OPTED_OUT
    assert unprotected(opted, since=found, may_opt_out=False).why is Why.OLDER
    assert json.dumps(unprotected(opted, since=found, may_opt_out=False).why) == '"OlderThanLabel"'
