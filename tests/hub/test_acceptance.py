"""Which policies are in force on a cluster and what each is told: tables over the pure decision (C5, C6, H1)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hitl.kube.policy_conditions import Accepted
from hitl.policy.calls import Agent
from hitl.policy.settings import Settings
from hitl.policy.spec import PodSelector
from hitl.policy.verdicts import SecondFactor
from hitl.wire.identity import Identity
from hitl_operator.cluster.acceptance import ALL_FACTORS, Acceptance, Outcome, accept
from hitl_operator.cluster.policy_resources import Resource, resource_of
from hitl_operator.cluster.readings import LastGood, Readings
from hitl_operator.sources import Floor, serve

BORN = datetime(2026, 3, 1, 12, tzinfo=UTC)
DENY = {"rules": [{"action": "Deny", "tools": ["delete_*"]}]}
TYPO = {"rules": [{"action": "Deny", "tools": ["delete_*"], "cel": "args.amount >"}]}
SELECTED = {"podSelector": {"matchLabels": {"app": "coder"}}}


def a_resource(
    spec: Any = DENY, *, kind: str = "AgentPolicy", name: str = "support", generation: int = 1, **more: Any
) -> Resource:
    manifest: dict[str, Any] = {
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "generation": generation,
            "resourceVersion": "7",
            "creationTimestamp": BORN.isoformat(),
            **({} if kind == "ClusterAgentPolicy" else {"namespace": "shop"}),
        },
        "spec": spec,
        **more,
    }
    return resource_of(kind, manifest)


def accepted(
    *resources: Resource,
    good: Mapping[str, LastGood] | None = None,
    after: int = 0,
    factors: frozenset[SecondFactor] = ALL_FACTORS,
    readings: Readings | None = None,
) -> Acceptance:
    """What becomes of them so many seconds after they were made."""
    now = BORN + timedelta(seconds=after)
    known = readings or Readings()
    return accept(resources, good or {}, readings=known, settings=Settings(), now=now, factors=factors)


def the_outcome(acceptance: Acceptance) -> Outcome:
    """Of the first resource that is no baseline."""
    return next(each for key, each in acceptance.outcomes.items() if key[0] != "ClusterAgentPolicy")


def was_good(spec: Mapping[str, Any] = DENY, generation: int = 1, since: int | None = None) -> dict[str, LastGood]:
    invalid_since = None if since is None else BORN + timedelta(seconds=since)
    return {"uid-of-support": LastGood(generation, spec, invalid_since)}


def test_C5_a_valid_policy_is_told_what_each_rule_matches() -> None:
    """C5: whoever wrote a matcher that got lost on the way sees that the rule goes by nothing."""
    spec = {
        "undeclared": "Score",
        "rules": [
            {"action": "Allow", "tools": ["get_*", "list_*"]},
            {"name": "refunds", "action": "Confirm", "tools": ["stripe/create_refund"], "args": {"amount": {"max": 9}}},
            {"action": "Score", "tools": ["db/query"], "args": {"/a/b": {"present": True}}, "cel": "args.x == 1"},
            {"action": "Allow", "tools": ["a", "b", "c", "d", "e"], "ensure": {"to": {"in": ["x"]}}},
            {"action": "Notify", "tools": ["f"], "limit": {"calls": 3, "per": "1m"}},
        ],
    }
    outcome = the_outcome(accepted(a_resource(spec)))
    assert outcome.reason is Accepted.VALID
    assert outcome.message == (
        "5 rules, Score for what none matches: [1] Allow get_* list_*; [2] refunds Confirm stripe/create_refund by "
        "amount; [3] Score db/query by /a/b, cel; [4] Allow a b c d +1, ensures to; [5] Notify f, limited"
    )


def test_a_long_policy_is_told_in_few_words() -> None:
    """A policy of as many rules as there may be does not fill the API server with its own description."""
    rules = [{"action": "Allow", "tools": [f"tool_{'x' * 60}_{n}"]} for n in range(128)]
    message = the_outcome(accepted(a_resource({"rules": rules}))).message
    assert len(message) <= 4000
    assert message.startswith("128 rules: [1] Allow tool_x")
    assert message.endswith(("and 88 more", "…"))


def test_every_problem_is_named_with_its_path() -> None:
    """All of them at once, so that nobody has to apply five times."""
    spec = {"rules": [{"action": "Denied", "tools": ["delete_*"]}, {"acton": "Deny", "tools": ["x/**"]}], "modus": 1}
    outcome = the_outcome(accepted(a_resource(spec)))
    assert outcome.reason is Accepted.INVALID
    for place in ("spec.rules[0].action", "spec.rules[1].acton", "spec.rules[1].tools[0]", "spec.modus"):
        assert place in outcome.message


def test_C5_a_key_beside_the_spec_is_refused_by_name() -> None:
    """C5: what the API server kept because nobody knows it is not ignored by the compiler either."""
    outcome = the_outcome(accepted(a_resource(sepc={})))
    assert outcome.reason is Accepted.INVALID
    assert outcome.message.startswith("sepc: unknown key")


@pytest.mark.parametrize("spec", [None, 7, "text", [], {"rules": {}}])
def test_a_spec_of_any_shape_is_an_answer(spec: object) -> None:
    """Whatever the API server stored, it is refused with words, never with an exception that takes others along."""
    assert the_outcome(accepted(a_resource(spec))).reason is Accepted.INVALID


def test_C6_an_invalid_update_keeps_the_generation_before() -> None:
    """C6: the same entry stays in force, nothing asks more yet, and the message says both and when that changes."""
    found = accepted(a_resource(TYPO, generation=2), good=was_good(), after=60)
    outcome = the_outcome(found)
    assert outcome.reason is Accepted.INVALID
    assert outcome.entry is not None
    assert (outcome.entry.generation, outcome.entry.spec) == (1, DENY)
    assert (found.generation.entries, found.generation.floors) == ((outcome.entry,), ())
    assert outcome.good == LastGood(1, DENY, BORN + timedelta(seconds=60))
    assert "spec.rules[0].cel" in outcome.message
    assert "Generation 1 stays in force; from 2026-03-01 12:16 UTC on every call" in outcome.message
    assert found.next_change == BORN + timedelta(seconds=960)


def test_C6_past_the_grace_what_ran_unasked_asks_for_its_pods_alone() -> None:
    """C6: the clock is that of the first invalid update, whichever replica saw it, and the floor is for its pods."""
    good = was_good({**DENY, **SELECTED}, since=0)
    before = accepted(a_resource(TYPO, generation=5), good=good, after=899)
    assert before.generation.floors == ()
    found = accepted(a_resource(TYPO, generation=5), good=good, after=900)
    assert found.generation.floors == (Floor("shop", PodSelector({"app": "coder"})),)
    assert "since 2026-03-01 12:15 UTC every call" in the_outcome(found).message
    assert found.next_change is None


def test_C6_a_valid_update_ends_it() -> None:
    """C6: with a spec that compiles it is in force at once, and the floor and its clock are gone."""
    found = accepted(a_resource(generation=6), good=was_good(since=0), after=5000)
    outcome = the_outcome(found)
    assert (outcome.is_accepted, found.generation.floors) == (True, ())
    assert outcome.good == LastGood(6, DENY)


def test_C6_what_never_was_valid_changes_nothing_until_its_grace_is_over() -> None:
    """A first version with a typo loosens and tightens nothing; left standing, the pods that it was for ask people."""
    invalid = a_resource({**TYPO, **SELECTED})
    at_first = accepted(invalid, after=899)
    assert (at_first.generation.entries, at_first.generation.floors) == ((), ())
    assert "No generation was ever accepted, so none of its rules apply" in the_outcome(at_first).message
    later = accepted(invalid, after=900)
    assert later.generation.floors == (Floor("shop", PodSelector({"app": "coder"})),)


def test_C6_where_not_even_the_selector_can_be_read_every_pod_asks() -> None:
    """What cannot be told is taken to the safe side."""
    broken = a_resource({"podSelector": {"matchLabel": {"app": "coder"}}})
    assert accepted(broken, after=900).generation.floors == (Floor("shop"),)
    baseline = a_resource({"rules": 1}, kind="ClusterAgentPolicy")
    assert accepted(baseline, after=900).generation.floors == (Floor(),)


def test_one_invalid_policy_leaves_the_others_alone() -> None:
    """A typo in one policy keeps nobody else's out of force."""
    found = accepted(
        a_resource(TYPO), a_resource(name="other"), a_resource({"trusted": True}, kind="ToolServer", name="ts")
    )
    assert sorted(entry.name for entry in found.generation.entries) == ["other", "ts"]


