"""Names of servers and tools: one spelling each, and none that only looks like another (SECURITY A4)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.errors import InvalidCall
from hitl.policy.names import first_word, lookup_name, words_of


@pytest.mark.parametrize(
    ("server", "tool", "wanted"),
    [
        ("stripe", "create_refund", "stripe/create_refund"),
        ("Stripe", "Create_Refund", "stripe/create_refund"),
        ("", "Bash", "local/bash"),
        (" git ", "\tstatus\n", "git/status"),
        ("\uff53tripe", "refund\uff11", "stripe/refund1"),
        ("a.b-c_D", "x" * 128, "a.b-c_d/" + "x" * 128),
    ],
)
def test_A4_every_spelling_of_a_name_gives_one_lookup_name(server: str, tool: str, wanted: str) -> None:
    """A4: capitals, surrounding space and compatibility forms do not make another tool; no server means local."""
    assert lookup_name(server, tool) == wanted


@pytest.mark.parametrize(
    ("server", "tool", "said"),
    [
        ("stripe", "cr\u0435ate_refund", "U+0435 (CYRILLIC SMALL LETTER IE) at position 3"),
        ("\u03bfkta", "list_users", "U+03BF (GREEK SMALL LETTER OMICRON) at position 1"),
        ("stripe", "create\u200brefund", "U+200B (ZERO WIDTH SPACE) at position 7"),
        ("stripe", "create refund", "U+0020 (SPACE) at position 7"),
        ("stripe", "a\x1b[31m", "U+001B (no name) at position 2"),
        ("stripe/v2", "refund", 'contains "/"; send server and tool apart'),
        ("stripe", "", "tool name is empty"),
        ("stripe", "x" * 129, "tool name has 129 characters, at most 128"),
        ("stripe", "x" * 1_000_000, "tool name has 1000000 characters, at most 128"),
    ],
)
def test_A4_what_is_no_name_is_refused_and_the_character_is_shown(server: str, tool: str, said: str) -> None:
    """A4: a homoglyph, a hidden character, a slash or a wrong length is refused; its code point is named."""
    with pytest.raises(InvalidCall) as refusal:
        lookup_name(server, tool)
    assert said in str(refusal.value)
    assert str(refusal.value).isascii()


@given(st.text(max_size=140))
def test_A4_a_name_is_accepted_only_in_ascii_and_stays_what_it_is(text: str) -> None:
    """A4: whatever is accepted is lower-case ASCII without a slash, and looking it up again changes nothing."""
    try:
        name = lookup_name("server", text)
    except InvalidCall:
        return
    tool = name.removeprefix("server/")
    assert re.fullmatch(r"[a-z0-9._-]{1,128}", tool)
    assert lookup_name("server", tool) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("getUserAPIKeys2", ("get", "user", "api", "keys", "2")),
        ("list_users", ("list", "users")),
        ("KendraQueryTool", ("kendra", "query", "tool")),
        ("r2-bucket.create", ("r", "2", "bucket", "create")),
        ("HTTPServer", ("http", "server")),
        ("___", ()),
    ],
)
def test_a_name_is_cut_into_its_words(name: str, words: tuple[str, ...]) -> None:
    """Capitals, digits, underscores, hyphens and dots separate words."""
    assert words_of(name) == words
    assert first_word(name) == (words[0] if words else "")
