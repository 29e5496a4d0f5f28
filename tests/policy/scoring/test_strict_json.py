"""JSON that two parsers could read differently is refused, with the place and the next step (SECURITY A3)."""

import json
import math
from datetime import date
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.errors import InvalidCall
from hitl.policy.strict_json import MAX_INTEGER, parse_json, pointer, read_json, render_json

NUMBERS = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not number.is_integer()
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a":1,"a":2}', 'the key "a" stands there twice; send it once'),
        (b'{"x":[0,{"a":1,"b":2,"a":1}]}', '/x/1: the key "a" stands there twice'),
        (b'{"amount":1,"\\u0061mount":2}', 'the key "amount" stands there twice'),
        (b'{"a":"\\ud800"}', "/a: half of a surrogate pair"),
        (b'{"\\udc00":1}', "half of a surrogate pair in the key"),
        (b'{"a":[NaN]}', "/a/0: NaN is not JSON"),
        (b'{"a":-Infinity}', "/a: -Infinity is not JSON"),
        (b'{"a/b":{"c~d":1e400}}', "/a~1b/c~0d: a number of 5 characters does not survive"),
        (b'{"a":1e-400}', "does not survive a round trip exactly; send it as a string"),
        (b'{"a":0.30000000000000000001}', "does not survive a round trip exactly"),
        (b'{"a":9007199254740993.0}', "does not survive a round trip exactly"),
        (b'{"a":12345678901234567890}', "an integer of 20 digits is beyond"),
        (b'{"a":9007199254740992}', "is beyond"),
        (b'{"a":-9007199254740992}', "is beyond"),
        (b'{"a":-0}', "-0 loses its sign"),
        (b'{"a":-0.0}', "a negative zero loses its sign"),
        (b'{"a":-0e5}', "a negative zero loses its sign"),
        (b"\xef\xbb\xbf{}", "byte order mark at byte 0"),
        (b'{"a":"\xc3("}', "invalid UTF-8 at byte 6"),
        (b'{"a":"\xed\xa0\x80"}', "invalid UTF-8 at byte 6"),
        (b'{"a":"\xc0\xaf"}', "invalid UTF-8 at byte 6"),
        (b'{"a":1}{"b":2}', "not JSON at byte 7"),
        (b'{"\xc3\xa4":1,}', "not JSON at byte 8"),
        (b"{'a':1}", "not JSON at byte 1"),
        (b'{"a":01}', "not JSON at byte 6"),
        (b'{"a":"\n"}', "not JSON at byte 6"),
        (b'{"a":1 /* no */}', "not JSON at byte 7"),
        (b"", "not JSON at byte 0"),
    ],
)
def test_A3_what_can_be_read_two_ways_is_refused_with_its_place(text: bytes, said: str) -> None:
    """A3: duplicates, surrogates, NaN, lossy numbers, BOM, bad UTF-8 and no JSON are refused, naming where."""
    with pytest.raises(InvalidCall) as refusal:
        parse_json(text)
    assert said in str(refusal.value)
    assert str(refusal.value).startswith("arguments: ")


@pytest.mark.parametrize(
    "number", ["4929123456781234567", "-4929123456781234567", "4929123456781234567.5", "-4929123456781234567e-999"]
)
def test_I10_a_refused_number_is_not_repeated(number: str) -> None:
    """I10: no digit of a number that is refused gets into the message, which goes to agents and records."""
    with pytest.raises(InvalidCall) as refusal:
        parse_json(f'{{"card":[{number}]}}'.encode())
    assert "/card/0: a" in str(refusal.value)
    assert "4929" not in str(refusal.value)


@pytest.mark.parametrize("spaced", [False, True])
def test_A3_duplicates_are_found_in_compact_and_in_spaced_text(spaced: bool) -> None:
    """A3: the quick proof by equality never takes a text with a lost member for a faithful one."""
    text = b'{"to":"a","cc":["b, c"],"to":"d"}'
    with pytest.raises(InvalidCall, match='"to" stands there twice'):
        parse_json(text.replace(b":", b": ").replace(b",", b", ") if spaced else text)


