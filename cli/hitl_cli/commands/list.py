"""`hitl list`: what waits for a decision, and what would happen."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import click

from hitl.approvals.requests import ApprovalRequest, State
from hitl.approvals.requirements import votes
from hitl.approvals.timeline import in_force
from hitl.stores.protocol import ReviewerStore
from hitl_cli.endings import state_at
from hitl_cli.exits import Exit
from hitl_cli.lines import Column, Line, Tint, table, tinted, word
from hitl_cli.options import home_option, namespace_option, output_option, pass_session, person_option
from hitl_cli.render import Output
from hitl_cli.requests import RESOURCE, Group, agent_of, grouped, tier_of, why_of
from hitl_cli.session import Session
from hitl_cli.standing import Standing, progress_here, standing_of, unmanned
from hitl_cli.times import since, until

if TYPE_CHECKING:
    from hitl.stores.people import Person

# Less than this is about to expire, seconds: about what it takes to read a request and decide.
_EXPIRING = 120.0
# A repainted list counts down by itself.
_REPAINT_SECONDS = 1.0


@click.command("list", short_help="What waits for a decision (also: inbox).")
@click.option("-w", "--watch", is_flag=True, help="Repaint in place until Ctrl-C.")
@click.option("--reviewable", is_flag=True, help="Only what you may decide.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Put NAMESPACE first.")
@home_option
@namespace_option
@person_option
@output_option(*Output)
@pass_session
def command(session: Session, *, watch: bool, reviewable: bool, all_namespaces: bool) -> Exit:
    """What waits for a decision, what ends first on top. Similar calls of one agent are one row."""
    if watch and not session.screen.output.is_for_people:
        raise click.UsageError("-w repaints a table; with -o json, yaml or name leave it out")
    who = session.need_person() if reviewable else session.who()
    asyncio.run(_list(session, _Wish(who, reviewable, all_namespaces), watch=watch))
    return Exit.DONE


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the caller wants to see."""

    who: str | None
    only_reviewable: bool
    all_namespaces: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """One row: similar requests, and where the caller stands towards them."""

    group: Group
    standing: Standing | None
    filled: int
    places: int
    expires: datetime
    lacking: Sequence[str]


async def _list(session: Session, wish: _Wish, *, watch: bool) -> None:
    async with session.open_store() as store:
        if watch:
            await session.screen.repaint(_pages(session, wish, store))
            return
        rows = await _rows(session, wish, store)
        match session.screen.output:
            case Output.NAME:
                session.screen.data(*(f"{RESOURCE}/{each.name}" for row in rows for each in row.group.members))
            case Output.JSON | Output.YAML:
                from hitl.kube.requests import request_to_manifest  # noqa: PLC0415 - start-up: the table needs it not

                items = [request_to_manifest(each) for row in rows for each in row.group.members]
                session.screen.document({"apiVersion": "v1", "kind": "List", "items": items})
            case Output.TABLE | Output.WIDE:
                if rows:
                    session.screen.data(*_table(session, wish, rows))
                    session.screen.talk(*_footer(session, wish, rows))
                else:
                    session.screen.talk(*await _nothing(session, wish, store))


async def _pages(session: Session, wish: _Wish, store: ReviewerStore) -> AsyncIterator[Sequence[Line]]:
    """The list whenever something changed, and on a terminal every second, so that EXPIRES counts down."""
    changes = store.watch(session.namespace)
    coming = asyncio.ensure_future(anext(changes))
    try:
        while True:
            rows = await _rows(session, wish, store)
            if rows:
                yield [*_table(session, wish, rows), *_footer(session, wish, rows)]
            else:
                yield await _nothing(session, wish, store)
            await asyncio.wait({coming}, timeout=_REPAINT_SECONDS if session.screen.is_terminal else None)
            if coming.done():
                coming.result()
                coming = asyncio.ensure_future(anext(changes))
    finally:
        coming.cancel()
        await asyncio.wait({coming})
        await changes.aclose()


