"""Why it is believable that nothing waits: today's requests as they are stored, and what the caller may decide."""

from collections import Counter
from datetime import datetime

from hitl.approvals.requests import State
from hitl.errors import HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_cli.on_cluster.me import Me
from hitl_cli.on_cluster.place_words import PlaceWords
from hitl_cli.on_cluster.rights import TIERS, Right

_TIERS = {"confirm": "Confirm", "multi-factor": "MultiFactor"}


async def quiet(api: KubeAPI, place: PlaceWords, me: Me) -> list[str]:
    """As `hitl_cli.place.Desk.quiet`."""
    try:
        today = await _today(api, place)
    except HitlError:
        today = "Today's requests cannot be counted"
    if me.cannot_be_a_reviewer:
        return [f"{today}.", f"You may decide nothing: {me.name} is {me.cannot_be_a_reviewer}, and only people decide."]
    where = place.namespace or ""
    may = [tier for tier in TIERS if place.rights.has(Right("approve", tier, where))]
    scope = f" -n {where}" if where else " -A"
    not_may = [
        f"{_TIERS[tier]} (kubectl auth can-i approve ar --subresource={tier}{scope})"
        for tier in TIERS
        if tier not in may
    ]
    decide = ", ".join(_TIERS[tier] for tier in may) or "nothing"
    return [f"{today}.", f"You may decide: {decide}.{_not(not_may)}"]


def _not(tiers: list[str]) -> str:
    return f" Not: {', '.join(tiers)}." if tiers else ""


async def _today(api: KubeAPI, place: PlaceWords) -> str:
    """Counts of what was held since local midnight and is still stored; no request is looked at as a whole."""
    midnight = place.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    states: Counter[str] = Counter()
    async for item in api.list(path_of("hitl.dev/v1alpha1", "approvalrequests", place.namespace)):
        if datetime.fromisoformat(item["metadata"]["creationTimestamp"]) >= midnight:
            states[str(item.get("status", {}).get("state", ""))] += 1
    decided = sum(states[each.value] for each in (State.APPROVED, State.CONSUMED, State.DENIED))
    return f"Today: {states.total()} held, {decided} decided, {states[State.EXPIRED.value]} expired"
