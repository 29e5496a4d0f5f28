"""What whoever holds the operator's token cannot write: an approval that people did not give (I3, C1)."""

from typing import Any

import pytest

from cluster.voting import (
    ANA,
    BO,
    MIA,
    OPERATOR,
    Change,
    Court,
    Json,
    applies,
    ending,
    note_of,
    proof,
    refused,
    tries,
    vote_of,
)
from hitl.policy.verdicts import EscalationStep, OnTimeout, Requirement, SecondFactor
from stores.asking import a_spec

LEADS = Requirement("leads", any_of=("support-leads",), origin="shop/refunds")
MANAGERS = Requirement("managers", any_of=("managers",), origin="baseline")
STEP = EscalationStep(600, ("oncall",), origin="shop/refunds")
TOO_FEW = "Approved needs the approvals that the request asks for"
OTHERS = "The requirements are those of the request"


def to(**more: Any) -> Change:
    return lambda status, _: {**status, **more}


def asks(requirement: Requirement, **changes: Any) -> Json:
    """As it stands in a status."""
    found = {"name": requirement.name, "approvals": requirement.approvals, "anyOf": list(requirement.any_of),
             "secondFactor": requirement.second_factor.value, "origin": requirement.origin}  # fmt: skip
    return {key: value for key, value in {**found, **changes}.items() if value is not None}


async def verified(court: Court, request: Json, *words: Json) -> None:
    async with court.operator() as api:
        await court.outcome(request, {"verified": [{"note": 0, **word} for word in words]}, api)


@pytest.mark.parametrize("state", ["Approved", "Consumed"])
async def test_I3_the_operator_approves_nothing_that_people_did_not(court: Court, state: str) -> None:
    """I3: no vote, a vote that nobody judged, a refused one, a denial, a note: none of them is an approval."""
    request = await court.ask(a_spec(requirements=(LEADS,)))
    await refused(court, OPERATOR, request, to(**ending(state)), TOO_FEW)
    await court.vote(BO, request, vote_of(BO, request, "Denied"))
    await court.vote(ANA, request, vote_of(ANA, request, groups=["support-leads"]))
    await refused(court, OPERATOR, request, to(**ending(state)), TOO_FEW)
    await verified(court, request, {"reviewer": BO.name}, {"reviewer": ANA.name, "refused": "asked for it herself"})
    await refused(court, OPERATOR, request, to(**ending(state)), TOO_FEW)


@pytest.mark.parametrize(
    ("requirements", "words"),
    [
        ((Requirement("two", approvals=2),), [{}]),
        ((LEADS, MANAGERS), [{"groups": ["support-leads"]}]),
        ((LEADS, MANAGERS), [{"groups": ["support-leads"]}, {"groups": ["support-leads"]}]),
        ((LEADS,), [{}]),
        ((Requirement("factor", second_factor=SecondFactor.ANY, or_second_person=False), Requirement("b")), [{}, {}]),
        ((Requirement("key", second_factor=SecondFactor.HARDWARE), Requirement("b")),
         [{}, {"factors": ["otp"], "secondFactor": "oidc:otp"}]),
    ],
    ids=["one of two people", "one of two groups", "two of one group", "no group", "no factor", "no key"],
)  # fmt: skip
async def test_I3_the_operator_approves_with_no_fewer_people_than_were_asked_for(
    court: Court, requirements: tuple[Requirement, ...], words: list[Json]
) -> None:
    """I3: places, groups and factors of every requirement, as far as they can be told without seating people."""
    request = await court.ask(a_spec(requirements=requirements))
    said = []
    for person, word in zip((ANA, BO), words, strict=False):
        factors = word.get("factors", [])
        more = {"proof": proof(*factors)} if factors else {}
        vote = vote_of(person, request, groups=word.get("groups", []), **more)
        await court.vote(person.with_factors(*factors), request, vote)
        said.append({"reviewer": person.name, **{key: value for key, value in word.items() if key != "factors"}})
    await verified(court, request, *said)
    await refused(court, OPERATOR, request, to(**ending("Approved")), TOO_FEW)