async def _rows(session: Session, wish: _Wish, store: ReviewerStore) -> list[_Row]:
    now, people = session.now(), session.people()
    stored = await store.list(session.namespace, pending_only=True)
    waiting = [request for request in stored if state_at(request, now) is State.PENDING]
    ends = {request.uid: in_force(request, now).deadline for request in waiting}
    waiting.sort(key=lambda request: (ends[request.uid], request.namespace, request.name))
    rows = [_row(group, ends[group.first.uid], people, wish.who) for group in grouped(waiting)]
    if wish.only_reviewable:
        rows = [row for row in rows if row.standing is not None and row.standing.may_approve]
    return rows


def _row(group: Group, expires: datetime, people: "Mapping[str, Person]", who: str | None) -> _Row:
    progress = progress_here(group.first)
    filled, places = votes(progress)
    return _Row(
        group,
        standing_of(who, group.first, progress, people) if who else None,
        filled,
        places,
        expires,
        unmanned(progress, people, group.first),
    )


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
        f"{row.filled}/{row.places}",
        agent_of(first),
    ]
    if wish.all_namespaces:
        cells.insert(0, first.namespace)
    if wide:
        cells += [why_of(first), since(first.created, now), first.spec.on_behalf_of or "-"]
    return [*cells, row.group.what]


def _footer(session: Session, wish: _Wish, rows: Sequence[_Row]) -> list[Line]:
    """How many need the caller, what nobody can decide, and what to type next."""
    oldest = since(min(row.group.first.created for row in rows), session.now())
    mine = [row for row in rows if row.standing is not None and row.standing.may_approve]
    if wish.who is None:
        count = f"{len(rows)} {'waits' if len(rows) == 1 else 'wait'} for a decision"
    else:
        count = f"{len(mine)} of {len(rows)} need you{_others(row for row in rows if row not in mine)}"
    lines: list[Line] = [f"{count}. The oldest has waited {oldest}."]
    for group in dict.fromkeys(group for row in rows for group in row.lacking):
        add = session.hint("dev", "reviewer", "add", "NAME", *_flag(group))
        lines += [
            f"warning: too few people in reviewers.yaml may decide ({group}); what needs them will expire.",
            f"  add one: {add}",
        ]
    next_one = (mine or rows)[0].group
    whole = ["--group"] if len(next_one.members) > 1 else []
    return [*lines, f"Next: {session.hint('show', next_one.first.name, *whole)}"]


def _others(rows: Iterable[_Row]) -> str:
    reasons = [f"{row.group.first.name}: {row.standing.why_not}" for row in rows if row.standing]
    if not reasons:
        return ""
    more = f"; {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return f" ({reasons[0]}{more})"


def _flag(group: str) -> tuple[str, ...]:
    return () if group == "anyone" else ("--group", group.split(" or ", maxsplit=1)[0])


async def _nothing(session: Session, wish: _Wish, store: ReviewerStore) -> list[Line]:
    """Nothing to do, and why that is believable."""
    from hitl_cli.feed import Feed  # noqa: PLC0415 - start-up: only an empty list reads the audit logs
    from hitl_cli.today import today  # noqa: PLC0415

    where = f"namespace {session.namespace} of {session.home.path}" if session.namespace else str(session.home.path)
    requests: list[ApprovalRequest] = await store.list(session.namespace)
    numbers = today(Feed(session.home).fresh(), requests, session.now())
    what = "Nothing that you may decide is waiting" if wish.only_reviewable else "Nothing is waiting"
    lines: list[Line] = [f"{what} in {where}. Today: {numbers}."]
    people = session.people()
    if not people:
        lines.append(f"Nobody may decide here yet: {session.hint('dev', 'reviewer', 'add', 'NAME')}")
    elif wish.who:
        person = people.get(wish.who.casefold())
        groups = ", ".join(person.groups) or "no group" if person else "not in reviewers.yaml"
        lines.append(f"You are {wish.who} ({groups}).")
    return lines
