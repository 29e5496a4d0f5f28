"""Who counts, and whether enough people agree: several requirements at once, one person in one place of all of them."""

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, RequestSpec, Verified
from hitl.policy.verdicts import Requirement, SecondFactor

_STRENGTH = {SecondFactor.NONE: 0, SecondFactor.ANY: 1, SecondFactor.HARDWARE: 2}


@dataclass(frozen=True, slots=True)
class Approver:
    """A person whose approval counts, with what the hub verified of them. Equal `name` is the same person."""

    name: str
    shown: str
    groups: frozenset[str]
    factor: SecondFactor


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a requirement: groups (empty: anyone) and the least second factor its holder must show."""

    any_of: tuple[str, ...]
    factor: SecondFactor

    def takes(self, approver: Approver) -> bool:
        """Whether this person may hold the place."""
        return is_at_least(approver.factor, self.factor) and (
            not self.any_of or not approver.groups.isdisjoint(self.any_of)
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one requirement has come.

    Attributes:
        requirement: what is asked.
        places: how many people it takes; one more than `requirement.approvals` where a second person stands in for a
            second factor.
        filled_by: who holds places, as they wrote their names, sorted.
    """

    requirement: Requirement
    places: int
    filled_by: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether every place is held."""
        return len(self.filled_by) == self.places


def fold(name: str) -> str:
    """The form in which user names are compared: one person under two capitalisations is one person (SECURITY B3)."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def is_at_least(shown: SecondFactor, wanted: SecondFactor) -> bool:
    """Whether a second factor is as strong as the one wanted: None < Any < Hardware."""
    return _STRENGTH[shown] >= _STRENGTH[wanted]


def requirements_of(spec: RequestSpec) -> tuple[Requirement, ...]:
    """The requirements as asked; where none were named, those of the tier (DESIGN 18). Never empty."""
    return spec.requirements or default_requirements(spec.tier)


def requirements_in_force(request: ApprovalRequest) -> tuple[Requirement, ...]:
    """The requirements as last written, widened by escalation; before the first write as asked. Never empty."""
    return request.status.requirements or requirements_of(request.spec)


def default_requirements(tier: str) -> tuple[Requirement, ...]:
    """Anyone who may approve the tier; ``multi-factor``: with any second factor, or two distinct people."""
    if tier == "confirm":
        return (Requirement("reviewer"),)
    return (Requirement("reviewer", second_factor=SecondFactor.ANY, or_second_person=True),)


def barred(spec: RequestSpec) -> frozenset[str]:
    """Folded names of those whose approval never counts: the requester, an editor of this call, whom it acts for.

    The user on whose behalf the agent acts counts only if the policy says so, the tier is confirm and a token proved
    who that is; a claimed one satisfies nothing (I4, SECURITY B3).
    """
    names = {fold(spec.requester), *map(fold, spec.excluded)}
    may_approve = spec.on_behalf_of_may_approve and spec.on_behalf_of_verified and spec.tier == "confirm"
    if spec.on_behalf_of and not may_approve:
        names.add(fold(spec.on_behalf_of))
    return frozenset(names)


def approvers(
    decisions: Iterable[Decision], verified: Iterable[Verified], *, excluded: Collection[str] = ()
) -> tuple[Approver, ...]:
    """The distinct people whose approvals count, in the order of their folded names.

    Args:
        decisions: votes in any order.
        verified: the hub's entries; a vote without one, or with a refused one, does not count.
        excluded: folded names that never count; see `barred`.
    """
    entries = {entry.reviewer: entry for entry in verified if entry.note == 0}
    found: dict[str, Approver] = {}
    for decision in sorted(decisions, key=lambda each: each.reviewer):
        name, entry = fold(decision.reviewer), entries.get(decision.reviewer)
        if decision.decision is not DecisionKind.APPROVED or entry is None or entry.refused:
            continue
        if name and name not in excluded:
            found.setdefault(name, _approver(name, decision, entry))
    return tuple(found[name] for name in sorted(found))


