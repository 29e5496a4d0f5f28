"""How single values are spelled in JSON or YAML, both ways. No value is bent into a type it does not have."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, Final, Generic, TypeVar

from hitl.policy.durations import parse_duration

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

# RFC 3339 with at most microseconds: finer times would not survive a round trip.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60))
_DEEPEST = 32  # levels of free JSON, as in a call's arguments


class Misfit(ValueError):
    """A value that does not fit; gathers its path on the way out."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def under(self, step: str) -> "Misfit":
        """The same misfit, seen from one level further out."""
        return Misfit(self.message, f"{step}{self.path}")

    def __str__(self) -> str:
        return f"{self.path.removeprefix('.')}: {self.message}" if self.path else self.message


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """How one kind of value is written and read; both raise Misfit."""

    write: Callable[[T], Any]
    read: Callable[[Any], T]


def shown(value: Any) -> str:
    """A found value in a message: short, and never longer than a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Misfit(f"is {shown(value)}, wanted text")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Misfit(f"is {shown(value)}, wanted true or false")
    return value


def _time_out(value: datetime) -> str:
    if value.tzinfo is None:
        raise Misfit(f"{value.isoformat()} has no time zone, wanted an aware time")
    try:
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except OverflowError as error:
        raise Misfit(f"{value.isoformat()} is outside the years 1 to 9999 in UTC") from error


def _time_in(value: Any) -> datetime:
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # the 30th of February and the like
    raise Misfit(f"is {shown(value)}, wanted a time such as 2026-01-31T09:30:00.000000Z")


def _seconds_out(value: int) -> str:
    _check_integer(value, 0, None)
    for unit, length in _UNITS:
        if value and value % length == 0:
            return f"{value // length}{unit}"
    return f"{value}s"


def _seconds_in(value: Any) -> int:
    try:
        seconds = parse_duration(_text(value))
    except Misfit:
        raise
    except ValueError as error:
        raise Misfit(str(error)) from error
    if not seconds.is_integer():
        raise Misfit(f"is {shown(value)}, wanted whole seconds")
    return int(seconds)


def _check_integer(value: Any, least: int | None, most: int | None) -> int:
    if type(value) is not int:
        raise Misfit(f"is {shown(value)}, wanted a whole number")
    is_stored = -(1 << 63) <= value < 1 << 63
    if not is_stored or (least is not None and value < least) or (most is not None and value > most):
        wanted = f"{'…' if least is None else least} to {'…' if most is None else most}"
        raise Misfit(f"is {shown(value)}, wanted {wanted}")
    return value


def _exact_integer(value: int) -> int:
    return _check_integer(value, None, None)


def _served_integer(value: int) -> int | float:
    """To an API server a whole number of more than 64 bits is a float, and it writes one out with all its digits."""
    if -(1 << 63) <= value < 1 << 63:
        return value
    try:
        return float(value)
    except OverflowError as error:
        raise Misfit(f"is a number of {value.bit_length()} bits, which nobody can store") from error


def _json(value: Any, whole: Callable[[int], int | float], depth: int = 0) -> Any:
    """A copy made of plain JSON values; Misfit for what JSON cannot carry. whole: what a whole number becomes."""
    if depth > _DEEPEST:
        raise Misfit(f"is nested deeper than {_DEEPEST} levels")
    match value:
        case None | bool() | str():
            return value
        case int():
            return whole(value)
        case float():
            if not math.isfinite(value):
                raise Misfit(f"is {value}, which is not JSON")
            return value
        case list():
            return [_inside(f"[{at}]", _json, item, whole, depth + 1) for at, item in enumerate(value)]
        case Mapping():
            return {_text(key): _inside(f".{key}", _json, item, whole, depth + 1) for key, item in value.items()}
    raise Misfit(f"is {shown(value)}, which is not JSON")


def _json_object(value: Any, whole: Callable[[int], int | float]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Misfit(f"is {shown(value)}, wanted an object")
    copy: dict[str, Any] = _json(value, whole)
    return copy


def _text_map(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise Misfit(f"is {shown(value)}, wanted an object of texts")
    return {_text(key): _inside(f".{key}", _text, item) for key, item in value.items()}


def _inside(step: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Misfit as misfit:
        raise misfit.under(step) from None


TEXT: Final = Codec(_text, _text)
BOOLEAN: Final = Codec(_boolean, _boolean)
TIME: Final = Codec(_time_out, _time_in)
SECONDS: Final = Codec(_seconds_out, _seconds_in)
# What people write freely. Writing refuses a whole number that a store would bend; reading takes any finite number, as
# the store made it, so that nobody's number makes unreadable what it stands in.
JSON: Final = Codec(partial(_json, whole=_exact_integer), partial(_json, whole=_served_integer))
JSON_OBJECT: Final = Codec(partial(_json_object, whole=_exact_integer), partial(_json_object, whole=_served_integer))
TEXT_MAP: Final = Codec(_text_map, _text_map)


def integer(least: int = 0, most: int | None = None) -> Codec[int]:
    def check(value: Any) -> int:
        return _check_integer(value, least, most)

    return Codec(check, check)


def seconds(least: int, most: int) -> Codec[int]:
    """A duration in whole seconds within these bounds."""

    def bounded(value: int) -> int:
        if not least <= value <= most:
            raise Misfit(f"is {_seconds_out(value)}, wanted {_seconds_out(least)} to {_seconds_out(most)}")
        return value

    return Codec(lambda value: _seconds_out(bounded(value)), lambda value: bounded(_seconds_in(value)))


def choice(*words: str) -> Codec[str]:
    def check(value: Any) -> str:
        if value not in words:
            raise Misfit(f"is {shown(value)}, wanted one of {', '.join(words)}")
        return str(value)

    return Codec(check, check)


def enum(members: type[E]) -> Codec[E]:
    known = choice(*members)
    return Codec(lambda value: known.write(value.value), lambda value: members(known.read(value)))


def optional(codec: Codec[T]) -> Codec[T | None]:
    """None stands for an absent field and is never written; null is refused."""

    def write(value: T | None) -> Any:
        assert value is not None, "None is the default and is left out"
        return codec.write(value)

    return Codec(write, codec.read)


def many(codec: Codec[T]) -> Codec[tuple[T, ...]]:
    write_one, read_one = codec.write, codec.read

    def write(values: tuple[T, ...]) -> list[Any]:
        return [_inside(f"[{at}]", write_one, value) for at, value in enumerate(values)]

    def read(value: Any) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Misfit(f"is {shown(value)}, wanted a list")
        return tuple(_inside(f"[{at}]", read_one, item) for at, item in enumerate(value))

    return Codec(write, read)
