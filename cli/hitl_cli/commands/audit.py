"""`hitl audit`: whether the audit logs are what the sidecars wrote."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from hitl.audit import ChainProblem, ProblemKind, Report, verify
from hitl.audit.archive import is_archive
from hitl.audit.report import rows_of
from hitl.errors import HitlError
from hitl_cli.anchors import Anchor, read_anchors
from hitl_cli.archive_checks import Checked, check_archive, counted
from hitl_cli.audit_report import FORMATS, moment, print_report
from hitl_cli.exits import Exit
from hitl_cli.lines import line, wrapped
from hitl_cli.options import home_option, namespace_option, output_option, pass_session
from hitl_cli.render import Output
from hitl_cli.session import Session

_NO_HEADS = "the tail cannot be checked: no audit-heads.jsonl"


key_option = click.option(
    "--key",
    "keys",
    metavar="FILE",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Public key that checkpoints count under (PEM); may be repeated.  [those in the archive]",
)


@click.group("audit", short_help="Verify audit logs.")
def command() -> None:
    """Whether the audit logs are what the sidecars wrote."""


@command.command("verify", short_help="Walk the hash chain and name every change, gap and missing end.")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--heads",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Where a control plane saw the chains stand.  [HOME/audit-heads.jsonl]",
)
@key_option
@home_option
@output_option(Output.TABLE, Output.JSON, Output.YAML)
@pass_session
def verify_(session: Session, *, paths: tuple[Path, ...], heads: Path | None, keys: tuple[Path, ...]) -> Exit:
    """Verify an operator's archive, or audit logs: files, or folders of segments; without PATH those of the home.
    Exit code 1: a problem.

    An archive (operator --archive DIR), or a copy of it, is verified whole: records, checkpoints and their signatures,
    ended requests, policy texts. It needs no cluster and no network.

    A log alone cannot prove that its end is the end. The heads that a control plane keeps can: a log that lost its tail
    is found out, and, where all logs should be here (no PATH, or --heads), a sidecar whose log is missing.
    """
    if session.is_on_cluster and not paths:
        raise click.UsageError("name the archive: the operator keeps it (--archive DIR); copy it here and give PATH")
    archives = [path for path in paths if is_archive(path)]
    checked = [check_archive(path, keys) for path in archives]
    paths = tuple(path for path in paths if path not in archives)
    file = heads or (None if session.is_on_cluster else session.home.audit_heads)
    anchors = read_anchors(file) if file is not None and file.exists() else []
    everything = bool(heads) or not (paths or archives)
    logs = [] if archives and not paths else _logs(session, paths, may_be_none=everything and bool(anchors))
    no_heads = not archives and file is not None and not file.exists() and session.home.database.exists()
    notes = [_NO_HEADS] if no_heads else []
    reports = {str(log): _verified(log, anchors) for log in logs}
    missing = _missing(reports, anchors) if everything else []
    if session.screen.output.is_for_people:
        for each in checked:
            _print_archive(session, each)
        for log, report in reports.items():
            _print(session, log, report)
        if not logs and not archives:
            session.screen.data("no audit log is here any more")
        for problem in missing:
            _print_problem(session, problem)
        session.screen.talk(*(f"  note: {note}" for note in notes))
    else:
        session.screen.document(
            {
                "archives": [_archive_document(each) for each in checked],
                "logs": [_document(log, report) for log, report in reports.items()],
                "missing": [_problem(problem) for problem in missing],
                "notes": notes,
            }
        )
    found = [*missing, *(problem for report in reports.values() for problem in report.problems)]
    broken = found or any(each.report.problems for each in checked)
    return Exit.ERROR if broken else Exit.DONE


@command.command("report", short_help="Who allowed what under which policy text.")
@click.argument("folder", metavar="ARCHIVE", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--since", metavar="TIME", help="Only what was decided then or later, such as 2026-05-01 (UTC).")
@click.option("--until", metavar="TIME", help="Only what was decided before that.")
@key_option
@namespace_option
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    metavar="|".join(FORMATS),
    help="How to print.",
)
@pass_session
def report_(
    session: Session, *, folder: Path, since: str | None, until: str | None, keys: tuple[Path, ...], form: str
) -> Exit:
    """Who allowed what under which policy text, out of an operator's archive; each with the record, the request as it
    ended and the policy text. Exit code 1: the archive is not whole, see `hitl audit verify`.
    """
    session.output = Output.JSON if form != "table" else Output.TABLE  # what a program reads has no talk beside it
    checked = check_archive(folder, keys)
    rows = rows_of(folder, checked.keys.is_good, since=_moment("--since", since), until=_moment("--until", until))
    if session.namespace is not None:
        rows = [row for row in rows if row.namespace == session.namespace]
    print_report(session, checked, rows, form)
    if checked.report.problems:
        session.screen.error(
            f"warning: the archive is not whole ({counted(len(checked.report.problems), 'problem')}), so this may lack "
            f"decisions\nNext: {session.program} audit verify {folder}"
        )
        return Exit.ERROR
    return Exit.DONE


def _moment(option: str, text: str | None) -> datetime | None:
    try:
        return moment(text) if text else None
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no ISO date or time, such as 2026-05-01", param_hint=option) from error


def _logs(session: Session, paths: Sequence[Path], *, may_be_none: bool) -> list[Path]:
    """One path for each chain: a file, or a folder with segments right in it.

    Raises:
        HitlError: there is none, and nobody knows of one that should be there (`may_be_none`: somebody does).
    """
    logs: list[Path] = []
    for path in paths or (session.home.path,):
        if path.is_file():
            logs.append(path)
            continue
        segments = path.rglob("*.jsonl") if paths else session.home.audit_logs()
        found = sorted({segment.parent for segment in segments})
        if not found and not may_be_none:
            raise HitlError(
                f"no audit log (*.jsonl) in {path}\nName one: hitl audit verify PATH    "
                f"A sidecar writes one as soon as it starts: {session.hint('dev', '-f', 'DIR')}"
            )
        logs += found
    return logs


def _verified(log: Path, anchors: Sequence[Anchor]) -> Report:
    report = verify(log)
    epochs = {head.epoch for head in report.heads}
    pod = _pod_of(log)
    kept = [each.head for each in anchors if each.head.epoch in epochs and pod in ("", each.pod_uid or pod)]
    return verify(log, kept) if kept else report


def _pod_of(log: Path) -> str:
    """The pod's uid, which stands beside the log of a sidecar in a home; empty where it does not."""
    try:
        return (log.parent / "uid").read_text().strip()
    except OSError:
        return ""


