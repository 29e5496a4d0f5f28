"""What was written stays on a real API server: nothing after the end, nobody's time, manager or terms touched."""

import asyncio
from typing import Any

import pytest

from cluster.voting import (
    ANA,
    BO,
    JUNIOR,
    MIA,
    WAYS,
    Change,
    Court,
    Json,
    Person,
    adding,
    applies,
    condition,
    ending,
    note_of,
    refused,
    tries,
    vote_of,
)
from hitl.errors import ApiError
from hitl.policy.verdicts import Requirement
from stores.asking import a_spec

ENDS = ("Approved", "Denied", "Expired", "Cancelled", "Consumed")


def two() -> Any:
    return a_spec(requirements=(Requirement("leads", approvals=2),), denials_to_end=2)


def with_(**more: Any) -> Change:
    return lambda status, _: {**status, **more}


@pytest.mark.parametrize(
    ("expires", "words"),
    [(900, "the record of who wrote when must stay"), (None, "the field manager hitl-operator is not yours")],
    ids=["it wrote", "it wrote nothing yet"],
)
async def test_C2_nobody_votes_under_the_operator_s_manager(court: Court, expires: float | None, words: str) -> None:
    """C2: a vote in the operator's own record would move in time with each of its writes; nor is one begun for it."""
    request = await court.ask(expires=expires)
    before = await court.look(request)
    async with court.api(ANA) as api:
        path = court.path(request["metadata"]["name"], "status")
        with pytest.raises(ApiError, match=words):
            await api.merge_patch(
                path, {"status": {"decisions": [vote_of(ANA, request)]}}, field_manager="hitl-operator"
            )
    assert await court.look(request) == before


async def test_C2_a_forged_record_of_who_wrote_when_is_not_stored(court: Court) -> None:
    """C2: managedFields sent along with a vote, an older time for it or none for another's, change nothing."""
    request = await court.ask(two())
    await court.vote(ANA, request, manager="hitl-ana")
    live = await court.look(request)
    forged = [{**each, "time": "2020-01-01T00:00:00Z"} for each in live["metadata"]["managedFields"]]
    for person, fields in ((BO, forged), (MIA, [{}])):
        live = await court.look(request)
        entries = [*live["status"]["decisions"], vote_of(person, live)]
        body = {
            **live,
            "metadata": {**live["metadata"], "managedFields": fields},
            "status": {**live["status"], "decisions": entries},
        }
        async with court.api(person) as api:
            path = court.path(request["metadata"]["name"], "status")
            await api.replace(path, body, field_manager=f"hitl-{person.name}")
    kept = (await court.look(request))["metadata"]["managedFields"]
    assert {each["manager"] for each in kept} >= {"hitl-ana", f"hitl-{BO.name}", f"hitl-{MIA.name}"}
    assert not [each for each in kept if each["time"].startswith("2020")]


@pytest.mark.parametrize("end", ENDS)
async def test_I5_no_vote_after_the_end(court: Court, end: str) -> None:
    """C1, I5: once any outcome is True nobody votes, or asks for time or for others."""
    request = await court.ask(two())
    await court.end(request, end)
    words = f"is no longer pending: it is {end}"
    for entry in (vote_of(MIA, request), vote_of(MIA, request, "Denied")):
        await refused(court, MIA, request, adding(entry), "voting has ended: it is no longer pending")
    for kind in ("Extend", "Escalate"):
        await refused(court, MIA, request, adding(note_of(MIA, request, kind), "notes"), words)
    async with court.api(MIA) as api:
        path = court.path(request["metadata"]["name"], "status")
        await applies(api, path, request, [note_of(MIA, request, "Feedback")], manager="f", where="notes")


@pytest.mark.parametrize(
    "more",
    [
        {"state": "Approved"},
        {"state": "Approved", "conditions": [condition("Approved")]},
        {"state": "Denied", "conditions": [condition("Denied", "DeniedByReviewer")]},
        {"conditions": [condition("Escalated", "Asked")]},
        {"verified": [{"reviewer": ANA.name, "groups": ["managers"], "hardware": True}]},
        {"expirationTime": "2099-01-01T00:00:00.000000Z"},
        {"requirements": [{"name": "anyone", "approvals": 1}]},
        {"rounds": 1},
        {"escalated": 1},
        {"result": "Succeeded"},
    ],
    ids=", ".join,
)
async def test_C1_nothing_else_in_status_is_a_reviewer_s(court: Court, more: Json) -> None:
    """C1: a good vote that brings an outcome, a deadline, terms or the hub's word along is refused as a whole."""
    request = await court.ask()

    def change(status: Json, _: Json) -> Json:
        return {**status, "decisions": [vote_of(ANA, request)], **more}

    of_the_crd = "state follows from the conditions" if says_its_end(more) else ""
    await refused(court, ANA, request, change, of_the_crd or "nothing in status is yours to write")
    await refused(court, ANA, request, with_(**more), of_the_crd or "write exactly one new")


