"""Which rule is asked first, and which can therefore never be reached."""

from collections.abc import Iterator, Sequence
from typing import Any

from hitl.policy.actions import Action
from hitl.policy.argument_tests import Test
from hitl.policy.matchers import ArgumentMatchers, ArgumentTests
from hitl.policy.spec import Rule
from hitl.policy.values import same


def in_order(rules: Sequence[Rule]) -> list[Rule]:
    """The order in which rules are tried: Deny rules wherever they stand, then the others as written (DESIGN 7.4)."""
    return sorted(rules, key=lambda rule: rule.action is not Action.DENY)


def covering(rules: Sequence[Rule]) -> Iterator[tuple[Rule, Rule]]:
    """(a rule that can never match, the first rule that takes all its calls). Proven, or not reported."""
    ordered = in_order(rules)
    for at, rule in enumerate(ordered):
        first = next((earlier for earlier in ordered[:at] if covers(earlier, rule)), None)
        if first is not None:
            yield rule, first


def covers(earlier: Rule, later: Rule) -> bool:
    """Whether every call that `later` matches is matched by `earlier`.

    Limits and `ensure` play no part: they change what a matched rule does, not whether it matches.
    """
    return (
        all(any(wide.covers(narrow) for wide in earlier.tools) for narrow in later.tools)
        and (earlier.cel is None or earlier.cel == later.cel)
        and _implied(earlier.args, later.args)
    )


def _implied(asked: ArgumentMatchers, given: ArgumentMatchers) -> bool:
    """Whether arguments that pass `given` always pass `asked`."""
    known = {each.pointer: each for each in given.arguments}
    return all(each.pointer in known and _follows(each, known[each.pointer]) for each in asked.arguments)


def _follows(asked: ArgumentTests, given: ArgumentTests) -> bool:
    if not asked.present or not given.present:
        return asked.present == given.present
    return all(any(_stricter(strict, test) for strict in given.tests) for test in asked.tests)


def _stricter(strict: Test, test: Test) -> bool:
    """Whether a value that passes `strict` also passes `test`."""
    values = _values(strict)
    match test.name:
        case "min" if strict.name == "min":
            return bool(strict.operand >= test.operand)
        case "max" | "maxLength" if strict.name == test.name:
            return bool(strict.operand <= test.operand)
        case "equals" | "in" if values:
            return all(any(same(value, other) for other in _values(test)) for value in values)
        case "min" | "max" if values:
            return all(
                not isinstance(value, bool) and isinstance(value, int | float) and test.holds(value) for value in values
            )
        case _:
            return strict.name == test.name and strict.items == test.items and same(strict.operand, test.operand)


def _values(test: Test) -> tuple[Any, ...]:
    """The only values that pass, where the test lists them."""
    if test.name == "in":
        return tuple(test.operand)
    return (test.operand,) if test.name == "equals" else ()
