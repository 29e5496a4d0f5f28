"""`hitl doctor`: whether hitl is installed on the cluster as it should be, and what to do where it is not."""

import asyncio
from collections.abc import Sequence

import click

from hitl_cli.exits import Exit
from hitl_cli.lines import Line, Tint, hanging, line, tinted
from hitl_cli.on_cluster.findings import Finding, Health
from hitl_cli.options import namespace_option, output_option, pass_session, person_option, place_option
from hitl_cli.render import Output
from hitl_cli.session import Session

_TINTS = {
    Health.OK: Tint.APPROVED,
    Health.PROBLEM: Tint.REFUSED,
    Health.NOTE: Tint.CONFIRM,
    Health.UNKNOWN: Tint.CONFIRM,
}
# Cells of the two columns before the text.
_HEALTH, _CHECK = 10, 14


@click.command("doctor", short_help="Whether hitl is installed as it should be.")
@click.option(
    "--operator-namespace", metavar="NS", default="hitl-system", show_default=True, help="Where the operator runs."
)
@place_option
@namespace_option
@person_option
@output_option(Output.TABLE, Output.JSON, Output.YAML)
@pass_session
def command(session: Session, *, operator_namespace: str) -> Exit:
    """Look at everything hitl needs of a cluster: API server, CRDs, admission policies, you, the operator, the label.

    What you may not read is said as unknown and is no problem. Exit code 1: there is a problem.
    """
    from hitl_cli.on_cluster.doctor import examined  # noqa: PLC0415 - start-up: brings what an installation ships

    place = session.need_cluster("doctor")
    findings = asyncio.run(examined(place, operator_namespace))
    if session.screen.output.is_for_people:
        session.screen.data(*(each for finding in findings for each in _lines(finding, session.screen.width)))
        session.screen.talk(*_summary(findings, session.hint("doctor")))
    else:
        session.screen.document([_document(finding) for finding in findings])
    return Exit.ERROR if any(finding.health is Health.PROBLEM for finding in findings) else Exit.DONE


def _lines(finding: Finding, width: int) -> list[Line]:
    head = line(
        *(tinted(finding.health.value, _TINTS[finding.health]), " " * (_HEALTH - len(finding.health.value))),
        f"{finding.check.ljust(_CHECK)} ",
    )
    indent = " " * head.cell_len
    first, *rest = hanging(indent, finding.text, width)
    lines: list[Line] = [line(head, str(first).removeprefix(indent)), *rest]
    # Steps are to be pasted: they are not broken, however long.
    return [*lines, *(line("    ", step) for step in finding.steps)]


def _summary(findings: Sequence[Finding], again: str) -> list[str]:
    """What was found, and what could not be looked at: nobody is to take that for being well."""
    problems = sum(each.health is Health.PROBLEM for each in findings)
    unseen = list(dict.fromkeys(each.check for each in findings if each.health is Health.UNKNOWN))
    count = f"{problems} problem{'' if problems == 1 else 's'}"
    if not unseen:
        return [f"{count}." if problems else "No problem found."]
    return [
        f"{count if problems else 'No problem'} in what you may read. Not looked at: {', '.join(unseen)}.",
        f"Whether those are well an administrator can tell: {again}",
    ]


def _document(finding: Finding) -> dict[str, object]:
    return {
        "check": finding.check,
        "health": finding.health.value,
        "message": finding.text,
        "next": list(finding.steps),
    }
