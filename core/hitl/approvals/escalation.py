"""More people, never fewer and never other ones: what an escalation step adds to whom."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hitl.approvals.requests import RequestSpec
from hitl.policy.verdicts import EscalationStep, Requirement


def steps_of(spec: RequestSpec) -> tuple[EscalationStep, ...]:
    """The steps in the order in which they come due; steps of the same second keep the policy's order."""
    return tuple(sorted(spec.escalation, key=lambda step: step.after))


def widen(requirements: Iterable[Requirement], steps: Sequence[EscalationStep]) -> tuple[Requirement, ...]:
    """The requirements once these steps are taken.

    A step adds its groups to the requirements of its own policy (`origin`) and to no other's: who escalates in the
    team's policy must not dilute the cluster's. Places, second factors and a requirement that anyone may meet stay.
    """
    return tuple(_widened(requirement, steps) for requirement in requirements) if steps else tuple(requirements)


def _widened(requirement: Requirement, steps: Sequence[EscalationStep]) -> Requirement:
    if not requirement.any_of:
        return requirement
    added = (group for step in steps if step.origin == requirement.origin for group in step.to)
    return replace(requirement, any_of=tuple(dict.fromkeys((*requirement.any_of, *added))))
