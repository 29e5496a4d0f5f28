"""The container and the volumes that injection adds, and nothing of whoever wrote the pod goes into them."""

from collections.abc import Mapping
from typing import Any, Final

from hitl.kube.marks import AUDIENCE, SIDECAR, SIDECAR_USER
from hitl_operator.injection.installation import METRICS_PORT, RUN, STATE, TOKENS, Installation, args

RUN_VOLUME: Final = "hitl-run"
STATE_VOLUME: Final = "hitl-state"
TOKEN_VOLUME: Final = "hitl-token"  # noqa: S105 - a volume's name
NO_API_VOLUME: Final = "hitl-no-api"
VOLUMES: Final = frozenset({RUN_VOLUME, STATE_VOLUME, TOKEN_VOLUME, NO_API_VOLUME})

_TOKEN_SECONDS: Final = 3600  # kubelet renews it at four fifths of that
# Where ServiceAccount admission gives every container the API server's token, unless something is mounted there: an
# empty folder is, so that the sidecar has no right in the cluster, whoever else is asked, and in which order.
_API_TOKENS: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
# Seconds for which a sidecar may wait for its first config before it is started anew. Waiting is right while the hub is
# away; after ten minutes of it the kubelet's back-off begins from its shortest again, so starting anew costs little.
_UNTIL_CONFIG: Final = 600
_PROBE_WITHIN: Final = 5  # seconds; an answer takes a millisecond, on a node that starts hundreds of pods a second


def sidecar(
    installation: Installation, *, ca: str, resources: Mapping[str, Any], always_pull: bool = False
) -> dict[str, Any]:
    """The native sidecar: an init container that goes on running, so that a Job can complete without it.

    Args:
        installation: whose it is.
        ca: certificates that the hub's must lead to, PEM; no ConfigMap, because editors can write those.
        resources: as `resources_of`.
        always_pull: AlwaysPullImages wants it so; it adds that before injection is asked again, and checks it after.
    """
    return {
        "name": SIDECAR,
        "image": installation.image,
        **({"imagePullPolicy": "Always"} if always_pull else {}),
        "restartPolicy": "Always",
        "args": list(args(namespace=installation.namespace, service=installation.service)),
        "env": [_from_pod("HITL_POD_NAME", "metadata.name"), {"name": "HITL_HUB_CA_PEM", "value": ca}],
        "ports": [{"name": "hitl-metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        # True only once a config is in force: no other container starts before, so no call of theirs meets no policy.
        "startupProbe": {
            "httpGet": {"path": "/readyz", "port": METRICS_PORT},
            "periodSeconds": 1,
            "timeoutSeconds": _PROBE_WITHIN,
            "failureThreshold": _UNTIL_CONFIG,
        },
        "resources": dict(resources),
        "securityContext": {
            "runAsUser": SIDECAR_USER,
            "runAsGroup": SIDECAR_USER,
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",  # kubectl describe pod says why it ended
        "volumeMounts": [
            {"name": RUN_VOLUME, "mountPath": RUN},
            {"name": STATE_VOLUME, "mountPath": STATE},
            {"name": TOKEN_VOLUME, "mountPath": TOKENS, "readOnly": True},
            {"name": NO_API_VOLUME, "mountPath": _API_TOKENS, "readOnly": True},
        ],
    }


def volumes() -> list[dict[str, Any]]:
    """Socket, state, token, and nothing at all; the last three for the sidecar alone."""
    token = {"audience": AUDIENCE, "path": "token", "expirationSeconds": _TOKEN_SECONDS}
    return [
        {"name": RUN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": STATE_VOLUME, "emptyDir": {}},
        {"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": NO_API_VOLUME, "emptyDir": {}},
    ]


def mount() -> dict[str, Any]:
    """How every other container sees the socket: it can connect, and neither remove nor replace it (SECURITY E2)."""
    return {"name": RUN_VOLUME, "mountPath": RUN, "readOnly": True}


def environment() -> list[dict[str, Any]]:
    """What every other container is told: where the gate is, and which session it is in."""
    return [{"name": "HITL_GATE", "value": f"unix://{RUN}/gate.sock"}, _from_pod("HITL_SESSION", "metadata.uid")]


def _from_pod(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
