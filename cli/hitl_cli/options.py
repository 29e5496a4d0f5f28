"""Options that several commands share, spelled and explained once.

They may stand before the command's name too (`hitl --home DIR list`); the one given last counts.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from hitl_cli.render import Output
from hitl_cli.session import Session

F = TypeVar("F", bound=Callable[..., Any])

pass_session = click.make_pass_decorator(Session, ensure=True)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value is not None and parameter.name is not None:
        setattr(context.ensure_object(Session), parameter.name, value)
    return value


def _keep_output(context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        context.ensure_object(Session).output = Output(value)
    return value


home_option = click.option(
    "--home",
    "home_option",
    metavar="DIR",
    expose_value=False,
    callback=_keep,
    help="Home of the standalone control plane (HITL_HOME, else ~/.hitl).",
)
namespace_option = click.option(
    "-n", "--namespace", metavar="NS", expose_value=False, callback=_keep, help="Only this namespace."
)
person_option = click.option(
    "--as",
    "person",
    metavar="NAME",
    expose_value=False,
    callback=_keep,
    help="Who acts (HITL_AS, else the only person with a key in the home).",
)


def output_option(*outputs: Output) -> Callable[[F], F]:
    """`-o` with these choices."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice([each.value for each in outputs]),
        metavar="|".join(each.value for each in outputs),
        expose_value=False,
        callback=_keep_output,
        help="How to print.",
    )
