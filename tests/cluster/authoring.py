"""People who write policies on a real API server: authors, who may not relax, and relaxers, who may."""

import time
from collections.abc import Mapping
from typing import Any

from control_plane.installing import ACTING, applied
from control_plane.running import ControlPlane
from hitl.kube.access import Access

AUTHOR, RELAXER = "bo", "ana"
BASELINE_AUTHOR, BASELINE_RELAXER = "cleo", "dora"
"""The same for what holds in every namespace."""


def a_policy(spec: Mapping[str, Any], name: str = "p", kind: str = "AgentPolicy") -> dict[str, Any]:
    """A manifest; the namespace is that of the path it is sent to."""
    return {"apiVersion": "hitl.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


def authors_of(plane: ControlPlane, namespace: str) -> None:
    """Bind the shipped roles: AUTHOR writes policies in the namespace, RELAXER writes and relaxes them there.

    Returns when the API server goes by the bindings, which it does a moment after they were stored.
    """
    applied(
        plane,
        binding(namespace, "author", "hitl-policy-author", AUTHOR, RELAXER),
        binding(namespace, "relaxer", "hitl-policy-relaxer", RELAXER),
    )
    for user, verb in ((AUTHOR, "create"), (RELAXER, "create"), (RELAXER, "relax")):
        until_allowed(plane, user, verb, "agentpolicies.hitl.dev", "-n", namespace)


def baseline_authors(plane: ControlPlane) -> None:
    """BASELINE_AUTHOR writes ClusterAgentPolicies, which no shipped role does; BASELINE_RELAXER may relax as well.

    Returns when the API server goes by the bindings.
    """
    name = "test-baseline-author"
    verbs = ["get", "list", "watch", "create", "update", "patch", "delete"]
    rule = {"apiGroups": ["hitl.dev"], "resources": ["clusteragentpolicies"], "verbs": verbs}
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    applied(
        plane,
        kind | {"metadata": {"name": name}, "rules": [rule]},
        binding("", name, name, BASELINE_AUTHOR, BASELINE_RELAXER),
        binding("", "test-baseline-relaxer", "hitl-policy-relaxer", BASELINE_RELAXER),
    )
    until_allowed(plane, BASELINE_AUTHOR, "create", "clusteragentpolicies.hitl.dev")
    until_allowed(plane, BASELINE_RELAXER, "create", "clusteragentpolicies.hitl.dev")
    until_allowed(plane, BASELINE_RELAXER, "relax", "agentpolicies.hitl.dev", "-A")


def access_of(plane: ControlPlane, user: str) -> Access:
    """How a user with a certificate, in no group, reaches the API server."""
    return Access.from_kubeconfig(plane.kubeconfig(user))


def until_allowed(plane: ControlPlane, user: str, *wish: str) -> None:
    until = time.monotonic() + ACTING
    while (said := plane.kubectl("auth", "can-i", *wish, f"--as={user}")).stdout.strip() != "yes":
        assert time.monotonic() < until, f"{user} may not {' '.join(wish)}: {said.stdout}{said.stderr}"


def binding(namespace: str, name: str, role: str, *users: str) -> dict[str, Any]:
    """In one namespace; in the whole cluster where none is named."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user} for user in users],
    }
