"""The root key in its Secret: made once however many begin, rotated with overlap, never shown (DESIGN 18 Keys, D1)."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cluster.gated_pods import EVER, until
from hitl.errors import ApiError, Unavailable
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_operator.cluster.root_key import NAME, RootKey
from hitl_operator.keys import Keyring

UID = "5f0c2a4e-0000-4000-8000-000000000001"


class Followed:
    """A replica that follows the key."""

    def __init__(self, api: KubeAPI, namespace: str) -> None:
        self.rings: list[Keyring] = []
        self.key = RootKey(api, namespace, on_change=self.rings.append)
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> Keyring:
        ring = await self.key.open()
        self.task = asyncio.create_task(self.key.run())
        return ring


@pytest.fixture
async def followed(admin: KubeAPI, namespace: str) -> AsyncIterator[Followed]:
    followed = Followed(admin, namespace)
    yield followed
    if followed.task is not None:
        followed.task.cancel()
        await asyncio.gather(followed.task, return_exceptions=True)


async def put(api: KubeAPI, namespace: str, **fields: bytes) -> None:
    """Write fields of the Secret."""
    data = {key: base64.b64encode(value).decode() for key, value in fields.items()}
    await api.merge_patch(path_of("v1", "secrets", namespace, NAME), {"data": data})


def ids(ring: Keyring) -> list[str]:
    return [key.id for key in ring.keys_of(UID)]


async def test_D1_replicas_that_begin_together_share_one_key(admin: KubeAPI, namespace: str) -> None:
    """D1: one creates it, the others read it; what they derive is the same."""
    opening = [RootKey(admin, namespace, on_change=list).open() for _ in range(8)]
    rings = await asyncio.gather(*opening)
    assert len({ring.keys_of(UID)[0].key for ring in rings}) == 1
    stored = await admin.get(path_of("v1", "secrets", namespace, NAME))
    assert len(base64.b64decode(stored["data"]["root"])) == 32


async def test_D1_a_new_epoch_keeps_the_one_before(followed: Followed, admin: KubeAPI, namespace: str) -> None:
    """D1: rotation with overlap, without a restart; two steps on, the oldest has ended."""
    first = ids(await followed.start())
    await put(admin, namespace, epoch=b"2")
    await until(lambda: followed.rings)
    second = ids(followed.rings[-1])
    assert (len(second), second[1:]) == (2, first)
    await put(admin, namespace, epoch=b"3\n")
    await until(lambda: len(followed.rings) == 2)
    third = ids(followed.rings[-1])
    assert third[1] == second[0]
    assert first[0] not in third


async def test_what_is_no_key_changes_nothing(
    followed: Followed, admin: KubeAPI, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody damages or deletes the Secret: the key that was read stays, the log says what to do and shows no key."""
    await followed.start()
    secret = await admin.get(path_of("v1", "secrets", namespace, NAME))
    await put(admin, namespace, root=b"short-but-secret")
    await until(lambda: "root-key-unusable" in caplog.text)
    await admin.delete(path_of("v1", "secrets", namespace, NAME))
    await until(lambda: "root-key-deleted" in caplog.text)
    assert followed.rings == []
    assert "short-but-secret" not in caplog.text
    assert secret["data"]["root"] not in caplog.text


async def test_another_root_comes_into_force_and_is_reported(
    followed: Followed, admin: KubeAPI, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A restored backup counts: all replicas must agree, and the log says what that means for calls that wait."""
    await followed.start()
    await put(admin, namespace, root=bytes(range(32)))
    await until(lambda: followed.rings)
    assert followed.rings[-1].keys_of(UID) == Keyring(bytes(range(32)), 1).keys_of(UID)
    assert "root-key-replaced" in caplog.text


@pytest.mark.parametrize("fields", [{"root": b"short"}, {"epoch": b"0"}, {"epoch": b"x"}, {"epoch": b""}])
async def test_a_broken_secret_is_no_start(admin: KubeAPI, namespace: str, fields: dict[str, bytes]) -> None:
    """A replica that begins with it says what is wrong instead of making another key."""
    await RootKey(admin, namespace, on_change=list).open()
    await put(admin, namespace, **fields)
    with pytest.raises(Unavailable, match=NAME) as refusal:
        await asyncio.wait_for(RootKey(admin, namespace, on_change=list).open(), EVER)
    assert refusal.value.reason_code == "KEY_BROKEN"


async def test_who_may_not_read_it_is_told(as_user: Any, namespace: str) -> None:
    """No right, no key: the API server's words, not a new Secret."""
    async with KubeAPI.open(as_user("nobody@example.com")) as api:
        with pytest.raises(ApiError, match="secrets"):
            await RootKey(api, namespace, on_change=list).open()
