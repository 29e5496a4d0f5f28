"""Archives requests that ended, and removes them long after (DESIGN 8 Clean-up, SECURITY H2); the leader does it.

Evidence is never deleted on a guess: what the archive has not just taken or confirmed, in the very version that stands
in the cluster, stays, however much of it there is. Whoever dies in between leaves a copy, which the next one confirms.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from hitl.approvals.requests import State
from hitl.errors import ApiError, HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.codecs import TIME, Misfit
from hitl.kube.paths import path_of
from hitl.kube.requests import API_VERSION
from hitl_operator.archive.archive import EndedRequest
from hitl_operator.cluster.probe import PROBE
from hitl_operator.logs import Log

TTL: Final = timedelta(hours=24)
MOST_RESOLVED: Final = 5000  # in one namespace; a request takes some 7 KB in etcd
PER_MINUTE: Final = 600  # deletions; a backlog of 48 000, a busy day, is gone within 80 minutes
_TOGETHER: Final = 100  # requests that are archived with one checkpoint
_EVERY: Final = 60.0  # seconds between two rounds
_REQUESTS: Final = path_of(API_VERSION, "approvalrequests")
_ENDED: Final = tuple(state for state in State if state.is_terminal)

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A request that has ended, as much of it as the choice needs."""

    namespace: str
    name: str
    uid: str
    version: str
    at: datetime

    @property
    def handle(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class Archive(Protocol):
    """Where what ended is kept."""

    async def keep_requests(self, requests: Sequence[EndedRequest]) -> None:
        """They can be read back from there afterwards. HitlError: nobody knows whether they can."""
        ...


def overdue(
    resolved: Iterable[Resolved], now: datetime, *, ttl: timedelta = TTL, most: int = MOST_RESOLVED
) -> list[Resolved]:
    """What may go: all that ended `ttl` ago, and of each namespace the oldest beyond `most`. Oldest first."""
    by_namespace: dict[str, list[Resolved]] = defaultdict(list)
    for each in resolved:
        by_namespace[each.namespace].append(each)
    chosen = []
    for found in by_namespace.values():
        found.sort(key=lambda each: (each.at, each.name))
        excess = max(0, len(found) - most)
        chosen += [each for rank, each in enumerate(found) if rank < excess or each.at + ttl <= now]
    return sorted(chosen, key=lambda each: (each.at, each.namespace, each.name))


class Cleanup:
    """Does it.

    Args:
        api: as the operator.
        archive: gets each request before it is deleted; None: there is none, and nothing is ever deleted.
        leads: only a replica for which this is true deletes anything.
        ttl: how long what ended stays at least, unless there are too many.
        most: how many stay in one namespace.
        per_minute: deletions.
    """

    def __init__(
        self,
        api: KubeAPI,
        archive: Archive | None,
        *,
        leads: Callable[[], bool],
        ttl: timedelta = TTL,
        most: int = MOST_RESOLVED,
        per_minute: int = PER_MINUTE,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._archive = archive
        self._leads = leads
        self._ttl = ttl
        self._most = most
        self._per_minute = per_minute
        self._clock = clock
        self._monotonic = monotonic
        self._archived: dict[str, str] = {}
        self._minute, self._deleted_in_it = monotonic(), 0
        self._deleted = Counter(
            "hitl_requests_deleted_total", "Ended requests that were cleaned up.", registry=registry
        )
        self._kept = Gauge(
            "hitl_requests_unarchived", "Ended requests that are overdue and that no archive has.", registry=registry
        )

    async def run(self) -> None:
        """Archive and clean up until cancelled. Without an archive nothing is even looked at."""
        if self._archive is None:
            _log.warning("clean-up-off", meaning="no archive is set up, so requests that ended stay in the cluster")
            return
        while True:
            if self._leads():
                try:
                    await self.sweep()
                except HitlError as error:
                    _log.error("clean-up-failed", problem=error)
            await asyncio.sleep(_EVERY)

    async def sweep(self) -> int:
        """One round; how many were deleted. ApiError, StoreUnavailable: what there is could not be read."""
        if self._archive is None or not self._leads():
            return 0
        resolved = await self._resolved(self._archive)
        chosen = overdue(resolved, self._clock(), ttl=self._ttl, most=self._most)
        archived = [each for each in chosen if self._archived.get(each.uid) == each.version]
        deleted, kept = 0, len(chosen) - len(archived)
        self._kept.set(kept)
        for each in archived:
            if not self._leads() or not self._may_delete():
                break
            try:
                deleted += await self._delete(each)
            except HitlError as error:
                _log.error("request-not-deleted", handle=each.handle, problem=error)
        if deleted:
            _log.info("cleaned-up", deleted=deleted, unarchived=kept)
        return deleted

    def _may_delete(self) -> bool:
        now = self._monotonic()
        if now - self._minute >= 60:
            self._minute, self._deleted_in_it = now, 0
        return self._deleted_in_it < self._per_minute

    async def _delete(self, each: Resolved) -> int:
        """Exactly this one, as it was archived: whatever was written since (feedback, a report) keeps it."""
        path = path_of(API_VERSION, "approvalrequests", each.namespace, each.name)
        self._deleted_in_it += 1
        try:
            await self._api.delete(path, uid=each.uid, version=each.version)
        except ApiError as error:
            if error.status in (404, 409):
                return 0
            raise
        self._deleted.inc()
        return 1

    async def _resolved(self, archive: Archive) -> list[Resolved]:
        """Every request that has ended; those that the archive has now are in `_archived` with their version."""
        found: list[Resolved] = []
        fresh: list[EndedRequest] = []
        for state in _ENDED:
            async for item in self._api.list(_REQUESTS, {"fieldSelector": f"status.state={state.value}"}):
                if (each := resolved_of(item)) is None:
                    continue
                found.append(each)
                if self._archived.get(each.uid) != each.version:
                    fresh.append(EndedRequest(each.uid, each.version, each.at, item))
                if len(fresh) == _TOGETHER:
                    fresh = await self._keep(archive, fresh)
        await self._keep(archive, fresh)
        there = {each.uid for each in found}
        self._archived = {uid: version for uid, version in self._archived.items() if uid in there}
        return found

    async def _keep(self, archive: Archive, fresh: list[EndedRequest]) -> list[EndedRequest]:
        """What is left to be kept: nothing, for what the archive refuses now is seen again in the next round."""
        try:
            await archive.keep_requests(fresh)
        except HitlError as error:
            _log.error("requests-not-archived", requests=len(fresh), problem=error)
        else:
            self._archived |= {each.uid: each.version for each in fresh}
        return []


def resolved_of(item: Mapping[str, Any]) -> Resolved | None:
    """What matters of an ended request; None for one that has no time of its end, and for the operator's own probe."""
    metadata, status = item["metadata"], item.get("status") or {}
    if metadata["name"] == PROBE:
        return None
    try:
        at = TIME.read(status.get("resolvedTime"))
    except Misfit:
        return None
    return Resolved(metadata["namespace"], metadata["name"], metadata["uid"], metadata["resourceVersion"], at)
