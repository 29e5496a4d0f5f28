"""The status of a policy as a function of what is known, whom it asks, and what replicas tell each other."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hitl.errors import InvalidInput
from hitl.kube.policy_conditions import ReviewersAvailable
from hitl.policy.parse import parse_policy
from hitl.policy.settings import Settings
from hitl_operator.cluster.acceptance import accept
from hitl_operator.cluster.manning import Manned, asked_by
from hitl_operator.cluster.policy_report import Known, is_as, status_of
from hitl_operator.cluster.policy_resources import Resource, resource_of
from hitl_operator.cluster.readings import Readings
from hitl_operator.cluster.replica_reports import (
    MOST_POLICIES,
    Behind,
    Report,
    Tally,
    added,
    report_from_json,
    report_to_json,
    shortened,
    tallies_of,
)
from hitl_operator.usage import Used

BORN = datetime(2026, 3, 1, 12, tzinfo=UTC)
DENY = {"rules": [{"action": "Deny", "tools": ["delete_*"]}]}


def a_resource(spec: Any = DENY, **metadata: Any) -> Resource:
    born = BORN.isoformat()
    whole = {"name": "support", "namespace": "shop", "uid": "u", "generation": 1, "creationTimestamp": born, **metadata}
    manifest = {"metadata": {"resourceVersion": "7", **whole}, "spec": spec, "status": metadata.pop("status", {})}
    return resource_of("AgentPolicy", manifest)


def conditions(resource: Resource, known: Known | None = None, *, after: timedelta = timedelta()) -> dict[str, Any]:
    """By type, as they would be written so long after the resource was made."""
    now = BORN + after
    found = accept([resource], {}, readings=Readings(), settings=Settings(), now=now)
    status = status_of(resource, found.outcomes[resource.key], known or Known(), now)
    return {each["type"]: each for each in status["conditions"]}


def behind(pod: str, seconds: int, reason: str = "") -> Behind:
    return Behind(f"shop/{pod}", "old", BORN + timedelta(seconds=seconds), reason)


@pytest.mark.parametrize(
    ("tally", "status", "reason", "words"),
    [
        (Tally(), "Unknown", "Unmatched", "compare spec.podSelector"),
        (Tally(1, 1), "True", "Current", "The one connected sidecar runs generation 1"),
        (Tally(3, 3), "True", "Current", "All 3 connected sidecars run generation 1"),
        (Tally(3, 2, [behind("a", 0)]), "False", "Pending", "2 of 3 connected sidecars run generation 1"),
        (
            Tally(3, 2, [behind("a", 0, "no")]),
            "False",
            "Rejected",
            "shop/a refused the config and keeps the one before",
        ),
    ],
)
def test_programmed_says_whether_sidecars_run_it(tally: Tally, status: str, reason: str, words: str) -> None:
    """From the counts alone, with the first refusal in its own words."""
    found = conditions(a_resource(), Known(tally))["Programmed"]
    assert (found["status"], found["reason"]) == (status, reason)
    assert words in found["message"]


@pytest.mark.parametrize(
    ("spec", "in_force"),
    [
        (DENY, {"mode": "Enforce", "autonomy": "ReadOnly"}),
        ({"mode": "Monitor", "autonomy": 3}, {"mode": "Monitor", "autonomy": "Calibrated"}),
        ({"rules": 1}, None),
    ],
    ids=["left out", "written, as a number", "never accepted"],
)
def test_status_says_what_is_in_force(spec: Any, in_force: dict[str, str] | None) -> None:
    """Columns show what holds where the spec leaves it out; nothing holds of what was never accepted."""
    resource = a_resource(spec)
    found = accept([resource], {}, readings=Readings(), settings=Settings(), now=BORN)
    assert status_of(resource, found.outcomes[resource.key], Known(), BORN).get("inForce") == in_force


def test_what_was_never_accepted_is_not_programmed() -> None:
    """Programmed then points to Accepted, whatever sidecars do."""
    found = conditions(a_resource({"rules": 1}), Known(Tally(3, 3)))["Programmed"]
    assert (found["status"], found["reason"]) == ("False", "NotAccepted")


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    """Its lastTransitionTime is when the status changed, not when the message did."""
    old = {"type": "Accepted", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    manifest_status = {"conditions": [old]}
    whole = {
        "metadata": {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "7"},
        "spec": DENY,
        "status": manifest_status,
    }
    whole["metadata"]["creationTimestamp"] = BORN.isoformat()  # type: ignore[index]  # a mapping
    valid = resource_of("AgentPolicy", whole)
    assert conditions(valid)["Accepted"]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    invalid = resource_of("AgentPolicy", {**whole, "spec": {"rules": 1}})
    assert conditions(invalid)["Accepted"]["lastTransitionTime"] == "2026-03-01T12:00:00Z"


def test_a_leader_that_has_not_asked_leaves_what_stands_about_reviewers() -> None:
    """A new leader's first status is the one before, condition for condition, and so costs no write."""
    spec = {**DENY, "review": {"every": "90d"}}
    asked = Known(Tally(), Manned(ReviewersAvailable.UNBOUND, "No binding lets group leads approve"))
    before = list(conditions(a_resource(spec), asked).values())
    again = conditions(a_resource(spec, status={"conditions": before}), Known(Tally()), after=timedelta(hours=1))
    assert list(again.values()) == before
    assert "ReviewersAvailable" not in conditions(a_resource(spec), Known(Tally()))


