"""What the gate does with held calls: asks the hub, records what became of them, and releases or ends them."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from hitl.approvals import messages
from hitl.errors import HitlError, InvalidInput, Unavailable
from hitl.kube.requests import spec_to_json
from hitl.policy.actions import Action
from hitl.v1 import gate_pb2, hub_pb2
from hitl.wire.requests import terms_from_json
from hitl.wire.verdicts import verdict_to_proto
from hitl_sidecar import answers, asking
from hitl_sidecar.asked import Edited, Edits, Judged, call_of, request_of
from hitl_sidecar.audit_log import AuditLog
from hitl_sidecar.call_spans import TRACEPARENT
from hitl_sidecar.callers import Caller
from hitl_sidecar.declared import DeclaredTools
from hitl_sidecar.editing import edit
from hitl_sidecar.hold_stream import HoldStream
from hitl_sidecar.holds import Hold, HoldTable, Key
from hitl_sidecar.judge import Judge
from hitl_sidecar.programmed import InForce, Programmed
from hitl_sidecar.recorder import Recorder
from hitl_sidecar.release import Releaser
from hitl_sidecar.sync import head_to_proto

log = logging.getLogger(__name__)

_SHUTTING_DOWN: Final = Unavailable("SHUTTING_DOWN", "the gate is being shut down; its successor goes on with it")
_AT_ONCE: Final = 200  # holds that are evaluated again in one go when the config changes, before others get a turn
_MOST_KEPT: Final = 1024
_REFUSALS: Final = {
    gate_pb2.OUTCOME_DENIED: "Deny",
    gate_pb2.OUTCOME_ALREADY_RELEASED: "Deny",
    gate_pb2.OUTCOME_INVALID: "Invalid",
    gate_pb2.OUTCOME_UNAVAILABLE: "Unavailable",
}
"""What a hub may answer instead of asking anybody, as the audit log calls it."""
_ENDS: Final = {
    gate_pb2.OUTCOME_DENIED: "Denied",
    gate_pb2.OUTCOME_EXPIRED: "Expired",
    gate_pb2.OUTCOME_CANCELLED: "Cancelled",
    gate_pb2.OUTCOME_SUGGESTED: "Suggested",
}


class Holding:
    """Keeps the table of holds and acts on what becomes of them (`HoldEvents`)."""

    def __init__(
        self,
        *,
        epoch: str,
        programmed: Programmed,
        stream: HoldStream,
        judge: Judge,
        recorder: Recorder,
        audit: AuditLog,
        declared: DeclaredTools,
        edits: Edits,
        wall_clock: Callable[[], float],
    ) -> None:
        """`wall_clock`: seconds since the epoch."""
        self._epoch = epoch
        self._programmed = programmed
        self._judge = judge
        self._recorder = recorder
        self._audit = audit
        self._declared = declared
        self._edits = edits
        self._is_draining = False
        self._kept: dict[bytes, bytes] = {}
        self._reconsidering: asyncio.Task[None] | None = None
        self.table = HoldTable(stream, self, wall_clock)
        self.releaser: Releaser

    def hold(self, data: bytes, judged: Judged, caller: Caller) -> Judged | None:
        """Let the caller wait for people.

        Where a reviewer changed the call and others must still agree, a retry of the original stands for the changed
        one. If that needs nobody's word any more it is returned, to be answered at once.

        Raises:
            Unavailable: the gate is being shut down, or the call's key has ended.
            InvalidCall: the call has no digest.
        """
        if self._is_draining:
            raise _SHUTTING_DOWN
        in_force, key_id = judged.in_force, judged.in_force.config.key_id
        digest = asking.digest(in_force, judged.call, key_id)
        key = _key_of(judged, digest)
        edited = self._edits.get(key)
        if edited is not None:
            if not edited.stands_for(judged.call):
                caller.answer(answers.of(messages.call_id_reused("a reviewer changed it")))
                return None
            judged = self._judged_again(data, in_force, edited)
            if not judged.needs_people:
                return judged
            digest = asking.digest(in_force, judged.call, key_id)
        hold = self.table.get(key)
        if hold is None:
            hold = Hold(self.table, key, data, digest=digest, key_id=key_id)
            hold.edited = edited
            hold.tier = judged.verdict.action.kebab
            hold.traceparent = TRACEPARENT.get()
            hold.code = judged.verdict.reason_code
            hold.verdict = self._kept_form(judged)
            self.table.open(hold)
        elif hold.digest != digest:
            name = hold.handle.partition("/")[2] or "it waits already"
            caller.answer(answers.of(messages.call_id_reused(name), handle=hold.handle))
            return None
        hold.join(caller)
        return None

    # What holds report.

    def message_of(self, hold: Hold) -> hub_pb2.HoldRequest:
        if hold.handle:
            watch = hub_pb2.WatchHold(handle=hold.handle, epoch=self._epoch, holding=True)
            return hub_pb2.HoldRequest(watch=watch)
        asked = self._judged_again(hold.raw, self._programmed.current(), hold.edited)
        if not asked.needs_people:
            raise Unavailable("POLICY_CHANGED", "the policy changed this moment; make the call again")
        hold.asked = asked
        spec = asking.spec_of(
            asked.in_force,
            asked.call,
            asked.verdict,
            call_digest=hold.digest,
            definition=self._declared.get(asked.call.name),
            excluded=hold.edited.excluded if hold.edited else (),
            traceparent=hold.traceparent,
        )
        opening = hub_pb2.OpenHold(
            spec_json=spec_to_json(spec),
            epoch=self._epoch,
            audit_head=head_to_proto(self._audit.head),
            supersedes=hold.edited is not None,
        )
        return hub_pb2.HoldRequest(open=opening)

    def opened(self, hold: Hold, state: hub_pb2.HoldResponse) -> None:
        asked, hold.asked = hold.asked, None
        if asked is None or state.attached:
            return  # its verdict was recorded when it was opened
        word = _REFUSALS.get(state.outcome)
        hold.is_refused = word is not None
        try:
            if word is None:
                self._recorder.verdict(asked, handle=state.handle, digest=hold.digest)
            else:
                self._recorder.verdict(asked, refused=(word, state.reason_code, state.message), digest=hold.digest)
        except Unavailable as error:
            hold.end(answers.unavailable(error, state.handle))

    def ready(self, hold: Hold, state: hub_pb2.HoldResponse) -> None:
        self.releaser.begin(hold, state)

    def ended(self, hold: Hold, state: hub_pb2.HoldResponse) -> None:
        outcome = state.outcome
        if outcome == gate_pb2.OUTCOME_ALREADY_RELEASED and (hold.is_uncertain or hold.key[1] == "digest"):
            self.releaser.spent(hold)
            return
        try:
            if not hold.is_refused:
                self._record_end(hold, state)
            if outcome == gate_pb2.OUTCOME_CANCELLED and state.HasField("arguments_patch_json"):
                edited = edit(hold.raw, hold.edited, state, terms_from_json(state.terms_json))
                self.releaser.supersede(hold, edited)
                return
        except Unavailable as error:
            hold.end(answers.unavailable(error, hold.handle))
            return
        except InvalidInput as error:
            log.warning("the end of %s cannot be understood: %s", hold.handle, error)
            hold.end(answers.unavailable(answers.GARBAGE, hold.handle))
            return
        self._edits.forget(hold.key)
        response = answers.ended(state)
        response.verdict.CopyFrom(hold.wire_verdict())
        hold.end(response)

    def unanswered(self, hold: Hold) -> None:
        message = request_of(hold.raw).call
        try:
            self._recorder.refusal(
                "Unavailable", "HUB_UNREACHABLE", "nobody could be asked", server=message.server, tool=message.tool
            )
        except Unavailable as error:
            log.error("a call that nobody could be asked about is not recorded: %s", error)  # noqa: TRY400

    # What happens to all of them.

    def reconsider(self, in_force: InForce) -> None:
        """Another config is in force: what it denies need not wait for people any more (I8)."""
        if self._reconsidering is not None:
            self._reconsidering.cancel()
        self._reconsidering = asyncio.create_task(self._reconsider(in_force))

    def end_all(self, error: Unavailable) -> None:
        """Answer every caller UNAVAILABLE; the requests stay."""
        for hold in self.table:
            if not hold.is_releasing:
                hold.end(answers.unavailable(error, hold.handle))

    async def drain(self) -> None:
        """Take no more holds, let releases finish, and answer everybody else PENDING, with a handle to come back to."""
        self._is_draining = True
        if self._reconsidering is not None:
            self._reconsidering.cancel()
        for hold in self.table:
            if not hold.is_releasing:
                hold.end(hold.pending() if hold.is_open else answers.unavailable(_SHUTTING_DOWN))
        await self.releaser.finish()
        for hold in self.table:
            hold.end(hold.pending() if hold.is_open else answers.unavailable(_SHUTTING_DOWN))

    def waiting(self, tier: str) -> int:
        """How many holds of a tier somebody waits on."""
        return sum(hold.tier == tier for hold in self.table)

    async def _reconsider(self, in_force: InForce) -> None:
        for number, hold in enumerate(self.table, 1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if not hold.is_open or hold.is_releasing or not hold.callers:
                continue
            try:
                judged = self._judged_again(hold.raw, in_force, hold.edited)
            except HitlError as error:
                log.warning("%s is looked at again when it is released: %s", hold.handle, error)
                continue
            # A limit that others used up is no tightened policy; it binds at release.
            if judged.verdict.action is Action.DENY and judged.verdict.reason_code != "LIMIT":
                self.releaser.begin_refusal(hold, judged)

    def _judged_again(self, data: bytes, in_force: InForce, edited: Edited | None) -> Judged:
        call = call_of(request_of(data).call, edited)
        return Judged(in_force, call, self._judge.judge_again(in_force, call), edited=edited)

    def _record_end(self, hold: Hold, state: hub_pb2.HoldResponse) -> None:
        word = _ENDS.get(state.outcome)
        if word is None or not state.handle:
            return
        call = call_of(request_of(hold.raw).call, hold.edited)
        if self._recorder.decision(call, state, word, hold.digest) and state.reviews:
            self._judge.decided(denied=state.outcome == gate_pb2.OUTCOME_DENIED)

    def _kept_form(self, judged: Judged) -> bytes:
        """The verdict's wire form, one object for all holds that look alike: ten thousand of them mostly do."""
        form = verdict_to_proto(judged.verdict).SerializeToString(deterministic=True)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        return self._kept.setdefault(form, form)


def _key_of(judged: Judged, digest: str) -> Key:
    call = judged.call
    return (call.session_id, "id", call.call_id) if call.call_id else (call.session_id, "digest", digest)
