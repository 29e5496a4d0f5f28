"""A defect of ours while policies are judged takes no Deny out of force, and asks people at once (C6, I2, A7)."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from hitl.kube.policy_conditions import Accepted
from hitl.policy.settings import Settings
from hitl.policy.spec import PodSelector
from hitl.policy.verdicts import SecondFactor
from hitl_operator.cluster.acceptance import Acceptance, accept
from hitl_operator.cluster.policy_resources import Resource
from hitl_operator.cluster.readings import LastGood, Reading, Readings
from hitl_operator.sources import Entry, Floor
from hub.test_acceptance import (
    BASELINE,
    BORN,
    DENY,
    HARDWARE,
    RELAXED,
    SELECTED,
    STRICT,
    a_resource,
    the_outcome,
    was_good,
)

NEWER = {"rules": [{"action": "Deny", "tools": ["drop_*"]}]}


class Stumbling(Readings):
    """Cannot tell some things, by a defect: what is written as `generation`, what was accepted, or what is left of it.

    Args:
        generation: which is stumbled over.
        also: "good" or "without".
    """

    def __init__(self, generation: int = 2, also: str = "") -> None:
        super().__init__()
        self._generation = generation
        self._also = also

    def of(self, resource: Resource) -> Reading:
        if resource.generation == self._generation:
            raise ZeroDivisionError("by what nobody thought of")
        return super().of(resource)

    def of_good(self, resource: Resource, good: LastGood) -> Reading:
        if self._also == "good":
            raise ZeroDivisionError("by what nobody thought of")
        return super().of_good(resource, good)

    def without(self, entry: Entry, paths: tuple[str, ...]) -> Entry:
        if self._also == "without":
            raise ZeroDivisionError("by what nobody thought of")
        return super().without(entry, paths)


def judged(
    *resources: Resource, readings: Readings, good: Mapping[str, LastGood] | None = None, after: int = 0
) -> Acceptance:
    """So many seconds after they were made; the grace is 900."""
    now = BORN + timedelta(seconds=after)
    return accept(resources, good or {}, readings=readings, settings=Settings(), now=now)


@pytest.mark.parametrize("after", [60, 5000])
def test_C6_the_generation_before_stays_in_force_and_people_are_asked_at_once(after: int) -> None:
    """C6, I2: whatever age the policy has, its Deny rules stay, and what ran unasked asks; no grace for our defects."""
    spec = {**DENY, **SELECTED}
    found = judged(a_resource(NEWER, generation=2), readings=Stumbling(), good=was_good(spec), after=after)
    outcome = the_outcome(found)
    assert outcome.entry is not None
    assert (outcome.entry.generation, outcome.entry.spec) == (1, spec)
    assert found.generation.entries == (outcome.entry,)
    assert found.generation.floors == (Floor("shop", PodSelector({"app": "coder"})),)
    assert outcome.good is not None
    assert (outcome.good.generation, outcome.reason) == (1, Accepted.INVALID)
    assert "a defect of this release (ZeroDivisionError" in outcome.message
    assert "Generation 1 stays in force; every call that ran unasked asks a person" in outcome.message


def test_C6_what_is_in_force_as_it_is_written_stays_so_too() -> None:
    """C6: also where what we stumble over is about the very generation that was accepted."""

    class Forgotten(frozenset[SecondFactor]):
        """Second factors of which nobody can tell which they are."""

        def __contains__(self, _: object) -> bool:
            raise ZeroDivisionError

    found = accept(
        [a_resource(HARDWARE)],
        was_good(HARDWARE),
        readings=Readings(),
        settings=Settings(),
        now=BORN,
        factors=Forgotten(),
    )
    outcome = the_outcome(found)
    assert outcome.entry is not None
    assert outcome.entry.spec == HARDWARE
    assert found.generation.floors == (Floor("shop"),)
    assert "It is in force; every call that ran unasked asks a person" in outcome.message


def test_C6_where_nothing_can_be_kept_people_are_asked_at_once() -> None:
    """C6, I2: nothing accepted before, or nothing of it that can be read: every pod it is for asks, from now on."""
    never = judged(a_resource({**NEWER, **SELECTED}, generation=2), readings=Stumbling())
    assert (never.generation.entries, never.generation.floors) == ((), (Floor("shop", PodSelector({"app": "coder"})),))
    lost = judged(a_resource(NEWER, generation=2), readings=Stumbling(also="good"), good=was_good())
    assert (lost.generation.entries, lost.generation.floors) == ((), (Floor("shop"),))
    outcome = the_outcome(lost)
    assert outcome.good is not None
    assert outcome.good.generation == 1


def test_A7_what_cannot_be_compared_with_the_baseline_keeps_what_cannot_relax() -> None:
    """A7, C6: of what was accepted before everything stays that no baseline could forbid; its Deny rules do."""

    class Cannot(Stumbling):
        """Stumbles while the first parts are left out."""

        tries = 0

        def without(self, entry: Entry, paths: tuple[str, ...]) -> Entry:
            self.tries += 1
            if self.tries == 1:
                raise ZeroDivisionError
            return super().without(entry, paths)

    found = judged(BASELINE, a_resource(RELAXED), readings=Cannot(generation=0), good=was_good(RELAXED))
    outcome = the_outcome(found)
    assert outcome.entry is not None
    assert outcome.entry.spec == STRICT
    assert found.generation.floors == (Floor("shop"),)
    assert "It is in force without spec.mode, spec.autonomy" in outcome.message
    assert "every call that ran unasked asks a person" in outcome.message


def test_A7_where_not_even_that_can_be_told_nothing_of_it_is_in_force() -> None:
    """A7, I2: what a baseline may forbid is not served on a guess; its pods ask people."""
    readings = Stumbling(generation=0, also="without")
    found = judged(BASELINE, a_resource(RELAXED), a_resource(name="other"), readings=readings, good=was_good(RELAXED))
    outcome = found.outcomes["AgentPolicy", "shop", "support"]
    assert outcome.entry is None
    assert outcome.good is not None
    assert found.generation.floors == (Floor("shop"),)
    assert found.outcomes["AgentPolicy", "shop", "other"].reason is Accepted.VALID


def test_C6_a_defect_with_one_policy_is_told_alone() -> None:
    """C6: the others are judged as if it were not there, and the words do not change while nothing does."""
    resources: tuple[Any, ...] = a_resource(NEWER, generation=2), a_resource(name="other")
    first, later = (judged(*resources, readings=Stumbling(), after=after) for after in (1, 2))
    assert [each.reason for each in first.outcomes.values()] == [Accepted.VALID, Accepted.INVALID]
    assert the_outcome(first).message == the_outcome(later).message
