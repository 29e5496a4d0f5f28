"""The result of evaluating a call: data, complete enough that nobody has to evaluate again to explain it."""

from dataclasses import dataclass
from enum import StrEnum

from hitl.policy.actions import Action


class Reason(StrEnum):
    """Why a call is held or refused, as `spec.reasons[]` and the WHY column have it."""

    RULE = "Rule"
    SCORE = "Score"
    HIGH_RISK = "HighRisk"
    LOW_CONFIDENCE = "LowConfidence"
    EXTERNAL_IMPACT = "ExternalImpact"
    NOVEL = "Novel"
    POLICY_BOUNDARY = "PolicyBoundary"
    TAINTED_EGRESS = "TaintedEgress"
    ANOMALY = "Anomaly"
    TOOL_CHANGED = "ToolChanged"


class SecondFactor(StrEnum):
    """What beside a password-like identity a requirement wants; ordered None < Any < Hardware."""

    NONE = "None"
    ANY = "Any"
    HARDWARE = "Hardware"


class OnTimeout(StrEnum):
    """What happens when nobody answered; every branch ends as expired, none proceeds."""

    ABORT = "Abort"
    ESCALATE = "Escalate"
    RETRY = "Retry"


@dataclass(frozen=True, slots=True)
class Factor:
    """One named, signed contribution to the score, or a step that changed the action (0 points)."""

    name: str
    points: int
    reason: str


@dataclass(frozen=True, slots=True)
class PolicyRef:
    """A policy that spoke on a call."""

    kind: str
    namespace: str
    name: str
    generation: int = 0

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


@dataclass(frozen=True, slots=True)
class Requirement:
    """N distinct people from these groups, with or without a second factor; several requirements are ANDed.

    Attributes:
        name: unique within one request; cluster ones are ``cluster/<name>``.
        approvals: how many places it has, 1–10.
        any_of: groups, one of which each person must be in; empty: anyone who may approve the tier.
        second_factor: what the people who fill it must show.
        or_second_person: one person more than `approvals`, all without a factor, also satisfies it.
        origin: the policy it comes from (``str(PolicyRef)``); escalation widens only its own policy's requirements.
    """

    name: str
    approvals: int = 1
    any_of: tuple[str, ...] = ()
    second_factor: SecondFactor = SecondFactor.NONE
    or_second_person: bool = False
    origin: str = ""


@dataclass(frozen=True, slots=True)
class EscalationStep:
    """After so many seconds without a decision these groups may fill the places of `origin`'s requirements too."""

    after: int
    to: tuple[str, ...]
    origin: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """How a held call is decided: the strictest of all policies that hold it (SECURITY A8). Times in seconds."""

    requirements: tuple[Requirement, ...] = ()
    timeout: int = 900
    on_timeout: OnTimeout = OnTimeout.ABORT
    hold_budget: int = 45
    escalation: tuple[EscalationStep, ...] = ()
    remind: int | None = None
    on_behalf_of_may_approve: bool = False
    denials_to_end: int = 1
    denial_cooldown: int = 600
    reason_required: tuple[str, ...] = ("Denied", "MultiFactor")


@dataclass(frozen=True, slots=True)
class Charge:
    """A limit that this call uses up when it is ALLOWED.

    Attributes:
        limit_id: stable name of the limit, e.g. ``AgentPolicy/shop/support#refunds``.
        key: what it is counted by, e.g. a session id or an argument's value; empty for the pod.
        amount: 1 for calls, the argument's value for sums (as a float of the exact decimal).
        maximum: what the window holds.
        per: window in seconds.
        kind: ``calls`` (token bucket) or ``sum`` (sliding window of 60 buckets).
    """

    limit_id: str
    key: str
    amount: float
    maximum: float
    per: int
    kind: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policies say about one call under one config.

    Attributes:
        action: what binds now. Under Monitor or AuditOnly this is what runs; `would_have` is what Enforce would do.
        reason_code: stable: RULE, SCORE, UNDECLARED, BUILT_IN, PROTECTED_PATH, LIMIT, FLOOD, FROZEN, ENSURE, CLOSED,
            EVALUATION_FAILED, CLARIFY, BASELINE, SUGGEST_ONLY, …
        message: one or two sentences, fit for the model: what happens and what to do next.
        explanation: one line for people: what decided, and why.
        clarify: the answer is CLARIFY: ask the user, then retry; whatever the action below Deny.
        score: 0–100 where a score decided, else None.
        factors: every step that contributed, in the order of evaluation.
        rule: what decided, e.g. ``AgentPolicy/shop/support#refunds``; empty where no rule did.
        policies: every policy that spoke.
        reasons: why a person is asked.
        terms: how it is decided; None unless `action.holds`.
        summary: what would happen, in one line of at most 160 characters, over redacted arguments.
        because: the author's reason, empty if none was given.
        link: the author's link.
        effects: declared or set by a rule, for people; not scored.
        would_have: with Monitor or AuditOnly: the action Enforce would have taken; else None.
        recorded_as: "" or ``Monitor`` / ``AuditOnly``: the named exceptions of I1.
        charges: limits to charge when the call is ALLOWED.
        score_otherwise: the score that a rule made unnecessary, for `explain`; None where it was not computed.
        redactions: names of the redaction patterns that matched the arguments; empty where nobody is shown them.
        shown: JSON pointers of the values that a matching rule went by; redaction does not hide these (G2).
        revision: the config it was made under.
    """

    action: Action
    reason_code: str
    message: str
    clarify: bool = False
    score: int | None = None
    factors: tuple[Factor, ...] = ()
    rule: str = ""
    policies: tuple[PolicyRef, ...] = ()
    reasons: tuple[Reason, ...] = ()
    terms: ApprovalTerms | None = None
    summary: str = ""
    because: str = ""
    link: str = ""
    effects: tuple[str, ...] = ()
    would_have: Action | None = None
    recorded_as: str = ""
    charges: tuple[Charge, ...] = ()
    score_otherwise: int | None = None
    redactions: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    revision: str = ""
    explanation: str = ""

    @property
    def policy(self) -> str:
        """The policy whose rule decided, else the first that spoke; empty where only the built-in one did."""
        ruling = self.rule.partition("#")[0]
        return ruling or next((str(ref) for ref in self.policies if ref.kind != "BuiltIn"), "")
