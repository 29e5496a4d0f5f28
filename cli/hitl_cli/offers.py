"""What there is to be named: requests that wait, namespaces, contexts. Loaded once somebody presses Tab."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from hitl.approvals.requests import ApprovalRequest, Kind, State
from hitl.errors import HitlError
from hitl.kube.paths import path_of
from hitl_cli.endings import state_at
from hitl_cli.session import Session
from hitl_cli.standing import Viewer, standing_of, standing_to_override

_DECIDING = ("approve", "deny", "breakglass", "escalate", "extend")
_VERBS = {"breakglass": "override"}  # where the right is not named as the command


async def waiting(session: Session, verb: str) -> list[tuple[str, str]]:
    """Names and summaries of requests; for a command that decides, only those to which this person may do it."""
    decides, verb = verb in _DECIDING, _VERBS.get(verb, verb)
    async with session.place.open(viewed=decides) as desk:
        now = session.now()
        found = [each for each in await desk.waiting() if state_at(each, now) is State.PENDING]
        viewer = await desk.viewer(found, verb) if decides else None
    if viewer is not None:
        found = [each for each in found if _is_open_to(session, viewer, each, verb)]
    return [(each.name, each.spec.summary) for each in found]


def _is_open_to(session: Session, viewer: Viewer, request: ApprovalRequest, verb: str) -> bool:
    if verb == "override":
        return request.spec.kind is Kind.TOOL_CALL and standing_to_override(viewer, request).may_approve
    if verb not in ("approve", "deny"):
        return not viewer.why_not(verb, request)
    standing = standing_of(viewer, request, session.place.progress(request))
    return standing.may_approve if verb == "approve" else not (standing.vote or viewer.why_not(verb, request))


async def namespaces(session: Session) -> list[str]:
    """The cluster's, as far as the caller may know; for whom they are a secret, those that the contexts name."""
    place = session.need_cluster("list")
    async with place.open(viewed=False) as desk:
        try:
            found = [each["metadata"]["name"] async for each in desk.api.list(path_of("v1", "namespaces"))]
        except HitlError:
            found = []
    if not found:
        inside = (each.get("context") for each in contexts(session))
        found = [str(each["namespace"]) for each in inside if isinstance(each, dict) and each.get("namespace")]
    return found


async def freezes(session: Session, namespace: str) -> list[tuple[str, str]]:
    """Names of freezes, with who stopped what and why; `namespace`: empty for that of this run."""
    from hitl_cli.home_freezes import names_of  # noqa: PLC0415 - completion of requests needs neither
    from hitl_cli.on_cluster.freezes import seen  # noqa: PLC0415

    if not session.is_on_cluster:
        return names_of(session)
    place = session.need_cluster("thaw")
    where = namespace or place.access.namespace
    async with place.open(viewed=False) as desk:
        found = await seen(desk.api, [where], session.hint("doctor"))
    return [(each.name, f"{each.by}: {each.reason}") for each in found]


def contexts(session: Session) -> Iterator[Mapping[str, Any]]:
    """The entries of the kubeconfigs that count; whatever cannot be read has none."""
    files = [session.kubeconfig] if session.kubeconfig else os.environ.get("KUBECONFIG", "").split(os.pathsep)
    for file in [each for each in files if each] or ["~/.kube/config"]:
        try:
            document = yaml.safe_load(Path(file).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        entries = document.get("contexts") if isinstance(document, dict) else None
        yield from (each for each in entries or () if isinstance(each, dict))
