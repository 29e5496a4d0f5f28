"""What becomes of PolicyOverrides, as they are written: pure; one that cannot be read stops more, never less (I2)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hitl.kube.policy_conditions import Accepted
from hitl.policy.config import MOST_FREEZES, compile_config, config_document
from hitl.policy.settings import Settings
from hitl_operator.cluster.acceptance import Acceptance
from hitl_operator.cluster.overrides import Judged, Overrides
from hitl_operator.cluster.policy_resources import resource_of
from hitl_operator.freezing import reaching
from hitl_operator.sources import Generation

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
SPEC = {"type": "Freeze", "by": "ana", "reason": "INC-88"}


def judged(spec: Any = None, *, namespace: str = "shop", now: datetime = NOON, **more: Any) -> Judged:
    manifest = {
        "metadata": {
            "name": "inc-88",
            "namespace": namespace,
            "uid": "u-88",
            "generation": 1,
            "resourceVersion": "7",
            "creationTimestamp": "2026-05-01T11:00:00Z",
        },
        "spec": SPEC if spec is None else spec,
        **more,
    }
    (found,) = Overrides("hitl-system").judge([resource_of("PolicyOverride", manifest)], now).values()
    return found


def test_one_of_a_namespace_is_for_it_alone() -> None:
    """Its pods, every call; in the operator's namespace the same object is for every namespace."""
    own, everywhere = judged(), judged(namespace="hitl-system")
    assert own.frozen is not None
    assert everywhere.frozen is not None
    assert (own.frozen.namespace, everywhere.frozen.namespace) == ("shop", "")
    assert own.message == "Refuses every call of every gated pod in namespace shop until it is deleted"
    assert everywhere.message == "Refuses every call of every gated pod in every namespace until it is deleted"


def test_it_is_over_at_its_time_and_not_before() -> None:
    """To the second by the clock that is handed in; until then nothing else ends it."""
    spec = {**SPEC, "until": "2026-05-01T12:00:01Z", "tools": ["pay/*"], "podSelector": {"matchLabels": {"a": "b"}}}
    before, after = judged(spec), judged(spec, now=NOON + timedelta(seconds=1))
    assert before.frozen is not None
    assert before.message == "Refuses pay/* of the pods that it selects in namespace shop until 2026-05-01 12:01 UTC"
    assert (after.frozen, after.reason) == (None, Accepted.VALID)
    assert after.message == "It ended at 2026-05-01 12:01 UTC, and stops nothing any more"


@pytest.mark.parametrize("until", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:00Z"])
def test_I2_the_last_minute_of_all_times_is_as_good_as_any(until: str) -> None:
    """I2: nobody presses a button that ends every replica's decisions."""
    found = judged({**SPEC, "until": until, "tools": ["pay/*"]})
    assert found.reason is Accepted.VALID
    assert found.message == "Refuses pay/* of every gated pod in namespace shop until 9999-12-31 23:59 UTC"
    assert found.frozen is not None
    assert judged({**SPEC, "until": "0001-01-01T00:00:00Z"}).message.startswith("It ended at 0001-01-01 00:00 UTC")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({**SPEC, "type": "Incident"}, "spec.type"),
        ({**SPEC, "tools": ["é"]}, "spec.tools[0]"),
        ({**SPEC, "untl": "2026-01-01T00:00:00Z"}, "spec.untl"),
        ({**SPEC, "until": "soon"}, "spec.until"),
        ({**SPEC, "podSelector": {"matchLabels": {"a b": "c"}}}, "spec.podSelector"),
        ({**SPEC, "podSelector": None}, "spec.podSelector"),
        ({}, "needs type"),
        ("freeze", "must be a mapping"),
        ({**SPEC, "reason": "x" * 300_000}, "spec"),
    ],
)
def test_I2_what_cannot_be_read_stops_everything_of_its_namespace(spec: Any, says: str) -> None:
    """I2: somebody wanted to stop something, and nobody knows how much; a time in it that is over ends nothing."""
    found = judged(spec)
    assert found.reason is Accepted.INVALID
    assert says in found.message
    assert "Until it is deleted every call of every gated pod of namespace shop is refused" in found.message
    assert found.frozen is not None
    assert found.frozen.reaches("shop", ({"app": "any"},))
    assert (found.frozen.freeze.tools, found.frozen.freeze.until) == ((), None)


def test_B5_a_crowd_of_them_stops_everything_and_costs_no_more_than_one() -> None:
    """B5: past the bound they are not read; what stands for all of them is one freeze of the namespace."""
    resources = [
        replace(judged({**SPEC, "tools": ["pay/*"]}).resource, name=f"f{number:04}", uid=f"u-{number}")
        for number in range(MOST_FREEZES + 50)
    ]
    found = Overrides("hitl-system").judge(resources, NOON)
    excessive = [each for each in found.values() if each.reason is Accepted.EXCESSIVE]
    assert len(excessive) == 50
    assert len({id(each.frozen) for each in excessive}) == 1
    frozen = Acceptance(Generation((), Settings()), {}).with_overrides(found).frozen
    assert len(frozen) == MOST_FREEZES + 1
    assert [freeze.tools for freeze in reaching(frozen, "shop", ({},))] == [()]


class _Odd(dict[str, Any]):
    """A spec that we stumble over."""

    def __iter__(self) -> Any:
        raise ZeroDivisionError

    keys = values = items = __iter__


def test_I2_a_defect_of_ours_stops_one_namespace_and_keeps_no_other_from_being_judged() -> None:
    """I2: whatever cannot be told of one is as if it were unreadable."""
    odd = replace(judged().resource, spec=_Odd(SPEC))
    fine = replace(judged({**SPEC, "tools": ["pay/*"]}, namespace="bank").resource, uid="u-2")
    stumbled, read = Overrides("hitl-system").judge([odd, fine], NOON).values()
    if stumbled.resource.namespace == "bank":
        stumbled, read = read, stumbled
    assert (stumbled.reason, read.reason) == (Accepted.INVALID, Accepted.VALID)
    assert "ZeroDivisionError" in stumbled.message
    assert stumbled.frozen is not None
    assert (stumbled.frozen.namespace, stumbled.frozen.freeze.tools) == ("shop", ())


def test_a_key_beside_spec_counts_as_unreadable() -> None:
    """C5: what somebody wrote in the wrong place is not passed over."""
    assert judged(tools=["pay/*"]).reason is Accepted.INVALID


@pytest.mark.parametrize("spec", [SPEC, {**SPEC, "tools": ["é"]}, {**SPEC, "until": "2026-05-01T13:00:00.5+01:30"}])
def test_sidecars_understand_all_of_them(spec: dict[str, Any]) -> None:
    """What the hub puts into a config compiles, also what stands for one that cannot be read."""
    found = judged(spec)
    freezes = [] if found.frozen is None else [found.frozen.freeze]
    document = config_document(
        namespace="shop", namespace_uid="n", settings=Settings(), policies=[], tool_servers=[], freezes=freezes
    )
    assert len(compile_config(document).freezes) == len(freezes)
