"""The use case: parse a call, evaluate it, record it, and answer; or hold it until people have decided (DESIGN 7, 8).

Everything up to an answer that nobody has to wait for happens in one step without an await. Whatever goes wrong on the
way is an answer too, and never ALLOWED (I2).
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from hitl.approvals.messages import AgentOutcome, Answer
from hitl.errors import InvalidCall, Unavailable
from hitl.policy.actions import Action
from hitl.policy.verdicts import Verdict
from hitl.policy.windows import Recent
from hitl.v1 import gate_pb2
from hitl.wire.verdicts import verdict_to_proto
from hitl_sidecar import answers
from hitl_sidecar.asked import Judged, call_of, request_of
from hitl_sidecar.audit_log import AuditLog
from hitl_sidecar.callers import Caller
from hitl_sidecar.holding import Holding
from hitl_sidecar.judge import Judge
from hitl_sidecar.metrics import GateMetrics, Labels
from hitl_sidecar.permits import Permits
from hitl_sidecar.programmed import Programmed
from hitl_sidecar.recorder import Recorder

log = logging.getLogger(__name__)

LARGE: Final = 16 * 1024
"""Bytes from which a call is evaluated off the event loop (SECURITY A5)."""
_MOST_KEPT: Final = 1024  # answers that are the same for every call of a tool
_PERMIT_TAG: Final = gate_pb2.CheckResponse.PERMIT_FIELD_NUMBER << 3 | 2  # a string, whose length fits in one byte
_FAILED: Final = Unavailable("INTERNAL", "the gate failed to evaluate this call; its log says why")

Remaining = Callable[[], float | None]
"""Seconds until the caller's deadline; None: it set none. Only asked where somebody has to wait."""


class Reply(NamedTuple):
    """An answer as it goes on the wire, with what is counted of it: action, outcome and policy."""

    data: bytes
    labels: Labels


Answered = Reply | gate_pb2.CheckResponse | Caller
"""An answer, or a caller that waits for one."""


