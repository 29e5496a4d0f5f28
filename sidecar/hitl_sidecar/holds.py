"""Held calls: one `Hold` per request, any number of callers waiting on it, each for as long as it may.

Ten thousand of them fit beside what gRPC takes for ten thousand open calls, so a hold keeps the caller's bytes once and
nothing that can be worked out again: no parsed arguments, no spec, no verdict objects.

Waiting goes by the monotonic clock. A request's expiry is the hub's wall clock, turned into a moment of ours when the
state arrives: whichever clock ends it first, ends it (DESIGN 14).
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from hitl.errors import HitlError, InvalidCall, Unavailable
from hitl.v1 import gate_pb2, hub_pb2
from hitl_sidecar import answers
from hitl_sidecar.asked import Edited, Judged
from hitl_sidecar.callers import Caller
from hitl_sidecar.hold_stream import Followed, HoldStream
from hitl_sidecar.hub import unreachable

_FIRST_WITHIN: Final = 15.0  # seconds for the hub's first word on a hold: milliseconds, unless thousands come at once
_BACK_WITHIN: Final = 2.0  # the same where the hub is known to be away: a restart may take that long
_GRACE: Final = 1.0  # seconds past expiry until a hub that is silent counts as having let it expire

Key = tuple[str, str, str]
"""(session, "id" or "digest", call_id or digest): what a retry attaches by."""


class HoldEvents(Protocol):
    """What the gate does about a hold. Synchronous; what takes time becomes a task of the gate's."""

    def message_of(self, hold: "Hold") -> hub_pb2.HoldRequest:
        """What opens the hold."""
        ...

    def opened(self, hold: "Hold", state: hub_pb2.HoldResponse) -> None:
        """The hub's first word. May end the hold."""
        ...

    def ready(self, hold: "Hold", state: hub_pb2.HoldResponse) -> None:
        """People agreed, somebody waits, and no release is under way."""
        ...

    def ended(self, hold: "Hold", state: hub_pb2.HoldResponse) -> None:
        """The request has its outcome."""
        ...

    def unanswered(self, hold: "Hold") -> None:
        """A caller is told that nobody could be asked."""
        ...


