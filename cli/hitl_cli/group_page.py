"""Similar requests on one page: what they have in common once, and what differs as a table."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from hitl.approvals.requests import ApprovalRequest, State
from hitl.approvals.timeline import in_force
from hitl_cli.arguments import arguments_of, text_of
from hitl_cli.lines import Column, Line, cut, hanging, line, safe, shown, table, word
from hitl_cli.past import differs_in
from hitl_cli.requests import agent_of, tier_of, why_of
from hitl_cli.times import until

# The first arguments that differ, cut to what a person compares at a glance.
_COLUMNS = 3
_CELL = 28
# What the table leaves between columns, and what the last one needs at least.
_GAP = 3
_LAST = 24


def group_page(group: Sequence[ApprovalRequest], now: datetime, width: int) -> list[Line]:
    """Similar requests as a table of the arguments in which they differ."""
    first = group[0]
    deadline = in_force(first, now).deadline
    given = [arguments_of(request.spec.call.arguments_preview) or {} for request in group]
    differing = [differs_in(first, request) for request in group]
    names = list(dict.fromkeys(name.rpartition(" (")[0] or name for each in differing for name in each or ()))
    cells = {name: ["-" if name not in each else cut(text_of(each[name]), _CELL) for each in given] for name in names}
    beside = _fitting(cells, max(len(request.name) for request in group) + 2, width)
    columns = [Column("  ITEM"), *(Column(name.upper()) for name in beside), Column("DIFFERS IN", cut=True)]
    rows = []
    for at, (request, changed) in enumerate(zip(group, differing, strict=True)):
        last = "not shown whole: show it alone" if changed is None else ", ".join(changed) or "-"
        rows.append([f"  {request.name}", *(cells[name][at] for name in beside), last])
    header, *lines = table(columns, rows, width)
    below = [name for name in names if name not in beside]
    return [
        *hanging("", f"{len(group)} similar: {first.spec.summary}", width),
        line(
            *(word(tier_of(first)), " · ", word(State.PENDING.value)),
            f" · expires in {until(deadline, now)} · agent {agent_of(first)}, {why_of(first)}",
        ),
        "",
        header,
        *(
            each
            for row, arguments in zip(lines, given, strict=True)
            for each in [row, *_values(arguments, below, width)]
        ),
    ]


def _fitting(cells: Mapping[str, Sequence[str]], first: int, width: int) -> list[str]:
    """The arguments that have room as columns, `first` being the width of the names; none is dropped unseen."""
    room = width - first - _GAP - _LAST
    names: list[str] = []
    for name, values in cells.items():
        room -= max(safe(each).cell_len for each in (name, *values)) + _GAP
        if room < 0 or len(names) == _COLUMNS:
            break
        names.append(name)
    return names


def _values(arguments: Mapping[str, Any], names: Sequence[str], width: int) -> list[Line]:
    """Below a row: the arguments that had no room beside it."""
    texts = [f"      {name}   {text_of(arguments[name])}" for name in names if name in arguments]
    return [line(cut(shown(each), width)) for each in texts]
