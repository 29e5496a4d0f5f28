"""A ClusterAgentPolicy that cannot be read makes all config old; an AgentPolicy concerns its own namespace (I2, B5)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from hitl.errors import InvalidInput
from hitl.kube.access import Access
from hitl.kube.api import LIST_METADATA, KubeAPI
from hitl_operator.cluster.policy_resources import KINDS
from hitl_operator.cluster.written_policies import WrittenPolicies
from hitl_operator.metrics import HubMetrics
from kube.api_servers import a_page, answer, serving, status

DENY = {"rules": [{"action": "Deny", "tools": ["delete_*"]}]}
BASE, OWN = ("ClusterAgentPolicy", "", "base"), ("AgentPolicy", "shop", "support")


class Server:
    """Serves one baseline and one policy, of which it can spoil what says when each was made."""

    def __init__(self) -> None:
        self.version = 10
        self.spoilt: set[tuple[str, str, str]] = set()
        self.deleted: set[tuple[str, str, str]] = set()

    def manifest(self, key: tuple[str, str, str]) -> dict[str, Any]:
        kind, namespace, name = key
        metadata = {
            "name": name,
            "uid": f"uid-of-{name}",
            "generation": self.version,
            "resourceVersion": str(self.version),
            "creationTimestamp": "yesterday" if key in self.spoilt else "2026-03-01T12:00:00Z",
            **({"namespace": namespace} if namespace else {}),
        }
        return {"apiVersion": "hitl.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": DENY}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        *_, last = request.path.split("/")
        if last.endswith(".hitl.dev"):
            return answer({"metadata": {"name": last}})
        if last in KINDS:
            found = [self.manifest(key) for key in (BASE, OWN) if key[0] == KINDS[last] and key not in self.deleted]
            slim = [{"metadata": each["metadata"]} for each in found]
            return answer(a_page(self.version, *(slim if request.headers["Accept"] == LIST_METADATA else found)))
        for key in (BASE, OWN):
            if key[2] == last and key not in self.deleted:
                return answer(self.manifest(key))
        return answer(status(404, "NotFound"), 404)


class Seconds:
    """A clock that stands until it is put forward."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def mirrored(server: Server, seconds: Seconds) -> AsyncIterator[WrittenPolicies]:
    """What is there, as a replica that runs has seen it."""
    async with serving(server.answer) as access, KubeAPI.open(access) as api:
        written = WrittenPolicies(
            api, Access(access.server), lambda: None, metrics=HubMetrics(), look_every=600, monotonic=seconds
        )
        await written.begin()
        yield written


async def test_I2_a_running_replica_takes_an_unreadable_baseline_as_one_that_starts() -> None:
    """I2: it says which and what to do, its config gets old, and what it read before stays until it can be read."""
    server, seconds = Server(), Seconds()
    async with mirrored(server, seconds) as written:
        assert written.resources.keys() == {BASE, OWN}
        server.version, server.spoilt = 11, {BASE}
        seconds.now += 10
        for look in (written.look, written.begin):
            with pytest.raises(InvalidInput, match=r"ClusterAgentPolicy base cannot be read .*correct or delete it"):
                await look()
        assert written.age == 10
        assert written.resources[BASE].generation == 10
        server.spoilt = set()
        await written.look()
        assert (written.age, written.resources[BASE].generation) == (0, 11)


async def test_I2_one_that_is_deleted_is_in_nobodys_way() -> None:
    """I2: whoever runs the cluster ends it by deleting the baseline, and is told nothing more."""
    server, seconds = Server(), Seconds()
    async with mirrored(server, seconds) as written:
        server.version, server.deleted = 11, {BASE}
        seconds.now += 10
        await written.look()
        assert (written.age, written.resources.keys()) == (0, {OWN})


async def test_B5_an_unreadable_policy_of_a_namespace_keeps_nobody_elses_config_from_being_fresh() -> None:
    """B5: what somebody with one namespace has stored is passed over, and what else is written is followed."""
    server, seconds = Server(), Seconds()
    async with mirrored(server, seconds) as written:
        server.version, server.spoilt = 11, {OWN}
        seconds.now += 10
        await written.look()
        assert written.age == 0
        assert {key: each.generation for key, each in written.resources.items()} == {BASE: 11, OWN: 10}


async def test_I2_what_a_watch_says_of_an_unreadable_baseline_is_looked_at_soon() -> None:
    """I2: it takes no whole round of looks until sidecars are told that their config gets old."""
    server, seconds = Server(), Seconds()
    async with mirrored(server, seconds) as written:
        server.spoilt = {BASE, OWN}
        written._told("AgentPolicy", "MODIFIED", server.manifest(OWN))
        assert not written._look_soon.is_set()
        written._told("ClusterAgentPolicy", "MODIFIED", server.manifest(BASE))
        assert written._look_soon.is_set()
