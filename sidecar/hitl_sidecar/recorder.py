"""What happened, as audit records (DESIGN 13): who, what, decided how and by whom. Arguments are redacted."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import orjson

from hitl.audit import RecordKind
from hitl.policy.actions import Action
from hitl.policy.calls import ToolCall
from hitl.policy.config import COMPILER
from hitl.policy.escaping import as_plain
from hitl.policy.redaction import Preview
from hitl.policy.verdicts import Verdict
from hitl.v1 import hub_pb2
from hitl.wire.requests import is_overridden
from hitl.wire.verdicts import action_to_proto
from hitl_sidecar.asked import Judged
from hitl_sidecar.audit_log import AuditLog
from hitl_sidecar.programmed import InForce
from hitl_sidecar.sync import Sync

# Refusals a minute that get a record each: an agent that floods the gate must not fill the disk with its refusals.
_MOST_REFUSALS: Final = 600
_REMEMBERED: Final = 4096  # decisions already recorded: each retry of a decided call hears of the same one again


class Recorder:
    """Writes records. Every method raises Unavailable, AUDIT_UNWRITABLE, where that fails: then the caller refuses."""

    def __init__(self, log: AuditLog, sync: Sync, clock: Callable[[], float]) -> None:
        """`clock`: seconds since the epoch."""
        self._log = log
        self._sync = sync
        self._clock = clock
        self._agent_id = ""
        self._revision = ""
        self._decided: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._minute = 0
        self._refusals = 0
        self._unrecorded = 0

    def config(self, in_force: InForce) -> None:
        """Another revision is in force from now on."""
        agent = in_force.identity.agent
        self._agent_id = f"{agent.namespace}/{agent.workload}/{agent.pod_name}"
        self._revision = in_force.config.revision
        policies = [str(p.ref) for p in (*in_force.config.policies, *in_force.config.baseline)]
        # The revision's name is the hash of the policy text and of this: so whoever has the text finds it by the name.
        self._append(RecordKind.CONFIG, {"policies": policies, "compiler": COMPILER})

    def verdict(
        self, judged: Judged, *, handle: str = "", digest: str = "", refused: tuple[str, str, str] | None = None
    ) -> None:
        """A call was evaluated; once for each call, also if it is held.

        Args:
            judged: the call and its verdict.
            handle: of the request that holds it.
            digest: of a held call.
            refused: decision, reason code and message of the hub, where it would not ask anybody.
        """
        call, verdict = judged.call, judged.verdict
        if verdict.reason_code == "FLOOD" and self._is_too_much():
            return
        fields = self._who(call)
        preview = judged.preview or self.preview(judged)
        fields["arguments"] = preview.text if preview.oversize else orjson.Fragment(preview.text)
        if verdict.summary:
            fields["summary"] = verdict.summary
        if refused is not None:
            fields["decision"], fields["reason"], fields["message"] = refused
        else:
            fields["decision"] = "Clarify" if verdict.clarify else verdict.action.word
            fields["reason"] = verdict.reason_code
            fields["message"] = verdict.message
        if verdict.rule:
            fields["rule"] = verdict.rule
        if verdict.score is not None:
            fields["score"] = verdict.score
        if verdict.would_have is not None:
            fields["would_have"] = verdict.would_have.word
        if handle:
            fields["handle"] = handle
        if digest:
            fields["digest"] = digest
        self._append(RecordKind.VERDICT, fields)
        if verdict.action in (Action.NOTIFY, Action.DENY):
            self._tell(call, verdict)

    @staticmethod
    def preview(judged: Judged) -> Preview:
        """What a record shows of the arguments; pure, so a thread may do it for a large call."""
        in_force, verdict = judged.in_force, judged.verdict
        return in_force.redactor.preview(
            judged.call.arguments,
            in_force.config.settings.preview_bytes,
            verdict.shown,
            declared=verdict.shown,
            rendered=judged.call.arguments_json,
        )

    def refusal(self, decision: str, reason: str, message: str, *, server: str = "", tool: str = "") -> None:
        """A call that could not be evaluated: Invalid or Unavailable. Its arguments may be anything and stay out."""
        if self._is_too_much():
            return
        # What is no name of ours may look like one, so nothing but ASCII is shown of it.
        name = f"{server[:128]}/{tool[:128]}".encode("ascii", "backslashreplace").decode()
        self._append(
            RecordKind.VERDICT,
            {"tool": as_plain(name), "decision": decision, "reason": reason, "message": as_plain(message)},
        )

    def decision(self, call: ToolCall, state: hub_pb2.HoldResponse, decision: str, digest: str) -> bool:
        """What became of a held call: Approved, Denied, Expired or Cancelled. Whether it was news."""
        news = (state.handle, decision)
        if news in self._decided:
            return False
        fields: dict[str, Any] = {
            **self._who(call),
            "decision": decision,
            "reason": state.reason_code,
            "message": as_plain(state.message),
            "handle": state.handle,
            "digest": digest,
        }
        waited = self._waited(state)
        if state.reviews:
            fields["reviewer"] = ", ".join(review.reviewer for review in state.reviews)
            fields["human_decision"] = {
                "approved": decision == "Approved",
                "response_time_ms": waited,
                **({"override": True} if decision == "Approved" and is_overridden(state.reviews) else {}),
            }
            fields["reviews"] = [
                {
                    "reviewer": r.reviewer,
                    "approved": r.approved,
                    "reason": as_plain(r.reason),
                    "category": r.category,
                    **({"override": True} if r.overridden else {}),
                }
                for r in state.reviews
            ]
        if state.proofs:
            fields["proof"] = ", ".join(state.proofs)
        fields["waits"] = {"held_ms": waited}
        self._append(RecordKind.DECISION, fields)
        self._decided[news] = None
        if len(self._decided) > _REMEMBERED:
            self._decided.popitem(last=False)
        return True

    def release(
        self, call: ToolCall, state: hub_pb2.HoldResponse, digest: str, *, delivered: bool, edited_from: str = ""
    ) -> None:
        """The approved call was consumed. `delivered`: a caller was there to be told."""
        fields = {
            **self._who(call),
            "decision": "Released",
            "reviewer": ", ".join(review.reviewer for review in state.reviews if review.approved),
            "handle": state.handle,
            "digest": digest,
            "waits": {"held_ms": self._waited(state)},
            "delivered": delivered,
        }
        if edited_from:
            fields["original_digest"] = edited_from
            fields["editor"] = state.editor
        self._append(RecordKind.RELEASE, fields)

    def report(self, tool: str, handle: str, result: str, findings: tuple[str, ...]) -> None:
        """How an execution ended, as the caller says."""
        fields: dict[str, Any] = {"tool": tool, "decision": result or "Unsaid"}
        if handle:
            fields["handle"] = handle
        if findings:
            fields["findings"] = findings
        self._append(RecordKind.REPORT, fields)

    def _append(self, kind: RecordKind, fields: dict[str, Any]) -> None:
        fields["agent_id"] = self._agent_id
        fields["revision"] = self._revision
        if self._unrecorded:
            fields["unrecorded"] = self._unrecorded
        self._log.append(kind, fields)
        self._unrecorded = 0

    def _is_too_much(self) -> bool:
        """Whether this refusal is only counted; the next record says how many were (`unrecorded`)."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._refusals = minute, 0
        self._refusals += 1
        if self._refusals <= _MOST_REFUSALS:
            return False
        self._unrecorded += 1
        return True

    def _who(self, call: ToolCall) -> dict[str, Any]:
        fields: dict[str, Any] = {"tool": f"{call.server}/{call.tool}"}
        if call.claimed_user:
            fields["user"] = call.claimed_user
        if call.session_id:
            fields["session"] = call.session_id
        if call.call_id:
            fields["call_id"] = call.call_id
        return fields

    def _tell(self, call: ToolCall, verdict: Verdict) -> None:
        """The Notify tier's feed, and refusals (DESIGN 18, Notify)."""
        why = f"rule {verdict.rule.rpartition('#')[2]}" if verdict.rule else f"score {verdict.score}"
        record = hub_pb2.ActivityRecord(
            action=action_to_proto(verdict.action),
            tool=f"{call.server}/{call.tool}",
            why=why if verdict.rule or verdict.score is not None else verdict.reason_code,
            summary=verdict.summary or verdict.message,
        )
        record.time.GetCurrentTime()
        self._sync.note(record)

    def _waited(self, state: hub_pb2.HoldResponse) -> int:
        """Milliseconds since the request was made, by the wall clock that the hub made it under."""
        created = state.create_time.seconds + state.create_time.nanos / 1e9
        return max(0, round((self._clock() - created) * 1000)) if created else 0
