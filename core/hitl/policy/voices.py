"""Who speaks on a call, and what it says: policies as they meet one set of pods, their rules, their judgements."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hitl.policy.actions import Action
from hitl.policy.builtin import BUILT_IN
from hitl.policy.scoring import Scored
from hitl.policy.spec import Autonomy, Mode, Policy, Redaction, Rule
from hitl.policy.strict_json import pointer
from hitl.policy.verdicts import Charge, Factor, Reason


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """One policy that selects these pods.

    Attributes:
        origin: ``str(policy.ref)``.
        title: how people are told of it: ``policy support``, ``cluster policy base``, ``the built-in policy``.
        relaxes: ``Monitor``, ``AuditOnly`` or empty: under which name its verdicts do not bind (the exceptions of I1).
        hides: what its redaction adds to the built-in one; empty if nothing.
        raisers_asleep: no raiser of its own can act on a call that states no confidence.
    """

    policy: Policy
    origin: str
    title: str
    relaxes: str = ""
    hides: tuple[Redaction, ...] = ()
    raisers_asleep: bool = True

    @property
    def is_built_in(self) -> bool:
        return self.policy.ref == BUILT_IN.ref

    @classmethod
    def of(cls, policy: Policy) -> "Voice":
        raisers = policy.raisers
        redaction = replace(policy.redaction, oversize=Redaction().oversize)
        return cls(
            policy=policy,
            origin=str(policy.ref),
            title=_title(policy),
            relaxes=_relaxes(policy),
            hides=() if redaction == Redaction() else (redaction,),
            raisers_asleep=not any(
                (raisers.missing, raisers.novelty, raisers.external_impact, raisers.tainted_egress, raisers.anomaly)
            ),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A rule that names the tool, ready to be tried on arguments.

    Attributes:
        rule_id: ``AgentPolicy/shop/support#refunds``.
        limit_id: what its limit is remembered by: the same for a rule that has a name of its own; else it goes by what
            the rule says, because a rule put in front of it moves the number that it is called by (I15).
        holds: whether what `args` asks holds of these arguments (or EvaluationFailed); None where it asks nothing.
        checks_further: it has `ensure`, `closed` or a limit, so matching is not the end of it.
        looks_at: top-level arguments that `args` and `ensure` name; with `closed`, the only ones that may be sent.
        judges: JSON pointers of the values that it goes by, so that redaction does not hide them (G2). To ask whether a
            password is there is not to look at it.
    """

    voice: Voice
    rule: Rule
    rule_id: str
    limit_id: str
    holds: Callable[[Mapping[str, Any]], bool] | None
    checks_further: bool
    looks_at: frozenset[str]
    judges: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """One policy's word on a call, before it is known whether it binds.

    Attributes:
        action: what this policy alone would do.
        reason_code: as `Verdict.reason_code`.
        explanation: why, one line for people, without a full stop.
        candidate: the rule that matched, if one did.
        clarify: the answer is CLARIFY as long as nothing denies.
        scored: how the score came about, where this policy asked for one.
        factors: every step, in order.
        reasons: why a person is asked, what decided first.
        charges: limits that the call uses up.
        advice: under Deny, what the agent can do: a full sentence.
        constant: depends on nothing but the tool, so the same object is given for every call of it.
    """

    voice: Voice
    action: Action
    reason_code: str
    explanation: str
    candidate: Candidate | None = None
    clarify: bool = False
    scored: Scored | None = None
    factors: tuple[Factor, ...] = ()
    reasons: tuple[Reason, ...] = ()
    charges: tuple[Charge, ...] = ()
    advice: str = ""
    constant: bool = False

    @property
    def rule(self) -> Rule | None:
        return self.candidate.rule if self.candidate else None

    def bound(self, floor: Action | None) -> Action:
        """What of it binds: nothing of a Monitor policy, only Deny (and telling people) of an AuditOnly one; of all
        others everything, and at least the config's floor (C6).
        """
        match self.voice.relaxes:
            case "":
                return self.action if floor is None else max(self.action, floor)
            case "Monitor":
                return Action.ALLOW
            case _:
                return self.action if self.action is Action.DENY else min(self.action, Action.NOTIFY)


def candidates_of(voice: Voice, name: str) -> Iterator[Candidate]:
    """The rules of a policy that name this tool: Deny rules first, wherever they stand, then as written."""
    named = [rule for rule in voice.policy.rules if any(glob.matches(name) for glob in rule.tools)]
    for rule in sorted(named, key=lambda rule: rule.action is not Action.DENY):
        yield Candidate(
            voice=voice,
            rule=rule,
            rule_id=f"{voice.origin}#{rule.name}",
            limit_id=f"{voice.origin}#{_lasting_name(rule)}",
            holds=rule.args.hold if rule.args.named else None,
            checks_further=rule.ensure is not None or rule.closed or rule.limit is not None,
            looks_at=rule.args.named | (rule.ensure.named if rule.ensure else frozenset()),
            judges=tuple(sorted(_judged(rule))),
        )


def _relaxes(policy: Policy) -> str:
    if policy.mode is Mode.MONITOR:
        return "Monitor"
    return "AuditOnly" if policy.autonomy is Autonomy.AUDIT_ONLY else ""


def _title(policy: Policy) -> str:
    if policy.ref.kind == BUILT_IN.ref.kind:
        return "the built-in policy"
    return f"cluster policy {policy.ref.name}" if policy.is_cluster else f"policy {policy.ref.name}"


def _judged(rule: Rule) -> Iterator[str]:
    asked = (*rule.args.arguments, *(rule.ensure.arguments if rule.ensure is not None else ()))
    yield from (each.pointer for each in asked if each.tests)
    if rule.limit is not None and rule.limit.sum_of:
        yield rule.limit.sum_of if rule.limit.sum_of.startswith("/") else pointer(rule.limit.sum_of)


def _lasting_name(rule: Rule) -> str:
    if rule.limit is None or rule.name != f"rule-{rule.index + 1}":
        return rule.name
    parts = [
        *sorted(glob.text for glob in rule.tools),
        *(f"{each.pointer} {test.wanted}" for each in rule.args.arguments for test in each.tests),
        rule.cel.source if rule.cel is not None else "",
        rule.limit.sum_of or "",
        rule.limit.by_argument or rule.limit.by,
    ]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
