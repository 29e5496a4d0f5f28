"""Who decides a held call when several policies hold it: the strictest of everything (SECURITY A8)."""

from typing import Any

import pytest

from hitl.policy.actions import Action
from hitl.policy.parse import parse_policy
from hitl.policy.spec import Policy
from hitl.policy.terms import Holder, merged_terms
from hitl.policy.verdicts import ApprovalTerms, OnTimeout, Requirement, SecondFactor

ANY, HARDWARE, NO_FACTOR = SecondFactor.ANY, SecondFactor.HARDWARE, SecondFactor.NONE


def a_policy(
    name: str = "p", *, kind: str = "AgentPolicy", rule: dict[str, Any] | None = None, **approval: Any
) -> Policy:
    spec: dict[str, Any] = {"rules": [{"action": "Confirm", "tools": ["*"]} | (rule or {})]}
    if approval:
        spec["approval"] = approval
    return parse_policy(kind, {"name": name, "namespace": "shop"}, spec)


def terms_of(*policies: Policy, action: Action = Action.CONFIRM, alone: bool = True) -> ApprovalTerms:
    holders = [Holder(policy, policy.rules[0], policy.rules[0].action or action) for policy in policies]
    return merged_terms(holders, max(action, *(holder.action for holder in holders)), alone=alone)


def places(terms: ApprovalTerms) -> list[tuple[str, int, tuple[str, ...], SecondFactor, bool]]:
    return [
        (each.name, each.approvals, each.any_of, each.second_factor, each.or_second_person)
        for each in terms.requirements
    ]


def test_A8_nobody_named_is_anybody_who_may_approve() -> None:
    """A8: a Confirm without reviewers wants one person, whoever the API server lets approve the tier."""
    assert terms_of(a_policy()).requirements == (Requirement("reviewer"),)


def test_A8_requirements_of_two_policies_are_anded() -> None:
    """A8: each policy that holds keeps its own people, with the policy they come from."""
    terms = terms_of(a_policy("a", reviewers=["support"]), a_policy("b", reviewers=["legal"]))
    assert [(each.name, each.origin) for each in terms.requirements] == [
        ("support", "AgentPolicy/shop/a"),
        ("legal", "AgentPolicy/shop/b"),
    ]


def test_A8_a_rule_replaces_the_reviewers_of_its_own_policy_only() -> None:
    """A8: a rule's reviewers stand in for its policy's, and never for another policy's."""
    terms = terms_of(
        a_policy("a", rule={"reviewers": ["dba"]}, reviewers=["support"]), a_policy("b", reviewers=["legal"])
    )
    assert [each.name for each in terms.requirements] == ["dba", "legal"]


def test_A8_identical_demands_of_two_policies_count_once() -> None:
    """A8: two policies that both want one of support are both content with one of support."""
    assert places(terms_of(a_policy("a", reviewers=["support"]), a_policy("b", reviewers=["support"]))) == [
        ("support", 1, ("support",), NO_FACTOR, False)
    ]


def test_A8_two_alike_of_one_policy_stay_two() -> None:
    """A8: a policy that names the same group twice wants two people, also when another names it once."""
    twice = {"requirements": [{"name": "one", "anyOf": ["support"]}, {"name": "two", "anyOf": ["support"]}]}
    terms = terms_of(a_policy("a", reviewers=["support"]), a_policy("b", rule=twice))
    assert [each.any_of for each in terms.requirements] == [("support",), ("support",)]


def test_A8_different_demands_under_one_name_keep_apart() -> None:
    """A8: names are made unique, nothing is lost."""
    terms = terms_of(
        a_policy("a", rule={"requirements": [{"name": "one", "anyOf": ["support"]}]}),
        a_policy("b", rule={"requirements": [{"name": "one", "anyOf": ["legal"]}]}),
    )
    assert [(each.name, each.any_of) for each in terms.requirements] == [("one", ("support",)), ("one-2", ("legal",))]


def test_A8_cluster_requirements_are_added_never_merged() -> None:
    """A8, DESIGN 18: a baseline's demand comes on top of an identical one, named `cluster/…`."""
    terms = terms_of(
        a_policy("a", reviewers=["support"]), a_policy("base", kind="ClusterAgentPolicy", reviewers=["support"])
    )
    assert [each.name for each in terms.requirements] == ["support", "cluster/support"]


def test_A8_escalation_of_one_policy_never_opens_anothers_place() -> None:
    """A8: a merged demand belongs to the policy that does not escalate; if both do, to neither."""
    step = [{"after": "5m", "to": ["oncall"]}]
    escalating, closed = a_policy("a", reviewers=["support"], escalate=step), a_policy("b", reviewers=["support"])
    assert [each.origin for each in terms_of(escalating, closed).requirements] == ["AgentPolicy/shop/b"]
    other = a_policy("c", reviewers=["support"], escalate=[{"after": "1m", "to": ["interns"]}])
    terms = terms_of(escalating, other)
    assert [each.origin for each in terms.requirements] == [""]
    assert [(each.after, each.origin) for each in terms.escalation] == [
        (60, "AgentPolicy/shop/c"),
        (300, "AgentPolicy/shop/a"),
    ]


