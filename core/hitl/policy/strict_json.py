"""JSON that can be read in exactly one way (SECURITY A3).

Two programs that read the same bytes differently are an attack: the gate judges one call and the tool runs another.
So whatever parsers are known to disagree on is refused: duplicate keys, numbers that change on a round trip, lone
surrogates, NaN, great depth. What is accepted is written again by `render_json`, and only that form travels on.
"""

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import orjson

from hitl.errors import InvalidCall

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32
# Members and items of all objects and arrays together: what is walked in Python must stay bounded (SECURITY A5).
MAX_VALUES: Final = 50_000
# Up to here every double is an exact integer and JCS can write it (RFC 8785, I-JSON).
MAX_INTEGER: Final = 2**53 - 1

# The shortest exact form of a double has at most 24 characters; longer text is not worth converting.
_NUMBER_LIMIT = 64
# Parsed JSON only: no dates, no dataclasses, no integers that a double cannot hold.
_OPTIONS: Final = orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_INTEGRAL_FLOAT = re.compile(rb"[0-9]\.0(?![0-9])")


def parse_json(data: bytes, what: str = "arguments") -> Any:
    """The value of a JSON text, or a refusal if two parsers could read it differently.

    Integral floats become integers (``1.0`` is ``1``): the canonical form under the digest cannot tell them apart,
    so what runs must not differ either.

    Args:
        data: UTF-8 without byte order mark, at most 1 MiB.
        what: names the text in messages.

    Raises:
        InvalidCall: names the JSON pointer or byte offset, what was found there, and what to do.
    """
    return read_json(data, what)[0]


def read_json(data: bytes, what: str = "arguments") -> tuple[Any, bytes]:
    """As `parse_json`, together with the bytes that `render_json` gives for the value."""
    if len(data) > MAX_BYTES:
        raise InvalidCall(
            f"{what}: {len(data)} bytes, at most {MAX_BYTES} are allowed; hand large content over by reference"
        )
    try:
        value = orjson.loads(data)
        rendered = orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return _read_thoroughly(data, what)  # it finds the place and the words for it
    # Most senders are proven right by equality: if parsing and writing give the same text, up to the spaces that a
    # writer may put after a colon or comma, then no key was dropped, no number changed and no escape was open to a
    # second reading. Removing such spaces inside strings too changes nothing about that: tokens stay tokens.
    if (
        (rendered == data or _unspaced(rendered) == _unspaced(data))
        and data.count(b"[") + data.count(b"{") <= MAX_DEPTH
        and data.count(b",") < MAX_VALUES
        and not (b".0" in data and _INTEGRAL_FLOAT.search(data))
    ):
        return value, rendered
    return _read_thoroughly(data, what)


def render_json(value: Any) -> bytes:
    """The one spelling of a parsed value: compact, keys in their order, the fewest escapes, UTF-8.

    Raises:
        InvalidCall: the value has no JSON form that survives a round trip.
    """
    try:
        rendered = orjson.dumps(value, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        raise InvalidCall(f"cannot be written as JSON that everybody reads alike: {error}") from error
    if b"null" in rendered and _has_nan(value):
        raise InvalidCall("cannot be written as JSON: NaN and Infinity have no form there; use null or a string")
    return rendered


def pointer(*steps: str | int) -> str:
    """A JSON pointer (RFC 6901) over these steps; empty for the whole document."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def _unspaced(data: bytes) -> bytes:
    return data.replace(b'": ', b'":').replace(b", ", b",")


class _Refused:
    """Stands in the parsed tree where something is refused, so that the message can name the place."""

    __slots__ = ("message",)

    def __init__(self, message: str) -> None:
        self.message = message


def _read_thoroughly(data: bytes, what: str) -> tuple[Any, bytes]:
    if data.startswith(b"\xef\xbb\xbf"):
        raise InvalidCall(f"{what}: byte order mark at byte 0; send UTF-8 without it")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidCall(f"{what}: invalid UTF-8 at byte {error.start} ({error.reason}); send UTF-8") from error
    _check_size(data, what)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode())
        raise InvalidCall(f"{what}: not JSON at byte {offset}: {error.msg}; send one JSON text") from error
    except RecursionError as error:
        raise InvalidCall(_too_deep(what)) from error
    try:
        return value, orjson.dumps(value, option=_OPTIONS)
    except orjson.JSONEncodeError:
        steps, message = next(_faults_in(value, ()))
        raise InvalidCall(f"{what}: {_printable(pointer(*steps)) or 'the whole text'}: {message}") from None


def _check_size(data: bytes, what: str) -> None:
    """Bounds depth and number of values; counts exactly only where counting brackets and commas does not suffice."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH and data.count(b",") < MAX_VALUES:
        return
    try:
        level = [orjson.loads(data)]
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg:
            raise InvalidCall(_too_deep(what)) from error
        return  # the thorough reader says what is wrong; its own recursion is bounded by the interpreter
    values = 0
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        values += len(level)
        if values > MAX_VALUES:
            raise InvalidCall(f"{what}: more than {MAX_VALUES} members and items; hand them over by reference")
    if any(isinstance(value, dict | list) for value in level):
        raise InvalidCall(_too_deep(what))


def _too_deep(what: str) -> str:
    return f"{what}: nested deeper than {MAX_DEPTH} levels; flatten it, or send the inner part as a string"


def _object(pairs: list[tuple[str, Any]]) -> Any:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return _Refused(f'the key "{_printable(twice)}" stands there twice; send it once')


def _integer(text: str) -> Any:
    if text == "-0":
        return _Refused("-0 loses its sign on a round trip; send 0")
    if len(text) <= 17 and abs(value := int(text)) <= MAX_INTEGER:
        return value
    # Never the digits themselves: they may be a card's, and the message is kept in records (SECURITY I10).
    digits = len(text.lstrip("-"))
    return _Refused(
        f"an integer of {digits} digits is beyond ±{MAX_INTEGER} and many parsers round it; send it as a string"
    )


def _float(text: str) -> Any:
    value = float(text) if len(text) <= _NUMBER_LIMIT else float("inf")
    if value == 0 and text.startswith("-"):
        return _Refused("a negative zero loses its sign on a round trip; send 0")
    # repr is the shortest text that gives the same double: it must be the same number as the text sent.
    if value in (float("inf"), float("-inf")) or (repr(value) != text and Decimal(repr(value)) != Decimal(text)):
        return _Refused(
            f"a number of {len(text)} characters does not survive a round trip exactly; send it as a string"
        )
    return int(value) if value.is_integer() and abs(value) <= MAX_INTEGER else value


def _constant(text: str) -> Any:
    return _Refused(f"{text} is not JSON; send null or a string")


# The standard library's parser, told to leave a `_Refused` wherever a second reading is possible.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _faults_in(value: Any, steps: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What keeps a parsed tree from being written, in document order."""
    match value:
        case _Refused():
            yield steps, value.message
        case str() if not _is_whole(value):
            yield steps, "half of a surrogate pair; send whole characters"
        case dict():
            for key, child in value.items():
                if not _is_whole(key):
                    yield (*steps, key), "half of a surrogate pair in the key; send whole characters"
                yield from _faults_in(child, (*steps, key))
        case list():
            for index, child in enumerate(value):
                yield from _faults_in(child, (*steps, index))


def _has_nan(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_nan, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_nan, value))
    return isinstance(value, float) and not math.isfinite(value)


def _is_whole(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."


def _printable(text: str) -> str:
    return _cut(text.encode("unicode_escape").decode("ascii"))
