"""`hitl activity`: what ran, or was refused, without asking anyone."""

import itertools
from collections.abc import Iterable

import click
from rich.cells import cell_len

from hitl_cli.exits import Exit
from hitl_cli.lines import cut, line, padded, word
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
from hitl_cli.times import clock
from hitl_cli.told import Told

# Cells of the columns: a feed cannot wait for its widest row.
_ACTION, _AGENT, _WHY, _LEAST = 11, 12, 20, 20


@click.command("activity", short_help="What ran, or was refused, without asking anyone.")
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), default=50, show_default=True, help="The newest N.")
@click.option(
    "--all", "every", is_flag=True, help="Allowed and held calls too; on a cluster held requests and how they ended."
)
@place_option
@namespace_option
@all_namespaces_option
@person_option
@output_option(Output.TABLE, Output.JSON)
@pass_session
def command(session: Session, follow: bool, tail: int, every: bool) -> Exit:
    """What ran without asking anyone, newest last.

    In a home: Notify-tier calls and refusals, from the audit logs. On a cluster: Notify-tier calls alone, from the
    Events that the operator posts, one for each agent, tool and minute; refused and allowed calls are in the sidecars'
    audit logs. Events are claims: whoever may write Events in a namespace can write one that looks like these.
    """
    activity = session.place.activity()
    told = activity.fresh(every=every)
    chosen = told[max(len(told) - tail, 0) :]
    if session.screen.output is Output.JSON:
        _print_json(session, itertools.chain(chosen, activity.follow(every=every) if follow else ()))
        return Exit.DONE
    session.screen.talk(*activity.heading(every=every))
    for each in chosen:
        _print(session, each)
    session.screen.talk(*activity.caveats())
    if not chosen and not follow:
        more = "" if every else f" {activity.more}"
        session.screen.talk(f"Nothing ran without asking in {session.place.where}.{more}")
    if follow:
        for each in activity.follow(every=every):
            _print(session, each)
    return Exit.DONE


def _print(session: Session, told: Told) -> None:
    when = clock(told.time, session.now(), zone=False)
    start = line(
        *(when, "   ", word(told.action), " " * max(_ACTION - len(told.action) + 3, 1)),
        *(padded(told.agent, max(_AGENT, cell_len(told.agent))), "   ", padded(told.why, _WHY), "   "),
    )
    # A name has to be typed again: it is not cut, and what follows it is.
    least = max(_LEAST, cell_len(told.name) + 5 if told.name else 0)
    session.screen.data(line(start, cut(told.what, max(session.screen.width - start.cell_len, least))))


def _print_json(session: Session, told: Iterable[Told]) -> None:
    import json  # noqa: PLC0415 - start-up: only -o json needs it

    for each in told:
        session.screen.data(json.dumps(dict(each.document)))