def says_its_end(status: Json) -> bool:
    """Whether the CRD refuses this state already: it is not that of the conditions."""
    return status == {"state": "Approved"}


async def test_C1_a_vote_that_takes_terms_away_is_refused(court: Court) -> None:
    """C1: a replace that leaves the deadline out, beside a good vote, is refused."""
    request = await court.ask(expires=900)

    def change(status: Json, _: Json) -> Json:
        return {"state": status["state"], "decisions": [vote_of(ANA, request)]}

    ways = ("replace", "merge patch", "JSON patch")
    await refused(court, ANA, request, change, "expirationTime may not be dropped", ways=ways)


async def test_C1_metadata_and_spec_do_not_ride_on_a_vote(court: Court) -> None:
    """C1, C3: labels, annotations, owners, finalizers and another question, sent with a vote, are not stored."""
    request = await court.ask()
    live = await court.look(request)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
    body = {
        **live,
        "metadata": {
            **live["metadata"],
            "labels": {"x": "y"},
            "annotations": {"x": "y"},
            "finalizers": ["example.com/keep"],
            "ownerReferences": [owner],
        },
        "spec": {**live["spec"], "tier": "confirm", "summary": "something harmless", "excluded": []},
        "status": {**live["status"], "decisions": [vote_of(ANA, request)]},
    }
    async with court.api(ANA) as api:
        await api.replace(court.path(request["metadata"]["name"], "status"), body, field_manager="all-at-once")
    after = await court.look(request)
    assert after["spec"] == live["spec"]
    assert not {"labels", "annotations", "finalizers", "ownerReferences"} & set(after["metadata"])
    assert len(after["status"]["decisions"]) == 1


async def test_C1_a_vote_cannot_lower_the_tier_it_is_judged_by(court: Court) -> None:
    """C1: the tier that counts is the stored one: a junior's replace with spec.tier confirm changes nothing."""
    request = await court.ask(a_spec(tier="multi-factor"))

    async with court.api(JUNIOR) as api:
        live = await court.look(request)
        body = {
            **live,
            "spec": {**live["spec"], "tier": "confirm"},
            "status": {**live["status"], "decisions": [vote_of(JUNIOR, request)]},
        }
        with pytest.raises(ApiError, match="you may not approve MultiFactor"):
            await api.replace(court.path(request["metadata"]["name"], "status"), body)


async def test_I3_dry_runs_are_checked_and_store_nothing(court: Court) -> None:
    """I3: a dry run tells the truth: a forged vote is refused in it, a good one passes and is not kept."""
    request = await court.ask()
    path = court.path(request["metadata"]["name"], "status")
    async with court.api(ANA) as api:
        forged = [vote_of(ANA, request, reviewer=BO.name)]
        with pytest.raises(ApiError, match="speak for nobody else"):
            await api.merge_patch(path, {"status": {"decisions": forged}}, dry_run=True)
        await api.merge_patch(path, {"status": {"decisions": [vote_of(ANA, request)]}}, dry_run=True)
    assert "decisions" not in (await court.look(request))["status"]


async def test_C1_a_ninth_note_is_refused(court: Court) -> None:
    """DESIGN 6: nobody fills a request with more than eight notes of his."""
    request = await court.ask()
    path = court.path(request["metadata"]["name"], "status")
    async with court.api(ANA) as api:
        for n in range(1, 9):
            entry = note_of(ANA, request, "Feedback", n)
            await applies(api, path, request, [entry], manager=f"hitl-note-{n}", where="notes")
    await refused(court, ANA, request, adding(note_of(ANA, request, "Feedback", 9), "notes"), "less than or equal to 8")
    again = adding(note_of(ANA, request, "Feedback", 1), "notes")
    await refused(court, ANA, request, again, "Duplicate value", ways=("replace", "merge patch", "JSON patch"))


async def test_C1_votes_that_race_the_end_lose_or_come_first(court: Court) -> None:
    """I5: of a vote and an outcome at the same moment one is first; never does a vote stand that came after."""
    request = await court.ask(two())
    await court.vote(ANA, request)
    live = await court.look(request)
    version = live["metadata"]["resourceVersion"]
    path = court.path(request["metadata"]["name"], "status")
    async with court.api(BO) as bo, court.operator() as operator:
        patch = {"metadata": {"resourceVersion": version}, "status": ending("Cancelled")}
        vote, end = await asyncio.gather(
            applies(bo, path, request, [vote_of(BO, request)], manager="bo"),
            operator.merge_patch(path, patch, field_manager="hitl-operator"),
            return_exceptions=True,
        )
    lost = [each for each in (vote, end) if isinstance(each, ApiError)]
    assert len(lost) == 1, (vote, end)
    assert lost[0].status in (403, 409, 422)


