"""Who counts, and whether enough people agree."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.asked import AGENT, a_decision, a_request, a_spec, voted
from hitl.approvals.requests import DecisionKind, Verified
from hitl.approvals.requirements import (
    Place,
    approvers,
    barred,
    default_requirements,
    fold,
    met,
    progress,
    progress_of,
    requirements_of,
    votes,
)
from hitl.policy.verdicts import Requirement, SecondFactor

ANY, HARDWARE = SecondFactor.ANY, SecondFactor.HARDWARE

# Who a story is about: name, groups, second factor.
ANA = Verified("ana", ("leads", "managers"))
BO = Verified("bo", ("leads",))
CY = Verified("cy", ("managers",), "totp")
DI = Verified("di", ("leads", "finance"), "security key", hardware=True)
EVE = Verified("eve")


def all_met(requirements: Sequence[Requirement], *people: Verified) -> bool:
    return met(requirements, [a_decision(each.reviewer) for each in people], people)


LEAD = Requirement("lead", any_of=("leads",))
TWO_LEADS = Requirement("leads", 2, any_of=("leads",))
MANAGER = Requirement("manager", any_of=("managers",))
ANYONE = Requirement("reviewer")
FACTOR = Requirement("reviewer", second_factor=ANY)
KEY = Requirement("reviewer", second_factor=HARDWARE)
FACTOR_OR_TWO = Requirement("reviewer", second_factor=ANY, or_second_person=True)


@pytest.mark.parametrize(
    ("story", "requirements", "people", "wanted"),
    [
        ("nobody has voted", [ANYONE], [], False),
        ("anyone will do", [ANYONE], [EVE], True),
        ("a lead is wanted and there", [LEAD], [BO], True),
        ("a lead is wanted, a manager votes", [LEAD], [CY], False),
        ("two leads are wanted, one votes", [TWO_LEADS], [ANA], False),
        ("two leads are wanted and there", [TWO_LEADS], [ANA, BO], True),
        ("either of two groups", [Requirement("r", any_of=("finance", "managers"))], [CY], True),
        ("a lead and a manager: one person in both groups is not enough", [LEAD, MANAGER], [ANA], False),
        ("a lead and a manager: two people, seated the only possible way", [LEAD, MANAGER], [ANA, BO], True),
        ("a manager and a lead: the order of requirements does not matter", [MANAGER, LEAD], [ANA, BO], True),
        ("two leads and a manager: three people", [TWO_LEADS, MANAGER], [ANA, BO, CY], True),
        ("two leads and a manager: two people", [TWO_LEADS, MANAGER], [ANA, BO], False),
        ("a second factor is wanted, none shown", [FACTOR], [ANA, BO], False),
        ("any second factor will do", [FACTOR], [CY], True),
        ("a hardware key is a second factor", [FACTOR], [DI], True),
        ("a one-time code is no hardware key", [KEY], [CY], False),
        ("a hardware key is one", [KEY], [DI], True),
        ("a second person stands in for the second factor", [FACTOR_OR_TWO], [ANA, BO], True),
        ("one person without a factor is neither", [FACTOR_OR_TWO], [ANA], False),
        ("one person with a factor is enough", [FACTOR_OR_TWO], [CY], True),
        ("the second person is one person in one place", [FACTOR_OR_TWO, LEAD], [ANA, BO], False),
        ("with a third person both are met", [FACTOR_OR_TWO, LEAD], [ANA, BO, EVE], True),
        ("a factor frees a person for the other place", [FACTOR_OR_TWO, LEAD], [CY, BO], True),
        ("two alternatives, one by factor and one by people", [FACTOR_OR_TWO, FACTOR_OR_TWO], [CY, ANA, BO], True),
        ("two alternatives, both by people", [FACTOR_OR_TWO, FACTOR_OR_TWO], [ANA, BO, EVE], False),
        ("no requirement named still means somebody", [], [], False),
        ("no requirement named means anybody", [], [EVE], True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_requirements_are_met_by_the_right_people(
    story: str, requirements: list[Requirement], people: list[Verified], wanted: bool
) -> None:
    """Each story of the table comes out as told."""
    assert all_met(requirements, *people) is wanted


def test_only_verified_approvals_count() -> None:
    """A vote without the hub's word counts nothing, a refused one never, and a denial is no approval."""
    decisions = [a_decision("ana"), a_decision("bo"), a_decision("cy", DecisionKind.DENIED)]
    assert approvers(decisions, []) == ()
    assert approvers(decisions, [Verified("bo", refused="signature does not fit"), Verified("cy")]) == ()
    assert [each.name for each in approvers(decisions, [Verified("ana")])] == ["ana"]


