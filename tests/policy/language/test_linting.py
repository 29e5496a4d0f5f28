"""What is valid and hardly meant."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import a_policy

from hitl.errors import EvaluationFailed
from hitl.policy.linting import CODES, lint
from hitl.policy.parse import parse_tool_server
from hitl.policy.rule_order import covers, in_order

PACKAGE = Path(__file__).resolve().parents[3]


def found(spec: Any, *servers: Any, kind: str = "AgentPolicy") -> list[tuple[str, str]]:
    """(code, path) of everything that is found in a policy."""
    resources = [a_policy(spec, kind), *servers]
    return [(problem.code, problem.path) for problem in lint(resources)]


def rules(*written: dict[str, Any]) -> dict[str, Any]:
    return {"rules": [{"tools": ["*"], **rule} for rule in written]}


BIG = {"args": {"amount": {"min": 100}}}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"action": "Allow"}, {"action": "Confirm", "tools": ["stripe/create_refund"]}),
        ({"action": "Allow", "tools": ["stripe/*", "x"]}, {"action": "Allow", "tools": ["stripe/a*", "stripe/b"]}),
        ({"action": "Score"}, {"action": "Confirm", **BIG}),
        ({"action": "Allow", "limit": {"calls": 1, "per": "1m"}}, {"action": "Confirm"}),
        ({"action": "Allow", "ensure": {"a": {"min": 1}}}, {"action": "Confirm"}),
        ({"action": "Confirm", "args": {"amount": {"max": 500}}}, {"action": "Allow", "args": {"amount": {"max": 5}}}),
        ({"action": "Confirm", "args": {"a": {"in": [1, 2]}}}, {"action": "Allow", "args": {"a": {"equals": 2}}}),
        ({"action": "Confirm", "args": {"a": {"min": 1}}}, {"action": "Allow", "args": {"a": {"in": [1, 2]}}}),
        (
            {"action": "Confirm", "args": {"a": {"matches": "x"}}},
            {"action": "Allow", "args": {"a": {"matches": "x"}, "b": {"min": 1}}},
        ),
        ({"action": "Confirm", "cel": "args.a == 1"}, {"action": "Allow", "cel": "args.a == 1", **BIG}),
        ({"action": "Deny", **BIG}, {"action": "Deny", **BIG}),
    ],
)
def test_a_rule_that_can_never_match_is_found(first: dict[str, Any], second: dict[str, Any]) -> None:
    """An earlier rule takes all its calls, whatever that rule then does with them."""
    assert ("HITL104", "spec.rules[1]") in found(rules(first, second))


def test_a_rule_behind_a_later_deny_is_unreachable() -> None:
    """Deny rules are tried first wherever they stand."""
    assert found(rules({"action": "Confirm", "tools": ["stripe/x"]}, {"action": "Deny", "tools": ["stripe/*"]})) == [
        ("HITL104", "spec.rules[0]")
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"action": "Allow", "tools": ["stripe/create_refund"]}, {"action": "Confirm"}),
        ({"action": "Allow", "args": {"a": {"min": 1}}}, {"action": "Confirm"}),
        ({"action": "Allow", "cel": "args.a == 1"}, {"action": "Confirm"}),
        ({"action": "Allow", "args": {"a": {"max": 5}}}, {"action": "Confirm", "args": {"a": {"max": 500}}}),
        ({"action": "Allow", "args": {"a": {"in": [1]}}}, {"action": "Confirm", "args": {"a": {"in": [1, 2]}}}),
        ({"action": "Allow", "args": {"a": {"equals": True}}}, {"action": "Confirm", "args": {"a": {"equals": 1}}}),
        ({"action": "Allow", "args": {"a": {"present": False}}}, {"action": "Confirm", "args": {"a": {"min": 1}}}),
        ({"action": "Confirm"}, {"action": "Deny", "tools": ["x"]}),
    ],
)
def test_a_rule_that_may_match_is_not_reported(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Only what is proven."""
    assert "HITL104" not in [code for code, _ in found(rules(first, second))]


