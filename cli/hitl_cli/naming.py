"""Completion of what takes the name of a request, a namespace or a context. What there is: `hitl_cli.offers`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from hitl_cli.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def telling_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """As `request_names` where a name approves: only what was typed far enough to mean one call, and was seen."""
    from hitl.approvals.keys import tells  # noqa: PLC0415 - start-up: only completion needs it

    return [each for each in request_names(context, _parameter, incomplete) if tells(each.value, incomplete)]


def request_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The requests that wait where the words so far say, each with what would happen.

    For a command that decides only those to which this person may do it.
    """
    import asyncio  # noqa: PLC0415 - start-up: as above

    from hitl_cli.offers import waiting  # noqa: PLC0415

    if (session := context.find_object(Session)) is None:
        return []
    given = context.params.get("names") or ()
    found = asyncio.run(waiting(session, context.command.name or ""))
    return _items({name: about for name, about in found if name not in given}, incomplete)


def context_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The contexts of the kubeconfig."""
    from hitl_cli.offers import contexts  # noqa: PLC0415 - start-up: as above

    found = contexts(context.find_object(Session) or Session())
    return _items({name: None for each in found if (name := str(each.get("name", "")))}, incomplete)


def namespace_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The cluster's namespaces; for whom they are a secret, those that the kubeconfig's contexts name."""
    import asyncio  # noqa: PLC0415 - start-up: as above

    from hitl_cli.offers import namespaces  # noqa: PLC0415

    session = context.find_object(Session)
    if session is None or not session.is_on_cluster:
        return []
    return _items(dict.fromkeys(sorted(asyncio.run(namespaces(session)))), incomplete)


def freeze_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """What is frozen where the words so far say, each with who stopped it and why."""
    import asyncio  # noqa: PLC0415 - start-up: as above

    from hitl_cli.offers import freezes  # noqa: PLC0415

    if (session := context.find_object(Session)) is None:
        return []
    where = str(context.params.get("operator_namespace") or "") if context.params.get("everywhere") else ""
    given = context.params.get("names") or ()
    found = asyncio.run(freezes(session, where))
    return _items({name: about for name, about in found if name not in given}, incomplete)


def _items(names: Mapping[str, str | None], incomplete: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - start-up: as above

    return [CompletionItem(name, help=about) for name, about in names.items() if name.startswith(incomplete)]
