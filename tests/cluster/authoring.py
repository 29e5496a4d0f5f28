"""People who write policies on a real API server: authors, who may not relax, and relaxers, who may."""

import time
from collections.abc import Mapping
from typing import Any

from control_plane.installing import ACTING, applied
from control_plane.running import ControlPlane
from hitl.kube.access import Access

AUTHOR, RELAXER = "bo", "ana"


def a_policy(spec: Mapping[str, Any], name: str = "p", kind: str = "AgentPolicy") -> dict[str, Any]:
    """A manifest; the namespace is that of the path it is sent to."""
    return {"apiVersion": "hitl.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


def authors_of(plane: ControlPlane, namespace: str) -> None:
    """Bind the shipped roles: AUTHOR writes policies in the namespace, RELAXER writes and relaxes them there.

    Returns when the API server goes by the bindings, which it does a moment after they were stored.
    """
    applied(
        plane,
        _binding(namespace, "author", "hitl-policy-author", AUTHOR, RELAXER),
        _binding(namespace, "relaxer", "hitl-policy-relaxer", RELAXER),
    )
    until = time.monotonic() + ACTING
    for user, verb in ((AUTHOR, "create"), (RELAXER, "create"), (RELAXER, "relax")):
        wish = ("auth", "can-i", verb, "agentpolicies.hitl.dev", "-n", namespace, f"--as={user}")
        while (said := plane.kubectl(*wish)).stdout.strip() != "yes":
            assert time.monotonic() < until, f"{user} may not {verb}: {said.stdout}{said.stderr}"


def access_of(plane: ControlPlane, user: str) -> Access:
    """How a user with a certificate, in no group, reaches the API server."""
    return Access.from_kubeconfig(plane.kubeconfig(user))


def _binding(namespace: str, name: str, role: str, *users: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user} for user in users],
    }
