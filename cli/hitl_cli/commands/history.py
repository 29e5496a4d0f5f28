"""`hitl history`: past requests and how they ended."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import click

from hitl.approvals.requests import ApprovalRequest, State
from hitl.policy.durations import parse_duration
from hitl_cli.endings import ended_at, ended_by, override_of, refused_edit, state_at
from hitl_cli.exits import Exit
from hitl_cli.lines import Column, Line, word
from hitl_cli.options import namespace_option, output_option, pass_session, person_option, place_option
from hitl_cli.render import Output
from hitl_cli.requests import RESOURCE, agent_of, tier_of, tool_of, why_of
from hitl_cli.session import Session
from hitl_cli.times import since, took

_STATES = {state.value.lower(): state for state in State if state is not State.PENDING}


@click.command("history", short_help="Past requests and how they ended.")
@click.option("--agent", metavar="NAME", help="Only of this agent (of deploy/support: support).")
@click.option("--tool", metavar="[SERVER/]TOOL", help="Only of this tool.")
@click.option("--since", "period", metavar="DURATION", help="Only what ended so long ago at most, such as 24h or 7d.")
@click.option(
    "--state", type=click.Choice(list(_STATES), case_sensitive=False), help="Only what ended so; denied is not expired."
)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), default=50, show_default=True, help="The newest N.")
@place_option
@namespace_option
@person_option
@output_option(*Output)
@pass_session
def command(
    session: Session, *, agent: str | None, tool: str | None, period: str | None, state: str | None, limit: int
) -> Exit:
    """Requests that were decided, expired or withdrawn, the newest first."""
    try:
        seconds = parse_duration(period) if period else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from error
    wanted = _Wanted(agent, tool, seconds, _STATES[state.lower()] if state else None)
    found = asyncio.run(_found(session, wanted))
    _print(session, found[:limit], more=max(len(found) - limit, 0))
    return Exit.DONE


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the caller asks for; None: anything. `seconds`: how long ago it may have ended."""

    agent: str | None
    tool: str | None
    seconds: float | None
    state: State | None

    def takes(self, request: ApprovalRequest, now: datetime) -> bool:
        """Whether a request that has ended is one of them."""
        if self.agent not in (None, agent_of(request), request.spec.workload):
            return False
        if self.tool not in (None, tool_of(request), request.spec.call.tool):
            return False
        if self.state not in (None, state_at(request, now)):
            return False
        return self.seconds is None or ended_at(request, now) >= now - timedelta(seconds=self.seconds)


async def _found(session: Session, wanted: _Wanted) -> list[ApprovalRequest]:
    async with session.place.open(viewed=False) as desk:
        stored = await desk.everything()
    now = session.now()
    ended = [each for each in stored if state_at(each, now) is not State.PENDING and wanted.takes(each, now)]
    return sorted(ended, key=lambda each: ended_at(each, now), reverse=True)


def _print(session: Session, found: Sequence[ApprovalRequest], *, more: int) -> None:
    screen = session.screen
    match screen.output:
        case Output.NAME:
            screen.data(*(f"{RESOURCE}/{each.name}" for each in found))
        case Output.JSON | Output.YAML:
            from hitl.kube.requests import request_to_manifest  # noqa: PLC0415 - start-up: the table needs it not

            screen.document(
                {"apiVersion": "v1", "kind": "List", "items": [request_to_manifest(each) for each in found]}
            )
        case Output.TABLE | Output.WIDE if found:
            _print_table(session, found)
            states = Counter(state_at(each, session.now()).value.lower() for each in found)
            counts = ", ".join(f"{count} {state}" for state, count in states.items())
            screen.talk(f"{counts}{f'; {more} older ones: --limit' if more else ''}")
        case Output.TABLE | Output.WIDE:
            screen.talk(f"Nothing like that has ended in {session.place.where}. What waits: {session.hint('list')}")


def _print_table(session: Session, found: Sequence[ApprovalRequest]) -> None:
    now, wide = session.now(), session.screen.output is Output.WIDE
    names = ["NAME", "STATE", "ENDED", "BY", "AGENT", *(["TIER", "WHY", "TOOK"] if wide else [])]
    columns = [*(Column(name) for name in names), Column("WHAT", cut=True)]
    session.screen.table(columns, [_cells(each, now, wide=wide) for each in found])


def _cells(request: ApprovalRequest, now: datetime, *, wide: bool) -> list[Line]:
    state, ended = state_at(request, now), ended_at(request, now)
    people = ", ".join(ended_by(request, now))
    cells: list[Line] = [request.name, word(state.value), since(ended, now), people or "-", agent_of(request)]
    if wide:
        cells += [word(tier_of(request)), why_of(request), took(ended - request.created)]
    how = "changed call refused: " if refused_edit(request) else "break-glass: " if override_of(request) else ""
    return [*cells, f"{how}{request.spec.summary}"]
