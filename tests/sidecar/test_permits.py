"""Permits: each is spent once, and one of another process is told from nonsense."""

import pytest

from hitl_sidecar.permits import Closing, Permits


def test_a_permit_is_spent_once() -> None:
    """The first close finds it open, every later one finds it closed."""
    permits = Permits("e1")
    permit = permits.give("shop/refund", "shop/refund-1")
    assert [permits.close(permit)[0] for _ in range(3)] == [Closing.CLOSED, Closing.REPEATED, Closing.REPEATED]
    assert permits.close(permit)[1].handle == "shop/refund-1"


def test_no_two_permits_are_equal() -> None:
    """Also across processes, which differ in their epoch."""
    one, other = Permits("e1"), Permits("e2")
    given = [permits.give("t") for permits in (one, other) for _ in range(50)]
    assert len(set(given)) == 100


def test_a_permit_of_another_process_is_unknown() -> None:
    """It looks like one, but there is nothing to close."""
    assert Permits("e1").close(Permits("e2").give("t"))[0] is Closing.UNKNOWN


def test_the_oldest_permits_are_forgotten() -> None:
    """An agent that never reports does not fill the memory."""
    permits = Permits("e1")
    first = permits.give("t")
    last = [permits.give("t") for _ in range(10_000)][-1]
    assert permits.close(first)[0] is Closing.UNKNOWN
    assert permits.close(last)[0] is Closing.CLOSED


@pytest.mark.parametrize("text", ["", ".", "e1", "e1.x", "e1.1.1", "é.1", "x" * 70 + ".1"])
def test_what_is_no_permit_is_refused(text: str) -> None:
    """Anything Check never gave is a ValueError that says what to send."""
    with pytest.raises(ValueError, match="the one that Check gave"):
        Permits("e1").close(text)
