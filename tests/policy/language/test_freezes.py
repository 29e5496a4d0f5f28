"""Freezes in a config document: understood whole or refused, and never less strict than without them (I15)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.errors import InvalidPolicy
from hitl.policy.calls import Agent
from hitl.policy.config import MOST_FREEZES, compile_config, config_document, revision_of
from hitl.policy.envelope import parse_call
from hitl.policy.evaluation import evaluate
from hitl.policy.freezes import Freeze, clock, frozen_advice, frozen_words
from hitl.policy.globs import Glob
from hitl.policy.ledger import Ledger
from hitl.policy.parsing_freezes import parse_freeze
from hitl.policy.settings import Settings
from hitl.policy.spec import PodSelector

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
METADATA = {"name": "inc-88", "namespace": "shop", "uid": "u-1", "generation": 1}
SPEC = {"type": "Freeze", "by": "ana", "reason": "INC-88"}


def a_freeze(*tools: str, until: datetime | None = None, name: str = "inc-88") -> Freeze:
    return Freeze(name, "shop", f"u-{name}", 1, "ana", "INC-88", until, tuple(map(Glob.parse, tools)))


def a_document(*freezes: Freeze, spec: Any = None) -> dict[str, Any]:
    policy = {"kind": "AgentPolicy", "name": "p", "namespace": "shop", "uid": "u-p", "generation": 1, "spec": spec}
    return config_document(
        namespace="shop",
        namespace_uid="ns-1",
        settings=Settings(),
        policies=[] if spec is None else [policy],
        tool_servers=[],
        freezes=freezes,
    )


def test_a_freeze_comes_back_from_the_document_as_it_was() -> None:
    """What the hub puts in is what the sidecar takes out, the one that lasts longest first."""
    short, tools, endless = a_freeze(until=NOON), a_freeze("a/*", "b", until=NOON + timedelta(1)), a_freeze(name="x")
    assert compile_config(a_document(short, endless, tools)).freezes == (endless, tools, short)


def test_a_config_without_freezes_keeps_its_name() -> None:
    """An upgrade strands no sidecar: where nothing is frozen the document is what it was; a freeze gives another."""
    assert "overrides" not in a_document()
    names = {revision_of(a_document(*each)) for each in ((), (a_freeze(),), (a_freeze("a/*"),))}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"type": "Incident"}, "overrides[0].type"),
        ({"scope": "all"}, "overrides[0].scope"),
        ({"tools": []}, "overrides[0].tools"),
        ({"tools": ["**"]}, "overrides[0].tools[0]"),
        ({"until": "tomorrow"}, "overrides[0].until"),
        ({"until": "2026-05-01T12:00:00"}, "overrides[0].until"),
        ({"by": ""}, "overrides[0].by"),
        ({"reason": "a\u202eb"}, "overrides[0].reason"),
        ({"generation": 0}, "overrides[0].generation"),
    ],
)
def test_an_override_that_is_not_understood_whole_is_refused(change: dict[str, Any], path: str) -> None:
    """A sidecar never takes half of one: it refuses the config (NACK), naming what it does not know."""
    document = a_document(a_freeze())
    document["overrides"][0] |= change
    with pytest.raises(InvalidPolicy) as caught:
        compile_config(document)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_more_overrides_than_fit_are_refused() -> None:
    """The hub serves fewer; a document with more is no work of a hub."""
    document = a_document(*(a_freeze("a", name=f"f{number}") for number in range(MOST_FREEZES + 1)))
    with pytest.raises(InvalidPolicy):
        compile_config(document)


def test_what_people_write_is_read_whole() -> None:
    """A PolicyOverride's spec: the pods that it is for beside what sidecars get."""
    spec = {
        **SPEC,
        "tools": ["pay/*"],
        "until": "2026-05-01T14:00:00+02:00",
        "podSelector": {"matchLabels": {"a": "b"}},
    }
    freeze, selector = parse_freeze(METADATA, spec)
    assert (freeze.until, [glob.text for glob in freeze.tools]) == (NOON, ["pay/*"])
    assert selector == PodSelector({"a": "b"})
    assert parse_freeze(METADATA, SPEC)[1] == PodSelector()


