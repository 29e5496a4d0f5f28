"""How many replicas `kubectl hitl status` says are there, by the reports that they write into a real API server."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_cli.on_cluster.findings import Finding, Health
from hitl_cli.on_cluster.replicas import replicas


async def _write(admin: KubeAPI, namespace: str, name: str, **more: str) -> None:
    """A report as a replica of that name writes it."""
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"hitl-replica-{name}", "labels": {"hitl.dev/replica": "report"}},
        "data": {"report": f'{{"replica": "{name}"}}', "said": "1", **more},
    }
    await admin.create(path_of("v1", "configmaps", namespace), body)


async def test_only_replicas_that_spoke_lately_are_counted(admin: KubeAPI, namespace: str) -> None:
    """Two that report are two; a minute without a word and they are none; one that ended is no problem."""
    for name in ("hub-1", "hub-2"):
        await _write(admin, namespace, name)
    await _write(admin, namespace, "hub-0", ended="true")
    now = datetime.now(UTC)
    assert await replicas(admin, namespace, now) == [Finding("hub", Health.OK, "2 of 2 ready")]
    (late,) = await replicas(admin, namespace, now + timedelta(seconds=60))
    assert late.health is Health.PROBLEM
    assert late.text.startswith("0 of 2 ready: hub-1 was last heard of ")


async def test_no_replica_at_all_is_a_problem(admin: KubeAPI, namespace: str) -> None:
    """Nothing reports, or only what ended: said with where to look."""
    await _write(admin, namespace, "hub-0", ended="true")
    (found,) = await replicas(admin, namespace, datetime.now(UTC))
    assert (found.health, found.text) == (Health.PROBLEM, "no replica reports its sidecars")
    assert found.steps == (f"is it running? kubectl get pods -n {namespace}",)
