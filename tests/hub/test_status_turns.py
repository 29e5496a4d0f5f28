"""Authors are told what became of their policies, whatever somebody else has stored (SECURITY B5)."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from hitl.errors import ApiError, StoreUnavailable
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.policy.settings import Settings
from hitl_operator.cluster.acceptance import accept
from hitl_operator.cluster.accepted_specs import AcceptedSpecs
from hitl_operator.cluster.namespaces import NamespaceCache
from hitl_operator.cluster.policy_resources import Resource
from hitl_operator.cluster.policy_source import PolicySource
from hitl_operator.cluster.policy_status import PolicyStatus
from hitl_operator.cluster.readings import Readings
from hitl_operator.metrics import HubMetrics
from hitl_operator.sources import ConfigBook
from hub.test_crowding import BORN, a_resource
from kube.api_servers import answer, serving
from kube.api_servers import status as refusal

PATIENCE = 2.0  # seconds that a call may take here; others may share the machine


class Clock:
    """Seconds, put forward by whoever answers."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Server:
    """Takes statuses, each in `costs` seconds of the clock, and never answers for the policies in `stuck`."""

    def __init__(self, clock: Clock, *, stuck: Iterable[str] = (), costs: float = 0.0) -> None:
        self.told: list[str] = []
        self.tried: list[str] = []
        self.stuck = frozenset(stuck)
        self.knows_us = True
        self._clock = clock
        self._costs = costs

    async def answer(self, request: web.Request) -> web.StreamResponse:
        place = request.path.split("/namespaces/")[1]
        namespace, _, name, _ = place.split("/")
        policy = f"{namespace}/{name}"
        self.tried.append(policy)
        self._clock.now += self._costs
        if policy in self.stuck or namespace in self.stuck:
            await asyncio.Event().wait()
        if not self.knows_us:
            return answer(refusal(401, "Unauthorized"), 401)
        self.told.append(policy)
        return answer({})


@asynccontextmanager
async def writing(server: Server, clock: Clock, *written: Resource) -> AsyncIterator[PolicyStatus]:
    """Who leads, and has just decided about these."""
    async with serving(server.answer) as access, KubeAPI.open(access, deadline=PATIENCE) as api:
        metrics = HubMetrics()
        source = PolicySource(
            api,
            Access(access.server),
            ConfigBook(),
            AcceptedSpecs(api, "hitl-system"),
            settings=Settings(),
            clock=lambda: BORN,
            metrics=metrics,
        )
        source.written.resources = {each.key: each for each in written}
        source.acceptance = accept(written, {}, readings=Readings(), settings=Settings(), now=BORN)
        yield PolicyStatus(
            api,
            source,
            namespaces=NamespaceCache(api),
            operator_namespace="hitl-system",
            leads=lambda: True,
            metrics=metrics,
            clock=lambda: BORN,
            monotonic=clock,
        )


async def test_B5_a_status_that_the_server_does_not_write_in_time_keeps_nobody_else_from_being_told() -> None:
    """B5: its namespace waits, the others are written; later the rest of that namespace comes before it."""
    clock = Clock()
    server = Server(clock, stuck=["heavy/p-0000"])
    policies = [a_resource(0, namespace="heavy"), a_resource(1, namespace="heavy"), a_resource(2, namespace="quiet")]
    async with writing(server, clock, *policies) as status:
        await status.write()
        assert server.told == ["quiet/p-0002"]
        await status.write()
        assert server.tried == ["heavy/p-0000", "quiet/p-0002"], "its namespace waits"
        clock.now += 31
        await status.write()
        assert server.tried[2:] == ["heavy/p-0001", "quiet/p-0002", "heavy/p-0000"], "what is stuck comes last"


async def test_B5_a_server_that_answers_for_nobody_is_not_asked_for_each_policy() -> None:
    """B5: where neither one namespace nor another is answered, all wait, and as soon as it answers all are told."""
    clock = Clock()
    server = Server(clock, stuck=["one", "other"])
    policies = [a_resource(number, namespace=name) for number in range(9) for name in ("one", "other")]
    async with writing(server, clock, *policies) as status:
        with pytest.raises(StoreUnavailable):
            await status.write()
        assert server.tried == ["one/p-0000", "other/p-0000"]
        server.stuck = frozenset()
        await status.write()
        assert set(server.told) == {f"{each.namespace}/{each.name}" for each in policies}


async def test_refused_credentials_are_no_matter_of_a_policy(caplog: pytest.LogCaptureFixture) -> None:
    """401 is about the operator: it is not logged for each policy, and all are told once it is known again."""
    clock = Clock()
    server = Server(clock)
    async with writing(server, clock, a_resource(0, namespace="one"), a_resource(1, namespace="other")) as status:
        server.knows_us = False
        with pytest.raises(ApiError) as refused:
            await status.write()
        assert (refused.value.status, server.tried) == (401, ["one/p-0000"])
        assert "status-refused" not in caplog.text
        server.knows_us = True
        await status.write()
        assert server.told == ["one/p-0000", "other/p-0001"]


async def test_B5_how_many_policies_somebody_has_keeps_nobody_else_from_being_told() -> None:
    """B5: namespaces take turns, and after a moment it is looked again at what is to be written."""
    clock = Clock()
    server = Server(clock, costs=0.04)
    crowd = [a_resource(number) for number in range(100)]
    async with writing(server, clock, *crowd, a_resource(200, namespace="quiet")) as status:
        await status.write()
        assert "quiet/p-0200" in server.told[:2]
        assert 50 <= len(server.told) <= 53, "some two seconds' worth"
        for _ in range(2):
            await status.write()
        assert set(server.told) == {f"crowd/{each.name}" for each in crowd} | {"quiet/p-0200"}
