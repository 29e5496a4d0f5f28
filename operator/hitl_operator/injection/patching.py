"""Pod in, gated pod out: everything named hitl-* is dropped and made anew, and nothing else is touched (SECURITY E1).

It never skips because something is there. Whoever asks again, after another webhook added a container or with a pod
that carries somebody's own idea of a sidecar, gets what he would have got at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from hitl.kube.marks import CONTAINERS, GATED, INJECT, OPT_OUT, OWN_NAMES, SIDECAR, STAMPED
from hitl_operator.injection.installation import Installation
from hitl_operator.injection.refusals import reasons, token_reasons
from hitl_operator.injection.resources import resources_of
from hitl_operator.injection.sidecar import VOLUMES, environment, mount, sidecar, volumes

_ENVIRONMENT: Final = frozenset(each["name"] for each in environment())
# The lists of a pod in which injection drops or adds, and its labels and annotations.
_PLACES: Final = (
    ("metadata", "labels"),
    ("metadata", "annotations"),
    ("spec", "initContainers"),
    ("spec", "containers"),
    ("spec", "volumes"),
)


@dataclass(frozen=True, slots=True)
class Injected:
    """A pod that is gated now. `warnings`: what its author should know."""

    pod: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OptedOut:
    """A pod that stays ungated, because it and its namespace say so; nothing of the gate's is left on it."""

    pod: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A pod that cannot be gated, with all that keeps it from that."""

    reasons: tuple[str, ...]


def inject(
    pod: Mapping[str, Any], *, installation: Installation, ca: str, may_opt_out: bool | None
) -> Injected | OptedOut | Refused:
    """What becomes of a pod of a gated namespace.

    Args:
        pod: as the API server has it, defaults and all; it is not changed, and what comes out shares with it whatever
            is the same in both.
        installation: whose sidecar it gets.
        ca: certificates that the hub's must lead to, PEM.
        may_opt_out: whether its namespace lets pods opt out; None where that cannot be told now.
    """
    metadata, spec = dict(pod.get("metadata") or {}), dict(pod.get("spec") or {})
    made = {**pod, "metadata": metadata, "spec": spec}
    for part in ("initContainers", "containers"):
        if spec.get(part):
            spec[part] = [dict(each) for each in spec[part]]
    labels = dict(metadata.get("labels") or {})
    wants_out = labels.get(INJECT) == "false"
    if wants_out and may_opt_out is None:
        return Refused((f"it is not known yet whether its namespace allows {INJECT}: false; try again in a moment",))
    always_pull = any(
        each.get("name") == SIDECAR and each.get("imagePullPolicy") == "Always"
        for each in spec.get("initContainers") or ()
    )
    warnings = _cleared(metadata, spec)
    if wants_out and may_opt_out:
        wrong = token_reasons(spec)
        return Refused(tuple(wrong)) if wrong else OptedOut(made, tuple(warnings))
    if wants_out:
        warnings.append(f"label {INJECT}: false does not count here: the namespace is not labelled {OPT_OUT}=allowed")
    annotations = dict(metadata.get("annotations") or {})
    others = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    chosen, unknown = _chosen(annotations.get(CONTAINERS), [str(each.get("name")) for each in others])
    resources, sizes = resources_of(annotations)
    wrong = [*token_reasons(spec), *reasons(metadata, spec, others), *unknown, *sizes]
    if wrong:
        return Refused(tuple(wrong))
    for each in others:
        if each.get("name") in chosen:
            _gate(each)
    container = sidecar(installation, ca=ca, resources=resources, always_pull=always_pull)
    spec["initContainers"] = [container, *(spec.get("initContainers") or ())]
    spec["volumes"] = [*(spec.get("volumes") or ()), *volumes()]
    stamp = {key: value for key, value in labels.items() if key != GATED}
    metadata["labels"] = {**stamp, GATED: "true"}
    metadata["annotations"] = {**annotations, STAMPED: orjson.dumps(stamp, option=orjson.OPT_SORT_KEYS).decode()}
    if spec.get("dnsPolicy") == "Default":
        warnings.append(
            "dnsPolicy Default: the sidecar finds its hub by the cluster's DNS, and may never start without it"
        )
    return Injected(made, tuple(warnings))


def patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """JSON patch (RFC 6902) that makes the pod that `inject` gave of the one before: whole lists, where they differ."""
    found = []
    for part, key in _PLACES:
        old, new = (before.get(part) or {}).get(key), (after.get(part) or {}).get(key)
        if new != old and new is not None:
            found.append({"op": "add", "path": f"/{part}/{key}", "value": new})  # it replaces what stands there
    return found


def _cleared(metadata: dict[str, Any], spec: dict[str, Any]) -> list[str]:
    """Take away all that is the gate's, whoever put it there; warnings tell of what somebody may have meant as his."""
    for part, mark in (("labels", GATED), ("annotations", STAMPED)):
        if mark in (metadata.get(part) or {}):
            metadata[part] = {key: value for key, value in metadata[part].items() if key != mark}
    warnings = []
    for part, ours in (
        ("initContainers", frozenset({SIDECAR})),
        ("containers", frozenset[str]()),
        ("volumes", VOLUMES),
    ):
        if not spec.get(part):
            continue
        dropped = [str(each.get("name")) for each in spec[part] if _is_ours(each)]
        spec[part] = [each for each in spec[part] if not _is_ours(each)]
        warnings += [
            f'"{name}" was removed from {part}: names that begin with {OWN_NAMES} are the gate\'s'
            for name in dropped
            if name not in ours
        ]
    for each in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for part in ("volumeMounts", "volumeDevices"):
            if any(map(_is_ours, each.get(part) or ())):
                each[part] = [one for one in each[part] if not _is_ours(one)]
    return warnings


def _is_ours(each: Mapping[str, Any]) -> bool:
    return str(each.get("name", "")).startswith(OWN_NAMES)


def _chosen(annotation: str | None, names: list[str]) -> tuple[frozenset[str], list[str]]:
    """Names of the containers that get the gate, and what is wrong with the annotation that says so."""
    if annotation is None:
        return frozenset(names), []
    wanted = [name.strip() for name in annotation.split(",")]
    if wrong := [name for name in wanted if name not in names]:
        quoted = ", ".join(f'"{name}"' for name in wrong)
        problem = (
            f"annotation {CONTAINERS} names {quoted}; the pod's containers are {', '.join(names)}: name some of these, "
            "or leave the annotation out for all of them"
        )
        return frozenset(), [problem]
    return frozenset(wanted), []


def _gate(container: dict[str, Any]) -> None:
    """Give a container the gate. Its own variables come after ours, so that they may refer to them."""
    own = [each for each in container.get("env") or () if each.get("name") not in _ENVIRONMENT]
    container["env"] = [*environment(), *own]
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount()]
