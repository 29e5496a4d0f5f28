"""After etcd was restored from an older state nothing that ran runs again (SECURITY D2, I6)."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cluster.enforcing import SECRET, SOON, Cluster, Replica, eventually
from cluster.voting import ANA, a_court, vote_of
from control_plane.installing import install
from control_plane.running import ControlPlane
from hitl.approvals.requests import ApprovalRequest, State
from hitl.approvals.settle import consume
from hitl.errors import StoreUnavailable
from hitl.kube.paths import path_of
from hitl.kube.reflector import Reflector
from hitl_operator.cluster.enforcement_record import Back, Record
from hitl_operator.cluster.rewind import Highest, behind, is_acknowledgement
from hitl_operator.cluster.shared_record import ACKNOWLEDGE

pytestmark = pytest.mark.xdist_group("cluster-weakened")


def test_D2_a_lower_version_than_was_seen_gives_it_away() -> None:
    """D2: each collection is compared with what was seen of it before the question was put."""
    highest = Highest()
    assert highest.take(highest.before(), {"policies": 100, "crds": 90}) is None
    asked = highest.before()
    assert highest.take(highest.before(), {"policies": 120}) is None
    assert highest.take(asked, {"policies": 110}) is None, "an answer that was overtaken is no sign"
    assert highest.take(highest.before(), {"policies": 119}) == Back(120, 119)


def test_D2_what_the_replicas_wrote_down_counts_too() -> None:
    """D2: a Secret that was brought into an older cluster knows of versions which that one has not reached."""
    assert behind(Record(seen=100), {"policies": 99, "crds": 80}) == Back(100, 99)
    assert behind(Record(seen=100), {"policies": 100, "crds": 80}) is None


@pytest.mark.parametrize(
    ("words", "is_one"),
    [
        ("ana@example.com: restored from the 02:00 snapshot", True),
        ("yes", False),
        ("ana@example.com", False),
        (": because I say so", False),
        ("ana@example.com: ok", False),
    ],
)
def test_D2_who_acknowledges_gives_name_and_reason(words: str, is_one: bool) -> None:
    """D2: a yes alone does not do."""
    assert is_acknowledgement(words) is is_one


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    with ControlPlane.start(tmp_path / "plane") as plane:
        install(plane)
        async with AsyncExitStack() as stack:
            yield Cluster(plane, a_court(plane), stack)


async def approved(cluster: Cluster, replica: Replica) -> ApprovalRequest:
    request = await cluster.court.ask()
    await cluster.court.vote(ANA, request, vote_of(ANA, request, groups=["support-leads"]))
    found = await replica.settle(request)
    assert found.status.state is State.APPROVED
    return found


async def release(replica: Replica, request: ApprovalRequest) -> ApprovalRequest:
    done = consume(request, request.created, digest=request.spec.digest, by="pod/epoch")
    assert done.status is not None
    return await replica.settler.write(request, done.status)


async def looked(replica: Replica) -> str:
    """What a look says once the restarted server answers."""

    async def look() -> list[str]:
        try:
            return [await replica.look()]
        except StoreUnavailable:
            return []

    found: list[str] = await eventually(look)
    return found[0]


async def much_happens(cluster: Cluster) -> None:
    """So much that a server which is set back is behind until it was looked at: it writes by itself, too."""
    async with cluster.court.admin() as api:
        path = path_of("v1", "configmaps", "default")
        await api.create(path, {"metadata": {"name": "busy"}})
        for number in range(200):
            await api.merge_patch(f"{path}/busy", {"data": {"number": str(number)}})


@pytest.mark.cluster
async def test_D2_what_was_released_after_the_backup_is_not_released_again(cluster: Cluster, tmp_path: Path) -> None:
    """D2, I6: after the restore the call looks approved and unreleased. Nothing runs until somebody acknowledges with
    name and reason, and then the approval is void.
    """
    replica = await cluster.standing()
    request, backup = await approved(cluster, replica), tmp_path / "backup"
    with cluster.plane.storage() as files:
        shutil.copytree(files, backup)
    await eventually_released(replica, request)
    await much_happens(cluster)
    assert await looked(replica) == ""
    with cluster.plane.storage() as files:
        shutil.rmtree(files)
        shutil.copytree(backup, files)

    assert await looked(replica) == "REWOUND"
    again = await replica.store.get(request.namespace, request.name)
    assert again.status.state is State.APPROVED, "as it was when the backup was taken"
    doubt = await replica.enforcement.vouch(again)
    assert doubt is not None
    assert doubt.reason_code == "REWOUND"
    assert "kubectl" not in doubt.message, "an agent is not told how to acknowledge"
    assert "Rewound" in [reason for reason, _ in replica.told]

    for words, code in (("ok", "REWOUND"), ("root@example.com: restored the 02:00 backup", "ENFORCEMENT_LOST")):
        async with cluster.court.admin() as api:
            await api.merge_patch(SECRET, {"metadata": {"annotations": {ACKNOWLEDGE: words}}})
        assert await looked(replica) == code
    await replica.until_it_stands()
    ended = await replica.store.get(request.namespace, request.name)
    assert ended.status.state is State.CANCELLED
    assert ended.status.conditions[-1].reason == "EnforcementLost"
    assert replica.enforcement.record.acknowledgement == "root@example.com: restored the 02:00 backup"
    async with cluster.court.admin() as api:
        annotations = (await api.get(SECRET))["metadata"].get("annotations") or {}
    assert ACKNOWLEDGE not in annotations, "an acknowledgement is for one time that the server went back"


@pytest.mark.cluster
async def test_D2_mirrors_find_out_what_a_restore_took_and_brought_back(cluster: Cluster, tmp_path: Path) -> None:
    """D2, B1: also those of metadata alone: which namespaces are gated is not known from a time that is gone."""
    plane, backup = cluster.plane, tmp_path / "backup"
    assert plane.kubectl("create", "namespace", "kept").returncode == 0
    with plane.storage() as files:
        shutil.copytree(files, backup)
    assert plane.kubectl("label", "namespace", "kept", "hitl.dev/injection=enabled").returncode == 0
    for name in ("later", "latest"):
        assert plane.kubectl("create", "namespace", name).returncode == 0
    await much_happens(cluster)
    async with cluster.court.admin() as api:
        mirror = Reflector(
            api,
            path_of("v1", "namespaces"),
            keep=lambda found: str(found["metadata"].get("labels", {}).get("hitl.dev/injection")),
            metadata_only=True,
            timeout=3,
        )
        running = asyncio.create_task(mirror.run())
        await asyncio.wait_for(mirror.synced.wait(), SOON)
        assert {"later", "latest"} <= {name for _, name in mirror.items}
        assert mirror.items["", "kept"] == "enabled"
        with plane.storage() as files:
            shutil.rmtree(files)
            shutil.copytree(backup, files)

        async def as_it_was() -> bool:
            return ("", "later") not in mirror.items and mirror.items["", "kept"] == "None"

        await eventually(as_it_was)
        running.cancel()


async def eventually_released(replica: Replica, request: ApprovalRequest) -> None:
    async def released() -> bool:
        try:
            current = await replica.store.get(request.namespace, request.name)
            if current.status.state is State.CONSUMED:
                return True  # it was taken, and its answer lost
            return (await release(replica, current)).status.state is State.CONSUMED
        except StoreUnavailable:
            return False

    await eventually(released)
