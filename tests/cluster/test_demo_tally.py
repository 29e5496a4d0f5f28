"""How the demonstration on a cluster counts: by what ran, so that no answer can hide a lost or doubled call."""

import pytest

from control_plane.demo.tally import Tally, Wanted, tally


@pytest.mark.parametrize(
    ("wanted", "ran", "counted"),
    [
        pytest.param({"a": Wanted.RUNS}, ["a"], Tally(1, 1, 0, 0, 0), id="approved and ran once"),
        pytest.param(
            {"a": Wanted.RUNS}, [], Tally(1, 0, 1, 0, 0, {"unanswered": 1}), id="approved and never ran: lost"
        ),
        pytest.param({"a": Wanted.RUNS}, ["a", "a"], Tally(1, 1, 0, 1, 0), id="ran twice"),
        pytest.param(
            {"a": Wanted.EITHER, "b": Wanted.EITHER},
            ["b"],
            Tally(2, 1, 0, 0, 0, {"unanswered": 1}),
            id="either is right",
        ),
        pytest.param({"a": Wanted.NEVER}, [], Tally(1, 0, 0, 0, 0, {"unanswered": 1}), id="refused and did not run"),
        pytest.param({"a": Wanted.NEVER}, ["a"], Tally(1, 1, 0, 0, 1), id="refused and ran"),
        pytest.param({}, ["x"], Tally(0, 1, 0, 0, 1), id="ran although nobody asked"),
    ],
)
def test_I6_calls_are_counted_by_what_ran(wanted: dict[str, Wanted], ran: list[str], counted: Tally) -> None:
    """Lost, doubled and forbidden executions each make the result one that does not hold."""
    assert tally(wanted, ran, {}) == counted
    assert counted.holds is (counted.lost == 0 and counted.twice == 0 and counted.forbidden == 0)


def test_calls_that_did_not_run_are_said_with_what_became_of_them() -> None:
    """Every call that was tried is in the closing line once: released, or how it ended."""
    wanted = {"a": Wanted.RUNS, "b": Wanted.EITHER, "c": Wanted.EITHER, "d": Wanted.NEVER}
    result = tally(wanted, ["a", "c"], {"b": "EXPIRED", "c": "ALLOWED", "d": "DENIED"})
    assert str(result) == (
        "calls tried 4: released 2, expired 1, denied 1\nlost 0, released twice 0, released against the policy 0"
    )