def test_a_review_is_due_from_the_last_change_or_review() -> None:
    """A change of the spec counts as reading it; of labels or status it does not; a review to come is none."""
    spec = {**DENY, "review": {"every": "30d"}}
    changed = (BORN + timedelta(days=10)).isoformat()
    later = (BORN + timedelta(days=39)).isoformat()
    managed = [
        {"manager": "kubectl", "time": changed, "fieldsV1": {"f:spec": {}}},
        {"manager": "labeller", "time": later, "fieldsV1": {"f:metadata": {}}},
        {"manager": "hitl", "time": later, "fieldsV1": {"f:status": {}}, "subresource": "status"},
    ]
    resource = a_resource(spec, managedFields=managed)
    for days, wanted in ((39, "False"), (40, "True")):
        assert conditions(resource, after=timedelta(days=days))["ReviewDue"]["status"] == wanted
    reviewed = a_resource(spec, managedFields=managed, annotations={"hitl.dev/reviewed-at": later})
    assert conditions(reviewed, after=timedelta(days=60))["ReviewDue"]["status"] == "False"
    for text in ((BORN + timedelta(days=999)).isoformat(), "yesterday"):
        odd = a_resource(spec, managedFields=managed, annotations={"hitl.dev/reviewed-at": text})
        assert conditions(odd, after=timedelta(days=60))["ReviewDue"]["status"] == "True"
    assert "ReviewDue" not in conditions(a_resource())


def test_what_others_write_into_a_status_is_theirs() -> None:
    """A status with more in it than is wanted stands; with less or other it does not."""
    assert is_as({"a": 1, "b": [2], "c": 3}, {"a": 1, "b": [2]})
    assert not is_as({"a": 1}, {"a": 1, "b": [2]})


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (DENY, set()),
        (
            {"rules": [{"action": "Confirm", "tools": ["x"], "reviewers": ["a", "b"]}]},
            {("a", "confirm"), ("b", "confirm")},
        ),
        ({"rules": [{"action": "MultiFactor", "tools": ["x"], "reviewers": ["a"]}]}, {("a", "multi-factor")}),
        (
            {"rules": [{"action": "Score", "tools": ["x"], "reviewers": ["a"]}]},
            {("a", "confirm"), ("a", "multi-factor")},
        ),
        (
            {"undeclared": "Score", "approval": {"reviewers": ["a"], "multiFactor": {"reviewers": ["b"]}}},
            {("a", "confirm"), ("b", "multi-factor")},
        ),
        ({"undeclared": "Score", "approval": {"reviewers": ["a"]}}, {("a", "confirm"), ("a", "multi-factor")}),
        (
            {
                "rules": [{"action": "Confirm", "tools": ["x"]}],
                "approval": {"reviewers": ["a"], "escalate": [{"after": "1m", "to": ["b"]}]},
            },
            {("a", "confirm"), ("b", "confirm")},
        ),
        (
            {
                "rules": [
                    {
                        "action": "Allow",
                        "tools": ["x"],
                        "reviewers": ["a"],
                        "limit": {"calls": 1, "per": "1h", "then": "Confirm"},
                    }
                ]
            },
            {("a", "confirm")},
        ),
    ],
)
def test_the_groups_that_a_policy_may_ask(spec: dict[str, Any], wanted: set[tuple[str, str]]) -> None:
    """Each with the tiers that its calls may have, and no others: a group is not asked for rights it never needs."""
    policy = parse_policy("AgentPolicy", {"name": "a", "namespace": "shop"}, spec)
    assert asked_by(policy) == wanted


