"""Break-glass: one person lets a held call run alone (SECURITY D4). It is shown whole, and said back by its name."""

import asyncio
from collections.abc import Sequence

import click

from hitl.approvals.requests import ApprovalRequest, DecisionKind
from hitl.errors import AmbiguousName
from hitl.policy import wording
from hitl_cli.answers import Choice, print_one
from hitl_cli.deciding import Reviewer
from hitl_cli.decisions import record_one
from hitl_cli.exits import Exit
from hitl_cli.lines import Line, hanging
from hitl_cli.page import Beside, page
from hitl_cli.past import past_of
from hitl_cli.requests import chosen, is_telling
from hitl_cli.session import Session
from hitl_cli.wishes import Wish


def override(session: Session, name: str, reason: str, *, yes: bool) -> Exit:
    """Show what would run and against whom, have the name said back, record it, and print what came of it.

    yes: the name was said with the command; nobody is asked.
    """
    if not reason.strip():
        raise click.UsageError(
            'break-glass wants a reason, everybody reads it: --reason "…"; nothing was recorded',
            click.get_current_context(silent=True),
        )
    request, others, reviewer = asyncio.run(_read(session, name))
    reviewer.check(request, DecisionKind.OVERRIDDEN)
    if yes:
        _need_telling(session, request, name)
    elif not _is_said_back(session, request, others, reviewer):
        session.screen.talk("nothing was recorded")
        return Exit.ERROR
    # Outside the event loop, as every question: there Ctrl-C would only be seen after the answer.
    recorded = asyncio.run(record_one(session, reviewer, request, Wish(DecisionKind.OVERRIDDEN, reason)))
    return print_one(session, Choice(DecisionKind.OVERRIDDEN, (name,), reason), recorded)


async def _read(session: Session, name: str) -> tuple[ApprovalRequest, Sequence[ApprovalRequest], Reviewer]:
    async with session.place.open() as desk:
        others = await desk.around([name], decides=True)
        request = chosen(others, name, session.place)
        return request, others, Reviewer(session.place, await desk.voter([request], "override"), session.now)


def _need_telling(session: Session, request: ApprovalRequest, typed: str) -> None:
    """AmbiguousName where the name could mean another call by now: the agent chooses what a beginning means."""
    if not is_telling(request, typed):
        raise AmbiguousName(
            f"the name is too short to let a call run by; nothing was recorded\n"
            f"Look:  {session.hint('show', request.name, about=request)}",
            (request.name,),
        )


def _is_said_back(
    session: Session, request: ApprovalRequest, others: Sequence[ApprovalRequest], reviewer: Reviewer
) -> bool:
    screen = session.screen
    if not (screen.is_interactive and screen.output.is_for_people):
        raise click.UsageError(
            f"break-glass is said back at a terminal; without one add --yes once you have seen "
            f"{session.hint('show', request.name, about=request)}; nothing was recorded",
            click.get_current_context(silent=True),
        )
    beside = Beside(past_of(request, others), session.place, reviewer.viewer, session.now())
    screen.talk(*page(request, beside, screen.width, full=True), "", *_what_it_means(session, request))
    return screen.ask(f"Type its name to let it run ({request.name}): ").lower() == request.name


def _what_it_means(session: Session, request: ApprovalRequest) -> list[Line]:
    rows = [row for row in session.place.progress(request) if not row.met]
    asked = " and ".join(wording.people(row.requirement, row.places - len(row.filled_by)) for row in rows)
    said = [f"your word alone lets it run, once, in the place of {asked or 'everybody who is asked'}"]
    if not session.is_on_cluster:
        said.append("your key signs it, and nothing else: a home knows no second factor")
    said += [
        "the policy is asked once more before it runs: what it forbids by now does not run",
        "your name and reason are kept, counted and alerted, and the agent is told that it was an exception",
    ]
    return ["BREAK-GLASS", *(piece for each in said for piece in hanging("  ", each, session.screen.width))]
