"""`hitl audit report`: the rows of an archive as a table, JSON or CSV, and the counts above them."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from hitl.audit.report import Row
from hitl_cli.archive_checks import Checked, counted
from hitl_cli.lines import Column, Line, word, wrapped
from hitl_cli.session import Session

FORMATS: Final = ("table", "json", "csv")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula; text of agents must not be one."""
_COLUMNS: Final = (
    "time", "namespace", "agent", "tool", "decision", "people", "proof", "reason", "rule", "backed", "handle",
    "digest", "revision", "policy", "record", "requests",
)  # fmt: skip


def moment(text: str) -> datetime:
    """An ISO date or time; without a zone it is UTC. ValueError: it is neither."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def print_report(session: Session, checked: Checked, rows: Sequence[Row], form: str) -> None:
    """On stdout; notes on stderr."""
    match form:
        case "json":
            session.screen.document(
                {
                    "archive": str(checked.folder),
                    "problems": len(checked.report.problems),
                    "keys": list(checked.report.keys),
                    "decisions": [_document(row) for row in rows],
                }
            )
        case "csv":
            session.screen.data(*_csv(rows))
        case _:
            _print_table(session, checked, rows)


def backed(row: Row) -> str:
    """Whether the people that a record names stand in the archived request, too: ``request`` where all of them do,
    ``record`` where only the sidecar's word says so, empty where nobody decided.
    """
    named = {name.strip() for name in row.people.split(",") if name.strip()}
    if not named:
        return ""
    entries = {str(each.get("reviewer", "")) for each in row.decisions}
    return "request" if named <= entries else "record"


def _print_table(session: Session, checked: Checked, rows: Sequence[Row]) -> None:
    screen = session.screen
    decided = Counter(row.decision for row in rows)
    people = {name.strip() for row in rows for name in row.people.split(",") if name.strip()}
    unbacked = sum(backed(row) == "record" for row in rows)
    texts = {row.policy for row in rows if row.policy}
    for text in wrapped(f"chain      {checked.summary}", screen.width):
        screen.data(text)
    persons = "1 person" if len(people) == 1 else f"{len(people)} people"
    screen.data(
        f"decisions  {decided['Approved']} approved, {decided['Denied']} denied, {decided['Released']} released, "
        f"by {persons}",
        f"undecided  {decided['Expired']} expired, {decided['Cancelled']} cancelled",
        f"policy     {counted(len(texts), 'policy text')}; {unbacked} by people whom no archived request names",
    )
    if rows:
        names = ("TIME", "DECISION", "BY", "AGENT", "TOOL", "POLICY")
        screen.data("")
        screen.table([*(Column(name) for name in names), Column("RECORD", cut=True)], [_cells(row) for row in rows])
        screen.talk("Every field, with request and policy text to each: -o csv or -o json")


def _cells(row: Row) -> list[Line]:
    return [
        f"{row.time:%Y-%m-%dT%H:%M:%SZ}",
        word(row.decision),
        row.people or "-",
        row.agent,
        row.tool,
        row.revision[:7],
        row.record,
    ]


def _document(row: Row) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in _COLUMNS if name not in ("time", "backed", "requests")},
        "time": row.time.isoformat(),
        "backed": backed(row),
        "requests": list(row.requests),
        "entries": [dict(each) for each in row.decisions],
    }


def _csv(rows: Sequence[Row]) -> list[str]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        found = {**_document(row), "requests": " ".join(row.requests)}
        writer.writerow([_harmless(str(found[name])) for name in _COLUMNS])
    return text.getvalue().splitlines()


def _harmless(cell: str) -> str:
    """One line, and no formula."""
    plain = cell.replace("\n", " ").replace("\r", " ")
    return f"'{plain}" if plain.startswith(_FORMULA) else plain
