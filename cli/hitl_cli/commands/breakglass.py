"""`hitl breakglass`: let one held call run against what its policy asks for, alone."""

import click

from hitl_cli.exits import Exit
from hitl_cli.naming import telling_names
from hitl_cli.options import namespace_option, output_option, pass_session, person_option, place_option
from hitl_cli.overriding import override
from hitl_cli.render import Output
from hitl_cli.session import Session


@click.command("breakglass", short_help="Let a held call run against its policy, alone.")
@click.argument("name", shell_complete=telling_names)
@click.option("--reason", metavar="TEXT", default="", help="Why; always needed. Kept, alerted, and read by everybody.")
@click.option("--yes", is_flag=True, help="Do not ask back; NAME must then be the name itself.")
@place_option
@namespace_option
@person_option
@output_option(Output.TABLE, Output.JSON, Output.YAML, Output.NAME)
@pass_session
def command(session: Session, *, name: str, reason: str, yes: bool) -> Exit:
    """Let one held call run, once, in the place of everybody whom its policy asks for: an emergency, and alerted.

    It takes the verb override (role hitl-breakglass), a second factor in your login, and a reason; in a home a person
    with may: [override] in reviewers.yaml. Nobody overrides his own call, a Deny rule, a deadline or a freeze. Exit
    codes: 0 it runs, 3 no longer pending, 4 you may not, 5 recorded but not counted yet.
    """
    return override(session, name, reason, yes=yes)
