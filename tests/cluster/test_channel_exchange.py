"""A sidecar exchanges its channel for one that goes by another CA while calls are under way (SECURITY D2)."""

import asyncio
from pathlib import Path

from cluster.gated_pods import Pods, until
from cluster.hubs_over_tls import Line, TlsHub
from control_plane.certificates import Authority
from hitl.kube.api import KubeAPI
from hitl_sidecar.hold_stream import HoldStream


async def test_D2_holds_go_on_over_the_next_channel(tmp_path: Path, admin: KubeAPI, pods: Pods) -> None:
    """D2: gRPC cancels the stream that is left on the channel before; the sidecar opens another, and does not end."""
    hub = await TlsHub(tmp_path, admin).start()
    pod = await pods.create()
    await until(lambda: hub.pods.get(pods.namespace, pod["metadata"]["name"]))
    await until(lambda: hub.namespaces.get(pods.namespace))
    line = Line(tmp_path, await pods.token(pod), hub.ca, hub.address)
    holds = HoldStream(line.hub)
    task = asyncio.create_task(holds.run())
    try:
        await line.config()
        holds._wake.set()
        await until(lambda: len(hub.hub.holds))
        before = line.hub._channel
        hub.ca.write_bytes(hub.authority.pem + Authority("next-ca").pem)
        await line.hub.renew_trust()
        assert line.hub._channel is not before
        await before.close(None)
        await until(lambda: holds.trouble == "its channel was exchanged")
        await until(lambda: not len(hub.hub.holds))
        holds._wake.set()
        await until(lambda: len(hub.hub.holds))
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await line.close()
        await hub.stop()
    assert task.cancelled()
