"""Which pods cannot be gated, and why, in words for their authors.

Admission policy hitl-protected refuses all of these too, whatever becomes of injection (SECURITY E1).
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from hitl.kube.marks import CONTAINERS, SIDECAR, SIDECAR_USER, STAMPED
from hitl_operator.injection.installation import METRICS_PORT, RUN
from hitl_operator.injection.resources import ANNOTATIONS

_SHARED: Final = {
    "hostNetwork": "the gate's ports would be the node's",
    "hostPID": "other processes of the node could read the sidecar's memory",
    "hostIPC": "it would share memory with the node",
    "shareProcessNamespace": "the agent could reach into the sidecar's files and memory",
}
# What a runtime gives to root anyway; every other capability leads out of its container (policy hitl-protected).
_HARMLESS: Final = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
_MIRROR: Final = "kubernetes.io/config.mirror"
_DOMAIN: Final = "hitl.dev/"
_ANNOTATIONS: Final = frozenset({STAMPED, CONTAINERS, *ANNOTATIONS})
# In most images /var/run leads to /run.
_FOLDERS: Final = (RUN, f"/var{RUN}")


def reasons(metadata: Mapping[str, Any], spec: Mapping[str, Any], containers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why a pod cannot be gated: all that is wrong with it at once; empty where nothing is.

    Args:
        metadata: of the pod.
        spec: of the pod.
        containers: of the pod, init containers too, without what injection makes itself.
    """
    annotations = metadata.get("annotations") or {}
    return [
        *_of_pod(spec, annotations),
        *_of_annotations(annotations),
        *(reason for each in containers for reason in _of_container(each)),
    ]


def token_reasons(spec: Mapping[str, Any]) -> list[str]:
    """Volumes that would give a container a credential of the gate's (I11); they stand on no pod, gated or not."""
    return [
        f'volume "{volume.get("name")}" projects a token for audience {audience}, which is the sidecar\'s alone; '
        "remove that source"
        for volume in spec.get("volumes") or ()
        for source in (volume.get("projected") or {}).get("sources") or ()
        if (audience := str((source.get("serviceAccountToken") or {}).get("audience", ""))).startswith(_DOMAIN)
    ]


def _of_pod(spec: Mapping[str, Any], annotations: Mapping[str, str]) -> Iterator[str]:
    for field, meaning in _SHARED.items():
        if spec.get(field):
            yield f"spec.{field} is true, and {meaning}; leave it out"
    context = spec.get("securityContext") or {}
    groups = context.get("supplementalGroups") or ()
    for field, values in (
        *((field, (context.get(field),)) for field in ("runAsUser", "runAsGroup", "fsGroup")),
        ("supplementalGroups", groups),
    ):
        if SIDECAR_USER in values:
            yield f"spec.securityContext.{field} has {SIDECAR_USER}, which is {SIDECAR}'s alone; choose another"
    names = (spec.get("os") or {}).get("name"), (spec.get("nodeSelector") or {}).get("kubernetes.io/os")
    if "windows" in names:
        yield "it is a Windows pod, and the sidecar runs on Linux; run it in a namespace that is not gated"
    if _MIRROR in annotations:
        yield f"annotation {_MIRROR} says that it is a static pod, which no admission can change; make it a Deployment"
    for volume in spec.get("volumes") or ():
        if "hostPath" in volume:
            yield f'volume "{volume.get("name")}" is a hostPath, which leads to the sidecar\'s files; use another kind'


def _of_annotations(annotations: Mapping[str, str]) -> Iterator[str]:
    for key in sorted(annotations):
        if key.startswith(_DOMAIN) and key not in _ANNOTATIONS:
            known = ", ".join(sorted(_ANNOTATIONS - {STAMPED}))
            yield f"annotation {key} is not known; known here: {known}"


def _of_container(container: Mapping[str, Any]) -> Iterator[str]:
    name, context = container.get("name"), container.get("securityContext") or {}
    for field in ("runAsUser", "runAsGroup"):
        if context.get(field) == SIDECAR_USER:
            yield f'container "{name}" has {field} {SIDECAR_USER}, which is {SIDECAR}\'s alone; choose another'
    if context.get("privileged"):
        yield f'container "{name}" is privileged, and could reach into the sidecar; leave that out'
    if context.get("procMount", "Default") != "Default":
        yield f'container "{name}" has a procMount of its own; leave it out'
    added = (context.get("capabilities") or {}).get("add") or ()
    if reaching := [capability for capability in added if capability not in _HARMLESS]:
        yield (
            f'container "{name}" adds {", ".join(map(str, reaching))}, with which it could reach into the sidecar; '
            "leave that out"
        )
    for each in container.get("volumeMounts") or ():
        path = posixpath.normpath(str(each.get("mountPath", "")))
        if any(path == folder or path.startswith(f"{folder}/") for folder in _FOLDERS):
            yield (
                f'container "{name}" mounts volume "{each.get("name")}" at {path}, and the gate\'s socket comes '
                f"to {RUN}; mount it elsewhere"
            )
    for port in container.get("ports") or ():
        if port.get("containerPort") == METRICS_PORT and port.get("protocol", "TCP") == "TCP":
            yield f'container "{name}" has port {METRICS_PORT}, which is {SIDECAR}\'s in every gated pod; use another'