class Hold(Followed):
    """One held call.

    Attributes:
        key: what a retry attaches by.
        raw: the `CheckRequest` as received; edited: a reviewer's version of it, which is what is held then.
        asked: what was asked with which verdict, from sending it until the hub's first word.
        digest, key_id: of the call to be released, and the key it was made with.
        tier: ``confirm`` or ``multi-factor``.
        traceparent: of the span under which it was opened; empty where nobody collects traces.
        code, verdict: reason code and wire form of the verdict that holds it, shared by all holds that look alike.
        words: what the hub says that the call waits for.
        expires: wall-clock seconds; `expires_at`: the same as loop time.
        is_open: the hub has answered. is_refused: it asks nobody. is_releasing: a release is under way.
        is_uncertain: a Consume was sent and its answer lost, so whether it was released is not known.
        ready_state: the last state, where it was ready. last_word: the outcome that came during a release.
    """

    __slots__ = (
        "asked",
        "callers",
        "checkpoint",
        "code",
        "digest",
        "edited",
        "expires",
        "expires_at",
        "is_open",
        "is_refused",
        "is_releasing",
        "is_uncertain",
        "key",
        "key_id",
        "last_word",
        "raw",
        "ready_state",
        "reviews",
        "table",
        "tier",
        "traceparent",
        "verdict",
        "words",
    )

    def __init__(self, table: "HoldTable", key: Key, raw: bytes, *, digest: str, key_id: str) -> None:
        super().__init__()
        self.table = table
        self.key = key
        self.raw = raw
        self.edited: Edited | None = None
        self.asked: Judged | None = None
        self.digest = digest
        self.key_id = key_id
        self.tier = ""
        self.traceparent = ""
        self.code = ""
        self.verdict = b""
        self.words = ""
        self.expires = 0.0
        self.expires_at = 0.0
        self.checkpoint = ""
        self.reviews: tuple[gate_pb2.Review, ...] = ()
        self.is_open = False
        self.is_refused = False
        self.is_releasing = False
        self.is_uncertain = False
        self.ready_state: hub_pb2.HoldResponse | None = None
        self.last_word: hub_pb2.HoldResponse | None = None
        self.callers: list[Caller] = []

    # From the stream.

    def message(self) -> hub_pb2.HoldRequest:
        return self.table.events.message_of(self)

    def changed(self, state: hub_pb2.HoldResponse) -> None:
        if state.HasField("expire_time"):
            self.expires = state.expire_time.seconds + state.expire_time.nanos / 1e9
            self.expires_at = asyncio.get_running_loop().time() + self.expires - self.table.wall_clock()
        if state.reviews:
            self.reviews = tuple(state.reviews)
        if state.checkpoint:
            self.checkpoint = state.checkpoint
        if state.traceparent and state.traceparent != self.traceparent:
            self.traceparent = state.traceparent  # another process opened it, or this one before it was restarted
            for caller in self.callers:
                caller.opened_in = self.traceparent
        self.words = state.message
        goes_on = state.outcome in (gate_pb2.OUTCOME_PENDING, gate_pb2.OUTCOME_APPROVED)
        if not self.is_open:
            self.is_open = True
            self.table.events.opened(self, state)
            if self.table.get(self.key) is not self:
                return
        if not goes_on:
            self.ready_state = None
            if self.is_releasing:
                self.last_word = state  # the release knows better what it means
            else:
                self.table.events.ended(self, state)
            return
        self.ready_state = state if state.ready else None
        self.try_release()
        for caller in list(self.callers):
            self._arm(caller)

    def failed(self, error: HitlError) -> None:
        if isinstance(error, InvalidCall):
            self.end(answers.invalid(error))
        else:
            reason = error if isinstance(error, Unavailable) else Unavailable("INTERNAL", str(error))
            self.end(answers.unavailable(reason, self.handle))

    # From callers.

    def join(self, caller: Caller) -> None:
        """One more who waits."""
        caller.waits_on(self._left)
        caller.opened_in = self.traceparent
        self.callers.append(caller)
        self._arm(caller)
        self.try_release()

    def _left(self, caller: Caller) -> None:
        """The caller has gone. When the last one has, nobody is left to run the call, and the hub is told so."""
        if caller in self.callers:
            self.callers.remove(caller)
        if not self.callers and not self.is_releasing:
            self.table.drop(self)

    def try_release(self) -> None:
        if self.ready_state is not None and self.callers and not self.is_releasing:
            self.table.events.ready(self, self.ready_state)

    def release_over(self) -> None:
        """A release came to nothing for now: whoever's time was up meanwhile is answered."""
        self.is_releasing = False
        if self.last_word is not None:
            self.table.events.ended(self, self.last_word)
            return
        for caller in list(self.callers):
            self._arm(caller)
        if not self.callers:
            self.table.drop(self)

    # Answering.

    def end(self, answer: gate_pb2.CheckResponse) -> None:
        """Answer everybody and forget the hold."""
        callers, self.callers = self.callers, []
        self.table.drop(self)
        for caller in callers:
            caller.answer(answer)

    def wire_verdict(self) -> gate_pb2.Verdict:
        verdict = gate_pb2.Verdict.FromString(self.verdict)
        verdict.digest = self.digest
        return verdict

    def pending(self) -> gate_pb2.CheckResponse:
        answer = gate_pb2.CheckResponse(
            outcome=gate_pb2.OUTCOME_PENDING,
            handle=self.handle,
            reason_code=self.code,
            message=self.words,
            reviews=self.reviews,
            verdict=self.wire_verdict(),
            checkpoint=self.checkpoint,
        )
        if self.expires:
            answer.expire_time.CopyFrom(answers.timestamp(self.expires))
        answers.hint(answer)
        return answer

    def _arm(self, caller: Caller) -> None:
        loop = asyncio.get_running_loop()
        when = caller.until if self.is_open else caller.first_by
        if self.expires_at:
            when = min(when, self.expires_at + _GRACE)
        if caller.timer is not None:
            if caller.timer.when() == when and when > loop.time():
                return
            caller.timer.cancel()
        if when <= loop.time():
            self._time_up(caller)
        else:
            caller.timer = loop.call_at(when, self._time_up, caller)

    def _time_up(self, caller: Caller) -> None:
        if self.is_releasing:
            return  # a release takes milliseconds, and to be answered PENDING in the middle of one would waste it
        if not self.is_open:
            self.table.events.unanswered(self)
            answer = answers.unavailable(unreachable())
        elif self.expires_at and asyncio.get_running_loop().time() > self.expires_at + _GRACE:
            answer = self.pending()
            answer.outcome = gate_pb2.OUTCOME_EXPIRED
            answer.reason_code = "NOT_DECIDED"
            answer.message = (
                "Nobody answered in time; this is not a refusal. Nothing ran. Tell the user, or ask again later."
            )
            answer.ClearField("retry_after")
        else:
            answer = self.pending()
        self.callers.remove(caller)
        caller.answer(answer)
        if not self.callers:
            self.table.drop(self)


class HoldTable:
    """The holds of this process, by key."""

    @property
    def patience(self) -> float:
        """Seconds that a new hold may take to be opened, as things are."""
        return _BACK_WITHIN if self.stream.trouble else _FIRST_WITHIN

    def __init__(self, stream: HoldStream, events: HoldEvents, wall_clock: Callable[[], float]) -> None:
        """`wall_clock`: seconds since the epoch, for the hub's expiry times alone."""
        self.stream = stream
        self.events = events
        self.wall_clock = wall_clock
        self._holds: dict[Key, Hold] = {}

    def __iter__(self) -> Iterator[Hold]:
        return iter(list(self._holds.values()))

    def __len__(self) -> int:
        return len(self._holds)

    def get(self, key: Key) -> Hold | None:
        """The hold that a retry attaches to, if one is waited on now."""
        return self._holds.get(key)

    def open(self, hold: Hold) -> None:
        """Ask the hub, and keep the hold while somebody waits on it."""
        self._holds[hold.key] = hold
        self.stream.follow(hold)

    def drop(self, hold: Hold) -> None:
        """Nobody waits on it any more; the request stays."""
        if self._holds.get(hold.key) is hold:
            del self._holds[hold.key]
        self.stream.drop(hold)