async def test_I3_the_operator_makes_no_more_of_a_vote_than_it_is(court: Court) -> None:
    """I3, D5: groups that the vote does not name, a factor or a key without its proof, are not for it to say."""
    request = await court.ask(a_spec(requirements=(LEADS,)))
    await court.vote(ANA, request, vote_of(ANA, request))
    otp = vote_of(BO, request, groups=["oncall"], proof=proof("otp"))
    await court.vote(BO.with_factors("otp"), request, otp)
    for word, words in (
        ({"reviewer": ANA.name, "groups": ["support-leads"]}, "as the groups that it names"),
        ({"reviewer": BO.name, "groups": ["oncall", "support-leads"]}, "as the groups that it names"),
        ({"reviewer": ANA.name, "secondFactor": "oidc:hwk"}, "carries the proof of it"),
        ({"reviewer": ANA.name, "hardware": True}, "carries the proof of it"),
        ({"reviewer": BO.name, "secondFactor": "oidc:otp", "hardware": True}, "carries the proof of it"),
    ):
        await refused(court, OPERATOR, request, to(verified=[{"note": 0, **word}]), words)
    await verified(
        court, request, {"reviewer": ANA.name}, {"reviewer": BO.name, "groups": ["oncall"], "secondFactor": "oidc:otp"}
    )


@pytest.mark.parametrize(
    "given",
    [
        [asks(LEADS)],
        [asks(MANAGERS), asks(MANAGERS)],
        [asks(LEADS), asks(MANAGERS, approvals=1)],
        [asks(LEADS), asks(MANAGERS, secondFactor="None", approvals=2)],
        [asks(LEADS), asks(MANAGERS, anyOf=None)],
        [asks(LEADS), asks(MANAGERS, anyOf=["managers", "juniors"])],
        [asks(LEADS, anyOf=["oncall"]), asks(MANAGERS)],
        [asks(LEADS), asks(MANAGERS, anyOf=["managers", "oncall"])],
        [asks(LEADS, orSecondPerson=True), asks(MANAGERS)],
        [{"name": "anyone"}],
    ],
    ids=["one lost", "one twice", "fewer people", "no factor", "anyone", "another group", "a group lost",
         "another policy's escalation", "a person for a factor", "something else"],
)  # fmt: skip
async def test_I3_the_operator_asks_for_no_other_people_than_the_request(court: Court, given: list[Json]) -> None:
    """I3, A8: the requirements in force are the request's own, widened by its own escalation and by nothing else."""
    managers = Requirement("managers", 2, ("managers",), SecondFactor.ANY, origin="baseline")
    request = await court.ask(a_spec(requirements=(LEADS, managers), escalation=(STEP,)))
    whole = {"approvals": 2, "secondFactor": "Any"}
    filled = [{**whole, **each} if each["name"] == "managers" else each for each in given]
    if given[-1] == asks(MANAGERS, approvals=1):
        filled = [given[0], {**given[1], "secondFactor": "Any"}]
    elif any(each.get("secondFactor") == "None" and each.get("approvals") == 2 for each in given):
        filled = given
    await refused(court, OPERATOR, request, to(requirements=filled), OTHERS)


async def test_the_operator_widens_by_the_request_s_own_escalation(court: Court) -> None:
    """DESIGN 8: the groups of a step join the requirements of its policy; whom they let in may then approve."""
    request = await court.ask(a_spec(requirements=(LEADS, MANAGERS), escalation=(STEP,)))
    wide = [asks(LEADS, anyOf=["support-leads", "oncall"]), asks(MANAGERS)]
    found = await tries(court, OPERATOR, request, to(requirements=wide, escalated=1), ways=["merge patch"])
    assert found.messages == []
    await court.vote(BO, request, vote_of(BO, request, groups=["oncall"]))
    await court.vote(MIA, request, vote_of(MIA, request, groups=["managers"]))
    words = [{"reviewer": BO.name, "groups": ["oncall"]}, {"reviewer": MIA.name, "groups": ["managers"]}]
    await verified(court, request, *words)
    await refused(
        court, OPERATOR, request, to(**ending("Approved"), requirements=[asks(LEADS), asks(MANAGERS)]), TOO_FEW
    )
    found = await tries(court, OPERATOR, request, to(**ending("Approved")), ways=["merge patch"])
    assert found.messages == []


