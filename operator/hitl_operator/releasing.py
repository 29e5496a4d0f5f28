"""Consume, Cancel and Report: each read live, decided by the pure core, written by one compare-and-set (I6, I7).

Only the ServiceAccount and workload that a request belongs to get that far, and only the sidecar process that holds
the call consumes it; possession of a handle gives nothing (SECURITY B4, D2).
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import assert_never

from hitl.approvals.conditions import CancelReason
from hitl.approvals.messages import Answer, answer
from hitl.approvals.opening import may_touch
from hitl.approvals.requests import ApprovalRequest
from hitl.approvals.settle import Consumption, Release, cancel, consume, report, settle
from hitl.errors import Conflict, Forbidden, InvalidInput, NoLongerPending, NotFound, Refused, Unavailable
from hitl.policy.escaping import plain
from hitl.stores.protocol import ApprovalStore
from hitl.v1 import gate_pb2, hub_pb2
from hitl.wire.identity import Identity
from hitl.wire.requests import result_from_proto
from hitl_operator.holding import holder_of
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics
from hitl_operator.rendering import outcome_to_proto, reviews_of
from hitl_operator.settling import Settler
from hitl_operator.standing import REWOUND, Lost
from hitl_operator.tracking import Open, Tracker
from hitl_operator.turns import Turns
from hitl_operator.wishes import NAME

_TRIES = 8  # each lost race means that somebody else wrote; more would be somebody who writes without end
_LONGEST_REASON = 1000
# Seconds after which a sidecar that judged by an old config is told again that the call is ready; the new one is there
# by then.
_JUDGE_AGAIN = 0.25
_VOUCH_AGAIN = 1.0  # seconds after which a call that was ready in a gap of enforcement is told so again

_RELEASES = {
    Release.RELEASED: hub_pb2.ConsumeResponse.RELEASE_RELEASED,
    Release.SPENT: hub_pb2.ConsumeResponse.RELEASE_SPENT,
    Release.ENDED: hub_pb2.ConsumeResponse.RELEASE_ENDED,
    Release.NOT_READY: hub_pb2.ConsumeResponse.RELEASE_NOT_READY,
    Release.REFUSED: hub_pb2.ConsumeResponse.RELEASE_REFUSED,
}

_log = Log(__name__)


class Releaser:
    """Releases, withdraws and closes requests.

    Args:
        turns: for reading the store.
        runs: whether a sidecar process may go by this revision now: (identity, epoch, revision) -> yes.
    """

    def __init__(
        self,
        store: ApprovalStore,
        tracker: Tracker,
        settler: Settler,
        metrics: HubMetrics,
        turns: Turns,
        *,
        clock: Callable[[], datetime],
        release_window: Callable[[], int],
        runs: Callable[[Identity, str, str], bool],
    ) -> None:
        self._store = store
        self._tracker = tracker
        self._settler = settler
        self._metrics = metrics
        self._turns = turns
        self._clock = clock
        self._release_window = release_window
        self._runs = runs

    async def find(self, identity: Identity, handle: str) -> Open:
        """A request of this workload and where it stands, settled and written now.

        Raises:
            NotFound: there is none of that handle.
            Forbidden: it belongs to another ServiceAccount or workload.
            StoreError: it could not be told.
        """
        request = await self._own(identity, handle)
        self._settler.observe(request)
        entry = self._tracker.open.get(handle)
        if entry is not None:
            await self._settler.settle_now(entry, asked=True)
            return self._tracker.open.get(handle, entry)
        ended = Open(request)
        ended.found = settle(request, self._clock(), release_window=self._release_window())
        return ended

    async def consume(self, identity: Identity, wish: hub_pb2.ConsumeRequest) -> hub_pb2.ConsumeResponse:
        """Release the call, once. RELEASED is only said after it was written. Errors as `find`, and Unavailable."""
        for _ in range(_TRIES):
            request = await self._own(identity, wish.handle)
            self._settler.observe(request)
            entry = self._tracker.open.get(wish.handle)
            if entry is None and not request.status.state.is_terminal:
                continue  # a picture from before its end, which this hub has seen meanwhile
            if (frozen := self._settler.frozen(request)) is not None:
                try:
                    request = await self._settler.write(request, frozen)
                except Conflict:
                    continue
            if not request.status.state.is_terminal and (lost := await self._settler.standing.vouch(request)):
                return self._doubted(identity, wish, entry, lost)
            judged, judgements = await self._settler.judged(request)
            done = consume(
                judged,
                self._clock(),
                digest=wish.digest,
                by=f"{identity.agent.pod_uid}/{wish.epoch}",
                release_window=self._release_window(),
                original_digest=wish.original_digest,
            )
            if done.release is Release.RELEASED:
                holder = None if entry is None else holder_of(entry, identity, wish.epoch)
                if holder is None:
                    return _refused("NOT_HELD", "This sidecar process does not hold the call; attach to it first.")
                if not self._runs(identity, wish.epoch, wish.revision):
                    asyncio.get_running_loop().call_later(_JUDGE_AGAIN, holder.say_again)
                    return _not_ready("CONFIG_CHANGED", "The config changed; judge the call by the new one first.")
            try:
                if done.status is not None and done.status != request.status:
                    request = await self._settler.write(request, done.status, judgements)
            except Conflict:
                continue
            return self._said(identity, wish, request if done.status is not None else judged, done)
        raise Unavailable("BUSY", f"{wish.handle} was changed {_TRIES} times while it was being released; try again")

    async def cancel(self, identity: Identity, wish: hub_pb2.HubServiceCancelRequest) -> gate_pb2.Outcome:
        """Withdraw a request, or say what was faster. Errors as `find`; InvalidInput for an unfit reason."""
        if len(wish.reason) > _LONGEST_REASON or not plain(wish.reason):
            raise InvalidInput(f"reason: must be escaped and at most {_LONGEST_REASON} characters")
        reason = _cancel_reason(wish.condition_reason)
        for _ in range(_TRIES):
            request = await self._own(identity, wish.handle)
            judged, judgements = await self._settler.judged_if_vouched(request)
            now = self._clock()
            try:
                status = cancel(judged, now, reason, wish.reason, release_window=self._release_window())
            except NoLongerPending:
                found = settle(judged, now, release_window=self._release_window())
                try:
                    if found.status is not None:
                        judged = await self._settler.write(request, found.status, judgements)
                except Conflict:
                    continue
                return outcome_to_proto(self._told(judged))
            try:
                written = await self._settler.write(request, status, judgements)
            except Conflict:
                continue
            return outcome_to_proto(self._told(written))
        raise Unavailable("BUSY", f"{wish.handle} was changed {_TRIES} times while it was being withdrawn; try again")

    async def report(self, identity: Identity, wish: hub_pb2.HubServiceReportRequest) -> None:
        """Record how a released call ended. Errors as `find`, and Refused where there is nothing to report on."""
        word = result_from_proto(wish.result)
        for _ in range(_TRIES):
            request = await self._own(identity, wish.handle)
            try:
                status = report(request, result=word, by=f"{identity.agent.pod_uid}/{wish.epoch}")
            except Forbidden as error:  # of this workload, but another sidecar process released it
                raise Refused(str(error)) from error
            try:
                if status != request.status:
                    await self._settler.write(request, status)
            except Conflict:
                continue
            return
        raise Unavailable("BUSY", f"{wish.handle} was changed {_TRIES} times while it was being reported; try again")

    async def _own(self, identity: Identity, handle: str) -> ApprovalRequest:
        """The request as it is in the store now, if it belongs to this workload."""
        namespace, _, name = handle.partition("/")
        agent = identity.agent
        if namespace != agent.namespace or not NAME.fullmatch(name):
            raise NotFound(f"{handle[:300]!r} is no request of namespace {agent.namespace}")
        try:
            async with self._turns.turn(namespace, agent.pod_uid):
                request = await self._store.get(namespace, name)
        except NotFound:
            self._settler.gone(handle)
            raise
        if not may_touch(request.spec, service_account=agent.service_account, workload=agent.workload):
            raise Forbidden(f"{handle} belongs to {request.spec.workload}, not to {agent.workload}")
        return request

    def _doubted(
        self, identity: Identity, wish: hub_pb2.ConsumeRequest, entry: Open | None, lost: Lost
    ) -> hub_pb2.ConsumeResponse:
        """Nothing is released on what cannot be believed (SECURITY C4, D2)."""
        _log.error("release-refused", handle=wish.handle, workload=identity.agent.workload, why=lost.reason_code)
        if lost.reason_code == REWOUND:
            return _refused(lost.reason_code, lost.message)  # until a person says so: the agent must not wait on that
        holder = None if entry is None else holder_of(entry, identity, wish.epoch)
        if holder is not None:
            asyncio.get_running_loop().call_later(_VOUCH_AGAIN, holder.say_again)
        return _not_ready(lost.reason_code, lost.message)

    def _said(
        self, identity: Identity, wish: hub_pb2.ConsumeRequest, request: ApprovalRequest, done: Consumption
    ) -> hub_pb2.ConsumeResponse:
        response = hub_pb2.ConsumeResponse(
            release=_RELEASES[done.release], message=done.message, reviews=reviews_of(request)
        )
        match done.release:
            case Release.RELEASED:
                response.reason_code = "REVIEWER"
            case Release.SPENT:
                response.reason_code = "PERMIT_SPENT"
            case Release.ENDED:
                told = self._told(request)
                response.outcome = outcome_to_proto(told)
                response.reason_code, response.message = told.reason_code, told.message
            case Release.NOT_READY:
                response.reason_code = "NOT_READY"
            case Release.REFUSED:
                response.reason_code = "DIGEST_MISMATCH"
                self._metrics.digest_mismatches.inc()
                _log.error(
                    "release-refused",
                    handle=wish.handle,
                    workload=identity.agent.workload,
                    pod=identity.agent.pod_name,
                    digest=wish.digest[:8],
                    held=request.spec.digest[:8],
                    why=done.message,
                )
            case never:
                assert_never(never)
        return response

    def _told(self, request: ApprovalRequest) -> Answer:
        window = self._release_window()
        return answer(request, settle(request, self._clock(), release_window=window), release_window=window)


def _refused(reason_code: str, message: str) -> hub_pb2.ConsumeResponse:
    return hub_pb2.ConsumeResponse(
        release=hub_pb2.ConsumeResponse.RELEASE_REFUSED, reason_code=reason_code, message=message
    )


def _not_ready(reason_code: str, message: str) -> hub_pb2.ConsumeResponse:
    return hub_pb2.ConsumeResponse(
        release=hub_pb2.ConsumeResponse.RELEASE_NOT_READY, reason_code=reason_code, message=message
    )


def _cancel_reason(word: str) -> CancelReason:
    allowed = (
        CancelReason.WITHDRAWN,
        CancelReason.POLICY_TIGHTENED,
        CancelReason.SUPERSEDED,
        CancelReason.FROZEN,
    )
    if word not in allowed:
        raise InvalidInput(f"condition_reason: is {word[:64]!r}, must be one of {', '.join(allowed)}")
    return CancelReason(word)
