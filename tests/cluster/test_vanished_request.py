"""A request that is deleted while a call waits on it (SECURITY C3)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cluster.gated_pods import Pods, let_nodes_make_tokens, node_access, until
from cluster.operators import Installation
from control_plane.running import ControlPlane
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT
from hitl.stores.kubernetes import KubernetesStore

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def installation(
    tmp_path: Path, control_plane: ControlPlane, namespace: str, admin: KubeAPI, as_user: Callable[..., Access]
) -> AsyncIterator[Installation]:
    """A gated namespace with ana's policy; no replica yet."""
    let_nodes_make_tokens(control_plane)
    async with KubeAPI.open(node_access(as_user)) as node:
        pods = Pods(control_plane, namespace, admin, node)
        await pods.account()
        installation = Installation(pods, tmp_path)
        await installation.people()
        yield installation
        await installation.close()


async def test_C3_a_request_that_vanished_ends_its_hold_at_once_and_is_not_made_again(
    installation: Installation, as_user: Callable[..., Access], admin: KubeAPI
) -> None:
    """C3: the caller hears CANCELLED as soon as it is gone; only a new call makes a new request."""
    (operator,) = await installation.replicas("a")
    sidecar = await installation.sidecar(operator)
    waiting = asyncio.create_task(sidecar.insist("toolu_1"))
    (request,) = await installation.pending()
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{DEFAULT.namespace}")
    async with KubernetesStore.open(as_user(DEFAULT.operator, groups)) as store:
        await store.delete(request)
    async with asyncio.timeout(60):  # its own expiry is 15 minutes away
        assert await waiting == "CANCELLED"
    assert await installation.store.list(installation.pods.namespace) == []
    assert sidecar.ran == []
    assert await sidecar.check("toolu_2", wait=False) == "PENDING"
    (other,) = await installation.pending()
    assert other.uid != request.uid


async def test_C6_a_policy_that_does_not_compile_is_told_by_an_event(
    installation: Installation, admin: KubeAPI
) -> None:
    """C6: its author sees in `kubectl get events` what is wrong, on the policy itself."""
    await installation.replicas("a")
    policies = path_of("hitl.dev/v1alpha1", "agentpolicies", installation.pods.namespace)
    typo = {"rules": [{"action": "Deny", "tools": ["delete_*"], "cel": "args.amount > budget"}]}
    await admin.create(policies, {"apiVersion": "hitl.dev/v1alpha1", "kind": "AgentPolicy",
                                  "metadata": {"name": "typo"}, "spec": typo})  # fmt: skip

    async def told() -> list[str]:
        events = admin.list(path_of("v1", "events", installation.pods.namespace))
        return [
            e["message"] async for e in events if e["involvedObject"]["name"] == "typo" and e["reason"] == "Invalid"
        ]

    try:
        (message,) = await until(told)
    finally:  # replicas of other tests count the policies of all namespaces
        await admin.delete(f"{policies}/typo")
    assert message.startswith("spec.rules[0].cel: ")