def progress(
    requirements: Sequence[Requirement],
    decisions: Iterable[Decision],
    verified: Iterable[Verified],
    *,
    excluded: Collection[str] = (),
) -> tuple[Progress, ...]:
    """How far each requirement has come, in the order given; the fewest places are left open that these people can.

    The result depends on who voted, not on the order of the votes.
    """
    return fill(requirements, approvers(decisions, verified, excluded=excluded))


def met(
    requirements: Sequence[Requirement],
    decisions: Iterable[Decision],
    verified: Iterable[Verified],
    *,
    excluded: Collection[str] = (),
) -> bool:
    """Whether these votes suffice. No requirements at all means one approval by anyone, never none."""
    asked = requirements or default_requirements("confirm")
    return all(each.met for each in progress(asked, decisions, verified, excluded=excluded))


def progress_of(request: ApprovalRequest) -> tuple[Progress, ...]:
    """How far a request's requirements have come as last written, for WHO DECIDES and VOTES."""
    status, asked = request.status, requirements_in_force(request)
    return progress(asked, status.decisions, status.verified, excluded=barred(request.spec))


def votes(rows: Iterable[Progress]) -> tuple[int, int]:
    """(places held, places) over all requirements: the VOTES column."""
    rows = tuple(rows)
    return sum(len(row.filled_by) for row in rows), sum(row.places for row in rows)


def alternatives(requirements: Sequence[Requirement]) -> Iterable[tuple[tuple[Place, ...], ...]]:
    """Every way to meet the requirements, as the places of each; the ways with second factors first."""
    return product(*(_ways(requirement) for requirement in requirements))


def fill(requirements: Sequence[Requirement], people: Sequence[Approver]) -> tuple[Progress, ...]:
    """Seats people so that the fewest places stay open, over every way to meet the requirements.

    Where two ways are equally far from the end, the one in which more people sit: a vote that helps is seen to help.
    """
    best: tuple[Progress, ...] = ()
    found: tuple[int, int] | None = None
    for way in alternatives(requirements):
        seated = _seat([place for places in way for place in places], people)
        missing = seated.count(None)
        rank = (missing, missing - len(seated))
        if found is None or rank < found:
            found, best = rank, _rows(requirements, way, seated)
        if missing == 0:
            break
    return best


def _approver(name: str, decision: Decision, entry: Verified) -> Approver:
    groups = frozenset(entry.groups)
    factor = SecondFactor.ANY if entry.second_factor else SecondFactor.NONE
    if entry.hardware:
        factor = SecondFactor.HARDWARE
    # Who says as whom he votes is taken at his word only downwards: never for a group the hub did not verify.
    return Approver(name, decision.reviewer, groups & set(decision.groups) if decision.groups else groups, factor)


def _ways(requirement: Requirement) -> tuple[tuple[Place, ...], ...]:
    asked = (Place(requirement.any_of, requirement.second_factor),) * max(1, requirement.approvals)
    if not requirement.or_second_person:
        return (asked,)
    return (asked, (Place(requirement.any_of, SecondFactor.NONE),) * (len(asked) + 1))


def _seat(places: Sequence[Place], people: Sequence[Approver]) -> list[Approver | None]:
    """A maximum matching of people to places by augmenting paths (Kuhn): exact, and small enough here."""
    seats: list[Approver | None] = [None] * len(places)

    def find_place(approver: Approver, tried: set[int]) -> bool:
        for index, place in enumerate(places):
            if index in tried or not place.takes(approver):
                continue
            tried.add(index)
            holder = seats[index]
            if holder is None or find_place(holder, tried):
                seats[index] = approver
                return True
        return False

    for approver in people:
        find_place(approver, set())
    return seats


def _rows(
    requirements: Sequence[Requirement], way: Sequence[Sequence[Place]], seated: Sequence[Approver | None]
) -> tuple[Progress, ...]:
    rows, start = [], 0
    for requirement, places in zip(requirements, way, strict=True):
        holders = seated[start : start + len(places)]
        start += len(places)
        names = sorted(holder.shown for holder in holders if holder is not None)
        rows.append(Progress(requirement, len(places), tuple(names)))
    return tuple(rows)