def test_a_verified_note_is_no_verified_vote() -> None:
    """The hub's word on somebody's note says nothing about his vote."""
    assert approvers([a_decision("ana")], [Verified("ana", note=1)]) == ()


def test_B3_one_person_under_two_capitalisations_is_one_person() -> None:
    """B3: Ana and ANA never fill two places, even if both votes were stored by some accident."""
    people = (Verified("ana", ("leads",)), Verified("ANA", ("leads",)))
    assert not all_met([TWO_LEADS], *people)
    assert fold("ANA@Example.com ") == fold("ana@example.com")


def test_groups_count_only_as_far_as_they_were_verified_and_claimed() -> None:
    """Who votes as a member of some groups counts for these alone, and never for one that was not verified."""
    verified = [Verified("ana", ("leads", "managers"))]
    assert met([MANAGER], [a_decision("ana", groups=("managers",))], verified)
    assert not met([LEAD], [a_decision("ana", groups=("managers",))], verified)
    assert not met([Requirement("f", any_of=("finance",))], [a_decision("ana", groups=("finance",))], verified)


def test_B3_I4_the_barred_never_count_even_if_verified() -> None:
    """B3, I4: requester, editor and the user behind the agent fill no place, whatever else is stored."""
    spec = a_spec(excluded=("Bo",), on_behalf_of="Kim", requester=AGENT)
    names = ("bo", "kim", AGENT, "kIM")
    decisions, verified = [a_decision(name) for name in names], [Verified(name) for name in names]
    assert met([ANYONE], decisions, verified)
    assert not met([ANYONE], decisions, verified, excluded=barred(spec))


@pytest.mark.parametrize(
    ("verified", "may", "tier", "counts"),
    [(True, True, "confirm", True), (False, True, "confirm", False), (True, True, "multi-factor", False)],
)
def test_B3_a_claimed_user_satisfies_nothing(verified: bool, may: bool, tier: str, counts: bool) -> None:
    """B3: the user behind the agent counts only verified, allowed by the policy, and on tier confirm."""
    spec = a_spec(on_behalf_of="kim", on_behalf_of_verified=verified, on_behalf_of_may_approve=may, tier=tier)
    assert ("kim" not in barred(spec)) is counts


def test_unnamed_reviewers_mean_what_the_tier_means() -> None:
    """Confirm without requirements: anyone; multi-factor: any second factor or two people; never nobody."""
    assert default_requirements("confirm") == (ANYONE,)
    assert default_requirements("multi-factor") == (FACTOR_OR_TWO,)
    assert requirements_of(a_spec(tier="multi-factor")) == (FACTOR_OR_TWO,)
    assert requirements_of(a_spec(requirements=(LEAD,))) == (LEAD,)


def test_progress_names_who_holds_which_place() -> None:
    """WHO DECIDES: each requirement with the people seated in it, and VOTES adds up."""
    rows = progress([LEAD, MANAGER], [a_decision("ana"), a_decision("bo")], [ANA, BO])
    assert [(row.requirement.name, row.filled_by, row.met) for row in rows] == [
        ("lead", ("bo",), True),
        ("manager", ("ana",), True),
    ]
    assert votes(rows) == (2, 2)


def test_progress_shows_the_way_that_is_closest() -> None:
    """With nobody there a factor needs one person, 0 of 1; a vote without it counts towards two people."""
    assert votes(progress([FACTOR_OR_TWO], [], [])) == (0, 1)
    assert votes(progress([FACTOR_OR_TWO], [a_decision("ana")], [ANA])) == (1, 2)
    assert votes(progress([FACTOR_OR_TWO], [a_decision("ana"), a_decision("bo")], [ANA, BO])) == (2, 2)


def test_progress_of_a_request_shows_names_as_written_and_skips_the_barred() -> None:
    """A request's own progress obeys its exclusions and shows people as they write themselves."""
    request = a_request(requirements=(replace(LEAD, approvals=2),), excluded=("Cy",))
    request = voted(request, "Ana", groups=("leads",))
    rows = progress_of(request)
    assert [(row.filled_by, row.places) for row in rows] == [(("Ana",), 2)]


