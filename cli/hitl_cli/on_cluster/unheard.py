"""Why nobody looks at a vote, as far as the one who cast it may see: the Lease, and what refuses false votes."""

import asyncio
from typing import Final

from hitl.errors import HitlError
from hitl.kube import shipped
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_cli.on_cluster.checks import admission, operator
from hitl_cli.on_cluster.findings import Finding, Health
from hitl_cli.on_cluster.place_words import PlaceWords

# What it means for a vote that one of these is not as it should be.
_MEANS: Final = {
    "operator": "the operator is down, so no vote is counted",
    "admission": "the API server's checks are not whole, so no vote is believed and the request may be cancelled",
}


async def why_unheard(api: KubeAPI, place: PlaceWords) -> list[str]:
    """Lines on what is wrong, or on who can look."""
    installation = shipped.DEFAULT
    found = await asyncio.gather(
        operator(api, installation.namespace, place.now()),
        admission(api, installation),
        _told(api, installation.namespace),
        return_exceptions=True,
    )
    lines: list[str] = []
    unseen = False
    for each in found:
        if isinstance(each, HitlError):
            unseen = True
        elif isinstance(each, BaseException):
            raise each
        else:
            unseen = unseen or any(finding.health is Health.UNKNOWN for finding in each)
            lines += _problem(each)
    doctor = place.hint("doctor")
    if lines:
        return [*lines, f"Tell an administrator: {doctor}"]
    if unseen:
        return [
            "  you may not see whether the operator runs and its checks stand; if not, the vote will not count",
            f"Ask an administrator: {doctor}",
        ]
    return [f"Next: {doctor}"]


async def _told(api: KubeAPI, namespace: str) -> list[Finding]:
    """What the operator said last of whether the checks stand, as long as its Event is kept."""
    path = path_of("v1", "events", namespace)
    events = [each async for each in api.list(path, {"fieldSelector": "involvedObject.name=hitl-enforcement"})]
    last = max(events, key=lambda each: str(each.get("lastTimestamp") or ""), default=None)
    if last is None or last.get("type") != "Warning":
        return []
    return [Finding("admission", Health.PROBLEM, f"{last.get('reason', '')}: {last.get('message', '')}")]


def _problem(findings: list[Finding]) -> list[str]:
    problem = next((each for each in findings if each.health is Health.PROBLEM), None)
    return [] if problem is None else [f"  {_MEANS[problem.check]}: {problem.text}"]
