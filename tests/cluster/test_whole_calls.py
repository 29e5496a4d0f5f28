"""Calls from the agent to the end of their request on a real API server: edits, digests, approvals that lapse."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.gated_pods import EVER, Pods, let_nodes_make_tokens, node_access, until
from cluster.operators import Installation, SidecarProcess
from cluster_fixtures import a_namespace, applied
from control_plane.running import ControlPlane
from hitl.approvals.conditions import CancelReason
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, State
from hitl.errors import HitlError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT
from hitl.stores.kubernetes import KubernetesStore
from hitl.v1 import gate_pb2
from hitl_operator.cluster.root_key import NAME as KEY
from hitl_operator.keys import Keyring

ANA, BO, CY = "ana@example.com", "bo@example.com", "cy@example.com"
REFUND = {"amount": 15000, "currency": "EUR"}
EDIT = {"amount": 12000}


class Town:
    """A gated namespace: who decides there, a replica, and the sidecar of one pod."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.plane = installation.pods.plane
        self.namespace = installation.pods.namespace
        self.store = installation.store

    async def people(self, *names: str) -> None:
        """They may decide Confirm, and are in group leads."""
        subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name} for name in names]
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hitl-reviewer"}
        binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                   "metadata": {"name": "people", "namespace": self.namespace},
                   "roleRef": role, "subjects": subjects}  # fmt: skip
        await asyncio.to_thread(applied, self.plane, binding)

    async def policy(self, **rule: Any) -> None:
        """Refunds are held for leads."""
        spec = {"rules": [{"action": "Confirm", "tools": ["stripe/*"], **rule}], "approval": {"holdBudget": "10m"}}
        metadata = {"name": "support", "namespace": self.namespace}
        policy = {"apiVersion": "hitl.dev/v1alpha1", "kind": "AgentPolicy", "metadata": metadata, "spec": spec}
        await asyncio.to_thread(applied, self.plane, policy)

    async def approve(self, who: str, request: ApprovalRequest, **more: Any) -> None:
        """As that person."""
        access = Access.from_kubeconfig(self.plane.kubeconfig(who, ["leads"]))
        decision = Decision(who, DecisionKind.APPROVED, request.spec.digest, request.uid, groups=("leads",), **more)
        async with KubernetesStore.open(access) as store:
            await store.decide(request.namespace, request.name, decision)


@pytest.fixture
async def town(
    tmp_path: Path, control_plane: ControlPlane, namespace: str, admin: KubeAPI, as_user: Callable[..., Access]
) -> AsyncIterator[Town]:
    """Its people are ana, bo and cy; no policy and no replica yet."""
    let_nodes_make_tokens(control_plane)
    async with KubeAPI.open(node_access(as_user)) as node:
        pods = Pods(control_plane, namespace, admin, node)
        await pods.account()
        installation = Installation(pods, tmp_path)
        found = Town(installation)
        await found.people(ANA, BO, CY)
        yield found
        await installation.close()
    await asyncio.to_thread(control_plane.kubectl, "delete", "agentpolicy", "--all", "-n", namespace)


async def ask(sidecar: SidecarProcess, call_id: str, *, wait: bool = True) -> gate_pb2.CheckResponse:
    """Ask once for a refund; `wait`: for as long as people take."""
    arguments = json.dumps(REFUND).encode()
    call = gate_pb2.ToolCall(server="stripe", tool="create_refund", call_id=call_id, arguments_json=arguments)
    request = gate_pb2.CheckRequest(call=call)
    if not wait:
        request.wait.FromSeconds(0)
    answer: gate_pb2.CheckResponse = await sidecar.stub.Check(request, timeout=EVER)
    return answer


async def held(sidecar: SidecarProcess, call_id: str) -> gate_pb2.CheckResponse:
    """Ask until the call waits for people, not for a policy or the hub."""

    async def look() -> gate_pb2.CheckResponse | None:
        answer = await ask(sidecar, call_id, wait=False)
        return answer if answer.outcome == gate_pb2.OUTCOME_PENDING else None

    found: gate_pb2.CheckResponse = await until(look)
    return found


async def released(sidecar: SidecarProcess, call_id: str) -> gate_pb2.CheckResponse:
    """Ask until it may run."""

    async def look() -> gate_pb2.CheckResponse | None:
        answer = await ask(sidecar, call_id)
        return answer if answer.outcome == gate_pb2.OUTCOME_ALLOWED else None

    found: gate_pb2.CheckResponse = await until(look)
    return found


async def test_D3_an_edit_of_one_reviewer_is_released_under_its_own_digest(town: Town) -> None:
    """D3, I7: the agent gets the reviewer's arguments; the request keeps both digests, as asked and as run."""
    await town.policy(reviewers=["leads"])
    (operator,) = await town.installation.replicas("a")
    sidecar = await town.installation.sidecar(operator)
    await held(sidecar, "toolu_1")
    (request,) = await town.installation.pending()
    await town.approve(ANA, request, arguments_patch=EDIT)
    answer = await released(sidecar, "toolu_1")
    assert json.loads(answer.arguments_json) == {**REFUND, **EDIT}
    ended = await town.installation.state(request, State.CONSUMED)
    assert ended.spec.digest == request.spec.digest
    assert ended.status.consumed_digest == answer.verdict.digest
    assert ended.status.consumed_digest != request.spec.digest