async def test_I2_the_operator_writes_the_terms_of_many_policies(court: Court) -> None:
    """I2: what is checked of its writes costs what it may cost with six policies that each ask for all they may."""
    groups = tuple(f"department-{n:02d}@example.com" for n in range(40))
    policies = [f"namespace-{n}/policy" for n in range(6)]
    asked = tuple(
        Requirement(f"requirement-{n}", any_of=groups[:10], origin=origin) for origin in policies for n in range(10)
    )
    steps = tuple(
        EscalationStep(60 + n, groups[10 + 10 * (n % 3) :][:10], origin=origin) for origin in policies for n in range(8)
    )
    request = await court.ask(a_spec(requirements=asked, escalation=steps))
    wide = [asks(each, anyOf=list(groups)) for each in asked]
    found = await tries(court, OPERATOR, request, to(requirements=wide, escalated=48), ways=["merge patch"])
    assert found.messages == []
    wide[-1] = asks(asked[-1], anyOf=[*groups, "juniors"])
    await refused(court, OPERATOR, request, to(requirements=wide), OTHERS)


@pytest.mark.parametrize("tier", ["confirm", "multi-factor"])
async def test_I3_where_none_are_named_the_tier_says_who(court: Court, tier: str) -> None:
    """DESIGN 18: the default requirement of a tier is the least, also for the operator."""
    request = await court.ask(a_spec(requirements=(), tier=tier))
    await refused(court, OPERATOR, request, to(requirements=[{"name": "reviewer", "anyOf": ["x"]}]), OTHERS)
    await refused(court, OPERATOR, request, to(**ending("Approved")), TOO_FEW)
    await court.vote(ANA, request)
    await verified(court, request, {"reviewer": ANA.name})
    own = {"name": "reviewer", **({} if tier == "confirm" else {"secondFactor": "Any", "orSecondPerson": True})}
    found = await tries(court, OPERATOR, request, to(requirements=[own], **ending("Approved")), ways=["merge patch"])
    assert found.messages == []


async def test_C3_the_operator_takes_nobody_s_time_away(court: Court) -> None:
    """DESIGN 6: the deadline only moves forward, and never lay before the request was made."""
    request = await court.ask(expires=600)
    for time in ("2020-01-01T00:00:00.000000Z", request["metadata"]["creationTimestamp"]):
        await refused(court, OPERATOR, request, to(expirationTime=time), "Nobody gets less time than was promised")
    fresh = await court.ask()
    past = to(expirationTime="2020-01-01T00:00:00.000000Z")
    await refused(court, OPERATOR, fresh, past, "Nobody gets less time than was promised")


async def test_C4_the_operator_counts_no_more_than_there_is(court: Court) -> None:
    """C4: steps and rounds that the spec has, notes that were left and verified, each counted once and never back."""
    request = await court.ask(a_spec(requirements=(LEADS,), escalation=(STEP,)))
    for steps in (2, 99):
        await refused(court, OPERATOR, request, to(escalated=steps), "the steps of the request's own escalation")
    await refused(court, OPERATOR, request, to(rounds=1), "granted where onTimeout says so")
    await refused(court, OPERATOR, request, to(notesApplied=1), "verified notes that ask for time or people")
    path = court.path(request["metadata"]["name"], "status")
    async with court.api(ANA) as api:
        for number, kind in ((1, "Extend"), (2, "Feedback")):
            note = note_of(ANA, request, kind, number)
            await applies(api, path, request, [note], manager=f"hitl-ana-{number}", where="notes")
    await refused(court, OPERATOR, request, to(notesApplied=1), "verified notes that ask for time or people")
    words = [{"reviewer": ANA.name, "note": 1}, {"reviewer": ANA.name, "note": 2}]
    await refused(court, OPERATOR, request, to(verified=words, notesApplied=2), "verified notes that ask")
    found = await tries(court, OPERATOR, request, to(verified=words, notesApplied=1, escalated=1), ways=["merge patch"])
    assert found.messages == []
    await refused(court, OPERATOR, request, to(escalated=0), "only upwards")
    await refused(court, OPERATOR, request, to(notesApplied=0), "only upwards")

    again = await court.ask(a_spec(on_timeout=OnTimeout.RETRY))
    found = await tries(court, OPERATOR, again, to(rounds=1), ways=["merge patch"])
    assert found.messages == []
    await refused(court, OPERATOR, again, to(rounds=0), "not taken back")
