"""The ledger remembers within bounds, and wherever it cannot remember it errs on the strict side."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.policy.ledger import Ledger, Sightings
from hitl.policy.verdicts import Charge

T0 = 1_790_000_000.0
DAY = 86_400.0
HOUR = 3_600.0


def spend(amount: float = 1.0, *, maximum: float = 100.0, per: int = 3600, kind: str = "sum", key: str = "") -> Charge:
    return Charge(
        limit_id="AgentPolicy/shop/support#refunds", key=key, amount=amount, maximum=maximum, per=per, kind=kind
    )


def used(ledger: Ledger, now: float, *, key: str = "", per: int = 3600) -> float:
    return ledger.used("AgentPolicy/shop/support#refunds", key, per, now)


def test_a_call_counts_for_its_tool_and_session_and_for_the_pod() -> None:
    """Two sessions flood apart, the pod counts both, and after a minute and a bucket nothing is left."""
    ledger = Ledger()
    for _ in range(3):
        ledger.record_call("mail/send", "s1", T0)
    ledger.record_call("mail/send", "s2", T0)
    assert ledger.recent_calls("mail/send", "s1", T0 + 30) == (3, 4)
    assert ledger.recent_calls("mail/send", "s2", T0 + 59) == (1, 4)
    assert ledger.recent_calls("mail/send", "s1", T0 + 62) == (0, 0)


def test_looking_from_the_future_forgets_nothing() -> None:
    """A reader with a later `now` changes nothing for the reader who comes after with the present one."""
    ledger = Ledger()
    ledger.record_call("mail/send", "", T0)
    assert ledger.recent_calls("mail/send", "", T0 + DAY) == (0, 0)
    assert ledger.recent_calls("mail/send", "", T0) == (1, 1)


def test_a_token_bucket_refills_evenly() -> None:
    """Ten calls an hour: used up at once, half of it is back after half an hour."""
    ledger = Ledger()
    for _ in range(10):
        ledger.charge([spend(maximum=10, kind="calls")], T0)
    assert used(ledger, T0) == 10
    assert used(ledger, T0 + HOUR / 2) == pytest.approx(5)
    assert used(ledger, T0 + HOUR) == 0


def test_a_sliding_sum_keeps_every_amount_for_its_whole_window() -> None:
    """An amount still counts one second before the window ends and is gone one bucket after it."""
    ledger = Ledger()
    ledger.charge([spend(40)], T0)
    ledger.charge([spend(50)], T0 + 1800)
    assert used(ledger, T0 + HOUR - 1) == 90
    assert used(ledger, T0 + HOUR + 61) == 50


def test_amounts_add_up_exactly() -> None:
    """Ten times ten cents are one euro, not a hair more."""
    ledger = Ledger()
    for _ in range(10):
        ledger.charge([spend(0.1)], T0)
    assert used(ledger, T0) == 1.0


def test_a_policy_that_changes_the_window_forgets_nothing() -> None:
    """A limit whose `per` is edited carries on with what was spent."""
    ledger = Ledger()
    ledger.charge([spend(60, per=3600)], T0)
    ledger.charge([spend(1, per=7200)], T0 + 10)
    assert used(ledger, T0 + 20, per=7200) == 61


def test_limits_count_by_their_key() -> None:
    """What one session used up is not used up for another."""
    ledger = Ledger()
    ledger.charge([spend(100, key="s1")], T0)
    assert (used(ledger, T0, key="s1"), used(ledger, T0, key="s2")) == (100, 0)


def test_I2_a_lost_state_is_exhausted_for_one_window() -> None:
    """I2: a ledger that lost its past calls each limit exhausted for that limit's own window, then starts afresh."""
    ledger = Ledger.lost(T0)
    assert used(ledger, T0 + 59, per=60) == math.inf
    assert used(ledger, T0 + 61, per=60) == 0
    assert used(ledger, T0 + 61, per=3600) == math.inf


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"version":2}', b'{"version":1}', b'{"version":1,"time":"x"}', b"\xff\xfe"],
    ids=["empty", "cut short", "a list", "another version", "fields missing", "a wrong type", "not text"],
)
def test_I2_a_state_that_cannot_be_read_is_lost_not_empty(data: bytes) -> None:
    """I2: a damaged state file makes limits exhausted and says why; it never makes them free."""
    ledger = Ledger.load(data, T0)
    assert used(ledger, T0) == math.inf
    assert "cannot be read" in ledger.lost_because


def test_what_was_dumped_is_what_is_loaded() -> None:
    """Limits, novelty, hosts, rates, clarifications and the lost mark survive a restart."""
    ledger = Ledger.lost(T0)
    ledger.charge([spend(70), spend(1, kind="calls", key="calls", maximum=2)], T0)
    ledger.record_allowed("mail/send", Sightings((("to", "ana"),), ("mail.example",)), T0)
    ledger.record_clarify("same", 60, T0)
    for hour in range(30):
        ledger.record_call("mail/send", "", T0 + hour * HOUR)
    later = T0 + 30 * HOUR
    ledger.charge([spend(30)], later)
    again = Ledger.load(ledger.dump(), later)
    assert again.lost_because == ""
    assert used(again, later) == used(ledger, later) == 30
    assert used(again, later, per=40 * 3600) == math.inf
    assert again.times_seen("mail/send") == 1
    assert again.has_seen_value("mail/send", "to", "ana")
    assert again.has_seen_host("mail.example")
    assert again.rates("mail/send", later)[1] == ledger.rates("mail/send", later)[1] == 1.0
    assert Ledger.load(again.dump(), later).dump() == again.dump()


