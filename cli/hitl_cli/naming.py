"""Suggestions for what takes the name of a request, a namespace or a context."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitl.approvals.keys import tells
from hitl.approvals.requests import ApprovalRequest, State
from hitl_cli.endings import state_at
from hitl_cli.session import Session
from hitl_cli.standing import standing_of

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from hitl_cli.standing import Viewer


def telling_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The same where a name approves: only what was typed far enough to mean one call, and none that nobody saw."""
    found = request_names(context, parameter, incomplete)
    return [each for each in found if tells(each.value, incomplete)]


def request_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The requests that wait where the words so far say, each with what would happen.

    For a command that decides only those to which this person may do it.
    """
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - start-up: only completion needs it

    session = context.find_object(Session)
    if session is None:
        return []
    given = context.params.get("names") or ()
    return [
        CompletionItem(name, help=summary)
        for name, summary in asyncio.run(_waiting(session, context.command.name or ""))
        if name.startswith(incomplete) and name not in given
    ]


def context_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The contexts of the kubeconfig."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - as above

    names = dict.fromkeys(str(each.get("name", "")) for each in _contexts(context))
    return [CompletionItem(name) for name in names if name and name.startswith(incomplete)]


def namespace_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The cluster's namespaces; for whom they are a secret, those that the kubeconfig's contexts name."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - as above

    session = context.find_object(Session)
    if session is None or not session.is_on_cluster:
        return []
    names = asyncio.run(_namespaces(session))
    if not names:
        inside = (each.get("context") for each in _contexts(context))
        names = [str(each["namespace"]) for each in inside if isinstance(each, dict) and each.get("namespace")]
    return [CompletionItem(name) for name in sorted(set(names)) if name.startswith(incomplete)]


_DECIDING = ("approve", "deny", "escalate", "extend")


async def _waiting(session: Session, verb: str) -> list[tuple[str, str]]:
    decides = verb in _DECIDING
    async with session.place.open(viewed=decides) as desk:
        now = session.now()
        waiting = [each for each in await desk.waiting() if state_at(each, now) is State.PENDING]
        viewer = await desk.viewer(waiting, verb) if decides else None
    if viewer is not None:
        waiting = [each for each in waiting if _is_open_to(session, viewer, each, verb)]
    return [(each.name, each.spec.summary) for each in waiting]


def _is_open_to(session: Session, viewer: "Viewer", request: ApprovalRequest, verb: str) -> bool:
    if verb not in ("approve", "deny"):
        return not viewer.why_not(verb, request)
    standing = standing_of(viewer, request, session.place.progress(request))
    return standing.may_approve if verb == "approve" else not (standing.vote or viewer.why_not(verb, request))


async def _namespaces(session: Session) -> list[str]:
    from hitl.errors import HitlError  # noqa: PLC0415 - as above
    from hitl.kube.paths import path_of  # noqa: PLC0415 - a home needs it not

    place = session.need_cluster("list")
    async with place.open(viewed=False) as desk:
        try:
            return [each["metadata"]["name"] async for each in desk.api.list(path_of("v1", "namespaces"))]
        except HitlError:
            return []


def _contexts(context: click.Context) -> Iterator[Mapping[str, Any]]:
    """The entries of the kubeconfigs that count; whatever cannot be read has none."""
    import yaml  # noqa: PLC0415 - start-up: only completion needs it

    session = context.find_object(Session)
    named = session.kubeconfig if session is not None else None
    files = [named] if named else os.environ.get("KUBECONFIG", "").split(os.pathsep)
    for file in [each for each in files if each] or ["~/.kube/config"]:
        try:
            document = yaml.safe_load(Path(file).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        entries = document.get("contexts") if isinstance(document, dict) else None
        yield from (each for each in entries or () if isinstance(each, dict))
