"""What must hold of a call's arguments (DESIGN 6 and 18).

A matcher answers yes or no; what it cannot answer raises `EvaluationFailed`, and the call is denied. An absent argument
matches nothing (SECURITY A2). What each matcher asks stands in `argument_tests`.

The tests of one argument run from cheap to dear and stop at the first no, so that a long text is not searched for a
rule that a small number already rules out. That order, and the order of arguments, does not depend on how the author
ordered them: a document that has been through JSON gives the same text (I14).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hitl.errors import EvaluationFailed
from hitl.policy.argument_tests import Test
from hitl.policy.strict_json import pointer
from hitl.policy.values import ABSENT, at, shown, steps_of

Check = Callable[[Mapping[str, Any]], bool]


class Miss(NamedTuple):
    """A matcher that does not hold. ``str()`` shows the raw value; use `over` for whoever is outside the pod.

    Attributes:
        pointer: JSON pointer of the argument.
        found: its value, or `ABSENT`.
        wanted: what the matcher wants, such as ``<= 5000``.
    """

    pointer: str
    found: Any
    wanted: str

    def __str__(self) -> str:
        return f"{self.pointer} is {shown(self.found)}, wants {self.wanted}"

    def over(self, redacted: Mapping[str, Any]) -> str:
        """The same sentence with the value that stands in the redacted arguments (I10)."""
        value = at(redacted, steps_of(self.pointer))
        found = "hidden" if value is ABSENT and self.found is not ABSENT else shown(value)
        return f"{self.pointer} is {found}, wants {self.wanted}"


class Finding(NamedTuple):
    """One matcher's answer, for explanations.

    Attributes:
        miss: what was found and wanted, whether it holds or not.
        holds: None where the matcher cannot tell; `trouble` then says why.
    """

    miss: Miss
    holds: bool | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class ArgumentTests:
    """All matchers of one argument.

    Attributes:
        pointer: JSON pointer of the argument.
        tests: from cheap to dear; none where only `present` is asked.
        present: False: the argument must be absent.
    """

    pointer: str
    tests: tuple[Test, ...] = ()
    present: bool = True

    @property
    def steps(self) -> tuple[str, ...]:
        """The pointer taken apart."""
        return steps_of(self.pointer)

    @property
    def cost(self) -> int:
        """What the dearest of the tests costs."""
        return max((test.cost for test in self.tests), default=0)

    def findings(self, arguments: Mapping[str, Any]) -> Iterable[Finding]:
        """Every test's answer. The one about presence comes alone, if it is a no or nothing else is asked."""
        value = at(arguments, self.steps)
        if not self.present:
            yield Finding(Miss(self.pointer, value, "it to be absent"), value is ABSENT)
        elif not self.tests:
            yield Finding(Miss(self.pointer, value, "it to be there"), value is not ABSENT)
        elif value is ABSENT:
            yield from (Finding(Miss(self.pointer, ABSENT, test.wanted), holds=False) for test in self.tests)
        else:
            for test in self.tests:
                yield from _findings(test, value, self.steps)


@dataclass(frozen=True, slots=True)
class ArgumentMatchers:
    """Everything that one `args` or `ensure` asks, compiled.

    Attributes:
        arguments: sorted by cost, then by pointer; sorted and compiled on the way in.
        named: names of the top-level arguments that are asked about; for `closed`.
        hold: whether all of them hold. Raises EvaluationFailed if one cannot tell and none before it said no; the
            message names the pointer, never the value.
    """

    arguments: tuple[ArgumentTests, ...] = ()
    named: frozenset[str] = field(init=False)
    hold: Check = field(init=False, repr=False, compare=False)
    _checks: tuple[Check, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.arguments, key=lambda each: (each.cost, each.pointer)))
        object.__setattr__(self, "arguments", ordered)
        object.__setattr__(self, "named", frozenset(each.steps[0] for each in ordered))
        checks = tuple(map(_compiled, ordered))
        object.__setattr__(self, "_checks", checks)
        object.__setattr__(self, "hold", checks[0] if len(checks) == 1 else _all_of(checks))

    def first_miss(self, arguments: Mapping[str, Any]) -> Miss | None:
        """The first matcher that does not hold, in the order in which `hold` asks; None if all do. Raises as `hold`."""
        for check, each in zip(self._checks, self.arguments, strict=True):
            if not check(arguments):
                return next(finding.miss for finding in each.findings(arguments) if finding.holds is False)
        return None

    def misses(self, arguments: Mapping[str, Any]) -> list[Miss]:
        """Every matcher that does not hold or cannot tell."""
        return [finding.miss for finding in self.findings(arguments) if not finding.holds]

    def findings(self, arguments: Mapping[str, Any]) -> list[Finding]:
        """Every matcher's answer, in the order in which `hold` asks."""
        return [finding for each in self.arguments for finding in each.findings(arguments)]


def _findings(test: Test, value: Any, steps: tuple[str, ...]) -> Iterable[Finding]:
    where = pointer(*steps)
    if test.items and isinstance(value, list | tuple):
        if not value:
            yield Finding(Miss(where, value, "every item to fit"), holds=True)
        for index, item in enumerate(value):
            for inner in test.items:
                yield from _findings(inner, item, (*steps, str(index)))
        return
    try:
        yield Finding(Miss(where, value, test.wanted), test.holds(value))
    except EvaluationFailed as error:
        yield Finding(Miss(where, value, test.wanted), None, str(error))


def _compiled(asked: ArgumentTests) -> Check:
    """One predicate over arguments; this is what runs for every call."""
    steps, where = asked.steps, asked.pointer
    if not asked.present:
        return lambda arguments: at(arguments, steps) is ABSENT
    if not asked.tests:
        return lambda arguments: at(arguments, steps) is not ABSENT
    name = steps[0] if len(steps) == 1 else None
    holds = asked.tests[0].holds if len(asked.tests) == 1 else _all_of(tuple(test.holds for test in asked.tests))

    def check(arguments: Mapping[str, Any]) -> bool:
        value = arguments.get(name, ABSENT) if name is not None else at(arguments, steps)
        if value is ABSENT:
            return False
        try:
            return holds(value)
        except EvaluationFailed as error:
            raise EvaluationFailed(f"{where}: {error}") from error

    return check


def _all_of(checks: Sequence[Callable[[Any], bool]]) -> Callable[[Any], bool]:
    """All of them, in order, up to the first no."""

    def hold(subject: Any) -> bool:
        for check in checks:  # noqa: SIM110 - half the time of all() over a generator
            if not check(subject):
                return False
        return True

    return hold
