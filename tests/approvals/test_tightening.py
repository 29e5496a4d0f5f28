"""I8: what the policy of now means for an approval under the policy of then."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.asked import a_decision, a_spec
from hitl.approvals.requests import Kind, RequestSpec, Verified
from hitl.approvals.requirements import met
from hitl.approvals.tightening import Change, compare, implies
from hitl.policy.actions import Action
from hitl.policy.verdicts import ApprovalTerms, EscalationStep, Requirement, SecondFactor, Verdict

P = "AgentPolicy/shop/support"
ONE = Requirement("reviewer", origin=P)
TWO = Requirement("reviewer", 2, origin=P)
LEAD = Requirement("lead", any_of=("leads",), origin=P)
LEAD_OR_BOSS = Requirement("lead", any_of=("leads", "bosses"), origin=P)
BOSS = Requirement("boss", any_of=("bosses",), origin=P)
KEY = Requirement("lead", any_of=("leads",), second_factor=SecondFactor.HARDWARE, origin=P)
CODE = Requirement("lead", any_of=("leads",), second_factor=SecondFactor.ANY, origin=P)
CODE_OR_TWO = replace(CODE, or_second_person=True)
TWO_LEADS = replace(LEAD, approvals=2)


def asks(*requirements: Requirement, action: Action = Action.CONFIRM, **terms: Any) -> Verdict:
    terms = {"reason_required": (), **terms}
    return Verdict(action, "RULE", "", terms=ApprovalTerms(requirements=requirements, **terms))


def asked(*requirements: Requirement, tier: str = "confirm", **changes: Any) -> RequestSpec:
    return a_spec(requirements=requirements, tier=tier, **changes)


@pytest.mark.parametrize(
    ("verdict", "change"),
    [
        (Verdict(Action.DENY, "RULE", ""), Change.DENY),
        (Verdict(Action.ALLOW, "RULE", ""), Change.LESS_STRICT),
        (Verdict(Action.NOTIFY, "RULE", ""), Change.LESS_STRICT),
        (asks(ONE), Change.SAME),
        (asks(ONE, action=Action.MULTI_FACTOR), Change.STRICTER),
        (asks(ONE, action=Action.SUGGEST), Change.STRICTER),
        (replace(asks(ONE), clarify=True), Change.STRICTER),
        (replace(Verdict(Action.ALLOW, "RULE", ""), clarify=True), Change.STRICTER),
        (Verdict(Action.CONFIRM, "RULE", "", terms=None), Change.STRICTER),
    ],
)
def test_I8_the_action_alone_can_tighten(verdict: Verdict, change: Change) -> None:
    """I8: Deny forbids, a stricter action or a question to the user does not release, a laxer one changes nothing."""
    assert compare(asked(ONE), verdict) is change


@pytest.mark.parametrize(
    ("tier", "kind", "action", "change"),
    [
        ("multi-factor", Kind.TOOL_CALL, Action.CONFIRM, Change.LESS_STRICT),
        ("multi-factor", Kind.TOOL_CALL, Action.MULTI_FACTOR, Change.SAME),
        ("multi-factor", Kind.TOOL_CALL, Action.SUGGEST, Change.STRICTER),
        ("confirm", Kind.SUGGESTION, Action.SUGGEST, Change.SAME),
        ("confirm", Kind.SUGGESTION, Action.MULTI_FACTOR, Change.LESS_STRICT),
    ],
)
def test_I8_the_action_asked_follows_from_tier_and_kind(tier: str, kind: Kind, action: Action, change: Change) -> None:
    """I8: what was asked is read from the snapshot: its tier, and Suggest for a Suggestion."""
    assert compare(asked(ONE, tier=tier, kind=kind), asks(ONE, action=action)) is change


@pytest.mark.parametrize(
    ("story", "old", "new", "change"),
    [
        ("nothing changed", [LEAD], [LEAD], Change.SAME),
        ("only names changed", [LEAD], [replace(LEAD, name="other")], Change.SAME),
        ("another order", [LEAD, BOSS], [BOSS, LEAD], Change.SAME),
        ("one more person", [ONE], [TWO], Change.STRICTER),
        ("one person less", [TWO], [ONE], Change.LESS_STRICT),
        ("one more requirement", [LEAD], [LEAD, BOSS], Change.STRICTER),
        ("one requirement less", [LEAD, BOSS], [BOSS], Change.LESS_STRICT),
        ("one more group may fill it", [LEAD], [LEAD_OR_BOSS], Change.LESS_STRICT),
        ("one group less may fill it", [LEAD_OR_BOSS], [LEAD], Change.STRICTER),
        ("another group", [LEAD], [BOSS], Change.STRICTER),
        ("a group where anyone could", [ONE], [LEAD], Change.STRICTER),
        ("anyone where a group was asked", [LEAD], [ONE], Change.LESS_STRICT),
        ("a factor more", [LEAD], [CODE], Change.STRICTER),
        ("a stronger factor", [CODE], [KEY], Change.STRICTER),
        ("a weaker factor", [KEY], [CODE], Change.LESS_STRICT),
        ("the second person is no alternative any more", [CODE_OR_TWO], [CODE], Change.STRICTER),
        ("a second person becomes an alternative", [CODE], [CODE_OR_TWO], Change.LESS_STRICT),
        ("two leads satisfy a lead with a code or two leads", [TWO_LEADS], [CODE_OR_TWO], Change.LESS_STRICT),
        ("one group of two people is two requirements", [TWO_LEADS], [LEAD, LEAD], Change.SAME),
        ("nobody named, and anyone named", [], [ONE], Change.SAME),
        ("nobody named now", [LEAD], [], Change.LESS_STRICT),
        ("a lead and a boss are not two leads", [LEAD, BOSS], [TWO_LEADS], Change.STRICTER),
        ("a lead and a boss are two of either", [LEAD, BOSS], [replace(LEAD_OR_BOSS, approvals=2)], Change.LESS_STRICT),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_I8_requirements_are_compared_by_whom_they_certainly_satisfy(
    story: str, old: list[Requirement], new: list[Requirement], change: Change
) -> None:
    """I8: each story of the table: what was approved releases only if it certainly satisfies what is asked now."""
    assert compare(asked(*old), asks(*new)) is change


ONCALL_SOON = EscalationStep(300, ("oncall",), P)
ONCALL_LATER = EscalationStep(600, ("oncall",), P)


@pytest.mark.parametrize(
    ("story", "old", "new", "change"),
    [
        ("the same step", [ONCALL_SOON], [ONCALL_SOON], Change.SAME),
        ("no step any more", [ONCALL_SOON], [], Change.STRICTER),
        ("a step added", [], [ONCALL_SOON], Change.LESS_STRICT),
        ("the step comes later", [ONCALL_SOON], [ONCALL_LATER], Change.STRICTER),
        ("the step comes sooner", [ONCALL_LATER], [ONCALL_SOON], Change.LESS_STRICT),
        ("the step adds others", [ONCALL_SOON], [replace(ONCALL_SOON, to=("bosses",))], Change.STRICTER),
        ("the step widens another policy", [ONCALL_SOON], [replace(ONCALL_SOON, origin="other")], Change.STRICTER),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_I8_people_let_in_by_escalation_count(
    story: str, old: list[EscalationStep], new: list[EscalationStep], change: Change
) -> None:
    """I8: who could fill a place by escalation then must be able to now, no later and no further down the steps."""
    assert compare(asked(LEAD, escalation=tuple(old)), asks(LEAD, escalation=tuple(new))) is change


@pytest.mark.parametrize(
    ("spec", "terms", "change"),
    [
        ({"denials_to_end": 2}, {"denials_to_end": 1}, Change.STRICTER),
        ({"denials_to_end": 1}, {"denials_to_end": 2}, Change.LESS_STRICT),
        ({}, {"reason_required": ("Approved",)}, Change.STRICTER),
        ({"reason_required": ("Denied",)}, {}, Change.LESS_STRICT),
        ({"on_behalf_of": "kim", "on_behalf_of_may_approve": True}, {}, Change.STRICTER),
        ({}, {"on_behalf_of_may_approve": True}, Change.LESS_STRICT),
        ({"timeout": 900}, {"timeout": 60}, Change.SAME),
        ({"denial_cooldown": 600}, {"denial_cooldown": 60}, Change.SAME),
    ],
)
def test_I8_how_votes_count_is_part_of_the_terms(spec: dict[str, Any], terms: dict[str, Any], change: Change) -> None:
    """I8: fewer denials that end it, a reason more, and barring the user behind it are stricter; times are not."""
    assert compare(asked(ONE, **spec), asks(ONE, **terms)) is change


GROUPS = ("a", "b")
requirement = st.builds(
    Requirement,
    name=st.just("r"),
    approvals=st.integers(1, 2),
    any_of=st.sampled_from([(), ("a",), ("b",), ("a", "b")]),
    second_factor=st.sampled_from(list(SecondFactor)),
    or_second_person=st.booleans(),
)
requirements = st.lists(requirement, min_size=1, max_size=2)
people = st.lists(
    st.tuples(st.sampled_from([(), ("a",), ("b",), ("a", "b")]), st.sampled_from(["", "totp"]), st.booleans()),
    max_size=5,
)


def satisfied(asked_for: Sequence[Requirement], crowd: list[tuple[tuple[str, ...], str, bool]]) -> bool:
    entries = [Verified(f"p{index}", *each) for index, each in enumerate(crowd)]
    return met(asked_for, [a_decision(entry.reviewer) for entry in entries], entries)


@given(old=requirements, new=requirements, crowd=people)
def test_I8_the_order_is_sound(
    old: list[Requirement], new: list[Requirement], crowd: list[tuple[tuple[str, ...], str, bool]]
) -> None:
    """I8: where the old terms are said to cover the new ones, no set of people satisfies the old and not the new."""
    if implies(old, new) and satisfied(old, crowd):
        assert satisfied(new, crowd)


@given(old=requirements, extra=requirement)
def test_I8_adding_a_requirement_is_never_less_strict(old: list[Requirement], extra: Requirement) -> None:
    """I8, A8: with one requirement more the verdict is stricter, or asks what was asked already."""
    assert implies([*old, extra], old)
    if compare(asked(*old), asks(*old, extra)) is not Change.STRICTER:
        assert implies(old, [*old, extra])


@given(old=requirements, middle=requirements, new=requirements)
def test_I8_the_order_is_one(old: list[Requirement], middle: list[Requirement], new: list[Requirement]) -> None:
    """I8: every set of requirements covers itself, and what covers something covers all that this covers."""
    assert implies(old, old)
    if implies(old, middle) and implies(middle, new):
        assert implies(old, new)
