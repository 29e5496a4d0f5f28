"""Checks that `doctor` and `status` share: what refuses false votes, and whether somebody leads."""

from datetime import datetime
from typing import Final

from hitl.errors import ApiError
from hitl.kube import comparison, shipped
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_cli.on_cluster.findings import Finding, Health
from hitl_cli.on_cluster.leadership import LEASE, STALE, age_of
from hitl_cli.times import took

INSTALL: Final = "python -m hitl_operator.manifests --only {part} | kubectl apply --server-side --force-conflicts -f -"


async def admission(api: KubeAPI, installation: shipped.Shipped) -> list[Finding]:
    """Whether what refuses false votes is there and as shipped: else the operator counts none (SECURITY C4)."""
    step = (f"put it back: {INSTALL.format(part='admission')}",)
    guards = comparison.guards(shipped.admission(installation), ())
    try:
        stored = {
            f"{kind}/{item['metadata']['name']}": item
            for kind in dict.fromkeys(guard.kind for guard in guards)
            async for item in api.list(comparison.collection(kind))
        }
    except ApiError as error:
        if error.status != 403:
            raise
        return [
            Finding("admission", Health.UNKNOWN, "you may not read validatingadmissionpolicies; an administrator may")
        ]
    problems = [
        Finding("admission", Health.PROBLEM, difference, step)
        for guard in guards
        if (difference := comparison.difference(guard, stored.get(guard.key)))
    ]
    policies = sum(guard.kind == "ValidatingAdmissionPolicy" for guard in guards)
    return problems or [Finding("admission", Health.OK, f"{policies} policies, each bound, as this release ships them")]


async def operator(api: KubeAPI, namespace: str, now: datetime) -> list[Finding]:
    """Whether a replica of the operator holds the Lease and renews it."""
    try:
        lease = await api.get(path_of("coordination.k8s.io/v1", "leases", namespace, LEASE))
    except ApiError as error:
        if error.status == 403:
            return [Finding("operator", Health.UNKNOWN, f"you may not read leases in namespace {namespace}")]
        step = f"is it installed there? kubectl get pods -n {namespace}    elsewhere: --operator-namespace NS"
        return [Finding("operator", Health.PROBLEM, f"no replica ever led: no Lease {namespace}/{LEASE}", (step,))]
    holder, age = age_of(lease, now)
    if holder and age < STALE:
        return [Finding("operator", Health.OK, f"{holder} leads (lease {took(age)} old)")]
    text = f"nobody leads: the Lease was last renewed {took(age)} ago by {holder or 'nobody'}"
    return [Finding("operator", Health.PROBLEM, text, (f"is it running? kubectl get pods -n {namespace}",))]
