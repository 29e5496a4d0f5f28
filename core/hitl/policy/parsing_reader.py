"""Reading what an author wrote, strictly: every key is asked for, what nobody asked for is refused by name.

A `Reader` never raises for what an author can mend. It notes a `Problem` and goes on with a harmless default, so that
one look finds every mistake; `parse` raises once, at the end, if anything was noted.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from hitl.errors import Problem
from hitl.policy.durations import format_duration, parse_duration
from hitl.policy.escaping import as_plain
from hitl.policy.strict_json import MAX_INTEGER
from hitl.policy.values import kind_of, shown

UNKNOWN_KEY: Final = "HITL101"
BAD_VALUE: Final = "HITL102"
UNKNOWN_WORD: Final = "HITL103"
TWICE: Final = "HITL105"
CONTRADICTION: Final = "HITL116"

T = TypeVar("T")

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_LONGEST_KEY = 60


def child_path(path: str, key: str | int) -> str:
    """The path of a member or item: ``spec.rules[2].args.amount``; keys with other characters as ``["/a.b"]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{json.dumps(key, ensure_ascii=False)}]"


class Problems:
    """What was found wrong so far."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, path: str, message: str, code: str = BAD_VALUE) -> None:
        """Note one problem; the message says what is wrong and what to do, without the path."""
        self.found.append(Problem(path, message, code))


class Reader:
    """One mapping of a document."""

    def __init__(self, raw: Any, path: str, problems: Problems) -> None:
        self.path = path
        self.problems = problems
        self._asked: set[str] = set()
        self._is_mapping = isinstance(raw, Mapping)
        if not self._is_mapping:
            problems.add(path, f"must be a mapping of keys to values, this is {kind_of(raw)}")
            raw = {}
        self.raw: Mapping[str, Any] = raw

    def __contains__(self, key: str) -> bool:
        return key in self.raw

    def asks(self, key: str) -> bool:
        """Whether the key is there, whatever its value."""
        self._asked.add(key)
        return key in self.raw

    def names(self) -> list[str]:
        """The keys as written; for mappings whose keys are the author's own names."""
        self._asked.update(map(str, self.raw))
        return [key for key in self.raw if isinstance(key, str)]

    def at(self, key: str | int) -> str:
        """The path of a key."""
        return child_path(self.path, key)

    def problem(self, key: str, message: str, code: str = BAD_VALUE) -> None:
        """Note a problem with a key; with the whole mapping if the key is empty."""
        self.problems.add(self.at(key) if key else self.path, message, code)

    def value(self, key: str) -> Any:
        """The raw value, None if the key is absent. An empty value (null) is noted: it is nearly always an accident."""
        self._asked.add(key)
        value = self.raw.get(key)
        if value is None and key in self.raw:
            self.problem(key, "is empty; give it a value, or leave the key out")
        return value

    def done(self, hints: Mapping[str, str] | None = None) -> None:
        """Refuse every key that nobody asked for, with the nearest known one. `hints`: what to say of some keys."""
        for key in self.raw:
            if key in self._asked:
                continue
            if hints and key in hints:
                self.problem(key, hints[key], UNKNOWN_KEY)
                continue
            near = nearest(str(key), self._asked)
            known = f"did you mean {near}?" if near else f"known here: {', '.join(sorted(self._asked))}"
            self.problem(str(key)[:_LONGEST_KEY], f"unknown key; {known}", UNKNOWN_KEY)

    def require(self, *keys: str) -> None:
        """Note every one of these keys that is absent; not of what is no mapping at all."""
        for key in keys if self._is_mapping else ():
            if key not in self.raw:
                self.problem("", f"needs {key}", BAD_VALUE)

    def text(
        self, key: str, *, limit: int, default: str = "", form: re.Pattern[str] | None = None, wants: str = ""
    ) -> str:
        """A string of at most `limit` visible characters; `wants` describes `form` in messages."""
        value = self.value(key)
        if value is None:
            return default
        return self.text_of(value, self.at(key), limit=limit, form=form, wants=wants, default=default)

    def word(self, key: str, words: Mapping[str, T], default: T) -> T:
        """One of these words, exactly as spelled."""
        value = self.value(key)
        return default if value is None else self.chosen(value, self.at(key), words, default)

    def flag(self, key: str) -> bool:
        """True or false; false if absent."""
        value = self.value(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.problem(key, f"wants true or false, this is {kind_of(value)} ({shown(value, 30)})")
        return False

    def whole(self, key: str, *, default: T, low: int, high: int) -> int | T:
        """An integer between `low` and `high`."""
        value = self.value(key)
        if value is None:
            return default
        if type(value) is not int or not low <= value <= high:
            self.problem(key, f"wants a whole number from {low} to {high}, this is {shown(value, 30)}")
            return default
        return value

    def seconds(self, key: str, *, default: T, low: int, high: int) -> int | T:
        """A duration between `low` and `high` seconds; milliseconds are rounded up to whole seconds."""
        value = self.value(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.problem(
                key, f"wants a duration such as 30s, 15m or 24h, this is {kind_of(value)} ({shown(value, 30)})"
            )
            return default
        try:
            duration = math.ceil(parse_duration(value))
        except ValueError as error:
            self.problem(key, str(error))
            return default
        if not low <= duration <= high:
            self.problem(key, f"{value} is out of range; from {format_duration(low)} to {format_duration(high)}")
            return default
        return duration

    def items(self, key: str, *, most: int) -> list[tuple[str, Any]]:
        """(path, raw value) of every item of a list that must not be empty; nothing if the key is absent."""
        value = self.value(key)
        if value is None:
            return []
        if not isinstance(value, Sequence) or isinstance(value, str):
            self.problem(key, f"wants a list, this is {kind_of(value)}; write [{shown(value, 30)}]")
            return []
        if not value:
            self.problem(key, "is an empty list; give it an item, or leave the key out")
        if len(value) > most:
            self.problem(key, f"has {len(value)} items, at most {most} are allowed")
        return [(child_path(self.at(key), index), item) for index, item in enumerate(value[:most])]

    def texts(
        self, key: str, *, most: int, limit: int, form: re.Pattern[str] | None = None, wants: str = ""
    ) -> tuple[str, ...]:
        """A list of different strings."""
        found: list[str] = []
        for path, item in self.items(key, most=most):
            text = self.text_of(item, path, limit=limit, form=form, wants=wants)
            if text in found:
                self.problems.add(path, f"{text!r} stands there twice; write it once", TWICE)
            elif text:
                found.append(text)
        return tuple(found)

    def words(self, key: str, words: Mapping[str, T], *, most: int = 16) -> tuple[T, ...]:
        """A list of different words out of these."""
        found: list[T] = []
        for path, item in self.items(key, most=most):
            chosen = self.chosen(item, path, words, None)
            if chosen is not None and chosen in found:
                self.problems.add(path, f"{item} stands there twice; write it once", TWICE)
            elif chosen is not None:
                found.append(chosen)
        return tuple(found)

    def child(self, key: str) -> "Reader | None":
        """The mapping under a key; None if the key is absent."""
        value = self.value(key)
        return None if value is None else Reader(value, self.at(key), self.problems)

    def children(self, key: str, *, most: int) -> Iterator["Reader"]:
        """The mappings of a list."""
        for path, item in self.items(key, most=most):
            yield Reader(item, path, self.problems)

    def compiled(self, key: str, compile_: Callable[[str], T], code: str, *, limit: int) -> T | None:
        """What `compile_` makes of a string; its ValueError becomes a problem. None if absent or wrong."""
        text = self.text(key, limit=limit)
        return self.attempt(self.at(key), compile_, text, code) if text else None

    def attempt(self, path: str, compile_: Callable[[Any], T], value: Any, code: str) -> T | None:
        """What `compile_` makes of a value; its ValueError becomes a problem."""
        try:
            return compile_(value)
        except ValueError as error:
            self.problems.add(path, str(error), code)
            return None

    def chosen(self, value: Any, path: str, words: Mapping[str, T], default: T) -> T:
        """The meaning of one word."""
        if isinstance(value, str) and value in words:
            return words[value]
        near = nearest(str(value), words) if isinstance(value, str) else None
        hint = f"did you mean {near}?" if near else f"write one of {', '.join(words)}"
        self.problems.add(path, f"{shown(value, 40)} is not known here; {hint}", UNKNOWN_WORD)
        return default

    def text_of(
        self,
        value: Any,
        path: str,
        *,
        limit: int,
        form: re.Pattern[str] | None = None,
        wants: str = "",
        default: str = "",
    ) -> str:
        """As `text`, of a value that stands at a path."""
        if not isinstance(value, str):
            hint = "; put it in quotes" if isinstance(value, bool | int | float) else ""
            self.problems.add(path, f"wants a string, this is {kind_of(value)} ({shown(value, 30)}){hint}")
        elif not value.strip():
            self.problems.add(path, "is an empty string; give it a value, or leave the key out")
        elif len(value) > limit:
            self.problems.add(path, f"has {len(value)} characters, at most {limit} are allowed")
        elif as_plain(value) != value:
            self.problems.add(path, f"holds characters that cannot be seen: {as_plain(value)[:80]}; remove them")
        elif form is not None and not form.fullmatch(value):
            self.problems.add(path, f"{shown(value, 80)} is not {wants}")
        else:
            return value
        return default


def nearest(text: str, known: Collection[str]) -> str | None:
    """The known word that is probably meant, whatever its capitals; None if none is near."""
    folded = {word.casefold(): word for word in known}
    close = difflib.get_close_matches(text[:_LONGEST_KEY].casefold(), folded, 1, 0.6)
    return folded[close[0]] if close else None


def check_numbers(value: Any, path: str, problems: Problems) -> None:
    """Note numbers that JSON readers do not agree on: they would change between the author and the gate."""
    match value:
        case bool():
            pass
        case int() if abs(value) > MAX_INTEGER:
            problems.add(path, f"{value} is beyond ±{MAX_INTEGER} and many JSON readers round it; write it as a string")
        case float() if not math.isfinite(value):
            problems.add(path, f"{value} is no number that JSON knows; write a finite one")
        case Mapping():
            for key, child in value.items():
                check_numbers(child, child_path(path, str(key)), problems)
        case list() | tuple():
            for index, child in enumerate(value):
                check_numbers(child, child_path(path, index), problems)
        case _:
            pass
