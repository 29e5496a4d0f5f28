"""Who makes, changes and removes requests on a real API server: the operator, and nobody else (C3)."""

from typing import Any

import orjson
import pytest

from cluster.voting import (
    AGENT,
    ANA,
    EDITOR,
    MASTER,
    OPERATOR,
    Court,
    Json,
    Person,
    adding,
    ending,
    note_of,
    refused,
    vote_of,
)
from control_plane.running import ControlPlane
from hitl.errors import ApiError
from hitl.kube.requests import API_VERSION, KIND, spec_to_json
from hitl.kube.shipped import DEFAULT, roles
from hitl_operator.cluster.probe import Probe
from stores.asking import a_spec

OTHERS = [EDITOR, ANA, AGENT, MASTER]
NAMES = ["an editor", "a reviewer", "the agent", "an administrator"]
NAMESPACES_END = Person(
    "system:serviceaccount:kube-system:namespace-controller",
    ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:masters"),
)


def a_body(court: Court, **changes: Any) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "forged-0000000001", "namespace": court.namespace},
        "spec": orjson.loads(spec_to_json(a_spec())),
        **changes,
    }


@pytest.mark.parametrize("person", OTHERS, ids=NAMES)
async def test_C3_only_the_operator_makes_requests(court: Court, person: Person) -> None:
    """C3: a request that no hub opened is refused from everybody, created, applied, or under a generated name."""
    anonymous = a_body(court, metadata={"generateName": "forged-", "namespace": court.namespace})
    async with court.api(person) as api:
        for body in (a_body(court), anonymous):
            with pytest.raises(ApiError, match="only the hub asks") as raised:
                await api.create(court.path(), body)
            assert raised.value.status == 403
        with pytest.raises(ApiError, match="only the hub asks"):
            await api.apply(court.path("forged-0000000001"), a_body(court), field_manager="x", force=True)


@pytest.mark.parametrize("person", OTHERS, ids=NAMES)
async def test_C3_only_the_operator_changes_requests(court: Court, person: Person) -> None:
    """C3: labels, annotations, finalizers and owners of a request are nobody's to write, in any way of writing."""
    request = await court.ask()
    path = court.path(request["metadata"]["name"])
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
    async with court.api(person) as api:
        live = await api.get(path)
        for more in (
            {"labels": {"x": "y"}},
            {"annotations": {"x": "y"}},
            {"finalizers": ["example.com/keep"]},
            {"ownerReferences": [owner]},
            {"managedFields": [{}]},
        ):
            body = {**live, "metadata": {**live["metadata"], **more}}
            name = {"name": request["metadata"]["name"], **more}
            named = {"apiVersion": API_VERSION, "kind": KIND, "metadata": name}
            for attempt in (
                api.replace(path, body),
                api.merge_patch(path, {"metadata": more}),
                api.json_patch(path, [{"op": "add", "path": f"/metadata/{k}", "value": v} for k, v in more.items()]),
                *([] if "managedFields" in more else [api.apply(path, named, field_manager="x", force=True)]),
            ):
                with pytest.raises(ApiError, match="a request is never changed"):
                    await attempt
    assert await court.look(request) == live


@pytest.mark.parametrize("person", OTHERS, ids=NAMES)
async def test_C3_only_the_operator_removes_requests(court: Court, person: Person) -> None:
    """C3: evidence is deleted by nobody else, one by one, all at once, or as a dry run."""
    request = await court.ask()
    name = request["metadata"]["name"]
    async with court.api(person) as api:
        with pytest.raises(ApiError, match=f"to end it: kubectl hitl deny {name}"):
            await api.delete(court.path(name))
        with pytest.raises(ApiError, match="a request is evidence"):
            await api.delete(court.path(name), dry_run=True)
        with pytest.raises(ApiError, match="a request is evidence"):
            await api.delete(court.path())
    assert await court.look(request) == request | {"metadata": (await court.look(request))["metadata"]}


async def test_C3_an_ending_namespace_is_emptied_by_its_controller(court: Court) -> None:
    """C3: the namespace controller may delete, else no namespace would ever end; it may do nothing else."""
    request = await court.ask()
    path = court.path(request["metadata"]["name"])
    async with court.api(NAMESPACES_END) as api:
        with pytest.raises(ApiError, match="only the hub asks"):
            await api.create(court.path(), a_body(court))
        with pytest.raises(ApiError, match="a request is never changed"):
            await api.merge_patch(path, {"metadata": {"labels": {"x": "y"}}})
        await api.delete(path)
    with pytest.raises(ApiError) as raised:
        await court.look(request)
    assert raised.value.status == 404


