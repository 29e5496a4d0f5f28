"""JSON values as matchers and templates see them: their type, their string form, when two are the same."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from hitl.errors import EvaluationFailed

# SECURITY A5: what is scanned is at most this long, in bytes of UTF-8.
MAX_SCANNED: Final = 16 * 1024

_SHOWN = 60
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


class _Absent:
    """The type of `ABSENT`: JSON has null, so None cannot say that nothing stands there."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = _Absent()


def kind_of(value: Any) -> str:
    """The JSON type with its article, for messages: ``a number``, ``a list``, ``null``."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list() | tuple():
            return "a list"
        case _:
            return "an object"


def string_form(value: Any) -> str:
    """What string matchers read: a string as it is, null as nothing, everything else as its JSON.

    Raises:
        EvaluationFailed: it has no JSON form.
    """
    if type(value) is str:
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise EvaluationFailed(f"it has no string form ({error})") from error


def scannable(value: Any) -> bytes:
    """The string form in UTF-8.

    Raises:
        EvaluationFailed: it is over 16 KiB, or no Unicode text.
    """
    text = string_form(value)
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise EvaluationFailed("it holds half of a surrogate pair") from error
    if len(data) > MAX_SCANNED:
        raise EvaluationFailed(f"it has {len(data)} bytes, and at most {MAX_SCANNED} are searched")
    return data


def is_deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists stand in one another for more than so many levels; never recurses itself."""
    level = [value] if isinstance(value, Mapping | list | tuple) else []
    for _ in range(levels):
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, Mapping) else each)
            if isinstance(child, Mapping | list | tuple)
        ]
        if not level:
            return False
    return bool(level)


def is_number(value: Any) -> bool:
    """A JSON number: never a boolean, whatever Python says."""
    return type(value) is int or type(value) is float


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: types count (``true`` is not 1, ``"1"`` is not 1), 1 and 1.0 are one number."""
    match one:
        case None | bool():
            return one is other
        case int() | float():
            return is_number(other) and bool(one == other)
        case str():
            return isinstance(other, str) and one == other
        case list() | tuple():
            return (
                isinstance(other, list | tuple)
                and len(one) == len(other)
                and all(same(left, right) for left, right in zip(one, other, strict=True))
            )
        case dict():
            return (
                isinstance(other, dict)
                and one.keys() == other.keys()
                and all(same(value, other[key]) for key, value in one.items())
            )
        case _:
            return False


def shown(value: Any, limit: int = _SHOWN) -> str:
    """A value for a message: its JSON, cut where it is long, with its size."""
    if value is ABSENT:
        return "absent"
    if isinstance(value, str) and len(value) > limit:
        return f'{_json(value[:limit])[:-1]}…" ({len(value)} characters)'
    text = _json(value)
    return text if len(text) <= limit + 2 else f"{text[:limit]}… ({len(text)} characters)"


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ascii(value)


def steps_of(where: str) -> tuple[str, ...]:
    """The steps of a JSON pointer (RFC 6901), or the one step of a plain argument name."""
    if not where.startswith("/"):
        return (where,)
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in where[1:].split("/"))


def at(arguments: Any, steps: tuple[str, ...]) -> Any:
    """What stands there, or `ABSENT`. Items of lists are counted from 0."""
    value = arguments
    for step in steps:
        if isinstance(value, Mapping):
            value = value.get(step, ABSENT)
        elif isinstance(value, list | tuple) and _INDEX.fullmatch(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            return ABSENT
    return value
