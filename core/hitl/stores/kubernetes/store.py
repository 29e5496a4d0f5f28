"""The store itself: both sides of `hitl.stores.protocol` on one API server."""

import asyncio
import logging
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, Self

from hitl.approvals.conditions import outcome
from hitl.approvals.requests import ApprovalRequest, Condition, Decision, Note, RequestSpec, RequestStatus, State
from hitl.approvals.transitions import guard, guard_opening
from hitl.errors import ApiError, Conflict, InvalidInput, NotFound, Unreadable
from hitl.kube.access import Access
from hitl.kube.api import WATCH_TIMEOUT, KubeAPI
from hitl.kube.following import is_newer
from hitl.policy.escaping import as_plain
from hitl.stores.kubernetes.changes import ChangeWatch, Deleted, Feed
from hitl.stores.kubernetes.objects import ending_patch, new_object, path_to, request_of, status_patch, unread_of
from hitl.stores.kubernetes.refusals import of_creating, of_reading, of_writing
from hitl.stores.kubernetes.reviewing import Reviewer
from hitl.stores.protocol import Known, Unread

_log = logging.getLogger(__name__)

# Seconds for which the newest version seen is a good place for a watch to begin; servers forget after minutes.
_FRESH: Final = 30.0

# Requests of a page that are read, some 0.1 ms each, before others have their turn on the loop.
_AT_ONCE: Final = 25

# Selects what is open. Pending first: what is approved between the two looks is in both, and none is in neither.
_OPEN: Final = tuple(f"status.state={state.value}" for state in (State.PENDING, State.APPROVED))

Found = list[ApprovalRequest]


