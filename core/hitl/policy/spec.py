"""AgentPolicy, ClusterAgentPolicy and ToolServer after parsing: values that cannot be wrong.

`parse` makes them from what an author wrote; everything that could fail (a pattern, a glob, an expression) has been
compiled here, so evaluation meets no surprise. All times are seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from hitl.policy.actions import Action
from hitl.policy.expressions import Expression
from hitl.policy.freezes import Freeze
from hitl.policy.globs import Glob
from hitl.policy.matchers import ArgumentMatchers
from hitl.policy.settings import Settings
from hitl.policy.templates import Template
from hitl.policy.verdicts import EscalationStep, OnTimeout, PolicyRef, Requirement, SecondFactor


class Level(IntEnum):
    """Risk level of a tool, ordered; the weights are in `Scoring`."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        """``low`` … ``critical``, as in YAML."""
        return self.name.lower()


class Mode(StrEnum):
    """Whether verdicts bind."""

    ENFORCE = "Enforce"
    MONITOR = "Monitor"


class Autonomy(StrEnum):
    """How far agents go on their own, least first."""

    SUGGEST_ONLY = "SuggestOnly"
    READ_ONLY = "ReadOnly"
    CALIBRATED = "Calibrated"
    AUDIT_ONLY = "AuditOnly"


class Posture(StrEnum):
    """How scored tiers are shifted."""

    CONSERVATIVE = "Conservative"
    BALANCED = "Balanced"
    PERMISSIVE = "Permissive"


class Effect(StrEnum):
    """What a call does to the world; shown to people, not scored."""

    IRREVERSIBLE = "Irreversible"
    FINANCIAL = "Financial"
    EXTERNAL = "External"
    PRODUCTION = "Production"
    DELETION = "Deletion"


class Undeclared(StrEnum):
    """Beside the actions, `undeclared` may be Score."""

    SCORE = "Score"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `maximum` per window; a matched rule whose limit would be exceeded takes `then`.

    Attributes:
        sum_of: name or JSON pointer of the summed argument; None counts calls.
        by: ``pod``, ``session``, or ``argument`` with `by_argument` set.
    """

    maximum: float
    per: int
    sum_of: str | None = None
    by: str = "pod"
    by_argument: str = ""
    then: Action = Action.DENY


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled.

    Attributes:
        name: the author's, else ``rule-N`` with N counted from 1.
        index: its place in the list, from 0; for messages.
        action: None means Score.
        tools: at least one glob.
        args: what must hold for the rule to match.
        ensure: what must hold once it matches, else the call is denied; None if not given.
        closed: arguments not named in `args` or `ensure` are refused.
        requirements: None: the policy's.
        timeout: None: the policy's.
    """

    name: str
    index: int
    action: Action | None
    tools: tuple[Glob, ...]
    args: ArgumentMatchers
    ensure: ArgumentMatchers | None = None
    closed: bool = False
    cel: Expression | None = None
    requirements: tuple[Requirement, ...] | None = None
    timeout: int | None = None
    limit: Limit | None = None
    level: Level | None = None
    effects: tuple[Effect, ...] = ()
    because: str = ""
    link: str = ""
    summary: Template | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Scoring:
    """Weights and thresholds of DESIGN 7.5. A score at or over a threshold is that tier."""

    levels: Mapping[Level, int] = field(
        default_factory=lambda: {Level.LOW: 10, Level.MEDIUM: 30, Level.HIGH: 60, Level.CRITICAL: 90}
    )
    category: int = 5
    wildcard_full: int = 20
    wildcard_partial: int = 10
    environment: int = 15
    process: int = 15
    write: int = 10
    exact: int = 5
    notify: int = 26
    confirm: int = 51
    multi_factor: int = 76


@dataclass(frozen=True, slots=True)
class Trust:
    """A ceiling over the human requirement of scored calls, by tools or by publisher key (`ed25519:…`)."""

    ceiling: Action
    tools: tuple[Glob, ...] = ()
    publisher: str = ""


@dataclass(frozen=True, slots=True)
class Raise:
    """What makes a call stricter. Actions are the least action the raiser asks for; None: the raiser is off.

    Attributes:
        auto, notify, clarify: confidence bounds in percent: >= auto unchanged, >= notify at least Notify,
            >= clarify CLARIFY, below Confirm.
        missing: what a call without confidence gets: None (Ignore) or at least this action.
        watched: arguments whose new values count as novel.
        internal_domains: hosts ending in one of these stay inside the cluster.
    """

    auto: int = 90
    notify: int = 70
    clarify: int = 50
    missing: Action | None = None
    novelty: Action | None = None
    watched: tuple[str, ...] = ()
    external_impact: Action | None = None
    internal_domains: tuple[str, ...] = (".svc", ".cluster.local", "localhost")
    tainted_egress: Action | None = None
    anomaly: Action | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """How held calls of a policy are decided, where a rule does not say otherwise. Times in seconds.

    Attributes:
        second_factor, satisfied_by: what MultiFactor asks of a rule's own reviewers; `multi_factor_requirements`
            have it worked in already.
    """

    requirements: tuple[Requirement, ...] = ()
    timeout: int = 900
    on_timeout: OnTimeout = OnTimeout.ABORT
    hold_budget: int = 45
    multi_factor_requirements: tuple[Requirement, ...] = ()
    second_factor: SecondFactor = SecondFactor.NONE
    satisfied_by: tuple[str, ...] = ("SecondFactor", "SecondPerson")
    escalation: tuple[EscalationStep, ...] = ()
    remind: int | None = None
    on_behalf_of_may_approve: bool = False
    denials_to_end: int = 1
    denial_cooldown: int = 600
    reason_required: tuple[str, ...] = ("Denied", "MultiFactor")


@dataclass(frozen=True, slots=True)
class RedactionPattern:
    """One pattern: what it matches becomes ``[REDACTED:name]``. `scope`: request, response or all."""

    name: str
    regex: str
    scope: str = "all"


@dataclass(frozen=True, slots=True)
class Redaction:
    """What never leaves the sidecar in the clear; added to the built-in keys and patterns, never replacing them.

    Attributes:
        keys: argument names (globs) whose values are replaced whole.
        oversize: Deny or MultiFactor for arguments that do not fit the preview.
    """

    keys: tuple[str, ...] = ()
    patterns: tuple[RedactionPattern, ...] = ()
    responses: bool = False
    detect_encoding: bool = False
    oversize: Action = Action.DENY


@dataclass(frozen=True, slots=True)
class PodSelector:
    """Which pods a policy is for; empty: every gated pod of the namespace.

    `match_expressions` are (key, operator In|NotIn|Exists|DoesNotExist, values).
    """

    match_labels: Mapping[str, str] = field(default_factory=dict)
    match_expressions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """An AgentPolicy or ClusterAgentPolicy, compiled. `undeclared` None: it abstains."""

    ref: PolicyRef
    uid: str = ""
    pod_selector: PodSelector = PodSelector()
    mode: Mode = Mode.ENFORCE
    autonomy: Autonomy = Autonomy.READ_ONLY
    posture: Posture = Posture.BALANCED
    undeclared: Action | Undeclared | None = None
    rules: tuple[Rule, ...] = ()
    scoring: Scoring = field(default_factory=Scoring)
    trust: tuple[Trust, ...] = ()
    raisers: Raise = Raise()
    protected_paths: tuple[str, ...] = ()
    redaction: Redaction = Redaction()
    approval: Approval = Approval()
    review_every: int | None = None
    forbid: frozenset[str] = frozenset()

    @property
    def is_cluster(self) -> bool:
        """A ClusterAgentPolicy: part of the baseline, may only tighten."""
        return self.ref.kind == "ClusterAgentPolicy"


@dataclass(frozen=True, slots=True)
class ToolDeclaration:
    """What a ToolServer's author declares about one tool."""

    name: str
    level: Level | None = None
    network: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    process: bool = False
    effects: tuple[Effect, ...] = ()
    undo: str = ""
    untrusted_output: bool = False
    definition_digest: str = ""

    @property
    def has_capability(self) -> bool:
        """Whether anything beyond pure computation is declared."""
        return bool(self.network or self.reads or self.writes or self.environment or self.process)


