"""`hitl dev reviewer`: the people who may decide in a standalone home."""

import os

import click

from hitl.stores.people import RIGHTS, add_reviewer, read_reviewers
from hitl_cli.exits import Exit
from hitl_cli.lines import Column
from hitl_cli.options import home_option, output_option, pass_session
from hitl_cli.render import Output
from hitl_cli.session import Session


@click.group("reviewer", short_help="Add and list the people who may decide here.")
def command() -> None:
    """The people who may decide in a standalone home."""


@command.command("add", short_help="Add a person and make their key.")
@click.argument("name")
@click.option(
    "--group", "groups", metavar="GROUP", multiple=True, help="A group the person votes for; may be repeated."
)
@click.option(
    "--may",
    metavar="RIGHT",
    multiple=True,
    type=click.Choice(RIGHTS),
    help="Beside approving and denying: override, for hitl breakglass.",
)
@home_option
@pass_session
def add(session: Session, name: str, groups: tuple[str, ...], may: tuple[str, ...]) -> Exit:
    """Add NAME to reviewers.yaml and write their private key into the home (mode 0600)."""
    home = session.home
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    add_reviewer(home.path, name, groups, may)
    session.screen.data(f"reviewer/{name} added")
    session.screen.talk(
        f"  key in {home.people / name}.key; whoever can read it can decide as {name}",
        f"Next: {session.hint('approve', 'NAME', '--as', name)}",
    )
    return Exit.DONE


@command.command("list", short_help="Who may decide here.")
@home_option
@output_option(Output.TABLE, Output.JSON, Output.YAML, Output.NAME)
@pass_session
def list_(session: Session) -> Exit:
    """Names and groups of everyone in reviewers.yaml, and whose key lies in this home."""
    home, screen = session.home, session.screen
    people = read_reviewers(home.reviewers) if home.reviewers.exists() else {}
    here = set(home.key_names())
    match screen.output:
        case Output.NAME:
            screen.data(*(f"reviewer/{name}" for name in people))
        case Output.JSON | Output.YAML:
            screen.document(
                [
                    {"name": p.name, "groups": list(p.groups), "may": list(p.may), "keyInHome": p.name in here}
                    for p in people.values()
                ]
            )
        case _:
            if people:
                screen.table(
                    [Column("NAME"), Column("KEY"), Column("GROUPS", cut=True)],
                    [
                        (p.name, "here" if p.name in here else "elsewhere", ", ".join(p.groups) or "-")
                        for p in people.values()
                    ],
                )
            else:
                screen.talk(
                    f"Nobody may decide in {home.path}.",
                    f"Next: {session.hint('dev', 'reviewer', 'add', os.environ.get('USER') or 'NAME')}",
                )
    return Exit.DONE
