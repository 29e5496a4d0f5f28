"""Who waits for an answer, and for how long."""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from hitl.v1 import gate_pb2

# Of the caller's deadline, kept back so that the answer still reaches it (DESIGN 18, Clocks).
_MARGIN_SHARE: Final = 0.1
_MARGIN_MOST: Final = 2.0


def usable(remaining: float) -> float:
    """How much of the time to a caller's deadline may be spent waiting."""
    return max(0.0, remaining - min(_MARGIN_MOST, _MARGIN_SHARE * remaining))


class Caller:
    """One RPC that waits. `future` gets the answer; `leave` is for a caller that goes before.

    Attributes:
        until: loop time at which PENDING is the answer.
        first_by: loop time at which the hub must have said something.
        latest: loop time at which it must be answered whatever happens, for its deadline's sake.
        timer: of whichever of the two is next.
        opened_in: traceparent of the span under which the request that it waits on was opened; empty where untraced.
    """

    __slots__ = ("_left", "first_by", "future", "latest", "opened_in", "timer", "until")

    def __init__(self, until: float, first_by: float, latest: float = math.inf) -> None:
        self.future: asyncio.Future[gate_pb2.CheckResponse] = asyncio.get_running_loop().create_future()
        self.until = until
        self.first_by = first_by
        self.latest = latest
        self.timer: asyncio.TimerHandle | None = None
        self.opened_in = ""
        self._left: Callable[[Caller], None] | None = None

    @classmethod
    def of(cls, *, budget: float, wait: float | None, remaining: float | None, first: float) -> "Caller":
        """A caller that waits as long as its own wish, its deadline less the margin and holdBudget all allow.

        Args:
            budget: holdBudget of the policy, seconds.
            wait: what the caller wishes; None: no wish.
            remaining: seconds until its deadline; None: it set none.
            first: seconds for the hub's first word, which even a caller that does not want to wait must have.
        """
        now = asyncio.get_running_loop().time()
        seconds = budget if wait is None else min(budget, max(0.0, wait))
        if remaining is not None:
            most = usable(remaining)
            return cls(now + min(seconds, most), now + min(first, most), now + most)
        return cls(now + seconds, now + first)

    def expects(self, first: float) -> None:
        """Another request is opened for it: the hub has so many seconds again for its first word."""
        self.first_by = min(asyncio.get_running_loop().time() + first, self.latest)

    def waits_on(self, left: Callable[["Caller"], None]) -> None:
        """`left` is called if the caller goes before it has its answer."""
        self._left = left

    def leave(self) -> None:
        """The RPC has ended: nobody is there any more to be answered."""
        self._stop_timer()
        if self._left is not None:
            left, self._left = self._left, None
            left(self)

    def answer(self, answer: gate_pb2.CheckResponse) -> None:
        """Answer, unless that was done or the caller has gone."""
        self._stop_timer()
        self._left = None
        if not self.future.done():
            self.future.set_result(answer)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
