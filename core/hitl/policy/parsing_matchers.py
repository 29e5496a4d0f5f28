"""`args` and `ensure`: from what an author wrote to compiled matchers."""

from collections.abc import Mapping
from typing import Any, Final

from hitl.policy import argument_tests as tests
from hitl.policy.argument_tests import Test
from hitl.policy.matchers import ArgumentMatchers, ArgumentTests
from hitl.policy.parsing_reader import TWICE, Reader, child_path
from hitl.policy.path_cleaning import clean_root
from hitl.policy.patterns import MAX_PATTERN, PatternBook
from hitl.policy.strict_json import MAX_DEPTH, pointer
from hitl.policy.urls import HostPattern
from hitl.policy.values import is_deeper, is_number, kind_of, shown, steps_of

BAD_PATTERN: Final = "HITL107"
BAD_MATCHER: Final = "HITL109"
BAD_PLACE: Final = "HITL114"

MAX_ARGUMENTS: Final = 32
MAX_OPERANDS: Final = 256
MAX_OPERAND: Final = 4096
MAX_NAME: Final = 256
_MAX_NESTING = 3

_LATER_SHELL = (
    "judges shell commands and arrives in a later version; until then let a person decide (action: Confirm), because a "
    "pattern over a command line is easily got around"
)
_LATER_SQL = (
    "judges SQL and arrives in a later version; until then list the whole statements with in, or let a person decide "
    "(action: Confirm), because a pattern over SQL is easily got around"
)
HINTS: Final = {
    "runs": _LATER_SHELL,
    "runsOnly": _LATER_SHELL,
    "sqlOnly": _LATER_SQL,
    "sqlAny": _LATER_SQL,
    "sqlTables": _LATER_SQL,
    "minLength": "is no matcher; write matches: '.{5}' for at least five characters (at most 16 that way)",
    "pattern": "is no matcher; write matches",
    "regex": "is no matcher; write matches",
    "not": "is no matcher; write notIn or notMatches",
    "contains": "is no matcher; write matches with the text, or each for lists",
}


def read_matchers(parent: Reader, key: str, book: PatternBook) -> ArgumentMatchers | None:
    """The matchers under a key of a rule; None if the key is absent."""
    reader = parent.child(key)
    if reader is None:
        return None
    names = reader.names()
    if not names:
        parent.problem(key, "asks nothing; name an argument, as in amount: {max: 5000}, or leave it out")
    if len(names) > MAX_ARGUMENTS:
        parent.problem(key, f"asks about {len(names)} arguments, at most {MAX_ARGUMENTS} are allowed")
    asked: dict[str, ArgumentTests] = {}
    for name in names[:MAX_ARGUMENTS]:
        where = _pointer_of(reader, name)
        if where is None:
            continue
        if where in asked:
            reader.problem(name, f"{where} stands there twice; put its matchers together", TWICE)
        argument = _read_argument(reader, name, where, book)
        if argument is not None:
            asked[where] = argument
    return ArgumentMatchers(tuple(asked.values()))


def _pointer_of(reader: Reader, name: str) -> str | None:
    if not name or len(name) > MAX_NAME:
        reader.problem(name[:60], f"is no argument name; 1 to {MAX_NAME} characters", BAD_MATCHER)
        return None
    where = pointer(*steps_of(name))
    if name.startswith("/") and (where != name or not all(steps_of(name))):
        reader.problem(name, "is no JSON pointer; write /name/member, with ~1 for / and ~0 for ~", BAD_MATCHER)
        return None
    return where


def _read_argument(parent: Reader, name: str, where: str, book: PatternBook) -> ArgumentTests | None:
    raw = parent.value(name)
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        form = f"in: {shown(raw)}" if isinstance(raw, list | tuple) else f"equals: {shown(raw)}"
        parent.problem(name, f"wants matchers, this is {kind_of(raw)}; write {name}: {{{form}}}", BAD_MATCHER)
        return None
    reader = Reader(raw, parent.at(name), parent.problems)
    present = raw.get("present")
    if "present" in reader and not isinstance(reader.value("present"), bool):
        reader.problem("present", f"wants true or false, this is {kind_of(present)}", BAD_MATCHER)
    if present is False and len(raw) > 1:
        reader.problem("present", "an absent argument has no value to match; leave the other matchers out", BAD_MATCHER)
    found = _read_tests(reader, where, book, 0)
    return ArgumentTests(where, found, present is not False)


