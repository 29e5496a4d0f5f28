"""A policy is read strictly: every mistake at once, at its place, with the next step."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import a_policy, problems_of

from hitl.errors import InvalidPolicy, Problem
from hitl.policy.actions import Action
from hitl.policy.parse import parse_policy, parse_tool_server
from hitl.policy.spec import (
    Autonomy,
    Level,
    Mode,
    PodSelector,
    Policy,
    Posture,
    Raise,
    Redaction,
    RedactionPattern,
    Scoring,
    Undeclared,
)
from hitl.policy.weights import weight_of


def test_an_empty_spec_is_a_policy_with_every_default() -> None:
    """Every default of DESIGN 6, stated once."""
    policy = a_policy({})
    assert (policy.mode, policy.autonomy, policy.posture) == (Mode.ENFORCE, Autonomy.READ_ONLY, Posture.BALANCED)
    assert (policy.undeclared, policy.rules, policy.trust, policy.forbid) == (None, (), (), frozenset())
    assert policy.pod_selector == PodSelector()
    assert policy.approval.timeout == 900
    assert str(policy.ref) == "AgentPolicy/shop/support"
    assert (policy.uid, policy.ref.generation) == ("u-1", 1)


def test_every_section_is_read() -> None:
    """One value of each key reaches its field."""
    policy = a_policy(
        {
            "podSelector": {
                "matchLabels": {"app": "support", "empty": ""},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["a"]},
                    {"key": "x", "operator": "Exists"},
                ],
            },
            "mode": "Monitor",
            "autonomy": "Calibrated",
            "posture": "Conservative",
            "undeclared": "Score",
            "scoring": {"weights": {"low": 5, "exact": 0}, "thresholds": {"notify": 20, "multiFactor": 90}},
            "trust": [{"ceiling": "Notify", "tools": ["git/*"]}, {"ceiling": "Allow", "publisher": "ed25519:9f2c41d0"}],
            "raise": {
                "confidence": {"auto": 95, "missing": "Confirm"},
                "novelty": {"action": "Confirm", "watch": ["to", "/customer/id"]},
                "externalImpact": {"action": "Notify", "internalDomains": [".corp.example"]},
                "taintedEgress": "Deny",
                "anomaly": "Ignore",
            },
            "protectedPaths": ["/etc", "~/.ssh", "*.pem"],
            "redaction": {
                "keys": ["ssn", "*_pin"],
                "patterns": [{"name": "iban", "regex": "[A-Z]{2}[0-9]{14}", "scope": "response"}],
                "responses": True,
                "detectEncoding": True,
                "oversize": "MultiFactor",
            },
            "review": {"every": "30d"},
        }
    )
    assert policy.pod_selector.match_labels == {"app": "support", "empty": ""}
    assert policy.pod_selector.match_expressions == (("tier", "In", ("a",)), ("x", "Exists", ()))
    assert (policy.mode, policy.autonomy, policy.posture) == (Mode.MONITOR, Autonomy.CALIBRATED, Posture.CONSERVATIVE)
    assert policy.undeclared is Undeclared.SCORE
    assert policy.scoring == Scoring(
        levels={Level.LOW: 5, Level.MEDIUM: 30, Level.HIGH: 60, Level.CRITICAL: 90}, exact=0, notify=20, multi_factor=90
    )
    assert [(t.ceiling, [g.text for g in t.tools], t.publisher) for t in policy.trust] == [
        (Action.NOTIFY, ["git/*"], ""),
        (Action.ALLOW, [], "ed25519:9f2c41d0"),
    ]
    assert policy.raisers == Raise(
        auto=95,
        missing=Action.CONFIRM,
        novelty=Action.CONFIRM,
        watched=("to", "/customer/id"),
        external_impact=Action.NOTIFY,
        internal_domains=(".corp.example",),
        tainted_egress=Action.DENY,
    )
    assert policy.protected_paths == ("/etc", "~/.ssh", "*.pem")
    assert policy.redaction == Redaction(
        keys=("ssn", "*_pin"),
        patterns=(RedactionPattern("iban", "[A-Z]{2}[0-9]{14}", "response"),),
        responses=True,
        detect_encoding=True,
        oversize=Action.MULTI_FACTOR,
    )
    assert policy.review_every == 30 * 86400


@pytest.mark.parametrize(
    ("written", "read"),
    [(1, "SuggestOnly"), (2, "ReadOnly"), (3, "Calibrated"), (4, "AuditOnly"), ("AuditOnly", "AuditOnly")],
)
def test_autonomy_is_a_word_or_its_number(written: Any, read: str) -> None:
    """1 to 4, least autonomy first."""
    assert a_policy({"autonomy": written}).autonomy == read


@pytest.mark.parametrize(
    ("spec", "path", "said"),
    [
        ({"podselector": {}}, "spec.podselector", "unknown key; did you mean podSelector?"),
        ({"acton": 1}, "spec.acton", "unknown key"),
        ({"reviewers": ["a"]}, "spec.reviewers", "stands under approval"),
        ({"mode": "monitor"}, "spec.mode", "did you mean Monitor?"),
        ({"mode": "Shadow"}, "spec.mode", "write one of Enforce, Monitor"),
        ({"mode": True}, "spec.mode", "write one of Enforce, Monitor"),
        ({"mode": None}, "spec.mode", "is empty"),
        ({"autonomy": 5}, "spec.autonomy", "SuggestOnly"),
        ({"autonomy": True}, "spec.autonomy", "SuggestOnly"),
        ({"autonomy": 2.0}, "spec.autonomy", "SuggestOnly"),
        ({"undeclared": "score"}, "spec.undeclared", "did you mean Score?"),
        ({"rules": {}}, "spec.rules", "wants a list, this is an object"),
        ({"rules": []}, "spec.rules", "empty list"),
        ({"rules": ["x"]}, "spec.rules[0]", "must be a mapping"),
        ({"rules": [{"action": "Allow", "tools": ["*"]}] * 129}, "spec.rules", "at most 128"),
        ({"podSelector": {"app": "x"}}, "spec.podSelector.app", "matchLabels"),
        ({"podSelector": {"matchLabels": {"a b": "x"}}}, 'spec.podSelector.matchLabels["a b"]', "name of a label"),
        ({"podSelector": {"matchLabels": {"a": "x y"}}}, "spec.podSelector.matchLabels.a", "label's value"),
        ({"podSelector": {"matchLabels": {"a": 1}}}, "spec.podSelector.matchLabels.a", "put it in quotes"),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "spec.podSelector.matchExpressions[0].values",
            "In needs values",
        ),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}},
            "spec.podSelector.matchExpressions[0].values",
            "has no values",
        ),
        ({"scoring": {"weights": {"low": 101}}}, "spec.scoring.weights.low", "from 0 to 100"),
        ({"scoring": {"weights": {"low": 1.5}}}, "spec.scoring.weights.low", "whole number"),
        ({"scoring": {"weights": {"high": 5}}}, "spec.scoring.weights", "must not fall"),
        ({"scoring": {"thresholds": {"notify": 60}}}, "spec.scoring.thresholds", "must not fall"),
        ({"trust": [{"tools": ["*"]}]}, "spec.trust[0]", "needs ceiling"),
        (
            {"trust": [{"ceiling": "Deny", "tools": ["*"]}]},
            "spec.trust[0].ceiling",
            "write one of Allow, Notify, Confirm",
        ),
        ({"trust": [{"ceiling": "Allow"}]}, "spec.trust[0]", "either tools or publisher"),
        ({"trust": [{"ceiling": "Allow", "publisher": "rsa:1"}]}, "spec.trust[0].publisher", "ed25519:"),
        ({"raise": {"confidence": {"auto": 10}}}, "spec.raise.confidence", "must not rise"),
        ({"raise": {"confidence": {"auto": 101}}}, "spec.raise.confidence.auto", "from 0 to 100"),
        ({"raise": {"novelty": "Allow"}}, "spec.raise.novelty", "write one of Notify"),
        ({"raise": {"novelty": {"watch": ["to"]}}}, "spec.raise.novelty", "needs action"),
        (
            {"raise": {"externalImpact": {"action": "Confirm", "internalDomains": ["*"]}}},
            "spec.raise.externalImpact",
            "wildcard",
        ),
        ({"protectedPaths": ["/etc/**"]}, "spec.protectedPaths[0]", "already covers everything below"),
        ({"protectedPaths": ["/etc", "/etc"]}, "spec.protectedPaths[1]", "stands there twice"),
        ({"redaction": {"patterns": [{"name": "X", "regex": "a"}]}}, "spec.redaction.patterns[0].name", "lower-case"),
        ({"redaction": {"patterns": [{"name": "x", "regex": "a*"}]}}, "spec.redaction.patterns[0].regex", "empty text"),
        (
            {"redaction": {"patterns": [{"name": "x", "regex": "a{17}"}]}},
            "spec.redaction.patterns[0].regex",
            "at most 16",
        ),
        ({"redaction": {"oversize": "Confirm"}}, "spec.redaction.oversize", "write one of Deny, MultiFactor"),
        ({"redaction": {"responses": "yes"}}, "spec.redaction.responses", "wants true or false"),
        ({"review": {"every": "1m"}}, "spec.review.every", "out of range; from 1h"),
        ({"review": {}}, "spec.review", "needs every"),
        ({"scoring": {"weights": {"low": 2**60}}}, "spec.scoring.weights.low", "from 0 to 100"),
        ("x", "spec", "must be a mapping of keys to values, this is a string"),
        (None, "spec", "must be a mapping of keys to values, this is null"),
    ],
)
def test_C5_a_mistake_is_refused_at_its_place(spec: Any, path: str, said: str) -> None:
    """C5: nothing is pruned, defaulted or guessed; the path and the next step are named."""
    problems = problems_of(spec)
    assert path in problems, problems
    assert said in problems[path]


def test_every_mistake_is_found_at_once() -> None:
    """An author mends a policy in one go, not one error at a time."""
    spec = {
        "mode": "x",
        "autonomy": "y",
        "rules": [{"action": "Alow", "tools": ["a**"]}],
        "approval": {"timeout": "9d"},
        "z": 1,
    }
    assert set(problems_of(spec)) == {
        "spec.mode",
        "spec.autonomy",
        "spec.rules[0].action",
        "spec.rules[0].tools[0]",
        "spec.approval.timeout",
        "spec.z",
    }


def test_numbers_that_json_readers_round_are_refused() -> None:
    """The revision is over canonical JSON, which knows no integer beyond 2**53."""
    problems = problems_of({"rules": [{"action": "Deny", "tools": ["*"], "args": {"id": {"equals": 2**53}}}]})
    assert "write it as a string" in problems["spec.rules[0].args.id.equals"]
    problems = problems_of({"rules": [{"action": "Deny", "tools": ["*"], "args": {"id": {"max": float("inf")}}}]})
    assert "finite" in problems["spec.rules[0].args.id.max"]


def test_G1_text_that_cannot_be_seen_is_refused() -> None:
    """G1: an author's words reach reviewers too; a bidi override in them is shown, not stored."""
    problems = problems_of({"rules": [{"action": "Deny", "tools": ["*"], "because": "safe\u202e"}]})
    assert "\\u202e" in problems["spec.rules[0].because"]


