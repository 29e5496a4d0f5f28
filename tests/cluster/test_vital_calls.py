"""What nobody's flood may hold up: the Lease, the check of enforcement, reviews of tokens (SECURITY B5, H1)."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cluster.gated_pods import Pods, until
from cluster.hubs_over_tls import NAME, Line
from cluster.operators import GROUPS
from control_plane.certificates import Authority
from control_plane.running import ControlPlane
from hitl.errors import StoreUnavailable
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.requests import API_VERSION
from hitl.kube.shipped import DEFAULT
from hitl_operator.cluster.place import Place
from hitl_operator.cluster.replica import LEASE, Replica
from hitl_operator.cluster.settings_file import SettingsFile
from hitl_operator.cluster.tls import ServingCertificate

CONNECTIONS = 24
PLACE = path_of("coordination.k8s.io/v1", "leases", DEFAULT.namespace, LEASE)


@asynccontextmanager
async def crowded(api: KubeAPI) -> AsyncIterator[None]:
    """While the block lasts, each connection of a client is in use, and more wait for one."""

    async def occupy() -> None:
        async for _ in api.watch(path_of(API_VERSION, "approvalrequests"), timeout=600):
            pass

    async def is_full() -> bool:
        try:
            await api.get("/version", deadline=1)
        except StoreUnavailable:
            return True
        return False

    tasks = [asyncio.create_task(occupy()) for _ in range(2 * CONNECTIONS)]
    try:
        await until(is_full)
        yield
        assert await is_full(), "it was so all the time"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.timeout(300)
async def test_B5_H1_a_client_without_a_free_connection_takes_neither_lease_nor_reviews(
    tmp_path: Path, control_plane: ControlPlane, admin: KubeAPI, pods: Pods, as_user: Callable[..., Access]
) -> None:
    """B5, H1: whatever sidecars make the operator ask, it renews the Lease, sees that checks stand, and knows pods."""
    authority = Authority("hub-ca")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.pem)
    place = Place(
        shipped=DEFAULT,
        name=f"crowded-{secrets.token_hex(2)}",
        listen="127.0.0.1:0",
        certificate=ServingCertificate(*authority.server("hub", names=(NAME,)).write(tmp_path, "hub")),
        settings=SettingsFile(None),
        state=tmp_path,
    )
    access = Access.from_kubeconfig(control_plane.kubeconfig(DEFAULT.operator, GROUPS))
    pod = await pods.create("support")

    async def renewed() -> str:
        """When it was renewed by this replica; empty while another one has it."""
        spec = (await admin.get(PLACE))["spec"]
        return str(spec["renewTime"]) if spec["holderIdentity"].startswith(place.name) else ""

    async with KubeAPI.open(access, connections=CONNECTIONS) as api, KubeAPI.open(access) as vital:
        replica = Replica(api, vital, access, place)
        running = asyncio.create_task(replica.run())
        try:
            await until(lambda: running.done() or (replica.is_serving and replica.leads))
            token = await pods.token(pod)
            async with crowded(api):
                known = {await renewed()}
                await until(lambda: _grown(known, renewed, 4))
                await until(lambda: replica.leads and "no news of admission policies" not in replica.remarks())
                line = Line(tmp_path, token, ca, f"127.0.0.1:{replica.port}")
                assert (await line.config()).identity.pod_name == "support"
                await line.close()
        finally:
            await replica.stop()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _grown(known: set[str], look: Callable[[], object], wanted: int) -> bool:
    """Whether so many different times were seen by now."""
    known.add(str(await look()))  # type: ignore[misc]
    return len(known) >= wanted
