"""`hitl list`: what waits for a decision, and what would happen."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import click

from hitl.approvals.requests import DecisionKind, State
from hitl.approvals.requirements import votes
from hitl.approvals.timeline import in_force
from hitl_cli.endings import deciders, state_at
from hitl_cli.exits import Exit
from hitl_cli.lines import Column, Line, Tint, table, tinted, word, wrapped
from hitl_cli.options import (
    all_namespaces_option,
    namespace_option,
    output_option,
    pass_session,
    person_option,
    place_option,
)
from hitl_cli.render import Output
from hitl_cli.requests import RESOURCE, Group, agent_of, grouped, tier_of, why_of
from hitl_cli.session import Session
from hitl_cli.standing import Standing, Viewer, standing_of
from hitl_cli.times import since, until

if TYPE_CHECKING:
    from hitl_cli.place import Desk  # start-up: it brings types that a list never makes

# Less than this is about to expire, seconds: about what it takes to read a request and decide.
_EXPIRING = 120.0
# A repainted list counts down by itself.
_REPAINT_SECONDS = 1.0


@click.command("list", short_help="What waits for a decision (also: inbox).")
@click.option("-w", "--watch", is_flag=True, help="Repaint in place until Ctrl-C.")
@click.option("--reviewable", is_flag=True, help="Only what you may decide.")
@place_option
@namespace_option
@all_namespaces_option
@person_option
@output_option(*Output)
@pass_session
def command(session: Session, *, watch: bool, reviewable: bool) -> Exit:
    """What waits for a decision, what ends first on top. Similar calls of one agent are one row."""
    if watch and not session.screen.output.is_for_people:
        raise click.UsageError("-w repaints a table; with -o json, yaml or name leave it out")
    asyncio.run(_list(session, _Wish(reviewable, session.all_namespaces), watch=watch))
    return Exit.DONE


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the caller wants to see."""

    only_reviewable: bool
    all_namespaces: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """One row: similar requests, and where the caller stands towards them; None: nobody knows who looks."""

    group: Group
    standing: Standing | None
    filled: int
    places: int
    expires: datetime


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the place found."""

    viewer: Viewer | None
    rows: Sequence[_Row]


async def _list(session: Session, wish: _Wish, *, watch: bool) -> None:
    # What programs read says nothing of who looks: nobody is asked then.
    viewed = session.screen.output.is_for_people or wish.only_reviewable
    async with session.place.open(viewed=viewed, follows=watch) as desk:
        if watch:
            await session.screen.repaint(_pages(session, wish, desk))
            return
        look = await _look(session, wish, desk)
        match session.screen.output:
            case Output.NAME:
                session.screen.data(*(f"{RESOURCE}/{each.name}" for row in look.rows for each in row.group.members))
            case Output.JSON | Output.YAML:
                from hitl.kube.requests import request_to_manifest  # noqa: PLC0415 - start-up: the table needs it not

                items = [request_to_manifest(each) for row in look.rows for each in row.group.members]
                session.screen.document({"apiVersion": "v1", "kind": "List", "items": items})
            case Output.TABLE | Output.WIDE:
                table, footer = await _page(session, wish, desk, look)
                session.screen.data(*table)
                session.screen.talk(*footer)


async def _page(session: Session, wish: _Wish, desk: "Desk", look: _Look) -> tuple[list[Line], list[Line]]:
    """The table, and what stands below it; where nothing waits that alone."""
    if not look.rows:
        return [], await _nothing(session, wish, desk, look.viewer)
    warnings = await desk.unmanned([row.group.first for row in look.rows])
    return _table(session, wish, look.rows), _footer(session, look, warnings)


async def _pages(session: Session, wish: _Wish, desk: "Desk") -> AsyncIterator[Sequence[Line]]:
    """The list whenever something changed, and on a terminal every second, so that EXPIRES counts down."""
    changes = desk.store.watch(session.place.namespace)
    coming = asyncio.ensure_future(anext(changes))
    try:
        while True:
            table, footer = await _page(session, wish, desk, await _look(session, wish, desk))
            yield [*table, *footer]
            await asyncio.wait({coming}, timeout=_REPAINT_SECONDS if session.screen.is_terminal else None)
            if coming.done():
                coming.result()
                coming = asyncio.ensure_future(anext(changes))
    finally:
        coming.cancel()
        await asyncio.wait({coming})
        await changes.aclose()


async def _look(session: Session, wish: _Wish, desk: "Desk") -> _Look:
    now = session.now()
    waiting = [request for request in await desk.waiting() if state_at(request, now) is State.PENDING]
    ends = {request.uid: in_force(request, now).deadline for request in waiting}
    waiting.sort(key=lambda request: (ends[request.uid], request.namespace, request.name))
    if wish.only_reviewable:
        viewer: Viewer | None = (await desk.voter(waiting, "approve")).viewer
    elif session.screen.output.is_for_people:
        viewer = await desk.viewer(waiting, "approve")
    else:
        viewer = None
    rows = [_row(session, group, ends[group.first.uid], viewer) for group in grouped(waiting)]
    if wish.only_reviewable:
        rows = [row for row in rows if row.standing is not None and row.standing.may_approve]
    return _Look(viewer, rows)


def _row(session: Session, group: Group, expires: datetime, viewer: Viewer | None) -> _Row:
    progress = session.place.progress(group.first)
    filled, places = votes(progress)
    standing = None if viewer is None else standing_of(viewer, group.first, progress)
    return _Row(group, standing, filled, places, expires)


def _table(session: Session, wish: _Wish, rows: Sequence[_Row]) -> list[Line]:
    now = session.now()
    wide = session.screen.output is Output.WIDE
    names = ["NAME", "TIER", "EXPIRES", "VOTES", "AGENT", *(["WHY", "AGE", "FOR"] if wide else [])]
    if wish.all_namespaces:
        names.insert(0, "NAMESPACE")
    columns = [*(Column(name) for name in names), Column("WHAT", cut=True)]
    return [*table(columns, [_cells(row, now, wish, wide=wide) for row in rows], session.screen.width)]


def _cells(row: _Row, now: datetime, wish: _Wish, *, wide: bool) -> list[Line]:
    first = row.group.first
    left = (row.expires - now).total_seconds()
    cells: list[Line] = [
        row.group.label,
        word(tier_of(first)),
        tinted(until(row.expires, now), Tint.EXPIRING if left < _EXPIRING else Tint.NONE),
        "override" if deciders(first, DecisionKind.OVERRIDDEN) else f"{row.filled}/{row.places}",
        agent_of(first),
    ]
    if wish.all_namespaces:
        cells.insert(0, first.namespace)
    if wide:
        cells += [why_of(first), since(first.created, now), first.spec.on_behalf_of or "-"]
    return [*cells, row.group.what]


def _footer(session: Session, look: _Look, warnings: Sequence[str]) -> list[Line]:
    """How many need the caller, what nobody can decide, and what to type next."""
    rows = look.rows
    oldest = since(min(row.group.first.created for row in rows), session.now())
    mine = [row for row in rows if row.standing is not None and row.standing.may_approve]
    if look.viewer is None:
        count = f"{len(rows)} {'waits' if len(rows) == 1 else 'wait'} for a decision"
    else:
        count = f"{len(mine)} of {len(rows)} need you{_others(rows)}"
    said = [piece for warning in warnings for piece in _folded(warning, session.screen.width)]
    lines: list[Line] = [f"{count}. The oldest has waited {oldest}.", *said]
    next_one = (mine or rows)[0].group
    whole = ["--group"] if len(next_one.members) > 1 else []
    return [*lines, f"Next: {session.hint('show', next_one.first.name, *whole, about=next_one.first)}"]


def _folded(text: str, width: int) -> list[str]:
    """A warning over several lines where it is long; what is to be typed stays one line."""
    if text.startswith(" "):
        return [text]
    first, *rest = wrapped(text, width - 2)
    return [first, *(f"  {piece}" for piece in rest)]


def _others(rows: Iterable[_Row]) -> str:
    """Why the rows that do not need the caller do not: the first of them in words."""
    standings = ((row.group.first.name, row.standing) for row in rows if row.standing)
    reasons = [f"{name}: {standing.why_not}" for name, standing in standings if not standing.may_approve]
    if not reasons:
        return ""
    more = f"; {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return f" ({reasons[0]}{more})"


async def _nothing(session: Session, wish: _Wish, desk: "Desk", viewer: Viewer | None) -> list[Line]:
    """Nothing to do, and why that is believable."""
    today, *lines = await desk.quiet(viewer)
    what = "Nothing that you may decide is waiting" if wish.only_reviewable else "Nothing is waiting"
    return [f"{what} in {session.place.where}. {today}", *lines]
