"""Finds the pods of gated namespaces that run without a gate, with the caller's own rights."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hitl.errors import ApiError, Forbidden, HitlError
from hitl.kube.api import LIST_METADATA, ONE_METADATA, KubeAPI
from hitl.kube.marks import INJECTION
from hitl.kube.paths import path_of
from hitl.kube.unprotected import Unprotected, Why, gated_since, lets_opt_out, unprotected_pods
from hitl_cli.on_cluster.place import ClusterPlace
from hitl_cli.on_cluster.reading import denied
from hitl_cli.on_cluster.standings import Problem

_NOT_THERE: Final = 404
_NOT_GATED: Final = """\
namespace {name} is not gated: it has no label {label}=enabled, so no pod in it is to have a sidecar
To gate its new pods: kubectl label namespace {name} {label}=enabled    all gated ones: -A"""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found; `namespaces`: the gated ones that were looked at."""

    namespaces: Sequence[str]
    pods: Sequence[Unprotected]


async def looked(place: ClusterPlace) -> Looked:
    """The pods of the namespace, or of all gated ones with -A; by namespace, owner and name.

    Raises:
        Forbidden: the caller may not list pods, or read namespaces.
        HitlError: there is no such namespace, or it is not gated.
    """
    async with place.open(viewed=False) as desk:
        name = place.namespace
        gated = await (_all(desk.api) if name is None else _one(desk.api, name))
        if name is not None and not gated:
            raise HitlError(_NOT_GATED.format(name=name, label=INJECTION))
        found = await asyncio.gather(*(without_a_gate(desk.api, each) for each in gated))
    pods = sorted((pod for each in found for pod in each), key=lambda pod: (pod.namespace, pod.owner, pod.name))
    return Looked([each["name"] for each in gated], pods)


async def without_a_gate(api: KubeAPI, namespace: Mapping[str, Any]) -> list[Unprotected]:
    """Those of one gated namespace, by its metadata. Forbidden: the caller may not list its pods."""
    name = namespace["name"]
    may_opt_out = lets_opt_out(namespace.get("labels") or {})
    pods = unprotected_pods(api, name, since=gated_since(namespace), may_opt_out=may_opt_out)
    try:
        return [each async for each in pods]
    except ApiError as error:
        step = "role view has verb list on pods; in a namespace where you have it: -n NS"
        raise denied(error, f"list pods in namespace {name}", step) from error


async def problems(api: KubeAPI, namespace: str | None) -> list[Problem]:
    """One for each gated namespace in which pods run without a gate that did not opt out, as far as may be seen.

    Args:
        api: as the caller.
        namespace: None: all gated ones.
    """
    try:
        gated = await (_all(api) if namespace is None else _one(api, namespace))
        found = await asyncio.gather(*(without_a_gate(api, each) for each in gated))
    except Forbidden:
        return []
    return [_problem(each["name"], pods) for each, pods in zip(gated, map(_not_meant, found), strict=True) if pods]


def _not_meant(pods: Sequence[Unprotected]) -> list[Unprotected]:
    return [each for each in pods if each.why is not Why.OPTED_OUT]


def _problem(namespace: str, pods: Sequence[Unprotected]) -> Problem:
    whys = ", ".join(dict.fromkeys(each.why.words for each in pods))
    count = "1 pod runs" if len(pods) == 1 else f"{len(pods)} pods run"
    return Problem(namespace, f"{count} without a gate ({whys})", f"kubectl hitl unprotected -n {namespace}")


async def _one(api: KubeAPI, name: str) -> list[Mapping[str, Any]]:
    """Its metadata; none where it is not gated."""
    try:
        found = await api.get(path_of("v1", "namespaces", name=name), accept=ONE_METADATA)
    except ApiError as error:
        if error.status == _NOT_THERE:
            raise HitlError(
                f"there is no namespace {name}\nWhich there are: kubectl get namespaces    another one: -n NS"
            ) from error
        step = "whether its pods are to be gated is a label of it; role view has verb get on namespaces"
        raise denied(error, f"read namespace {name}", step) from error
    is_gated = (found["metadata"].get("labels") or {}).get(INJECTION) == "enabled"
    return [found["metadata"]] if is_gated else []


async def _all(api: KubeAPI) -> list[Mapping[str, Any]]:
    params = {"labelSelector": f"{INJECTION}=enabled"}
    try:
        path = path_of("v1", "namespaces")
        return [each["metadata"] async for each in api.list(path, params, accept=LIST_METADATA)]
    except ApiError as error:
        step = "role view has verb list on namespaces, here with a ClusterRoleBinding; one namespace: -n NS"
        raise denied(error, "list namespaces", step) from error
