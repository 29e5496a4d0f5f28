"""How large a regular expression's counted repeats grow; a small reader of RE2's syntax.

RE2 copies what a counted repeat repeats, so `(a{10}){10}` is a hundred a's. Only the nesting of repeats matters here;
whether a pattern is valid is for RE2 to say, and patterns are compiled before they are measured.
"""

import re
from typing import Final

MAX_REPEAT: Final = 16

_COUNT = re.compile(r"\{([0-9]+)(,([0-9]*))?\}", re.ASCII)
_CLASS_NAME = re.compile(r"\[:\^?[a-z]+:\]", re.ASCII)


def largest_repeat(pattern: str) -> int:
    """The greatest number of copies that counted repeats, nested ones multiplied, make of anything; at least 1."""
    return _Reader(pattern).measure()


class _Reader:
    """One pass with a stack: for every open group the largest repeat inside it so far, and that of the last atom."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def measure(self) -> int:
        groups = [1]
        atom = 1
        while self._at < len(self._pattern):
            character = self._pattern[self._at]
            if character == "(":
                self._at += 1
                groups.append(1)
                atom = 1
            elif character == ")" and len(groups) > 1:
                self._at += 1
                atom = groups.pop()
                groups[-1] = max(groups[-1], atom)
            elif count := _COUNT.match(self._pattern, self._at):
                self._at = count.end()
                # {n,} is n copies and a loop; {n,m} is m copies, of which some may be skipped.
                atom *= max(1, int(count[1]), int(count[3] or 0))
                groups[-1] = max(groups[-1], atom)
            elif character in "*+?":
                self._at += 1  # the atom stays: a{3}*{4} is refused by RE2, (a{3})*{4} multiplies
            else:
                self._skip_atom(character)
                atom = 1
        # Unbalanced patterns never get here: RE2 has refused them.
        return max(groups)

    def _skip_atom(self, character: str) -> None:
        if character == "\\":
            self._skip_escape()
        elif character == "[":
            self._skip_class()
        else:
            self._at += 1

    def _skip_escape(self) -> None:
        r"""`\Q…\E`, `\p{Name}` and `\x{10FFFF}` hold characters that mean something elsewhere."""
        rest = self._pattern[self._at + 1 : self._at + 3]
        if rest.startswith("Q"):
            end = self._pattern.find("\\E", self._at + 2)
            self._at = len(self._pattern) if end < 0 else end + 2
        elif rest in ("p{", "P{", "x{"):
            end = self._pattern.find("}", self._at)
            self._at = len(self._pattern) if end < 0 else end + 1
        else:
            self._at += 2

    def _skip_class(self) -> None:
        """From ``[`` to its ``]``; one right after the opening is a member, and so are brackets of ``[:alpha:]``."""
        self._at += 1
        if self._pattern.startswith("^", self._at):
            self._at += 1
        if self._pattern.startswith("]", self._at):
            self._at += 1
        while self._at < len(self._pattern) and self._pattern[self._at] != "]":
            if self._pattern[self._at] == "\\":
                self._skip_escape()
            elif named := _CLASS_NAME.match(self._pattern, self._at):
                self._at = named.end()
            else:
                self._at += 1
        self._at += 1
