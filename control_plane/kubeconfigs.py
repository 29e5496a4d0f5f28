"""Kubeconfigs, as text: one cluster, one user, who may speak as somebody else."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from control_plane.certificates import Pair


def kubeconfig_of(
    url: str,
    authority: bytes,
    user: Mapping[str, Any],
    *,
    namespace: str = "default",
) -> str:
    """A kubeconfig for the API server at `url`, whose certificate `authority` (PEM) signed. JSON, which is YAML too."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "local", "cluster": {"server": url, "certificate-authority-data": _encoded(authority)}}
            ],
            "users": [{"name": "local", "user": dict(user)}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local", "namespace": namespace}}],
            "current-context": "local",
        },
        indent=1,
    )


def by_certificate(pair: Pair) -> dict[str, Any]:
    """A user that shows a client certificate."""
    return {"client-certificate-data": _encoded(pair.certificate), "client-key-data": _encoded(pair.key)}


def by_token(token: str) -> dict[str, Any]:
    """A user that shows a bearer token."""
    return {"token": token}


def impersonating(
    user: Mapping[str, Any], name: str, groups: Sequence[str], extra: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """`user` speaking as `name` in `groups`, with `extra` as the API server would have it from a login."""
    return {
        **user,
        "as": name,
        "as-groups": list(groups),
        "as-user-extra": {key: list(values) for key, values in extra.items()},
    }


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