def test_every_way_of_writing_is_tried() -> None:
    """The stories of this tier write by PUT, merge patch, JSON patch and server-side apply."""
    assert set(WAYS) == {"replace", "merge patch", "JSON patch", "apply"}


async def test_C2_nobody_takes_the_field_manager_of_another(court: Court) -> None:
    """C2: a vote under the manager that kubectl hitl would use for somebody else would keep him from voting."""
    request = await court.ask(two())
    path = court.path(request["metadata"]["name"], "status")
    async with court.api(BO) as api:
        for manager in (
            f"hitl:decision:{ANA.name}",
            f"hitl:note-1:{ANA.name}",
            f"hitl:decision:x:{BO.name}",
            f"hitl:note-12:{BO.name}",
            "hitl:decision:" + "a" * 64,
            "hitl:",
        ):
            with pytest.raises(ApiError, match="is not yours"):
                await applies(api, path, request, [vote_of(BO, request)], manager=manager)
    fresh = await court.ask()
    await court.vote(ANA, fresh, manager=f"hitl:decision:{ANA.name}")
    assert len((await court.look(fresh))["status"]["decisions"]) == 1


async def test_I2_a_crowd_that_says_all_it_may_does_not_keep_the_next_one_from_voting(court: Court) -> None:
    """I2: the checks cost what they may cost also on the fullest request: its last vote passes, none is lost."""
    crowd = [Person(f"reviewer-{n:02d}@example.com", ("crowd", *(f"group-{i}" for i in range(31)))) for n in range(32)]
    court.let_in_group("crowd", "hitl-senior-reviewer", "hitl-test-writes-anything", member=crowd[0])
    asked = tuple(Requirement(f"r{n}", approvals=3, any_of=crowd[0].groups) for n in range(7))
    request = await court.ask(a_spec(requirements=asked))
    path = court.path(request["metadata"]["name"], "status")
    for n, person in enumerate(crowd):
        async with court.api(person) as api:
            if n < 4:
                for number in range(1, 9):
                    entry = note_of(person, request, "Feedback", number, reason="é" * 2000)
                    await applies(
                        api, path, request, [entry], manager=f"hitl:note-{number}:{person.name}", where="notes"
                    )
            edit = {"argumentsPatch": {"amount": "x" * 4000}} if n < 22 else {}
            vote = vote_of(person, request, "Approved" if edit else "Denied", reason="é" * 2000,
                           groups=list(person.groups), **edit)  # fmt: skip
            await applies(api, path, request, [vote], manager=f"hitl:decision:{person.name}")
    assert len((await court.look(request))["status"]["decisions"]) == 32
    async with court.operator() as api:
        words = [{"reviewer": person.name, "groups": list(person.groups)} for person in crowd]
        await court.outcome(request, {"verified": words}, api)
        await court.outcome(request, ending("Approved"), api)


async def test_I2_approvals_that_count_for_nothing_do_not_keep_a_denial_out(court: Court) -> None:
    """I2, I3: the last ten of 32 places are for denials; a crowd in no wanted group does not use them up."""
    crowd = [Person(f"outsider-{n:02d}@example.com", ("outsiders",)) for n in range(23)]
    court.let_in_group("outsiders", "hitl-reviewer", "hitl-test-writes-anything", member=crowd[0])
    request = await court.ask()
    for person in crowd[:-1]:
        await court.vote(person, request)
    await refused(court, crowd[-1], request, adding(vote_of(crowd[-1], request)), "and takes no more approvals")
    await refused(court, BO, request, adding(vote_of(BO, request, groups=["support-leads"])), "it can still be denied")
    await court.vote(ANA, request, vote_of(ANA, request, "Denied"))
    assert (await court.look(request))["status"]["decisions"][-1]["reviewer"] == ANA.name


async def test_C2_who_cannot_be_kept_apart_any_more_is_told_another_way(court: Court) -> None:
    """C2: the API server keeps ten writers by patch apart; the next one is told how to write, and can."""
    crowd = [Person(f"patcher-{n:02d}@example.com", ("patchers",)) for n in range(12)]
    court.let_in_group("patchers", "hitl-reviewer", "hitl-test-writes-anything", member=crowd[0])
    request = await court.ask(two())
    said = ""
    for person in crowd:
        found = await tries(court, person, request, adding(vote_of(person, request)), ways=["merge patch"])
        if found.refusals:
            (said,) = found.messages
            break
    assert "the API server keeps only ten such writers apart" in said
    assert "kubectl apply --server-side --subresource=status" in said
    await court.vote(person, request, manager="by-apply")
    assert (await court.look(request))["status"]["decisions"][-1]["reviewer"] == person.name
