"""Regular expressions are bounded in size and time (SECURITY A5)."""

import re
from typing import Any

import pytest
import re2
from hypothesis import assume, given
from hypothesis import strategies as st

from hitl.errors import EvaluationFailed
from hitl.policy.patterns import MAX_PROGRAM, MAX_PROGRAMS, Pattern, PatternBook, PatternSet
from hitl.policy.regex_syntax import largest_repeat


@pytest.mark.parametrize(
    ("pattern", "copies"),
    [
        ("abc", 1),
        ("a{3}", 3),
        ("a{3,}", 3),
        ("a{0,16}", 16),
        ("a{2,5}b{3}", 5),
        ("(a{4}){5}", 20),
        ("((a{2}b){3}c){4}", 24),
        ("(?:a{2}|b{3}){4}", 12),
        ("(a{3})?(b{4})*", 4),
        ("(?i:a{5}){2}", 10),
        ("(?P<x>a{5}){2}", 10),
        ("[a{17}]", 1),
        ("[]a{17}]", 1),
        ("[^]a{17}]", 1),
        ("[[:alpha:]a{17}]", 1),
        ("[\\]a{17}]", 1),
        ("a\\{17}", 1),
        ("\\Qa{17}\\E", 1),
        ("\\Qa{17}", 1),
        ("\\p{Greek}{3}", 3),
        ("\\x{20}{4}", 4),
        ("\\\\{5}", 5),
        ("a{,17}", 1),
        ("a{x}", 1),
    ],
)
def test_A5_counted_repeats_are_multiplied_where_they_nest(pattern: str, copies: int) -> None:
    """A5: groups multiply, neighbours do not, and braces in classes, escapes and literals are no repeats."""
    assert largest_repeat(pattern) == copies


@pytest.mark.parametrize("pattern", ["a{17}", "a{1,17}", "a{17,}", "(a{5}){5}", "((a{3}){3}){2}", "x(y{4}z){5}"])
def test_A5_counted_repeats_over_sixteen_are_refused(pattern: str) -> None:
    """A5: also when only their product is over."""
    with pytest.raises(ValueError, match="at most 16"):
        Pattern(pattern)


def test_A5_the_pattern_that_took_seconds_is_refused() -> None:
    """A5: twenty patterns like a.{0,80}ab took 3.1 s on 60 KB."""
    with pytest.raises(ValueError, match="80 times"):
        Pattern("a.{0,80}ab")


def test_A5_a_pattern_past_the_size_cap_is_refused() -> None:
    """A5: few characters can compile to a large program; the message names the cap."""
    with pytest.raises(ValueError, match=f"at most {MAX_PROGRAM} are allowed"):
        Pattern(r"\pL{1,16}")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("(", "missing"), ("a(?=b)", "RE2"), (r"(a)\1", "RE2"), ("", "empty"), ("a" * 1025, "at most 1024")],
)
def test_a_pattern_that_is_none_is_refused(pattern: str, said: str) -> None:
    """In RE2's words, with what was written."""
    with pytest.raises(ValueError, match=said):
        Pattern(pattern)


@given(st.recursive(
    st.sampled_from(["a", ".", "[ab]", r"\d", r"\."]),
    lambda inner: st.tuples(inner, inner).map("".join)
    | st.tuples(inner, st.integers(0, 3), st.integers(0, 2)).map(lambda t: f"({t[0]}){{{t[1]},{t[1] + t[2]}}}")
    | inner.map(lambda text: f"({text})*"),
    max_leaves=6,
))  # fmt: skip
def test_A5_no_program_is_larger_than_its_repeats_explain(pattern: str) -> None:
    """A5: whatever RE2 copies, the reader of repeats has seen: no program is larger than its copies explain."""
    assume(len(pattern) < 200)
    size = re2.compile(pattern).programsize
    assert size <= 12 * len(pattern) * max(1, largest_repeat(pattern)) + 12


def sealed(*sources: str) -> tuple[PatternSet, list[Any]]:
    patterns = PatternSet()
    found = [patterns.add(source) for source in sources]
    patterns.seal()
    return patterns, found


