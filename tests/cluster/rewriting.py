"""Every way to change or to drop what somebody said on a request: a vote, or a note."""

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.voting import ANA, MIA, WAYS, Change, Court, Json, applies, note_of, vote_of
from hitl.policy.verdicts import Requirement
from stores.asking import a_spec

THREE = ("replace", "merge patch", "JSON patch")
"""The ways that take away what they leave out; an apply under a manager of one's own takes nothing away."""
WHERE = ("decisions", "notes")


@dataclass(frozen=True, slots=True)
class Touch:
    """A write that must not be stored.

    Attributes:
        kind: "changed", "removed" (some entries), "dropped" (all of them, with their list) or "renamed" (applied: what
            was said stays, and the same is said in another name).
    """

    kind: str
    change: Change | None
    ways: Sequence[str] = tuple(WAYS)


async def said_on(court: Court, where: str) -> Json:
    """A request on which ana and mia said something, which does not end it."""
    request = await court.ask(a_spec(requirements=(Requirement("leads", approvals=2),), denials_to_end=2))
    if where == "decisions":
        await court.vote(ANA, request, vote_of(ANA, request, argumentsPatch={"amount": {"x": 1}}))
        await court.vote(MIA, request)
        return request
    for person in (ANA, MIA):
        async with court.api(person) as api:
            path = court.path(request["metadata"]["name"], "status")
            entry = note_of(person, request, reason="she is on her way")
            await applies(api, path, request, [entry], manager=f"hitl:note-1:{person.name}", where=where)
    return request


def touches(where: str) -> list[Touch]:
    """Every one of them, of what ana said."""
    changes: list[Json] = [{"requestUID": "another"}, {"reason": "other words"}]
    changes += (
        [
            {"decision": "Denied"},
            {"argumentsPatch": {"amount": {"y": 1}}},
            {"argumentsPatch": {"price": {"x": 1}}},
            {"groups": ["managers"]},
        ]
        if where == "decisions"
        else [{"type": "Feedback"}, {"minutes": 10080}, {"category": "Other"}]
    )
    renamed = rewriting(where, ANA.name, reviewer="x@example.com")
    return [
        *(Touch("changed", rewriting(where, ANA.name, **each)) for each in changes),
        Touch("removed", renamed, THREE),
        Touch("renamed", renamed, ("apply",)),
        Touch("removed", lambda status, _: {**status, where: status[where][1:]}, THREE),
        Touch("removed", lambda status, _: {**status, where: []}, THREE),
        Touch("dropped", without(where), THREE),
        Touch("dropped", None, THREE),
    ]


def without(key: str) -> Change:
    """The status without this."""
    return lambda status, _: {each: value for each, value in status.items() if each != key}


def rewriting(where: str, whose: str, /, **changes: object) -> Change:
    """Somebody's entry with changes."""

    def change(status: Json, _: Json) -> Json:
        entries = [{**each, **changes} if each["reviewer"] == whose else each for each in status[where]]
        return {**status, where: entries}

    return change