def test_a_report_comes_back_as_it_went() -> None:
    """What one replica writes another one reads."""
    report = Report("r", "one", {"u": Tally(3, 2, [behind("a", 1, "no")])}, {"u": Used(1, 2, 3, 4), "v": Used(calls=9)})
    found = report_from_json(report_to_json(report))
    assert (found.tallies["u"], dict(found.usage)) == (report.tallies["u"], dict(report.usage))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "run": "r", "replica": "x", "policies": 3}']
)
def test_what_no_replica_wrote_is_no_report(text: str) -> None:
    """InvalidInput, whatever it is."""
    with pytest.raises(InvalidInput):
        report_from_json(text)


def test_a_report_stays_small_when_everybody_is_behind() -> None:
    """A release that every sidecar refuses names 200 of them, those that are so for longest, and counts all."""
    tallies = {
        f"uid-{n:036}": Tally(10, 0, [behind(f"pod-{n}-{m}", n, "x" * 1000) for m in range(10)]) for n in range(1000)
    }
    text = report_to_json(Report("r", "one", tallies, {}))
    found = report_from_json(text)
    assert len(text) < 1_000_000
    assert sum(len(each.behind) for each in found.tallies.values()) <= 200
    assert sum(each.total for each in found.tallies.values()) == 10_000
    assert found.tallies[f"uid-{0:036}"].behind


def test_B5_a_namespace_with_very_many_policies_cuts_its_own_share_of_a_report() -> None:
    """B5: a report that the API server refuses would leave every status as it was; all of everybody else's is in it."""
    crowd = {f"{n:08x}-1111-4111-8111-111111111111": "crowd" for n in range(9_000)}
    others = {f"{n:08x}-2222-4222-8222-222222222222": f"team-{n % 50}" for n in range(1_000)}
    namespaces = crowd | others
    usage = {uid: Used(2**40, 2**30, 2**30, 2**30) for uid in namespaces} | {"unused": Used()}
    tallies = {uid: Tally(5_000, 4_999, [behind(f"pod-{uid}", 1, "\x01" * 400)]) for uid in namespaces}
    whole = Report("r", "one", tallies, usage)
    report = shortened(whole, namespaces)
    assert others.keys() <= report.usage.keys()
    assert others.keys() <= report.tallies.keys()
    assert (len(whole.worth_saying), len(report.worth_saying)) == (10_000, MOST_POLICIES)
    assert len(report_to_json(report).encode()) <= 1_000_000
    assert "unused" not in report.usage


def test_sidecars_of_several_replicas_add_up() -> None:
    """Counts are sums; of those behind the ones that are so for longest are kept."""
    reports = [
        Report("a", "a", {"u": Tally(5, 0, [behind(f"a{n}", 2 * n) for n in range(8)])}, {}),
        Report("b", "b", {"u": Tally(6, 2, [behind(f"b{n}", 2 * n + 1) for n in range(8)]), "v": Tally(1, 1)}, {}),
    ]
    found = tallies_of(reports)
    assert (found["u"].total, found["u"].current, found["v"]) == (11, 2, Tally(1, 1))
    assert [each.pod for each in found["u"].behind] == [f"shop/{'ab'[n % 2]}{n // 2}" for n in range(10)]


def test_usage_adds_up() -> None:
    """By policy, each number by itself."""
    assert added([{"u": Used(1, 2, 3, 4)}, {"u": Used(10, 20, 30, 40), "v": Used(calls=5)}, {}]) == {
        "u": Used(11, 22, 33, 44),
        "v": Used(calls=5),
    }
