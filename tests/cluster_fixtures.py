"""A real API server for the tests that ask for one: `control_plane`, `namespace`, `admin`, `as_user`.

One control plane per test process, started when the first test asks. It carries the CRDs, admission policies and
roles that the product ships, and they act before the first test sees it. Where the programs cannot be had, a test
that asks for them fails and says why; it is never skipped.
"""

import itertools
import shutil
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from control_plane.installing import applied, install
from control_plane.running import ControlPlane
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI

NEEDS_A_CLUSTER = {"control_plane", "full_control_plane", "guarded_plane"}
SHARES = 4  # of the cluster tier's files; each may cost a control plane of 320 MB
COUNTER = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cluster tier and, under `--dist loadgroup`, keep it on few workers, whatever the number of cores."""
    for item in items:
        uses = NEEDS_A_CLUSTER & set(getattr(item, "fixturenames", ()))
        if uses:
            item.add_marker(pytest.mark.cluster)
            share = "full" if uses - {"control_plane"} else zlib.crc32(item.path.name.encode()) % SHARES
            item.add_marker(pytest.mark.xdist_group(f"cluster-{share}"))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with etcd and what the product ships; ServiceAccount admission off, no controllers."""
    yield from _running(tmp_path_factory.mktemp("control-plane"), controller_manager=False)


@pytest.fixture(scope="session")
def full_control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The same with kube-controller-manager and ServiceAccount admission, for tokens, owners and namespaces' ends."""
    yield from _running(tmp_path_factory.mktemp("full-control-plane"), controller_manager=True)


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """A fresh namespace whose pods are to be gated."""
    return a_namespace(control_plane)


@pytest.fixture
async def admin(control_plane: ControlPlane) -> AsyncIterator[KubeAPI]:
    """An open KubeAPI of a user in system:masters."""
    async with KubeAPI.open(Access.from_kubeconfig(control_plane.admin), deadline=30) as api:
        yield api


@pytest.fixture
def as_user(control_plane: ControlPlane) -> Callable[..., Access]:
    """`as_user(name, groups=(), extra=None) -> Access`: how that user reaches the API server."""

    def access(name: str, groups: Sequence[str] = (), extra: Mapping[str, Sequence[str]] | None = None) -> Access:
        return Access.from_kubeconfig(control_plane.kubeconfig(name, groups, extra=extra))

    return access


def a_namespace(plane: ControlPlane, *, gated: bool = True) -> str:
    """Create a namespace with a name of its own; `gated` labels it for injection."""
    name = f"team-{next(COUNTER)}"
    labels = {"hitl.dev/injection": "enabled"} if gated else {}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    applied(plane, body)
    return name


def _running(folder: Path, *, controller_manager: bool) -> Iterator[ControlPlane]:
    with ControlPlane.start(folder, controller_manager=controller_manager) as plane:
        install(plane)
        yield plane
    shutil.rmtree(folder / "etcd", ignore_errors=True)  # etcd keeps 64 MB ahead of what it needs
