"""Where one person stands towards one request. Only for words and footers: the hub decides who counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from hitl.approvals.escalation import steps_of, widen
from hitl.approvals.requests import ApprovalRequest, Decision
from hitl.approvals.requirements import Progress, barred, fold, requirements_of
from hitl.approvals.timeline import in_force
from hitl.policy.verdicts import SecondFactor


class Obstacle(Enum):
    """What stands between a person and an approval that counts."""

    VOTED = auto()
    """They have voted; a vote is never changed."""
    PARTY = auto()
    """The call is theirs, made for them or edited by them: another person must decide."""
    NOT_ALLOWED = auto()
    """They may not decide here at all."""
    NOT_IN_GROUP = auto()
    """Every open place is for groups that they are not in."""
    NO_FACTOR = auto()
    """They could fill a place, but cannot show the second factor that it wants."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a person may do here.

    Attributes:
        obstacle: what keeps their approval from filling an open place; None: nothing.
        why_not: the same as the end of a sentence.
        vote: what they said already.
        wanted: groups of the places that are open to others, or the second factor that is missing.
    """

    obstacle: Obstacle | None = None
    why_not: str = ""
    vote: Decision | None = None
    wanted: tuple[str, ...] = ()

    @property
    def may_approve(self) -> bool:
        """An approval would fill an open place."""
        return self.obstacle is None


class Viewer(Protocol):
    """A person who looks, and what they may do. For words and footers; the hub and the API server decide."""

    @property
    def name(self) -> str:
        """As it would stand in a decision."""
        ...

    def is_in(self, groups: Sequence[str]) -> bool:
        """Whether they are in one of these groups; of no groups at all everybody is."""
        ...

    def shows(self, factor: SecondFactor) -> bool:
        """Whether they can show such a second factor now."""
        ...

    def why_not(self, verb: str, request: ApprovalRequest) -> str:
        """Why they may not approve, deny, override, edit, extend or escalate it at all; empty where they may."""
        ...


def standing_of(viewer: Viewer, request: ApprovalRequest, rows: Sequence[Progress]) -> Standing:
    """Where somebody stands, given how far the requirements have come."""
    folded = fold(viewer.name)
    for decision in request.status.decisions:
        if fold(decision.reviewer) == folded:
            refused = refusal_of(request, decision)
            why_not = f"your vote does not count: {refused}" if refused else "you have voted"
            return Standing(Obstacle.VOTED, why_not, decision)
    party = _party(folded, request)
    if party:
        return Standing(Obstacle.PARTY, party)
    why_not = viewer.why_not("approve", request)
    if why_not:
        return Standing(Obstacle.NOT_ALLOWED, why_not)
    open_rows = [row for row in rows if not row.met]
    fitting = [row for row in open_rows if viewer.is_in(row.requirement.any_of)]
    if any(can_fill(viewer, row) for row in fitting):
        return Standing()
    if fitting:
        factor = _weakest(fitting)
        return Standing(Obstacle.NO_FACTOR, f"no {FACTORS[factor]} in this login", wanted=(factor.value,))
    groups = tuple(dict.fromkeys(group for row in open_rows for group in row.requirement.any_of))
    return Standing(
        Obstacle.NOT_IN_GROUP, f"not in {' or '.join(groups)}" if groups else "nobody else is needed", wanted=groups
    )


def standing_to_override(viewer: Viewer, request: ApprovalRequest) -> Standing:
    """Where somebody stands who would let it run alone: whom the request asks for does not matter to that."""
    party = _party(fold(viewer.name), request)
    if party:
        return Standing(Obstacle.PARTY, party)
    why_not = viewer.why_not("override", request)
    if why_not:
        return Standing(Obstacle.NOT_ALLOWED, why_not)
    if not viewer.shows(SecondFactor.ANY):
        return Standing(
            Obstacle.NO_FACTOR, f"no {FACTORS[SecondFactor.ANY]} in this login", wanted=(SecondFactor.ANY.value,)
        )
    return Standing()


def brings_more_people(request: ApprovalRequest, now: datetime) -> bool:
    """Whether the policy has an escalation step left that lets in anybody who may not decide by now."""
    asked, steps = requirements_of(request.spec), steps_of(request.spec)
    return widen(asked, steps) != widen(asked, steps[: in_force(request, now).escalated])


FACTORS = {
    SecondFactor.NONE: "second factor",
    SecondFactor.ANY: "second factor",
    SecondFactor.HARDWARE: "hardware key",
}


def can_fill(viewer: Viewer, row: Progress) -> bool:
    """Whether an approval of theirs could fill one of the row's places."""
    requirement = row.requirement
    if not viewer.is_in(requirement.any_of):
        return False
    return requirement.or_second_person or viewer.shows(requirement.second_factor)


def refusal_of(request: ApprovalRequest, decision: Decision) -> str:
    """Why the hub does not count a vote; empty where it does, or has not looked yet."""
    entries = (e for e in request.status.verified if e.reviewer == decision.reviewer and not e.note)
    return next((entry.refused for entry in entries), "")


def _weakest(rows: Sequence[Progress]) -> SecondFactor:
    factors = {row.requirement.second_factor for row in rows}
    return SecondFactor.ANY if SecondFactor.ANY in factors else SecondFactor.HARDWARE


def _party(folded: str, request: ApprovalRequest) -> str:
    if folded not in barred(request.spec):
        return ""
    spec = request.spec
    if folded == fold(spec.requester):
        return "you asked for this call"
    if folded in map(fold, spec.excluded):
        return "you edited this call"
    return f"you asked for this call (on behalf of {spec.on_behalf_of})"
