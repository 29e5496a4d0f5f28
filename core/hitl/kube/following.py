"""Changes in a collection from a version on, over one connection; what reflectors and stores' watches share."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from hitl.errors import ApiError
from hitl.kube.api import JSON, LIST_METADATA, WATCH_TIMEOUT, KubeAPI, Params

# Seconds between two tries, doubling.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 20.0


class Pauses:
    """Ever longer pauses between tries that fail, each with a jitter, so that a fleet does not come back as one."""

    def __init__(self, *, longest: float = _LONGEST_PAUSE) -> None:
        self._longest = longest
        self._next = _FIRST_PAUSE

    def reset(self) -> None:
        """It works again."""
        self._next = _FIRST_PAUSE

    async def rest(self) -> None:
        """Wait, and longer the next time."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads callers, no secret


async def changes_after(
    version: str,
    api: KubeAPI,
    path: str,
    params: Params | None = None,
    *,
    accept: str = JSON,
    timeout: int = WATCH_TIMEOUT,
    idle: float | None = None,
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """As `KubeAPI.watch` from `version` on. ApiError 410 also where the server's versions went back (an etcd restore).

    A watch that waits for a version of the future hears nothing and says nothing: an end without a word is looked into.
    """
    is_silent = True
    events = api.watch(path, params, version=version, accept=accept, timeout=timeout, idle=idle)
    async with aclosing(events):
        async for kind, found in events:
            is_silent = False
            yield kind, found
    if is_silent:
        # What a watch accepts is for single objects; of a list the version is all that is asked for.
        page = await api.list_page(path, params, limit=1, accept=LIST_METADATA)
        if is_newer(version, page["metadata"]["resourceVersion"]):
            raise ApiError(
                410,
                "Expired",
                f"{path}: version {version} is ahead of the server's {page['metadata']['resourceVersion']}: its "
                "storage was set back, perhaps restored; looking at everything anew",
            )


def is_newer(version: str, than: str) -> bool:
    """Whether one resourceVersion of a collection is later than another: they are growing integers (KEP-5504)."""
    return int(version) > int(than)
