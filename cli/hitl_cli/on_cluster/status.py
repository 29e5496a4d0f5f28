"""What `status` reads: the operator's Lease and replicas, the admission policies, every policy with its requests."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import ApiError, Forbidden
from hitl.kube import shipped
from hitl.kube.api import LIST_METADATA, KubeAPI
from hitl.kube.marks import GATED, INJECTION
from hitl.kube.paths import path_of
from hitl_cli.on_cluster.checks import admission, gate_of, operator
from hitl_cli.on_cluster.desk import ClusterDesk
from hitl_cli.on_cluster.findings import Finding, Health
from hitl_cli.on_cluster.freezes import Pressed, seen
from hitl_cli.on_cluster.place import ClusterPlace
from hitl_cli.on_cluster.reading import need_namespace, reading
from hitl_cli.on_cluster.replicas import replicas
from hitl_cli.on_cluster.standings import PolicyRow, Problem, notes_of, problems_of, row_of, unpoliced
from hitl_cli.on_cluster.unprotected import problems as problems_of_pods

_API: Final = "hitl.dev/v1alpha1"


@dataclass(frozen=True, slots=True)
class Status:
    """What was found; `where`: the namespaces that were looked at; `notes`: what is worth a look and may be meant."""

    where: str
    parts: list[Finding]
    rows: list[PolicyRow]
    problems: list[Problem]
    notes: list[Problem]


async def looked(place: ClusterPlace, operator_namespace: str) -> Status:
    """Look at everything the caller may read.

    Raises:
        Forbidden: not even the policies of their own namespace.
    """
    async with place.open(viewed=False) as desk:
        if place.typed.namespace:
            await need_namespace(desk.api, place.typed.namespace, "another one: -n NS")
        parts = await asyncio.gather(
            replicas(desk.api, operator_namespace, place.now()),
            operator(desk.api, operator_namespace, place.now()),
            admission(desk.api, shipped.Shipped(namespace=operator_namespace)),
        )
        namespace, policies = await _policies(desk, place)
        requests = await _requests(desk, namespace)
        pods = await _gated_pods(desk.api, namespace)
        frozen = await seen(
            desk.api, dict.fromkeys((namespace, operator_namespace)) if namespace else [None], place.hint("doctor")
        )
        unprotected = await problems_of_pods(desk.api, namespace)
        ungated = await _ungated(desk.api, {each["metadata"].get("namespace", "") for _, each in policies})
    findings = [finding for part in parts for finding in part]
    rows, problems = (
        [],
        [
            Problem(each.check, each.text, each.steps[0] if each.steps else "kubectl hitl doctor")
            for each in findings
            if each.health is Health.PROBLEM
        ],
    )
    notes: list[Problem] = []
    for kind, policy in policies:
        row = row_of(policy, kind, requests, place.now())
        rows.append(row)
        problems += problems_of(policy, row)
        notes += notes_of(policy, row)
    problems += (
        ungated
        + unprotected
        + [
            Problem(
                f"{each.namespace}/{each.name}", each.problem, f"kubectl delete pov {each.name} -n {each.namespace}"
            )
            for each in frozen
            if each.problem
        ]
    )
    notes += [_frozen(each, operator_namespace) for each in frozen]
    notes += unpoliced(pods, [each for _, each in policies])
    where = "all namespaces" if namespace is None else f"namespace {namespace}"
    return Status(where, findings, rows, problems, notes)


def _frozen(freeze: Pressed, operator_namespace: str) -> Problem:
    step = f"kubectl hitl thaw {freeze.name} -n {freeze.namespace}"
    return Problem(f"{freeze.namespace}/{freeze.name}", freeze.words(operator_namespace), step)


async def _policies(desk: ClusterDesk, place: ClusterPlace) -> tuple[str | None, list[tuple[str, Mapping[str, Any]]]]:
    """The namespace that could be read, None for all of them, and its policies; the baseline where it may be read."""
    namespace = place.typed.namespace
    try:
        found = await _listed(desk.api, place, "agentpolicies", namespace)
    except Forbidden:
        if namespace or place.typed.all_namespaces:
            raise
        namespace = place.access.namespace
        found = await _listed(desk.api, place, "agentpolicies", namespace)
    policies: list[tuple[str, Mapping[str, Any]]] = [("AgentPolicy", each) for each in found]
    try:
        baseline = await _listed(desk.api, place, "clusteragentpolicies", None)
    except Forbidden:
        baseline = []
    return namespace, [*policies, *(("ClusterAgentPolicy", each) for each in baseline)]


async def _listed(api: KubeAPI, place: ClusterPlace, plural: str, namespace: str | None) -> list[Mapping[str, Any]]:
    whose = f"namespace {namespace}" if namespace else "all namespaces"
    with reading(plural, whose, "hitl-viewer", place.hint("doctor")):
        return [each async for each in api.list(path_of(_API, plural, namespace))]


async def _ungated(api: KubeAPI, names: Collection[str]) -> list[Problem]:
    """Namespaces that have policies and whose pods get no sidecar: what the policies say holds for nobody."""
    found = await asyncio.gather(*(gate_of(api, name) for name in sorted(names) if name))
    text = f"has policies and is not labelled {INJECTION}=enabled: no new pod in it is gated (then restart its pods)"
    return [
        Problem(each.namespace, text, f"kubectl label namespace {each.namespace} {INJECTION}=enabled")
        for each in found
        if each.is_open
    ]


async def _gated_pods(api: KubeAPI, namespace: str | None) -> list[Mapping[str, Any]]:
    """Those that run; none where the caller may not see pods."""
    params = {"labelSelector": f"{GATED}=true", "fieldSelector": "status.phase=Running"}
    try:
        return [each async for each in api.list(path_of("v1", "pods", namespace), params, accept=LIST_METADATA)]
    except ApiError as error:
        if error.status != 403:
            raise
        return []


async def _requests(desk: ClusterDesk, namespace: str | None) -> list[ApprovalRequest]:
    try:
        return await desk.store.list(namespace)
    except Forbidden:
        return []
