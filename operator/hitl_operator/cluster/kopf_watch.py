"""kopf, watching the kinds that make up config: it says which object changed, and writes nothing anywhere.

It runs on a thread with an event loop of its own. When kopf ends, it cancels every task of its loop that it did not
find there at its start, and on the main thread it takes over SIGTERM and SIGINT: both would take the hub down with it.

What it cannot promise is left to whoever listens: its `ready_flag` says nothing about what was seen, and objects that
were deleted while a watch was being renewed are never reported.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import aiohttp
import kopf
from multidict import CIMultiDict

from hitl.errors import InvalidInput
from hitl.kube.access import Access
from hitl.kube.api import LIST_METADATA
from hitl.kube.manifests import API_VERSION
from hitl.kube.parsing import shallow
from hitl.kube.sessions import Connector
from hitl_operator.cluster.policy_resources import KINDS
from hitl_operator.logs import Log

_GROUP, _VERSION = API_VERSION.split("/")
_SERVED_FOR: Final = 240  # seconds that a server keeps one watch open
_SILENT: Final = 70.0  # seconds without even a bookmark after which a watch counts as dead; a server sends one a minute
_ANSWERS: Final = 15.0  # seconds that a short call may take
_PAUSES: Final = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds between an end that nobody asked for and the next start

# Seconds to end once it was asked to. Its schedulers wait for ever where what would wake them was cancelled first; then
# its thread is left to itself, so that neither a new kopf nor the end of the process waits for it.
_ENDS: Final = 5.0
_STUCK: Final = "it was asked to end, and did not"

_CHUNK: Final = 500  # objects in a page of what is there when it begins

LISTED: Final = "PartialObjectMetadata"
"""The kind of what kopf says of objects that were there when it began: their metadata. All of them in one piece would
be parsed in one piece, while everything else waits, and they were read before."""

_log = Log(__name__)

Told = Callable[[str, str, Mapping[str, Any]], None]
"""(kind, DELETED or anything else, the object; see `LISTED`)."""


class KopfWatch:
    """One kopf, started again whenever it ends."""

    def __init__(self, access: Access, tell: Told, *, kinds: Iterable[str] = tuple(KINDS.values())) -> None:
        """`tell` is called on the loop on which `run` runs.

        Raises:
            InvalidInput: kopf cannot reach the API server in the way that this access wants.
        """
        if access.tls_server_name:
            raise InvalidInput(
                f"{access.place}: the operator cannot use tls-server-name; let `server` name the API server as its "
                "certificate does"
            )
        self._access = access
        self._tell = tell
        self._kinds = frozenset(kinds)
        self._stop: Callable[[], None] | None = None
        self._failures = 0
        self._started = 0.0

    @property
    def is_steady(self) -> bool:
        """Whether it may be relied on for news: it has not ended of late."""
        return not self._failures or self._has_lived

    @property
    def _has_lived(self) -> bool:
        return self._stop is not None and time.monotonic() - self._started > _PAUSES[-1]

    async def run(self) -> None:
        """Watch until cancelled."""
        _adopt_logs()
        while True:
            self._started = time.monotonic()
            problem = await self._run_once()
            lived = time.monotonic() - self._started
            self._failures = 0 if lived > _PAUSES[-1] else self._failures
            pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
            self._failures += 1
            _log.warning("kopf-ended", problem=problem, again_in=f"{pause:g}s")
            await asyncio.sleep(pause)

    def restart(self) -> None:
        """Begin anew: it has gone deaf."""
        if self._stop is not None:
            self._stop()

    async def _run_once(self) -> str:
        """One kopf from its start to its end; why it ended."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[str] = loop.create_future()
        inner: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []
        begun = threading.Event()

        def work() -> None:
            problem = ""
            try:
                asyncio.run(serve())
            except asyncio.CancelledError:
                problem = "asked to"
            except Exception as error:  # noqa: BLE001 - whatever ended it, it is begun again
                problem = f"{type(error).__name__}: {error}"
            finally:
                begun.set()
                with suppress(RuntimeError):  # the outer loop is gone with the process
                    loop.call_soon_threadsafe(_settle, ended, problem or "by itself")

        async def serve() -> None:
            asyncio.get_running_loop().set_exception_handler(_note)
            task = asyncio.current_task()
            assert task is not None, "this is one"
            inner.append((asyncio.get_running_loop(), task))
            begun.set()
            sessions: list[aiohttp.ClientSession] = []
            try:
                registry = self._registry(loop, sessions)
                await kopf.operator(registry=registry, settings=_settings(), standalone=True, clusterwide=True)
            finally:
                for session in sessions:  # kopf closes none where it is cancelled
                    await session.close()

        def stop() -> None:
            for inner_loop, task in inner:
                with suppress(RuntimeError):  # it ended in the meantime
                    inner_loop.call_soon_threadsafe(task.cancel)
            loop.call_later(_ENDS, _settle, ended, _STUCK)

        thread = threading.Thread(target=work, name="kopf", daemon=True)
        thread.start()
        self._stop = stop
        try:
            return await asyncio.shield(ended)
        finally:
            self._stop = None
            if not ended.done():
                await asyncio.to_thread(begun.wait)
                stop()
                await asyncio.shield(ended)
            if ended.result() != _STUCK:
                thread.join()

    def _registry(
        self, outer: asyncio.AbstractEventLoop, sessions: list[aiohttp.ClientSession]
    ) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        async def login(**_: Any) -> kopf.AiohttpSession:
            sessions[:] = [each for each in sessions if not each.closed]
            sessions.append(await _session(self._access))
            return kopf.AiohttpSession(server=self._access.server, aiohttp_session=sessions[-1])

        kopf.on.login(id="access", registry=registry, errors=kopf.ErrorsMode.TEMPORARY, backoff=_PAUSES[0])(login)

        for plural, kind in KINDS.items():
            if kind not in self._kinds:
                continue

            async def seen(event: Mapping[str, Any], kind: str = kind, **_: Any) -> None:
                with suppress(RuntimeError):  # the outer loop is gone with the process
                    outer.call_soon_threadsafe(self._tell, kind, str(event["type"]), event["object"])

            kopf.on.event(_GROUP, _VERSION, plural, id=plural, registry=registry)(seen)
        return registry


