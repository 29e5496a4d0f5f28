"""Many PolicyOverrides of one namespace, or heavy ones: they cost no more than few, and stop more, never less (B5)."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from hitl.kube.policy_conditions import Accepted
from hitl.policy.config import MOST_FREEZES
from hitl.policy.freezes import Freeze
from hitl.policy.settings import Settings
from hitl_operator.cluster.acceptance import Acceptance
from hitl_operator.cluster.overrides import MOST_WEIGHT, Judged, Overrides
from hitl_operator.cluster.policy_resources import Key, Resource, resource_of
from hitl_operator.freezing import reaching
from hitl_operator.sources import Generation

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
TOOL = {"type": "Freeze", "by": "ana", "reason": "INC-88", "tools": ["pay/*"]}
OVER = {**TOOL, "until": "2026-05-01T11:30:00Z"}
SOON = {**TOOL, "until": "2026-05-01T13:00:00Z"}
LATER = {**TOOL, "until": "2026-05-01T14:00:00Z"}


def written(number: int, spec: Mapping[str, Any], namespace: str = "shop") -> Resource:
    """The lower the number, the older it is."""
    manifest = {
        "metadata": {
            "name": f"f{number:04}",
            "namespace": namespace,
            "uid": f"u-{namespace}-{number}",
            "generation": 1,
            "resourceVersion": "7",
            "creationTimestamp": f"2026-05-01T11:{number // 60:02}:{number % 60:02}Z",
        },
        "spec": spec,
    }
    return resource_of("PolicyOverride", manifest)


def heavy(number: int) -> Resource:
    return written(number, {**TOOL, "tools": [f"{number}/{'x' * 200}{glob:02}*" for glob in range(64)]})


def judged(resources: Iterable[Resource], now: datetime = NOON) -> Mapping[Key, Judged]:
    return Overrides("hitl-system").judge(resources, now)


def acceptance(found: Mapping[Key, Judged]) -> Acceptance:
    return Acceptance(Generation((), Settings()), {}).with_overrides(found)


def reached(found: Mapping[Key, Judged], namespace: str = "shop") -> tuple[Freeze, ...]:
    """What stops a pod of the namespace."""
    return reaching(acceptance(found).frozen, namespace, ({},))


def test_B5_one_is_read_once() -> None:
    """B5: a decision about something else, or a status written to it, costs no reading of it again."""
    overrides, one, other = Overrides("hitl-system"), written(1, TOOL), written(2, TOOL)
    first = overrides.judge([one], NOON)[one.key]
    newer = replace(one, version=8)
    again = overrides.judge([newer, other], NOON)[one.key]
    assert again.frozen is first.frozen
    assert again.resource is newer


def test_B5_what_is_written_otherwise_is_read_again_and_what_is_gone_is_forgotten() -> None:
    """B5, and after a restore of etcd: the same uid and generation may mean something else."""
    overrides, one = Overrides("hitl-system"), written(1, TOOL)
    first = overrides.judge([one], NOON)[one.key]
    for changed in (
        replace(one, spec={**TOOL, "tools": ["crm/*"]}),
        replace(one, foreign=("tools",)),
        replace(one, weight=None),
    ):
        assert overrides.judge([changed], NOON)[one.key].frozen != first.frozen
    before = overrides.judge([one], NOON)[one.key]
    assert overrides.judge([], NOON) == {}
    assert overrides.judge([one], NOON)[one.key].frozen is not before.frozen


def test_one_that_was_read_still_ends_at_its_time_and_counts_again_when_the_clock_is_put_back() -> None:
    """What is kept of a reading holds at every time."""
    overrides, one = Overrides("hitl-system"), written(1, SOON)
    ends = NOON + timedelta(hours=1)
    frozen = [overrides.judge([one], now)[one.key].frozen for now in (NOON, ends, NOON)]
    assert [each is not None for each in frozen] == [True, False, True]


def test_B5_those_that_ended_take_no_place() -> None:
    """B5: a watchdog that freezes for a while, again and again, does not end with everything stopped."""
    ended = [written(number, OVER) for number in range(2 * MOST_FREEZES)]
    found = judged([*ended, written(1000, TOOL)])
    assert {each.reason for each in found.values()} == {Accepted.VALID}
    assert [[glob.text for glob in freeze.tools] for freeze in reached(found)] == [["pay/*"]]


def test_I2_a_time_that_is_over_ends_nothing_that_cannot_be_read() -> None:
    """I2: among many that ended, too; and one whose end nobody can read takes a place."""
    ended = [written(number, OVER) for number in range(MOST_FREEZES + 5)]
    unreadable = written(1000, {**OVER, "tols": ["crm/*"]})
    assert judged([*ended, unreadable])[unreadable.key].reason is Accepted.INVALID
    endless = [written(number, {**OVER, "until": "yesterday"}) for number in range(MOST_FREEZES + 5)]
    reasons = [each.reason for each in judged(endless).values()]
    assert reasons.count(Accepted.EXCESSIVE) == 5


def test_B5_heavy_ones_stop_everything_of_their_namespace_alone() -> None:
    """B5: past the bound they are not read; what sidecars are sent is small, and other namespaces go on."""
    resources = [heavy(number) for number in range(MOST_FREEZES)]
    assert sum(each.weight or 0 for each in resources) > 20 * MOST_WEIGHT
    found = judged([*resources, written(5, TOOL, "bank")])
    read = [each for each in found.values() if each.reason is Accepted.VALID and each.resource.namespace == "shop"]
    assert 0 < sum(each.resource.weight or 0 for each in read) <= MOST_WEIGHT
    assert f"more than {MOST_WEIGHT >> 10} KiB" in found[resources[-1].key].message
    (whole,) = reached(found)
    assert (whole.tools, whole.until) == ((), None)
    assert len(orjson.dumps(whole.to_json())) < 1000
    assert [[glob.text for glob in freeze.tools] for freeze in reached(found, "bank")] == [["pay/*"]]


def test_B5_heavy_ones_that_ended_weigh_nothing() -> None:
    """B5: as with their number."""
    ended = [written(number, {**heavy(number).spec, "until": OVER["until"]}) for number in range(20)]
    assert sum(each.weight or 0 for each in ended) > 2 * MOST_WEIGHT
    assert reached(judged([*ended, written(1000, TOOL)]))[0].tools


def test_what_is_too_many_ends_with_the_last_of_them() -> None:
    """Nobody needs to write anything for it: the end is a time at which it is decided again."""
    endless = [written(number, TOOL) for number in range(MOST_FREEZES)]
    crowd = [written(1000, SOON), written(1001, LATER)]
    found = acceptance(judged([*endless, *crowd]))
    end = NOON + timedelta(hours=2)
    assert found.next_change == end
    assert reached(judged([*endless, *crowd], end - timedelta(seconds=1)))[0].tools == ()
    assert all(freeze.tools for freeze in reached(judged([*endless, *crowd], end)))
    assert acceptance(judged([*endless, *crowd, written(1002, TOOL)])).next_change is None
