"""Which workload a pod belongs to, in kubectl's form (SECURITY B4): limits and handles outlive a single pod."""

from collections.abc import Mapping
from typing import Any, Final

_HASH: Final = "pod-template-hash"
_SHORT: Final = {
    ("apps", "ReplicaSet"): "rs",
    ("apps", "StatefulSet"): "sts",
    ("apps", "DaemonSet"): "ds",
    ("batch", "Job"): "job",
    ("", "ReplicationController"): "rc",
}
_LONGEST: Final = 253  # characters that a request stores of it


def workload_of(metadata: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """``deploy/NAME``, ``sts/NAME``, ``ds/NAME``, ``job/NAME``, …, or ``pod/NAME`` for a pod that nobody controls.

    A Deployment is known by its ReplicaSet, whose name is the Deployment's with the hash that the pod carries as a
    label. Controllers of other kinds go by the kind's name in lower case.

    Args:
        metadata: of the pod.
        labels: in which the hash is looked for.
    """
    owner = next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), None)
    if owner is None:
        return f"pod/{metadata['name']}"[:_LONGEST]
    kind, name = str(owner.get("kind", "")), str(owner.get("name", ""))
    group, slash, _ = str(owner.get("apiVersion", "")).partition("/")
    short = _SHORT.get((group if slash else "", kind), kind.lower())
    ending = f"-{labels[_HASH]}" if labels.get(_HASH) else ""
    if short == "rs" and ending and name.endswith(ending) and name != ending:
        return f"deploy/{name.removesuffix(ending)}"[:_LONGEST]
    return f"{short}/{name}"[:_LONGEST]
