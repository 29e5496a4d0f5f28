"""Config that nobody could decide anew is as old as the oldest change it does not know of (I2)."""

import pytest

from hitl_operator.cluster.undecided import Undecided


class Seconds:
    """A clock that stands until it is put forward."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def fails(undecided: Undecided) -> None:
    """One try to decide that ends in a defect."""
    with pytest.raises(ZeroDivisionError), undecided.deciding():
        raise ZeroDivisionError


def test_I2_a_change_ages_until_it_is_decided(seconds: Seconds) -> None:
    """I2: every try that fails leaves it as old as it was; the one that comes through makes it new."""
    undecided = Undecided(seconds)
    assert undecided.age == 0
    undecided.heard()
    for tries in range(1, 4):
        seconds.now += 5
        fails(undecided)
        undecided.heard()
        assert undecided.age == tries * 5
    with undecided.deciding():
        pass
    assert undecided.age == 0


def test_I2_what_is_heard_during_a_decision_waits_for_the_next(seconds: Seconds) -> None:
    """I2: a decision vouches for what was known when it began, and for nothing later."""
    undecided = Undecided(seconds)
    undecided.heard()
    with undecided.deciding():
        seconds.now += 2
        undecided.heard()
        seconds.now += 1
        assert undecided.age == 3
    assert undecided.age == 1


def test_I2_where_time_alone_asks_for_a_decision_it_ages_too(seconds: Seconds) -> None:
    """I2: what becomes strict by the clock, and cannot, makes config old without anybody having written anything."""
    undecided = Undecided(seconds)
    fails(undecided)
    seconds.now += 7
    assert undecided.age == 7