@pytest.mark.parametrize("length", [10, 511, 512, 513, 5000])
def test_patterns_together_find_what_each_finds_alone(length: int) -> None:
    """In one pass over short text and one by one over long text the answers are the same."""
    sources = ["^x", "needle", "y$", r"\bneedle\b", "never"]
    for text in ("x" + "-" * length + "y", "-" * length, " needle " + "-" * length):
        _, found = sealed(*sources)
        assert [each(text) for each in found] == [re.search(source, text) is not None for source in sources]


@given(st.lists(st.text("ab", max_size=6), min_size=1, max_size=6))
def test_the_remembered_text_never_answers_for_another(texts: list[str]) -> None:
    """The last text is remembered, since many rules ask about one argument; each text still gets its own answer."""
    _, (has_ab, starts_b) = sealed("ab", "^b")
    for text in texts:
        assert has_ab(text) is ("ab" in text)
        assert starts_b(text) is text.startswith("b")


@pytest.mark.parametrize(
    ("value", "pattern", "found"),
    [
        ("eur", "^eur$", True),
        (15000, "^15000$", True),
        (1.5, r"^1\.5$", True),
        (True, "^true$", True),
        (False, "^false$", True),
        (None, "^$", True),
        (["a", 1], r'^\["a",1\]$', True),
        ({"a": None}, r'^\{"a":null\}$', True),
        ("\u00e9", "^.$", True),
    ],
)
def test_patterns_read_the_string_form(value: Any, pattern: str, found: bool) -> None:
    """Strings as they are, numbers decimal, booleans as words, null as nothing, the rest as JSON."""
    _, (matches,) = sealed(pattern)
    assert matches(value) is found


@pytest.mark.parametrize("value", ["x" * 16385, "\u00e9" * 8193, ["x" * 16385], {"x": "y" * 16385}])
def test_A5_a_value_over_16_kib_is_not_searched(value: Any) -> None:
    """A5: counted in bytes of its string form."""
    _, (matches,) = sealed("x")
    with pytest.raises(EvaluationFailed, match="at most 16384"):
        matches(value)


def test_A5_a_value_of_exactly_16_kib_is_searched() -> None:
    """A5: the bound itself is allowed."""
    _, (matches,) = sealed("y$")
    assert matches("x" * 16383 + "y") is True


def test_A5_a_set_that_runs_out_of_memory_refuses_instead_of_finding_nothing() -> None:
    """A5, I2: RE2 reports no match when a set has no memory left; the pattern that always matches tells them apart."""
    patterns, (matches,) = sealed("x")

    class Exhausted:
        def Match(self, data: bytes) -> list[int]:
            return []

    patterns._set = Exhausted()
    with pytest.raises(EvaluationFailed, match="memory"):
        matches("x")


def test_patterns_that_are_too_large_together_are_searched_one_by_one() -> None:
    """A set has a bound of memory too; past it nothing is lost but speed."""
    sources = [rf"{number}\pL+x" for number in range(120)]
    patterns, found = sealed(*sources)
    assert patterns._set is None
    assert [index for index, matches in enumerate(found) if matches("7abcx")] == [7]


def test_half_a_surrogate_pair_is_not_searched() -> None:
    """Text that has no UTF-8 form cannot be judged."""
    _, (matches,) = sealed("x")
    with pytest.raises(EvaluationFailed, match="surrogate"):
        matches("\ud800")


def test_B5_the_patterns_of_one_policy_are_bounded_together() -> None:
    """B5: a thousand short patterns over Unicode classes compile for a second; what is one too many is refused."""
    book = PatternBook()
    size = Pattern("[^\\pL\\pN]z").size
    taken = MAX_PROGRAMS // size
    for n in range(taken):
        book.of(f"argument-{n % 20}").add("[^\\pL\\pN]z")
    with pytest.raises(ValueError, match="split the policy into several"):
        book.of("another").add("[^\\pL\\pN]z")