async def test_C3_the_operator_makes_and_removes_requests(control_plane: ControlPlane, namespace: str) -> None:
    """C3: what nobody else may, the operator may: here with its shipped role alone, for this namespace has no other."""
    bare = Court(control_plane, namespace)
    request = await bare.ask(expires=900)
    async with bare.operator() as api:
        await api.delete(bare.path(request["metadata"]["name"]), uid=request["metadata"]["uid"])
    with pytest.raises(ApiError) as raised:
        await bare.look(request)
    assert raised.value.status == 404


async def test_C3_a_request_is_born_pending_whatever_was_sent(court: Court) -> None:
    """C3, I5: an outcome or a vote that is sent when a request is created is dropped by the API server."""
    body = a_body(court, metadata={"name": "born-0000000001", "namespace": court.namespace})
    body["status"] = {**ending("Consumed"), "decisions": [{"reviewer": "ana@example.com"}]}
    async with court.operator() as api:
        made = await api.create(court.path(), body)
    assert made["status"] == {"state": "Pending"}


async def test_C3_the_status_of_others_is_no_way_in(court: Court) -> None:
    """C3: whoever may write the status may not decide what came of a request, whatever else he may."""
    people, others = "write exactly one new decision or note", "Only people decide"
    for person, words in ((EDITOR, people), (ANA, people), (MASTER, others), (AGENT, others)):
        for state in ("Approved", "Denied", "Cancelled", "Consumed"):
            request = await court.ask()
            change = lambda status, _, to=state: {**status, **ending(to)}  # noqa: E731 - one for each state
            await refused(court, person, request, change, words)


# --- what the operator may not either


async def test_I3_the_operator_counts_no_vote_that_was_not_cast(court: Court) -> None:
    """I3: a word that a vote counts needs the vote, by name and, for notes, by number."""
    request = await court.ask()
    await court.vote(ANA, request)
    for word in (
        {"reviewer": "mallory@example.com", "note": 0},
        {"reviewer": ANA.name.upper(), "note": 0},
        {"reviewer": ANA.name, "note": 1},
    ):
        change = lambda status, _, said=word: {**status, "verified": [said]}  # noqa: E731 - one for each word
        await refused(court, OPERATOR, request, change, "A vote is stored before anybody says that it counts")
    async with court.operator() as api:
        await court.outcome(request, {"verified": [{"reviewer": ANA.name}]}, api)
    assert (await court.look(request))["status"]["verified"] == [{"reviewer": ANA.name, "note": 0}]


async def test_C3_the_operator_keeps_nothing_open_for_longer_than_a_week(court: Court) -> None:
    """DESIGN 6: expirationTime is at most seven days after the request was made, for the operator too."""
    request = await court.ask()
    change = lambda status, _: {**status, "expirationTime": "2099-01-01T00:00:00.000000Z"}  # noqa: E731 - one story
    await refused(court, OPERATOR, request, change, "Nothing stays open longer than 7 days")


async def test_I3_the_operator_takes_nobody_s_entry_by_force(court: Court) -> None:
    """I3, C2: an apply by force of a vote as it stands changes nothing in it; another one is refused."""
    request = await court.ask()
    await court.vote(ANA, request)
    again = adding(vote_of(ANA, request, "Denied"))
    await refused(court, OPERATOR, request, again, "Duplicate value", ways=("replace", "merge patch", "JSON patch"))
    path = court.path(request["metadata"]["name"], "status")
    async with court.operator() as api:
        for entries, where, words in (
            ([vote_of(ANA, request, "Denied")], "decisions", "a decision is never changed"),
            ([note_of(ANA, request)], "notes", "Notes are people's"),
        ):
            with pytest.raises(ApiError, match=words):
                await api.apply(
                    path,
                    {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": request["metadata"]["name"]},
                     "status": {where: entries}},
                    field_manager="hitl-operator", force=True,
                )  # fmt: skip


async def test_C4_the_operator_s_own_forged_dry_runs_are_refused(court: Court) -> None:
    """C4: what the operator forges to see whether the policies act is refused, each by the policy that it tries."""
    async with court.operator() as api:
        assert await Probe(api, DEFAULT.namespace, DEFAULT.operator).refused() == ""


def test_the_operator_has_no_right_by_wildcard_and_no_secret_elsewhere() -> None:
    """Least rights: no rule of ours names everything, impersonates, or reads Secrets of other namespaces."""
    rules = [rule for role in roles() if role["kind"] in ("ClusterRole", "Role") for rule in role["rules"]]
    assert not [rule for rule in rules if "*" in [each for key in rule for each in rule[key]]]
    assert not [rule for rule in rules if {"impersonate", "bind"} & set(rule["verbs"])]
    everywhere = [rule for role in roles() if role["kind"] == "ClusterRole" for rule in role["rules"]]
    assert not [rule for rule in everywhere if "secrets" in rule.get("resources", ())]
