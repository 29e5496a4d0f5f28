"""What one namespace has stored ends no replica, hides nothing of others and keeps nobody waiting (H1, C6, I2, B5)."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from cluster.gated_pods import Pods, let_nodes_make_tokens, until
from cluster.operators import ANA, Installation, Operator, SidecarProcess
from cluster.poisons import PODS, POLICIES, Mallory, a_namespace_of_labels, a_policy, nested
from cluster.policy_replicas import Author
from cluster_fixtures import a_namespace
from control_plane.installing import install
from control_plane.running import ControlPlane
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.manifests import API_VERSION
from hitl.kube.paths import path_of

CASE = 120  # seconds for one case; two or three on an idle machine
SOON = 40.0  # seconds for what takes less than one on an idle machine
APART = 0.3  # seconds between two calls of the sidecar, which lets through so many of a session

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(CASE, func_only=True),  # what the fixtures wait for has limits of its own
    pytest.mark.xdist_group("cluster-poisoned"),
]


class Bystanders:
    """Two replicas, and a sidecar of a namespace that has nothing to do with Mallory's."""

    def __init__(self, installation: Installation, mallory: Mallory, operators: list[Operator]) -> None:
        self.installation = installation
        self.mallory = mallory
        self.operators = operators
        self.sidecar: SidecarProcess
        self._author = Author(installation.pods.plane, installation.pods.namespace)
        self._numbers = itertools.count(1)

    async def allowed(self, sidecar: SidecarProcess) -> bool:
        """Whether a call that needs nobody goes on there."""
        async with asyncio.timeout(SOON):
            return await sidecar.check(f"toolu_{next(self._numbers)}", "get_balance") == "ALLOWED"

    async def are_well(self, sidecar: SidecarProcess | None = None) -> None:
        """A Deny that is written now arrives at the sidecar, calls that need nobody go on, all replicas are ready and
        know what is written. Nobody starts one anew: what answers is the process that was there before.
        """
        tool = f"get_{next(self._numbers)}"
        await self._author.apply({"rules": [{"action": "Deny", "tools": [tool]}]}, name="lockdown")
        asked = sidecar or self.sidecar

        async def denied() -> bool:
            call = f"toolu_{next(self._numbers)}"
            return await asked.check(call, tool) == "DENIED" and asked.reasons[call] == "RULE"

        await eventually(denied)
        assert await self.allowed(asked)
        for each in self.operators:
            await eventually(lambda each=each: _is_well(each))


async def _is_well(operator: Operator) -> bool:
    """Ready, and it was known half a minute ago that its config is what is written."""
    status, _ = await operator.get("/readyz")
    lines = (await operator.get("/metrics"))[1].splitlines()
    ages = [float(line.split()[1]) for line in lines if line.startswith("hitl_config_age_seconds ")]
    return status == 200 and ages != [] and ages[0] < 30


