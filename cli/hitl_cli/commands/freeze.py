"""`hitl freeze`: the stop button."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from hitl.policy.durations import parse_duration
from hitl_cli.exits import Exit
from hitl_cli.options import namespace_option, output_option, pass_session, person_option, place_option
from hitl_cli.render import Output
from hitl_cli.session import Session

if TYPE_CHECKING:
    from hitl_cli.on_cluster.desk import ClusterDesk
    from hitl_cli.on_cluster.freezes import Pressed, Reach, Wish

PATIENCE: Final = 10.0  # seconds until it is said that no operator has confirmed
_LOOK_EVERY: Final = 0.1  # seconds
_LONGEST: Final = 366 * 86400  # seconds


@click.command("freeze", short_help="Stop agents: every call is refused, what waits is cancelled.")
@click.argument("workload", required=False)
@click.option("--all", "everywhere", is_flag=True, help="Every namespace of the cluster.")
@click.option("--tool", "tools", multiple=True, metavar="GLOB", help="Only calls of these tools, server/tool.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; agents and people are told.")
@click.option("--for", "lasts", metavar="DURATION", help="It ends by itself, e.g. after 2h.  [until it is thawed]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--operator-namespace", metavar="NS", default="hitl-system", show_default=True, help="Where the operator runs."
)
@place_option
@namespace_option
@person_option
@output_option(Output.TABLE, Output.JSON, Output.YAML, Output.NAME)
@pass_session
def command(
    session: Session,
    *,
    workload: str | None,
    everywhere: bool,
    tools: tuple[str, ...],
    reason: str,
    lasts: str | None,
    yes: bool,
    operator_namespace: str,
) -> Exit:
    """Stop one workload (deploy/NAME), one namespace (-n NS), a tool (--tool server/tool) or everything (--all).

    In a home there is one namespace: --all or --tool.

    Whatever the policies say, also where they only watch, every call is refused and every request that waits is
    cancelled, until it is thawed or its time is over. Exit code 5: it is stored, and no operator has confirmed it yet.
    """
    if everywhere and (workload or session.namespace):
        raise click.UsageError("--all is every namespace; leave it out, or the workload and -n")
    if not session.is_on_cluster and workload:
        raise click.UsageError("a home has no workloads; say --all, or --tool server/tool")
    if not (everywhere or workload or tools or session.namespace):
        raise click.UsageError("say what to stop: deploy/NAME, -n NS, --tool server/tool or --all")
    if not reason.strip():
        raise click.UsageError("--reason is empty; agents and people are told why")
    until = _until(session, lasts)
    if not session.is_on_cluster:
        from hitl_cli.home_freezes import freeze  # noqa: PLC0415 - start-up: a cluster needs it not

        return freeze(session, tools=tools, reason=reason.strip(), until=until, yes=yes)
    return asyncio.run(
        _freeze(
            session,
            _Typed(workload or "", everywhere, tools, reason.strip(), until, yes, operator_namespace),
        )
    )


@dataclass(frozen=True, slots=True)
class _Typed:
    """What was typed; `until` is empty or a time."""

    workload: str
    everywhere: bool
    tools: tuple[str, ...]
    reason: str
    until: str
    yes: bool
    operator_namespace: str


def _until(session: Session, lasts: str | None) -> str:
    if lasts is None:
        return ""
    try:
        seconds = parse_duration(lasts)
    except ValueError as error:
        raise click.UsageError(f"--for: {error}") from error
    if not 1 <= seconds <= _LONGEST:
        raise click.UsageError(f"--for: {lasts} is out of range; from 1s to 366d, or leave it out")
    return (session.now() + timedelta(seconds=float(seconds))).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _freeze(session: Session, typed: _Typed) -> Exit:
    from hitl_cli.on_cluster.freezes import Wish, press, reach_of, selector_of  # noqa: PLC0415 - start-up

    place = session.need_cluster("freeze")
    namespace = typed.operator_namespace if typed.everywhere else place.access.namespace
    async with place.open(viewed=False) as desk:
        short, selector = await selector_of(desk.api, namespace, typed.workload) if typed.workload else ("", None)
        wish = Wish(namespace, namespace == typed.operator_namespace, short, selector, typed.tools)
        reach = await reach_of(desk, wish)
        if not typed.yes:
            _ask(session, wish, reach)
        me = await desk.me()
        began = time.monotonic()
        stored = await press(desk, wish.manifest(by=me.name, reason=typed.reason, until=typed.until))
        name = stored["metadata"]["name"]
        if not session.screen.output.is_for_people:
            _print_stored(session, stored)
            return Exit.DONE
        found = await _confirmed(desk, namespace, name, reach)
        took = time.monotonic() - began
        left = (await reach_of(desk, wish)).requests
    undo = session.hint("thaw", short or name, *(() if session.namespace else ("-n", namespace)))
    if found is None:
        session.screen.data(f"policyoverride.hitl.dev/{name} created")
        session.screen.error(
            f"no operator has confirmed it within {PATIENCE:.0f}s; until one does, agents go on",
            f"Look: {session.hint('doctor')}    Undo: {undo}",
        )
        return Exit.NOT_DECISIVE
    current, total = found.sidecars or (0, 0)
    ended = "" if reach.requests is None or left is None else f"; {_count(len(reach.requests - left))} cancelled"
    counted = f"{current} of {total} sidecars, " if total else ""
    session.screen.data(f"{wish.subject} is frozen: {wish.calls} is refused ({counted}{took:.1f}s){ended}")
    session.screen.talk(f"Undo: {undo}")
    return Exit.DONE


def _ask(session: Session, wish: "Wish", reach: "Reach") -> None:
    if not session.screen.is_interactive:
        raise click.UsageError("nobody is there to be asked; add --yes")
    session.screen.error(f"This refuses {wish.calls} of {reach.words} ({wish.subject}).")
    if session.screen.ask("Freeze? [y/N] ").lower() not in ("y", "yes"):
        raise click.Abort


async def _confirmed(desk: "ClusterDesk", namespace: str, name: str, reach: "Reach") -> "Pressed | None":
    """It once the operator says that it is in force, at every sidecar where there are some; None: it says nothing."""
    from hitl_cli.on_cluster.freezes import one  # noqa: PLC0415 - start-up

    ends = time.monotonic() + PATIENCE
    found = None
    while time.monotonic() < ends:
        now = await one(desk.api, namespace, name)
        if now.state:
            found = now
            current, total = now.sidecars or (0, 0)
            if not reach.pods or (total and current == total):
                return found
        await asyncio.sleep(_LOOK_EVERY)
    return found


def _print_stored(session: Session, stored: dict[str, Any]) -> None:
    if session.screen.output is Output.NAME:
        session.screen.data(f"policyoverride.hitl.dev/{stored['metadata']['name']}")
    else:
        stored["metadata"].pop("managedFields", None)
        session.screen.document(stored)


def _count(number: int) -> str:
    return f"{number} request{'' if number == 1 else 's'}"
