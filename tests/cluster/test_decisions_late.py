"""From when on a vote is too late on a real API server, whether or not anybody wrote the deadline down."""

import signal
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.gated_pods import Pods, let_nodes_make_tokens, node_access, until
from cluster.operators import Installation
from cluster.voting import ANA, BO, SERIAL, Court, Json, adding, applies, note_of, refused, vote_of
from control_plane.running import ControlPlane
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.requests import API_VERSION, KIND, spec_to_manifest
from hitl.policy.verdicts import OnTimeout
from stores.asking import a_spec

LATE = "and is no longer pending; nothing ran. The agent may ask again"


async def past(request: Json, seconds: float) -> None:
    """Returns so long after the request was made."""
    ends = datetime.fromisoformat(request["metadata"]["creationTimestamp"]) + timedelta(seconds=seconds)
    await until(lambda: datetime.now(UTC) > ends)


async def asked_for(court: Court, timeout: str) -> Json:
    """A request with this very text for a timeout."""
    spec = {**spec_to_manifest(a_spec(on_behalf_of="")), "timeout": timeout}
    metadata = {"name": f"create-refund-{next(SERIAL):010d}", "namespace": court.namespace}
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
    async with court.operator() as api:
        return await api.create(court.path(), body, field_manager="hitl-operator")


@pytest.fixture
async def installation(
    tmp_path: Path, control_plane: ControlPlane, namespace: str, admin: KubeAPI, as_user: Callable[..., Access]
) -> AsyncIterator[Installation]:
    """A gated namespace with ana's policy; no replica yet."""
    let_nodes_make_tokens(control_plane)
    async with KubeAPI.open(node_access(as_user)) as node:
        pods = Pods(control_plane, namespace, admin, node)
        await pods.account()
        installation = Installation(pods, tmp_path)
        await installation.people()
        yield installation
        await installation.close()


@pytest.mark.timeout(600)
async def test_a_request_that_a_hub_opened_takes_no_late_vote_though_the_hub_is_stopped(
    installation: Installation, admin: KubeAPI
) -> None:
    """DESIGN 8: nobody wrote its deadline, for opening is one write; the API server knows it all the same."""
    namespace = installation.pods.namespace
    hurry = {"spec": {"approval": {"timeout": "15s", "holdBudget": None}}}
    await admin.merge_patch(path_of(API_VERSION, "agentpolicies", namespace, "support"), hurry)
    (operator,) = await installation.replicas("a")
    sidecar = await installation.sidecar(operator)
    assert await sidecar.check("toolu_1", wait=False) == "PENDING"
    operator.send(signal.SIGSTOP)
    try:
        (opened,) = await installation.pending()
        path = path_of(API_VERSION, "approvalrequests", namespace, opened.name, "status")
        request = await admin.get(path)
        assert request["status"] == {"state": "Pending"}
        await past(request, 15)
        access = Access.from_kubeconfig(installation.pods.plane.kubeconfig(ANA.name, ["support"]))
        async with KubeAPI.open(access) as ana:
            for decision in ("Approved", "Denied"):
                vote = {"status": {"decisions": [vote_of(ANA, request, decision, groups=["support"])]}}
                with pytest.raises(ApiError, match=LATE) as caught:
                    await ana.merge_patch(path, vote)
                assert caught.value.status == 403
        assert (await admin.get(path))["status"] == {"state": "Pending"}
    finally:
        operator.send(signal.SIGCONT)


async def test_late_votes_are_refused_though_nobody_wrote_the_end(court: Court) -> None:
    """DESIGN 8: past the deadline that was written, by the server's clock, a vote is too late."""
    request = await court.ask(expires=-1)
    for entry in (vote_of(ANA, request), vote_of(ANA, request, "Denied")):
        await refused(court, ANA, request, adding(entry), LATE)
    await refused(court, ANA, request, adding(note_of(ANA, request), "notes"), LATE)
    spent = await court.ask(a_spec(on_timeout=OnTimeout.RETRY), expires=-1, status={"rounds": 1})
    await refused(court, ANA, spent, adding(vote_of(ANA, spent)), LATE)


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [
        ("1s", 1),
        ("2000ms", 2),
        ("0m1s500ms", 1.5),
        ("0d0h0m2s", 2),
        ("5ms", 1),
    ],  # no less than a second, as for the hub
)
async def test_late_votes_are_refused_though_nobody_wrote_the_deadline(
    court: Court, timeout: str, seconds: float
) -> None:
    """DESIGN 8: where nothing was written since the opening, the deadline is that of the timeout, and says so."""
    request = await asked_for(court, timeout)
    ends = datetime.fromisoformat(request["metadata"]["creationTimestamp"]) + timedelta(seconds=seconds)
    said = f"expired at {ends:%Y-%m-%dT%H:%M:%S}{f'{seconds % 1:.1f}'[1:] if seconds % 1 else ''}Z {LATE}"
    await past(request, 2)
    for entry in (vote_of(ANA, request), vote_of(ANA, request, "Denied")):
        await refused(court, ANA, request, adding(entry), said)
    await refused(court, ANA, request, adding(note_of(ANA, request), "notes"), said)


async def test_votes_in_time_are_taken_whatever_the_timeout_is_written_in(court: Court) -> None:
    """DESIGN 6: no form of a duration that the CRD takes is taken for less time than it says."""
    forms = ("90s", "15m", "1h30m", "1d", "7d", "604800000ms", "9d", "99999999999999999999d")
    requests = [await asked_for(court, timeout) for timeout in forms]
    await past(requests[-1], 2)
    for request in requests:
        await court.vote(ANA, request)
        assert len((await court.look(request))["status"]["decisions"]) == 1


async def test_late_votes_are_taken_while_a_round_is_left(court: Court) -> None:
    """DESIGN 8: past the deadline of a request that gets one more timeout a vote is in time, until that is over."""
    request = await court.ask(a_spec(on_timeout=OnTimeout.RETRY), expires=-5)
    await court.vote(ANA, request)
    assert len((await court.look(request))["status"]["decisions"]) == 1
    brief = await court.ask(a_spec(on_timeout=OnTimeout.RETRY, timeout=1))
    await past(brief, 2)
    await refused(court, ANA, brief, adding(vote_of(ANA, brief)), LATE)


async def test_a_note_that_waits_to_be_heeded_keeps_the_vote_open(court: Court) -> None:
    """DESIGN 8: who asked for more time in time is not told that it is over before the operator has looked."""
    heeded, unheeded, asks_others = [await court.ask() for _ in range(3)]
    async with court.api(ANA) as api:
        for request, kind in ((heeded, "Extend"), (unheeded, "Extend"), (asks_others, "Escalate")):
            path = court.path(request["metadata"]["name"], "status")
            await applies(api, path, request, [note_of(ANA, request, kind)], manager="n", where="notes")
    async with court.operator() as api:
        for request in (heeded, unheeded, asks_others):
            await court.outcome(request, {"expirationTime": request["metadata"]["creationTimestamp"]}, api)
    await court.vote(ANA, heeded)
    await court.vote(ANA, unheeded)
    await refused(court, BO, asks_others, adding(vote_of(BO, asks_others)), LATE)
    async with court.operator() as api:
        word = {"reviewer": ANA.name, "note": 1}
        await court.outcome(heeded, {"verified": [word], "notesApplied": 1}, api)
        await court.outcome(unheeded, {"verified": [{**word, "refused": "ana may not extend"}]}, api)
    for request in (heeded, unheeded):
        await refused(court, BO, request, adding(vote_of(BO, request)), LATE)
