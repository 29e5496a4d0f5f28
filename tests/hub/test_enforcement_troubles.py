"""The check of enforcement on API servers that answer oddly: it goes on, and nothing counts meanwhile (C4, I2)."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from hubs import a_spec, eventually

from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, RequestStatus
from hitl.errors import ApiError, HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.comparison import digest_of
from hitl_operator.cluster.guard import Enforcement
from hitl_operator.cluster.probe import Probe
from hitl_operator.metrics import HubMetrics
from kube.api_servers import a_page, an_object, answer, events, serving, status

DENIED = "ValidatingAdmissionPolicy 'hitl-decisions' with binding 'hitl-decisions' denied request: not yours"
KEPT = an_object("hitl-probe", 5, status={"conditions": [{"type": "Cancelled"}]})
KEPT["metadata"]["uid"] = "uid-of-the-probe"


class Server:
    """An API server of no guards at all. What a story wants otherwise it sets; `asked` counts by method and kind."""

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], int] = {}
        self.vote = answer_of(422, DENIED)
        self.other = answer_of(503)
        self.lists = 200
        self.secret: dict[str, Any] | None = None
        self.saved = 409

    async def reply(self, request: web.Request) -> web.StreamResponse:
        kind = request.path.split("/")[-1]
        self.asked[request.method, kind] = self.asked.get((request.method, kind), 0) + 1
        if "watch" in request.query:
            stream = await events(request)
            await asyncio.Event().wait()
            return stream
        match request.method, kind:
            case "PATCH", "status":
                forged = (await request.json())["status"]
                return answer(*(self.vote if "notes" in forged else self.other))
            case "GET", "hitl-probe":
                return answer(KEPT)
            case "GET", "hitl-enforcement":
                return answer(*(answer_of(404) if self.secret is None else (self.secret, 200)))
            case "GET", _:
                return answer(a_page(7) if self.lists == 200 else status(self.lists, ""), self.lists)
            case "POST", "secrets":
                return answer(*answer_of(self.saved, "there is no namespace hitl-system"))
        return answer(*self.other)


def answer_of(code: int, message: str = "no") -> tuple[dict[str, Any], int]:
    return status(code, "", message), code


class Settling:
    """The hub's part; told that everything stands otherwise."""

    def __init__(self) -> None:
        self.looks = 0

    def look_at_all(self) -> None:
        self.looks += 1

    async def void(self, _namespace: str, _name: str, _why: str, *, unless_known: bool) -> bool:
        raise AssertionError(f"nothing is to be ended here ({unless_known})")


@asynccontextmanager
async def checked(server: Server) -> AsyncIterator[tuple[Enforcement, HubMetrics]]:
    """The check while it runs against a server."""
    metrics = HubMetrics()
    async with serving(server.reply) as access, KubeAPI.open(access) as api:
        enforcement = Enforcement(api, hub_metrics=metrics)
        running = asyncio.create_task(enforcement.run(Settling()))
        try:
            yield enforcement, metrics
            assert not running.done(), "whatever happens, it goes on"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def until(server: Server, method: str, kind: str, times: int) -> None:
    async def asked() -> int:
        return server.asked.get((method, kind), 0)

    await eventually(asked, lambda found: found >= times)


def voted() -> ApprovalRequest:
    """A request in which somebody has written."""
    spec = a_spec()
    vote = Decision("mallory@example.com", DecisionKind.APPROVED, spec.digest, "uid-1")
    return ApprovalRequest("shop", "r", "uid-1", "9", datetime.now(UTC), spec, RequestStatus(decisions=(vote,)))


async def test_C4_a_vote_that_was_let_through_is_a_gap_though_nothing_else_can_be_read() -> None:
    """C4: a server without admission policies takes the forged vote and is then away; that is not forgotten."""
    server = Server()
    server.vote, server.lists = (KEPT, 200), 503
    async with serving(server.reply) as access, KubeAPI.open(access) as api:
        enforcement = Enforcement(api)
        enforcement._lost = None  # as after a look at a server of ours
        with pytest.raises(HitlError):
            await enforcement.vouch(voted())

        async def stands() -> bool:
            return enforcement.stands

        await eventually(stands, lambda found: not found)
        assert "another person's name was not refused" in enforcement._let_through


async def test_C4_a_trial_that_was_let_through_counts_whatever_became_of_the_others() -> None:
    """C4: the server dies while it is being tried; what it had let through by then is known."""
    server = Server()
    server.vote, server.other = (KEPT, 200), answer_of(503)
    async with serving(server.reply) as access, KubeAPI.open(access) as api:
        found = await Probe(api, "hitl-system", "op").refused()
    assert "another person's name was not refused" in found


async def test_C4_where_trials_find_nothing_to_be_made_on_it_says_so() -> None:
    """C4: a server that has the request when it is read and not when it is written is asked twice, then reported."""
    server = Server()
    server.vote = answer_of(404)
    async with serving(server.reply) as access, KubeAPI.open(access) as api:
        with pytest.raises(ApiError, match=r"hitl-system/hitl-probe, .* is not found when it is written; see that"):
            await Probe(api, "hitl-system", "op").vote_refused()
    assert server.asked["PATCH", "status"] == 2


async def test_C4_a_lost_race_is_run_again_after_a_pause() -> None:
    """C4: a server that says each time that another replica was first is not asked as fast as it answers."""
    server = Server()
    began = time.monotonic()
    async with checked(server) as (enforcement, _):
        await until(server, "POST", "secrets", 5)
        assert time.monotonic() - began >= 4 * 0.05
        assert not enforcement.stands


async def test_C4_a_namespace_that_is_not_there_is_no_lost_race() -> None:
    """C4: it is said, and looked for again as anything that is missing."""
    server = Server()
    server.saved = 404
    async with checked(server) as (enforcement, _):
        await asyncio.wait_for(enforcement.is_known.wait(), 60)
        assert "there is no namespace hitl-system" in enforcement.why
        assert enforcement.lost is not None


async def test_C4_what_it_stumbles_over_ends_neither_it_nor_the_replica() -> None:
    """C4, I2: a defect of ours is counted, no vote counts meanwhile, and it is looked at again."""
    server = Server()
    server.secret = {"kind": "Secret"}  # no metadata: nobody had thought of that
    async with checked(server) as (enforcement, metrics):
        await asyncio.wait_for(enforcement.is_known.wait(), 60)
        assert "stumbled" in enforcement.why
        assert enforcement.lost is not None
        assert metrics.registry.get_sample_value("hitl_defects_total", {"where": "enforcement"})
        server.secret = None
        await until(server, "POST", "secrets", 1)


def test_C4_a_guard_with_a_number_beyond_what_json_agrees_on_has_a_digest() -> None:
    """C4: whoever writes one into a guard gets it reported as changed, and stops no check."""
    found = {digest_of({"spec": {"a": {"max": number}}}) for number in (2**53 - 1, 2**60, 2**60 + 1)}
    assert len(found) == 3
    assert digest_of({"spec": {"a": 2**60, "b": 1}}) == digest_of({"spec": {"b": 1, "a": 2**60}})
