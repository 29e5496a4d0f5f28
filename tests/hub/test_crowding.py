"""What is too much for one namespace is shed there and by name, and nobody else waits for it (SECURITY B5)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hitl.kube.policy_conditions import Accepted
from hitl.policy.settings import Settings
from hitl.policy.weights import MAX_SPEC
from hitl_operator.cluster.acceptance import ALL_FACTORS, Acceptance, accept
from hitl_operator.cluster.crowding import MOST_RESOURCES, MOST_WEIGHT, in_turns
from hitl_operator.cluster.deciding import Decider
from hitl_operator.cluster.policy_resources import Resource, resource_of
from hitl_operator.cluster.readings import LastGood, Readings

BORN = datetime(2026, 3, 1, 12, tzinfo=UTC)
DENY = {"rules": [{"action": "Deny", "tools": ["delete_*"]}]}
# Some 40 ms each to compile, in 3 KB: as much as the compiler takes of one policy.
SLOW = {
    "rules": [
        {"action": "Deny", "tools": ["x"], "args": {f"a{n}": {"matches": f"[^\\pL\\pN]{{1,2}}{n}"} for n in range(17)}}
        for _ in range(2)
    ]
}


def a_resource(
    number: int, spec: Any = DENY, *, namespace: str = "crowd", kind: str = "AgentPolicy", generation: int = 1
) -> Resource:
    """The policy that was made as the so-manieth."""
    name = f"p-{number:04d}"
    manifest = {
        "metadata": {
            "name": name,
            "uid": f"uid-of-{namespace}-{name}",
            "generation": generation,
            "resourceVersion": str(number + 1),
            "creationTimestamp": (BORN + timedelta(seconds=number)).isoformat(),
            **({"namespace": namespace} if namespace else {}),
        },
        "spec": spec,
    }
    return resource_of(kind, manifest)


def accepted(*resources: Resource, good: Mapping[str, LastGood] | None = None) -> Acceptance:
    return accept(resources, good or {}, readings=Readings(), settings=Settings(), now=BORN, factors=ALL_FACTORS)


def reasons(acceptance: Acceptance, namespace: str) -> list[Accepted]:
    return [each.reason for key, each in sorted(acceptance.outcomes.items()) if key[1] == namespace]


def heavy(size: int) -> dict[str, Any]:
    """A valid spec of about so many bytes."""
    rule = {"action": "Deny", "tools": ["x"], "args": {"a": {"in": [f"{n:04d}{'b' * 96}" for n in range(100)]}}}
    return {"rules": [rule] * (size // 10_500)}


def test_B5_the_oldest_of_a_namespace_are_read_and_the_others_told_why() -> None:
    """B5: another namespace's, made later, are not touched by it."""
    crowd = [a_resource(number) for number in range(MOST_RESOURCES + 3)]
    found = accepted(*reversed(crowd), a_resource(9_000, namespace="other"))
    assert reasons(found, "crowd") == [Accepted.VALID] * MOST_RESOURCES + [Accepted.EXCESSIVE] * 3
    assert reasons(found, "other") == [Accepted.VALID]
    message = found.outcomes["AgentPolicy", "crowd", f"p-{MOST_RESOURCES:04d}"].message
    assert f"crowd has {MOST_RESOURCES + 3} policies and tool servers" in message
    assert "merge some" in message


def test_B5_what_is_shed_keeps_its_last_good() -> None:
    """B5, C6: a policy that grew beyond what its namespace may have stays in force as it was."""
    specs = [heavy(MAX_SPEC - 20_000) for _ in range(9)]
    older = [a_resource(number, spec, generation=2) for number, spec in enumerate(specs)]
    grown = a_resource(50, heavy(MAX_SPEC - 20_000), generation=2)
    assert sum(each.weight or 0 for each in [*older, grown]) > MOST_WEIGHT
    found = accepted(*older, grown, good={grown.uid: LastGood(1, DENY)})
    outcome = found.outcomes[grown.key]
    assert outcome.reason is Accepted.EXCESSIVE
    assert outcome.entry is not None
    assert (outcome.entry.generation, outcome.entry.spec) == (1, DENY)
    assert "Generation 1 stays in force" in outcome.message
    assert "2048 KiB together" in outcome.message


