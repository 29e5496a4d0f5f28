"""Fixtures of the cluster tier beside the control planes themselves."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster.voting import PATIENCE, Court, a_court
from control_plane.installing import install, install_backstop
from control_plane.running import ControlPlane

if TYPE_CHECKING:
    from cluster.backstop import Ground
    from cluster.gated_pods import Pods
    from cluster.operators import Installation
    from cluster.policy_replicas import Author, Replicas
    from hitl.kube.access import Access
    from hitl.kube.api import KubeAPI


@pytest.fixture(scope="session")
def court(control_plane: ControlPlane) -> Court:
    """A namespace with reviewers, an editor, an agent and an administrator; tests make requests of their own in it."""
    return a_court(control_plane)


@pytest.fixture(scope="session")
def guarded_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server of its own, with controllers, on which the backstop acts: it refuses pods that are made up."""
    from cluster.backstop import AUTHORITY, IMAGE, OLDER_IMAGE
    from hitl_operator.injection.installation import args

    folder = tmp_path_factory.mktemp("guarded-plane")
    with ControlPlane.start(folder, controller_manager=True) as plane:
        install(plane)
        install_backstop(plane, [IMAGE, OLDER_IMAGE], args(), AUTHORITY)
        yield plane
    shutil.rmtree(folder / "etcd", ignore_errors=True)


@pytest.fixture(scope="session")
def ground(guarded_plane: ControlPlane) -> "Ground":
    """A gated namespace with an editor, on that server."""
    from cluster.backstop import a_ground

    return a_ground(guarded_plane)


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
    async with KubeAPI.open(node_access(as_user), deadline=PATIENCE) as node:
        pods = Pods(control_plane, namespace, admin, node)
        await pods.account()
        yield pods


@pytest.fixture
async def installation(pods: "Pods", tmp_path: Path) -> "AsyncIterator[Installation]":
    """Replicas as processes for that namespace: none yet, and no policy; they end with the test."""
    from cluster.operators import Installation

    installation = Installation(pods, tmp_path)
    yield installation
    await installation.close()


@pytest.fixture
async def peopled(installation: "Installation") -> "Installation":
    """The same with ana, who may decide, and her policy."""
    await installation.people()
    return installation


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
