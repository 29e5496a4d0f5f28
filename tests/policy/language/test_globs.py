"""Globs over lookup names (DESIGN 18)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.policy.globs import Glob, segment_matcher

WORDS = st.text("ab_.", min_size=1, max_size=6)
PATTERNS = st.text("ab_*?", min_size=1, max_size=6).filter(lambda text: "**" not in text)


@pytest.mark.parametrize(
    ("glob", "name", "matches"),
    [
        ("*", "stripe/create_refund", True),
        ("get_*", "github/get_user", True),
        ("get_*", "github/forget_user", False),
        ("get_*", "get_x/delete", False),
        ("*_refund", "stripe/create_refund", True),
        ("*_refund", "a_refund/create", False),
        ("stripe/*", "stripe/create_refund", True),
        ("stripe/*", "stripes/create_refund", False),
        ("stripe/create_*", "stripe/create_refund", True),
        ("str*/create_refund", "stripe/create_refund", True),
        ("stripe/create_refund", "stripe/create_refund", True),
        ("stripe/create_refund", "stripe/create_refunds", False),
        ("create_refund", "stripe/create_refund", True),
        ("get_?", "a/get_x", True),
        ("get_?", "a/get_xy", False),
        ("a*b*c", "s/aXbXbXc", True),
        ("a*b*c", "s/acb", False),
        ("*ref*", "s/create_refund", True),
        ("?/x", "a/x", True),
        ("?/x", "ab/x", False),
        ("Stripe/Create_Refund", "stripe/create_refund", True),
        (" get_* ", "a/get_x", True),
        ("\uff53tripe/\uff0a", "stripe/anything", True),
    ],
)
def test_a_glob_matches_names(glob: str, name: str, matches: bool) -> None:
    """A star stops at the slash, a question mark is one character, capitals and compatibility forms do not count."""
    assert Glob.parse(glob).matches(name.lower()) is matches


@pytest.mark.parametrize(
    ("glob", "said"),
    [
        ("a/**", r"\*\* is not a glob here"),
        ("**", r"\*\* is not a glob here"),
        ("", "must not be empty"),
        ("  ", "must not be empty"),
        ("/a", "something on both sides"),
        ("a/", "something on both sides"),
        ("a/b/c", "at most one /"),
        ("a{b,c}", "holds '{'"),
        ("[ab]", r"holds '\['"),
        ("a b", "holds ' '"),
        ("cre\u0430te", "holds '\u0430'"),
        ("a" * 300, "at most 253"),
    ],
)
def test_a_glob_that_can_match_no_name_is_refused(glob: str, said: str) -> None:
    """Each with the reason; above all ``**``."""
    with pytest.raises(ValueError, match=said):
        Glob.parse(glob)


def as_regex(pattern: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(character, re.escape(character)) for character in pattern)


@given(PATTERNS, PATTERNS, WORDS, WORDS)
def test_every_glob_matches_what_its_definition_says(server: str, tool: str, on: str, name: str) -> None:
    """However a glob is compiled, it agrees with the plain definition of its wildcards."""
    wanted = re.fullmatch(f"{as_regex(server)}/{as_regex(tool)}", f"{on}/{name}") is not None
    assert Glob.parse(f"{server}/{tool}").matches(f"{on}/{name}") is wanted
    assert segment_matcher(tool)(name) is (re.fullmatch(as_regex(tool), name) is not None)


@given(PATTERNS, PATTERNS, WORDS)
def test_a_glob_that_covers_another_matches_all_its_names(wide: str, narrow: str, name: str) -> None:
    """`covers` is sound: it never claims what a name can refute."""
    if Glob.parse(wide).covers(Glob.parse(narrow)) and Glob.parse(narrow).matches(f"s/{name}"):
        assert Glob.parse(wide).matches(f"s/{name}")


@pytest.mark.parametrize(
    ("wide", "narrow", "covers"),
    [
        ("*", "stripe/create_refund", True),
        ("stripe/*", "stripe/create_*", True),
        ("stripe/create_*", "stripe/*", False),
        ("get_*", "a/get_?x*", True),
        ("a?c", "a*c", False),
        ("stripe/*", "*", False),
    ],
)
def test_covering_is_found_where_it_is_plain(wide: str, narrow: str, covers: bool) -> None:
    """The cases an unreachable rule is made of."""
    assert Glob.parse(wide).covers(Glob.parse(narrow)) is covers