def test_B5_a_policy_that_is_too_heavy_takes_nobody_s_place() -> None:
    """B5: it is refused by itself, none of it is kept but whom it is for, and the others have their weight."""
    selector = {"matchLabels": {"app": "coder"}}
    giants = [a_resource(number, {"podSelector": selector, **heavy(2 * MAX_SPEC)}) for number in range(20)]
    assert {str(each.spec) for each in giants} == {str({"podSelector": selector})}
    found = accepted(*giants, a_resource(30))
    assert reasons(found, "crowd") == [Accepted.INVALID] * 20 + [Accepted.VALID]
    outcome = found.outcomes[giants[0].key]
    assert "at most 256 KiB" in outcome.message


def test_B5_the_baseline_is_not_counted() -> None:
    """B5: only whoever runs the cluster writes it, and none of it may be missing."""
    many = [a_resource(n, namespace="", kind="ClusterAgentPolicy") for n in range(MOST_RESOURCES + 5)]
    assert set(reasons(accepted(*many), "")) == {Accepted.VALID}


def test_B5_groups_take_turns() -> None:
    """B5: who comes with one thing waits for one of each other group."""
    items = ["a1", "a2", "a3", "b1", "c1", "c2"]
    assert list(in_turns(items, lambda each: each[0])) == ["a1", "b1", "c1", "a2", "c2", "a3"]


async def test_B5_another_namespace_s_deny_waits_for_no_crowd() -> None:
    """B5: with the reading of many policies ahead of it, it is decided in the second step at the latest, even where
    each of theirs takes a step of its own; theirs follow.
    """
    decider = Decider(ALL_FACTORS, "hitl-system")
    quiet = a_resource(0, namespace="quiet")
    crowd = [a_resource(number, SLOW) for number in range(60)]
    await decider.decide([quiet], {}, Settings(), BORN)
    changed = a_resource(0, {"rules": [{"action": "Deny", "tools": ["*"]}]}, namespace="quiet", generation=2)
    in_force: list[int] = []
    while not in_force or decider.is_behind:
        found = await decider.decide([*crowd, changed], {}, Settings(), BORN)
        entry = found.outcomes[changed.key].entry
        assert entry is not None
        in_force.append(entry.generation)
    assert len(in_force) > 2, "the crowd took several steps"
    assert set(in_force[1:]) == {2}
    assert set(reasons(found, "crowd")) == {Accepted.VALID}


async def test_H1_the_first_decision_is_about_everything() -> None:
    """H1: however long that takes, nothing is decided by a part of what is written."""
    decider = Decider(ALL_FACTORS, "hitl-system")
    crowd = [a_resource(number, SLOW) for number in range(20)]
    await decider.read_all(crowd, {})
    found = await decider.decide(crowd, {}, Settings(), BORN)
    assert (len(found.outcomes), decider.is_behind) == (20, False)


async def test_B5_until_it_is_read_a_change_is_still_on_its_way() -> None:
    """B5, C6: what was decided of a resource holds until its news was read; a new one is not there yet."""
    decider = Decider(ALL_FACTORS, "hitl-system")
    before = [a_resource(number, SLOW) for number in range(40)]
    await decider.read_all(before, {})
    await decider.decide(before, {}, Settings(), BORN)
    good = {each.uid: LastGood(1, SLOW) for each in before}
    spec = {**SLOW, "mode": "Monitor"}
    after = [a_resource(number, spec, generation=2) for number in range(40)]
    found = await decider.decide([*after, a_resource(99, SLOW)], good, Settings(), BORN)
    assert decider.is_behind
    generations = [entry.generation for each in found.outcomes.values() if (entry := each.entry) is not None]
    assert len(generations) == 40
    assert set(generations) == {1, 2}
