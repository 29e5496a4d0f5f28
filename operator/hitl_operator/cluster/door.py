"""Strangers' calls end at the door, before a message of theirs is read or a stream kept for them (SECURITY F3)."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from grpc import aio
from prometheus_client import Counter

from hitl.errors import Forbidden, HitlError, StoreError, Unavailable
from hitl_operator.identity import Authenticator
from hitl_operator.logs import Log

_LINES: Final = 5.0  # refusals a second that are logged; the rest are only counted
_AGAIN: Final = 60.0  # seconds for which the same refusal is only counted: a sidecar tries again each second
_MOST_KEPT: Final = 1000  # different refusals of late
_WATCH: Final = "/grpc.health.v1.Health/Watch"  # keeps a connection open for as long as somebody likes

_log = Log(__name__)


class Door(aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """Asks the authenticator before anything else is done for a call, health checks included.

    Args:
        authenticator: says who calls.
        refused: counts refusals, by whether the caller is unknown or cannot be told now.
        clock: monotonic seconds.
    """

    def __init__(
        self, authenticator: Authenticator, refused: Counter, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._authenticator = authenticator
        self._refused = refused
        self._clock = clock
        self._lines, self._lines_at = _LINES, clock()
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """As gRPC has it: the method to run, or one that refuses."""
        try:
            await self._authenticator.authenticate(handler_call_details.invocation_metadata or ())
        except Forbidden as error:
            self._note("unknown", error)
            return _refusal(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except (StoreError, Unavailable) as error:
            self._note("unavailable", error)
            return _refusal(grpc.StatusCode.UNAVAILABLE, f"who calls cannot be told now: {error}")
        if handler_call_details.method == _WATCH:
            return _refusal(grpc.StatusCode.UNIMPLEMENTED, "health is not told as it changes; ask with Check")
        return await continuation(handler_call_details)

    def _note(self, why: str, error: HitlError) -> None:
        self._refused.labels(why).inc()
        now, problem = self._clock(), str(error)
        said_at, unsaid = self._said.get(problem, (float("-inf"), 0))
        if now < said_at + _AGAIN:
            self._said[problem] = said_at, unsaid + 1
            return
        self._lines = min(_LINES, self._lines + (now - self._lines_at) * _LINES)
        self._lines_at = now
        if self._lines >= 1:
            self._lines -= 1
            _log.warning("not-authenticated", why=why, problem=problem, unsaid=unsaid or None)
            self._said[problem] = now, 0
            self._said.move_to_end(problem)
            if len(self._said) > _MOST_KEPT:
                self._said.popitem(last=False)


def _refusal(code: grpc.StatusCode, message: str) -> Any:
    async def refuse(_requests: Any, context: Any) -> None:
        await context.abort(code, message)

    # As a stream, whatever the method is: then no message is read first.
    return grpc.stream_stream_rpc_method_handler(refuse)
