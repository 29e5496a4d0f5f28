"""Forged tokens in any number: those of pods that run are let in all the same, and reviews are spent on few others.

Everybody who may look at pods can write down a token that names one of them; only its signature is beyond him.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cluster.gated_pods import EVER, Pods, until
from cluster.token_hubs import Hub, forged, refused
from control_plane.installing import applied
from control_plane.running import ControlPlane
from hitl.errors import Forbidden, Unavailable
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT
from hitl_operator.cluster.signing_keys import read_keys

ASKER = "asks-of-tokens"


@pytest.fixture
async def hub(admin: KubeAPI) -> AsyncIterator[Hub]:
    """A hub that remembers nothing for longer than a moment, so that every call asks for a review."""
    async with a_hub(admin) as hub:
        yield hub


@pytest.fixture
async def keyless(control_plane: ControlPlane, admin: KubeAPI, as_user: Callable[..., Access]) -> AsyncIterator[Hub]:
    """The same where the API server does not let the hub have its keys: it can tell nobody's signature."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": ASKER},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:auth-delegator",
        },
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": ASKER}],
    }
    applied(control_plane, binding)
    async with KubeAPI.open(as_user(ASKER)) as asks, a_hub(admin, asks) as hub:
        yield hub


@asynccontextmanager
async def a_hub(admin: KubeAPI, asks: KubeAPI | None = None) -> AsyncIterator[Hub]:
    kube_system = await admin.get(path_of("v1", "namespaces", name="kube-system"))
    hub = Hub(admin, kube_system["metadata"]["uid"], asks=asks, remembered=0.0)
    try:
        await asyncio.wait_for(hub.pods.synced.wait(), EVER)
        yield hub
    finally:
        await hub.close()


@asynccontextmanager
async def flooded(hub: Hub, forgeries: Iterator[str], *, at_once: int) -> AsyncIterator[list[BaseException]]:
    """While the block lasts, so many forged tokens are shown at any moment. Gives what was said to them."""
    said: list[BaseException] = []

    async def show() -> None:
        for token in forgeries:
            try:
                await hub.who(token)
            except (Forbidden, Unavailable) as error:
                said.append(error)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(show()) for _ in range(at_once)]
    try:
        yield said
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in ended} == {asyncio.CancelledError}, "a forgery was let in"


def forgeries_of(*tokens: str, **header: Any) -> Iterator[str]:
    while True:
        for token in tokens:
            yield forged(token, **header)


async def test_F3_forged_tokens_of_a_pod_do_not_lock_out_its_own(hub: Hub, pods: Pods) -> None:
    """F3: eight at any moment that name it and are signed with noise: known token and new one are let in each time."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    known = await pods.token(pod)
    await hub.who(known)
    before = hub.reviews.asked
    async with flooded(hub, forgeries_of(known), at_once=8) as said:
        for _ in range(10):
            assert (await hub.who(known)).agent.pod_name == pod["metadata"]["name"]
            assert (await hub.who(await pods.token(pod))).agent.pod_name == pod["metadata"]["name"]
        await until(lambda: len(said) >= 100)
    assert hub.reviews.asked - before == 20, "no review is spent on a forgery"


async def test_F3_forged_tokens_of_many_pods_do_not_take_every_review(hub: Hub, pods: Pods) -> None:
    """F3: in the names of sixteen pods at once, more than there are reviews under way."""
    many = [await pods.create(f"support-{n}") for n in range(17)]
    await hub.knows(pods.namespace, *many)
    *named, other = [await pods.token(pod) for pod in many]
    async with flooded(hub, forgeries_of(*named), at_once=64) as said:
        for token in (other, named[0], named[15]):
            await hub.who(token)
        await until(lambda: len(said) >= 100)
    assert hub.reviews.asked == 3


async def test_F3_a_key_that_nobody_knows_gets_a_forgery_into_the_strangers_queue_alone(hub: Hub, pods: Pods) -> None:
    """F3: whether a key is new or invented cannot be told, so few of these are reviewed at a time."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    stem = await pods.token(pod)
    async with flooded(hub, forgeries_of(stem, kid="of-tomorrow"), at_once=64) as said:
        for _ in range(10):
            await hub.who(await pods.token(pod))
        await until(lambda: len(said) >= 100)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS512", "ES256", 7])
async def test_F3_a_forgery_does_not_choose_how_it_is_checked(hub: Hub, pods: Pods, algorithm: Any) -> None:
    """F3: the key says for which algorithm it is."""
    pod = await pods.create()
    await hub.knows(pods.namespace, pod)
    token = await pods.token(pod)
    assert "not signed by this cluster" in await refused(hub, forged(token, alg=algorithm))
    assert hub.reviews.asked == 0
    await hub.who(token)


async def test_F3_the_operator_s_own_role_lets_it_have_the_keys(as_user: Callable[..., Access]) -> None:
    """F3: it does not rest on what clusters give to every ServiceAccount and hardened ones take away."""
    async with KubeAPI.open(as_user(DEFAULT.operator)) as operator:
        assert read_keys(await operator.get("/openid/v1/jwks", accept="application/jwk-set+json"))


async def test_F3_without_keys_a_known_token_waits_behind_nobody(keyless: Hub, pods: Pods) -> None:
    """F3: where signatures cannot be told, what was good before is asked about apart from the flood."""
    pod = await pods.create()
    await keyless.knows(pods.namespace, pod)
    known = await pods.token(pod)
    await keyless.who(known)
    async with flooded(keyless, forgeries_of(known), at_once=400) as said:
        for _ in range(20):
            await keyless.who(known)
        await until(lambda: len(said) >= 100)
    assert any(isinstance(each, Unavailable) for each in said), "it was more than may wait"


async def test_F3_without_keys_newcomers_get_in_beside_a_flood(keyless: Hub, pods: Pods) -> None:
    """F3: another pod's at the first try, and one of the very pod that the flood names within a few."""
    victim, other = await pods.create("support-0"), await pods.create("support-1")
    await keyless.knows(pods.namespace, victim, other)
    stem, fresh, own = await pods.token(victim), await pods.token(other), await pods.token(victim)
    async with flooded(keyless, forgeries_of(stem), at_once=400):
        await keyless.who(fresh)
        tries = 0
        while True:
            tries += 1
            try:
                await keyless.who(own)
            except Unavailable:
                assert tries < 50
                continue
            break