GROUPS = ("a", "b", "c")
requirement = st.builds(
    Requirement,
    name=st.just("r"),
    approvals=st.integers(1, 3),
    any_of=st.lists(st.sampled_from(GROUPS), max_size=2, unique=True).map(tuple),
    second_factor=st.sampled_from(list(SecondFactor)),
    or_second_person=st.booleans(),
)
person = st.tuples(
    st.lists(st.sampled_from(GROUPS), max_size=2, unique=True).map(tuple), st.sampled_from(["", "totp"]), st.booleans()
)
requirement_lists = st.lists(requirement, min_size=1, max_size=3)


def crowd(people: list[tuple[tuple[str, ...], str, bool]]) -> list[Verified]:
    return [Verified(f"p{index}", *each) for index, each in enumerate(people)]


def by_brute_force(requirements: Sequence[Requirement], people: Sequence[Verified]) -> bool:
    """Tries every way and every seating: slow, and obviously right."""

    def fits(entry: Verified, place: Place) -> bool:
        shown = 2 if entry.hardware else 1 if entry.second_factor else 0
        wanted = {SecondFactor.NONE: 0, SecondFactor.ANY: 1, SecondFactor.HARDWARE: 2}[place.factor]
        return shown >= wanted and (not place.any_of or bool(set(place.any_of) & set(entry.groups)))

    ways = []
    for each in requirements:
        own = [[Place(each.any_of, each.second_factor)] * each.approvals]
        if each.or_second_person:
            own.append([Place(each.any_of, SecondFactor.NONE)] * (each.approvals + 1))
        ways.append(own)
    for way in product(*ways):
        places = [place for part in way for place in part]
        if len(places) <= len(people) and any(
            all(fits(entry, place) for entry, place in zip(seating, places, strict=True))
            for seating in permutations(people, len(places))
        ):
            return True
    return False


@given(requirements=st.lists(requirement, min_size=1, max_size=2), people=st.lists(person, max_size=4))
def test_the_matching_is_exact(
    requirements: list[Requirement], people: list[tuple[tuple[str, ...], str, bool]]
) -> None:
    """Augmenting paths find a seating exactly where trying all of them does: a person fills one place, none is lost."""
    assert all_met(requirements, *crowd(people)) is by_brute_force(requirements, crowd(people))


@given(requirements=requirement_lists, people=st.lists(person, max_size=6), data=st.data())
def test_the_order_of_votes_and_requirements_does_not_matter(
    requirements: list[Requirement], people: list[tuple[tuple[str, ...], str, bool]], data: st.DataObject
) -> None:
    """Any order of votes gives the same progress, any order of requirements the same answer."""
    verified = crowd(people)
    decisions = [a_decision(each.reviewer) for each in verified]
    shuffled = data.draw(st.permutations(decisions))
    assert progress(requirements, decisions, verified) == progress(requirements, shuffled, verified[::-1])
    other_order = data.draw(st.permutations(requirements))
    assert met(requirements, decisions, verified) == met(other_order, decisions, verified)


@given(requirements=requirement_lists, people=st.lists(person, max_size=5), one_more=person)
def test_an_approval_more_never_unmeets(
    requirements: list[Requirement],
    people: list[tuple[tuple[str, ...], str, bool]],
    one_more: tuple[tuple[str, ...], str, bool],
) -> None:
    """Adding a person keeps what was met, and never leaves more places open."""
    before, after = crowd(people), crowd([*people, one_more])
    assert not all_met(requirements, *before) or all_met(requirements, *after)
    held, places = votes(progress(requirements, [a_decision(each.reviewer) for each in before], before))
    held_then, places_then = votes(progress(requirements, [a_decision(each.reviewer) for each in after], after))
    assert places_then - held_then <= places - held


@given(requirements=requirement_lists, extra=requirement, people=st.lists(person, max_size=6))
def test_a_requirement_more_never_meets_more(
    requirements: list[Requirement], extra: Requirement, people: list[tuple[tuple[str, ...], str, bool]]
) -> None:
    """Who satisfies a set of requirements satisfies each part of it (SECURITY A8)."""
    verified = crowd(people)
    if all_met([*requirements, extra], *verified):
        assert all_met(requirements, *verified)
        assert all_met([extra], *verified)


@given(requirements=requirement_lists, people=st.lists(person, max_size=6))
def test_nobody_ever_holds_two_places(
    requirements: list[Requirement], people: list[tuple[tuple[str, ...], str, bool]]
) -> None:
    """In whatever progress is shown, each person stands once in the whole request."""
    verified = crowd(people)
    rows = progress(requirements, [a_decision(each.reviewer) for each in verified], verified)
    seated = [name for row in rows for name in row.filled_by]
    assert len(seated) == len(set(seated))
    assert all(len(row.filled_by) <= row.places for row in rows)