def test_a_last_good_that_this_release_cannot_read_is_not_used() -> None:
    """A spec that a newer release accepted is no reason to fall over; nothing of the policy is in force then."""
    outcome = the_outcome(accepted(a_resource(TYPO, generation=2), good=was_good({"rules": [{"acts": "New"}]})))
    assert (outcome.entry, outcome.reason) == (None, Accepted.INVALID)


def test_a_last_good_of_a_generation_not_yet_seen_is_left_alone() -> None:
    """What another replica accepted later is not put in force under an older generation's name."""
    outcome = the_outcome(accepted(a_resource(TYPO, generation=2), good=was_good(generation=3)))
    assert outcome.entry is None


BASELINE = a_resource(
    {"forbid": ["Monitor", "AuditOnly", "Final", "Trust", "Permissive"]}, kind="ClusterAgentPolicy", name="base"
)
RELAXED = {
    "mode": "Monitor",
    "autonomy": "AuditOnly",
    "posture": "Permissive",
    "trust": [{"tools": ["get_*"], "ceiling": "Notify"}],
    "rules": [{"action": "Deny", "tools": ["delete_*"]}, {"action": "Confirm", "tools": ["x"], "final": True}],
}
STRICT = {"rules": [{"action": "Deny", "tools": ["delete_*"]}, {"action": "Confirm", "tools": ["x"]}]}


