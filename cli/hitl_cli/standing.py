"""Where one person stands towards one request. Only for words and footers: the hub decides who counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hitl.approvals.requests import ApprovalRequest, Decision
from hitl.approvals.requirements import Progress, barred, fold, progress_of

if TYPE_CHECKING:
    from hitl.stores.people import Person  # at run time it would bring cryptography and yaml, 30 ms


@dataclass(frozen=True, slots=True)
class Standing:
    """What a person may do here.

    Attributes:
        may_approve: an approval would fill an open place.
        why_not: why not, as the end of a sentence; empty where they may.
        vote: what they said already.
        is_party: the call is theirs, made for them or edited by them: another person must decide.
    """

    may_approve: bool
    why_not: str = ""
    vote: Decision | None = None
    is_party: bool = False


def standing_of(
    name: str, request: ApprovalRequest, rows: Sequence[Progress], people: "Mapping[str, Person]"
) -> Standing:
    """Where `name` stands, given how far the requirements have come."""
    folded = fold(name)
    for decision in request.status.decisions:
        if fold(decision.reviewer) == folded:
            refused = refusal_of(request, decision)
            why_not = f"your vote does not count: {refused}" if refused else "you have voted"
            return Standing(may_approve=False, why_not=why_not, vote=decision)
    party = _party(folded, request)
    if party:
        return Standing(may_approve=False, why_not=party, is_party=True)
    person = people.get(name.casefold())
    if person is None:
        return Standing(may_approve=False, why_not=f"{name} is not in reviewers.yaml")
    wanted = [row.requirement.any_of for row in rows if not row.met]
    if any(not groups or set(groups) & set(person.groups) for groups in wanted):
        return Standing(may_approve=True)
    missing = " or ".join(dict.fromkeys(group for groups in wanted for group in groups))
    return Standing(may_approve=False, why_not=f"not in {missing}" if missing else "nobody else is needed")


def refusal_of(request: ApprovalRequest, decision: Decision) -> str:
    """Why the hub does not count a vote; empty where it does, or has not looked yet."""
    entries = (e for e in request.status.verified if e.reviewer == decision.reviewer and not e.note)
    return next((entry.refused for entry in entries), "")


def progress_here(request: ApprovalRequest) -> tuple[Progress, ...]:
    """How far the requirements have come, as people of a standalone home see it.

    Nobody can show a second factor here, so where a second person may stand in for one, that person is what is open.
    """
    return tuple(
        replace(row, places=row.requirement.approvals + 1)
        if row.requirement.or_second_person and not row.met and row.places == row.requirement.approvals
        else row
        for row in progress_of(request)
    )


def unmanned(rows: Sequence[Progress], people: "Mapping[str, Person]", request: ApprovalRequest) -> list[str]:
    """Groups of an open place that nobody in reviewers.yaml can fill; ``anyone`` where there is nobody at all."""
    voters = {fold(decision.reviewer) for decision in request.status.decisions} | barred(request.spec)
    free = [person for person in people.values() if fold(person.name) not in voters]
    lacking: list[str] = []
    for row in rows:
        groups = row.requirement.any_of
        able = [person for person in free if not groups or set(groups) & set(person.groups)]
        if len(able) < row.places - len(row.filled_by):
            lacking.append(" or ".join(groups) or "anyone")
    return lacking


def _party(folded: str, request: ApprovalRequest) -> str:
    if folded not in barred(request.spec):
        return ""
    spec = request.spec
    if folded == fold(spec.requester):
        return "you asked for this call"
    if folded in map(fold, spec.excluded):
        return "you edited this call"
    return f"you asked for this call (on behalf of {spec.on_behalf_of})"
