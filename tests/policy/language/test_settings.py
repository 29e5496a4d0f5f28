"""The operator's settings."""

from typing import Any

import pytest

from hitl.errors import InvalidSettings
from hitl.policy.settings import Settings, parse_settings, settings_document


def test_nothing_said_is_the_defaults() -> None:
    """An absent or empty mapping changes nothing."""
    assert parse_settings({}) == parse_settings(None) == Settings()


def test_what_is_written_is_read_back() -> None:
    """The document form carries every field."""
    settings = Settings(60, 120, 30, 5, 50, 6, 61, 4096, 5)
    assert parse_settings(settings_document(settings)) == settings


def test_each_key_reaches_its_field() -> None:
    """The names of DESIGN 18."""
    settings = parse_settings({"maxStaleness": "1m", "maxPending": {"workload": 10000}, "flood": {"tool": 600}})
    assert (settings.max_staleness, settings.max_pending_per_workload, settings.flood_per_tool) == (60, 10000, 600)
    assert settings.max_pending_per_namespace == Settings().max_pending_per_namespace


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"maxStalenes": "1m"}, "maxStalenes: unknown key; did you mean maxStaleness?"),
        ({"maxPending": {"workloads": 1}}, "maxPending.workloads: unknown key; did you mean workload?"),
        ({"maxPending": 5}, "maxPending: must be a mapping"),
        ({"maxStaleness": 60}, "maxStaleness: wants a duration"),
        ({"previewSize": 17000}, "previewSize: wants a whole number from 256 to 16384"),
        ({"flood": {"pod": 0}}, "flood.pod: wants a whole number from 1"),
        ([], "must be a mapping"),
    ],
)
def test_a_mistake_is_refused_by_name(mapping: Any, said: str) -> None:
    """Unknown keys, other kinds, out of range."""
    with pytest.raises(InvalidSettings) as caught:
        parse_settings(mapping)
    assert said in str(caught.value)


def test_every_mistake_is_named() -> None:
    """Not only the first."""
    with pytest.raises(InvalidSettings) as caught:
        parse_settings({"a": 1, "flood": {"b": 2}})
    assert "a: unknown" in str(caught.value)
    assert "flood.b: unknown" in str(caught.value)