@pytest.mark.parametrize(
    ("spec", "path", "said"),
    [
        ({"mode": "Monitor"}, "spec.mode", "may only tighten"),
        ({"autonomy": "AuditOnly"}, "spec.autonomy", "may only tighten"),
        ({"autonomy": 4}, "spec.autonomy", "may only tighten"),
        ({"posture": "Permissive"}, "spec.posture", "may only tighten"),
        ({"undeclared": "Allow"}, "spec.undeclared", "may only tighten"),
        ({"trust": [{"ceiling": "Allow", "tools": ["*"]}]}, "spec.trust", "may only tighten"),
        ({"rules": [{"action": "Confirm", "tools": ["*"], "final": True}]}, "spec.rules[0].final", "may only tighten"),
    ],
)
def test_A7_a_baseline_may_not_relax(spec: Any, path: str, said: str) -> None:
    """A7: what could only relax is refused in a ClusterAgentPolicy, and accepted in an AgentPolicy."""
    assert said in problems_of(spec, "ClusterAgentPolicy")[path]
    assert problems_of(spec, "AgentPolicy") == {}


def test_A7_only_a_baseline_can_forbid() -> None:
    """A7: the words of DESIGN 6, in a ClusterAgentPolicy, which has no namespace."""
    words = ["Monitor", "AuditOnly", "Final", "Trust", "Incident", "Permissive"]
    policy = a_policy({"forbid": words}, "ClusterAgentPolicy")
    assert policy.forbid == set(words)
    assert str(policy.ref) == "ClusterAgentPolicy/support"
    assert "move it there" in problems_of({"forbid": ["Monitor"]})["spec.forbid"]
    assert "did you mean Trust?" in problems_of({"forbid": ["trust"]}, "ClusterAgentPolicy")["spec.forbid[0]"]


