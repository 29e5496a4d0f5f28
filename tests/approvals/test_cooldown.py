"""B4: after a denial the same call is not asked again for a while."""

from dataclasses import replace

import pytest

from approvals.asked import a_request, at, voted, written
from hitl.approvals.conditions import CancelReason
from hitl.approvals.cooldown import refusal
from hitl.approvals.requests import ApprovalRequest, CallShown, DecisionKind
from hitl.approvals.settle import cancel, expire, settle

SAME = "5a" * 32
TOOL = "stripe/create_refund"


def denied(when: float, **spec: object) -> ApprovalRequest:
    request = voted(a_request(**spec), "bo", DecisionKind.DENIED, when=when - 1, reason="already refunded")
    return written(request, settle(request, at(when)).status)  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "refused"), [(100, True), (699, True), (700, False)])
def test_B4_the_same_call_is_refused_for_the_cooldown_after_its_denial(seconds: float, refused: bool) -> None:
    """B4: from the moment of the denial and for ten minutes, whatever session or call_id it comes with."""
    found = refusal([denied(100, session_id="other", key="call-9")], SAME, TOOL, at(seconds), 600)
    assert (found is not None) is refused
    if found is not None:
        assert (found.reason_code, found.until, found.earlier.name) == ("COOLDOWN", at(700), "create-refund-7f3kq00000")


@pytest.mark.parametrize("back", [1, 3600])
def test_B4_a_clock_that_is_set_back_ends_no_cooldown(back: float) -> None:
    """B4: a denial that lies ahead of the clock refuses the call as one just given does."""
    found = refusal([denied(100)], SAME, TOOL, at(100 - back), 600)
    assert found is not None
    assert (found.reason_code, found.until) == ("COOLDOWN", at(700))


def test_B4_only_a_denial_cools_down() -> None:
    """B4: what expired, was withdrawn, or still waits may be asked again at once."""
    earlier = [
        a_request(),
        voted(a_request(), "bo", DecisionKind.DENIED, reason="no"),
        written(a_request(), expire(a_request(), at(900))),
        written(a_request(), cancel(a_request(), at(5), CancelReason.WITHDRAWN, "withdrawn")),
    ]
    assert refusal(earlier, SAME, TOOL, at(901), 600) is None


def test_B4_another_call_is_not_the_same_call() -> None:
    """B4: a denial of one refund does not refuse another one, and an empty sameness equals nothing."""
    assert refusal([denied(100)], "77" * 32, TOOL, at(101), 600) is None
    assert refusal([denied(100, sameness="")], "", TOOL, at(101), 600) is None


def test_B4_three_denials_of_one_tool_refuse_the_tool() -> None:
    """B4: the third denial within the cooldown refuses the tool until the first of the three is ten minutes old."""
    earlier = [denied(when, sameness=str(when)) for when in (100, 250, 400)]
    found = refusal(earlier, "new call", TOOL, at(401), 600)
    assert found is not None
    assert (found.reason_code, found.until) == ("TOOL_COOLDOWN", at(700))
    assert refusal(earlier, "new call", TOOL, at(700), 600) is None
    assert refusal(earlier[:2], "new call", TOOL, at(401), 600) is None


def test_B4_the_tool_is_recognised_under_other_capitals_and_not_confused_with_another() -> None:
    """B4: Stripe/Create_Refund is the same tool; stripe/delete_refund is another one."""
    earlier = [denied(when, sameness=str(when), call=CallShown("Stripe", "Create_Refund", "{}")) for when in (1, 2, 3)]
    assert refusal(earlier, "new call", TOOL, at(10), 600) is not None
    assert refusal(earlier, "new call", "stripe/delete_refund", at(10), 600) is None


def test_B4_the_newest_denial_is_repeated() -> None:
    """B4: with several denials of one call the latest words and the latest end count."""
    earlier = [replace(denied(100), name="a-1"), replace(denied(300), name="a-2"), replace(denied(200), name="a-3")]
    found = refusal(earlier, SAME, TOOL, at(301), 600)
    assert found is not None
    assert (found.earlier.name, found.until) == ("a-2", at(900))


def test_a_cooldown_of_nothing_refuses_nothing() -> None:
    """`denialCooldown: 0s` switches the rule off."""
    assert refusal([denied(100)], SAME, TOOL, at(100), 0) is None