def _settle(ended: "asyncio.Future[str]", problem: str) -> None:
    if not ended.done():
        ended.set_result(problem)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.process.ultimate_exiting_timeout = None  # it would kill the whole process
    # The kinds are there before it starts; to watch for new ones would mean to read every CRD of the cluster.
    settings.scanning.disabled = True
    settings.watching.chunk_size = _CHUNK
    settings.watching.server_timeout = _SERVED_FOR
    settings.watching.inactivity_timeout = _SILENT
    settings.networking.request_timeout = _ANSWERS
    settings.networking.error_backoffs = (1, 2, 3, 5)
    return settings


class _ShallowLines:
    """The content of an answer; read in pieces, it comes line by line, without what lies too deep."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in self._content.iter_chunked(size):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield shallow(line) + b"\n"
        yield shallow(rest)


class _Answer(aiohttp.ClientResponse):
    """What kopf can take: an API server says ``items: null`` of an empty list of metadata, over which it stumbles, and
    one object that somebody nested deeper than Python's parser goes would end it, again and again.
    """

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        await super().start(connection)
        self.content = _ShallowLines(self.content)  # type: ignore[assignment]  # all that kopf asks of it
        return self

    async def read(self) -> bytes:
        self._body = shallow(await super().read())
        return self._body

    async def json(self, **options: Any) -> Any:
        found = await super().json(**options)
        return {**found, "items": []} if isinstance(found, dict) and found.get("items", ()) is None else found


async def _session(access: Access) -> aiohttp.ClientSession:
    """A session of kopf's loop that says who we are with every request; a token may be another one each time."""
    tls = await asyncio.to_thread(access.tls)

    async def authorise(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        token = access.bearer.held()
        if token is None:
            token = await asyncio.to_thread(access.bearer.fetch)
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        if request.url.name in KINDS and "watch" not in request.url.query:
            request.headers["Accept"] = LIST_METADATA
        response = await handler(request)
        if response.status == 401:
            access.bearer.drop()
        return response

    headers: CIMultiDict[str] = CIMultiDict(access.impersonate.headers() if access.impersonate else [])
    headers["User-Agent"] = "hitl-operator/kopf"
    return aiohttp.ClientSession(
        connector=Connector(limit=0, ssl=tls if tls is not None else False),
        headers=headers,
        middlewares=[authorise],
        proxy=access.proxy or None,
        cookie_jar=aiohttp.DummyCookieJar(),
        response_class=_Answer,
    )


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """One line instead of a trace: kopf's callbacks stumble over themselves where one of its watches ends for good."""
    error = context.get("exception")
    _log.warning("kopf", says=context.get("message"), problem=f"{type(error).__name__}: {error}" if error else "")


class _Adopted(logging.Handler):
    """Says in our form what kopf has to say. Its errors are about tries that it repeats, so they are warnings here."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        tell = _log.warning if record.levelno >= logging.ERROR else _log.debug
        tell("kopf", says=record.getMessage(), problem=f"{type(error).__name__}: {error}" if error else "")


def _adopt_logs() -> None:
    """Let kopf's lines come out as lines of ours, once for the process."""
    logger = logging.getLogger("kopf")
    if not any(isinstance(handler, _Adopted) for handler in logger.handlers):
        logger.addHandler(_Adopted())
    logger.propagate = False
