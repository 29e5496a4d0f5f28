"""Similar requests on one page: what they have in common once, and what differs as a table."""

from collections.abc import Sequence
from datetime import datetime

from hitl.approvals.requests import ApprovalRequest, State
from hitl.approvals.timeline import in_force
from hitl_cli.arguments import arguments_of, text_of
from hitl_cli.lines import Column, Line, cut, hanging, line, table, word
from hitl_cli.past import differs_in
from hitl_cli.requests import agent_of, tier_of, why_of
from hitl_cli.times import until

# The first arguments that differ, cut to what a person compares at a glance.
_COLUMNS = 3
_CELL = 28


def group_page(group: Sequence[ApprovalRequest], now: datetime, width: int) -> list[Line]:
    """Similar requests as a table of the arguments in which they differ."""
    first = group[0]
    deadline = in_force(first, now).deadline
    shown = [arguments_of(request.spec.call.arguments_preview) for request in group]
    differing = [differs_in(first, request) for request in group]
    names = list(dict.fromkeys(name for names in differing for name in names or () if "(" not in name))[:_COLUMNS]
    columns = [Column("  ITEM"), *(Column(name.upper()) for name in names), Column("DIFFERS IN", cut=True)]
    rows = []
    for request, arguments, changed in zip(group, shown, differing, strict=True):
        values = [cut(text_of((arguments or {}).get(name, "-")), _CELL) for name in names]
        last = "not shown whole: show it alone" if changed is None else ", ".join(changed) or "-"
        rows.append([f"  {request.name}", *values, last])
    return [
        *hanging("", f"{len(group)} similar: {first.spec.summary}", width),
        line(
            *(word(tier_of(first)), " · ", word(State.PENDING.value)),
            f" · expires in {until(deadline, now)} · agent {agent_of(first)}, {why_of(first)}",
        ),
        "",
        *table(columns, rows, width),
    ]
