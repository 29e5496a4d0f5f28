"""What people said on a request stays as they said it on a real API server: the CRD refuses to change it, to all."""

import pytest

from cluster.rewriting import THREE, WHERE, rewriting, said_on, touches
from cluster.voting import (
    ANA,
    BO,
    EDITOR,
    MASTER,
    MIA,
    OPERATOR,
    Change,
    Court,
    Json,
    Person,
    adding,
    applies,
    note_of,
    refused,
    vote_of,
)
from hitl.approvals.requests import RequestSpec
from hitl.errors import ApiError
from hitl.policy.verdicts import Requirement
from stores.asking import a_spec

# What the CRD says, which is asked before any admission policy. It has nothing against an entry in another's name.
OF_THE_CRD = {
    "decisions": {
        "changed": "a decision is never changed",
        "removed": "a decision is never removed",
        "dropped": "decisions stay",
    },
    "notes": {"changed": "a note is never changed", "removed": "a note is never removed", "dropped": "notes stay"},
}
IN_ANOTHER_NAME = {
    BO: "and speak for nobody else",
    EDITOR: "and speak for nobody else",
    MASTER: "Only people decide",
}
EVERYBODY = pytest.mark.parametrize(
    "person", [BO, EDITOR, MASTER, OPERATOR], ids=["a reviewer", "an editor", "an admin", "the operator"]
)


def two() -> RequestSpec:
    return a_spec(requirements=(Requirement("leads", approvals=2),), denials_to_end=2)


@EVERYBODY
@pytest.mark.parametrize("where", WHERE)
async def test_I5_nobody_touches_what_another_said(court: Court, person: Person, where: str) -> None:
    """I5, C3: a vote or a note is changed or removed by nobody, the operator and administrators included."""
    request = await said_on(court, where)
    words = {**OF_THE_CRD[where], "renamed": IN_ANOTHER_NAME.get(person, f"{where.capitalize()} are people's")}
    for each in touches(where):
        await refused(court, person, request, each.change, words[each.kind], ways=each.ways)


@pytest.mark.parametrize("where", WHERE)
async def test_I5_nobody_takes_his_own_word_back(court: Court, where: str) -> None:
    """I5: nor is one's own vote or note changed or removed by oneself."""
    request = await said_on(court, where)
    for each in touches(where):
        if each.kind != "renamed":
            await refused(court, ANA, request, each.change, OF_THE_CRD[where][each.kind], ways=each.ways)


async def test_C1_nobody_votes_twice(court: Court) -> None:
    """C1, I5: once cast, a vote can be neither repeated nor cast again in other capitals."""
    request = await court.ask(two())
    await court.vote(ANA, request)
    again = adding(vote_of(ANA, request, "Denied", reviewer=ANA.name.upper()))
    await refused(court, ANA, request, again, "you have voted on")
    async with court.api(ANA) as api:
        path = court.path(request["metadata"]["name"], "status")
        with pytest.raises(ApiError, match="write exactly one new decision or note"):
            await applies(api, path, request, [vote_of(ANA, request)], manager="hitl-again")


@pytest.mark.parametrize("where", WHERE)
async def test_C1_one_s_own_entry_together_with_a_change_of_another_s(court: Court, where: str) -> None:
    """C1: one's own vote or note beside, or in the place of, another's is refused as a whole."""
    request = await said_on(court, where)
    mine = vote_of(BO, request) if where == "decisions" else note_of(BO, request)
    change = rewriting(where, ANA.name, reason="other words")

    def both(status: Json, whole: Json) -> Json:
        return adding(mine, where)(change(status, whole), whole)

    instead: Change = lambda status, _: {**status, where: [mine]}  # noqa: E731 - in the place of what others said
    await refused(court, BO, request, both, OF_THE_CRD[where]["changed"])
    await refused(court, BO, request, instead, OF_THE_CRD[where]["removed"], ways=THREE)


@pytest.mark.parametrize("where", WHERE)
async def test_C2_a_shared_field_manager_fails_as_append_only(court: Court, where: str) -> None:
    """C2: applying under another's manager would remove, or re-stamp, what he said; both are refused."""
    request = await court.ask(two())
    entry_of = vote_of if where == "decisions" else note_of
    path = court.path(request["metadata"]["name"], "status")
    async with court.api(ANA) as api:
        await applies(api, path, request, [entry_of(ANA, request)], manager="shared", where=where)
    before = await court.look(request)
    async with court.api(BO) as api:
        with pytest.raises(ApiError, match=OF_THE_CRD[where]["removed"]):
            await applies(api, path, request, [entry_of(BO, request)], manager="shared", where=where)
        both = [entry_of(ANA, request), entry_of(BO, request)]
        with pytest.raises(ApiError, match="the record of who wrote when must stay"):
            await applies(api, path, request, both, manager="shared", where=where)
    async with court.api(MIA) as api:
        with pytest.raises(ApiError, match=OF_THE_CRD[where]["dropped"]):
            await applies(api, path, request, [], manager="shared", where=where)
    assert await court.look(request) == before