@pytest.mark.parametrize("levels", [33, 50, 1000, 1025, 100_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_A3_deep_nesting_is_refused_however_deep(levels: int, opening: bytes) -> None:
    """A3: 33 levels and 100 000 levels get the same plain refusal, closed or not, and no recursion error."""
    with pytest.raises(InvalidCall) as refusal:
        parse_json(opening * levels)
    assert "nested deeper than 32 levels" in str(refusal.value) or "not JSON" in str(refusal.value)
    closing = b"".join({b"[": b"]", b"{": b"}"}[bytes([sign])] for sign in reversed(opening) if sign in b"[{")
    with pytest.raises(InvalidCall, match="nested deeper than 32 levels"):
        parse_json(opening * levels + b"1" + closing * levels)


def test_A3_32_levels_are_accepted_and_brackets_in_strings_are_not_levels() -> None:
    """A3: the bound is exact."""
    assert parse_json(b"[" * 32 + b"1" + b"]" * 32)
    assert parse_json(b'["' + b"[{" * 100 + b'"]') == ["[{" * 100]


@pytest.mark.parametrize("size", [(1 << 20) + 1, 10 * 1024 * 1024])
def test_A3_more_than_one_mebibyte_is_refused_unread(size: int) -> None:
    """A3, A5: 10 MB are refused by their length alone: they are not even JSON, and nobody noticed."""
    with pytest.raises(InvalidCall, match=f"{size} bytes, at most 1048576"):
        parse_json(b"x" * size)


def test_A5_the_number_of_values_is_bounded() -> None:
    """A5: what must be walked in Python is bounded, however small its parts; commas in strings do not count."""
    with pytest.raises(InvalidCall, match="more than 50000 members and items"):
        parse_json(b"[" + b"1," * 50_000 + b"1]")
    assert len(parse_json(b"[" + b"1," * 49_999 + b"1]")) == 50_000
    assert parse_json(b'["' + b"," * 100_000 + b'"]') == ["," * 100_000]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a":1.0}', {"a": 1}),
        (b'{"a":1E2}', {"a": 100}),
        (b'{"a":1.50}', {"a": 1.5}),
        (b'{"a":0.1}', {"a": 0.1}),
        (b'{"a":1e23}', {"a": 1e23}),
        (b'{"a":9007199254740991}', {"a": 9007199254740991}),
        (b'{"a":0e400}', {"a": 0}),
        (b'{ "a" : [ ] }', {"a": []}),
        (b'{"\\u00e4":"\\/\\n"}', {"ä": "/\n"}),
    ],
)
def test_A3_one_value_has_one_spelling(text: bytes, value: Any) -> None:
    """A3: what is accepted is written again compactly; 1.0 is 1, because the digest could not tell them apart."""
    parsed, rendered = read_json(text)
    assert parsed == value
    assert type(parsed.get("a", "")) is type(value.get("a", ""))
    assert rendered == orjson.dumps(value) == render_json(parsed)


@given(VALUES)
def test_A3_parsing_what_was_rendered_changes_nothing(value: Any) -> None:
    """A3: parse(render(x)) is x, and render is a fixpoint."""
    rendered = render_json(value)
    assert parse_json(rendered) == value
    assert read_json(rendered)[1] == rendered


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_A3_every_spelling_of_a_value_gives_the_same_bytes(value: Any, indent: int | None, ascii_only: bool) -> None:
    """A3: spaces, indentation and needless escapes do not reach the tool."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert read_json(text) == (value, render_json(value))


@given(st.text('{}[]",:0123456789.eE+-truefalsn \\u', max_size=40) | st.binary(max_size=30))
def test_A3_nothing_is_accepted_that_a_second_parser_refuses_or_reads_otherwise(text: str | bytes) -> None:
    """A3: two independent parsers agree on whatever is accepted, and nothing but InvalidCall is ever raised."""
    data = text.encode() if isinstance(text, str) else text
    try:
        value, rendered = read_json(data)
    except InvalidCall:
        return
    assert orjson.loads(data) == value == json.loads(data) == orjson.loads(rendered)


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 9), min_size=1, max_size=6), st.data())
def test_A3_a_repeated_member_is_always_found(members: dict[str, int], data: st.DataObject) -> None:
    """A3: repeating any member anywhere, even with an equal value, is refused."""
    pairs = [f"{json.dumps(key)}:{value}" for key, value in members.items()]
    again = data.draw(st.sampled_from(pairs))
    pairs.insert(data.draw(st.integers(0, len(pairs))), again)
    with pytest.raises(InvalidCall, match="stands there twice"):
        parse_json(("{" + ",".join(pairs) + "}").encode())


@pytest.mark.parametrize(
    "value", [{"a": math.nan}, {"a": [None, math.inf]}, {"a": 2**60}, {"a": "\ud800"}, {"a": object()}, {"a": date.min}]
)
def test_A3_what_has_no_exact_form_is_not_written(value: Any) -> None:
    """A3: render refuses what parse would refuse, instead of writing null or rounding."""
    with pytest.raises(InvalidCall, match="cannot be written as JSON"):
        render_json(value)


def test_a_pointer_escapes_as_rfc_6901_says() -> None:
    """Slashes and tildes in keys do not look like steps."""
    assert pointer("a/b", "c~d", 0) == "/a~1b/c~0d/0"
    assert pointer() == ""
