"""`hitl thaw`: let agents go on that somebody froze."""

import asyncio

import click

from hitl.errors import HitlError
from hitl_cli.edge import exit_code_of, words_for
from hitl_cli.exits import Exit, worst
from hitl_cli.naming import freeze_names
from hitl_cli.options import namespace_option, output_option, pass_session, person_option, place_option
from hitl_cli.render import Output
from hitl_cli.session import Session


@click.command("thaw", short_help="Let agents go on that were frozen.")
@click.argument("names", nargs=-1, shell_complete=freeze_names)
@click.option("--mine", is_flag=True, help="Everything that you froze.")
@click.option("--all", "everywhere", is_flag=True, help="Look at what was frozen in every namespace.")
@click.option(
    "--operator-namespace", metavar="NS", default="hitl-system", show_default=True, help="Where the operator runs."
)
@place_option
@namespace_option
@person_option
@output_option(Output.TABLE, Output.NAME)
@pass_session
def command(session: Session, *, names: tuple[str, ...], mine: bool, everywhere: bool, operator_namespace: str) -> Exit:
    """Lift freezes: by NAME or the unique beginning of one, by the workload that was frozen (deploy/NAME), or --mine.

    --all is for those that stop the whole cluster. It takes the verb relax: role hitl-on-call. Exit code 4: you may
    not.
    """
    if bool(names) == mine:
        raise click.UsageError("say which: NAME, deploy/NAME or --mine")
    if not session.is_on_cluster:
        from hitl_cli.home_freezes import thaw  # noqa: PLC0415 - start-up: a cluster needs it not

        return thaw(session, names, mine=mine)
    return asyncio.run(_thaw(session, names, mine=mine, everywhere=everywhere, operator_namespace=operator_namespace))


async def _thaw(
    session: Session, names: tuple[str, ...], *, mine: bool, everywhere: bool, operator_namespace: str
) -> Exit:
    from hitl_cli.on_cluster.freezes import lift, named, pressed, seen  # noqa: PLC0415 - start-up

    place, screen = session.need_cluster("thaw"), session.screen
    namespace = operator_namespace if everywhere else place.access.namespace
    ended = [Exit.DONE]
    async with place.open(viewed=False) as desk:
        there = await pressed(desk.api, [namespace], session.hint("doctor"))
        if mine:
            me = await desk.me()
            wanted = [each for each in there if each.by == me.name]
            if not wanted:
                screen.talk(f"You froze nothing in namespace {namespace}.")
        else:
            wanted = list(dict.fromkeys(each for name in names for each in named(there, name)))
        for freeze in wanted:
            try:
                await lift(desk, freeze)
            except HitlError as error:
                screen.error(*words_for(error))
                ended.append(exit_code_of(error))
                continue
            words = "" if screen.output is Output.NAME else " thawed"
            screen.data(f"policyoverride.hitl.dev/{freeze.name}{words}")
        left = await seen(desk.api, dict.fromkeys((namespace, operator_namespace)), session.hint("doctor"))
    for freeze in left:
        screen.talk(f"Still: {freeze.words(operator_namespace)} ({freeze.name})")
    return worst(ended)