def test_no_argument_value_is_written_down() -> None:
    """I10: the state file holds hashes of watched values and hosts, never the values."""
    ledger = Ledger()
    ledger.record_allowed("mail/send", Sightings((("to", "ana@example.com"),), ("secret.example",)), T0)
    assert b"ana@" not in ledger.dump()
    assert b"secret.example" not in ledger.dump()


def test_a_clock_that_jumps_back_opens_no_window() -> None:
    """After a jump of a day back, what was used stays used and is given back after the usual time from then."""
    ledger = Ledger()
    ledger.charge([spend(100)], T0)
    ledger.charge([spend(0)], T0 - DAY)
    assert used(ledger, T0 - DAY) == 100
    assert used(ledger, T0 - DAY + HOUR - 1) == 100
    assert used(ledger, T0 - DAY + HOUR + 61) == 0


def test_a_clock_that_jumps_back_blocks_nobody_for_ever() -> None:
    """Flood counters age on after a jump back: a minute later the tool may be called again."""
    ledger = Ledger()
    ledger.record_call("mail/send", "", T0)
    ledger.record_call("mail/send", "", T0 - DAY)
    assert ledger.recent_calls("mail/send", "", T0 - DAY) == (2, 2)
    assert ledger.recent_calls("mail/send", "", T0 - DAY + 62) == (0, 0)


def test_a_raised_confidence_is_remembered_for_ten_minutes() -> None:
    """The same call with more confidence than when it was answered CLARIFY is known for ten minutes."""
    ledger = Ledger()
    ledger.record_clarify("same", 60, T0)
    assert ledger.raised_confidence("same", 61, T0 + 599)
    assert not ledger.raised_confidence("same", 60, T0 + 599)
    assert not ledger.raised_confidence("other", 99, T0)
    assert not ledger.raised_confidence("same", 99, T0 + 601)


def test_clarifying_twice_keeps_the_lower_confidence() -> None:
    """An agent cannot climb in steps: the lowest confidence of the ten minutes is the one compared with."""
    ledger = Ledger()
    ledger.record_clarify("same", 55, T0)
    ledger.record_clarify("same", 65, T0 + 10)
    assert ledger.raised_confidence("same", 56, T0 + 20)


def test_denials_are_counted_for_ten_minutes() -> None:
    """Denied and decided are counted over the last ten minutes."""
    ledger = Ledger()
    ledger.record_decision(T0, denied=True)
    ledger.record_decision(T0, denied=False)
    assert ledger.recent_denials(T0 + 599) == (1, 2)
    assert ledger.recent_denials(T0 + 620) == (0, 0)


def test_a_median_needs_a_day_of_use() -> None:
    """Rates are unknown before 24 hours of use and the median of used hours after."""
    ledger = Ledger()
    for hour in range(24):
        for _ in range(4):
            ledger.record_call("mail/send", "", T0 + hour * HOUR)
    now = T0 + 23.5 * HOUR
    assert ledger.rates("mail/send", now)[1] == 0.0
    assert ledger.rates("mail/send", T0 + 24.1 * HOUR)[1] == 4.0
    assert ledger.rates("never/used", now) == (0.0, 0.0)


def test_limits_are_bounded_and_full_means_exhausted() -> None:
    """With ten thousand keys alive, a key made up by the agent is exhausted, and a known one is not forgotten."""
    ledger = Ledger()
    for number in range(10_000):
        ledger.charge([spend(1, key=str(number))], T0)
    assert used(ledger, T0, key="new") == math.inf
    assert used(ledger, T0, key="0") == 1
    ledger.charge([spend(1, key="new")], T0)
    ledger.record_call("mail/send", "", T0 + 2 * HOUR)
    assert used(ledger, T0 + 2 * HOUR, key="new") == 0


def test_memory_of_tools_and_values_is_bounded() -> None:
    """A flood of made-up names and values pushes the oldest out, which makes them novel again, never seen."""
    ledger = Ledger()
    ledger.record_allowed("first/tool", Sightings((("to", "first"),)), T0)
    for number in range(50_000):
        ledger.record_allowed(f"made/up{number}", Sightings((("to", str(number)),)), T0)
    assert ledger.times_seen("first/tool") == 0
    assert not ledger.has_seen_value("first/tool", "to", "first")
    assert ledger.has_seen_value("made/up49999", "to", "49999")
    assert len(ledger.dump()) < 4_000_000


@given(
    steps=st.lists(
        st.tuples(st.floats(-5_000, 5_000, allow_nan=False), st.floats(0, 50, allow_nan=False)), min_size=1, max_size=30
    )
)
def test_whatever_the_clock_does_a_sum_is_never_forgotten_early(steps: list[tuple[float, float]]) -> None:
    """For any jumps of the clock, what was charged within the last hour of forward time is still counted."""
    ledger = Ledger()
    wall = T0
    forward = 0.0
    spent: list[tuple[float, float]] = []
    for jump, amount in steps:
        wall += jump
        forward += max(0.0, jump)
        ledger.charge([spend(amount)], wall)
        spent.append((forward, amount))
    within = math.fsum(amount for at, amount in spent if forward - at < HOUR)
    assert used(ledger, wall) >= within - 1e-6
