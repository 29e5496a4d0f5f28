"""How a held call is decided: what each policy asks for, and the strictest of all of them (SECURITY A8)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hitl.policy.actions import Action
from hitl.policy.spec import Policy, Rule
from hitl.policy.verdicts import ApprovalTerms, EscalationStep, OnTimeout, Requirement, SecondFactor

# Who decides where nobody is named: anyone the API server lets approve the tier.
ANYONE = Requirement(name="reviewer")

_FACTORS = (SecondFactor.NONE, SecondFactor.ANY, SecondFactor.HARDWARE)
_SECOND_FACTOR, _SECOND_PERSON = "SecondFactor", "SecondPerson"
# The one that ends soonest and tells fewest people is the strictest.
_PATIENCE = (OnTimeout.ABORT, OnTimeout.RETRY, OnTimeout.ESCALATE)


@dataclass(frozen=True, slots=True)
class Holder:
    """A policy that holds the call, with the rule that made it do so and how strict it is by itself."""

    policy: Policy
    rule: Rule | None
    action: Action


def merged_terms(holders: Sequence[Holder], action: Action, *, alone: bool = True) -> ApprovalTerms:
    """The terms of every policy that holds the call, ANDed: who satisfies them satisfies each policy alone.

    Args:
        holders: in the order in which policies speak; at least one.
        action: what all of them come to; at least as strict as each.
        alone: whether one person without a second factor may do, where no policy wants more.
    """
    approvals = [holder.policy.approval for holder in holders]
    needs_two = (
        not alone or action is Action.MULTI_FACTOR or any(holder.action is Action.MULTI_FACTOR for holder in holders)
    )
    return ApprovalTerms(
        requirements=_merged_requirements(holders, needs_two=needs_two),
        timeout=min(_timeout(holder) for holder in holders),
        on_timeout=min((approval.on_timeout for approval in approvals), key=_PATIENCE.index),
        hold_budget=min(approval.hold_budget for approval in approvals),
        escalation=_escalation(holders),
        remind=min((approval.remind for approval in approvals if approval.remind is not None), default=None),
        on_behalf_of_may_approve=not needs_two and all(approval.on_behalf_of_may_approve for approval in approvals),
        denials_to_end=min(approval.denials_to_end for approval in approvals),
        denial_cooldown=max(approval.denial_cooldown for approval in approvals),
        reason_required=_union(approval.reason_required for approval in approvals),
    )


def demanded(holder: Holder) -> tuple[Requirement, ...]:
    """What one policy names by itself, strong enough for its own action; empty where it names nobody."""
    policy, rule = holder.policy, holder.rule
    strict = holder.action is Action.MULTI_FACTOR
    if rule is not None and rule.requirements is not None:
        named = rule.requirements
    elif strict and policy.approval.multi_factor_requirements:
        named = policy.approval.multi_factor_requirements
    else:
        named = policy.approval.requirements
    if strict:
        approval = policy.approval
        if not named and approval.second_factor is not SecondFactor.NONE:
            named = (ANYONE,)
        named = _strong(named, approval.second_factor, approval.satisfied_by)
    prefix = "cluster/" if policy.is_cluster else ""
    origin = str(policy.ref)
    return tuple(replace(requirement, name=f"{prefix}{requirement.name}", origin=origin) for requirement in named)


def _merged_requirements(holders: Sequence[Holder], *, needs_two: bool) -> tuple[Requirement, ...]:
    widened = {str(holder.policy.ref) for holder in holders if holder.policy.approval.escalation}
    namespaced: list[Requirement] = []
    cluster: list[Requirement] = []
    for holder in holders:
        # What a baseline demands is added to what a namespace demands, never merged with it (DESIGN 18).
        _add(cluster if holder.policy.is_cluster else namespaced, demanded(holder), widened)
    # A policy that names nobody asks for somebody: whoever fills a named place is somebody.
    requirements = tuple(_distinctly_named((*namespaced, *cluster))) or (ANYONE,)
    return _strong(requirements) if needs_two else requirements


def _add(merged: list[Requirement], demands: tuple[Requirement, ...], widened: set[str]) -> None:
    """Add one policy's demands; what another policy demands just so counts once. Two alike of one policy stay two."""
    free = list(range(len(merged)))
    for demand in demands:
        for place in free:
            met = _one_for_both(merged[place], demand, widened)
            if met is not None:
                merged[place] = met
                free.remove(place)
                break
        else:
            merged.append(demand)


