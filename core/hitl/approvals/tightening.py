"""Whether the policy asks for more at release than it did when the call was held (I8).

Compared is what was asked with what would be asked now. "More" is a partial order: unless it is certain that whoever
satisfied the old terms satisfies the new ones, the new ones are stricter and the approval does not release.
"""

from collections.abc import Sequence
from enum import StrEnum

from hitl.approvals.escalation import widen
from hitl.approvals.requests import Kind, RequestSpec
from hitl.approvals.requirements import Place, alternatives, default_requirements, is_at_least, requirements_of
from hitl.policy.actions import Action
from hitl.policy.verdicts import ApprovalTerms, EscalationStep, Requirement, Verdict


class Change(StrEnum):
    """What the policy of now means for an approval under the policy of then.

    - Same, LessStrict: the approval releases.
    - Stricter: it does not; the request ends as Superseded and a new one is opened.
    - Deny: it does not; the request ends as PolicyTightened.
    """

    SAME = "Same"
    LESS_STRICT = "LessStrict"
    STRICTER = "Stricter"
    DENY = "Deny"


def compare(spec: RequestSpec, verdict: Verdict) -> Change:
    """What changed between the snapshot in `spec` and a new verdict on the call that would run.

    Who must agree and how counts: action, requirements and those whom escalation may add, denials that end it, reasons
    that are required, whether the user behind the agent may approve. Times and texts do not.
    """
    if verdict.action is Action.DENY:
        return Change.DENY
    asked = _action_of(spec)
    if verdict.clarify or verdict.action > asked:
        return Change.STRICTER
    if not verdict.action.holds:
        return Change.LESS_STRICT
    terms = verdict.terms
    if terms is None or not _covers(spec, terms, verdict.action):
        return Change.STRICTER
    # It is the same if the comparison holds in the other direction, too.
    requirements = terms.requirements or default_requirements(verdict.action.kebab)
    same = (
        verdict.action is asked
        and _people_cover(requirements, terms.escalation, requirements_of(spec), spec.escalation)
        and (terms.denials_to_end, set(terms.reason_required)) == (spec.denials_to_end, set(spec.reason_required))
        and terms.on_behalf_of_may_approve == spec.on_behalf_of_may_approve
    )
    return Change.SAME if same else Change.LESS_STRICT


def implies(old: Sequence[Requirement], new: Sequence[Requirement]) -> bool:
    """Whether it is certain that everybody who satisfies `old` satisfies `new`, one person in one place.

    It is, if for each way to meet the old requirements there is a way to meet the new ones whose every place can be
    given to a place of the old way that is at least as hard to fill: the same people then sit there.
    """
    ways = [_flat(way) for way in alternatives(new)]
    return all(any(_fits(_flat(way), other) for other in ways) for way in alternatives(old))


def _action_of(spec: RequestSpec) -> Action:
    if spec.kind is Kind.SUGGESTION:
        return Action.SUGGEST
    return Action.MULTI_FACTOR if spec.tier == Action.MULTI_FACTOR.kebab else Action.CONFIRM


def _covers(spec: RequestSpec, terms: ApprovalTerms, action: Action) -> bool:
    if spec.on_behalf_of and spec.on_behalf_of_may_approve and not terms.on_behalf_of_may_approve:
        return False
    if max(1, terms.denials_to_end) < max(1, spec.denials_to_end):
        return False
    if not set(terms.reason_required) <= set(spec.reason_required):
        return False
    requirements = terms.requirements or default_requirements(action.kebab)
    return _people_cover(requirements_of(spec), spec.escalation, requirements, terms.escalation)


def _people_cover(
    old: Sequence[Requirement],
    old_steps: Sequence[EscalationStep],
    new: Sequence[Requirement],
    new_steps: Sequence[EscalationStep],
) -> bool:
    """Whether the implication holds at the beginning and after every step that may have let more people in.

    A step is taken when its time has come, or early by a note or a timeout: so the new policy must have let in as many
    by that time, and by that number of steps.
    """
    old_steps = sorted(old_steps, key=lambda step: step.after)
    new_steps = sorted(new_steps, key=lambda step: step.after)
    if not implies(old, new):
        return False
    for count, step in enumerate(old_steps, start=1):
        then = widen(old, old_steps[:count])
        by_number = new_steps[:count]
        by_time = [each for each in new_steps if each.after <= step.after]
        if not implies(then, widen(new, by_number)) or not implies(then, widen(new, by_time)):
            return False
    return True


def _flat(way: Sequence[Sequence[Place]]) -> list[Place]:
    return [place for places in way for place in places]


def _fits(old: Sequence[Place], new: Sequence[Place]) -> bool:
    """Whether every new place finds an old one of its own that is at least as hard to fill (augmenting paths)."""
    given: dict[int, int] = {}

    def find(wanted: int, tried: set[int]) -> bool:
        for index, place in enumerate(old):
            if index in tried or not _is_as_hard(place, new[wanted]):
                continue
            tried.add(index)
            if index not in given or find(given[index], tried):
                given[index] = wanted
                return True
        return False

    return all(find(wanted, set()) for wanted in range(len(new)))


def _is_as_hard(old: Place, new: Place) -> bool:
    who = not new.any_of or (bool(old.any_of) and set(old.any_of) <= set(new.any_of))
    return who and is_at_least(old.factor, new.factor)
