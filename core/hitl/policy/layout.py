"""Lays an explanation out for a terminal: numbered steps, one column for outcomes, nothing cut off (UX 6)."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Where things stand: "  1 name        stripe/create_refund … known, 1 tool server".
_BODY = 16
_OUTCOME_FROM_RIGHT = 25
_NAME_MOST = 24


@dataclass(frozen=True, slots=True)
class Row:
    """A line below a step's first one.

    Attributes:
        text: what it says; behind `name` if there is one.
        name: of a rule.
        fits: ``yes`` or ``no`` for a rule, else None.
        decided: it is what decided the call.
        outcome: what follows from it, in the column on the right.
    """

    text: str
    name: str = ""
    fits: bool | None = None
    decided: bool = False
    outcome: str = ""

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"text": self.text}
        if self.name:
            row |= {"rule": self.name, "matches": self.fits, "decided": self.decided}
        if self.outcome:
            row["outcome"] = self.outcome
        return row


@dataclass(frozen=True, slots=True)
class Step:
    """One of the eight steps."""

    number: int
    title: str
    text: str
    outcome: str = ""
    rows: tuple[Row, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.number,
            "title": self.title,
            "text": self.text,
            "outcome": self.outcome,
            "rows": [row.to_json() for row in self.rows],
        }


def laid_out(headline: str, steps: Sequence[Step], closing: Sequence[tuple[str, str]], fix: str, width: int) -> str:
    """The whole text, without a newline at its end; no line is longer than `width`."""
    lines = [*_folded("", headline, "", width), ""]
    longest = max((len(row.name) for step in steps for row in step.rows), default=0)
    names = min(longest, _NAME_MOST, width // 4)
    for step in steps:
        lines += _folded(f"  {step.number} {step.title:<11} ", step.text, step.outcome, width)
        for row in step.rows:
            lines += _of_row(row, names, width)
    lines.append("")
    for title, text in closing:
        lines += _folded(f"  {title:<13} ", text, "", width)
    if fix:
        lines += _folded("  fix: ", fix, "", width)
    return "\n".join(lines)


def _of_row(row: Row, names: int, width: int) -> Iterator[str]:
    if row.name:
        mark = ">" if row.decided else " "
        answer = {True: "yes", False: "no", None: ""}[row.fits]
        yield from _folded(f"{'':{_BODY}}{mark} {row.name:<{names}}  {answer:<3}   ", row.text, row.outcome, width)
    else:
        yield from _folded(f"{'':{_BODY}}", row.text, row.outcome, width)


def _folded(lead: str, text: str, outcome: str, width: int) -> Iterator[str]:
    """`text` behind `lead`, folded and hanging under its first word; `outcome` on the first line, to the right."""
    column = max(width - _OUTCOME_FROM_RIGHT, len(lead) + 1)
    hang = " " * min(len(lead), width // 2)
    room = width - len(lead)
    first, *rest = _wrapped(text, room, width - len(hang))
    if outcome:
        start = max(column, len(lead) + len(first) + 2)
        if start + len(outcome) > width:
            start = width - len(outcome)
        if len(lead) + len(first) + 2 > start:
            # No room beside it: fold the text before the outcome.
            first, *rest = _wrapped(text, max(8, start - 2 - len(lead)), width - len(hang))
        yield f"{lead}{first}".ljust(start) + outcome
    else:
        yield f"{lead}{first}".rstrip()
    for line in rest:
        yield f"{hang}{line}"


def _wrapped(text: str, first: int, following: int) -> list[str]:
    if len(text) <= first:
        return [text]
    head, *_ = textwrap.wrap(text, max(8, first), break_on_hyphens=False) or [""]
    tail = text[len(head) :].strip() if text.startswith(head) else ""
    return [head, *textwrap.wrap(tail, max(8, following), break_on_hyphens=False)]
