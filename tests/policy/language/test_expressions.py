"""CEL conditions are held strictly (SECURITY A1)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import NIGHT, variables

from hitl.errors import EvaluationFailed
from hitl.policy.calls import OnBehalfOf
from hitl.policy.expression_syntax import reads_of
from hitl.policy.expressions import Expression


@pytest.mark.parametrize(
    ("source", "arguments", "holds"),
    [
        ("args.amount > 5", {"amount": 10}, True),
        ("args.amount > 5", {"amount": 1}, False),
        ("args.amount > 5", {"amount": 10.5}, True),
        ("args.flag == true", {"flag": True}, True),
        ("args.flag == true", {"flag": 1}, False),
        ("has(args.x) && args.x == 1", {}, False),
        ("!has(args.x) || args.x == null", {"x": None}, True),
        ("args.tags.all(t, t in ['a', 'b'])", {"tags": ["a", "b"]}, True),
        ("args.customer.id == 7", {"customer": {"id": 7}}, True),
        ("args['foo-bar'] == 1", {"foo-bar": 1}, True),
        ("call.server == 'stripe' && call.tool == 'create_refund' && call.session == 's-1'", {}, True),
        (
            "agent.namespace == 'shop' && agent.serviceAccount == 'support' && agent.workload == 'deploy/support'",
            {},
            True,
        ),
        ("agent.labels.app == 'support'", {}, True),
        ("onBehalfOf.username == 'kim' && !onBehalfOf.verified", {}, True),
        ("session.tainted", {}, False),
        ("now.getHours() == 3 && now > timestamp('2024-01-01T00:00:00Z')", {}, True),
        ("args.branch.matches('^release/[0-9]+$')", {"branch": "release/7"}, True),
    ],
)
def test_a_condition_is_true_or_false(source: str, arguments: dict[str, Any], holds: bool) -> None:
    """All variables of DESIGN 18 are there, with the types they should have."""
    assert Expression(source).holds(variables(arguments)) is holds


def test_a_verified_user_is_told_from_a_claimed_one() -> None:
    """Only a user whom the hub verified is `verified`."""
    condition = Expression("onBehalfOf.verified && onBehalfOf.username == 'ana'")
    assert condition.holds(variables({}, on_behalf_of=OnBehalfOf("ana", verified=True)))
    assert not condition.holds(variables({}, on_behalf_of=OnBehalfOf("ana")))


def test_capitals_in_a_name_do_not_change_what_a_condition_sees() -> None:
    """Conditions see the lookup name, so an agent cannot slip past one by writing Stripe."""
    assert Expression("call.server == 'stripe'").holds(variables({}, name="Stripe/Create_Refund"))


@pytest.mark.parametrize(
    ("source", "arguments", "said"),
    [
        ("args.amount > 5", {}, "no 'amount'; guard it with has"),
        ("args.a || args.b", {"a": False}, "no 'b'"),
        ("agent.labels.team == 'x'", {}, "no 'team'"),
        ("args.amount > 5", {"amount": "10"}, "No matching overloads"),
        ("1 / args.n == 1", {"n": 0}, "divide by zero"),
        ("args.n + 1 > 0", {"n": 2**63 - 1}, "overflow"),
        ("args.l.all(x, x > 0)", {"l": [1] * 20000}, "Iteration budget exceeded"),
        ("args.l.all(x, args.l.all(y, y > 0))", {"l": [1] * 200}, "Iteration budget exceeded"),
        ("args.n > 5", {"n": 2**70}, "not true or false"),
        ("args.s == 'x'", {"s": "\ud800"}, "not true or false"),
        ("true || args.a == 1 ? args.b == 1 : false", {}, "no 'b'"),
    ],
)
def test_A1_what_is_neither_true_nor_false_denies(source: str, arguments: dict[str, Any], said: str) -> None:
    """A1: a missing key is a truthy ERROR to the library; here it, like every failure, says it could not tell."""
    with pytest.raises(EvaluationFailed, match=said) as caught:
        Expression(source).holds(variables(arguments))
    assert source in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("'yes'", "gives STRING"),
        ("1 + 1", "gives INT"),
        ("args", "gives MAP"),
        ("args.flag", "any type; compare it, as in args.flag == true"),
        ("true ? args.x : false", "any type"),
        ("call.tool", "gives STRING"),
        ("1 +", "Syntax error"),
        ("", "Syntax error"),
        ("branch == 'x'", "undeclared reference to 'branch'"),
        ("call.nope == 'x'", "undeclared reference to 'call.nope'"),
        ("session.taint", "undeclared reference"),
        ("call.tool == 1", "no matching overload"),
        ("args.s.lowerAscii() == 'a'", "undeclared reference"),
        ("(" * 40 + "true" + ")" * 40, "recursion limit"),
        ("true" + " || true" * 400, "at most 2048"),
    ],
)
def test_A1_what_is_not_boolean_is_refused_when_compiled(source: str, said: str) -> None:
    """A1: no text, no number, no value of any type; a misspelt variable is found before a call comes."""
    with pytest.raises(ValueError, match=said):
        Expression(source)


@pytest.mark.parametrize(
    "source",
    [
        "args.s.matches('a{17}')",
        "args.s.matches(r'a.{0,80}ab')",
        "args.s.matches('''\\\\pL{1,16}''')",
        "args.s.matches(args.p)",
        "args.s.matches('a' + args.p)",
        "matches(args.s, 'a')",
        ".matches(args.s, 'a')",
    ],
)
def test_A5_patterns_in_conditions_are_bounded_too(source: str) -> None:
    """A5: the library would take any pattern, also one that the call brings along."""
    with pytest.raises(ValueError, match=r"at most|one literal"):
        Expression(source)


@pytest.mark.parametrize(
    "source", ["args.s.matches('x')", "args.s == 'x'", "args['s'].contains('x')", "args.m.s == 'x'"]
)
def test_A5_a_condition_does_not_scan_a_text_over_16_kib(source: str) -> None:
    """A5: in any argument that it reads, at any depth."""
    with pytest.raises(EvaluationFailed, match="over 16384"):
        Expression(source).holds(variables({"s": "x" * 16385, "m": {"s": ["x" * 16385]}}))


@pytest.mark.parametrize("source", ["size(args.s) < 20000", "args.s.size() < 20000", "has(args.s)", "args.t == 'x'"])
def test_A5_a_long_text_that_is_only_measured_does_no_harm(source: str) -> None:
    """A5: the matcher says otherwise: its length is what is asked, or another argument."""
    assert Expression(source).holds(variables({"s": "x" * 16385, "t": "x"}))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('args.a == \'args.z\' && args["b"] != r"\\" // args.c', {"a", "b"}),
        ("args.`foo-bar` == 1", {"foo-bar"}),
        ("size(args.a) > 1 && args.a.size() > 1 && has(args.b)", set()),
        ("x.size(args.a) > 1", {"a"}),
        ("args[x] == 1", None),
        ("args.exists(k, k == 'a')", None),
        ("size(args) == 1", None),
        ("args.a.size().b", set()),
        ("'''args.a''' == \"\"\"args.b\"\"\"", set()),
    ],
)
def test_what_a_condition_reads_is_found_in_its_tokens(source: str, names: set[str] | None) -> None:
    """Strings and comments are no code; where the name is not plain, every argument counts as read."""
    reads = reads_of(source)
    assert (None if reads.arguments is None else set(reads.arguments)) == names


def test_I10_a_failure_quotes_no_argument() -> None:
    """I10: the library quotes values in its errors; the message that travels does not."""
    with pytest.raises(EvaluationFailed) as caught:
        Expression("int(args.pin) > 5").holds(variables({"pin": "hunter2"}))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(EvaluationFailed) as caught:
        Expression("args.m[args.k] == 1").holds(variables({"m": {}, "k": "hunter2"}))
    assert "hunter2" not in str(caught.value)


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.none() | st.booleans() | st.integers() | st.text(max_size=5)))
def test_A1_no_arguments_make_a_condition_anything_but_true_false_or_failed(arguments: dict[str, Any]) -> None:
    """A1, I2: whatever the call holds, the answer is a boolean or a refusal."""
    condition = Expression("args.a > 1 && args.b.startsWith('x') || args.a == args.b")
    try:
        answer = condition.holds(variables(arguments))
    except EvaluationFailed:
        return
    assert answer is True or answer is False


def test_several_conditions_share_one_set_of_variables() -> None:
    """Made once for an evaluation, read by every rule."""
    shared = variables({"amount": 3}, now=NIGHT)
    assert Expression("args.amount == 3").holds(shared)
    assert not Expression("args.amount == 4").holds(shared)
