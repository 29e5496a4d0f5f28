"""Text of agents and servers cannot draw our interface (SECURITY G1)."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.policy.escaping import (
    as_plain,
    escape,
    escape_line,
    is_mixed_script,
    mixed_script_words,
    plain,
    seen_text,
)

# The alphabet is what the attack is made of: backslashes, u, hex digits, marks, and what cannot be seen.
HOSTILE = st.text(
    st.sampled_from("\\uU0012abf\n\r\t\x1b\x7f\u202e\u200b\u0301\u0489\u3164\ue000\u2028\U000e0041\ud800 xé日🙂\ufe0f")
    | st.characters(),
    max_size=40,
)
UNSEEN = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")


def unescaped(text: str) -> str:
    """Reads escapes back, as the module's first lines say: an odd number of backslashes before u is an escape."""

    def read(match: re.Match[str]) -> str:
        count, code = len(match[1]), match[2] or match[3]
        if count % 2 == 0:
            return "\\" * (count // 2) + match[0][count:]
        return "\\" * (count // 2) + chr(int(code, 16))

    return re.sub(r"(\\+)(?:u([0-9a-f]{4})|U([0-9a-f]{8})|[uU])", read, text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("abc äöü 日本 🙂", "abc äöü 日本 🙂"),
        ("a\u202eb", r"a\u202eb"),
        ("\x1b[31mred", r"\u001b[31mred"),
        ("line\nbreak\ttab\r", r"line\u000abreak\u0009tab\u000d"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\u2066iso\u2069", r"\u2066iso\u2069"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\ue000 private", r"\ue000 private"),
        ("\U000e0041tag", r"\U000e0041tag"),
        ("\U000e0101variation", r"\U000e0101variation"),
        ("half \ud800", r"half \ud800"),
        ("\u034f \u115f \u1160 \u3164", r"\u034f \u115f \u1160 \u3164"),
        ("\x7f", r"\u007f"),
        ("cafe\u0301", "cafe\u0301"),
        ("\u0301on our border", r"\u0301on our border"),
        ("z" + "\u0301" * 6, "z" + "\u0301" * 4 + r"\u0301\u0301"),
        (r"C:\temp\x", r"C:\temp\x"),
        (r"C:\users", r"C:\\users"),
        (r"\u202e", r"\\u202e"),
        ("\\\u202e", r"\\\u202e"),
    ],
)
def test_G1_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    """G1: control, format, bidi, private, separators, fillers and piles of marks are visible; letters stay."""
    assert escape(text) == shown


@given(HOSTILE)
def test_G1_escaped_text_is_always_plain(text: str) -> None:
    """G1: nothing that the CRD pattern forbids, and no pile of marks, survives escaping."""
    for shown in (escape(text), escape_line(text), as_plain(text), escape(text, limit=30)):
        assert plain(shown)
        assert not any(unicodedata.category(character) in UNSEEN for character in shown)
        assert not re.search(r"[\u034f\u115f\u1160\u3164]", shown)


@given(HOSTILE)
def test_G1_no_two_texts_look_alike(text: str) -> None:
    """G1: the escaped form can be read back, so a typed escape is never taken for a hidden character."""
    assert unescaped(escape(text)) == text


@given(HOSTILE)
def test_G1_plain_is_what_escaping_leaves_alone(text: str) -> None:
    """G1: where nothing is hidden and nothing fakes an escape, escaping changes nothing."""
    if plain(text) and "\\u" not in text and "\\U" not in text:
        assert escape(text) == text
    assert as_plain(as_plain(text)) == as_plain(text)


@given(HOSTILE, st.integers(0, 60))
def test_G1_a_limit_holds_and_no_escape_is_cut_in_two(text: str, limit: int) -> None:
    """G1: the result with its note fits the limit, and what is shown is the beginning of the text."""
    shown = escape(text, limit=limit)
    assert len(shown) <= max(limit, 0)
    if shown != escape(text) and (note := re.search(r"… (\d+) more$", shown)):
        kept = unescaped(shown[: note.start()])
        assert text.startswith(kept)
        assert int(note[1]) == len(text) - len(kept)


def test_G1_cut_text_says_how_much_is_missing() -> None:
    """G1: the end of a long text is not silently gone."""
    assert escape("x" * 1412, limit=1000) == "x" * 989 + "… 423 more"
    assert escape("x" * 1000, limit=1000) == "x" * 1000


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_G1_a_line_shows_its_breaks(line_break: str) -> None:
    """G1: in a column every kind of line break is one visible sign, so no row can be forged."""
    assert escape_line(f"a{line_break}b\tc") == "a⏎b c"


def test_G1_kept_characters_are_left_to_json() -> None:
    """G1: values of a preview keep line breaks and tabs, which JSON writes visibly; everything else is written out."""
    assert escape("a\n\tb\r\u202e\\n", keep="\n\t") == "a\n\tb\\u000d\\u202e\\n"


@pytest.mark.parametrize(
    ("word", "mixed"),
    [
        ("paypal", False),
        ("p\u0430ypal", True),
        ("\u0440\u0430\u0443\u0440\u0430\u043b", False),
        ("\u03bfkta", True),
        ("naïve", False),
        ("Tシャツ", False),
        ("東京タワー", False),
        ("한국韓國", False),
        ("\U0001d429aypal", True),
        ("µm", False),
    ],
)
def test_G1_words_of_mixed_scripts_are_flagged(word: str, mixed: bool) -> None:
    """G1: one Cyrillic letter among Latin ones is found; languages that mix scripts by nature are left alone."""
    assert is_mixed_script(word) is mixed
    assert bool(mixed_script_words(f"to {word}, please")) is mixed


def test_G1_a_mixed_word_is_shown_with_its_foreign_letters_written_out() -> None:
    """G1: the reviewer sees which letter is the wrong one; each word is named once."""
    assert mixed_script_words("p\u0430ypal p\u0430ypal \u03bfkta ok") == (r"p\u0430ypal", r"\u03bfkta")


def test_what_a_person_reads_has_no_hidden_characters() -> None:
    """Patterns look at the folded text too: full-width digits and joiners do not hide a number."""
    assert seen_text("\uff14\uff12\u200b42\n\u202ex") == "4242\nx"
