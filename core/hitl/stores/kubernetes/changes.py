"""Following what changes in the API server, whoever changes it."""

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import ApiError, HitlError, StoreUnavailable
from hitl.kube.api import KubeAPI
from hitl.kube.following import Pauses, changes_after, is_newer
from hitl.stores.protocol import Known

# Changes that wait for a slow reader at most; then the server waits, and at last the watch is taken up again.
_AHEAD: Final = 64
# Seconds between two tries at most: a reviewer's word should not lie there for longer once the server is back.
_LONGEST_PAUSE: Final = 3.0

Read = Callable[[Mapping[str, Any]], ApprovalRequest | None]
Deleted = Callable[[str, str], None]


class Feed:
    """What a watch knows and does; the task that works on it holds this and not the watch, which may be dropped.

    Everything with a later version than the last one delivered has changed since: that is all it has to remember. A
    watch that is too old is caught up with by one look at everything, page by page.
    """

    def __init__(
        self,
        api: KubeAPI,
        path: str,
        *,
        start: Callable[[], Awaitable[str]],
        deleted: Deleted | None,
        timeout: int,
        idle: float | None,
    ) -> None:
        self.found: deque[Mapping[str, Any] | HitlError] = deque()
        self.stirred = asyncio.Event()
        self.room = asyncio.Event()
        self.is_closed = False
        self._api = api
        self._path = path
        self._start = start
        self._deleted = deleted
        self._timeout = timeout
        self._idle = idle
        self._version = ""
        self._is_behind = False

    async def run(self) -> None:
        """Work until cancelled."""
        pauses = Pauses(longest=_LONGEST_PAUSE)
        failures = 0
        while True:
            began = self._version
            try:
                await self._step()
            except ApiError as error:
                if error.status == 410:
                    self._is_behind = True
                else:
                    said = f"{error.status} {error}; see the caller's credentials and roles"
                    await self._put(
                        StoreUnavailable(
                            f"the API server {self._api.server} does not let {self._path} be watched: {said}"
                        )
                    )
            except HitlError as error:
                failures = 1 if self._version != began else failures + 1
                if failures > 1:  # the first is a connection that was cut; nobody need hear of it
                    await self._put(error)
            except Exception as error:  # noqa: BLE001 - who decides what waits must not end with it
                words = f"{type(error).__name__}: {error}"
                await self._put(StoreUnavailable(f"{self._path} cannot be watched by a defect ({words})"))
            else:
                failures = 0
                pauses.reset()
                continue
            if self._version != began:
                pauses.reset()
            await pauses.rest()

    async def _step(self) -> None:
        if not self._version:
            self._version = await self._start()
        if self._is_behind:
            await self._catch_up()
            return
        events = changes_after(self._version, self._api, self._path, timeout=self._timeout, idle=self._idle)
        async with aclosing(events):
            async for kind, found in events:
                if kind == "DELETED":
                    await self._tell_deleted(found["metadata"])
                elif kind != "BOOKMARK":
                    await self._put(found)
                self._version = found["metadata"]["resourceVersion"]

    async def _catch_up(self) -> None:
        after, reached = "", ""
        while True:
            page = await self._api.list_page(self._path, after=after)
            reached = reached or page["metadata"]["resourceVersion"]
            # A storage that was set back numbers anew: then nothing tells what changed, and everything is told.
            is_reset = is_newer(self._version, reached)
            for found in page.pop("items", None) or ():
                if is_reset or is_newer(found["metadata"]["resourceVersion"], self._version):
                    await self._put(found)
            after = page["metadata"].get("continue", "")
            if not after:
                break
        self._version, self._is_behind = reached, False

    async def _tell_deleted(self, metadata: Mapping[str, Any]) -> None:
        if self._deleted is None:
            return
        handle = f"{metadata['namespace']}/{metadata['name']}"
        try:
            self._deleted(handle, metadata["uid"])
        except Exception as error:  # noqa: BLE001 - one request must not hide all the others
            words = f"{type(error).__name__}: {error}"
            await self._put(StoreUnavailable(f"{handle} was deleted, which could not be taken in ({words})"))

    async def _put(self, item: Mapping[str, Any] | HitlError) -> None:
        while len(self.found) >= _AHEAD:
            self.room.clear()
            await self.room.wait()
        self.found.append(item)
        self.stirred.set()


class ChangeWatch:
    """One reader's changes, in the order in which the server tells them."""

    def __init__(self, feed: Feed, *, read: Read, known: Known | None) -> None:
        self._feed = feed
        self._read = read
        self._known = known
        self._task = asyncio.get_running_loop().create_task(feed.run(), name="hitl-store-watch")
        self._task.add_done_callback(lambda _: feed.stirred.set())
        weakref.finalize(self, _cancel, asyncio.get_running_loop(), self._task).atexit = False

    def __aiter__(self) -> "ChangeWatch":
        return self

    async def __anext__(self) -> ApprovalRequest:
        feed = self._feed
        while not feed.is_closed:
            if feed.found:
                item = feed.found.popleft()
                feed.room.set()
                if isinstance(item, HitlError):
                    raise item
                if (request := self._news(item)) is not None:
                    return request
                continue
            if self._task.done() and not self._task.cancelled():
                self._task.result()  # a defect of ours is not to be waited out
            feed.stirred.clear()
            await feed.stirred.wait()
        raise StopAsyncIteration

    def _news(self, found: Mapping[str, Any]) -> ApprovalRequest | None:
        """What was found, if the reader does not know it by now: read only then."""
        metadata = found["metadata"]
        version = metadata["resourceVersion"]
        if self._known is not None and self._known(metadata["namespace"], metadata["name"], version):
            return None
        return self._read(found)

    async def aclose(self) -> None:
        self.end()
        await asyncio.wait([self._task])

    def end(self) -> None:
        """As `aclose`, for who cannot wait."""
        self._feed.is_closed = True
        self._task.cancel()
        self._feed.stirred.set()


def _cancel(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
    if not loop.is_closed() and not task.done():
        loop.call_soon_threadsafe(task.cancel)
