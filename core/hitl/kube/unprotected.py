"""Pods that run in gated namespaces without a gate: which they are, why, and what puts a gate before them (DESIGN 11).

They are told by their labels alone, so that only metadata is read, a page at a time. What the labels say is kept true
by the admission policies `hitl.kube.shipped.pods`.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, assert_never

from hitl.kube.api import LIST_METADATA, KubeAPI
from hitl.kube.marks import GATED, INJECT, INJECTION, OPT_OUT
from hitl.kube.paths import path_of
from hitl.kube.workloads import workload_of

# Pods that have ended ask for nothing any more.
_UNGATED: Final = {
    "labelSelector": f"{GATED}!=true",
    "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed",
}
_OWNING: Final = f"f:{INJECTION}"
_ROLLED_OUT: Final = ("deploy", "sts", "ds")


class Why(StrEnum):
    """Why a pod of a gated namespace has no gate; the values stand in JSON and metrics, `words` are for people."""

    OLDER = "OlderThanLabel"
    """It was made before the namespace was labelled."""
    OPTED_OUT = "OptedOut"
    """It asked to stay outside, and the namespace lets it."""
    NO_SIDECAR = "NoSidecar"
    """It was made without one though it should have been: webhook and admission policies were not there."""

    @property
    def words(self) -> str:
        """In a table or a sentence."""
        match self:
            case Why.OLDER:
                return "older than the label"
            case Why.OPTED_OUT:
                return "opted out"
            case Why.NO_SIDECAR:
                return "no sidecar"
            case _:
                assert_never(self)


@dataclass(frozen=True, slots=True)
class Unprotected:
    """One such pod.

    Attributes:
        owner: as `workload_of`.
        since: when it was made.
    """

    namespace: str
    name: str
    uid: str
    owner: str
    since: datetime
    why: Why

    @property
    def step(self) -> str:
        """What is to be typed to have it made anew with a gate."""
        kind = self.owner.partition("/")[0]
        where = f"-n {self.namespace}"
        if self.why is Why.OPTED_OUT:
            return f"if that is not meant: kubectl label namespace {self.namespace} {OPT_OUT}-, then make its pods anew"
        if kind in _ROLLED_OUT:
            return f"kubectl rollout restart {self.owner} {where}"
        if kind == "pod":
            return f"kubectl delete pod {self.name} {where}, and apply its manifest again"
        return f"kubectl delete pod {self.name} {where}; {self.owner} makes another"


def gated_since(namespace: Mapping[str, Any]) -> datetime | None:
    """When a namespace got its label, as far as it can be told; None where it cannot.

    The API server notes when each manager of fields wrote last, so a manager that wrote something else of the namespace
    since makes it look younger than it is.

    Args:
        namespace: its metadata.
    """
    times = [
        datetime.fromisoformat(each["time"])
        for each in namespace.get("managedFields") or ()
        if "time" in each and _OWNING in ((each.get("fieldsV1") or {}).get("f:metadata") or {}).get("f:labels", {})
    ]
    return min(times, default=None)


def unprotected(pod: Mapping[str, Any], *, since: datetime | None, may_opt_out: bool) -> Unprotected:
    """What is to be said of a pod without a gate.

    Args:
        pod: its metadata.
        since: when its namespace was gated; None: nobody knows.
        may_opt_out: whether the namespace lets pods opt out.
    """
    labels = pod.get("labels") or {}
    made = datetime.fromisoformat(pod["creationTimestamp"])
    if labels.get(INJECT) == "false" and may_opt_out:
        why = Why.OPTED_OUT
    elif since is not None and made < since:
        why = Why.OLDER
    else:
        why = Why.NO_SIDECAR
    return Unprotected(pod["namespace"], pod["name"], pod["uid"], workload_of(pod, labels), made, why)


async def unprotected_pods(
    api: KubeAPI, namespace: str, *, since: datetime | None, may_opt_out: bool
) -> AsyncGenerator[Unprotected, None]:
    """Those of one gated namespace, read page by page; arguments as `unprotected`.

    Raises:
        HitlError: they cannot be listed.
    """
    pods = api.list(path_of("v1", "pods", namespace), _UNGATED, accept=LIST_METADATA)
    async for each in pods:
        yield unprotected(each["metadata"], since=since, may_opt_out=may_opt_out)


def lets_opt_out(labels: Mapping[str, str]) -> bool:
    """Whether a namespace with these labels lets its pods opt out."""
    return labels.get(OPT_OUT) == "allowed"
