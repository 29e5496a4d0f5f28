"""Checks that `doctor` and `status` share: what refuses false votes, and whether somebody leads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hitl.errors import ApiError
from hitl.kube import comparison, shipped
from hitl.kube.api import KubeAPI
from hitl.kube.marks import INJECTION
from hitl.kube.paths import path_of
from hitl_cli.on_cluster.findings import Finding, Health
from hitl_cli.on_cluster.leadership import LEASE, STALE, age_of
from hitl_cli.times import took

_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the pods of a namespace get a sidecar; `answer`: the status of the API server's answer."""

    namespace: str
    label: str = ""
    answer: int = 200

    @property
    def is_open(self) -> bool:
        """It is there, and its pods get none."""
        return self.answer == _OK and self.label != "enabled"


async def gate_of(api: KubeAPI, name: str) -> Gate:
    """Read a namespace's label."""
    try:
        namespace = await api.get(path_of("v1", "namespaces", name=name))
    except ApiError as error:
        return Gate(name, answer=error.status)
    return Gate(name, namespace["metadata"].get("labels", {}).get(INJECTION, ""))


@dataclass(frozen=True, slots=True)
class Compared:
    """How what stands in the cluster differs from what is shipped; `missing`: what is not there at all."""

    words: tuple[str, ...]
    missing: tuple[str, ...] = ()


async def compared(api: KubeAPI, guards: Sequence[comparison.Guard]) -> Compared | None:
    """Compare admission policies and bindings; None where the caller may not read them."""
    try:
        stored = {
            f"{kind}/{item['metadata']['name']}": item
            for kind in dict.fromkeys(guard.kind for guard in guards)
            async for item in api.list(comparison.collection(kind))
        }
    except ApiError as error:
        if error.status != 403:
            raise
        return None
    gone = tuple(guard.key for guard in guards if guard.key not in stored)
    words = [
        missing(kind, names, of=len(named))
        for kind in dict.fromkeys(guard.kind for guard in guards)
        for named in [[guard for guard in guards if guard.kind == kind]]
        if (names := [guard.name for guard in named if guard.key in gone])
    ]
    words += [
        difference
        for guard in guards
        if guard.key in stored and (difference := comparison.difference(guard, stored[guard.key]))
    ]
    return Compared(tuple(words), gone)


async def admission(api: KubeAPI, installation: shipped.Shipped) -> list[Finding]:
    """Whether what refuses false votes is there and as shipped: else the operator counts none (SECURITY C4)."""
    step = (f"put it back: {shipped.apply_command('admission')}",)
    guards = comparison.guards(shipped.admission(installation), ())
    differences = await compared(api, guards)
    if differences is None:
        return [
            Finding("admission", Health.UNKNOWN, "you may not read validatingadmissionpolicies; an administrator may")
        ]
    policies = sum(guard.kind == "ValidatingAdmissionPolicy" for guard in guards)
    return [Finding("admission", Health.PROBLEM, each, step) for each in differences.words] or [
        Finding("admission", Health.OK, f"{policies} policies, each bound, as this release ships them")
    ]


def missing(kind: str, names: Sequence[str], *, of: int) -> str:
    """What is not there of one kind, in one sentence however much it is."""
    if len(names) == 1:
        return f"{kind} {names[0]} is not there"
    if len(names) == of:
        return f"{kind}: none of the {of} is there"
    return f"{kind}: {len(names)} of {of} are not there: {', '.join(names)}"


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