class Gate:
    """Decides the calls of one pod."""

    def __init__(
        self,
        *,
        programmed: Programmed,
        judge: Judge,
        recorder: Recorder,
        audit: AuditLog,
        permits: Permits,
        metrics: GateMetrics,
        holding: Holding,
    ) -> None:
        self._programmed = programmed
        self._judge = judge
        self._recorder = recorder
        self._audit = audit
        self._permits = permits
        self._metrics = metrics
        self._holding = holding
        self._scans = ThreadPoolExecutor(2, thread_name_prefix="scan")
        self._ready: dict[int, tuple[Verdict, bytes, Labels]] = {}
        self._dry_runs = Recent()

    def check(self, data: bytes, remaining: Remaining) -> Answered:
        """Answer a call, or say who waits. `data`: a serialised `CheckRequest`."""
        message = gate_pb2.ToolCall()
        try:
            request = request_of(data)
            message = request.call
            judged = self._judged(request)
            return self._act(data, request, judged, remaining)
        except Exception as error:  # noqa: BLE001 - every error is an answer, and none of them is ALLOWED (I2)
            return self._refusal(error, message)

    async def check_large(self, data: bytes, remaining: Remaining) -> Answered:
        """As `check`, for calls that take so long to search that others would have to wait."""
        message = gate_pb2.ToolCall()
        try:
            request = request_of(data)
            message = request.call
            seconds = self._programmed.current().config.settings.evaluation_deadline
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(seconds):
                    judged = await loop.run_in_executor(self._scans, self._judged_large, request)
                    while self._is_outdated(judged):
                        judged = await loop.run_in_executor(self._scans, self._judged_large, request)
            except TimeoutError:
                return self._too_slow(message, seconds)
            return self._act(data, request, judged, remaining)
        except Exception as error:  # noqa: BLE001 - as above
            return self._refusal(error, message)

    def _is_outdated(self, judged: Judged) -> bool:
        """Whether config or history moved on while the call was searched, so that its verdict may be too lax by now."""
        return judged.in_force is not self._programmed.current() or self._judge.is_outdated(
            judged.in_force, judged.call, judged.verdict
        )

    def close(self) -> None:
        """End the threads that search large calls."""
        self._scans.shutdown(wait=False, cancel_futures=True)

    def _judged(self, request: gate_pb2.CheckRequest) -> Judged:
        if request.user_token:
            raise InvalidCall("user_token: this hub reviews no user tokens; send claimed_user")
        call = call_of(request.call)
        in_force = self._programmed.current()
        if not request.dry_run:
            self._audit.need_writable()
        return Judged(in_force, call, self._judge.judge(in_force, call))

    def _judged_large(self, request: gate_pb2.CheckRequest) -> Judged:
        """In a thread: also what is recorded of the call, because redacting it means to search it as well."""
        judged = self._judged(request)
        return Judged(judged.in_force, judged.call, judged.verdict, self._recorder.preview(judged))

    def _act(self, data: bytes, request: gate_pb2.CheckRequest, judged: Judged, remaining: Remaining) -> Answered:
        if request.dry_run:
            self._need_dry_room(judged)
            return self._dry(judged)
        self._judge.count(judged.call, judged.verdict)
        verdict = judged.verdict
        if not judged.needs_people:
            if verdict.action is Action.ALLOW and not verdict.clarify and not judged.call.checkpoint:
                return self._allow_at_once(judged)
            return self._answer(judged)
        caller = Caller.of(
            budget=float(verdict.terms.hold_budget) if verdict.terms else 0.0,
            wait=request.wait.ToTimedelta().total_seconds() if request.HasField("wait") else None,
            remaining=remaining(),
            first=self._holding.table.patience,
        )
        self._hold(data, judged, caller)
        return caller

    def _need_dry_room(self, judged: Judged) -> None:
        """Dry runs count for nothing else, but they cost as much as calls do: a pod has as many of them a minute."""
        now = asyncio.get_running_loop().time()
        most = judged.in_force.config.settings.flood_per_pod
        if self._dry_runs.count(now) >= most:
            raise Unavailable("FLOOD", f"{most} dry runs a minute are the most for a pod; wait a minute")
        self._dry_runs.add(now)

    def _answer(self, judged: Judged) -> gate_pb2.CheckResponse:
        """The answer to a call that nobody needs to be asked about."""
        verdict = judged.verdict
        if verdict.clarify:
            self._judge.clarified(judged.in_force, judged.call)
            self._recorder.verdict(judged)
            self._metrics.low_confidence += 1
            return gate_pb2.CheckResponse(
                outcome=gate_pb2.OUTCOME_CLARIFY,
                reason_code=verdict.reason_code,
                message=verdict.message,
                verdict=verdict_to_proto(verdict),
                checkpoint=judged.call.checkpoint,
            )
        if verdict.action is Action.DENY:
            self._recorder.verdict(judged)
            response = answers.refused(verdict.reason_code, verdict.message, verdict_to_proto(verdict))
            response.checkpoint = judged.call.checkpoint
            return response
        return self._allow(judged)

    def _allow(self, judged: Judged) -> gate_pb2.CheckResponse:
        """ALLOWED, once the limits are charged and the verdict is recorded."""
        response = _allowed(judged.verdict)
        response.permit = self._permit(judged)
        response.checkpoint = judged.call.checkpoint
        if judged.edited is not None:
            response.arguments_json = judged.call.arguments_json
        return response

    def _allow_at_once(self, judged: Judged) -> Reply:
        """As `_allow`, for what most calls are: all but the permit is the same for every call of a tool, so it is kept
        serialised. Serialised messages that stand one after the other are one message (protobuf.dev, Encoding).
        """
        verdict = judged.verdict
        kept = self._ready.get(id(verdict))
        if kept is None or kept[0] is not verdict:
            labels = (verdict.action.word, "allowed", verdict.policy)
            kept = verdict, _allowed(verdict).SerializeToString(), labels
            if not verdict.summary:
                if len(self._ready) >= _MOST_KEPT:
                    self._ready.clear()
                self._ready[id(verdict)] = kept
        permit = self._permit(judged).encode()
        return Reply(b"%s%c%c%s" % (kept[1], _PERMIT_TAG, len(permit), permit), kept[2])

    def _permit(self, judged: Judged) -> str:
        call = judged.call
        self._judge.charge(judged.verdict)
        self._recorder.verdict(judged)
        self._judge.allowed(judged.in_force, call)
        return self._permits.give(f"{call.server}/{call.tool}")

    def _hold(self, data: bytes, judged: Judged, caller: Caller) -> None:
        """Let the caller wait; where a reviewer changed the call meanwhile, for the call as it is now."""
        changed = self._holding.hold(data, judged, caller)
        if changed is not None:
            caller.answer(self._answer(changed))

    def check_again(self, data: bytes, caller: Caller) -> None:
        """Decide anew about a caller that waits already: what it waited for is not to be had."""
        message = gate_pb2.ToolCall()
        try:
            request = request_of(data)
            message = request.call
            call = call_of(message)
            in_force = self._programmed.current()
            judged = Judged(in_force, call, self._judge.judge_again(in_force, call))
            caller.expects(self._holding.table.patience)
            if judged.needs_people:
                self._hold(data, judged, caller)
            else:
                caller.answer(self._answer(judged))
        except Exception as error:  # noqa: BLE001 - as above
            caller.answer(self._refusal(error, message))

    def _dry(self, judged: Judged) -> gate_pb2.CheckResponse:
        """What would be answered: without permit and handle, and nothing is counted or recorded."""
        verdict = judged.verdict
        match verdict.action:
            case _ if verdict.clarify:
                outcome = gate_pb2.OUTCOME_CLARIFY
            case Action.ALLOW | Action.NOTIFY:
                outcome = gate_pb2.OUTCOME_ALLOWED
            case Action.CONFIRM | Action.MULTI_FACTOR:
                outcome = gate_pb2.OUTCOME_PENDING
            case Action.SUGGEST:
                outcome = gate_pb2.OUTCOME_SUGGESTED
            case Action.DENY:
                outcome = gate_pb2.OUTCOME_DENIED
        return gate_pb2.CheckResponse(
            outcome=outcome,
            reason_code=answers.public_reason(verdict.reason_code),
            message=verdict.message,
            verdict=verdict_to_proto(verdict),
            checkpoint=judged.call.checkpoint,
        )

    def _refusal(self, error: Exception, message: gate_pb2.ToolCall) -> gate_pb2.CheckResponse:
        """The answer where there is no verdict; recorded as far as that is possible."""
        if isinstance(error, InvalidCall):
            decision, reason, response = "Invalid", "INVALID_CALL", answers.invalid(error)
        elif isinstance(error, Unavailable):
            decision, reason, response = "Unavailable", error.reason_code, answers.unavailable(error)
        else:
            log.error("a call could not be evaluated", exc_info=error)
            decision, reason, response = "Unavailable", _FAILED.reason_code, answers.unavailable(_FAILED)
        try:
            self._recorder.refusal(decision, reason, response.message, server=message.server, tool=message.tool)
        except Unavailable as unwritable:
            return answers.unavailable(unwritable)
        return response

    def _too_slow(self, message: gate_pb2.ToolCall, seconds: int) -> gate_pb2.CheckResponse:
        said = Answer(
            AgentOutcome.DENIED,
            "EVALUATION_FAILED",
            f"Searching the arguments took longer than {seconds} s, so the call is refused. Nothing ran. Send less: "
            "hand large content over by reference.",
        )
        self._recorder.refusal("Deny", said.reason_code, said.message, server=message.server, tool=message.tool)
        return answers.of(said)


def _allowed(verdict: Verdict) -> gate_pb2.CheckResponse:
    return gate_pb2.CheckResponse(
        outcome=gate_pb2.OUTCOME_ALLOWED,
        reason_code=verdict.reason_code,
        message=verdict.message,
        verdict=verdict_to_proto(verdict),
    )