async def eventually(look: Callable[[], Awaitable[Any]]) -> Any:
    """As `until`, with few looks, and soon."""

    async def looked() -> Any:
        found = await look()
        if not found:
            await asyncio.sleep(APART)
        return found

    return await until(looked, SOON)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane on which poison may stay: never the shared one."""
    with ControlPlane.start(tmp_path_factory.mktemp("poisoned")) as plane:
        install(plane)
        let_nodes_make_tokens(plane)
        yield plane


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bystanders]:
    """Everybody, well before the first case."""
    folder = tmp_path_factory.mktemp("replicas")
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(KubeAPI.open(Access.from_kubeconfig(plane.admin), deadline=SOON))
        kubelet = Access.from_kubeconfig(plane.kubeconfig("system:node:node-1", ["system:nodes"]))
        node = await stack.enter_async_context(KubeAPI.open(kubelet, deadline=SOON))
        pods = Pods(plane, a_namespace(plane), admin, node)
        await pods.account()
        installation = Installation(pods, folder)
        stack.push_async_callback(installation.close)
        await installation.people()
        operators = await installation.replicas("a", "b")
        stage = Bystanders(installation, Mallory(plane, a_namespace(plane, gated=False), folder), operators)
        stage.sidecar = await installation.sidecar(*operators)
        await stage.are_well()
        yield stage


@pytest.mark.parametrize("name", POLICIES)
async def test_H1_C6_no_policy_of_one_namespace_concerns_another(stage: Bystanders, name: str) -> None:
    """H1, C6: however a policy is nested, swollen, numbered or decorated, its author is told what became of it, and
    nobody else notices.
    """
    poison = POLICIES[name]
    assert await stage.mallory.create(poison.text) == ""
    accepted = await eventually(lambda: stage.mallory.accepted(name))
    assert poison.told in accepted["message"]
    assert accepted["status"] == str(poison.accepted)
    await stage.are_well()


async def test_H1_B1_no_pod_or_namespace_hides_another(stage: Bystanders, plane: ControlPlane) -> None:
    """H1, B1: beside pods with records, stamps and values as large and deep as they may be, and a namespace of labels,
    a pod that is made afterwards is known, and gets its config.
    """
    for poison in PODS.values():
        assert await stage.mallory.create(poison) == ""
    await asyncio.to_thread(_made, plane, a_namespace_of_labels("labels"))
    later = await stage.installation.sidecar(*stage.operators)
    assert await stage.allowed(later)
    await stage.are_well()


@pytest.mark.timeout(2 * CASE, func_only=True)
async def test_H1_I2_a_replica_that_starts_beside_all_of_it_serves(stage: Bystanders) -> None:
    """H1, I2: it sees everything, gets ready, and denies and allows what those that were there before do."""
    for poison in (*(each.text for each in POLICIES.values()), *PODS.values()):
        assert await stage.mallory.create(poison) == ""
    late = await stage.installation.operator("late").start()
    try:
        await late.ready()
        await stage.are_well(await stage.installation.sidecar(late))
    finally:
        await late.end()
    await stage.are_well()


async def test_H1_C6_a_policy_that_is_never_the_same_concerns_nobody_else(
    stage: Bystanders, plane: ControlPlane
) -> None:
    """C6, B5: one changes every 50 ms, another goes and comes back under its name; in the end the last of each counts,
    and its author is told.
    """
    path = path_of(API_VERSION, "agentpolicies", stage.mallory.namespace)
    over = asyncio.Event()

    def policy(name: str, number: int) -> dict[str, Any]:
        return dict(json.loads(a_policy(name, operand=str(number))))

    async def change(api: KubeAPI) -> None:
        for number in itertools.count(1):
            await api.merge_patch(f"{path}/flapping", {"spec": policy("flapping", number)["spec"]}, deadline=SOON)
            if over.is_set():
                return
            await asyncio.sleep(0.05)

    async def replace(api: KubeAPI) -> None:
        for number in itertools.count(1):
            await api.create(path, policy("again", number), deadline=SOON)
            if over.is_set():
                return
            await api.delete(f"{path}/again", deadline=SOON)

    async with KubeAPI.open(Access.from_kubeconfig(plane.admin)) as api:
        await api.create(path, policy("flapping", 0))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(change(api))
            tasks.create_task(replace(api))
            await stage.are_well()
            await stage.are_well()
            over.set()
        for name in ("flapping", "again"):
            written = await api.get(f"{path}/{name}")

            async def told(name: str = name, generation: int = written["metadata"]["generation"]) -> bool:
                accepted = await stage.mallory.accepted(name)
                return accepted.get("observedGeneration") == generation and accepted["status"] == "True"

            await eventually(told)


async def test_H1_a_status_that_somebody_else_wrote_is_put_right(stage: Bystanders, plane: ControlPlane) -> None:
    """H1: an administrator's script writes what the schema permits: no conditions, or ones that say all is well."""
    assert await stage.mallory.create(a_policy("spoiled")) == ""
    right = await eventually(lambda: stage.mallory.accepted("spoiled"))
    forged = {"type": "Accepted", "status": "True", "reason": "M", "lastTransitionTime": "0001-01-01T00:00:00Z"}
    for status in ({"conditions": None}, {"conditions": [{**forged, "message": "x"}], "observedGeneration": 2**62}):
        path = path_of(API_VERSION, "agentpolicies", stage.mallory.namespace, "spoiled", "status")
        async with KubeAPI.open(Access.from_kubeconfig(plane.admin)) as api:
            await api.merge_patch(path, {"status": status}, field_manager="script", deadline=SOON)

        async def righted() -> bool:
            found = await stage.mallory.accepted("spoiled")
            return (found.get("reason"), found.get("message")) == (right["reason"], right["message"])

        await eventually(righted)
    await stage.are_well()


async def test_I13_the_deepest_vote_that_is_taken_ends_nothing(stage: Bystanders, plane: ControlPlane) -> None:
    """I13: of a person's changes to the arguments the API server takes no more than the hub reads; what it takes is
    judged.
    """
    await stage.sidecar.check("toolu_vote", wait=False)
    (request,) = await stage.installation.pending()
    vote = {
        "reviewer": ANA,
        "decision": "Approved",
        "digest": request.spec.digest,
        "requestUID": request.uid,
        "groups": ["support"],
        "argumentsPatch": {"amount": "@"},
    }
    body = {
        "apiVersion": API_VERSION,
        "kind": "ApprovalRequest",
        "metadata": {"name": request.name, "namespace": request.namespace},
        "status": {"decisions": [vote]},
    }
    person = plane.kubeconfig(ANA, ["support"])

    def applied(levels: int) -> str:
        text = json.dumps(body).replace('"@"', nested(levels))
        options = ["--server-side", "--subresource=status", f"--field-manager={ANA}", "--validate=false"]
        done = plane.kubectl("apply", *options, "-f", "-", stdin=text, kubeconfig=person)
        return done.stderr if done.returncode else ""

    for levels, why in ((9000, "longer than 4 KiB"), (300, "more than 32 objects and lists")):
        assert why in await asyncio.to_thread(applied, levels)
    assert await asyncio.to_thread(applied, 24) == ""

    async def judged() -> Any:
        found = await stage.installation.store.get(request.namespace, request.name)
        return found.status.verified or found.status.conditions

    await eventually(judged)
    await stage.are_well()


def _made(plane: ControlPlane, text: str) -> None:
    done = plane.kubectl("create", "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr
