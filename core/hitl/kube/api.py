"""One thin client of the Kubernetes API: plain JSON values over one aiohttp session, for operator and CLI alike.

"No" from the server is ApiError; that it could not answer is StoreUnavailable, and after a write only reading again
tells whether it was taken. Nothing here knows a resource's shape.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Any, Final, Self

import orjson

from hitl.errors import StoreUnavailable, TooLarge
from hitl.kube.access import Access
from hitl.kube.parsing import parsed
from hitl.kube.transport import Transport

JSON: Final = "application/json"
# What `keep` of a reflector needs of pods and namespaces is their metadata; this spares both sides the rest.
ONE_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
LIST_METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_MERGE: Final = "application/merge-patch+json"
_PATCH: Final = "application/json-patch+json"
_APPLY: Final = "application/apply-patch+yaml"
_STRICT: Final = {"fieldValidation": "Strict"}  # an unknown field is refused, not dropped (SECURITY C5)

# Seconds that a server lets one watch live, and how much longer it may be silent. It sends a bookmark just before the
# end: whoever goes on from there is never too old, and a watch whose server is gone is deaf no longer than this.
WATCH_TIMEOUT: Final = 60
WATCH_GRACE: Final = 10.0

Params = Mapping[str, str]
Json = dict[str, Any]


class KubeAPI:
    """Calls of the Kubernetes API. Make it with `open`; it belongs to the loop it was opened on.

    Every call raises StoreUnavailable where the server cannot be reached, does not answer within `deadline` seconds,
    answers 5xx, or 429 until then; ApiError for every other status from 400 on; and InvalidInput for a body that has no
    JSON form. Paths: `hitl.kube.paths.path_of`.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @classmethod
    @asynccontextmanager
    async def open(
        cls, access: Access, *, user_agent: str = "hitl", deadline: float = 10.0, connections: int = 128
    ) -> AsyncIterator[Self]:
        """A client with connections of its own, closed at the end of the block. Connects at the first call.

        Args:
            access: which server, as whom.
            user_agent: who asks, for the server's audit log and metrics.
            deadline: seconds for calls that bring none of their own.
            connections: at once, at most; each watch has one.

        Raises:
            InvalidInput: the access cannot be used: certificates that do not fit, a plugin that fails.
        """
        from hitl.kube.sessions import connected  # noqa: PLC0415 - aiohttp is for those who stay: see `brief`

        async with connected(access, user_agent=user_agent, deadline=deadline, connections=connections) as transport:
            yield cls(transport)

    @classmethod
    @asynccontextmanager
    async def brief(cls, access: Access, *, user_agent: str = "hitl", deadline: float = 10.0) -> AsyncIterator[Self]:
        """The same for a program that is gone in a moment: starts in a tenth of the time, and cannot watch.

        Raises:
            InvalidInput: as `open`.
        """
        from hitl.kube.brief import connected  # noqa: PLC0415 - as above, the other way round

        async with connected(access, user_agent=user_agent, deadline=deadline) as transport:
            yield cls(transport)

    @property
    def server(self) -> str:
        """The address of the server."""
        return self._transport.server

    @property
    def place(self) -> str:
        """Where it was read how to reach the server, and as whom; for messages."""
        return self._transport.place

    def server_time(self) -> datetime | None:
        """What time it is for the server, by its last answer, to about a second; None before the first."""
        return self._transport.server_time()

    async def get(
        self, path: str, params: Params | None = None, *, accept: str = JSON, deadline: float | None = None
    ) -> Json:
        """Read one resource, or whatever stands at `path`."""
        return await self._transport.call("GET", path, params, accept=accept, deadline=deadline)

    async def create(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        field_manager: str = "hitl",
        dry_run: bool = False,
        deadline: float | None = None,
    ) -> Json:
        """Create in the collection `path`, or ask a review API a question."""
        params = _writing(field_manager, dry_run=dry_run)
        return await self._transport.call("POST", path, params, body=body, deadline=deadline)

    async def replace(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        field_manager: str = "hitl",
        dry_run: bool = False,
        deadline: float | None = None,
    ) -> Json:
        """Put `body` in the place of what stands there; with metadata.resourceVersion a compare-and-set."""
        params = _writing(field_manager, dry_run=dry_run)
        return await self._transport.call("PUT", path, params, body=body, deadline=deadline)

    async def merge_patch(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        field_manager: str = "hitl",
        dry_run: bool = False,
        deadline: float | None = None,
    ) -> Json:
        """Write the keys of `body`, lists whole, null removes; with metadata.resourceVersion a compare-and-set."""
        params = _writing(field_manager, dry_run=dry_run)
        return await self._transport.call("PATCH", path, params, body=body, content=_MERGE, deadline=deadline)

    async def json_patch(
        self,
        path: str,
        body: list[dict[str, Any]],
        *,
        field_manager: str = "hitl",
        dry_run: bool = False,
        deadline: float | None = None,
    ) -> Json:
        """RFC 6902 operations in order, all or none."""
        params = _writing(field_manager, dry_run=dry_run)
        return await self._transport.call("PATCH", path, params, body=body, content=_PATCH, deadline=deadline)

    async def apply(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = False,
        dry_run: bool = False,
        deadline: float | None = None,
    ) -> Json:
        """Server-side apply: `body` is all that this field manager wants; what it no longer names, it gives up."""
        params = _writing(field_manager, dry_run=dry_run)
        if force:
            params["force"] = "true"
        return await self._transport.call("PATCH", path, params, body=body, content=_APPLY, deadline=deadline)

    async def delete(
        self,
        path: str,
        *,
        uid: str = "",
        version: str = "",
        propagation: str | None = None,
        dry_run: bool = False,
        deadline: float | None = None,
    ) -> Json:
        """Delete it; with `uid` or `version` only that very one, else ApiError 409 (Conflict)."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if preconditions := {k: v for k, v in (("uid", uid), ("resourceVersion", version)) if v}:
            options["preconditions"] = preconditions
        if propagation:
            options["propagationPolicy"] = propagation
        params = {"dryRun": "All"} if dry_run else {}
        return await self._transport.call("DELETE", path, params, body=options, deadline=deadline)

    async def list_page(
        self,
        path: str,
        params: Params | None = None,
        *,
        limit: int = 500,
        after: str = "",
        accept: str = JSON,
        deadline: float | None = None,
    ) -> Json:
        """One page of a collection as the server has it: ``items``, ``metadata`` with resourceVersion and continue.

        Args:
            path: of the collection.
            params: selectors, or a resourceVersion.
            limit: items in it at most; fewer where so many of them are more than is read at once.
            after: the ``continue`` of the page before; ApiError 410 once that is too old (some five minutes).
            accept: see `LIST_METADATA`.
            deadline: seconds.
        """
        while True:
            query = {**(params or {}), "limit": str(limit)}
            if after:
                query["continue"] = after
            try:
                return await self._transport.call("GET", path, query, accept=accept, deadline=deadline)
            except TooLarge:
                if limit == 1:
                    raise
                limit = max(1, limit // 4)

    async def list(
        self, path: str, params: Params | None = None, *, limit: int = 500, accept: str = JSON
    ) -> AsyncGenerator[Json, None]:
        """Every item of a collection, as of one moment, read page by page: never all of them in memory."""
        after = ""
        while True:
            page = await self.list_page(path, params, limit=limit, after=after, accept=accept)
            after = page.get("metadata", {}).get("continue", "")
            for item in page.pop("items", None) or ():
                yield item
            if not after:
                return

    async def watch(
        self,
        path: str,
        params: Params | None = None,
        *,
        version: str = "",
        initial_events: bool = False,
        accept: str = JSON,
        timeout: int = WATCH_TIMEOUT,
        idle: float | None = None,
    ) -> AsyncGenerator[tuple[str, Json], None]:
        """Changes in a collection, as (type, object): ADDED, MODIFIED, DELETED, BOOKMARK. Ends with the server's word.

        Args:
            path: of the collection, not of one resource; narrow it by a fieldSelector.
            params: selectors.
            version: go on from this resourceVersion; "": from some recent state, which is sent first.
            initial_events: WatchList: what there is comes first, up to the bookmark that says so. ApiError 422 or 400
                where the server does not know it.
            accept: see `ONE_METADATA`.
            timeout: seconds after which the server ends it.
            idle: seconds of silence after which it counts as dead; None: WATCH_GRACE more than `timeout`.

        Raises:
            ApiError: 410 (Expired, Gone): `version` is too old, list again.
            StoreUnavailable: as everywhere, also in the middle of it.
        """
        query = {**(params or {}), "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(timeout)}
        if version:
            query["resourceVersion"] = version
        if initial_events:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        lines = self._transport.lines(path, query, accept=accept, idle=timeout + WATCH_GRACE if idle is None else idle)
        async with aclosing(lines):
            async for line in lines:
                try:
                    event = await parsed(line)
                    kind, found = event["type"], event["object"]
                except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                    raise StoreUnavailable(
                        f"{path}: a watch told what is no event ({error}); it begins again"
                    ) from error
                if kind == "ERROR":
                    raise self._transport.refusal(found, path)
                yield kind, found


def _writing(field_manager: str, *, dry_run: bool) -> dict[str, str]:
    params = {**_STRICT, "fieldManager": field_manager}
    if dry_run:
        params["dryRun"] = "All"
    return params
