"""Which workload a pod belongs to, in kubectl's form (SECURITY B4): limits and handles outlive a single pod.

An owner reference is the word of whoever made the pod, and every pod shows its own to be copied, uid and all; looking
its owner up would prove nothing. Who may make pods in a namespace is therefore any workload of it. What this sees to
is that nothing else that somebody writes there, under a kind of his own, is taken for a workload.
"""

import re
from collections.abc import Container, Mapping
from typing import Any, Final

_HASH: Final = "pod-template-hash"
_SHORT: Final = {
    ("apps", "ReplicaSet"): "rs",
    ("apps", "StatefulSet"): "sts",
    ("apps", "DaemonSet"): "ds",
    ("batch", "Job"): "job",
    ("", "ReplicationController"): "rc",
}
# As the Deployment controller writes them, so without a dash: which part of a ReplicaSet's name it is, is not a matter
# of what a label says.
_HASHES: Final = re.compile(r"[bcdfghjklmnpqrstvwxz2456789]{1,10}")
_PLAIN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_LONGEST: Final = 253  # characters that a request stores of it


def workload_of(metadata: Mapping[str, Any], *labels: Mapping[str, str]) -> str:
    """``deploy/NAME``, ``sts/NAME``, ``ds/NAME``, ``job/NAME``, …, or ``pod/NAME`` for a pod that nobody controls.

    A Deployment is known by its ReplicaSet, whose name is the Deployment's with the hash that the pod carries as a
    label. Controllers of other kinds go by kind and group, ``workflow.argoproj.io/NAME``; the short names are for none
    of them. An owner whose kind or name Kubernetes would not have let be is none.

    Args:
        metadata: of the pod.
        labels: in any of which the hash is looked for.
    """
    pod = f"pod/{metadata['name']}"
    owner = next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), None)
    hashes = {each[_HASH] for each in labels if _HASH in each}
    return (_of_owner(owner, hashes) or pod if owner else pod)[:_LONGEST]


def _of_owner(owner: Mapping[str, Any], hashes: Container[str]) -> str:
    """Empty where the owner's kind or name cannot be one."""
    version, kind, name = (str(owner.get(key, "")) for key in ("apiVersion", "kind", "name"))
    group = version.rpartition("/")[0]
    if not all(_PLAIN.fullmatch(text) for text in (group or "core", kind, name)) or "." in kind:
        return ""
    short = _SHORT.get((group, kind))
    if short is None:
        return f"{kind}.{group or 'core'}".lower() + f"/{name}"
    stem, dash, ending = name.rpartition("-")
    if short == "rs" and dash and stem and ending in hashes and _HASHES.fullmatch(ending):
        return f"deploy/{stem}"
    return f"{short}/{name}"
