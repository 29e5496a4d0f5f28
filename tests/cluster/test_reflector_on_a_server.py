"""The reflector on a real API server that freezes, restarts, forgets, and sits behind bad cables."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from cluster.cables import cable_to
from cluster.restarts import restarted
from control_plane.running import ControlPlane
from hitl.errors import ApiError, HitlError, StoreUnavailable
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.reflector import Reflector

Changes = list[tuple[str, str | None, str | None]]


def note_of(found: dict[str, Any]) -> str | None:
    return (found.get("data") or {}).get("note")


@asynccontextmanager
async def reflecting(
    access: Access, namespace: str, *, timeout: int = 10, idle: float | None = None, api_deadline: float = 30.0
) -> AsyncIterator[tuple[Reflector[str], Changes, list[HitlError]]]:
    """A synced mirror of a namespace's ConfigMaps, its changes and its troubles."""
    changes: Changes = []
    troubles: list[HitlError] = []
    async with KubeAPI.open(access, deadline=api_deadline) as api:
        reflector = Reflector(
            api,
            path_of("v1", "configmaps", namespace),
            keep=note_of,
            on_change=lambda key, was, now: changes.append((key[1], was, now)),
            on_trouble=troubles.append,
            timeout=timeout,
            idle=idle,
        )
        running = asyncio.create_task(reflector.run())
        try:
            async with asyncio.timeout(90):
                await reflector.synced.wait()
            yield reflector, changes, troubles
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def until(is_so: Callable[[], bool], *, seconds: float = 90) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - what it waits for is what another program does
            await asyncio.sleep(0.02)


async def write(api: KubeAPI, namespace: str, name: str, note: str) -> None:
    path = path_of("v1", "configmaps", namespace, name)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"note": note}}
    await api.apply(path, body, field_manager="stories")


def notes(reflector: Reflector[str]) -> dict[str, str]:
    return {name: note for (_, name), note in reflector.items.items()}


async def test_a_mirror_shows_what_is_there_and_then_every_change(
    control_plane: ControlPlane, namespace: str, admin: KubeAPI
) -> None:
    """Synced means everything is there; creation, change and deletion are told with what was before."""
    await write(admin, namespace, "first", "1")
    async with reflecting(Access.from_kubeconfig(control_plane.admin), namespace) as (reflector, changes, troubles):
        assert notes(reflector) == {"first": "1"}
        await write(admin, namespace, "second", "1")
        await write(admin, namespace, "second", "2")
        await admin.delete(path_of("v1", "configmaps", namespace, "first"))
        await until(lambda: notes(reflector) == {"second": "2"})
        assert changes == [("first", None, "1"), ("second", None, "1"), ("second", "1", "2"), ("first", "1", None)]
        assert troubles == []


async def test_a_cut_connection_is_taken_up_where_it_was(
    control_plane: ControlPlane, namespace: str, admin: KubeAPI
) -> None:
    """What happens while the connection is cut arrives once it is back, deletions too."""
    await write(admin, namespace, "kept", "1")
    await write(admin, namespace, "doomed", "1")
    async with (
        cable_to(Access.from_kubeconfig(control_plane.admin)) as (cable, access),
        reflecting(access, namespace) as (reflector, changes, troubles),
    ):
        del changes[:]
        del troubles[:]
        cable.cut()
        await write(admin, namespace, "kept", "2")
        await admin.delete(path_of("v1", "configmaps", namespace, "doomed"))
        await until(lambda: len(troubles) > 1)
        assert all(isinstance(trouble, StoreUnavailable) for trouble in troubles)
        cable.mend()
        await until(lambda: notes(reflector) == {"kept": "2"})
        assert sorted(changes) == [("doomed", "1", None), ("kept", "1", "2")]


async def test_a_dead_watch_is_deaf_no_longer_than_its_idle_time(
    control_plane: ControlPlane, namespace: str, admin: KubeAPI
) -> None:
    """A connection that goes dead without a word is given up after the idle time and opened anew."""
    async with (
        cable_to(Access.from_kubeconfig(control_plane.admin)) as (cable, access),
        reflecting(access, namespace, timeout=60, idle=2.0, api_deadline=1.0) as (reflector, _, troubles),
    ):
        del troubles[:]
        cable.numb()
        await write(admin, namespace, "meanwhile", "1")
        await until(lambda: any("was silent for 2 s" in str(trouble) for trouble in troubles))
        assert notes(reflector) == {}
        await until(lambda: reflector.heard > 1)
        cable.mend()
        await until(lambda: notes(reflector) == {"meanwhile": "1"})


