"""Rights like the operator's, but for something."""

from typing import Any

from hitl.kube.shipped import roles


def rights_without(user: str, resource: str) -> list[dict[str, Any]]:
    """The operator's rights for another user, but for one resource of its ClusterRole."""
    found = []
    for role in roles():
        name = role["metadata"]["name"]
        if role["kind"] in ("ClusterRole", "Role") and name == "hitl-operator":
            rules = [
                {**rule, "resources": [each for each in rule["resources"] if each != resource]}
                for rule in role["rules"]
                if "resources" in rule
            ]
            rules = [rule for rule in rules if rule["resources"]]
            metadata = {**role["metadata"], "name": f"test-without-{resource}"}
            found.append({**role, "metadata": metadata, "rules": rules})
            found.append(bound(role["kind"], metadata, f"test-without-{resource}", user))
    return found


def bound(kind: str, metadata: dict[str, Any], role: str, user: str) -> dict[str, Any]:
    """A binding of a role to one user."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
