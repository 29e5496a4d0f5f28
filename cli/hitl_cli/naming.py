"""Suggestions for an argument that takes the name of a request."""

import asyncio
from typing import TYPE_CHECKING

import click

from hitl.approvals.keys import tells
from hitl_cli.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def telling_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The same where a name approves: only what was typed far enough to mean one call, and none that nobody saw."""
    found = request_names(context, parameter, incomplete)
    return [each for each in found if tells(each.value, incomplete)]


def request_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The requests that wait where the words so far say, each with what would happen."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - start-up: only completion needs it

    session = context.find_object(Session)
    if session is None:
        return []
    given = context.params.get("names") or ()
    return [
        CompletionItem(name, help=summary)
        for name, summary in asyncio.run(_waiting(session))
        if name.startswith(incomplete) and name not in given
    ]


async def _waiting(session: Session) -> list[tuple[str, str]]:
    async with session.place.open(viewed=False) as desk:
        return [(each.name, each.spec.summary) for each in await desk.waiting()]
