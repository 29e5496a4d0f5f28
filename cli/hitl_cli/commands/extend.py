"""`hitl extend`: give a request more time."""

import click

from hitl.approvals.requests import NoteType
from hitl.policy.durations import parse_duration
from hitl_cli.exits import Exit
from hitl_cli.naming import request_names
from hitl_cli.notes import Ask, leave
from hitl_cli.options import namespace_option, output_option, pass_session, person_option, place_option
from hitl_cli.render import Output
from hitl_cli.session import Session

_MINUTE = 60
_MOST_MINUTES = 7 * 24 * 60


@click.command("extend", short_help="Give a request more time.")
@click.argument("name", shell_complete=request_names)
@click.argument("length", metavar="MINUTES|DURATION")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept with the request.")
@place_option
@namespace_option
@person_option
@output_option(Output.TABLE, Output.JSON, Output.YAML, Output.NAME)
@pass_session
def command(session: Session, *, name: str, length: str, reason: str) -> Exit:
    """Move a request's end by so many minutes, or by a duration such as 15m or 2h; at most 7 days after it was made.

    NAME may be any prefix that only one request has. Exit codes: 0 extended, 5 recorded but not heeded yet, 3 no
    longer pending, 4 you may not.
    """
    minutes = _minutes(length)
    if minutes > _MOST_MINUTES:
        raise click.BadParameter(
            f"{length} is more than 7 days, and no request waits longer than that after it was made",
            param_hint="MINUTES|DURATION",
        )
    return leave(session, Ask(NoteType.EXTEND, name, minutes=minutes, reason=reason))


def _minutes(length: str) -> int:
    if length.isascii() and length.isdigit():
        return int(length)
    try:
        seconds = parse_duration(length)
    except ValueError as error:
        raise click.BadParameter(f"{error}; or a number of minutes", param_hint="MINUTES|DURATION") from error
    if seconds < _MINUTE or seconds % _MINUTE:
        raise click.BadParameter(f"{length} is no whole number of minutes", param_hint="MINUTES|DURATION")
    return int(seconds // _MINUTE)