@pytest.mark.parametrize("missing", ["type", "by", "reason"])
def test_what_must_stand_there_is_asked_for(missing: str) -> None:
    """Nothing that a freeze needs is guessed."""
    with pytest.raises(InvalidPolicy, match=missing):
        parse_freeze(METADATA, {key: value for key, value in SPEC.items() if key != missing})


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("9999-12-31T23:58:01Z", "9999-12-31 23:59 UTC"),
        ("9999-12-31T23:59:00Z", "9999-12-31 23:59 UTC"),
        ("9999-12-31T23:59:59Z", "9999-12-31 23:59 UTC"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31 23:59 UTC"),
        ("0001-01-01T00:00:00.000001Z", "0001-01-01 00:01 UTC"),
    ],
)
def test_I2_every_time_that_is_read_can_be_told(end: str, told: str) -> None:
    """I2: also in the last minute there is, which cannot be rounded up; sidecars and people get it as it stands."""
    freeze, _ = parse_freeze(METADATA, {**SPEC, "until": end})
    assert freeze.until is not None
    assert clock(freeze.until) == told
    assert told in frozen_words(freeze)
    assert told in frozen_advice(freeze)


def test_I2_the_last_second_there_is_reaches_sidecars() -> None:
    """I2: a config with it compiles to the same freeze; one a second later by another offset is no time."""
    freeze, _ = parse_freeze(METADATA, {**SPEC, "until": "9999-12-31T23:59:59Z"})
    assert compile_config(a_document(freeze, a_freeze(name="endless"))).freezes[-1] == freeze
    with pytest.raises(InvalidPolicy, match="until"):
        parse_freeze(METADATA, {**SPEC, "until": "9999-12-31T23:59:59-00:01"})


def test_nobody_is_sent_back_too_early() -> None:
    """Words round the end up to the next minute."""
    assert clock(NOON + timedelta(seconds=1)) == "2026-05-01 12:01 UTC"
    assert clock(NOON) == "2026-05-01 12:00 UTC"
    assert frozen_words(a_freeze(until=NOON)) == 'frozen by ana until 2026-05-01 12:00 UTC: "INC-88"'


_TOOLS = st.sampled_from(["pay/refund", "pay/*", "*", "crm/get", "refund", "*/get*"])
_RULES = st.lists(
    st.fixed_dictionaries(
        {
            "action": st.sampled_from(["Allow", "Notify", "Confirm", "MultiFactor", "Suggest", "Deny", "Score"]),
            "tools": st.lists(_TOOLS, min_size=1, max_size=2, unique=True),
        }
    ),
    min_size=1,
    max_size=3,
)
_SPECS = st.fixed_dictionaries(
    {"rules": _RULES}, optional={"mode": st.just("Monitor"), "autonomy": st.sampled_from(["AuditOnly", "Calibrated"])}
)
_FREEZES = st.lists(st.lists(_TOOLS, max_size=2, unique=True), max_size=3)


@given(_SPECS, _FREEZES, st.lists(_TOOLS, max_size=2, unique=True), st.sampled_from(["pay/refund", "crm/get", "a/b"]))
def test_I15_adding_a_freeze_never_makes_a_call_less_strict(
    spec: dict[str, Any], frozen: list[list[str]], added: list[str], name: str
) -> None:
    """I15: what ran may stop; nothing that was stopped or held runs; what a freeze covers is refused as frozen."""
    server, _, tool = name.partition("/")
    call = parse_call(server, tool, orjson.dumps({}))
    before = [a_freeze(*tools, name=f"f{number}") for number, tools in enumerate(frozen)]
    new = a_freeze(*added, name="new")
    verdicts = [
        evaluate(compile_config(a_document(*freezes, spec=spec)), call, Ledger(), 0.0, agent=Agent("shop"))
        for freezes in (before, [*before, new])
    ]
    assert verdicts[1].action >= verdicts[0].action
    assert (verdicts[1].reason_code == "FROZEN") == any(each.covers(name) for each in [*before, new])
    if not new.covers(name):
        assert verdicts[1].action is verdicts[0].action
