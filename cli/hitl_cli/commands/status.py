"""`hitl status`: is anything wrong on the cluster."""

import asyncio
from typing import TYPE_CHECKING

import click

from hitl.policy.durations import format_duration
from hitl_cli.exits import Exit
from hitl_cli.lines import Column, Line, Tint, hanging, line, tinted
from hitl_cli.on_cluster.findings import Finding, Health
from hitl_cli.options import (
    all_namespaces_option,
    namespace_option,
    output_option,
    pass_session,
    person_option,
    place_option,
)
from hitl_cli.render import Output
from hitl_cli.session import Session

if TYPE_CHECKING:
    from hitl_cli.on_cluster.standings import PolicyRow, Problem
    from hitl_cli.on_cluster.status import Status

_TINTS = {Health.OK: Tint.NONE, Health.PROBLEM: Tint.REFUSED, Health.NOTE: Tint.CONFIRM, Health.UNKNOWN: Tint.CONFIRM}
_COLUMNS = ("NAMESPACE", "POLICY", "SIDECARS", "GEN", "AUTONOMY", "HELD 24H", "APPROVED", "MEDIAN", "PEOPLE")
_NAMES = {"operator": "controller"}


@click.command("status", short_help="Whether anything is wrong on the cluster.")
@click.option(
    "--operator-namespace", metavar="NS", default="hitl-system", show_default=True, help="Where the operator runs."
)
@place_option
@namespace_option
@all_namespaces_option
@person_option
@output_option(Output.TABLE, Output.JSON, Output.YAML)
@pass_session
def command(session: Session, *, operator_namespace: str) -> Exit:
    """The operator, then every policy you may read: who runs it, what it held in 24 hours, whether people read.

    Without -n all namespaces, as far as you may. Exit code 1: something is wrong; it is listed with the next step. What
    is worth a look and may be meant is listed as a note.
    """
    from hitl_cli.on_cluster.status import looked  # noqa: PLC0415 - start-up: brings what an installation ships

    found = asyncio.run(looked(session.need_cluster("status"), operator_namespace))
    if session.screen.output.is_for_people:
        _print(session, found)
    else:
        session.screen.document(_document(found))
    return Exit.ERROR if found.problems else Exit.DONE


def _print(session: Session, found: "Status") -> None:
    screen = session.screen
    for part in found.parts:
        screen.data(*_part(part, screen.width))
    if found.rows:
        screen.data("")
        screen.table([Column(name) for name in _COLUMNS], [_cells(row) for row in found.rows])
    else:
        screen.talk(f"No policy in {found.where}: the built-in one decides. A first policy: {session.program} init")
    for word, each in (("problem", found.problems), ("note", found.notes)):
        if each:
            screen.data("", f"{len(each)} {word}{'' if len(each) == 1 else 's'}")
            size = max(len(one.about) for one in each)
            for one in each:
                screen.data(*_problem(one, size, screen.width))


def _part(finding: Finding, width: int) -> list[Line]:
    name = _NAMES.get(finding.check, finding.check)
    word: Line = "" if finding.health is Health.OK else line(tinted(finding.health.value, _TINTS[finding.health]), ": ")
    first, *rest = hanging(" " * 13, finding.text, width)
    return [line(name.ljust(13), word, str(first)[13:]), *rest]


def _cells(row: "PolicyRow") -> list[Line]:
    behind = row.sidecars is not None and row.sidecars[0] < row.sidecars[1]
    sidecars = "-" if row.sidecars is None else f"{row.sidecars[0]}/{row.sidecars[1]}"
    return [
        row.namespace or "(cluster)",
        row.name,
        tinted(sidecars, Tint.REFUSED if behind else Tint.NONE),
        str(row.generation),
        row.autonomy,
        str(row.held),
        "-" if row.approved is None else f"{row.approved:.0%}",
        "-" if row.review is None else format_duration(int(row.review)),
        str(row.people),
    ]


def _problem(problem: "Problem", size: int, width: int) -> list[Line]:
    head = f"  {problem.about.ljust(size)}   "
    # The step is to be pasted: it is not broken, however long.
    return [*hanging(head, problem.text, width), line(" " * len(head), problem.step)]


def _document(found: "Status") -> dict[str, object]:
    return {
        "parts": [{"name": p.check, "health": p.health.value, "message": p.text} for p in found.parts],
        "policies": [
            {
                "kind": row.kind,
                "namespace": row.namespace or None,
                "name": row.name,
                "generation": row.generation,
                "autonomy": row.autonomy,
                "sidecars": None if row.sidecars is None else {"current": row.sidecars[0], "total": row.sidecars[1]},
                "held24h": row.held,
                "approved": row.approved,
                "medianSeconds": row.review,
                "people": row.people,
            }
            for row in found.rows
        ],
        "problems": [{"about": p.about, "message": p.text, "next": p.step} for p in found.problems],
        "notes": [{"about": p.about, "message": p.text, "next": p.step} for p in found.notes],
    }
