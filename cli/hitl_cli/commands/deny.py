"""`hitl deny`: refuse a call; the agent reads why."""

import click

from hitl.approvals.requests import Category, DecisionKind
from hitl_cli.answers import Choice
from hitl_cli.decisions import decide
from hitl_cli.exits import Exit
from hitl_cli.naming import request_names
from hitl_cli.options import namespace_option, output_option, pass_session, person_option, place_option
from hitl_cli.render import Output
from hitl_cli.session import Session

_CATEGORIES = {category.kebab: category for category in Category}


@click.command("deny", short_help="Refuse a call; the agent reads the reason.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=request_names)
@click.option("--reason", metavar="TEXT", default="", help="Why; the agent reads it. Asked for on a terminal.")
@click.option("--category", type=click.Choice(list(_CATEGORIES)), help="What kind of reason it is.")
@click.option("--group", is_flag=True, help="All similar calls that wait with it.")
@place_option
@namespace_option
@person_option
@output_option(Output.TABLE, Output.JSON, Output.YAML, Output.NAME)
@pass_session
def command(session: Session, *, names: tuple[str, ...], reason: str, category: str | None, group: bool) -> Exit:
    """Deny requests. The agent is told the reason and not to try again.

    NAME may be any prefix that only one request has. Exit codes: 0 denied, 5 recorded but more people are needed,
    3 no longer pending, 4 you may not.
    """
    chosen = _CATEGORIES[category] if category else None
    return decide(session, Choice(DecisionKind.DENIED, names, reason, category=chosen, group=group))
