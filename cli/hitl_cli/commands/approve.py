"""`hitl approve`: let a call run, once."""

import click

from hitl.approvals.requests import DecisionKind
from hitl_cli.answers import Choice
from hitl_cli.decisions import decide
from hitl_cli.exits import Exit
from hitl_cli.naming import telling_names
from hitl_cli.options import namespace_option, output_option, pass_session, person_option, place_option
from hitl_cli.render import Output
from hitl_cli.session import Session


@click.command("approve", short_help="Let a call run, once.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=telling_names)
@click.option("--reason", metavar="TEXT", default="", help="Why; kept with the decision, the agent reads it.")
@click.option("--edit", "edits", metavar="NAME=VALUE", multiple=True, help="Run it with this argument instead (JSON).")
@click.option("--group", is_flag=True, help="All similar calls that wait with it.")
@click.option("--item", "items", metavar="NAME,...", default="", help="Of the group only these.")
@place_option
@namespace_option
@person_option
@output_option(Output.TABLE, Output.JSON, Output.YAML, Output.NAME)
@pass_session
def command(
    session: Session, *, names: tuple[str, ...], reason: str, edits: tuple[str, ...], group: bool, items: str
) -> Exit:
    """Approve requests, each for exactly the call that was shown; an approval works once.

    NAME is a request's name, or its beginning with four characters behind the last dash; what is shorter, and a group
    that is not named one by one, is shown and asked about at a terminal, and refused elsewhere: the agent may have put
    another call in the place of the one you saw. Exit codes: 0 approved, 5 recorded but more people are needed,
    3 no longer pending, 4 you may not.
    """
    picked = tuple(item.strip() for item in items.split(",") if item.strip())
    if edits and (len(names) > 1 or group or picked):
        raise click.UsageError("--edit changes one call; approve it alone")
    if picked and len(names) > 1:
        raise click.UsageError("--item picks from one group; name one request of it")
    return decide(session, Choice(DecisionKind.APPROVED, names, reason, edits=edits, group=group, items=picked))