def _missing(reports: dict[str, Report], anchors: Sequence[Anchor]) -> list[ChainProblem]:
    """Sidecar processes that the control plane knew and whose log is nowhere here."""
    epochs = {head.epoch for report in reports.values() for head in report.heads}
    return [
        ChainProblem(
            ProblemKind.MISSING,
            anchor.whose,
            f"epoch {anchor.head.epoch} had {anchor.head.sequence} records, and no log here has any of them",
        )
        for anchor in anchors
        if anchor.head.epoch not in epochs
    ]


def _print_archive(session: Session, checked: Checked) -> None:
    for text in wrapped(f"archive {checked.folder}   {checked.summary}", session.screen.width):
        session.screen.data(text)
    for problem in checked.report.problems:
        _print_problem(session, problem)
    session.screen.talk(*(f"  note: {note}" for note in checked.notes))


def _print(session: Session, log: str, report: Report) -> None:
    what = [
        counted(report.records, "record"),
        counted(report.epochs, "epoch"),
        counted(len(report.problems), "problem"),
    ]
    session.screen.data(f"chain   {log}   {', '.join(what)}")
    for problem in report.problems:
        _print_problem(session, problem)
    session.screen.talk(*(f"  note: {note}" for note in report.notes))


def _print_problem(session: Session, problem: ChainProblem) -> None:
    first, *rest = wrapped(str(problem), session.screen.width - 4)
    session.screen.data(line("  ", first), *(line("    ", each) for each in rest))


def _archive_document(checked: Checked) -> dict[str, object]:
    found = checked.report
    return {
        "archive": str(checked.folder),
        "sidecars": found.pods,
        "records": found.records,
        "epochs": found.epochs,
        "requests": found.requests,
        "policies": found.policies,
        "checkpoints": found.checkpoints,
        "keys": list(found.keys),
        "lastCheckpoint": found.last.isoformat() if found.last else None,
        "problems": [_problem(problem) for problem in found.problems],
        "notes": list(checked.notes),
    }


def _document(log: str, report: Report) -> dict[str, object]:
    return {
        "log": log,
        "records": report.records,
        "epochs": report.epochs,
        "problems": [_problem(problem) for problem in report.problems],
        "notes": list(report.notes),
        "heads": [{"epoch": h.epoch, "sequence": h.sequence, "hash": h.hash} for h in report.heads],
    }


def _problem(problem: ChainProblem) -> dict[str, str]:
    return {"kind": problem.kind.value, "place": problem.place, "message": problem.message}
