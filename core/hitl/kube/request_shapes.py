"""The fields of an ApprovalRequest (DESIGN 6), one table per part, in the order in which people read them.

The status beside them is written by reviewers (`decisions`, `notes`) and by the hub (all else).
"""

from typing import Final

from hitl.approvals.requests import (
    CallShown,
    Category,
    Condition,
    Decision,
    DecisionKind,
    Kind,
    Note,
    NoteType,
    Proof,
    RequestSpec,
    RequestStatus,
    State,
    Touches,
    Verified,
)
from hitl.kube.codecs import (
    BOOLEAN,
    JSON,
    JSON_OBJECT,
    SECONDS,
    TEXT,
    TIME,
    choice,
    enum,
    integer,
    many,
    optional,
    seconds,
)
from hitl.kube.shapes import Field, Shape
from hitl.policy.verdicts import EscalationStep, Factor, OnTimeout, PolicyRef, Reason, Requirement, SecondFactor

_LONGEST_TIMEOUT = 7 * 86_400
_READ_ONLY = frozenset({"unreadable"})

_REQUIREMENT = Shape(
    Requirement,
    Field("name", "name", TEXT),
    Field("approvals", "approvals", integer(1, 10), always=True),
    Field("anyOf", "any_of", many(TEXT)),
    Field("secondFactor", "second_factor", enum(SecondFactor), always=True),
    Field("orSecondPerson", "or_second_person", BOOLEAN),
    Field("origin", "origin", TEXT),
)
_ESCALATION = Shape(
    EscalationStep,
    Field("after", "after", SECONDS),
    Field("to", "to", many(TEXT)),
    Field("origin", "origin", TEXT),
)
_CALL = Shape(
    CallShown,
    Field("server", "server", TEXT),
    Field("tool", "tool", TEXT),
    Field("version", "version", TEXT),
    Field("toolDefinitionDigest", "tool_definition_digest", TEXT),
    Field("callID", "call_id", TEXT),
    Field("argumentsPreview", "arguments_preview", TEXT),
)
_TOUCHES = Shape(
    Touches,
    Field("network", "network", many(TEXT)),
    Field("reads", "reads", many(TEXT)),
    Field("writes", "writes", many(TEXT)),
    Field("environment", "environment", many(TEXT)),
)
_FACTOR = Shape(
    Factor,
    Field("name", "name", TEXT),
    Field("points", "points", integer(-1000, 1000)),
    Field("reason", "reason", TEXT),
)
_POLICY = Shape(
    PolicyRef,
    Field("kind", "kind", TEXT),
    Field("namespace", "namespace", TEXT, default=""),
    Field("name", "name", TEXT),
    Field("generation", "generation", integer()),
)
_PROOF = Shape(
    Proof,
    Field("type", "type", TEXT),
    Field("signature", "signature", TEXT),
    Field("factors", "factors", many(TEXT)),
    Field("time", "time", TIME),
)
DECISION: Final = Shape(
    Decision,
    Field("reviewer", "reviewer", TEXT),
    Field("decision", "decision", enum(DecisionKind)),
    Field("digest", "digest", TEXT),
    Field("requestUID", "request_uid", TEXT),
    Field("reason", "reason", TEXT),
    Field("category", "category", optional(enum(Category))),
    Field("groups", "groups", many(TEXT)),
    Field("argumentsPatch", "arguments_patch", optional(JSON_OBJECT)),
    Field("answer", "answer", optional(JSON)),
    Field("proof", "proof", optional(_PROOF.codec)),
    Field("time", "time", optional(TIME)),
    unspelled=_READ_ONLY,
)
NOTE: Final = Shape(
    Note,
    Field("reviewer", "reviewer", TEXT),
    Field("n", "n", integer(1, 8)),
    Field("requestUID", "request_uid", TEXT),
    Field("type", "type", enum(NoteType)),
    Field("minutes", "minutes", integer()),
    Field("reason", "reason", TEXT),
    Field("category", "category", optional(enum(Category))),
    Field("time", "time", optional(TIME)),
    Field("proof", "proof", optional(_PROOF.codec)),
    unspelled=_READ_ONLY,
)
_VERIFIED = Shape(
    Verified,
    Field("reviewer", "reviewer", TEXT),
    Field("groups", "groups", many(TEXT)),
    Field("secondFactor", "second_factor", TEXT),
    Field("hardware", "hardware", BOOLEAN),
    Field("refused", "refused", TEXT),
    Field("note", "note", integer(0, 8)),
)
CONDITION: Final = Shape(
    Condition,
    Field("type", "type", TEXT),
    Field("status", "status", choice("True", "False", "Unknown")),
    Field("reason", "reason", TEXT),
    Field("message", "message", TEXT),
    Field("lastTransitionTime", "last_transition_time", TIME),
)
SPEC: Final = Shape(
    RequestSpec,
    Field("kind", "kind", enum(Kind)),
    Field("summary", "summary", TEXT),
    Field("requester.username", "requester", TEXT),
    Field("requester.uid", "requester_uid", TEXT),
    Field("agent.podName", "agent_pod", TEXT),
    Field("agent.podUID", "agent_pod_uid", TEXT),
    Field("agent.serviceAccount", "service_account", TEXT),
    Field("agent.workload", "workload", TEXT),
    Field("onBehalfOf.username", "on_behalf_of", TEXT),
    Field("onBehalfOf.verified", "on_behalf_of_verified", BOOLEAN),
    Field("onBehalfOf.mayApprove", "on_behalf_of_may_approve", BOOLEAN),
    Field("sessionID", "session_id", TEXT),
    Field("call", "call", _CALL.codec),
    Field("touches", "touches", _TOUCHES.codec),
    Field("effects", "effects", many(TEXT)),
    Field("undo", "undo", TEXT),
    Field("digest", "digest", TEXT),
    Field("key", "key", TEXT),
    Field("sameness", "sameness", TEXT),
    Field("groupKey", "group_key", TEXT),
    Field("earlier", "earlier", TEXT),
    Field("tier", "tier", choice("confirm", "multi-factor")),
    Field("score", "score", optional(integer(0, 100))),
    Field("factors", "factors", many(_FACTOR.codec)),
    Field("reasons", "reasons", many(enum(Reason))),
    Field("rule", "rule", TEXT),
    Field("because", "because", TEXT),
    Field("explanation", "explanation", TEXT),
    Field("justification", "justification", TEXT),
    Field("alternatives", "alternatives", many(TEXT)),
    Field("context", "context", TEXT),
    Field("policies", "policies", many(_POLICY.codec)),
    Field("revision", "revision", TEXT),
    Field("requirements", "requirements", many(_REQUIREMENT.codec)),
    Field("excluded", "excluded", many(TEXT)),
    Field("patchable", "patchable", many(TEXT)),
    Field("timeout", "timeout", seconds(1, _LONGEST_TIMEOUT)),
    Field("onTimeout", "on_timeout", enum(OnTimeout), always=True),
    Field("denialsToEnd", "denials_to_end", integer(1), always=True),
    Field("denialCooldown", "denial_cooldown", SECONDS, always=True),
    Field("reasonRequired", "reason_required", many(TEXT)),
    Field("escalation", "escalation", many(_ESCALATION.codec)),
    Field("remind", "remind", optional(seconds(1, _LONGEST_TIMEOUT))),
    Field("checkpoint", "checkpoint", TEXT),
    Field("traceparent", "traceparent", TEXT),
)
STATUS: Final = Shape(
    RequestStatus,
    Field("state", "state", enum(State), always=True),
    Field("expirationTime", "expiration_time", optional(TIME)),
    Field("requirements", "requirements", many(_REQUIREMENT.codec)),
    Field("decisions", "decisions", many(DECISION.codec)),
    Field("notes", "notes", many(NOTE.codec)),
    Field("verified", "verified", many(_VERIFIED.codec)),
    Field("conditions", "conditions", many(CONDITION.codec)),
    Field("rounds", "rounds", integer()),
    Field("escalated", "escalated", integer()),
    Field("notesApplied", "notes_applied", integer()),
    Field("resolvedTime", "resolved_time", optional(TIME)),
    Field("consumedTime", "consumed_time", optional(TIME)),
    Field("consumedDigest", "consumed_digest", TEXT),
    Field("consumedBy", "consumed_by", TEXT),
    Field("result", "result", choice("", "Succeeded", "Failed", "NotStarted")),
)
