"""Every matcher, by table: what matches, what does not, and what cannot be evaluated (DESIGN 18, SECURITY A2)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import matchers

from hitl.errors import EvaluationFailed
from hitl.policy.values import ABSENT

LONG = "x" * 16385
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.5, 2.0]) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=2),
    max_leaves=5,
)

# What cannot be told apart from a plain no in a table of booleans.
FAILS = "cannot be evaluated"


@pytest.mark.parametrize(
    ("matcher", "value", "wanted"),
    [
        ({"equals": "eur"}, "eur", True),
        ({"equals": "eur"}, "EUR", False),
        ({"equals": 1}, 1, True),
        ({"equals": 1}, 1.0, True),
        ({"equals": 1.0}, 1, True),
        ({"equals": 1}, True, False),
        ({"equals": True}, 1, False),
        ({"equals": True}, True, True),
        ({"equals": "1"}, 1, False),
        ({"equals": 1}, "1", False),
        ({"equals": None}, None, True),
        ({"equals": None}, False, False),
        ({"equals": [1, {"a": True}]}, [1, {"a": True}], True),
        ({"equals": [1, {"a": True}]}, [1, {"a": 1}], False),
        ({"equals": [1]}, [1, 1], False),
        ({"equals": {"a": 1}}, {"a": 1, "b": 2}, False),
        ({"equals": "eur"}, LONG, FAILS),
        ({"in": ["eur", "usd"]}, "usd", True),
        ({"in": ["eur", "usd"]}, "gbp", False),
        ({"in": ["eur", 5, None]}, 5, True),
        ({"in": ["eur", 5, None]}, None, True),
        ({"in": ["eur"]}, ["eur"], False),
        ({"in": [1]}, True, False),
        ({"in": ["eur"]}, LONG, FAILS),
        ({"notIn": ["admin"]}, "user", True),
        ({"notIn": ["admin"]}, "admin", False),
        ({"notIn": ["admin"]}, ["admin"], FAILS),
        ({"notIn": ["1"]}, 1, FAILS),
        ({"notIn": ["admin"]}, None, FAILS),
        ({"notIn": ["admin"]}, LONG, FAILS),
        ({"min": 1}, 1, True),
        ({"min": 1}, 0, False),
        ({"min": 1}, 0.9999999999999999, False),
        ({"min": 9007199254740991}, 9007199254740990.0, False),
        ({"min": 1}, "5", FAILS),
        ({"min": 0}, True, FAILS),
        ({"min": 0}, None, FAILS),
        ({"min": 0}, [1], FAILS),
        ({"max": 5}, 5, True),
        ({"max": 5}, 5.000000000000001, False),
        ({"max": 0.1}, 0.1, True),
        ({"max": 5}, "x", FAILS),
        ({"maxLength": 3}, "abc", True),
        ({"maxLength": 3}, "abcd", False),
        ({"maxLength": 1}, "\U0001f600", True),
        ({"maxLength": 20000}, LONG, True),
        ({"maxLength": 2}, [1, 2, 3], False),
        ({"maxLength": 1}, {"a": 1}, True),
        ({"maxLength": 3}, 12, FAILS),
        ({"maxLength": 3}, None, FAILS),
        ({"present": True}, None, True),
        ({"present": True}, LONG, True),
        ({"present": False}, None, False),
        ({"startsWith": "ab"}, "abc", True),
        ({"startsWith": "ab"}, "xab", False),
        ({"startsWith": "1"}, 1, FAILS),
        ({"startsWith": "x"}, LONG, FAILS),
        ({"endsWith": "bc"}, "abc", True),
        ({"endsWith": "bc"}, "bcx", False),
        ({"endsWith": "x"}, ["x"], FAILS),
        ({"matches": "b+"}, "abbc", True),
        ({"matches": "^b"}, "abbc", False),
        ({"matches": "x"}, LONG, FAILS),
        ({"notMatches": "b+"}, "abbc", False),
        ({"notMatches": "^b"}, "abbc", True),
        ({"notMatches": "y"}, LONG, FAILS),
        ({"within": "/workspace"}, "/workspace/a", True),
        ({"within": ["/tmp", "/workspace"]}, "/workspace/../tmp/x", True),
        ({"within": "/workspace"}, "/workspace/../etc/passwd", False),
        ({"within": "/workspace"}, "/workspace/%2e%2e/etc", FAILS),
        ({"within": "/workspace"}, ["/workspace/a"], FAILS),
        ({"within": "/workspace"}, LONG, FAILS),
        ({"hosts": ["*.example.com"]}, "https://api.example.com/x", True),
        ({"hosts": "example.com"}, "https://api.example.com/x", False),
        ({"hosts": "good.com"}, "https://good.com@evil.com", False),
        ({"hosts": "good.com"}, "https://good.com\\@evil.com", FAILS),
        ({"hosts": "good.com"}, "good.com", FAILS),
        ({"hosts": "good.com"}, 5, FAILS),
        ({"each": {"in": ["a", "b"]}}, ["a", "b"], True),
        ({"each": {"in": ["a", "b"]}}, ["a", "c"], False),
        ({"each": {"in": ["a", "b"]}}, [], True),
        ({"each": {"in": ["a"]}}, "a", FAILS),
        ({"each": {"min": 1}}, [1, "x"], FAILS),
        ({"each": {"each": {"max": 3}}}, [[1], [2, 3]], True),
        ({"each": {"each": {"max": 3}}}, [[1], [2, 4]], False),
        ({"min": 1, "max": 5}, 3, True),
        ({"min": 1, "max": 5}, 6, False),
        ({"maxLength": 10, "matches": "^x"}, LONG, False),
    ],
)
def test_a_matcher_answers(matcher: dict[str, Any], value: Any, wanted: object) -> None:
    """Each matcher holds, does not hold, or cannot tell; the last means that the call is denied."""
    asked = matchers(x=matcher)
    if wanted == FAILS:
        with pytest.raises(EvaluationFailed, match="/x: "):
            asked.hold({"x": value})
        assert [finding.holds for finding in asked.findings({"x": value}) if finding.holds is None]
    else:
        assert asked.hold({"x": value}) is wanted
        assert (asked.first_miss({"x": value}) is None) is wanted
        assert (asked.misses({"x": value}) == []) is wanted


@pytest.mark.parametrize(
    "matcher",
    [
        {"equals": None}, {"in": ["a"]}, {"notIn": ["a"]}, {"min": 0}, {"max": 0}, {"maxLength": 5}, {"present": True},
        {"startsWith": "a"}, {"endsWith": "a"}, {"matches": "a"}, {"notMatches": "a"}, {"within": "/"}, {"hosts": "a"},
        {"each": {"equals": 1}},
    ],
)  # fmt: skip
def test_A2_an_absent_argument_does_not_match(matcher: dict[str, Any]) -> None:
    """A2: whatever is asked, also where the question is what it must not be; the miss says that it is absent."""
    asked = matchers(x=matcher)
    assert asked.hold({"y": 1}) is False
    miss = asked.first_miss({"y": 1})
    assert miss is not None
    assert miss.found is ABSENT
    assert str(miss).startswith("/x is absent, wants ")


def test_only_present_false_asks_for_absence() -> None:
    """It holds without the argument and misses with it, null included."""
    asked = matchers(x={"present": False})
    assert asked.hold({})
    assert str(asked.first_miss({"x": None})) == "/x is null, wants it to be absent"


def test_arguments_are_named_or_pointed_at() -> None:
    """A plain key is one top-level name, dots and all; a pointer goes inside objects and lists."""
    arguments = {"customer": {"id": 7, "a/b": 1}, "items": [{"sku": "x"}], "customer.id": 8}
    asked = matchers(**{"/customer/id": {"equals": 7}, "customer.id": {"equals": 8}, "/items/0/sku": {"equals": "x"}})
    assert asked.hold(arguments)
    assert matchers(**{"/customer/a~1b": {"equals": 1}}).hold(arguments)
    assert asked.named == {"customer", "customer.id", "items"}


@pytest.mark.parametrize(
    "pointer", ["/items/1", "/items/-1", "/items/01", "/items/x", "/items/0/sku/x", "/nothing/at/all"]
)
def test_A2_a_pointer_to_nothing_is_an_absent_argument(pointer: str) -> None:
    """A2: no index from the end, no leading zeros, nothing below a scalar."""
    assert not matchers(**{pointer: {"present": True}}).hold({"items": [{"sku": "x"}]})


@pytest.mark.parametrize(
    ("args", "arguments", "said"),
    [
        ({"amount": {"max": 5000}}, {"amount": 15000}, "/amount is 15000, wants <= 5000"),
        ({"status": {"equals": "closed"}}, {"status": "open"}, '/status is "open", wants "closed"'),
        ({"currency": {"in": ["eur", "usd"]}}, {"currency": "gbp"}, '/currency is "gbp", wants one of "eur", "usd"'),
        ({"n": {"in": [1, 2, 3, 4, 5, 6, 7]}}, {"n": 0}, "/n is 0, wants one of 1, 2, 3, 4, 5, … 2 more"),
        ({"p": {"within": ["/a", "~/b"]}}, {"p": "/c"}, '/p is "/c", wants a path within /a, ~/b'),
        ({"l": {"each": {"max": 3}}}, {"l": [1, 9]}, "/l/1 is 9, wants <= 3"),
        ({"/a/b": {"min": 2}}, {"a": {"b": 1}}, "/a/b is 1, wants >= 2"),
        ({"s": {"matches": "^a"}}, {"s": "b" * 70}, f"/s is \"{'b' * 60}…\" (70 characters), wants a match of '^a'"),
    ],
)
def test_a_miss_names_pointer_value_and_wish(args: dict[str, Any], arguments: dict[str, Any], said: str) -> None:
    """So that nobody has to guess why a rule did not match."""
    assert str(matchers(**args).first_miss(arguments)) == said


def test_I10_a_miss_can_be_told_without_the_raw_value() -> None:
    """I10: over redacted arguments it shows what those show, and nothing where they show nothing."""
    miss = matchers(pin={"equals": "0000"}).first_miss({"pin": "1234"})
    assert miss is not None
    assert miss.over({"pin": "[REDACTED:pin]"}) == '/pin is "[REDACTED:pin]", wants "0000"'
    assert miss.over({}) == '/pin is hidden, wants "0000"'


def test_I10_what_cannot_be_evaluated_names_no_value() -> None:
    """I10: the message travels to logs and requests, so it names the pointer and the type only."""
    with pytest.raises(EvaluationFailed) as caught:
        matchers(pin={"min": 1}).hold({"pin": "hunter2"})
    assert str(caught.value) == "/pin: it is a string, and min compares numbers"


def test_cheap_questions_come_first_whatever_the_author_wrote() -> None:
    """A small number that rules a rule out keeps a long text from being searched, in any order of keys."""
    for args in ({"note": {"matches": "x"}, "zz": {"max": 5}}, {"zz": {"max": 5}, "note": {"matches": "x"}}):
        assert str(matchers(**args).first_miss({"zz": 9, "note": LONG})) == "/zz is 9, wants <= 5"


@given(st.permutations(["a", "b", "c", "/d/e"]), JSON, JSON)
def test_I14_the_order_of_keys_changes_nothing(names: list[str], one: Any, other: Any) -> None:
    """I14: JSON objects have no order, so neither verdict nor text may depend on it."""
    written: dict[str, Any] = {"a": {"max": 3}, "b": {"in": ["a", 1]}, "c": {"matches": "a"}, "/d/e": {"notIn": ["a"]}}
    arguments = {"a": one, "b": other, "c": one, "d": {"e": other}}

    def outcome(args: dict[str, Any]) -> str:
        try:
            return str(matchers(**args).first_miss(arguments))
        except EvaluationFailed as error:
            return str(error)

    assert outcome({name: written[name] for name in names}) == outcome(written)


@given(JSON)
def test_hold_first_miss_and_findings_agree(value: Any) -> None:
    """The quick answer and the explained one come from different code and must say the same."""
    asked = matchers(
        x={"each": {"min": 0}}, y={"in": ["a", 2, None]}, z={"maxLength": 2, "notMatches": "b"}, w={"present": True}
    )
    arguments = {"x": value, "y": value, "z": value, "w": value}
    answers = [finding.holds for finding in asked.findings(arguments)]
    try:
        held = asked.hold(arguments)
    except EvaluationFailed:
        assert None in answers
        return
    assert (asked.first_miss(arguments) is None) is held
    assert held is all(answers)


@given(JSON, JSON)
def test_equals_is_equality_of_json(one: Any, other: Any) -> None:
    """Two values are equal exactly if their JSON, with 2.0 written as 2, is; `in` and `notIn` follow."""

    def canonical(value: Any) -> str:
        return json.dumps(value, sort_keys=True).replace("2.0", "2")

    equal = canonical(one) == canonical(other)
    assert matchers(x={"equals": one}).hold({"x": other}) is equal
    assert matchers(x={"in": [one]}).hold({"x": other}) is equal
