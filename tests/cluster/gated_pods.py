"""Gated pods on a real API server, and tokens for them that are made as kubelets make them."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from control_plane.running import ControlPlane
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.marks import AUDIENCE, GATED
from hitl.kube.paths import path_of

EVER = 120.0  # seconds after which a test has failed; what it waits for takes minutes only where many share a machine
NODE = "node-1"
CONTAINER = {"name": "agent", "image": "agent:1"}
SIDECAR = {"name": "hitl-sidecar", "image": "hitl/gate:1", "restartPolicy": "Always"}


class Pods:
    """Pods of one namespace. `node` speaks as a kubelet, who alone may make tokens for the hub."""

    def __init__(self, plane: ControlPlane, namespace: str, admin: KubeAPI, node: KubeAPI) -> None:
        self.plane = plane
        self.namespace = namespace
        self.admin = admin
        self.node = node

    async def account(self, name: str = "support") -> None:
        """Make a ServiceAccount."""
        await self.admin.create(path_of("v1", "serviceaccounts", self.namespace), {"metadata": {"name": name}})

    async def create(
        self,
        name: str = "support-7d9f-abcde",
        *,
        account: str = "support",
        labels: Mapping[str, str] | None = None,
        owner: tuple[str, str, str] | None = ("apps/v1", "ReplicaSet", "support-7d9f"),
        init: Sequence[Mapping[str, Any]] = (SIDECAR,),
        annotations: Mapping[str, str] | None = None,
        gated: bool = True,
    ) -> dict[str, Any]:
        """Make a pod as injection would leave it, bound to a node; it never runs."""
        metadata: dict[str, Any] = {
            "name": name,
            "labels": {
                "app": "support",
                "pod-template-hash": "7d9f",
                **({GATED: "true"} if gated else {}),
                **(labels or {}),
            },
            "annotations": dict(annotations or {}),
        }
        if owner is not None:
            version, kind, owner_name = owner
            metadata["ownerReferences"] = [
                {
                    "apiVersion": version,
                    "kind": kind,
                    "name": owner_name,
                    "uid": f"uid-{owner_name}",
                    "controller": True,
                }
            ]
        spec = {
            "serviceAccountName": account,
            "nodeName": NODE,
            "initContainers": list(init),
            "containers": [CONTAINER],
        }
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        return await self.admin.create(path_of("v1", "pods", self.namespace), body)

    async def token(
        self,
        pod: Mapping[str, Any] | None,
        *,
        account: str = "support",
        audience: str = AUDIENCE,
        seconds: int = 3600,
        by: KubeAPI | None = None,
    ) -> str:
        """A token as a kubelet asks for it; `pod` None: bound to none."""
        spec: dict[str, Any] = {"audiences": [audience], "expirationSeconds": seconds}
        if pod is not None:
            metadata = pod["metadata"]
            spec["boundObjectRef"] = {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "uid": metadata["uid"],
            }
        path = path_of("v1", "serviceaccounts", self.namespace, account, "token")
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        made = await (by or self.node).create(path, body)
        return str(made["status"]["token"])

    async def kill(self, name: str) -> None:
        """Delete a pod as if its kubelet had confirmed it: at once."""
        await asyncio.to_thread(self._kubectl, "delete", "pod", name, "--force", "--grace-period=0", "--wait=false")

    async def end(self, name: str, seconds: int) -> None:
        """Delete a pod in order, with so many seconds of grace."""
        await asyncio.to_thread(self._kubectl, "delete", "pod", name, f"--grace-period={seconds}", "--wait=false")

    def _kubectl(self, *args: str) -> None:
        done = self.plane.kubectl("-n", self.namespace, *args)
        assert done.returncode == 0, done.stderr


def let_nodes_make_tokens(plane: ControlPlane) -> None:
    """What the node authorizer gives to kubelets, for a control plane that has RBAC alone."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "test-nodes"},
        "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "test-nodes"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "test-nodes"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}],
    }
    text = "\n---\n".join(json.dumps(each) for each in (role, binding))
    done = plane.kubectl("apply", "--server-side", "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr


def node_access(as_user: Callable[..., Access]) -> Access:
    """How the kubelet of `NODE` reaches the API server."""
    return as_user(f"system:node:{NODE}", ["system:nodes"])


async def until(look: Callable[[], Awaitable[Any] | Any], seconds: float = EVER) -> Any:
    """What `look` gives once it is something; the test fails if it never is."""
    async with asyncio.timeout(seconds):
        while True:
            found = look()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)
