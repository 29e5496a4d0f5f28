"""When a request ended, and whose votes a sentence or a row about it names."""

from dataclasses import replace

import pytest

from approvals.asked import a_decision, a_request, at, voted, written
from hitl.approvals.conditions import CancelReason
from hitl.approvals.requests import ApprovalRequest, DecisionKind, RequestStatus, State, Verified
from hitl.approvals.settle import approve_unheld, cancel, expire, settle
from hitl.policy.verdicts import Requirement
from hitl_cli.endings import deciders, ended_at, ended_by, ending, ending_in_a_row, state_at

READ, TORN = a_decision("bo@example.com"), a_decision("ana@example.com", unreadable="digest is no text")


@pytest.mark.parametrize(
    ("verified", "named"),
    [
        pytest.param((), [READ], id="nobody has looked at it"),
        pytest.param((Verified("bo@example.com"),), [READ], id="the hub has looked at another vote"),
        pytest.param((Verified("ana@example.com", note=1),), [READ], id="the hub has looked at a note of theirs"),
        pytest.param((Verified("ana@example.com", refused="unreadable"),), [READ], id="the hub refused it"),
        pytest.param((Verified("ana@example.com"),), [READ, TORN], id="a hub that could read it counted it"),
    ],
)
def test_a_vote_that_cannot_be_read_is_nobodys_until_it_is_judged(verified: tuple[Verified, ...], named: list) -> None:
    """Who wrote what this release cannot read is not said to have approved, unless the hub says that it counts."""
    request = a_request(RequestStatus(decisions=(READ, TORN), verified=verified))
    assert deciders(request, DecisionKind.APPROVED) == named
    assert deciders(request, DecisionKind.DENIED) == []


def test_a_vote_that_the_hub_refused_later_is_left_out() -> None:
    """Entries are append-only: one refusal is enough, whatever stands before it."""
    verified = (Verified("bo@example.com"), Verified("bo@example.com", refused="the decision policy was missing"))
    assert deciders(a_request(RequestStatus(decisions=(READ,), verified=verified)), DecisionKind.APPROVED) == []


ONE, TWO = (Requirement("reviewer"),), (Requirement("reviewer", approvals=2),)
LESS = {"amount": 12000}


def settled(request: ApprovalRequest, when: float) -> ApprovalRequest:
    """The request after what the hub writes of its own accord."""
    found = settle(request, at(when))
    assert found.status is not None
    return written(request, found.status)


def approved(request: ApprovalRequest, when: float) -> ApprovalRequest:
    """The request that is Ready as one that waits for its call."""
    return written(request, approve_unheld(request, at(when)))


def test_D2_an_approval_that_lapsed_ended_when_it_lapsed_and_by_nobody() -> None:
    """D2, ReleaseWindow: not when it was approved, and no approver's word ended it; the sentence still names them."""
    request = approved(voted(a_request(requirements=ONE), "bo@example.com"), 31)
    lapsed = written(request, expire(request, at(340)))
    assert ended_at(lapsed, at(400)) == at(340)
    assert ended_by(lapsed, at(400)) == []
    assert ending(lapsed, at(400)).startswith("was approved by bo@example.com ")
    assert ending_in_a_row(lapsed, at(400)) == "expired 1m ago"


def test_a_withdrawn_approval_ended_when_it_was_withdrawn() -> None:
    """Cancelled behind Approved: the words and the time are those of the cancellation."""
    request = approved(voted(a_request(requirements=ONE), "bo@example.com"), 31)
    gone = written(request, cancel(request, at(100), CancelReason.WITHDRAWN, "the agent withdrew it"))
    assert ended_at(gone, at(400)) == at(100)
    assert ended_by(gone, at(400)) == []
    assert ending(gone, at(160)) == "was cancelled 1m ago: the agent withdrew it; nothing ran"


def test_I9_a_vote_that_came_late_did_not_end_an_expired_request() -> None:
    """I9: a vote that nobody judged before the deadline is not named, before and after the end is written down."""
    late = voted(a_request(requirements=ONE), "bo@example.com", when=899, verified=False)
    assert (state_at(late, at(2000)), ended_by(late, at(2000))) == (State.EXPIRED, [])
    ended = written(late, expire(late, at(2000)))
    assert ended_by(ended, at(2100)) == []
    assert deciders(ended, DecisionKind.APPROVED) == []
    assert ended_at(late, at(2100)) == ended_at(ended, at(2100)) == at(900), "however late it was written down"


def test_who_decided_is_named_alone() -> None:
    """Of two who said different things those who got their way; of a vote that the hub never judged nobody."""
    request = voted(a_request(requirements=TWO), "ana@example.com", when=20)
    denied = settled(voted(request, "bo@example.com", DecisionKind.DENIED, reason="no"), 40)
    assert ended_by(denied, at(60)) == ["bo@example.com"]
    both = approved(voted(request, "bo@example.com"), 40)
    assert ended_by(both, at(60)) == ["ana@example.com", "bo@example.com"]
    unjudged = (*both.status.decisions, a_decision("cy@example.com"))
    assert ended_by(replace(both, status=replace(both.status, decisions=unjudged)), at(60)) == ended_by(both, at(60))


def test_D3_an_edit_ends_by_its_editors_word() -> None:
    """D3: a changed call that others must see, or that one approval releases, is its editor's word alone."""
    first = voted(a_request(requirements=TWO), "ana@example.com", when=20)
    superseded = settled(voted(first, "bo@example.com", when=30, arguments_patch=LESS), 31)
    assert superseded.status.state is State.CANCELLED
    assert ended_by(superseded, at(60)) == ["bo@example.com"]
    changed = voted(a_request(requirements=ONE), "bo@example.com", when=20, arguments_patch=LESS)
    later = approved(voted(changed, "ana@example.com", when=21), 22)
    assert ended_by(later, at(60)) == ["bo@example.com"]
    assert ending(later, at(60)).startswith("was approved by bo@example.com ")
