"""`hitl activity`: what ran, or was refused, without asking anyone."""

import itertools
from collections.abc import Iterable

import click

from hitl.audit import AuditRecord
from hitl_cli.exits import Exit
from hitl_cli.feed import Feed, agent_of, is_verdict, why_of
from hitl_cli.lines import cut, line, padded, word
from hitl_cli.options import output_option, pass_session, place_option
from hitl_cli.render import Output
from hitl_cli.session import Session
from hitl_cli.times import clock

# What people were not asked about and may want to know. Allow is the quiet rest; held calls are in `list`.
_TOLD = frozenset({"Notify", "Deny", "Clarify", "Invalid", "Unavailable"})


# Cells of the columns: a feed cannot wait for its widest row.
_ACTION, _AGENT, _WHY, _LEAST = 11, 12, 20, 20


@click.command("activity", short_help="What ran, or was refused, without asking anyone.")
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), default=50, show_default=True, help="The newest N.")
@click.option("--all", "every", is_flag=True, help="Allowed and held calls too.")
@place_option
@output_option(Output.TABLE, Output.JSON)
@pass_session
def command(session: Session, follow: bool, tail: int, every: bool) -> Exit:
    """Notify-tier calls and refusals, from the audit logs of the home; newest last."""
    session.need_home()
    feed = Feed(session.home)
    records = _wanted(feed.fresh(), every=every)
    chosen = records[max(len(records) - tail, 0) :]
    if session.screen.output is Output.JSON:
        _print_json(session, itertools.chain(chosen, _wanted_of(feed, every=every) if follow else ()))
        return Exit.DONE
    for record in chosen:
        _print(session, record)
    if feed.unreadable:
        session.screen.talk(f"warning: {feed.unreadable} lines are no records. Next: {session.hint('audit', 'verify')}")
    if not chosen and not follow:
        session.screen.talk(f"Nothing ran without asking in {session.home.path}. Allowed calls too: --all")
    if follow:
        for record in _wanted_of(feed, every=every):
            _print(session, record)
    return Exit.DONE


def _wanted(records: Iterable[AuditRecord], *, every: bool) -> list[AuditRecord]:
    return [record for record in records if is_verdict(record) and (every or record.decision in _TOLD)]


def _wanted_of(feed: Feed, *, every: bool) -> Iterable[AuditRecord]:
    return (record for record in feed.follow() if is_verdict(record) and (every or record.decision in _TOLD))


def _print(session: Session, record: AuditRecord) -> None:
    action = record.decision
    start = line(
        *(clock(record.time, session.now()), "   ", word(action), " " * (_ACTION - len(action) + 3)),
        *(padded(agent_of(record), _AGENT), "   ", padded(why_of(record), _WHY), "   "),
    )
    what = record.summary or record.tool
    session.screen.data(line(start, cut(what, max(session.screen.width - start.cell_len, _LEAST))))


def _print_json(session: Session, records: Iterable[AuditRecord]) -> None:
    import json  # noqa: PLC0415 - start-up: only -o json needs it

    for record in records:
        document = {
            "time": record.time.isoformat(),
            "decision": record.decision,
            "agent": record.agent_id,
            "tool": record.tool,
            "rule": record.rule or None,
            "score": record.score,
            "reason": record.reason,
            "summary": record.summary,
        }
        session.screen.data(json.dumps(document))
