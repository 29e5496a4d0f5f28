"""What the hub knows by heart of gated pods, so that a deleted one is forgotten within a moment (SECURITY B1).

A review of tokens alone accepts the token of a deleted pod for up to 11 s. The watch is narrow: it follows the label
that injection stamps, and keeps a few words of each pod.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import HitlError, InvalidInput
from hitl.kube.api import KubeAPI
from hitl.kube.marks import GATED, SIDECAR, STAMPED
from hitl.kube.paths import path_of
from hitl.kube.reflector import Reflector
from hitl.kube.workloads import workload_of
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.logs import Log

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Pod:
    """One gated pod.

    Attributes:
        node: where it runs; empty before it was scheduled.
        workload: as `workload_of`.
        stamped: labels at injection; None where nobody stamped them.
        has_sidecar: whether a container of it is the sidecar.
        ends: when its grace period is over, if it is being deleted.
        flaw: why what stands on it cannot be gone by; empty where it can.
    """

    namespace: str
    name: str
    uid: str
    service_account: str
    node: str
    workload: str
    labels: Mapping[str, str]
    stamped: Mapping[str, str] | None
    has_sidecar: bool
    ends: datetime | None = None
    flaw: str = ""


class PodCache:
    """The gated pods of all namespaces, kept up to date by `run`."""

    def __init__(self, api: KubeAPI) -> None:
        self.listeners: list[Callable[[str, str], None]] = []
        self.trouble = Trouble(api, "pods-not-followed", meaning="what was known of them is gone by")
        self._reflector: Reflector[Pod] = Reflector(
            api,
            path_of("v1", "pods"),
            keep=slim,
            params={"labelSelector": f"{GATED}=true"},
            on_change=self._changed,
            on_trouble=self._report,
            on_heard=self.trouble.over,
        )

    def __len__(self) -> int:
        return len(self._reflector.items)

    @property
    def synced(self) -> asyncio.Event:
        """Set once all of them are known."""
        return self._reflector.synced

    def get(self, namespace: str, name: str) -> Pod | None:
        """A gated pod; None for one that is not there or carries no label of ours."""
        return self._reflector.items.get((namespace, name))

    def labels_of(self, request: ApprovalRequest) -> list[Mapping[str, str]]:
        """The labels of the pod of a request, now and at injection; where it is gone, of the others of its workload."""
        own = self.get(request.namespace, request.spec.agent_pod)
        pods = [own] if own is not None and own.uid == request.spec.agent_pod_uid else self._of_workload(request)
        return [labels for pod in pods for labels in (pod.labels, pod.stamped) if labels is not None]

    def _of_workload(self, request: ApprovalRequest) -> list[Pod]:
        wanted = request.namespace, request.spec.workload
        return [pod for pod in self._reflector.items.values() if (pod.namespace, pod.workload) == wanted]

    async def run(self) -> None:
        """Follow the API server until cancelled."""
        await self._reflector.run()

    def _changed(self, key: tuple[str, str], _old: Pod | None, _new: Pod | None) -> None:
        for listener in self.listeners:
            listener(*key)

    def _report(self, trouble: HitlError) -> None:
        if isinstance(trouble, InvalidInput):
            _log.error("pod-passed-over", problem=trouble, meaning="it counts as not gated, and gets no config")
        else:
            self.trouble.tell(trouble)


def slim(found: Mapping[str, Any]) -> Pod:
    """What is kept of a pod as the API server has it."""
    metadata, spec = found["metadata"], found["spec"]
    labels = dict(metadata.get("labels") or {})
    stamped, flaw = _stamped((metadata.get("annotations") or {}).get(STAMPED))
    ends = metadata.get("deletionTimestamp")
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        service_account=spec.get("serviceAccountName") or "default",
        node=spec.get("nodeName") or "",
        workload=workload_of(metadata, labels, stamped or {}),
        labels=labels,
        stamped=stamped,
        has_sidecar=any(container["name"] == SIDECAR for container in containers),
        ends=datetime.fromisoformat(ends) if ends else None,
        flaw=flaw,
    )


def _stamped(text: str | None) -> tuple[Mapping[str, str] | None, str]:
    if text is None:
        return None, ""
    try:
        labels = orjson.loads(text)
    except orjson.JSONDecodeError:
        labels = None
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        return None, f"annotation {STAMPED} is no JSON object of texts"
    return labels, ""
