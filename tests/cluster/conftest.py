"""Fixtures of the cluster tier beside the control planes themselves."""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest

from cluster.voting import Court, a_court
from control_plane.running import ControlPlane

if TYPE_CHECKING:
    from cluster.gated_pods import Pods
    from cluster.policy_replicas import Author, Replicas
    from hitl.kube.access import Access
    from hitl.kube.api import KubeAPI


@pytest.fixture(scope="session")
def court(control_plane: ControlPlane) -> Court:
    """A namespace with reviewers, an editor, an agent and an administrator; tests make requests of their own in it."""
    return a_court(control_plane)


@pytest.fixture
async def operator_namespace(admin: "KubeAPI", namespace: str) -> str:
    """A namespace for what replicas keep, of this test alone."""
    from hitl.kube.paths import path_of

    name = f"{namespace}-operator"
    await admin.create(path_of("v1", "namespaces"), {"metadata": {"name": name}})
    return name


@pytest.fixture
async def pods(
    control_plane: ControlPlane, namespace: str, admin: "KubeAPI", as_user: "Callable[..., Access]"
) -> "AsyncIterator[Pods]":
    """A gated namespace with ServiceAccount support."""
    from cluster.gated_pods import Pods, let_nodes_make_tokens, node_access
    from hitl.kube.api import KubeAPI

    let_nodes_make_tokens(control_plane)
    async with KubeAPI.open(node_access(as_user)) as node:
        pods = Pods(control_plane, namespace, admin, node)
        await pods.account()
        yield pods


@pytest.fixture
async def replicas(control_plane: ControlPlane, operator_namespace: str) -> "AsyncIterator[Replicas]":
    """Replicas of the test; they end with it."""
    from cluster.policy_replicas import Replicas  # kopf costs half a second, and most tests here need none

    found = Replicas(control_plane, operator_namespace)
    yield found
    await found.close()


@pytest.fixture
async def author(control_plane: ControlPlane, namespace: str) -> "AsyncIterator[Author]":
    """Writes policies into the test's namespace, and leaves none behind that could concern other tests."""
    from cluster.policy_replicas import Author

    found = Author(control_plane, namespace)
    yield found
    await found.clear()