ARGS = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.sampled_from(
        [
            {"min": 1},
            {"min": 2},
            {"max": 2},
            {"equals": 2},
            {"in": [1, 2]},
            {"in": ["x", 2]},
            {"maxLength": 1},
            {"matches": "x"},
        ]
    )
    | st.just({"present": False}),
    max_size=2,
)
VALUES = st.sampled_from([0, 1, 2, 3, "x", "xx", "2", True, None, [1]])


@given(ARGS, ARGS, st.dictionaries(st.sampled_from(["a", "b"]), VALUES, max_size=2))
def test_no_call_refutes_an_unreachable_rule(one: Any, other: Any, arguments: Any) -> None:
    """Soundness: if a rule is said to be covered, no call matches it and not the rule before."""
    first, second = a_policy(rules(*({"action": "Confirm", **({"args": a} if a else {})} for a in (one, other)))).rules
    if not covers(first, second):
        return
    try:
        if second.args.hold(arguments):
            assert first.args.hold(arguments)
    except EvaluationFailed:
        return


def test_deny_rules_come_first_and_others_keep_their_order() -> None:
    """The order in which evaluation tries them."""
    policy = a_policy(
        rules({"action": "Allow", "name": "a"}, {"action": "Deny", "name": "b"}, {"action": "Score", "name": "c"})
    )
    assert [rule.name for rule in in_order(policy.rules)] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("argument", "matcher", "code"),
    [
        ("sql", {"matches": "^select"}, "HITL201"),
        ("query", {"startsWith": "select"}, "HITL201"),
        ("command", {"matches": "^ls"}, "HITL202"),
        ("cmd", {"notIn": ["rm -rf /"]}, "HITL202"),
        ("path", {"startsWith": "/workspace/"}, "HITL203"),
        ("/target/filename", {"notMatches": "^/etc"}, "HITL203"),
        ("url", {"startsWith": "https://good.com"}, "HITL204"),
        ("urls", {"each": {"matches": "good"}}, "HITL204"),
        ("customer.id", {"equals": 1}, "HITL205"),
    ],
)
def test_A2_a_string_matcher_where_it_is_got_around_is_reported(
    argument: str, matcher: dict[str, Any], code: str
) -> None:
    """A2: SQL, commands, paths and URLs are parsed, never matched by their spelling."""
    spec = rules({"action": "Confirm", "args": {argument: matcher}})
    assert code in [each for each, _ in found(spec)]


@pytest.mark.parametrize(
    ("argument", "matcher"),
    [
        ("path", {"within": "/workspace"}),
        ("url", {"hosts": ["good.com"]}),
        ("command", {"in": ["ls", "pwd"]}),
        ("sql", {"equals": "select 1"}),
        ("query", {"matches": "refund"}),
        ("amount", {"matches": "^1"}),
    ],
)
def test_a_matcher_that_fits_its_argument_is_not_reported(argument: str, matcher: dict[str, Any]) -> None:
    """Matchers that understand the argument, whole values, and plain text."""
    spec = rules({"action": "Confirm", "tools": ["x/y"], "args": {argument: matcher}})
    assert found(spec) == []


READS = {"action": "Allow", "tools": ["get_*"]}


