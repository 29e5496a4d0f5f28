"""From a held call to an auditor, on a real API server: chains, requests, policy text, and the key that signs (H2)."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from cluster.gated_pods import until
from cluster.operators import ANA, Installation
from evidence.processes import archived
from hitl.audit.archive import verify_archive
from hitl.audit.report import rows_of
from hitl.audit.signing import PublicKeys
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT
from hitl_operator.cluster.audit_key import NAME

pytestmark = pytest.mark.timeout(900)


async def published(admin: KubeAPI) -> PublicKeys:
    """What an auditor is given."""
    stored = await admin.get(path_of("v1", "configmaps", DEFAULT.namespace, NAME))
    return PublicKeys([pem.encode() for pem in stored["data"].values()])


def kept_requests(archive: Path, uids: set[str]) -> set[str]:
    return {uid for uid in uids if list(archive.glob(f"requests/*/{uid}.*.json"))}


async def test_H2_two_replicas_one_volume_one_killed_and_an_auditor_gets_from_row_to_vote(
    peopled: Installation, admin: KubeAPI, tmp_path: Path
) -> None:
    """H2: calls approved before and after a replica is killed are in one archive that verifies under the published
    key, and each row leads to ana's entry as the API server stored it, and to the policy text.
    """
    archive = tmp_path / "archive"
    first, second = [await peopled.operator(name).start("--archive", str(archive)) for name in "ab"]
    for each in (first, second):
        await each.ready()
    sidecar = await peopled.sidecar(first, second)
    requests = []
    for call in ("toolu_1", "toolu_2"):
        waiting = asyncio.create_task(sidecar.insist(call))
        requests += (pending := await peopled.pending())
        await peopled.approve(*pending)
        assert await waiting == "ALLOWED"
        if call == "toolu_1":
            await until(lambda: archived(archive))
            await first.end(signal.SIGKILL)
    await sidecar.stop()
    uids = {request.uid for request in requests}
    await until(lambda: kept_requests(archive, uids) == uids, seconds=240)
    await second.end()
    keys = await published(admin)
    report = verify_archive(archive, keys.is_good)
    assert report.problems == ()
    assert len(report.keys) == 1
    handles = {f"{request.namespace}/{request.name}" for request in requests}
    rows = [row for row in rows_of(archive, keys.is_good, since=None, until=None) if row.handle in handles]
    assert sorted(row.decision for row in rows) == ["Approved", "Approved", "Released", "Released"]
    for row in rows:
        assert row.people == ANA
        assert [entry["reviewer"] for entry in row.decisions] == [ANA]
        policies = json.loads((archive / row.policy).read_text())["policies"]
        assert [policy["name"] for policy in policies if policy["kind"] == "AgentPolicy"] == ["support"]


async def test_H2_an_archive_that_cannot_be_written_is_said_and_stops_nobody(
    peopled: Installation, tmp_path: Path
) -> None:
    """H2: the replica becomes ready, releases calls, and says in /readyz and in a metric that nothing is archived."""
    archive = tmp_path / "archive"
    archive.write_text("no folder")
    operator = await peopled.operator("a").start("--archive", str(archive))
    await operator.ready()
    sidecar = await peopled.sidecar(operator)
    waiting = asyncio.create_task(sidecar.insist("toolu_1"))
    await peopled.approve(*await peopled.pending())
    assert await waiting == "ALLOWED"

    async def is_said() -> bool:
        return "nothing is archived" in (await operator.get("/readyz"))[1]

    await until(is_said)
    assert "hitl_archive_writable 0.0" in (await operator.get("/metrics"))[1]