RAW = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["Allow", "Deny", "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "rules",
                    "action",
                    "tools",
                    "args",
                    "limit",
                    "approval",
                    "reviewers",
                    "escalate",
                    "raise",
                    "trust",
                    "x",
                    "min",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(RAW)
def test_any_raw_value_is_a_policy_or_a_list_of_problems(raw: Any) -> None:
    """Whatever arrives, the answer is a policy or InvalidPolicy, and every problem says where it stands."""
    try:
        outcome: Policy | tuple[Problem, ...] = parse_policy("AgentPolicy", {"name": "x"}, raw)
    except InvalidPolicy as error:
        outcome = error.problems
    assert isinstance(outcome, Policy) or outcome
    if not isinstance(outcome, Policy):
        assert all(problem.path.startswith("spec") and problem.message for problem in outcome)


def test_B5_a_policy_that_is_too_heavy_is_refused_before_it_is_read() -> None:
    """B5: nothing of it is looked at, so that one policy costs a moment however large it is."""
    rule = {"action": "Denied", "tools": ["x"], "args": {f"a{n}": {"in": ["b" * 100] * 20} for n in range(30)}}
    ((place, words),) = problems_of({"rules": [rule] * 10}).items()
    assert place == "spec"
    assert "at most 256 KiB" in words
    assert set(problems_of({"rules": [rule]})) == {"spec.rules[0].action"}


def test_B5_a_tool_server_that_is_too_heavy_is_refused_as_well() -> None:
    """B5: the same bound for every kind."""
    with pytest.raises(InvalidPolicy, match="at most 256 KiB"):
        parse_tool_server({"name": "stripe"}, {"tools": [{"name": f"{n}-{'x' * 100}"} for n in range(3000)]})


def test_B5_what_json_cannot_say_is_weighed_all_the_same() -> None:
    """B5: a number that no JSON reader knows does not take a heavy spec past the scales."""
    assert weight_of({"a": 2**70, "b": "x" * 1000}) in range(1000, 1100)
    assert weight_of({"a": "\ud800", "b": "x" * 1000}) in range(1000, 1100)