def test_A8_the_shortest_times_and_the_strictest_habits_count() -> None:
    """A8: of every number and habit the strictest counts, and what must be written must be written for all."""
    patient = a_policy(
        "a", timeout="1h", holdBudget="40s", onTimeout="Escalate", escalate=[{"after": "5m", "to": ["oncall"]}],
        onBehalfOf="Confirm", denialsToEnd=3, denialCooldown="1m", remind="10m",
        reasonRequired=["Denied"],
    )  # fmt: skip
    strict = a_policy("b", rule={"timeout": "2m"}, timeout="1h", onTimeout="Retry", denialCooldown="1h")
    terms = terms_of(patient, strict)
    assert (terms.timeout, terms.hold_budget, terms.on_timeout) == (120, 40, OnTimeout.RETRY)
    assert (terms.on_behalf_of_may_approve, terms.denials_to_end, terms.denial_cooldown) == (False, 1, 3600)
    assert terms.remind == 600
    assert set(terms.reason_required) == {"Denied", "MultiFactor"}


@pytest.mark.parametrize(
    ("rule", "approval", "wanted"),
    [
        ({}, {}, [("reviewer", 1, (), ANY, True)]),
        ({"reviewers": ["dba"]}, {}, [("dba", 1, ("dba",), ANY, True)]),
        (
            {"reviewers": ["dba", "sre"]},
            {},
            [("dba", 1, ("dba",), NO_FACTOR, False), ("sre", 1, ("sre",), NO_FACTOR, False)],
        ),
        (
            {"requirements": [{"name": "two", "approvals": 2, "anyOf": ["dba"]}]},
            {},
            [("two", 2, ("dba",), NO_FACTOR, False)],
        ),
        (
            {"requirements": [{"name": "key", "anyOf": ["dba"], "secondFactor": "Hardware"}]},
            {},
            [("key", 1, ("dba",), HARDWARE, False)],
        ),
        ({}, {"reviewers": ["support"]}, [("support", 1, ("support",), ANY, True)]),
        (
            {},
            {"reviewers": ["support"], "multiFactor": {"reviewers": ["managers"]}},
            [("managers", 1, ("managers",), ANY, True)],
        ),
        (
            {"reviewers": ["dba"]},
            {"multiFactor": {"secondFactor": "Hardware", "satisfiedBy": ["SecondFactor"]}},
            [("dba", 1, ("dba",), HARDWARE, False)],
        ),
        (
            {"reviewers": ["dba"]},
            {"multiFactor": {"secondFactor": "Any"}},
            [("dba", 1, ("dba",), ANY, True)],
        ),
        (
            {"reviewers": ["dba"]},
            {"multiFactor": {"satisfiedBy": ["SecondPerson"]}},
            [("dba", 2, ("dba",), NO_FACTOR, False)],
        ),
    ],
    ids=[
        "nobody named",
        "one group",
        "two groups are two people",
        "two of one group",
        "an own factor",
        "the policy's reviewers",
        "the policy's reviewers for MultiFactor",
        "the policy's factor for a rule's reviewers",
        "a factor that a second person replaces",
        "only a second person",
    ],
)
def test_A8_multi_factor_is_never_one_person_alone(
    rule: dict[str, Any], approval: dict[str, Any], wanted: list[tuple[Any, ...]]
) -> None:
    """A8, DESIGN 18: several people, or one with a second factor, or one with a second person behind him."""
    terms = terms_of(a_policy(rule=rule | {"action": "MultiFactor"}, **approval), action=Action.MULTI_FACTOR)
    assert places(terms) == wanted


def test_A8_two_policies_with_one_person_each_are_two_people() -> None:
    """A8: where others' people already make two, MultiFactor without names adds nobody."""
    terms = terms_of(
        a_policy("a", rule={"action": "MultiFactor"}), a_policy("b", reviewers=["x"]), a_policy("c", reviewers=["y"]),
        action=Action.MULTI_FACTOR,
    )  # fmt: skip
    assert places(terms) == [("x", 1, ("x",), NO_FACTOR, False), ("y", 1, ("y",), NO_FACTOR, False)]


def test_A8_the_stricter_of_two_alike_stays() -> None:
    """A8: the same group once with and once without a second factor is wanted once, with it."""
    with_key = {"requirements": [{"name": "key", "anyOf": ["dba"], "secondFactor": "Hardware"}]}
    assert places(terms_of(a_policy("a", reviewers=["dba"]), a_policy("b", rule=with_key))) == [
        ("dba", 1, ("dba",), HARDWARE, False)
    ]


def test_A8_what_nobody_can_see_whole_is_not_one_persons_to_decide() -> None:
    """A8, G2: hidden arguments want a second factor or a second person, whatever the action is called."""
    assert places(terms_of(a_policy(reviewers=["support"]), alone=False)) == [("support", 1, ("support",), ANY, True)]
    assert not terms_of(a_policy(onBehalfOf="Confirm"), alone=False).on_behalf_of_may_approve
