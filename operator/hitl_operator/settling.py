"""Keeps every open request where it belongs: judges new votes, settles, writes outcomes, tells those who wait.

Driven by the store's changes and by one timer heap, never by a poll for each hold. Several hubs do this side by side
on one store; whoever is first wins by compare-and-set, the others read again. So that they do not all run for the same
write, a hub settles what is held or waited for here; what nobody waits for, the hub that leads settles.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from hitl.approvals.conditions import CancelReason, condition_of, with_condition, with_outcome
from hitl.approvals.requests import ApprovalRequest, Condition, RequestStatus, State
from hitl.approvals.settle import Outcome, Settlement, approve_unheld, cancel, settle
from hitl.approvals.timeline import is_overstated
from hitl.approvals.votes import with_verified
from hitl.errors import Conflict, HitlError, NoLongerPending, NotFound, StoreUnavailable
from hitl.policy.escaping import as_plain
from hitl.policy.freezes import Freeze, frozen_words
from hitl.stores.protocol import ApprovalStore, EndingStore
from hitl_operator.last_resort import LastResort
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics
from hitl_operator.records import Silent, Witness, record_reminder, record_write
from hitl_operator.reminding import reminder
from hitl_operator.standing import Alone, Standing
from hitl_operator.timers import Timers
from hitl_operator.tracking import Open, Tracker
from hitl_operator.trusting import doubt, knows_all, remember
from hitl_operator.verification import DecisionVerifier, Judgement, judge_new

# How long a hold whose requirements are met may take to consume before Approved is written for it: after that the
# release window counts, not the deadline.
_CONSUME_WITHIN = timedelta(seconds=2)
# Approved is written this long before the deadline at the latest, so that an approval in time is never called expired.
_BEFORE_DEADLINE = timedelta(milliseconds=500)
_WORKERS = 32  # so that the store can commit many outcomes together
_LOOK_AGAIN = timedelta(seconds=3)  # after an error
_TRIES = 8  # as many writers one after the other are one that writes without end
_PAUSE = 1.0  # seconds between two tries at a store that does not answer

_log = Log(__name__)


class Settler:
    """Settles the requests in a `Tracker`.

    Args:
        standing: whether anything may rest on what people wrote.
        leads: whether this hub settles also what nobody waits for here; one of several hubs does.
        ends: the store once more, where it can end what can be neither read nor judged.
        stops: the freeze that a request is under; None: none.
        witness: told of every write.
    """

    def __init__(
        self,
        store: ApprovalStore,
        tracker: Tracker,
        verifier: DecisionVerifier,
        metrics: HubMetrics,
        *,
        clock: Callable[[], datetime],
        release_window: Callable[[], int],
        standing: Standing | None = None,
        witness: Witness | None = None,
        leads: Callable[[], bool] = lambda: True,
        ends: EndingStore | None = None,
        stops: Callable[[ApprovalRequest], Freeze | None] = lambda _: None,
    ) -> None:
        self.last_resort = LastResort(ends, leads=leads, clock=clock, ended=self._end_as)
        self.standing = Alone() if standing is None else standing
        self._leads = leads
        self._stops = stops
        self._led = False
        self._witness = Silent() if witness is None else witness
        self._store = store
        self._tracker = tracker
        self._verifier = verifier
        self._metrics = metrics
        self._clock = clock
        self._release_window = release_window
        self._queue: asyncio.Queue[Open] = asyncio.Queue()
        self._timers = Timers(tracker)
        self.is_following = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled: the workers and the timer. `follow` runs beside it."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_WORKERS):
                tasks.create_task(self._work())
            tasks.create_task(self._keep_time())
            tasks.create_task(self.last_resort.run())

    async def follow(self) -> None:
        """Take in what stands in the store, then everything that changes there; until cancelled."""
        watch = self._store.watch(known=self._tracker.knows)
        told = ""
        try:
            for request in await self._store.list(pending_only=True):
                self.observe(request)
            self.is_following.set()
            while True:
                try:
                    async for request in watch:
                        told = ""
                        self.observe(request)
                    return
                except StoreUnavailable as error:
                    if str(error) != told:  # once for each trouble, not for each try
                        told = str(error)
                        _log.error("store-unavailable", problem=error)
                    await asyncio.sleep(_PAUSE)
        finally:
            self.is_following.clear()
            await watch.aclose()

    def observe(self, request: ApprovalRequest, *, refuted: str = "") -> None:
        """A request as the store has it now; anything new about it is worked on. refuted: as `Tracker.observe`."""
        self.last_resort.forget(request.handle)
        entry = self._tracker.observe(request, refuted=refuted)
        if entry is None:
            return
        if request.status.state.is_terminal:
            entry.found = settle(request, self._clock(), release_window=self._release_window())
            entry.wake_all()
        else:
            self.look(entry)

    def look(self, entry: Open) -> None:
        """Have a request settled soon."""
        if entry.is_busy:
            entry.is_stale = True
        else:
            entry.is_busy = True
            self._queue.put_nowait(entry)

    def look_at_all(self) -> None:
        """Have every open request settled soon: the people who may decide, or the settings, changed."""
        for entry in tuple(self._tracker.open.values()):
            self.look(entry)

    def take_in(self, request: ApprovalRequest) -> Open:
        """A request that this hub has just created: nobody can have voted, so only its time has to be noted."""
        entry = self._tracker.observe(request) or self._tracker.open.get(request.handle) or Open(request)
        if entry.found is None:
            self._note(entry, settle(request, self._clock(), release_window=self._release_window()))
        return entry

    async def judged(self, request: ApprovalRequest) -> tuple[ApprovalRequest, tuple[Judgement, ...]]:
        """The request with the hub's word on every vote and note, not yet written.

        If the word that is stored already cannot be trusted, the request comes back as Cancelled/EnforcementLost.
        Unavailable: that cannot be told now.
        """
        if request.status.state.is_terminal:
            return request, ()
        entry = self._tracker.open.get(request.handle)
        said = entry.said if entry is not None and entry.request.uid == request.uid else []
        if why := await doubt(self._verifier, request, said, self._clock()):
            _log.error("stored-word-doubted", handle=request.handle, why=why)
            reason, now = CancelReason.ENFORCEMENT_LOST, self._clock()
            return replace(request, status=with_outcome(request.status, State.CANCELLED, reason, why, now)), ()
        judgements = await judge_new(self._verifier, request)
        for judgement in judgements:
            remember(said, request.status, judgement)
        status = with_verified(request, [judgement.entry for judgement in judgements])
        return (request if status is request.status else replace(request, status=status)), judgements

    async def judged_if_vouched(self, request: ApprovalRequest) -> tuple[ApprovalRequest, tuple[Judgement, ...]]:
        """As `judged`; as read, where what stands in it cannot be believed now and so counts for nothing new."""
        if await self.standing.vouch(request) is not None:
            return request, ()
        return await self.judged(request)

    async def write(
        self, request: ApprovalRequest, status: RequestStatus, judgements: tuple[Judgement, ...] = ()
    ) -> ApprovalRequest:
        """Compare-and-set, then count, log and tell what it changed. Conflict, NotFound: nothing was written."""
        written = await self._store.write_status(request, status)
        if written.version != request.version:
            record_write(self._metrics, request, written, judgements)
            self._witness.written(request, written)
        self.observe(written)
        return written

    async def void(self, namespace: str, name: str, why: str, *, unless_known: bool) -> bool:
        """End an open request as Cancelled/EnforcementLost: what was written in it cannot be believed (SECURITY C4).

        Where it cannot be read, or not be ended as any other, it is ended unread.

        Args:
            namespace: of the request.
            name: of the request.
            why: for people.
            unless_known: leave it where this hub itself, before, judged everything that people and hubs wrote in it.

        Returns:
            Whether it was ended by this.

        Raises:
            HitlError: it still stands there.
        """
        ended = condition_of(State.CANCELLED, CancelReason.ENFORCEMENT_LOST, as_plain(why), self._clock())
        for _ in range(_TRIES):
            try:
                request = await self._store.get(namespace, name)
                if request.status.state.is_terminal or (unless_known and self._knows_all(request)):
                    return False
                await self.write(request, with_condition(request.status, ended))
            except Conflict:
                continue
            except NotFound:
                self.gone(f"{namespace}/{name}")
                return False
            except HitlError as error:
                _log.error("not-ended-as-others", handle=f"{namespace}/{name}", problem=error)
                is_ours = await self.last_resort.end(namespace, name, ended)
                self._metrics.voided.inc(is_ours)
                return is_ours
            return True
        raise Conflict(f"{namespace}/{name} was changed {_TRIES} times while it was being ended; it is tried again")

    def _knows_all(self, request: ApprovalRequest) -> bool:
        entry = self._tracker.open.get(request.handle)
        said = entry.said if entry is not None and entry.request.uid == request.uid else []
        return knows_all(request.status, said) and not is_overstated(request, self._clock())

    async def settle_now(self, entry: Open, *, asked: bool = False) -> None:
        """Judge, settle and write until nothing is left to write.

        asked: somebody here wants to know where it stands, so it is this hub's to write, whoever leads.
        """
        request = entry.request
        now = self._clock()
        entry.passed_over = not (asked or entry.waiters or self._leads())
        if entry.passed_over:
            self._note(entry, settle(request, now, release_window=self._release_window()))
            return
        if (frozen := self.frozen(request)) is not None:
            try:
                await self.write(request, frozen)
            except Conflict:
                self.observe(await self._store.get(request.namespace, request.name), refuted=request.version)
            return
        if await self.standing.vouch(request) is not None:
            await self._settle_by_time(entry, request, now)
            return
        judged, judgements = await self.judged(request)
        found = settle(judged, now, release_window=self._release_window())
        status = found.status or judged.status
        if found.outcome is Outcome.READY:
            entry.ready_since = entry.ready_since or now
            if self._may_wait(entry, found, now):
                # Who holds the call writes votes, approval and release at once.
                entry.judged = judged
                self._note(entry, found)
                entry.wake_all()
                return
            status = approve_unheld(judged, now)
        else:
            entry.ready_since = None
        if status == request.status:
            self._note(entry, found)
            self._remind(entry, found, now)
            entry.wake_all()
            return
        try:
            await self.write(request, status, judgements)
        except Conflict:
            self.observe(await self._store.get(request.namespace, request.name), refuted=request.version)

    def frozen(self, request: ApprovalRequest) -> RequestStatus | None:
        """Cancelled, for a request that people stopped, whoever voted on it; None: it goes on, or ended otherwise."""
        freeze = None if request.status.state.is_terminal else self._stops(request)
        if freeze is None:
            return None
        try:
            return cancel(
                request,
                self._clock(),
                CancelReason.FROZEN,
                frozen_words(freeze),
                release_window=self._release_window(),
            )
        except NoLongerPending:
            return None

    async def _settle_by_time(self, entry: Open, request: ApprovalRequest, now: datetime) -> None:
        """Nothing that was written in it can be believed now, but time goes on (I13): expiry alone is written."""
        entry.ready_since = entry.judged = None
        found = settle(request, now, release_window=self._release_window())
        if found.outcome is Outcome.EXPIRED and found.status is not None:
            try:
                await self.write(request, found.status)
            except Conflict:
                self.observe(await self._store.get(request.namespace, request.name), refuted=request.version)
            return
        self._note(entry, replace(found, outcome=Outcome.WAITING, status=None, look_again=now + _LOOK_AGAIN))
        entry.wake_all()

    def _may_wait(self, entry: Open, found: Settlement, now: datetime) -> bool:
        """Whether a holder may still consume by itself, before Approved is written for it."""
        assert entry.ready_since is not None, "set just before"
        latest = min(entry.ready_since + _CONSUME_WITHIN, (found.look_again or now) - _BEFORE_DEADLINE)
        return entry.is_held and now < latest

    def _note(self, entry: Open, found: Settlement) -> None:
        entry.found = found
        due = found.look_again
        if found.outcome is Outcome.READY and due is not None:
            due = min((entry.ready_since or self._clock()) + _CONSUME_WITHIN, due - _BEFORE_DEADLINE)
        if due is not None:
            self._timers.call_at(entry, due)

    def _remind(self, entry: Open, found: Settlement, now: datetime) -> None:
        due = reminder(entry.request, found, entry.reminded, now)
        entry.reminded = max(entry.reminded, found.reminders)
        if due is not None:
            record_reminder(entry.request, due)
            self._witness.reminded(entry.request, due)

    async def _keep_time(self) -> None:
        while True:
            leads = self._leads()
            if leads and not self._led:
                self.look_at_all()  # what the leader before left undone
            self._led = leads
            self.call_due()
            await self._timers.wait(self._clock())

    def call_due(self) -> None:
        """Have every request looked at whose time has come."""
        for entry in self._timers.due(self._clock()):
            self.look(entry)

    async def _work(self) -> None:
        while True:
            entry = await self._queue.get()
            entry.is_stale = False
            try:
                await self.settle_now(entry)
            except NotFound:
                self.gone(entry.request.handle)
            except HitlError as error:
                _log.error("settle-failed", handle=entry.request.handle, problem=error)
                await self._expire_unread(entry)
            except Exception:  # noqa: BLE001 - one request we stumble over must not stop the others
                _log.exception("settle-defect", handle=entry.request.handle)
                self._timers.call_at(entry, self._clock() + _LOOK_AGAIN)
            finally:
                entry.is_busy = False
                if entry.is_stale:
                    self.look(entry)

    async def _expire_unread(self, entry: Open) -> None:
        """Time goes on whatever was written in it (I13): once it is up, nothing but the end is written."""
        request, now = entry.request, self._clock()
        self._timers.call_at(entry, now + _LOOK_AGAIN)
        found = settle(request, now, release_window=self._release_window())
        if found.outcome is not Outcome.EXPIRED or found.status is None:
            return
        try:
            await self.last_resort.end(request.namespace, request.name, found.status.conditions[-1])
        except HitlError as error:
            # Nobody releases it any more, for its time is up; sidecars that wait go by their own clocks.
            _log.error("expiry-failed", handle=request.handle, problem=error)

    def deleted(self, handle: str, uid: str) -> None:
        """The store saw a request being deleted; `uid` tells it from one that has its name by now."""
        entry = self._tracker.open.get(handle)
        if entry is not None and entry.request.uid == uid:
            self.gone(handle)

    def gone(self, handle: str) -> None:
        """Deleted behind our back: whoever waits is told, and the same hold never creates it again (SECURITY C3)."""
        message = f"{handle.partition('/')[2]} was deleted from the store"
        if self._end_as(handle, condition_of(State.CANCELLED, CancelReason.DELETED, message, self._clock())):
            _log.error("request-deleted", handle=handle)

    def _end_as(self, handle: str, ended: Condition) -> bool:
        """Tell whoever waits for a request that can no longer be looked at how it ended; False: none is known."""
        self.last_resort.forget(handle)
        entry = self._tracker.forget(handle)
        if entry is None:
            return False
        request = entry.request
        entry.request = replace(request, status=with_condition(request.status, ended))
        entry.found = settle(entry.request, self._clock())
        entry.wake_all()
        return True
