"""A collection of an API server mirrored in memory: what `keep` makes of each object, and nothing else."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, Final, Generic, TypeAlias, TypeVar

from hitl.errors import ApiError, HitlError, InvalidInput, StoreUnavailable
from hitl.kube.api import JSON, LIST_METADATA, ONE_METADATA, WATCH_TIMEOUT, KubeAPI, Params
from hitl.kube.following import Pauses, changes_after

T = TypeVar("T")
Key: TypeAlias = tuple[str, str]

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
# What an API server says that does not know streaming lists, or has them switched off.
_NO_WATCH_LIST: Final = (400, 422)
# Seconds. A watch that ended in order after less than this is not taken up again at once.
_LIVED: Final = 5.0


class Reflector(Generic[T]):
    """Follows a collection until `run` is cancelled: streams it (WatchList) where that is served, else lists pages.

    A watch that breaks is taken up where it was; one that is too old (410) leads to a new look at everything, in which
    what is gone is found out. `items` are always as they once were on the server, never newer than `heard` ago. One
    object that cannot be taken in keeps no other from being seen, whatever somebody wrote there.
    """

    def __init__(
        self,
        api: KubeAPI,
        path: str,
        *,
        keep: Callable[[dict[str, Any]], T | None],
        params: Params | None = None,
        on_change: Callable[[Key, T | None, T | None], None] | None = None,
        on_trouble: Callable[[HitlError], None] | None = None,
        on_heard: Callable[[], None] | None = None,
        metadata_only: bool = False,
        page: int = 500,
        timeout: int = WATCH_TIMEOUT,
        idle: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Does nothing yet.

        Args:
            api: must allow list and watch on `path`.
            path: of a collection.
            keep: what to remember of an object, seen whole (metadata_only: its metadata); None: nothing, it does not
                count. Whatever it raises counts as None and is reported, with the object's namespace and name.
            params: selectors. An object that leaves a selection counts as deleted.
            on_change: told (key, before, now) of every difference, None for not there; must not block.
            on_trouble: told of every failure; it goes on anyway. InvalidInput: one object was passed over.
            on_heard: told whenever the server lets it read again after a failure; must not block.
            metadata_only: ask for metadata alone, which is cheaper for both sides.
            page: objects in a page, where pages are needed.
            timeout: seconds that one watch lives at most.
            idle: seconds of silence after which a watch counts as dead; None: WATCH_GRACE more than `timeout`.
            monotonic: seconds.
        """
        self._api = api
        self._path = path
        self._keep = keep
        self._params = dict(params or {})
        self._on_change = on_change
        self._on_trouble = on_trouble
        self._on_heard = on_heard
        self._is_deaf = False
        self._accept = (LIST_METADATA, ONE_METADATA) if metadata_only else (JSON, JSON)
        self._page = page
        self._timeout = timeout
        self._idle = idle
        self._monotonic = monotonic
        self._items: dict[Key, T] = {}
        self._version = ""
        self._streams = True  # as far as is known, the server serves WatchList
        self._lists_next = False
        self._last_heard = monotonic()
        self._pauses = Pauses()
        self.items: Mapping[Key, T] = MappingProxyType(self._items)
        self.synced = asyncio.Event()

    @property
    def version(self) -> str:
        """The resourceVersion that `items` are true to; "" before the first look."""
        return self._version

    @property
    def heard(self) -> float:
        """Seconds since the server was last heard: since then everything may have changed."""
        return self._monotonic() - self._last_heard

    async def run(self) -> None:
        """Mirror until cancelled. Never ends by itself: what fails is reported and tried again."""
        while True:
            try:
                await self._look_or_follow()
            except ApiError as error:
                self._refused(error)
            except HitlError as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - who rests on this mirror must not end with it
                self._failed(StoreUnavailable(f"{self._path}: cannot be followed by a defect ({_words(error)})"))
            else:
                continue
            await self._pauses.rest()

    async def _look_or_follow(self) -> None:
        if not self._version:
            await (self._stream() if self._streams and not self._lists_next else self._list())
            return
        began = self._monotonic()
        await self._follow(self._version)
        if self._monotonic() - began < min(_LIVED, self._timeout / 2):
            await self._pauses.rest()  # a server on its way down, or a proxy that cuts
        else:
            self._pauses.reset()

    def _refused(self, error: ApiError) -> None:
        if error.status == 410:
            self._version = ""  # look at everything anew
        if self._streams and not self._version and error.status in _NO_WATCH_LIST:
            self._streams = False  # an older server, no trouble
        else:
            self._failed(error)

    async def _stream(self) -> None:
        """WatchList: everything there is, the bookmark that says so, then changes on the same connection."""
        seen: set[Key] | None = set()
        events = self._api.watch(
            self._path,
            self._params,
            initial_events=True,
            accept=self._accept[1],
            timeout=self._timeout,
            idle=self._idle,
        )
        async with aclosing(events):
            async for kind, found in events:
                self._heard()
                if seen is None:
                    self._take(kind, found)
                elif kind == "BOOKMARK":
                    if INITIAL_EVENTS_END in (found["metadata"].get("annotations") or {}):
                        self._complete(seen, found["metadata"]["resourceVersion"])
                        seen = None
                else:
                    self._put(kind, found, seen)
        if seen is not None:
            self._streams = False  # it promised to say when that is all and did not: a page says so by itself
            raise StoreUnavailable(
                f"{self._path}: the stream ended before everything was sent; lists pages from now on"
            )

    async def _list(self) -> None:
        seen: set[Key] = set()
        after, version = "", ""
        while True:
            page = await self._api.list_page(
                self._path, self._params, limit=self._page, after=after, accept=self._accept[0]
            )
            self._heard()
            version = version or page["metadata"]["resourceVersion"]
            for found in page.pop("items", None) or ():
                self._put("ADDED", found, seen)
            after = page["metadata"].get("continue", "")
            if not after:
                break
        self._complete(seen, version)

    async def _follow(self, version: str) -> None:
        events = changes_after(
            version,
            self._api,
            self._path,
            self._params,
            accept=self._accept[1],
            timeout=self._timeout,
            idle=self._idle,
        )
        async with aclosing(events):
            async for kind, found in events:
                self._heard()
                self._take(kind, found)
        self._heard()  # an orderly end is a sign of life

    def _complete(self, seen: set[Key], version: str) -> None:
        """All that was there has been seen; whatever else is remembered is gone."""
        for key in [key for key in self._items if key not in seen]:
            self._change(key, None)
        self._version = version
        self._lists_next = False
        self._pauses.reset()
        self.synced.set()

    def _take(self, kind: str, found: dict[str, Any]) -> None:
        if kind != "BOOKMARK":
            self._put(kind, found)
        self._version = found["metadata"]["resourceVersion"]

    def _put(self, kind: str, found: dict[str, Any], seen: set[Key] | None = None) -> None:
        key = _key(found)
        if seen is not None:
            seen.add(key)
        kept = None
        if kind != "DELETED":
            try:
                kept = self._keep(found)
            except Exception as error:  # noqa: BLE001 - one object must not hide all the others
                self._pass_over(key, error)
        self._change(key, kept)

    def _pass_over(self, key: Key, error: Exception) -> None:
        place = "/".join(filter(None, key))
        self._report(InvalidInput(f"{self._path}: {place} is passed over: {_words(error)}"))

    def _change(self, key: Key, now: T | None) -> None:
        before = self._items.get(key)
        if now is None:
            self._items.pop(key, None)
        else:
            self._items[key] = now
        if before == now or self._on_change is None:
            return
        try:
            self._on_change(key, before, now)
        except Exception as error:  # noqa: BLE001 - as above; what is mirrored is right all the same
            self._pass_over(key, error)

    def _heard(self) -> None:
        self._last_heard = self._monotonic()
        if self._is_deaf:
            self._is_deaf = False
            if self._on_heard is not None:
                self._on_heard()

    def _failed(self, error: HitlError) -> None:
        self._is_deaf = True
        self._report(error)

    def _report(self, error: HitlError) -> None:
        if self._on_trouble is not None:
            self._on_trouble(error)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, HitlError) else f"{type(error).__name__}: {error}"


def _key(found: Mapping[str, Any]) -> Key:
    metadata = found["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