@dataclass(frozen=True, slots=True)
class ToolServer:
    """An MCP server or tool package, as declared. `tools` is keyed by the normalised tool name."""

    name: str
    trusted: bool = False
    publisher: str = ""
    endpoint: str = ""
    tools: Mapping[str, ToolDeclaration] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """What a tool says of itself (MCP Tool object, cut to what inference reads). Never trusted: it may only raise."""

    name: str
    description: str = ""
    argument_names: tuple[str, ...] = ()
    annotations: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything evaluation needs, compiled from one document; see `hitl.policy.config.compile_config`.

    Attributes:
        revision: SHA-256 over the document's JCS and the compiler version, hex.
        policies: namespaced ones, sorted by name; baseline: cluster ones, sorted by name.
        tool_servers: keyed by normalised server name.
        floor: the least action any verdict may take, whatever the policies say, unless it runs as Monitor or AuditOnly;
            the hub sets Confirm once an invalid update has been left standing for `invalidGrace` (SECURITY C6).
            In the document: ``"floor": "Confirm"``, absent otherwise.
        freezes: what is stopped, the longest first. In the document: ``overrides``, absent where nothing is.
    """

    revision: str
    namespace: str
    namespace_uid: str
    key_id: str = ""
    policies: tuple[Policy, ...] = ()
    baseline: tuple[Policy, ...] = ()
    tool_servers: Mapping[str, ToolServer] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    floor: Action | None = None
    freezes: tuple[Freeze, ...] = ()
