"""Regular expressions of authors, bounded in size and time (SECURITY A5).

RE2 matches in linear time, but its constant is the size of the compiled program, so counted repeats and programs have
caps. All patterns that one policy applies to one argument are searched in a single pass where the text is short;
measured, twenty patterns cost 2 us together instead of 24 us one by one.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import re2

from hitl.errors import EvaluationFailed
from hitl.policy.regex_syntax import MAX_REPEAT, largest_repeat
from hitl.policy.values import ABSENT, scannable

MAX_PATTERN: Final = 1024
# Instructions of RE2's program. `\pL+`, any letter, has 1 200; at the cap 16 KiB take 70 ms at the very worst.
MAX_PROGRAM: Final = 3000
# The same for all patterns of one policy together, which costs up to 40 ms to compile. A pattern of words has some 60;
# what 128 rules may ask in 20 bytes each, `\pL`, would be a second for every hub and sidecar.
MAX_PROGRAMS: Final = 100_000
# Bytes for one pattern's program and its cache of states; RE2 falls back to a slower search without cache.
_MEMORY: Final = 1 << 20
# A set has no such fallback and its states multiply, so longer text is searched pattern by pattern.
_SET_TEXT: Final = 512


class Pattern:
    """One compiled pattern; found anywhere in the text unless it says ``^`` or ``$``."""

    __slots__ = ("_search", "size", "source")

    def __init__(self, source: str) -> None:
        """Compile `source`. ValueError, with the next step, for what is no pattern or may become too slow."""
        if not source:
            raise ValueError("the pattern is empty and matches everything; leave the matcher out")
        if len(source) > MAX_PATTERN:
            raise ValueError(f"the pattern has {len(source)} characters, at most {MAX_PATTERN} are allowed; split it")
        try:
            compiled = re2.compile(source, _options(_MEMORY))
        except (re2.error, UnicodeEncodeError) as error:
            raise ValueError(f"{source!r} is not an RE2 pattern: {_reason(error)}") from error
        if (copies := largest_repeat(source)) > MAX_REPEAT:
            raise ValueError(
                f"{source!r} repeats something {copies} times (nested counts multiply), at most {MAX_REPEAT} are "
                "allowed because it makes searching slow; use * or +, and maxLength for the length"
            )
        if compiled.programsize > MAX_PROGRAM:
            raise ValueError(
                f"{source!r} has {compiled.programsize} instructions, at most {MAX_PROGRAM} are allowed because "
                "it makes searching slow; use fewer Unicode classes and counted repeats, or split it into two rules"
            )
        self.source = source
        self.size = compiled.programsize
        self._search = compiled.search

    def found_in(self, data: bytes) -> bool:
        """Whether it matches somewhere in UTF-8 text."""
        return self._search(data) is not None


class PatternSet:
    """The patterns that one policy applies to one argument, compiled together by `seal`."""

    __slots__ = ("_charge", "_last", "_patterns", "_set")

    def __init__(self, charge: "Callable[[Pattern], None]" = lambda _pattern: None) -> None:
        """`charge` is told of each pattern, and raises ValueError where it is one too many."""
        self._charge = charge
        self._patterns: list[Pattern] = []
        self._set: Any = None
        # The last text and what was found in it: several rules ask about the same argument of the same call.
        # One tuple, replaced whole, so that threads see a text with its own result. It starts with no value at all.
        self._last: tuple[Any, frozenset[int]] = (ABSENT, frozenset())

    def add(self, source: str) -> Callable[[Any], bool]:
        """A predicate over JSON values for one more pattern. ValueError as `Pattern`."""
        pattern = Pattern(source)
        self._charge(pattern)
        index = len(self._patterns)
        self._patterns.append(pattern)
        hits = self.hits

        def found(value: Any) -> bool:
            last, known = self._last
            return index in (known if last is value else hits(value))

        return found

    def seal(self) -> None:
        """Compile the set; before this, patterns are searched one by one."""
        together = re2.Set.SearchSet(_options(4 * _MEMORY))
        for pattern in self._patterns:
            together.Add(pattern.source)
        # RE2 does not say when a set runs out of memory, it finds nothing. The empty pattern always matches: if even
        # that is not found, nobody looked.
        together.Add("")
        try:
            together.Compile()
        except re2.error:
            return  # too large together; one by one they work
        self._set = together

    def hits(self, value: Any) -> frozenset[int]:
        """Indices of the patterns found in a value's string form.

        Raises:
            EvaluationFailed: the string form is over 16 KiB.
        """
        if type(value) is str:
            last, found = self._last
            if last == value:
                return found
        data = scannable(value)
        found = self._hits(data)
        if type(value) is str:
            self._last = (value, found)
        return found

    def _hits(self, data: bytes) -> frozenset[int]:
        if self._set is not None and len(data) <= _SET_TEXT:
            found = frozenset(self._set.Match(data))
            if len(self._patterns) not in found:
                raise EvaluationFailed("its patterns together need more memory than is allowed")
            return found
        return frozenset(index for index, pattern in enumerate(self._patterns) if pattern.found_in(data))


class PatternBook:
    """All pattern sets of one policy, by argument."""

    def __init__(self) -> None:
        self._sets: dict[str, PatternSet] = {}
        self._size = 0

    def of(self, argument: str) -> PatternSet:
        """The set for one argument."""
        return self._sets.setdefault(argument, PatternSet(self.charge))

    def charge(self, pattern: Pattern) -> None:
        """Count one more pattern. ValueError where all of them together would take too long to compile."""
        if self._size + pattern.size > MAX_PROGRAMS:
            raise ValueError(
                f"the policy's patterns have more than {MAX_PROGRAMS} instructions together; use fewer Unicode "
                "classes and counted repeats, or split the policy into several"
            )
        self._size += pattern.size

    def seal(self) -> None:
        """Compile them all; call it once, when the policy is read."""
        for patterns in self._sets.values():
            patterns.seal()


@lru_cache
def _options(memory: int) -> Any:
    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    return options


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
