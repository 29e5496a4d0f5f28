"""`hitl escalate`: ask more people to decide."""

import click

from hitl.approvals.requests import NoteType
from hitl_cli.exits import Exit
from hitl_cli.naming import request_names
from hitl_cli.notes import Ask, leave
from hitl_cli.options import namespace_option, output_option, pass_session, person_option, place_option
from hitl_cli.render import Output
from hitl_cli.session import Session


@click.command("escalate", short_help="Ask more people to decide a request.")
@click.argument("name", shell_complete=request_names)
@click.option("--reason", metavar="TEXT", default="", help="Why; kept with the request.")
@place_option
@namespace_option
@person_option
@output_option(Output.TABLE, Output.JSON, Output.YAML, Output.NAME)
@pass_session
def command(session: Session, *, name: str, reason: str) -> Exit:
    """Take the policy's next escalation step now: its groups may decide the request too.

    NAME may be any prefix that only one request has. Exit codes: 0 escalated, 5 recorded but not heeded yet, 3 no
    longer pending, 4 you may not.
    """
    return leave(session, Ask(NoteType.ESCALATE, name, reason=reason))
