"""Who is bound by name: people of whom nobody but their login knows what groups they are in."""

from collections.abc import Mapping
from typing import Any, Final

from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of

_RBAC: Final = "rbac.authorization.k8s.io/v1"
# Whoever may do everything is no reviewer by that.
_EVERYTHING: Final = "cluster-admin"
# Names of the control plane's own parts.
_SYSTEM: Final = "system:"


async def named_people(api: KubeAPI, namespace: str) -> list[str]:
    """User names in the bindings that count in a namespace, sorted. Raises as `KubeAPI`."""
    found: set[str] = set()
    for path in (path_of(_RBAC, "rolebindings", namespace), path_of(_RBAC, "clusterrolebindings")):
        async for binding in api.list(path):
            found |= _named(binding)
    return sorted(found)


def _named(binding: Mapping[str, Any]) -> set[str]:
    if binding["roleRef"]["name"] == _EVERYTHING:
        return set()
    users = (str(each["name"]) for each in binding.get("subjects") or () if each.get("kind") == "User")
    return {user for user in users if not user.startswith(_SYSTEM)}
