"""Durations: one spelling in, kubectl's out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.policy.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("1s", 1), ("15m", 900), ("24h", 86400), ("7d", 604800), ("1h30m", 5400), ("0s", 0)],
)
def test_a_duration_is_digits_and_units(text: str, seconds: float) -> None:
    """Every unit is understood, and they add up."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "15", "m", "-5m", "1.5h", "5 m", "5M", "1w", "\uff115m", "5m\n", "9999999999s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    """No sign, no spaces, no fractions, no bare numbers, no other digits; the message shows the form."""
    with pytest.raises(ValueError, match="15m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"), (0.25, "250ms"), (59, "59s"), (60, "1m"), (90, "90s"), (120, "2m"), (245, "4m5s"), (900, "15m"),
        (3600, "1h"), (5400, "90m"), (7200, "2h"), (8100, "135m"), (11100, "3h5m"), (86400, "24h"), (100000, "27h"),
        (259200, "3d"), (273600, "3d4h"), (864000, "10d"),
    ],
)  # fmt: skip
def test_durations_are_shown_as_kubectl_shows_them(seconds: float, text: str) -> None:
    """Two units at most, the smaller one only while it matters; whole hours stay hours."""
    assert format_duration(seconds) == text


@given(st.integers(1, 59) | st.integers(1, 47).map(lambda hours: hours * 3600))
def test_round_durations_survive_being_shown(seconds: int) -> None:
    """What is shown of seconds under a minute and of whole hours means the same again."""
    assert parse_duration(format_duration(seconds)) == seconds
