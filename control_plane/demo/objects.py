"""What the demonstration puts into the cluster, as values: a gated namespace, an agent's Deployment, people's roles."""

import json
from typing import Any

NAMESPACE = "shop"
AGENT = "shop-agent"
NODE = "node-1"
OPERATOR_NAMESPACE = "hitl-system"
OPERATOR = "hitl-operator"
HUB_NAME = "hitl-operator.hitl-system.svc"

# Who they are, and what groups their login gives them.
PEOPLE = {
    "ana@example.com": ("support",),
    "bo@example.com": ("support", "managers"),
    "jun@example.com": ("juniors",),
    "pat@example.com": ("platform",),
}
# Which shipped ClusterRole a group holds in the namespace. The policy's people are asked about both tiers.
ROLES = {
    "support": "hitl-senior-reviewer",
    "managers": "hitl-senior-reviewer",
    "juniors": "hitl-reviewer",
    "platform": "hitl-policy-author",
}


def agent_objects(pods: int) -> list[dict[str, Any]]:
    """The namespace, the node, and a Deployment whose pods look as injection leaves them."""
    labels = {"app": AGENT}
    template = {
        "metadata": {
            "labels": {**labels, "hitl.dev/gated": "true"},
            "annotations": {"hitl.dev/labels": json.dumps(labels)},
        },
        "spec": {
            "serviceAccountName": AGENT,
            "automountServiceAccountToken": False,
            "nodeName": NODE,
            "initContainers": [{"name": "hitl-sidecar", "image": "hitl.invalid/sidecar", "restartPolicy": "Always"}],
            "containers": [{"name": "agent", "image": "hitl.invalid/shop-agent"}],
        },
    }
    return [
        _object("v1", "Namespace", NAMESPACE, labels={"hitl.dev/injection": "enabled"}),
        _object("v1", "Node", NODE),
        _object("v1", "ServiceAccount", AGENT, namespace=NAMESPACE),
        {
            **_object("apps/v1", "Deployment", AGENT, namespace=NAMESPACE),
            "spec": {"replicas": pods, "selector": {"matchLabels": labels}, "template": template},
        },
    ]


def people_objects() -> list[dict[str, Any]]:
    """One RoleBinding for each of ROLES."""
    return [
        {
            **_object("rbac.authorization.k8s.io/v1", "RoleBinding", group, namespace=NAMESPACE),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        }
        for group, role in ROLES.items()
    ]


def _object(version: str, kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}}
