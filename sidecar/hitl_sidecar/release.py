"""What happens once people agreed: evaluate again (I8), recompute the digest (I7), consume (I6), and only then answer.

Nothing is consumed for nobody: a caller must be there before and is answered after. What was consumed is never run on
any other path: where the hub's answer or our own record of it is lost, the call counts as released and does not run.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, assert_never

from hitl.approvals import messages
from hitl.approvals.conditions import CancelReason
from hitl.approvals.edits import Edit, one_approval_suffices
from hitl.approvals.tightening import Change, compare
from hitl.errors import HitlError, Unavailable
from hitl.policy.calls import ToolCall
from hitl.policy.verdicts import Verdict
from hitl.v1 import gate_pb2, hub_pb2
from hitl.wire.requests import is_overridden, terms_from_json
from hitl.wire.verdicts import verdict_to_proto
from hitl_sidecar import answers, asking
from hitl_sidecar.asked import Edited, Edits, Judged, call_of, request_of
from hitl_sidecar.audit_log import AuditLog
from hitl_sidecar.callers import Caller
from hitl_sidecar.editing import edit, patch_of
from hitl_sidecar.holds import Hold
from hitl_sidecar.hub import Hub
from hitl_sidecar.judge import Judge, Reservation
from hitl_sidecar.metrics import GateMetrics
from hitl_sidecar.permits import Permits
from hitl_sidecar.programmed import InForce, Programmed
from hitl_sidecar.recorder import Recorder
from hitl_sidecar.sync import head_to_proto

log = logging.getLogger(__name__)

_FAILED: Final = Unavailable("INTERNAL", "the gate failed to release this call; its log says why")
_AGAIN_AFTER: Final = 0.5  # seconds until a release that the hub did not answer is tried again
_RELEASED = hub_pb2.ConsumeResponse.RELEASE_RELEASED
_SPENT = hub_pb2.ConsumeResponse.RELEASE_SPENT
_ENDED = hub_pb2.ConsumeResponse.RELEASE_ENDED
_NOT_READY = hub_pb2.ConsumeResponse.RELEASE_NOT_READY


@dataclass(frozen=True, slots=True)
class Agreed:
    """A call that people agreed to, as it would run: evaluated again and with its digest recomputed."""

    state: hub_pb2.HoldResponse
    in_force: InForce
    call: ToolCall
    verdict: Verdict
    digest: str
    limits: Reservation


class Releaser:
    """Carries releases out, one at a time for each hold."""

    def __init__(
        self,
        *,
        epoch: str,
        programmed: Programmed,
        hub: Hub,
        judge: Judge,
        recorder: Recorder,
        audit: AuditLog,
        permits: Permits,
        edits: Edits,
        metrics: GateMetrics,
        check_again: Callable[[bytes, Caller], None],
    ) -> None:
        """`check_again`: evaluates a call anew for a caller that waits already."""
        self._epoch = epoch
        self._programmed = programmed
        self._hub = hub
        self._judge = judge
        self._recorder = recorder
        self._audit = audit
        self._permits = permits
        self._edits = edits
        self._metrics = metrics
        self._check_again = check_again
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, hold: Hold, state: hub_pb2.HoldResponse) -> None:
        """Start a release; `hold` says so until it is over."""
        self._begin(hold, self._release(hold, state))

    def begin_refusal(self, hold: Hold, judged: Judged) -> None:
        """End a hold that the policy denies by now, before people are troubled with it (I8)."""
        state = hub_pb2.HoldResponse(handle=hold.handle)
        self._begin(hold, self._refuse(hold, state, judged.call, judged.verdict))

    def _begin(self, hold: Hold, steps: Coroutine[Any, Any, None]) -> None:
        hold.is_releasing = True
        task = asyncio.create_task(self._guarded(hold, steps))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Return once no release is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def supersede(self, hold: Hold, edited: Edited | None) -> None:
        """The request that stood for the call ended as Superseded: ask anew, and tell the callers that they wait."""
        now = asyncio.get_running_loop().time()
        callers, hold.callers = hold.callers, []
        hold.table.drop(hold)
        if edited is not None:
            self._edits.put(hold.key, edited)
        for caller in callers:
            caller.until = now
            self._check_again(hold.raw, caller)

    async def _guarded(self, hold: Hold, steps: Coroutine[Any, Any, None]) -> None:
        try:
            await steps
        except Unavailable as error:
            self._end(hold, answers.unavailable(error, hold.handle))
        except HitlError as error:
            log.warning("%s is not released: %s", hold.handle, error)
            garbage = Unavailable("HUB_GARBAGE", f"the hub's word on this call is not to be followed: {error}")
            self._end(hold, answers.unavailable(garbage, hold.handle))
        except Exception:
            log.exception("%s is not released", hold.handle)
            self._end(hold, answers.unavailable(_FAILED, hold.handle))

    async def _release(self, hold: Hold, state: hub_pb2.HoldResponse) -> None:
        in_force = self._programmed.current()
        terms = terms_from_json(state.terms_json)
        call = call_of(request_of(hold.raw).call, hold.edited)
        digest = asking.digest(in_force, call, hold.key_id)
        if digest != hold.digest:
            # Not the call any more that people saw: its tool changed meanwhile (I7).
            self._metrics.digest_mismatches += 1
            await self._ask_anew(hold, "the tool behind the call changed while it waited", hold.edited)
            return
        edited = hold.edited
        if state.HasField("arguments_patch_json"):
            edited = edit(hold.raw, hold.edited, state, terms)
            call = call_of(request_of(hold.raw).call, edited)
            digest = asking.digest(in_force, call, hold.key_id)
        verdict = self._judge.judge_again(in_force, call)
        match compare(terms, verdict):
            case Change.DENY:
                await self._refuse(hold, state, call, verdict)
            case Change.STRICTER:
                await self._ask_anew(hold, f"the policy asks for more now: {verdict.explanation}", edited)
            case Change.SAME | Change.LESS_STRICT:
                if digest != hold.digest and not one_approval_suffices(terms):
                    await self._ask_anew(hold, f"{state.editor} changed the call, and others must agree too", edited)
                else:
                    # Set aside before anything is waited for: of calls that are released side by side, each has
                    # its own room under a limit or none.
                    limits = self._judge.reserve(verdict)
                    try:
                        await self._consume(hold, Agreed(state, in_force, call, verdict, digest, limits))
                    finally:
                        limits.end()
            case never:
                assert_never(never)

    async def _consume(self, hold: Hold, agreed: Agreed) -> None:
        if self._recorder.decision(agreed.call, agreed.state, "Approved", agreed.digest):
            self._judge.decided(denied=False)
        await self._audit.durable()
        if not hold.callers:
            hold.release_over()  # nobody is left to run it: the approval waits for the next try
            return
        request = hub_pb2.ConsumeRequest(
            handle=hold.handle,
            digest=agreed.digest,
            revision=agreed.in_force.config.revision,
            epoch=self._epoch,
            original_digest=hold.digest if agreed.digest != hold.digest else "",
            audit_head=head_to_proto(self._audit.head),
        )
        try:
            answer = await self._hub.consume(request)
        except Unavailable as error:
            log.warning("whether %s was released is not known yet: %s", hold.handle, error)
            hold.is_uncertain = True
            hold.release_over()
            asyncio.get_running_loop().call_later(_AGAIN_AFTER, hold.try_release)
            return
        match answer.release:
            case r if r == _RELEASED:
                try:
                    await self._deliver(hold, agreed)
                except Unavailable as error:
                    log.error("%s was consumed and does not run: %s", hold.handle, error)  # noqa: TRY400 - no bug
                    hold.is_uncertain = True
                    self.spent(hold)
            case r if r == _SPENT:
                self.spent(hold)
            case r if r == _ENDED:
                hold.release_over()  # the stream brings the outcome, with its words
            case r if r == _NOT_READY or answer.reason_code == "NOT_HELD":
                # The hub says again when it is: people, its own config, or our stream that is just coming back.
                # It may have said so while it was asked, and that word must not be lost; nor may a config that came
                # meanwhile, by which the call is then judged at once.
                if hold.ready_state is agreed.state and agreed.in_force is self._programmed.current():
                    hold.ready_state = None
                hold.release_over()
                hold.try_release()
            case _:
                trouble = Unavailable(answer.reason_code or "RELEASE_REFUSED", answer.message or "the hub refused it")
                self._end(hold, answers.unavailable(trouble, hold.handle))

    async def _deliver(self, hold: Hold, agreed: Agreed) -> None:
        """The request is consumed: from here on it is ALLOWED once, or never runs."""
        state, call, verdict, digest = agreed.state, agreed.call, agreed.verdict, agreed.digest
        self._edits.forget(hold.key)
        is_edited = hold.edited is not None or digest != hold.digest
        self._judge.charge(verdict)
        agreed.limits.end()
        self._recorder.release(
            call,
            state,
            digest,
            delivered=bool(hold.callers),
            edited_from=hold.digest if digest != hold.digest else "",
        )
        await self._audit.durable()
        self._judge.allowed(agreed.in_force, call)
        change = Edit(state.editor, patch_of(state)) if digest != hold.digest else None
        said = messages.allowed(hold.handle.partition("/")[2], change, overridden=is_overridden(state.reviews))
        response = answers.of(said, handle=hold.handle)
        response.permit = self._permits.give(f"{call.server}/{call.tool}", hold.handle)
        response.reviews.extend(state.reviews)
        response.checkpoint = hold.checkpoint
        response.verdict.CopyFrom(verdict_to_proto(verdict, digest=digest))
        if is_edited:
            response.arguments_json = call.arguments_json
        callers, hold.callers = hold.callers, []
        hold.table.drop(hold)
        if callers:
            callers[0].answer(response)
        for other in callers[1:]:
            self._too_late(hold, other)

    def spent(self, hold: Hold) -> None:
        """The request was consumed, and not for a caller of ours that could be told."""
        self._edits.forget(hold.key)
        callers, hold.callers = hold.callers, []
        hold.table.drop(hold)
        for caller in callers:
            if hold.is_uncertain:
                caller.answer(answers.of(answers.release_unknown(hold.handle), handle=hold.handle))
            else:
                self._too_late(hold, caller)

    def _too_late(self, hold: Hold, caller: Caller) -> None:
        """Somebody else got the release. A call_id stands for one execution; without one this is a second call."""
        if hold.key[1] == "id":
            caller.answer(answers.of(answers.already_released(hold.handle), handle=hold.handle))
        else:
            self._check_again(hold.raw, caller)

    async def _refuse(self, hold: Hold, state: hub_pb2.HoldResponse, call: ToolCall, verdict: Verdict) -> None:
        """The policy says Deny by now, or people stopped it (I8)."""
        frozen = verdict.reason_code == "FROZEN"
        outcome = await self._hub.cancel(hold.handle, verdict.explanation, "Frozen" if frozen else "PolicyTightened")
        if outcome not in (gate_pb2.OUTCOME_CANCELLED, gate_pb2.OUTCOME_DENIED):
            hold.release_over()  # another outcome was faster; the stream brings it
            return
        self._edits.forget(hold.key)
        if frozen:
            self._refuse_frozen(hold, state, call, verdict)
            return
        code = "LIMIT" if verdict.reason_code == "LIMIT" else "TIGHTENED"
        cancelled = hub_pb2.HoldResponse()
        cancelled.CopyFrom(state)
        cancelled.reason_code = code
        cancelled.message = verdict.message
        self._recorder.decision(call, cancelled, "Cancelled", hold.digest)
        response = answers.refused(code, verdict.message, verdict_to_proto(verdict, digest=hold.digest))
        response.handle = hold.handle
        response.checkpoint = hold.checkpoint
        self._end(hold, response)

    def _refuse_frozen(self, hold: Hold, state: hub_pb2.HoldResponse, call: ToolCall, verdict: Verdict) -> None:
        """What waited is cancelled: nobody said no to the call itself (I9)."""
        name = hold.handle.partition("/")[2]
        response = answers.of(
            messages.cancelled(CancelReason.FROZEN, name, why=verdict.explanation), handle=hold.handle
        )
        cancelled = hub_pb2.HoldResponse()
        cancelled.CopyFrom(state)
        cancelled.reason_code, cancelled.message = response.reason_code, response.message
        self._recorder.decision(call, cancelled, "Cancelled", hold.digest)
        response.verdict.CopyFrom(verdict_to_proto(verdict, digest=hold.digest))
        response.checkpoint = hold.checkpoint
        self._end(hold, response)

    async def _ask_anew(self, hold: Hold, why: str, edited: Edited | None) -> None:
        """Votes never carry over: the request ends as Superseded, and another one takes its place."""
        outcome = await self._hub.cancel(hold.handle, why, "Superseded")
        if outcome != gate_pb2.OUTCOME_CANCELLED:
            hold.release_over()  # another outcome was faster; the stream brings it
            return
        self.supersede(hold, edited)

    def _end(self, hold: Hold, response: gate_pb2.CheckResponse) -> None:
        hold.is_releasing = False
        hold.end(response)
