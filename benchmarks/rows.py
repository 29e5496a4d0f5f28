"""One measured figure beside its budget."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was measured, in a few words.
        measured: the figure with its unit, as it is to be read.
        budget: the budget with its unit; empty for a figure that only explains another.
        met: whether the budget was met; None where there is none.
    """

    what: str
    measured: str
    budget: str = ""
    met: bool | None = None


def ceiling(what: str, value: float, limit: float, unit: str, *, digits: int = 2) -> Row:
    """A figure that should not be over its budget."""
    return Row(what, f"{value:.{digits}f} {unit}", f"<= {limit:g} {unit}", value <= limit)


def render(rows: Sequence[Row]) -> str:
    """The table, three spaces between columns, as everything hitl prints."""
    cells = [("WHAT", "MEASURED", "BUDGET", "")]
    verdicts = {True: "met", False: "MISSED", None: ""}
    cells += [(row.what, row.measured, row.budget, verdicts[row.met]) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    table = "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)).rstrip() for line in cells
    )
    missed = sum(row.met is False for row in rows)
    return f"{table}\n{sum(row.met is True for row in rows)} budgets met, {missed} missed"