def test_A7_what_a_baseline_forbids_is_refused_and_names_it() -> None:
    """A7: a new policy that relaxes what the cluster forbids does not come into force."""
    outcome = the_outcome(accepted(BASELINE, a_resource(RELAXED)))
    assert (outcome.reason, outcome.entry) == (Accepted.CONFLICTED, None)
    for path in ("spec.mode", "spec.autonomy", "spec.posture", "spec.trust", "spec.rules[1].final"):
        assert f"{path}: " in outcome.message
    assert "forbidden by ClusterAgentPolicy base" in outcome.message


def test_A7_a_new_baseline_takes_the_relaxations_out_of_policies_in_force() -> None:
    """A7: what was accepted before stays without them: its Deny rules must not vanish because of its Monitor."""
    found = accepted(BASELINE, a_resource(RELAXED), good=was_good(RELAXED), after=100_000)
    outcome = the_outcome(found)
    assert outcome.reason is Accepted.CONFLICTED
    assert outcome.entry is not None
    assert outcome.entry.spec == STRICT
    assert "It is in force without spec.mode, spec.autonomy, spec.posture, spec.trust, spec.rules[1].final" in (
        outcome.message
    )
    assert found.generation.floors == ()
    served = serve(found.generation, Identity(Agent("shop"), "uid", "cluster"), "key")
    assert b"Monitor" not in served.document.replace(b'"forbid":["Monitor"', b"")


def test_A7_an_update_that_relaxes_too_much_leaves_the_one_before() -> None:
    """A7: the generation before is in force whole, and the clock of the invalid one runs."""
    outcome = the_outcome(accepted(BASELINE, a_resource(RELAXED, generation=2), good=was_good(), after=9))
    assert outcome.entry is not None
    assert (outcome.entry.generation, outcome.entry.spec) == (1, DENY)
    assert outcome.good == LastGood(1, DENY, BORN + timedelta(seconds=9))


def test_an_invalid_baseline_goes_on_forbidding_what_it_forbade() -> None:
    """The last good generation of a baseline counts like any other."""
    spoilt = a_resource({"forbid": ["Monitors"]}, kind="ClusterAgentPolicy", name="base", generation=2)
    good = {"uid-of-base": LastGood(1, {"forbid": ["Monitor"]})}
    outcome = the_outcome(accepted(spoilt, a_resource({"mode": "Monitor"}), good=good))
    assert outcome.reason is Accepted.CONFLICTED


HARDWARE = {"approval": {"multiFactor": {"secondFactor": "Hardware", "satisfiedBy": ["SecondFactor"]}}, **DENY}
EITHER = {"approval": {"multiFactor": {"secondFactor": "Hardware"}}, **DENY}


@pytest.mark.parametrize(
    ("spec", "factors", "wanted"),
    [
        (HARDWARE, ALL_FACTORS, Accepted.VALID),
        (HARDWARE, frozenset({SecondFactor.ANY}), Accepted.FACTOR_UNAVAILABLE),
        (HARDWARE, frozenset(), Accepted.FACTOR_UNAVAILABLE),
        (EITHER, frozenset(), Accepted.VALID),
        (DENY, frozenset(), Accepted.VALID),
    ],
)
def test_a_factor_that_nobody_can_show_is_unavailable(
    spec: dict[str, Any], factors: frozenset[SecondFactor], wanted: Accepted
) -> None:
    """A requirement that nobody could ever meet is not accepted, unless a second person satisfies it too."""
    assert the_outcome(accepted(a_resource(spec), factors=factors)).reason is wanted


def test_a_factor_that_went_away_leaves_the_policy_in_force() -> None:
    """Its calls expire rather than run; it is not loosened, and nothing more is asked of its other calls."""
    found = accepted(a_resource(HARDWARE), good=was_good(HARDWARE), factors=frozenset(), after=5000)
    outcome = the_outcome(found)
    assert outcome.reason is Accepted.FACTOR_UNAVAILABLE
    assert outcome.entry is not None
    assert outcome.entry.spec == HARDWARE
    assert found.generation.floors == ()


def test_what_did_not_change_stays_the_same_entry() -> None:
    """So that a config book finds again what it made of it; also for a policy whose forbidden parts are left out."""
    readings = Readings()
    resources = BASELINE, a_resource(RELAXED), a_resource(name="other")
    first = accepted(*resources, good=was_good(RELAXED), readings=readings)
    again = accepted(*resources, a_resource(name="new"), good=was_good(RELAXED), readings=readings)
    kept = {id(entry) for entry in again.generation.entries}
    assert {id(entry) for entry in first.generation.entries} < kept


def test_a_tool_server_is_told_how_many_tools_it_declares() -> None:
    """There are no rules in it, so its tools are counted."""
    spec = {"trusted": True, "tools": [{"name": "query", "level": "medium"}]}
    assert the_outcome(accepted(a_resource(spec, kind="ToolServer"))).message == "1 tool declared, trusted"


def test_two_tools_under_one_name_are_refused() -> None:
    """A4: no rule could tell them apart."""
    spec = {"tools": [{"name": "readFile"}, {"name": "readfile"}]}
    outcome = the_outcome(accepted(a_resource(spec, kind="ToolServer")))
    assert outcome.reason is Accepted.INVALID
    assert "spec.tools[1].name" in outcome.message
