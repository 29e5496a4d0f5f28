"""An approval request as a value: what was asked (immutable), and what has become of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from hitl.policy.verdicts import EscalationStep, Factor, OnTimeout, PolicyRef, Reason, Requirement


class Kind(StrEnum):
    """What is asked."""

    TOOL_CALL = "ToolCall"
    QUESTION = "Question"
    SUGGESTION = "Suggestion"
    TOOL_CHANGE = "ToolChange"


class State(StrEnum):
    """Where a request stands; derived from its conditions, kept for columns and selectors."""

    PENDING = "Pending"
    APPROVED = "Approved"
    DENIED = "Denied"
    EXPIRED = "Expired"
    CANCELLED = "Cancelled"
    CONSUMED = "Consumed"

    @property
    def is_terminal(self) -> bool:
        """Denied, Expired, Cancelled and Consumed end a request and exclude each other (I5)."""
        return self not in (State.PENDING, State.APPROVED)


class DecisionKind(StrEnum):
    """What one reviewer said."""

    APPROVED = "Approved"
    DENIED = "Denied"
    OVERRIDDEN = "Overridden"


class Category(StrEnum):
    """Why a call was denied, for people and for learning."""

    CLASSIFICATION_MISS = "ClassificationMiss"
    MISSING_CONTEXT = "MissingContext"
    TOOL_FAILURE = "ToolFailure"
    POLICY_VIOLATION = "PolicyViolation"
    OTHER = "Other"

    @property
    def kebab(self) -> str:
        """As people read and type it: ``missing-context``."""
        return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in self.value).lstrip("-")


class NoteType(StrEnum):
    """What a reviewer's note asks for."""

    EXTEND = "Extend"
    ESCALATE = "Escalate"
    FEEDBACK = "Feedback"