async def test_D3_an_edit_where_two_must_agree_asks_anew_without_the_editor(town: Town) -> None:
    """D3: the first request ends as Superseded; the editor cannot approve the second one, others can."""
    await town.policy(requirements=[{"name": "two", "approvals": 2, "anyOf": ["leads"]}])
    (operator,) = await town.installation.replicas("a")
    sidecar = await town.installation.sidecar(operator)
    waiting = asyncio.create_task(ask(sidecar, "toolu_1"))
    (request,) = await town.installation.pending()
    await town.approve(ANA, request, arguments_patch=EDIT)
    ended = await town.installation.state(request, State.CANCELLED)
    assert ended.status.conditions[-1].reason == CancelReason.SUPERSEDED
    await waiting
    (successor,) = await town.installation.pending()
    assert successor.name != request.name
    assert successor.spec.excluded == (ANA,)
    assert successor.spec.digest != request.spec.digest
    with pytest.raises(HitlError, match="changed this call; another person must approve"):
        await town.approve(ANA, successor)
    await town.approve(BO, successor)
    await town.approve(CY, successor)
    answer = await released(sidecar, "toolu_1")
    assert json.loads(answer.arguments_json) == {**REFUND, **EDIT}
    assert (await town.installation.state(successor, State.CONSUMED)).status.consumed_digest == answer.verdict.digest


async def test_D2_an_approval_that_no_call_takes_lapses_and_releases_nothing(town: Town) -> None:
    """D2: after releaseWindow it has ended, whoever leads; the same call then waits for people again."""
    await town.policy(reviewers=["leads"])
    operator = town.installation.operator("a")
    operator.settings.write_text("releaseWindow: 3s\n")
    await (await operator.start()).ready()
    sidecar = await town.installation.sidecar(operator)
    await held(sidecar, "toolu_1")
    (request,) = await town.installation.pending()
    await sidecar.end()  # the agent is gone with all that it waited for
    await town.approve(ANA, request)
    ended = await town.installation.state(request, State.EXPIRED)
    assert ended.status.conditions[-1].reason == "ReleaseWindow"
    assert ended.status.consumed_time is None
    again = await town.installation.sidecar(operator)
    await held(again, "toolu_1")
    (other,) = await town.installation.pending()
    assert other.uid != request.uid


async def test_D1_a_digest_is_of_its_namespace_and_its_key_is_in_nothing_that_others_read(
    town: Town, control_plane: ControlPlane, admin: KubeAPI
) -> None:
    """D1: the same call has another digest in another namespace; no object, Event, page or log shows root or key."""
    await town.policy(reviewers=["leads"])
    installation = town.installation
    elsewhere = installation.folder / "elsewhere"
    elsewhere.mkdir()
    other = Town(Installation(_elsewhere(installation.pods), elsewhere))
    other.installation.ca = installation.ca
    await other.installation.pods.account()
    await other.policy(reviewers=["leads"])
    (operator,) = await installation.replicas("a")
    try:
        for each in (town, other):
            await held(await each.installation.sidecar(operator), "toolu_1")
        ((one,), (two,)) = [await each.installation.pending() for each in (town, other)]
        assert one.spec.digest != two.spec.digest
        secret = await admin.get(path_of("v1", "secrets", DEFAULT.namespace, KEY))
        ring = Keyring(base64.b64decode(secret["data"]["root"]), int(base64.b64decode(secret["data"]["epoch"])))
        uids = [(await admin.get(path_of("v1", "namespaces", name=each.namespace)))["metadata"]["uid"]
                for each in (town, other)]  # fmt: skip
        keys = [base64.b64decode(secret["data"]["root"]), *(key.key for uid in uids for key in ring.keys_of(uid))]
        shown = await asyncio.to_thread(_everything, control_plane)
        shown += (await operator.get("/metrics"))[1]
        files = [operator.log, *(s.log for each in (town, other) for s in each.installation.sidecars)]
        shown += "".join(file.read_text() for file in files)
    finally:
        await other.installation.close()
        await asyncio.to_thread(control_plane.kubectl, "delete", "agentpolicy", "--all", "-n", other.namespace)
    assert one.spec.digest in shown
    for key in keys:
        for text in (key.hex(), base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode().rstrip("=")):
            assert text not in shown


def _elsewhere(pods: Pods) -> Pods:
    return Pods(pods.plane, a_namespace(pods.plane), pods.admin, pods.node)


def _everything(plane: ControlPlane) -> str:
    """What anybody but the operator and an administrator of Secrets could read."""
    kinds = "approvalrequests,agentpolicies,clusteragentpolicies,toolservers,configmaps,events,leases,pods,namespaces"
    done = plane.kubectl("get", kinds, "-A", "-o", "json", "--show-managed-fields")
    assert done.returncode == 0, done.stderr
    return done.stdout
