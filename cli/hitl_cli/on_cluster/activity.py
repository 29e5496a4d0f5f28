"""The Events that the operator posts: one for each workload, tool and minute, as long as the API server keeps them."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from hitl.errors import ApiError
from hitl.kube.paths import path_of
from hitl_cli.on_cluster.reading import denied
from hitl_cli.told import Told

if TYPE_CHECKING:
    from hitl_cli.on_cluster.place import ClusterPlace

# Whoever may write Events can write these words as well: this keeps out what is not even said to be the operator's.
_POSTED: Final = "reportingComponent=hitl-operator"
_OURS: Final = {"labelSelector": "app.kubernetes.io/part-of=hitl", "fieldSelector": _POSTED}
# What ran without asking, and what ran although people were to be asked.
_UNASKED: Final = tuple({**_OURS, "fieldSelector": f"{_POSTED},reason={reason}"} for reason in ("Notify", "BreakGlass"))
_RAN: Final = " ran "
_ASKS: Final = (" asks (", " may run what its policy holds (")
_BETWEEN: Final = " · "
# How often a followed feed is looked at, seconds; each look is one call.
_LOOK_SECONDS: Final = 2.0


class ClusterActivity:
    """See `hitl_cli.told.Activity`."""

    def __init__(self, place: "ClusterPlace") -> None:
        self._place = place
        self._seen: set[str] = set()

    def fresh(self, *, every: bool) -> list[Told]:
        found = [each for each in asyncio.run(self._read(every=every)) if each["metadata"]["uid"] not in self._seen]
        self._seen.update(each["metadata"]["uid"] for each in found)
        return sorted((told_of(each) for each in found), key=lambda told: told.time)

    def follow(self, *, every: bool) -> Iterator[Told]:
        while True:
            yield from self.fresh(every=every)
            time.sleep(_LOOK_SECONDS)

    def heading(self, *, every: bool) -> list[str]:
        shown = "Notify-tier calls, held requests and how they ended" if every else "Notify-tier calls and break-glass"
        return [
            f"{shown} in {self._place.where}, as the operator's Events tell them: of Notify one for each agent,",
            "tool and minute, as long as the API server keeps Events (an hour). Every call: the sidecars' audit logs.",
        ]

    @property
    def more(self) -> str:
        return "Held requests too: --all"

    def caveats(self) -> list[str]:
        return [
            "Whoever may write Events here can write such lines too; what counts stands in requests and audit logs."
        ]

    async def _read(self, *, every: bool) -> list[dict[str, Any]]:
        async with self._place.open(viewed=False) as desk:
            path = path_of("v1", "events", self._place.namespace)
            try:
                wanted = (_OURS,) if every else _UNASKED
                return [each for selector in wanted async for each in desk.api.list(path, selector)]
            except ApiError as error:
                step = "role hitl-viewer has verb list on events"
                raise denied(error, f"list events in {self._place.where}", step) from error


def told_of(event: Mapping[str, Any]) -> Told:
    """An Event as a line of the feed. Of Notify the message is ``WORKLOAD ran TOOL · WHY · WHAT``.

    Of anything else the name comes first in what is told: it is to be typed, so it must not be cut.
    """
    message, name = str(event.get("message", "")), ""
    agent, ran, what = message.partition(_RAN)
    if event.get("reason") != "Notify" or not ran:
        ran, agent = "", next((message.partition(each)[0] for each in _ASKS if each in message), "-")
        name = str(event.get("involvedObject", {}).get("name", ""))
        what = f"{name}   {message}"
    tool, *rest = what.split(_BETWEEN, 2) if ran else [what]
    why, doing = (rest[0], rest[1]) if len(rest) == 2 else ("-", what)
    # The server's own stamp. The operator posts each Event once, and the other times in it are its writer's words.
    when = event["metadata"]["creationTimestamp"]
    document = {
        "time": when,
        "decision": event.get("reason", ""),
        "agent": agent,
        "tool": tool if ran else None,
        "reason": why,
        "summary": doing,
        "namespace": event["metadata"]["namespace"],
    }
    return Told(
        datetime.fromisoformat(when),
        str(event.get("reason", "")),
        agent.rpartition("/")[2] or agent,
        why,
        doing,
        document,
        name,
    )
