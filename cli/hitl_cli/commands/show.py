"""`hitl show`: exactly what one request would run, and why it is held."""

import asyncio
from collections.abc import Sequence

import click

from hitl.approvals.requests import ApprovalRequest, Kind, State
from hitl_cli.difference import difference
from hitl_cli.endings import state_at
from hitl_cli.exits import Exit
from hitl_cli.group_page import group_page
from hitl_cli.naming import request_names
from hitl_cli.options import namespace_option, output_option, pass_session, person_option, place_option
from hitl_cli.page import Beside, page
from hitl_cli.past import alone_because, group_of, past_of
from hitl_cli.render import Output
from hitl_cli.requests import RESOURCE, chosen, is_whole_name
from hitl_cli.session import Session
from hitl_cli.standing import Viewer, brings_more_people, standing_of


@click.command("show", short_help="Exactly what one request would run, and why it is held.")
@click.argument("name", shell_complete=request_names)
@click.option("--full", is_flag=True, help="Cut nothing.")
@click.option("--diff", "only_difference", is_flag=True, help="Only what changed since the last approved call like it.")
@click.option("--one", is_flag=True, help="This request alone, also where it stands for a group.")
@click.option("--group", "whole_group", is_flag=True, help="It and the similar ones that wait, as a table.")
@place_option
@namespace_option
@person_option
@output_option(Output.TABLE, Output.JSON, Output.YAML, Output.NAME)
@pass_session
def command(session: Session, *, name: str, full: bool, only_difference: bool, one: bool, whole_group: bool) -> Exit:
    """One request on one page; NAME may be any prefix that only one request has.

    A prefix that means one of a group of similar requests shows the group as a table; a full name shows that one.
    """
    if one and whole_group:
        raise click.UsageError("--one and --group exclude each other", click.get_current_context())
    asyncio.run(_show(session, name, full=full, only_difference=only_difference, one=one, whole_group=whole_group))
    return Exit.DONE


async def _show(
    session: Session, name: str, *, full: bool, only_difference: bool, one: bool, whole_group: bool
) -> None:
    async with session.place.open() as desk:
        everything = await desk.everything()
        request = chosen(everything, name, session.place)
        viewer = await desk.viewer([request], "approve", "deny", "escalate")
    screen = session.screen
    match screen.output:
        case Output.NAME:
            screen.data(f"{RESOURCE}/{request.name}")
            return
        case Output.JSON | Output.YAML:
            from hitl.kube.requests import request_to_manifest  # noqa: PLC0415 - start-up: the page needs it not

            screen.document(request_to_manifest(request))
            return
        case Output.TABLE | Output.WIDE:
            pass
    now = session.now()
    beside = Beside(past_of(request, everything), session.place, viewer, now)
    together = state_at(request, now) is State.PENDING and request.spec.tier != "multi-factor"
    group = group_of(request, everything) if together else [request]
    if only_difference:
        screen.data(*difference(request, beside.past.last_approved, now, screen.width))
    elif len(group) > 1 and (whole_group or not (one or full or is_whole_name(request, name))):
        screen.data(*group_page(group, now, screen.width))
        screen.talk(*_next_of_group(session, group))
        return
    else:
        screen.data(*page(request, beside, screen.width, full=full))
    if state_at(request, now) is State.PENDING:
        if len(group) > 1:
            screen.talk(f"{len(group) - 1} similar: {session.hint('show', request.name, '--group', about=request)}")
        screen.talk(_next(session, request, viewer))


def _next_of_group(session: Session, group: Sequence[ApprovalRequest]) -> list[str]:
    """How to see one of them, and, as far as they may be approved together, how to do that (SECURITY D4)."""
    first, *others = group
    alone = {each.name: why for each in group if (why := alone_because(each, first))}
    lines = [f"one of them: {session.hint('show', first.name, '--one', about=first)}"]
    lines += [f"not with the others: {name}: {why}" for name, why in alone.items()]
    together = [each.name for each in others if each.name not in alone]
    if together:
        approve = session.hint("approve", first.name, "--group", about=first)
        lines.append(f"Next: {approve}    … --item {','.join(together[:2])}")
    else:
        lines.append(f"Next: {session.hint('show', (others or group)[0].name, about=first)}")
    return lines


def _next(session: Session, request: ApprovalRequest, viewer: Viewer | None) -> str:
    """What to type now: only what the one who looks may do; all of it where nobody knows who looks."""
    approve = session.hint("approve", request.name, about=request)
    deny = session.hint("deny", request.name, "--reason", '"…"', about=request)
    steps = [approve, deny]
    if viewer is not None:
        standing = standing_of(viewer, request, session.place.progress(request))
        may_deny = standing.vote is None and not viewer.why_not("deny", request)
        steps = [*([approve] if standing.may_approve else []), *([deny] if may_deny else [])]
        if not steps and not viewer.why_not("escalate", request) and brings_more_people(request, session.now()):
            steps = [session.hint("escalate", request.name, about=request)]
    if request.spec.kind is Kind.SUGGESTION and steps == [approve, deny]:
        return f"Did you do it? {approve}    Will you not? {deny}"
    if not steps:
        return f"What you may decide: {session.hint('list', '--reviewable')}"
    return f"Next: {'    '.join(steps)}"
