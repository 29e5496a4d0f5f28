"""Whose votes a sentence about a request names."""

import pytest

from approvals.asked import a_decision, a_request
from hitl.approvals.requests import DecisionKind, RequestStatus, Verified
from hitl_cli.endings import deciders

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
