"""The single questions that matchers ask of a value, each compiled with its operand.

`within` and `hosts` judge what a value means, all others the value as sent. A string over 16 KiB is not judged at all,
except by `maxLength`, which is there to say how long it may be (SECURITY A5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hitl.errors import EvaluationFailed
from hitl.policy.path_cleaning import within_any
from hitl.policy.urls import HostPattern, host_of
from hitl.policy.values import MAX_SCANNED, is_number, kind_of, same, shown

Holds = Callable[[Any], bool]

# As many operands as fit a line of explanation; the rest are counted.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Test:
    """One matcher with its operand.

    Attributes:
        name: the matcher's name in YAML.
        wanted: for messages, after "wants".
        cost: tests with a smaller cost run first.
        holds: whether a present value passes; raises EvaluationFailed where it cannot tell.
        operand: as written, for linting.
        items: of ``each``: the tests that every item has to pass, which `holds` runs.
    """

    name: str
    wanted: str
    cost: int
    holds: Holds = field(compare=False, repr=False)
    operand: Any
    items: tuple["Test", ...] = ()


def equal_to(operand: Any) -> Test:
    """The same JSON value. Another type is simply not the same."""

    def holds(value: Any) -> bool:
        return same(_short(value), operand)

    if isinstance(operand, str):  # the commonest by far, and no other type equals a string
        return Test("equals", shown(operand), 1, lambda value: bool(_short(value) == operand), operand)
    return Test("equals", shown(operand), 1, holds, operand)


def one_of(operands: Sequence[Any]) -> Test:
    """The same JSON value as one of these. Another type is none of them."""
    texts = frozenset(operand for operand in operands if isinstance(operand, str))
    others = tuple(operand for operand in operands if not isinstance(operand, str))

    def holds(value: Any) -> bool:
        if type(value) is str:
            return _short(value) in texts
        return any(same(value, other) for other in others)

    return Test("in", f"one of {_listed(operands)}", 1, holds, tuple(operands))


def none_of(operands: Sequence[Any]) -> Test:
    """None of these, and comparable with them.

    A value of a type that the list does not have cannot be judged: a tool may take ``["admin"]`` or 1 for what the
    author excluded as ``"admin"`` or ``"1"``.
    """
    included = one_of(operands).holds
    kinds = {kind_of(operand) for operand in operands}

    def holds(value: Any) -> bool:
        if kind_of(value) not in kinds:
            raise EvaluationFailed(f"it is {kind_of(value)}, which notIn cannot compare with what it excludes")
        return not included(value)

    return Test("notIn", f"none of {_listed(operands)}", 1, holds, tuple(operands))


def at_least(bound: float) -> Test:
    """A number, compared exactly; Python compares integers and doubles by their values, without rounding."""

    def holds(value: Any) -> bool:
        if type(value) is int or type(value) is float:
            return value >= bound
        raise EvaluationFailed(f"it is {kind_of(value)}, and min compares numbers")

    return Test("min", f">= {shown(bound)}", 1, holds, bound)


def at_most(bound: float) -> Test:
    """As `at_least`, from above."""

    def holds(value: Any) -> bool:
        if type(value) is int or type(value) is float:
            return value <= bound
        raise EvaluationFailed(f"it is {kind_of(value)}, and max compares numbers")

    return Test("max", f"<= {shown(bound)}", 1, holds, bound)


def not_longer_than(length: int) -> Test:
    """Characters of a string, items of a list, members of an object."""

    def holds(value: Any) -> bool:
        if value is None or isinstance(value, bool) or is_number(value):
            raise EvaluationFailed(f"it is {kind_of(value)}, which has no length")
        return len(value) <= length

    return Test("maxLength", f"a length <= {length}", 0, holds, length)


def starting_with(prefix: str) -> Test:
    """A string that starts so."""
    return Test(
        "startsWith",
        f"a text that starts with {shown(prefix)}",
        2,
        _on_text("startsWith", prefix, str.startswith),
        prefix,
    )


def ending_with(suffix: str) -> Test:
    """A string that ends so."""
    return Test(
        "endsWith",
        f"a text that ends with {shown(suffix)}",
        2,
        _on_text("endsWith", suffix, str.endswith),
        suffix,
    )


def matching(source: str, found: Holds) -> Test:
    """A pattern found somewhere in the string form; `found` comes from the policy's `PatternBook`."""
    return Test("matches", f"a match of {source!r}", 4, found, source)


def not_matching(source: str, found: Holds) -> Test:
    """A pattern found nowhere in the string form."""
    return Test("notMatches", f"no match of {source!r}", 4, lambda value: not found(value), source)


def within(roots: Sequence[str], cleaned: tuple[str, ...]) -> Test:
    """A path at or below one of these directories, however it is spelled."""

    def holds(value: Any) -> bool:
        if type(value) is not str:
            raise EvaluationFailed(f"it is {kind_of(value)}, and within judges a path{_each_hint(value)}")
        return within_any(value, cleaned)

    return Test("within", f"a path within {', '.join(roots)}", 3, holds, cleaned)


def on_hosts(patterns: Sequence[HostPattern]) -> Test:
    """A URL that leads to one of these hosts."""
    tests = tuple(pattern.matches for pattern in patterns)

    def holds(value: Any) -> bool:
        if type(value) is not str:
            raise EvaluationFailed(f"it is {kind_of(value)}, and hosts judges a URL{_each_hint(value)}")
        host = host_of(value)
        return any(matches(host) for matches in tests)

    return Test(
        "hosts",
        f"a URL on {', '.join(pattern.text for pattern in patterns)}",
        3,
        holds,
        tuple(pattern.text for pattern in patterns),
    )


def every_item(tests: Sequence[Test]) -> Test:
    """A list whose items all pass; an empty one does."""
    inner = tuple(test.holds for test in tests)

    def holds(value: Any) -> bool:
        if not isinstance(value, list | tuple):
            raise EvaluationFailed(f"it is {kind_of(value)}, and each judges a list")
        for index, item in enumerate(value):
            try:
                if not all(test(item) for test in inner):
                    return False
            except EvaluationFailed as error:
                raise EvaluationFailed(f"item {index}: {error}") from error
        return True

    wanted = "every item to be " + " and ".join(test.wanted for test in tests)
    return Test("each", wanted, 5, holds, None, tuple(tests))


def _on_text(name: str, operand: str, fits: Callable[[str, str], bool]) -> Holds:
    def holds(value: Any) -> bool:
        if type(value) is not str:
            raise EvaluationFailed(f"it is {kind_of(value)}, and {name} compares text")
        return fits(_short(value), operand)

    return holds


def _short(value: Any) -> Any:
    if type(value) is str and len(value) > MAX_SCANNED:
        raise EvaluationFailed(f"it has {len(value)} characters, and at most {MAX_SCANNED} are compared; see maxLength")
    return value


def _each_hint(value: Any) -> str:
    return "; for a list of them write each" if isinstance(value, list | tuple) else ""


def _listed(operands: Sequence[Any]) -> str:
    listed = ", ".join(shown(operand, 30) for operand in operands[:_NAMED])
    return listed if len(operands) <= _NAMED else f"{listed}, … {len(operands) - _NAMED} more"
