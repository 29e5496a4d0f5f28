"""Who decides: `reviewers`, `requirements`, `approval` with its second factor, escalation and times."""

import re
from typing import Final

from hitl.policy.parsing_reader import CONTRADICTION, TWICE, Reader
from hitl.policy.spec import Approval
from hitl.policy.verdicts import EscalationStep, OnTimeout, Requirement, SecondFactor

MAX_GROUPS: Final = 10
MAX_APPROVALS: Final = 10
LONGEST_TIMEOUT: Final = 7 * 86400

# As Kubernetes and identity providers spell groups: no spaces at the ends, no control characters.
_GROUP = re.compile(r"\S(?:[^\n]*\S)?")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
_FACTORS: Final = {factor.value: factor for factor in SecondFactor}
_SATISFIED_BY: Final = {word: word for word in ("SecondFactor", "SecondPerson")}
HINTS: Final = {
    "escalation": "unknown key; write escalate: [{after: 5m, to: [oncall]}]",
    "channels": (
        "announces held calls outside the inbox and arrives in a later version; until then remove it, and have people "
        "follow hitl list --watch or, on Kubernetes, the Events of the requests"
    ),
}
_REASONS: Final = {word: word for word in ("Denied", "MultiFactor")}


def read_requirements(reader: Reader) -> tuple[Requirement, ...] | None:
    """`reviewers` (one person of each group) or `requirements` (the long form); None if neither is given."""
    groups = _groups(reader, "reviewers")
    requirements = tuple(map(_read_requirement, reader.children("requirements", most=MAX_GROUPS)))
    if "reviewers" in reader and "requirements" in reader:
        reader.problem("requirements", "excludes reviewers; keep the one that says what you mean", CONTRADICTION)
    names = [requirement.name for requirement in requirements]
    for name in sorted({name for name in names if names.count(name) > 1}):
        reader.problem("requirements", f"two are named {name!r}; give one another name, or raise approvals", TWICE)
    if "requirements" in reader:
        return requirements
    return tuple(map(one_of, groups)) if "reviewers" in reader else None


def one_of(group: str) -> Requirement:
    """One person of a group."""
    return Requirement(name=group, any_of=(group,))


def read_approval(spec: Reader) -> Approval:
    """`approval` with every default filled in."""
    reader = spec.child("approval")
    if reader is None:
        return Approval()
    default = Approval()
    requirements = read_requirements(reader) or ()
    factors, second_factor, satisfied_by = _read_multi_factor(reader, requirements)
    approval = Approval(
        requirements=requirements,
        timeout=reader.seconds("timeout", default=default.timeout, low=1, high=LONGEST_TIMEOUT),
        on_timeout=reader.word("onTimeout", {each.value: each for each in OnTimeout}, default.on_timeout),
        hold_budget=reader.seconds("holdBudget", default=default.hold_budget, low=1, high=3600),
        multi_factor_requirements=factors,
        second_factor=second_factor,
        satisfied_by=satisfied_by,
        escalation=_read_escalation(reader),
        remind=reader.seconds("remind", default=None, low=10, high=LONGEST_TIMEOUT),
        on_behalf_of_may_approve=reader.word("onBehalfOf", {"Forbidden": False, "Confirm": True}, default=False),
        denials_to_end=reader.whole("denialsToEnd", default=default.denials_to_end, low=1, high=10),
        denial_cooldown=reader.seconds("denialCooldown", default=default.denial_cooldown, low=0, high=86400),
        reason_required=reader.words("reasonRequired", _REASONS) or default.reason_required,
    )
    if approval.on_timeout is OnTimeout.ESCALATE and not approval.escalation:
        reader.problem("onTimeout", "Escalate needs somebody to escalate to: escalate: [{after: 5m, to: [oncall]}]")
    reader.done(HINTS)
    return approval


def _read_requirement(reader: Reader) -> Requirement:
    reader.require("name")
    requirement = Requirement(
        name=reader.text("name", limit=63, default="?", form=_NAME, wants="a name: letters, digits, '.', '_' and '-'"),
        approvals=reader.whole("approvals", default=1, low=1, high=MAX_APPROVALS),
        any_of=_groups(reader, "anyOf"),
        second_factor=reader.word("secondFactor", _FACTORS, SecondFactor.NONE),
    )
    reader.done({"groups": "unknown key; write anyOf", "reviewers": "unknown key; write anyOf"})
    return requirement


def _read_multi_factor(
    parent: Reader, requirements: tuple[Requirement, ...]
) -> tuple[tuple[Requirement, ...], SecondFactor, tuple[str, ...]]:
    """What MultiFactor asks for; the factor that it asks of a rule's own reviewers, and what satisfies it there.

    Several people are each other's second person, so without a word about factors none is asked of them. One person
    alone needs a factor, or somebody else beside him.
    """
    reader = parent.child("multiFactor")
    if reader is None:
        return (), SecondFactor.NONE, tuple(_SATISFIED_BY)
    groups = _groups(reader, "reviewers")
    asked = reader.word("secondFactor", _FACTORS, None)
    ways = reader.words("satisfiedBy", _SATISFIED_BY) or tuple(_SATISFIED_BY)
    reader.done({"requirements": "unknown key; name the groups under reviewers: one person from each"})
    named = tuple(map(one_of, groups)) or requirements or (Requirement(name="reviewer"),)
    places = sum(requirement.approvals for requirement in named)
    if "SecondFactor" not in ways:
        if asked not in (None, SecondFactor.NONE):
            reader.problem(
                "satisfiedBy",
                f"leaves SecondFactor out, but secondFactor is {asked}; say which of them is meant",
                CONTRADICTION,
            )
        return (named if places > 1 else _twice(named)), SecondFactor.NONE, ("SecondPerson",)
    if asked is SecondFactor.NONE and "SecondPerson" not in ways:
        reader.problem("secondFactor", "None cannot be, where only a second factor satisfies", CONTRADICTION)
    if asked is SecondFactor.NONE:
        return (named if places > 1 else _twice(named)), SecondFactor.NONE, ("SecondPerson",)
    if asked is None and places > 1 and "SecondPerson" in ways:
        return named, SecondFactor.NONE, ways
    factor = asked or SecondFactor.ANY
    return tuple(_with_factor(each, factor, second_person="SecondPerson" in ways) for each in named), factor, ways


def _twice(requirements: tuple[Requirement, ...]) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(name=each.name, approvals=2, any_of=each.any_of, second_factor=each.second_factor)
        for each in requirements
    )


def _with_factor(requirement: Requirement, factor: SecondFactor, *, second_person: bool) -> Requirement:
    stronger = requirement.second_factor is SecondFactor.HARDWARE
    return Requirement(
        name=requirement.name,
        approvals=requirement.approvals,
        any_of=requirement.any_of,
        second_factor=requirement.second_factor if stronger else factor,
        or_second_person=second_person,
    )


def _read_escalation(reader: Reader) -> tuple[EscalationStep, ...]:
    steps: list[EscalationStep] = []
    for step in reader.children("escalate", most=8):
        step.require("after", "to")
        after = step.seconds("after", default=1, low=1, high=LONGEST_TIMEOUT)
        if steps and after <= steps[-1].after:
            step.problem("after", "is not later than the step before; order the steps by time")
        steps.append(EscalationStep(after=after, to=_groups(step, "to")))
        step.done()
    return tuple(steps)


def _groups(reader: Reader, key: str) -> tuple[str, ...]:
    return reader.texts(key, most=MAX_GROUPS, limit=253, form=_GROUP, wants="a group; remove the spaces around it")