async def test_a_frozen_server_is_noticed_and_goes_on_after_the_thaw(
    control_plane: ControlPlane, namespace: str, admin: KubeAPI
) -> None:
    """While the API server is frozen the mirror keeps what it had and says so; after the thaw it is right again."""
    await write(admin, namespace, "kept", "1")
    access = Access.from_kubeconfig(control_plane.admin)
    async with reflecting(access, namespace, idle=2.0, api_deadline=1.0) as (reflector, _, troubles):
        control_plane.freeze()
        del troubles[:]
        try:
            await until(lambda: len(troubles) >= 2)
            assert notes(reflector) == {"kept": "1"}
            await until(lambda: reflector.heard > 1.5)
        finally:
            control_plane.thaw()
        await write(admin, namespace, "kept", "2")
        await until(lambda: notes(reflector) == {"kept": "2"})


async def test_after_a_restart_that_forgot_what_was_the_mirror_finds_deletions(
    control_plane: ControlPlane, namespace: str, admin: KubeAPI
) -> None:
    """A version that the restarted server forgot is 410: everything is looked at anew, and what is gone is told."""
    await write(admin, namespace, "doomed", "1")
    await write(admin, namespace, "kept", "1")
    async with (
        cable_to(Access.from_kubeconfig(control_plane.admin)) as (cable, access),
        reflecting(access, namespace) as (reflector, changes, troubles),
    ):
        del changes[:]
        cable.cut()
        await admin.delete(path_of("v1", "configmaps", namespace, "doomed"))
        await write(admin, namespace, "new", "1")
        await asyncio.to_thread(restarted, control_plane)
        cable.mend()
        await until(lambda: notes(reflector) == {"kept": "1", "new": "1"})
        assert sorted(changes, key=str) == [("doomed", "1", None), ("new", None, "1")]
        assert any(isinstance(trouble, ApiError) and trouble.status == 410 for trouble in troubles)


async def test_a_mirror_of_metadata_keeps_only_metadata(
    control_plane: ControlPlane, namespace: str, admin: KubeAPI
) -> None:
    """metadata_only: the server sends no more than that, in the look and in what follows."""
    seen: list[dict[str, Any]] = []
    await write(admin, namespace, "first", "1")
    reflector: Reflector[str] = Reflector(
        admin, path_of("v1", "configmaps", namespace), keep=seen.append, metadata_only=True
    )
    running = asyncio.create_task(reflector.run())
    await until(lambda: len(seen) == 1)
    await write(admin, namespace, "second", "1")
    await until(lambda: len(seen) == 2)
    running.cancel()
    assert [found["metadata"]["name"] for found in seen] == ["first", "second"]
    assert {found["kind"] for found in seen} == {"PartialObjectMetadata"}
    assert not any("data" in found for found in seen)


async def test_a_caller_without_rights_is_told_and_gets_them_later(
    control_plane: ControlPlane, namespace: str, admin: KubeAPI, as_user: Callable[..., Access]
) -> None:
    """Forbidden is reported and tried again, not given up: a role that comes later lets it sync."""
    troubles: list[HitlError] = []
    async with KubeAPI.open(as_user("late")) as api:
        reflector: Reflector[str] = Reflector(
            api, path_of("v1", "configmaps", namespace), keep=note_of, on_trouble=troubles.append
        )
        running = asyncio.create_task(reflector.run())
        await until(lambda: bool(troubles))
        assert isinstance(troubles[0], ApiError)
        assert troubles[0].status == 403
        assert not reflector.synced.is_set()
        rbac = "rbac.authorization.k8s.io"
        await admin.create(
            path_of(f"{rbac}/v1", "roles", namespace),
            {
                "metadata": {"name": "late"},
                "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}],
            },
        )
        await admin.create(
            path_of(f"{rbac}/v1", "rolebindings", namespace),
            {
                "metadata": {"name": "late"},
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "late"},
                "subjects": [{"apiGroup": rbac, "kind": "User", "name": "late"}],
            },
        )
        await until(reflector.synced.is_set)
        running.cancel()