def _read_tests(reader: Reader, where: str, book: PatternBook, depth: int) -> tuple[Test, ...]:
    if not reader.raw:
        reader.problem("", "asks nothing; write a matcher, such as {present: true}", BAD_MATCHER)
    found = [
        *_comparisons(reader),
        *_texts(reader, where, book),
        *_places(reader),
        *_items(reader, where, book, depth),
    ]
    reader.done(HINTS)
    return tuple(sorted(found, key=lambda test: (test.cost, test.name)))


def _comparisons(reader: Reader) -> list[Test]:
    found: list[Test] = []
    if reader.asks("equals"):
        operand = reader.raw["equals"]  # null is a value like any other here
        if _is_comparable(reader, reader.at("equals"), operand):
            if len(shown(operand, MAX_OPERAND)) > MAX_OPERAND:
                reader.problem("equals", f"is longer than {MAX_OPERAND} characters; compare less", BAD_MATCHER)
            found.append(tests.equal_to(operand))
    for name, make in (("in", tests.one_of), ("notIn", tests.none_of)):
        items = reader.items(name, most=MAX_OPERANDS)
        operands = [item for path, item in items if _is_comparable(reader, path, item)]
        if operands:
            found.append(make(operands))
    bounds: dict[str, float] = {}
    for name, bound in (("min", tests.at_least), ("max", tests.at_most)):
        operand = reader.value(name)
        if operand is None:
            continue
        if not is_number(operand):
            reader.problem(name, f"wants a number, this is {kind_of(operand)} ({shown(operand, 30)})", BAD_MATCHER)
            continue
        bounds[name] = operand
        found.append(bound(operand))
    if len(bounds) == 2 and bounds["min"] > bounds["max"]:
        reader.problem("min", f"{bounds['min']} is more than max {bounds['max']}; no number fits", BAD_MATCHER)
    length = reader.whole("maxLength", default=None, low=0, high=1 << 20)
    if length is not None:
        found.append(tests.not_longer_than(length))
    return found


def _is_comparable(reader: Reader, path: str, operand: Any) -> bool:
    """Whether some call could hold this: none is nested deeper (SECURITY A3)."""
    if not is_deeper(operand, MAX_DEPTH):
        return True
    reader.problems.add(path, f"is nested deeper than {MAX_DEPTH} levels, as no call is; compare less", BAD_MATCHER)
    return False


def _texts(reader: Reader, where: str, book: PatternBook) -> list[Test]:
    found: list[Test] = []
    for name, affix in (("startsWith", tests.starting_with), ("endsWith", tests.ending_with)):
        text = reader.text(name, limit=MAX_PATTERN)
        if text:
            found.append(affix(text))
    for name, make in (("matches", tests.matching), ("notMatches", tests.not_matching)):
        source = reader.text(name, limit=MAX_PATTERN)
        holds = reader.attempt(reader.at(name), book.of(where).add, source, BAD_PATTERN) if source else None
        if holds is not None:
            found.append(make(source, holds))
    return found


def _places(reader: Reader) -> list[Test]:
    found: list[Test] = []
    roots = [
        (text, cleaned)
        for path, text in _one_or_more(reader, "within")
        if (cleaned := reader.attempt(path, clean_root, text, BAD_PLACE)) is not None
    ]
    if roots:
        found.append(tests.within([text for text, _ in roots], tuple(cleaned for _, cleaned in roots)))
    hosts = [
        host
        for path, text in _one_or_more(reader, "hosts")
        if (host := reader.attempt(path, HostPattern.parse, text, BAD_PLACE)) is not None
    ]
    if hosts:
        found.append(tests.on_hosts(hosts))
    return found


def _items(reader: Reader, where: str, book: PatternBook, depth: int) -> list[Test]:
    inner = reader.child("each")
    if inner is None:
        return []
    if depth >= _MAX_NESTING:
        reader.problem("each", f"is nested deeper than {_MAX_NESTING} levels; use cel", BAD_MATCHER)
        return []
    if "present" in inner:
        inner.value("present")
        inner.problem("present", "every item of a list is present; leave it out", BAD_MATCHER)
    return [tests.every_item(_read_tests(inner, child_path(where, "*"), book, depth + 1))]


def _one_or_more(reader: Reader, key: str) -> list[tuple[str, str]]:
    """(path, text) of a list of strings, or of the one string that stands in its place."""
    if isinstance(reader.raw.get(key), str):
        text = reader.text(key, limit=MAX_PATTERN)
        return [(reader.at(key), text)] if text else []
    found: list[tuple[str, str]] = []
    for path, item in reader.items(key, most=MAX_OPERANDS):
        text = reader.text_of(item, path, limit=MAX_PATTERN)
        if text:
            found.append((path, text))
    return found
