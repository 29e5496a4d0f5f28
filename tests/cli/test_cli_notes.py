"""`hitl extend` and `hitl escalate` in a home: signed notes that a real control plane heeds."""

import pytest

from cli.homes import AHome, a_spec, expired
from hitl.approvals.requests import NoteType
from hitl.policy.verdicts import EscalationStep, Requirement

ORIGIN = "AgentPolicy/default/support"
LEADS = (Requirement("reviewer", any_of=("support-leads",), origin=ORIGIN),)


def test_a_request_gets_more_time(decided_home: AHome) -> None:
    """Minutes, or a duration: it ends so much later, and the new end is said."""
    decided_home.request("longer-1", a_spec())
    done = decided_home.hitl("extend", "longer-1", "30", "--as", "ana", "--reason", "asking the customer")
    assert (done.code, done.out) == (0, "approvalrequest.hitl.dev/longer-1 extended\n"), done.err
    assert "it now expires in 43m" in done.err
    again = decided_home.hitl("extend", "longer-1", "1h", "--as", "ana")
    assert "it now expires in 103m" in again.err or "it now expires in 1h43m" in again.err
    notes = [(each.reviewer, each.n, each.type, each.minutes) for each in decided_home.now_is("longer-1").status.notes]
    assert notes == [("ana", 1, NoteType.EXTEND, 30), ("ana", 2, NoteType.EXTEND, 60)]


def test_more_people_may_decide_after_an_escalation(decided_home: AHome) -> None:
    """The policy's next step is taken now, and its groups are named."""
    decided_home.request("more-1", a_spec(escalation=(EscalationStep(600, ("managers",), ORIGIN),), requirements=LEADS))
    done = decided_home.hitl("escalate", "more-1", "--as", "ana")
    assert (done.code, done.out) == (0, "approvalrequest.hitl.dev/more-1 escalated\n"), done.err
    assert "people of support-leads, managers may decide it" in done.err
    assert decided_home.hitl("approve", "more-1", "--as", "bo").code in (0, 5)


def test_without_a_control_plane_the_note_is_recorded_and_not_called_heeded(home: AHome) -> None:
    """Exit code 5 and how to start one."""
    home.people(ana=("support-leads",))
    (home.path / "home.json").write_text('{"clusterUID": "home-1"}')
    home.request("longer-1")
    done = home.hitl("extend", "longer-1", "15m")
    assert (done.code, done.out) == (5, "approvalrequest.hitl.dev/longer-1 asked to be extended, not yet heeded\n")
    assert "Next: hitl dev -f DIR" in done.err


@pytest.mark.parametrize("length", ["0m", "soon", "90s", "-5", "1.5h", "9d", "10081"])
def test_a_length_is_minutes_or_a_duration_of_whole_ones(home: AHome, length: str) -> None:
    """Anything else is a mistake on the command line: exit code 2, nothing recorded."""
    home.people(ana=())
    home.request("longer-1")
    assert home.hitl("extend", "longer-1", "--", length).code == 2
    assert home.now_is("longer-1").status.notes == ()


def test_I9_what_has_expired_is_not_extended(home: AHome) -> None:
    """I9: exit code 3, and it is called expired."""
    home.people(ana=())
    home.request("late-1", age=3600, then=expired)
    done = home.hitl("extend", "late-1", "5")
    assert done.code == 3
    assert "error: late-1 expired at " in done.err


def test_who_is_not_in_reviewers_yaml_may_not(home: AHome) -> None:
    """Exit code 4, as for a decision."""
    home.people(ana=())
    home.request("longer-1")
    assert home.hitl("escalate", "longer-1", "--as", "eve").code == 4
