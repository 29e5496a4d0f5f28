"""A gated namespace on an API server with everything that is shipped, and the people who try to get around it."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

import orjson
import pytest

from cluster_fixtures import a_namespace
from control_plane.installing import ACTING, applied
from control_plane.running import ControlPlane
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.marks import GATED, STAMPED
from hitl.kube.paths import path_of
from hitl_operator.injection.installation import Installation
from hitl_operator.injection.patching import Injected, inject

Json = dict[str, Any]
Change = Callable[[Json], None]

IMAGE: Final = "registry.example.com/hitl-sidecar:1.0"
OLDER_IMAGE: Final = "registry.example.com/hitl-sidecar:0.9"
AUTHORITY: Final = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
EDITOR: Final = "edi@example.com"
"""Bound to Kubernetes' own role edit in the namespace, and to what debuggers, kubelets and schedulers do beside it."""
WILD: Final = "kube-system"
"""Where none of it holds, so that an attack can be seen to work without it."""
PATIENCE: Final = 120.0  # seconds for one answer, on a machine that others want as well

_SERIAL = iter(range(1, 1_000_000))


def a_name() -> str:
    """Of one more pod."""
    return f"support-{next(_SERIAL)}"


@dataclass(frozen=True, slots=True)
class Ground:
    """A gated namespace, an editor of it, and an API server on which the backstop acts."""

    plane: ControlPlane
    namespace: str

    def editor(self) -> AbstractAsyncContextManager[KubeAPI]:
        """A client with the editor's login."""
        return KubeAPI.open(Access.from_kubeconfig(self.plane.kubeconfig(EDITOR)), deadline=PATIENCE)

    def admin(self) -> AbstractAsyncContextManager[KubeAPI]:
        """A client in system:masters."""
        return KubeAPI.open(Access.from_kubeconfig(self.plane.admin), deadline=PATIENCE)

    def pods(self, name: str | None = None, part: str | None = None, *, wild: bool = False) -> str:
        """Path of the namespace's pods, of one, or of a part of it; `wild`: of those that nothing guards."""
        return path_of("v1", "pods", WILD if wild else self.namespace, name, part)


def a_ground(plane: ControlPlane) -> Ground:
    """A gated namespace; returns when the editor may write there."""
    ground = Ground(plane, a_namespace(plane))
    let_edit(plane, ground.namespace)
    return ground


def let_edit(plane: ControlPlane, namespace: str) -> None:
    """Bind the editor in a namespace; returns when that is gone by, and when pods can be made there and in WILD."""
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    debugging = {
        "apiGroups": [""],
        "resources": ["pods/ephemeralcontainers", "pods/status", "pods/resize"],
        "verbs": ["patch", "update"],
    }
    binding = {"apiGroups": [""], "resources": ["pods/binding", "bindings"], "verbs": ["create"]}
    name = "hitl-test-debugging"
    applied(plane, kind | {"kind": "ClusterRole", "metadata": {"name": name}, "rules": [debugging, binding]})
    for role in ("edit", name):
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": EDITOR}
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        metadata = {"name": f"edi-{role}", "namespace": namespace}
        applied(plane, kind | {"kind": "RoleBinding", "metadata": metadata, "roleRef": ref, "subjects": [subject]})
    until = time.monotonic() + ACTING
    wishes = (("create", "pods", "-n", namespace), ("patch", "pods/status", "-n", namespace))
    for wish in wishes:
        while plane.kubectl("auth", "can-i", *wish, f"--as={EDITOR}").stdout.strip() != "yes":
            assert time.monotonic() < until, f"{EDITOR} may not {' '.join(wish)}"
    for place in (namespace, WILD):  # attacks are tried there as well
        while plane.kubectl("get", "serviceaccount", "default", "-n", place).returncode:
            assert time.monotonic() < until, f"no ServiceAccount default in {place}"


def plain_pod(name: str, *changes: Change) -> Json:
    """A pod as people write it."""
    pod: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "support"}},
        "spec": {
            "containers": [{"name": "agent", "image": "agent:1"}],
            "schedulerName": "nobody",
        },
    }
    return _changed(pod, changes)


def gated_pod(name: str, *changes: Change, image: str = IMAGE, authority: str = AUTHORITY) -> Json:
    """The same as injection leaves it, then changed by somebody else."""
    done = inject(plain_pod(name), installation=Installation(image), ca=authority, may_opt_out=False)
    assert isinstance(done, Injected), done
    return _changed(done.pod, changes)


def opting_out(pod: Json) -> None:
    """With the label that asks to stay outside of the gate."""
    pod["metadata"]["labels"]["hitl.dev/inject"] = "false"


def agent(pod: Json) -> Json:
    """The container beside the sidecar."""
    found: Json = pod["spec"]["containers"][0]
    return found


def sidecar(pod: Json) -> Json:
    """The sidecar."""
    found: Json = pod["spec"]["initContainers"][0]
    return found


def volume(pod: Json, name: str) -> Json:
    """One of its volumes."""
    found: Json = next(each for each in pod["spec"]["volumes"] if each["name"] == name)
    return found


def stamped(pod: Json) -> None:
    """With the annotation that says which labels it has."""
    labels = {key: value for key, value in pod["metadata"].get("labels", {}).items() if key != GATED}
    pod["metadata"].setdefault("annotations", {})[STAMPED] = orjson.dumps(labels).decode()


async def refusal(call: Any) -> str:
    """What the API server says when it refuses; the test fails if it does not."""
    with pytest.raises(ApiError) as caught:
        await call
    assert caught.value.status == 403, caught.value
    return caught.value.message


async def until_made(api: KubeAPI, path: str, pod: Mapping[str, Any]) -> None:
    """Return when a pod that is as it should be could be made, which takes a moment after hitl-pods was changed."""
    until = time.monotonic() + ACTING
    while True:
        try:
            await api.create(path, pod, dry_run=True)
        except ApiError:
            if time.monotonic() > until:
                raise
        else:
            return


def _changed(pod: Json, changes: Sequence[Change]) -> Json:
    pod = copy.deepcopy(pod)
    for change in changes:
        change(pod)
    return pod
