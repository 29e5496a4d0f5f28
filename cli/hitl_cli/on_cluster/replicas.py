"""The replicas of the operator, by what each reports in a ConfigMap of its own."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from hitl.errors import ApiError
from hitl.kube.api import KubeAPI
from hitl.kube.marks import ENDED, REPLICA, SILENT_AFTER
from hitl.kube.paths import path_of
from hitl_cli.on_cluster.findings import Finding, Health
from hitl_cli.times import took

_REPORTS: Final = {"labelSelector": REPLICA}
_SILENT: Final = timedelta(seconds=SILENT_AFTER)


async def replicas(api: KubeAPI, namespace: str, now: datetime) -> list[Finding]:
    """How many replicas of the hub are there: each says so every 15 s, and says when it ends."""
    try:
        page = await api.list_page(path_of("v1", "configmaps", namespace), _REPORTS)
    except ApiError:
        return [Finding("hub", Health.UNKNOWN, f"you may not read configmaps in namespace {namespace}")]
    reports = [each for each in page.get("items") or () if ENDED not in each.get("data", {})]
    silent = [(each, now - said) for each in reports if now - (said := _said(each)) > _SILENT]
    step = f"is it running? kubectl get pods -n {namespace}"
    if not reports:
        return [Finding("hub", Health.PROBLEM, "no replica reports its sidecars", (step,))]
    text = f"{len(reports) - len(silent)} of {len(reports)} ready"
    if not silent:
        return [Finding("hub", Health.OK, text)]
    names = ", ".join(f"{_name(each)} was last heard of {took(age)} ago" for each, age in silent)
    return [Finding("hub", Health.PROBLEM, f"{text}: {names}", (step,))]


def _said(report: Mapping[str, Any]) -> datetime:
    """When it was last written, by the API server's clock."""
    metadata = report["metadata"]
    times = [each["time"] for each in metadata.get("managedFields", ()) if "time" in each]
    return max(map(datetime.fromisoformat, times or [metadata["creationTimestamp"]]))


def _name(report: Mapping[str, Any]) -> str:
    try:
        return str(json.loads(report["data"]["report"])["replica"])
    except (KeyError, TypeError, ValueError):
        return str(report["metadata"]["name"])
