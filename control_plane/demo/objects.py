"""What the demonstration puts into the cluster, as values: a gated namespace, an agent's Deployment, people's roles."""

import json
from typing import Any

NAMESPACE = "shop"
AGENT = "shop-agent"
NODE = "node-1"
OPERATOR_NAMESPACE = "hitl-system"
OPERATOR = "hitl-operator"
HUB_NAME = "hitl-operator.hitl-system.svc"

# Who they are, what groups their login gives them, which shipped ClusterRole they hold in the namespace.
PEOPLE = {
    "ana@example.com": (("support",), "hitl-reviewer"),
    "bo@example.com": (("support", "managers"), "hitl-senior-reviewer"),
    "jun@example.com": (("juniors",), "hitl-reviewer"),
    "pat@example.com": (("platform",), "hitl-policy-author"),
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
    """One RoleBinding for each of PEOPLE."""
    return [
        {
            **_object("rbac.authorization.k8s.io/v1", "RoleBinding", person.partition("@")[0], namespace=NAMESPACE),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": person}],
        }
        for person, (_, role) in PEOPLE.items()
    ]


def _object(version: str, kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}}