@pytest.mark.parametrize(
    ("spec", "code", "path"),
    [
        (
            rules({"action": "Deny", "tools": ["x"], "args": {"path": {"within": "/etc"}}}),
            "HITL206",
            "spec.rules[0].args.path",
        ),
        (rules({"action": "Allow"}), "HITL301", "spec.rules"),
        ({"undeclared": "Notify"}, "HITL301", "spec.rules"),
        ({"autonomy": "AuditOnly", "undeclared": "Score"}, "HITL301", "spec.autonomy"),
        (rules({"action": "Confirm"}), "HITL302", "spec.rules"),
        ({"undeclared": "Confirm"}, "HITL302", "spec.rules"),
        (rules({"action": "Confirm", "tools": ["get_*"]}), "HITL303", "spec.rules[0]"),
        ({"undeclared": "Score", "approval": {"onBehalfOf": "Confirm"}}, "HITL303", "spec.approval.onBehalfOf"),
        (
            {"undeclared": "Score", "approval": {"timeout": "5m", "escalate": [{"after": "5m", "to": ["a"]}]}},
            "HITL304",
            "spec.approval.escalate[0].after",
        ),
        ({"undeclared": "Score", "approval": {"timeout": "5m", "remind": "10m"}}, "HITL304", "spec.approval.remind"),
        ({"undeclared": "Score", "approval": {"denialCooldown": "0s"}}, "HITL305", "spec.approval.denialCooldown"),
        (rules({"action": "Deny", "reviewers": ["a"]}), "HITL306", "spec.rules[0].reviewers"),
        ({}, "HITL309", "spec"),
    ],
)
def test_a_policy_that_is_hardly_meant_is_reported(spec: Any, code: str, path: str) -> None:
    """Each code has a policy that shows it."""
    assert (code, path) in found(spec)


@pytest.mark.parametrize(
    "spec",
    [
        rules(READS, {"action": "Confirm"}),
        rules(READS),
        {"undeclared": "Score"},
        rules({"action": "Allow", "limit": {"calls": 1, "per": "1m", "then": "Confirm"}}),
        {"undeclared": "Score", "approval": {"onBehalfOf": "Confirm", "reviewers": ["a"]}},
        {"undeclared": "Score", "approval": {"timeout": "5m", "onTimeout": "Retry", "remind": "6m"}},
        {"mode": "Monitor", "undeclared": "Confirm"},
    ],
)
def test_a_sensible_policy_is_not_reported(spec: Any) -> None:
    """No noise where people are asked about some things and not about others."""
    assert found(spec) == []


def test_a_tool_that_its_server_does_not_declare_is_reported() -> None:
    """With the nearest one that it does; servers that declare nothing say nothing."""
    server = parse_tool_server({"name": "stripe"}, {"tools": [{"name": "create_refund"}]})
    silent = parse_tool_server({"name": "other"}, {})
    spec = rules({"action": "Confirm", "tools": ["stripe/create_refnd", "stripe/create_*", "*/x", "other/y"]})
    (problem,) = lint([silent, a_policy(spec), server])
    assert (problem.code, problem.path, problem.document, problem.severity) == (
        "HITL307",
        "spec.rules[0].tools[0]",
        1,
        "warning",
    )
    assert "did you mean stripe/create_refund?" in problem.message


def test_an_allow_that_exempts_from_nothing_is_reported_in_a_baseline() -> None:
    """In a ClusterAgentPolicy Allow only keeps later rules away; with a later rule it says something."""
    assert ("HITL308", "spec.rules[0]") in found(rules(READS), kind="ClusterAgentPolicy")
    assert found(rules(READS, {"action": "Confirm"}), kind="ClusterAgentPolicy") == []


def test_an_unreachable_rule_is_an_error_and_names_the_rule_before() -> None:
    """The words of `hitl check`."""
    (problem,) = lint(
        [
            a_policy(
                rules(
                    {"action": "Score", "name": "all"},
                    {"action": "Deny", "name": "never", **BIG},
                    {"action": "Allow", "name": "late"},
                )
            )
        ]
    )
    assert problem.severity == "error"
    assert problem.message == 'rule "late" never matches: "all" (rules[0]) is first'


def test_every_code_in_use_is_explained() -> None:
    """`hitl check --explain` knows each code that any part gives, with an example of what to write."""
    used = {
        code
        for folder in ("core", "operator", "sidecar", "cli")
        for file in (PACKAGE / folder).rglob("*.py")
        for code in re.findall(r'"(HITL[0-9]{3})"', file.read_text())
    }
    assert used <= set(CODES)
    assert all("Example: " in text for text in CODES.values())
