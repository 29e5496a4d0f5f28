"""`hitl audit`: whether the audit logs are what the sidecars wrote."""

from pathlib import Path

import click

from hitl.audit import Report, verify
from hitl.errors import HitlError
from hitl_cli.exits import Exit
from hitl_cli.options import home_option, output_option, pass_session
from hitl_cli.render import Output
from hitl_cli.session import Session


@click.group("audit", short_help="Verify audit logs.")
def command() -> None:
    """Whether the audit logs are what the sidecars wrote."""


@command.command("verify", short_help="Walk the hash chain and name every change, gap and missing end.")
@click.argument("logs", metavar="[PATH]...", nargs=-1, type=click.Path(exists=True, path_type=Path))
@home_option
@output_option(Output.TABLE, Output.JSON, Output.YAML)
@pass_session
def verify_(session: Session, logs: tuple[Path, ...]) -> Exit:
    """Verify audit logs (files, or directories of segments); without PATH those of the home. Exit code 1: a problem."""
    chosen = logs or tuple(dict.fromkeys(log.parent for log in session.home.audit_logs()))
    if not chosen:
        raise HitlError(
            f"no audit log in {session.home.path}\nName one: hitl audit verify PATH    "
            f"A sidecar writes one as soon as it starts: {session.hint('dev', '-f', 'DIR')}"
        )
    reports = {str(log): verify(log) for log in chosen}
    if session.screen.output.is_for_people:
        for log, report in reports.items():
            _print(session, log, report)
    else:
        session.screen.document([_document(log, report) for log, report in reports.items()])
    return Exit.ERROR if any(report.problems for report in reports.values()) else Exit.DONE


def _print(session: Session, log: str, report: Report) -> None:
    what = [_count(report.records, "record"), _count(report.epochs, "epoch"), _count(len(report.problems), "problem")]
    session.screen.data(f"chain   {log}   {', '.join(what)}")
    session.screen.data(*(f"  {problem}" for problem in report.problems))
    session.screen.talk(*(f"  note: {note}" for note in report.notes))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _document(log: str, report: Report) -> dict[str, object]:
    return {
        "log": log,
        "records": report.records,
        "epochs": report.epochs,
        "problems": [{"kind": p.kind.value, "place": p.place, "message": p.message} for p in report.problems],
        "notes": list(report.notes),
        "heads": [{"epoch": h.epoch, "sequence": h.sequence, "hash": h.hash} for h in report.heads],
    }