class KubernetesStore:
    """`ApprovalStore`, `EndingStore` and `ReviewerStore` on one API server; belongs to the loop of its KubeAPI.

    Reads are live (quorum). A write is acknowledged when etcd has it. An opening is one create: the terms that a
    status would carry follow from the spec and the server's time until the operator writes some (`objects`).
    A request in the store that this release cannot read is left out of lists and watches, with an error in the log and
    a word to `on_unread`; `get` says what is wrong with it (Unreadable), and `end` ends it.
    """

    def __init__(
        self,
        api: KubeAPI,
        *,
        clock: Callable[[], datetime] | None = None,
        field_owner: str = "hitl-operator",
        on_deleted: Deleted | None = None,
        on_unread: Callable[[Unread], None] | None = None,
        watch_timeout: int = WATCH_TIMEOUT,
        watch_idle: float | None = None,
    ) -> None:
        """Does nothing yet.

        Args:
            api: as the operator, or as a reviewer.
            clock: aware times, for what is checked before writing; None: the server's own, for programs on machines
                whose clock nobody looks after.
            field_owner: under which the operator's writes stand in managedFields.
            on_deleted: told (handle, uid) of each request whose deletion a watch of this store sees; on the loop. One
                that falls into a gap of the watch is not seen.
            on_unread: told of each request that a list or watch found and that cannot be read; on the loop.
            watch_timeout: seconds that a watch's connection lives.
            watch_idle: seconds of silence after which it counts as dead; None: a little more than `watch_timeout`.
        """
        self._api = api
        self._clock = clock
        self._field_owner = field_owner
        self._on_deleted = on_deleted
        self._on_unread = on_unread
        self._watch_timeout = watch_timeout
        self._watch_idle = watch_idle
        self._reviewer = Reviewer(api, self.get, self._now)
        self._watches: weakref.WeakSet[ChangeWatch] = weakref.WeakSet()
        self._newest, self._newest_at = "", float("-inf")
        # Watches that do not know yet where they begin, and where that can be looked up.
        self._pending: list[tuple[asyncio.Future[str], str]] = []
        self._anchoring = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, access: Access, *, clock: Callable[[], datetime] | None = None, user_agent: str = "hitl"
    ) -> AsyncIterator[Self]:
        """A store with a KubeAPI of its own; its watches end with the block. InvalidInput as `KubeAPI.open`."""
        async with KubeAPI.open(access, user_agent=user_agent) as api:
            store = cls(api, clock=clock)
            try:
                yield store
            finally:
                await store.aclose()

    async def aclose(self) -> None:
        """End every watch. The KubeAPI stays open for whoever opened it."""
        for watch in tuple(self._watches):
            await watch.aclose()

    async def get(self, namespace: str, name: str) -> ApprovalRequest:
        return self._taken(await self._found(namespace, name))

    async def list(self, namespace: str | None = None, *, pending_only: bool = False) -> Found:
        return await self._selected(namespace, _OPEN if pending_only else ("",))

    def watch(self, namespace: str | None = None, *, known: Known | None = None) -> ChangeWatch:
        """As promised; begins where this store last looked or wrote, or now: then every call waits for that look."""
        path = path_to(namespace)
        start: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if self._newest and time.monotonic() < self._newest_at + _FRESH:
            start.set_result(self._newest)
        else:
            self._pending.append((start, path))

        async def begin() -> str:
            await self._anchored()
            return await start

        feed = Feed(
            self._api,
            path,
            start=begin,
            deleted=self._on_deleted,
            timeout=self._watch_timeout,
            idle=self._watch_idle,
        )
        watch = ChangeWatch(feed, read=self._readable, known=known)
        self._watches.add(watch)
        return watch

    async def create(self, namespace: str, name: str, spec: RequestSpec, status: RequestStatus) -> ApprovalRequest:
        guard_opening(status, self._now())
        await self._anchored()
        try:
            found = await self._api.create(
                path_to(namespace), new_object(namespace, name, spec), field_manager=self._field_owner
            )
        except ApiError as error:
            raise of_creating(error, namespace, name) from error
        return self._taken(found, is_current=True)

    async def write_status(self, request: ApprovalRequest, status: RequestStatus) -> ApprovalRequest:
        guard(request, status)
        await self._anchored()
        if status == request.status:
            return await self._unchanged(request)
        path = path_to(request.namespace, request.name, status=True)
        try:
            found = await self._api.merge_patch(path, status_patch(request, status), field_manager=self._field_owner)
        except ApiError as error:
            if error.status == 409:
                await self._unchanged(request)  # says Conflict, or NotFound where another has the name
            raise of_writing(error, request.namespace, request.name) from error
        return self._taken(found, is_current=True)

    async def end(self, namespace: str, name: str, ended: Condition) -> bool:
        """As `EndingStore.end`."""
        found = await self._found(namespace, name)
        patch = ending_patch(found, ended)
        if patch is None:
            return False
        try:
            await self._api.merge_patch(path_to(namespace, name, status=True), patch, field_manager=self._field_owner)
        except ApiError as error:
            raise of_writing(error, namespace, name) from error
        return True

    async def delete(self, request: ApprovalRequest) -> None:
        await self._anchored()
        try:
            await self._api.delete(path_to(request.namespace, request.name), uid=request.uid)
        except ApiError as error:
            if error.status == 409:
                raise _another(request) from error
            raise of_reading(error, request.namespace, request.name) from error

    async def open_of(self, namespace: str, workload: str) -> Found:
        own = f"spec.agent.workload={_escaped(workload)}"
        return await self._selected(namespace, [f"{own},{state}" for state in _OPEN])

    async def denied_since(self, namespace: str, workload: str, since: datetime) -> Found:
        selector = f"spec.agent.workload={_escaped(workload)},status.state={State.DENIED.value}"
        found: dict[tuple[datetime, datetime, str], ApprovalRequest] = {}
        async for request in self._all(namespace, selector):
            denial = outcome(request.status.conditions, State.DENIED)
            if denial is not None and denial.last_transition_time >= since:
                found[denial.last_transition_time, request.created, request.name] = request
        return [found[key] for key in sorted(found)]

    async def decide(self, namespace: str, name: str, decision: Decision) -> ApprovalRequest:
        return self._taken(await self._reviewer.enter(namespace, name, decision), is_current=True)

    async def note(self, namespace: str, name: str, note: Note) -> ApprovalRequest:
        return self._taken(await self._reviewer.enter(namespace, name, note), is_current=True)

    async def anchor(self) -> None:
        """Look up the server's present version, so that a watch opened next begins at its very call."""
        self._pending.append((asyncio.get_running_loop().create_future(), path_to(None)))
        await self._anchored()

    async def _anchored(self) -> None:
        """Wait until every watch knows where it begins: whoever looks or writes later then misses nothing."""
        if not self._pending:
            return
        async with self._anchoring:
            if not self._pending:
                return
            waiting = tuple(self._pending)
            try:
                page = await self._api.list_page(waiting[0][1], limit=1)
            except ApiError as error:
                raise of_reading(error, None) from error
            version = page["metadata"]["resourceVersion"]
            self._saw(version, is_current=True)
            del self._pending[: len(waiting)]
            for start, _ in waiting:
                if not start.done():
                    start.set_result(version)

    async def _found(self, namespace: str, name: str) -> dict[str, Any]:
        await self._anchored()
        try:
            return await self._api.get(path_to(namespace, name))
        except ApiError as error:
            raise of_reading(error, namespace, name) from error

    async def _selected(self, namespace: str | None, selectors: Sequence[str]) -> Found:
        """What any of these field selectors finds, oldest first."""
        found: dict[tuple[str, str], ApprovalRequest] = {}
        for selector in selectors:
            async for request in self._all(namespace, selector):
                found[request.namespace, request.name] = request
        return sorted(found.values(), key=lambda each: (each.created, each.namespace, each.name))

    async def _all(self, namespace: str | None, selector: str) -> AsyncIterator[ApprovalRequest]:
        await self._anchored()
        after = ""
        params = {"fieldSelector": selector} if selector else {}
        while True:
            try:
                page = await self._api.list_page(path_to(namespace), params, after=after)
            except ApiError as error:
                raise of_reading(error, namespace) from error
            self._saw(page["metadata"]["resourceVersion"], is_current=True)
            for number, found in enumerate(page.pop("items", None) or ()):
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                if (request := self._readable(found)) is not None:
                    yield request
            after = page["metadata"].get("continue", "")
            if not after:
                return

    async def _unchanged(self, request: ApprovalRequest) -> ApprovalRequest:
        """The request as stored, if that is the very one and its version."""
        stored = await self.get(request.namespace, request.name)
        if stored.uid != request.uid:
            raise _another(request, stored.uid)
        if stored.version != request.version:
            raise Conflict(
                f"{request.handle} is at version {stored.version} by now, not {request.version}; "
                "read it and decide again"
            )
        return stored

    def _taken(self, found: Mapping[str, Any], *, is_current: bool = False) -> ApprovalRequest:
        self._saw(found["metadata"]["resourceVersion"], is_current=is_current)
        try:
            return _read(found)
        except InvalidInput as error:
            raise Unreadable(_unreadable(found, error)) from error

    def _readable(self, found: Mapping[str, Any]) -> ApprovalRequest | None:
        try:
            return _read(found)
        except InvalidInput as error:
            _log.error("%s", _unreadable(found, error))
            if self._on_unread is not None:
                self._on_unread(unread_of(found, str(error)))
            return None

    def _saw(self, version: str, *, is_current: bool) -> None:
        """Remember the newest version; one that was read may be old, one just written or listed is the present."""
        if not self._newest or is_newer(version, self._newest):
            if not is_current and not self._newest:
                return
            self._newest = version
        if is_current:
            self._newest_at = time.monotonic()

    def _now(self) -> datetime:
        if self._clock is not None:
            return self._clock()
        return self._api.server_time() or datetime.now(UTC)


def _read(found: Mapping[str, Any]) -> ApprovalRequest:
    """InvalidInput also where we stumble: one request must not hide all the others."""
    try:
        return request_of(found)
    except InvalidInput:
        raise
    except Exception as error:
        raise InvalidInput(f"by a defect ({type(error).__name__}: {error}); please report it") from error


def _unreadable(found: Mapping[str, Any], error: InvalidInput) -> str:
    metadata = found["metadata"]
    return (
        f"approval request {metadata['namespace']}/{metadata['name']} cannot be read by this release of hitl "
        f"({as_plain(str(error))}); nothing in it counts, and it ends with its time. Use the release that made it"
    )


def _another(request: ApprovalRequest, uid: str = "") -> NotFound:
    now = f"uid {uid} has its name now" if uid else "another one has its name now"
    return NotFound(f"{request.handle} with uid {request.uid} is gone; {now}")


def _escaped(value: str) -> str:
    """A value in a field selector, where backslash, comma and equals mean something."""
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
