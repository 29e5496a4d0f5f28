"""One API server and what its answers mean: credentials, deadlines, bounds, failures. Not how bytes travel.

`hitl.kube.sessions` carries them for programs that stay, `hitl.kube.brief` for those that are gone in a moment.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from hitl.errors import ApiError, HitlError, InvalidInput, StoreUnavailable, TooLarge
from hitl.kube.access import Access
from hitl.kube.parsing import parsed

# Bytes. One object has up to 1.5 MiB in etcd; of a page that is larger fewer are asked for (`KubeAPI.list_page`).
LARGEST_ANSWER: Final = 64 << 20
# Seconds to connect at most, also where a call may take longer.
CONNECT: Final = 5.0
# What is said of a server to which there was no connection in that time.
NO_CONNECTION: Final = f"could not be connected to within {CONNECT:g} s; is it up, and the address right?"


class Transport(ABC):
    """Requests to one server. Raises as `hitl.kube.api.KubeAPI` says."""

    def __init__(self, access: Access, *, deadline: float) -> None:
        self._access = access
        self._deadline = deadline
        self._impersonation = access.impersonate.headers() if access.impersonate else []
        self._fetching = asyncio.Lock()
        self._refused_token = ""
        self._date = ("", 0.0)

    @abstractmethod
    async def _exchange(self, call: "Call", headers: "Headers") -> "Answer":
        """Send it and read the answer whole. StoreUnavailable; TimeoutError where the caller's time is up."""

    @abstractmethod
    def lines(self, path: str, params: Mapping[str, str], *, accept: str, idle: float) -> AsyncGenerator[bytes, None]:
        """The lines of an answer that goes on; silence for longer than `idle` seconds is StoreUnavailable."""

    @property
    def server(self) -> str:
        """The address of the server."""
        return self._access.server

    @property
    def place(self) -> str:
        """As `Access.place`."""
        return self._access.place

    def server_time(self) -> datetime | None:
        """What time it is for the server, by its last answer, to about a second; None before the first."""
        date, heard = self._date
        return None if not date else parsedate_to_datetime(date) + timedelta(seconds=time.monotonic() - heard)

    async def call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        content: str = "application/json",
        accept: str = "application/json",
        deadline: float | None = None,
    ) -> dict[str, Any]:
        """One call and its answer, an object.

        POST and PATCH are never sent twice, but for 429, which says that nothing was done. PUT and DELETE are bound to
        a version or uid: sent a second time on a new connection they do nothing.

        Raises:
            InvalidInput: `body` has no JSON form, e.g. a whole number of more than 64 bits.
        """
        document = None if body is None else _dumped(body, method, path)
        call = Call(method, path, params, document, content, accept)
        seconds = self._deadline if deadline is None else deadline
        try:
            async with asyncio.timeout(seconds):
                while True:
                    answer = await self._once(call)
                    if answer.status < 300:
                        break
                    if answer.status != 429:
                        raise self._refused(answer.status, answer.body, call)
                    await asyncio.sleep(_seconds_to_wait(answer.retry_after))
        except TimeoutError:
            raise self._unavailable(call, f"did not answer within {seconds:g} s") from None
        return await self._parsed(answer.body, call)  # the server answered in time, however long that takes

    def refusal(self, status: Mapping[str, Any], path: str) -> HitlError:
        """What a metav1.Status in the middle of a watch means: ApiError, or StoreUnavailable where it could not."""
        return self._meaning(status, Call("GET", path))

    def _meaning(self, status: Mapping[str, Any], call: "Call") -> HitlError:
        code = int(status.get("code") or 500)
        message = str(status.get("message") or "no reason given")
        if code == 429 or code >= 500:
            return self._unavailable(call, f"answered {code}: {message}")
        return ApiError(code, str(status.get("reason") or ""), message, status.get("details"))

    async def _once(self, call: "Call") -> "Answer":
        """One answer; where a newer token may be had than the one that was refused, the answer to that."""
        while True:
            headers = await self._headers(call)
            answer = await self._exchange(call, headers)
            self._date = answer.date, time.monotonic()
            if answer.status == 401 and self._has_newer_than(dict(headers).get("Authorization", "")):
                continue  # the server did nothing
            return answer

    def _has_newer_than(self, refused: str) -> bool:
        """Whether another token may be had than the refused one; each is tried once."""
        if not refused or refused == self._refused_token:
            return False
        self._refused_token = refused
        self._access.bearer.drop()
        return True

    async def _headers(self, call: "Call") -> "Headers":
        headers = [*self._impersonation, ("Accept", call.accept)]
        if call.document is not None:
            headers.append(("Content-Type", call.content))
        bearer = self._access.bearer
        token = bearer.held()
        if token is None:
            async with self._fetching:  # one plugin at a time, however many calls wait for it
                token = bearer.held()
                if token is None:
                    token = await asyncio.to_thread(bearer.fetch)
        if token:
            headers.append(("Authorization", f"Bearer {token}"))
        return headers

    async def _parsed(self, answer: bytes, call: "Call") -> dict[str, Any]:
        try:
            found = await parsed(answer)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise self._unavailable(call, "did not answer with JSON; is something else listening there?")
        return found

    def _refused(self, code: int, answer: bytes, call: "Call") -> HitlError:
        """What an answer means that is none of 2xx."""
        if code < 400:
            # To follow it would take the token to wherever somebody says; and nothing was done here.
            return self._unavailable(
                call, f"answered {code}, which points elsewhere; give the API server's own address"
            )
        try:
            status = orjson.loads(answer)
        except orjson.JSONDecodeError:
            status = {"message": answer[:500].decode("utf-8", "replace").strip()}
        found: dict[str, Any] = {**(status if isinstance(status, dict) else {}), "code": code}
        if code == 401 and not self._access.server.startswith("https://"):
            said = found.get("message") or "it wants to know who asks"
            found["message"] = f"{said}; over plain http no credentials are sent: give its https:// address"
        return self._meaning(found, call)

    def _too_large(self, call: "Call") -> TooLarge:
        text = f"the API server {self._access.server} answered more than {LARGEST_ANSWER >> 20} MiB ({call.path})"
        return TooLarge(f"{text}; ask for fewer at once")

    def _unavailable(self, call: "Call", what: str) -> StoreUnavailable:
        reading = call.method == "GET"
        return StoreUnavailable(
            f"the API server {self._access.server} {what} ({call.method} {call.path})"
            f"{'' if reading else '; read again to see whether it was taken'}"
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it goes out."""

    method: str
    path: str
    params: Mapping[str, str] | None = None
    document: bytes | None = None
    content: str = "application/json"
    accept: str = "application/json"


Headers = list[tuple[str, str]]
"""In order; a name may come more than once, as impersonated groups do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read whole; `date` and `retry_after` as its headers have them, "" where they have not."""

    status: int
    body: bytes
    date: str = ""
    retry_after: str = ""


def _dumped(body: Any, method: str, path: str) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InvalidInput(
            f"{method} {path}: what is to be written has no JSON form ({error}); write numbers beyond 64 bits as text"
        ) from error


def _seconds_to_wait(retry_after: str) -> float:
    wanted = 1.0
    with suppress(ValueError):
        wanted = float(retry_after or wanted)
    return max(0.1, wanted) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads callers, no secret