def _one_for_both(old: Requirement, new: Requirement, widened: set[str]) -> Requirement | None:
    """A requirement whose fulfilment fulfils both, where one of the two is that."""
    if (old.approvals, old.any_of) != (new.approvals, new.any_of):
        return None
    stricter = _stricter(old, new)
    if stricter is None:
        return None
    # Escalation of one policy must not open a place that the other keeps closed; nobody widens an empty origin.
    closed = [requirement.origin for requirement in (old, new) if requirement.origin not in widened]
    return replace(stricter, name=old.name, origin=closed[0] if closed else "")


def _stricter(one: Requirement, other: Requirement) -> Requirement | None:
    """The one whose fulfilment also fulfils the other; None if neither's does. Both want as many of the same groups."""
    if one.second_factor == other.second_factor:
        return other if one.or_second_person else one
    weak, strong = sorted((one, other), key=lambda requirement: _FACTORS.index(requirement.second_factor))
    if weak.second_factor is SecondFactor.NONE:
        return strong
    # Any against Hardware: a second person in place of Hardware is no factor at all for the other.
    return strong if weak.or_second_person or not strong.or_second_person else None


def _distinctly_named(requirements: Iterable[Requirement]) -> list[Requirement]:
    taken: set[str] = set()
    named: list[Requirement] = []
    for requirement in requirements:
        name, number = requirement.name, 1
        while name in taken:
            number += 1
            name = f"{requirement.name}-{number}"
        taken.add(name)
        named.append(replace(requirement, name=name) if name != requirement.name else requirement)
    return named


def _strong(
    requirements: tuple[Requirement, ...],
    factor: SecondFactor = SecondFactor.NONE,
    satisfied_by: tuple[str, ...] = (_SECOND_FACTOR, _SECOND_PERSON),
) -> tuple[Requirement, ...]:
    """Strong enough for MultiFactor: several people, or one with a second factor, or one with a second behind him.

    Args:
        requirements: as named; empty stays empty.
        factor: what the policy asks of everybody, on top of what a requirement asks itself.
        satisfied_by: whether a factor, a second person, or either makes one place strong.
    """
    second_person = _SECOND_PERSON in satisfied_by
    if factor is not SecondFactor.NONE:
        return tuple(_with_factor(requirement, factor, second_person=second_person) for requirement in requirements)
    if sum(requirement.approvals for requirement in requirements) > 1 or any(
        requirement.second_factor is not SecondFactor.NONE for requirement in requirements
    ):
        return requirements
    if _SECOND_FACTOR in satisfied_by:
        return tuple(_with_factor(each, SecondFactor.ANY, second_person=second_person) for each in requirements)
    return tuple(replace(requirement, approvals=2) for requirement in requirements)


def _with_factor(requirement: Requirement, factor: SecondFactor, *, second_person: bool) -> Requirement:
    if _FACTORS.index(factor) <= _FACTORS.index(requirement.second_factor):
        return requirement
    return replace(requirement, second_factor=factor, or_second_person=second_person)


def _timeout(holder: Holder) -> int:
    rule = holder.rule
    return rule.timeout if rule is not None and rule.timeout is not None else holder.policy.approval.timeout


def _escalation(holders: Sequence[Holder]) -> tuple[EscalationStep, ...]:
    steps = {
        replace(step, origin=str(holder.policy.ref)) for holder in holders for step in holder.policy.approval.escalation
    }
    return tuple(sorted(steps, key=lambda step: (step.after, step.origin, step.to)))


def _union(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(entry for entries in lists for entry in entries))