@dataclass(frozen=True, slots=True)
class Proof:
    """What a reviewer showed beside his identity.

    Attributes:
        type: ``ed25519`` (standalone: a signature), ``oidc`` (cluster: second factors of the reviewer's own login).
        signature: base64; empty where the API server vouches.
        factors: of an ``oidc`` proof: authentication methods as RFC 8176 names them, e.g. ``hwk``. The API server lets
            only those in that the reviewer's token carries.
        time: when it was made, as the reviewer's program says; a signature is at most 5 min old when it is verified.
    """

    type: str
    signature: str = ""
    factors: tuple[str, ...] = ()
    time: datetime = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Decision:
    """One reviewer's word, bound to the digest and uid of the request that was shown.

    Attributes:
        reviewer: authenticated (cluster) or signed (standalone) name.
        decision: what they said.
        digest: echo of the request's digest.
        request_uid: echo of the request's uid.
        reason: their words; the agent reads them.
        category: of a denial.
        groups: the groups they vote as; a subset of their own.
        arguments_patch: JSON Merge Patch over the arguments shown, or None.
        answer: of a Question.
        proof: see `Proof`.
        time: when the store took it; stamped by the store, never by the reviewer.
        unreadable: what of the stored entry could not be read; such a one never counts. Empty: all was read.
    """

    reviewer: str
    decision: DecisionKind
    digest: str
    request_uid: str
    reason: str = ""
    category: Category | None = None
    groups: tuple[str, ...] = ()
    arguments_patch: Mapping[str, Any] | None = None
    answer: Any = None
    proof: Proof | None = None
    time: datetime | None = None
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A reviewer's append-only remark: more time, more people, or feedback. `n` counts 1–8 per reviewer.

    `unreadable`: as in a decision.
    """

    reviewer: str
    n: int
    request_uid: str
    type: NoteType
    minutes: int = 0
    reason: str = ""
    category: Category | None = None
    time: datetime | None = None
    proof: Proof | None = None
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """The hub's word that a decision or a note counts: who it was, in which groups, with which second factor.

    `settle` counts a decision, and heeds a note, only if an entry for it stands here; one with `refused` says why it
    never will. Entries are append-only, and the vote is stored before its entry.

    Attributes:
        note: 0 for the reviewer's decision, else the `n` of the note that is meant.
    """

    reviewer: str
    groups: tuple[str, ...] = ()
    second_factor: str = ""
    hardware: bool = False
    refused: str = ""
    note: int = 0


@dataclass(frozen=True, slots=True)
class Condition:
    """As metav1.Condition. Only ``True`` is ever written for the five outcomes, and it is never taken back."""

    type: str
    status: str
    reason: str
    message: str
    last_transition_time: datetime


@dataclass(frozen=True, slots=True)
class CallShown:
    """The call as a reviewer may see it: redacted and escaped."""

    server: str
    tool: str
    arguments_preview: str
    call_id: str = ""
    version: str = ""
    tool_definition_digest: str = ""


@dataclass(frozen=True, slots=True)
class Touches:
    """What the call can reach, as declared or inferred."""

    network: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """What was asked. Immutable once stored. Strings from the agent are escaped (G1) and redacted (I10).

    Attributes:
        requester: the agent's ServiceAccount as a user name; can never approve. `requester_uid`: its uid, empty where
            there is none (standalone).
        on_behalf_of: user the agent acts for, empty if none; `on_behalf_of_verified`, `…_may_approve`: SECURITY B3.
        digest: keyed digest of the exact call, hex.
        key: call_id or digest: what a retry attaches by.
        sameness: HMAC of the same call whatever session or call_id (SECURITY B4); for cooldown and "the earlier one".
        group_key: similar calls, shown as one row.
        tier: ``confirm`` or ``multi-factor``.
        score: present only where a score decided.
        requirements, timeout, on_timeout, denials_to_end, escalation, reason_required: snapshot of the terms; seconds.
        earlier: name of the earlier request of the same call, empty if none.
        excluded: reviewers who may not approve this one (the editor of a superseded request).
        patchable: JSON pointers of the top-level arguments shown unredacted and whole: only these may be edited.
    """

    kind: Kind
    summary: str
    requester: str
    agent_pod: str
    agent_pod_uid: str
    service_account: str
    workload: str
    session_id: str
    call: CallShown
    digest: str
    key: str
    sameness: str
    tier: str
    requirements: tuple[Requirement, ...]
    timeout: int
    on_timeout: OnTimeout = OnTimeout.ABORT
    denials_to_end: int = 1
    denial_cooldown: int = 600
    escalation: tuple[EscalationStep, ...] = ()
    remind: int | None = None
    reason_required: tuple[str, ...] = ()
    on_behalf_of: str = ""
    on_behalf_of_verified: bool = False
    on_behalf_of_may_approve: bool = False
    touches: Touches = Touches()
    effects: tuple[str, ...] = ()
    undo: str = ""
    group_key: str = ""
    score: int | None = None
    factors: tuple[Factor, ...] = ()
    reasons: tuple[Reason, ...] = ()
    rule: str = ""
    explanation: str = ""
    because: str = ""
    justification: str = ""
    alternatives: tuple[str, ...] = ()
    context: str = ""
    policies: tuple[PolicyRef, ...] = ()
    revision: str = ""
    checkpoint: str = ""
    traceparent: str = ""
    earlier: str = ""
    excluded: tuple[str, ...] = ()
    patchable: tuple[str, ...] = ()
    requester_uid: str = ""


@dataclass(frozen=True, slots=True)
class RequestStatus:
    """What has become of it. `decisions` and `notes` are the reviewers' part; the rest is the hub's.

    Attributes:
        state: derived from `conditions`.
        expiration_time: when it ends without an answer; at most creation + 7 days.
        requirements: in force: the spec's, widened by escalation.
        rounds: how many times `on_timeout` granted one more timeout (0 or 1).
        escalated: how many escalation steps were applied.
        notes_applied: how many Extend and Escalate notes are in force.
        resolved_time: when it left Pending; `consumed_time`: when it was released.
        consumed_digest: digest that was released (differs from the spec's after an edit).
        consumed_by: ``pod-uid/epoch`` of the sidecar that released it.
        result: what the sidecar reported after execution: "", Succeeded, Failed, NotStarted.
    """

    state: State = State.PENDING
    expiration_time: datetime | None = None
    requirements: tuple[Requirement, ...] = ()
    decisions: tuple[Decision, ...] = ()
    notes: tuple[Note, ...] = ()
    verified: tuple[Verified, ...] = ()
    conditions: tuple[Condition, ...] = ()
    rounds: int = 0
    escalated: int = 0
    notes_applied: int = 0
    resolved_time: datetime | None = None
    consumed_time: datetime | None = None
    consumed_digest: str = ""
    consumed_by: str = ""
    result: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A stored request: identity, question, and what has become of it.

    Attributes:
        version: opaque; equal versions are equal content. Every status write is a compare-and-set on it.
        labels: for selectors; values are label-safe.
    """

    namespace: str
    name: str
    uid: str
    version: str
    created: datetime
    spec: RequestSpec
    status: RequestStatus = RequestStatus()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def handle(self) -> str:
        """``namespace/name``; possession gives nothing (SECURITY B4)."""
        return f"{self.namespace}/{self.name}"
