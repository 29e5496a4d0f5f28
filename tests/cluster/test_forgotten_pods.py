"""How fast a hub forgets a deleted pod on a real API server (SECURITY B1); measured, and held against events."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from cluster.gated_pods import EVER, Pods
from cluster.token_hubs import Hub, refused, shown
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of

PODS = 5


@pytest.fixture
async def hub(admin: KubeAPI, pods: Pods) -> AsyncIterator[Hub]:
    """A hub that remembers every review for longer than the test takes: only its own cache can refuse."""
    kube_system = await admin.get(path_of("v1", "namespaces", name="kube-system"))
    hub = Hub(admin, kube_system["metadata"]["uid"], remembered=10 * EVER)
    await asyncio.wait_for(hub.pods.synced.wait(), EVER)
    yield hub
    await hub.close()


async def test_B1_a_deleted_pod_is_forgotten_before_anything_that_happens_later_is_heard(
    hub: Hub, pods: Pods, capsys: pytest.CaptureFixture[str]
) -> None:
    """B1: a hub that has heard of a pod made after the deletion lets the deleted one in no more, and ends its stream,
    by its own watch. A second is the promise; the printed time is that between kubectl's answer and the stream's end.
    """
    made = [await pods.create(f"support-{number}") for number in range(PODS)]
    await hub.knows(pods.namespace, *made)
    ended_at: list[float] = []
    waited = []
    for pod in made:
        name, token = pod["metadata"]["name"], await pods.token(pod)
        stream = asyncio.create_task(hub.authenticator.ended(await hub.who(token), shown(token)))
        stream.add_done_callback(lambda _stream: ended_at.append(time.monotonic()))
        await pods.kill(name)
        killed = time.monotonic()
        later = await pods.create(f"{name}-later")
        await hub.knows(pods.namespace, later)
        assert hub.pods.get(pods.namespace, name) is None
        assert "no gated pod" in await refused(hub, token)
        why = await asyncio.wait_for(stream, EVER)
        assert "no gated pod" in why or "was deleted" in why
        waited.append(max(0.0, ended_at[-1] - killed))
    with capsys.disabled():
        print(f"\ndeleted pods were forgotten within {max(waited):.3f} s")  # noqa: T201 - for people
