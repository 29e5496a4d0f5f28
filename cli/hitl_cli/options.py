"""Options that several commands share, spelled and explained once.

Those that say where to look and who acts may stand before the command's name too (`kubectl hitl -n shop list`); the one
given last counts. kubectl itself takes none before the plugin's name.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from hitl_cli.naming import context_names, namespace_names
from hitl_cli.render import Output
from hitl_cli.session import Session

F = TypeVar("F", bound=Callable[..., Any])

pass_session = click.make_pass_decorator(Session, ensure=True)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value is not None and parameter.name is not None:
        setattr(context.ensure_object(Session), parameter.name, value)
    return value


def _keep_groups(context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    # Not only the last ones: to leave out a group that was typed would be to act as somebody else.
    context.ensure_object(Session).as_groups += value
    return value


def _keep_output(context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        context.ensure_object(Session).output = Output(value)
    return value


def _stacked(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, the first on top of the help."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


class _OfThisMachine(click.Option):
    """An option that `kubectl hitl` does not offer: it is about homes."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        session = ctx.find_object(Session)
        return None if session is not None and session.plugin else super().get_help_record(ctx)


_home = click.option(
    "--home",
    "home_option",
    cls=_OfThisMachine,
    metavar="DIR",
    expose_value=False,
    callback=_keep,
    help="Home of the standalone control plane (HITL_HOME, else ~/.hitl).",
)
_kubeconfig = click.option(
    "--kubeconfig",
    metavar="FILE",
    expose_value=False,
    callback=_keep,
    help="A cluster, by its kubeconfig (KUBECONFIG, else ~/.kube/config).",
)
_context = click.option(
    "--context",
    metavar="NAME",
    expose_value=False,
    callback=_keep,
    shell_complete=context_names,
    help="A cluster, by a context of the kubeconfig.",
)
home_option = _home
place_option = _stacked(_home, _kubeconfig, _context)
namespace_option = click.option(
    "-n",
    "--namespace",
    metavar="NS",
    expose_value=False,
    callback=_keep,
    shell_complete=namespace_names,
    help="Only this namespace.",
)
all_namespaces_option = click.option(
    "-A",
    "--all-namespaces",
    is_flag=True,
    default=None,
    expose_value=False,
    callback=_keep,
    help="All namespaces, NAMESPACE first.",
)
person_option = _stacked(
    click.option(
        "--as",
        "person",
        metavar="NAME",
        expose_value=False,
        callback=_keep,
        help="Who acts: in a home a person with a key (HITL_AS, else the only one), on a cluster whom to impersonate.",
    ),
    click.option(
        "--as-group",
        "as_groups",
        metavar="GROUP",
        multiple=True,
        expose_value=False,
        callback=_keep_groups,
        help="On a cluster, with --as: impersonate also this group.",
    ),
)
anywhere_option = _stacked(place_option, namespace_option, all_namespaces_option, person_option)


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
