"""A real API server for the tests that ask for one: `control_plane`, `namespace`, `admin`, `as_user`.

One control plane per test process, started when the first test asks. It carries the CRDs, admission policies and
roles that the product ships, and they act before the first test sees it. Where the programs cannot be had, a test
that asks for them fails and says why; it is never skipped.
"""

import itertools
import json
import shutil
import subprocess
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from control_plane.running import ControlPlane
from hitl.kube import shipped
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI

NEEDS_A_CLUSTER = {"control_plane", "full_control_plane"}
ACTING = 60.0  # seconds within which an API server must have taken up a policy; it takes 1 to 4
SHARES = 4  # of the cluster tier's files; each may cost a control plane of 320 MB
COUNTER = itertools.count(1)

# The last policy to be created, so that all before it act when this one does; it refuses one name only.
SENTINEL = "hitl-test-sentinel"
SENTINEL_POLICY: dict[str, Any] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": SENTINEL},
    "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
            ]
        },
        "matchConditions": [{"name": "the-sentinel", "expression": f"object.metadata.name == '{SENTINEL}'"}],
        "validations": [{"expression": "false", "message": "policies act"}],
    },
}
SENTINEL_BINDING: dict[str, Any] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": SENTINEL},
    "spec": {"policyName": SENTINEL, "validationActions": ["Deny"]},
}
SENTINEL_OBJECT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SENTINEL, "namespace": "default"}}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cluster tier and, under `--dist loadgroup`, keep it on few workers, whatever the number of cores."""
    for item in items:
        uses = NEEDS_A_CLUSTER & set(getattr(item, "fixturenames", ()))
        if uses:
            item.add_marker(pytest.mark.cluster)
            share = "full" if "full_control_plane" in uses else zlib.crc32(item.path.name.encode()) % SHARES
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
    async with KubeAPI.open(Access.from_kubeconfig(control_plane.admin)) as api:
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


def applied(plane: ControlPlane, *objects: Mapping[str, Any]) -> None:
    """Apply `objects` server-side as the administrator."""
    text = "\n---\n".join(json.dumps(one) for one in objects)
    done = plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr


def install(plane: ControlPlane) -> None:
    """Install what the product ships and return when the API server acts on all of it."""
    crds = shipped.crds()
    applied(plane, *shipped.home(), *shipped.roles(), *crds)
    if crds:
        established = [f"crd/{crd['metadata']['name']}" for crd in crds]
        _kubectl(plane, "wait", "--for=condition=Established", *established, f"--timeout={ACTING:.0f}s")
    applied(plane, *shipped.admission(), SENTINEL_POLICY)
    until_policies_act(plane)


def until_policies_act(plane: ControlPlane) -> None:
    """Return when every admission policy that stands now is acted upon."""
    applied(plane, SENTINEL_POLICY, SENTINEL_BINDING)
    until = time.monotonic() + ACTING
    while True:
        tried = plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(SENTINEL_OBJECT))
        if tried.returncode != 0 and "policies act" in tried.stderr:
            break
        assert time.monotonic() < until, f"no policy acts after {ACTING:.0f} s: {tried.stdout}{tried.stderr}"
    _kubectl(plane, "delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", SENTINEL)


def _running(folder: Path, *, controller_manager: bool) -> Iterator[ControlPlane]:
    with ControlPlane.start(folder, controller_manager=controller_manager) as plane:
        install(plane)
        yield plane
    shutil.rmtree(folder / "etcd", ignore_errors=True)  # etcd keeps 64 MB ahead of what it needs


def _kubectl(plane: ControlPlane, *args: str) -> subprocess.CompletedProcess[str]:
    done = plane.kubectl(*args, timeout=ACTING + 10)
    assert done.returncode == 0, done.stderr
    return done
