"""What the status says of terms is for people: what counts follows from spec, time and notes (C4, D5)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.asked import ASKED, DIGEST, a_note, a_request, at, noted, voted, written
from hitl.approvals.messages import answer
from hitl.approvals.requests import ApprovalRequest, NoteType, RequestStatus, State
from hitl.approvals.settle import Outcome, Release, approve_unheld, consume, settle
from hitl.approvals.timeline import APART, LONGEST, deadline_of, in_force, is_overstated
from hitl.errors import HitlError
from hitl.policy.verdicts import EscalationStep, OnTimeout, Requirement

LEAD = Requirement("lead", any_of=("managers",), origin="p")
STEP = EscalationStep(600, ("oncall",), "p")
WIDE = replace(LEAD, any_of=("managers", "oncall"))
FAR = ASKED + timedelta(days=26_000)


def told(request: ApprovalRequest, **terms: Any) -> ApprovalRequest:
    """As somebody wrote it past every check."""
    return replace(request, status=replace(request.status, **terms))


def released(request: ApprovalRequest, seconds: float) -> Release:
    return consume(request, at(seconds), digest=DIGEST, by="pod/epoch").release


def oncall_voted(**spec: Any) -> ApprovalRequest:
    asked = a_request(**{"requirements": (LEAD,), "escalation": (STEP,), **spec})
    return voted(asked, "bo", groups=("oncall",))


FORGED = st.fixed_dictionaries(
    {},
    optional={
        "escalated": st.integers(0, 99),
        "rounds": st.integers(0, 1),
        "notes_applied": st.integers(0, 9),
        "requirements": st.sampled_from([(), (LEAD,), (WIDE,), (Requirement("anyone"),)]),
        "expiration_time": st.sampled_from([at(1), at(599), at(1800), at(LONGEST.total_seconds()), FAR]),
    },
)


@given(terms=FORGED, seconds=st.integers(31, 599), on_timeout=st.sampled_from(list(OnTimeout)))
def test_C4_no_terms_in_the_status_let_anybody_else_in(
    terms: dict[str, Any], seconds: int, on_timeout: OnTimeout
) -> None:
    """C4, D5: before the step is due no counter, requirement or deadline in the status makes on-call's vote count."""
    request = told(oncall_voted(on_timeout=on_timeout), **terms)
    assert released(request, seconds) is not Release.RELEASED
    found = settle(request, at(seconds))
    assert found.outcome in (Outcome.WAITING, Outcome.EXPIRED)
    if found.status is not None:
        written(request, found.status)  # and what it writes then is no write that the life cycle refuses


@given(terms=FORGED, on_timeout=st.sampled_from(list(OnTimeout)))
def test_I13_no_deadline_in_the_status_keeps_a_request_open(terms: dict[str, Any], on_timeout: OnTimeout) -> None:
    """I13: whatever was written, it ends when its timeout, and the round that its policy grants, are over."""
    request = told(a_request(requirements=(LEAD,), escalation=(STEP,), on_timeout=on_timeout), **terms)
    ends = at(900 if on_timeout is OnTimeout.ABORT else 1800)
    assert deadline_of(request) <= ends
    assert settle(request, ends).outcome is Outcome.EXPIRED
    found = settle(request, at(30))
    assert found.outcome is Outcome.EXPIRED or found.look_again is not None
    assert found.look_again is None or at(30) < found.look_again <= ends


@pytest.mark.parametrize("on_timeout", [OnTimeout.RETRY, OnTimeout.ESCALATE])
def test_I13_a_deadline_of_another_clock_ends_a_request_of_a_week(on_timeout: OnTimeout) -> None:
    """I13: written a moment before creation + 7 days it still is the last one, and nobody has to look for ever."""
    asked = a_request(requirements=(LEAD,), timeout=LONGEST // timedelta(seconds=1), on_timeout=on_timeout)
    request = told(asked, expiration_time=ASKED + LONGEST - timedelta(milliseconds=1))
    found = in_force(request, ASKED + LONGEST + timedelta(seconds=1))
    assert found.expired
    assert in_force(request, ASKED).next_change == request.status.expiration_time


def test_a_step_that_is_due_lets_people_in_whatever_was_written() -> None:
    """What is due by time and what a counted note asked for are given, also where forged terms stand beside them."""
    request = oncall_voted()
    assert [released(request, seconds) for seconds in (599, 600)] == [Release.NOT_READY, Release.RELEASED]
    forged = told(request, escalated=1, requirements=(WIDE,), expiration_time=FAR)
    assert [released(forged, seconds) for seconds in (599, 600)] == [Release.NOT_READY, Release.RELEASED]
    asked = noted(request, a_note("ana", 1, NoteType.ESCALATE), when=60)
    assert released(asked, 61) is Release.RELEASED
    longer = noted(a_request(), a_note("ana", 1, minutes=60), when=60)
    assert deadline_of(told(longer, expiration_time=FAR, notes_applied=1)) == at(900 + 3600)
    assert in_force(longer, at(61)).deadline == at(900 + 3600)


def test_D3_an_approval_is_read_as_it_was_given() -> None:
    """D3, D5: a step that comes due after the approval, or counters that somebody raised, choose no other edit."""
    request = a_request(requirements=(LEAD,), escalation=(STEP,))
    request = voted(request, "olga", when=20, groups=("oncall",), arguments_patch={"amount": 1})
    request = voted(request, "mia", when=30, groups=("managers",))
    request = written(request, approve_unheld(request, at(590)))
    assert released(request, 610) is Release.RELEASED
    assert released(told(request, escalated=1, requirements=(WIDE,)), 595) is Release.RELEASED


@pytest.mark.parametrize(
    ("terms", "on_timeout"),
    [
        ({"escalated": 1, "requirements": (WIDE,)}, OnTimeout.ABORT),
        ({"escalated": 99}, OnTimeout.ABORT),
        ({"requirements": (WIDE,)}, OnTimeout.ABORT),
        ({"requirements": (Requirement("anyone"),)}, OnTimeout.ABORT),
        ({"rounds": 1}, OnTimeout.RETRY),
        ({"rounds": 1}, OnTimeout.ABORT),
        ({"notes_applied": 1}, OnTimeout.ABORT),
        ({"expiration_time": FAR}, OnTimeout.RETRY),
        ({"expiration_time": at(1200)}, OnTimeout.ABORT),
    ],
)
def test_C4_terms_that_nobody_gave_are_seen(terms: dict[str, Any], on_timeout: OnTimeout) -> None:
    """C4: each counter, requirement or deadline beyond what spec and time give is named as such."""
    request = a_request(requirements=(LEAD,), escalation=(STEP,), on_timeout=on_timeout)
    request = written(request, settle(request, at(1)).status or request.status)
    assert not is_overstated(request, at(30))
    assert is_overstated(told(request, **terms), at(30))


def test_C4_a_forged_count_is_not_in_the_way() -> None:
    """C4: terms that were counted too high, or shrunk, keep nobody from deciding; requirements are put right."""
    request = told(
        a_request(requirements=(LEAD,)), escalated=7, rounds=1, notes_applied=9, requirements=(Requirement("anyone"),)
    )
    request = written(request, settle(request, at(10)).status or request.status)
    assert request.status.requirements == (LEAD,)
    request = voted(request, "mia", groups=("managers",))
    assert written(request, approve_unheld(request, at(60))).status.state is State.APPROVED


@given(
    events=st.lists(
        st.tuples(
            st.integers(0, 2400), st.sampled_from(["look", "extend", "escalate", "approve"]), st.integers(-29, 29)
        ),
        max_size=8,
    ),
    on_timeout=st.sampled_from(list(OnTimeout)),
    reader=st.integers(-29, 29),
)
def test_C4_clocks_that_differ_by_seconds_make_nothing_doubtful(
    events: list[tuple[int, str, int]], on_timeout: OnTimeout, reader: int
) -> None:
    """C4: hubs half a minute ahead or behind write terms that no other hub takes for forged, whoever left notes."""
    assert timedelta(seconds=58) <= APART
    request = a_request(requirements=(LEAD,), escalation=(STEP,), on_timeout=on_timeout)
    for when, event, ahead in sorted(events):
        try:
            if event in ("extend", "escalate"):
                note = a_note("ana", len(request.status.notes) + 1, NoteType(event.capitalize()))
                request = noted(request, note, when=when)
            elif event == "approve":
                request = voted(request, "mia", when=when, groups=("managers",))
        except HitlError:
            continue
        found = settle(request, at(when + ahead))
        if found.status is not None and not found.status.state.is_terminal:
            request = written(request, found.status)
        assert not is_overstated(request, at(when + reader))


def test_a_status_that_says_nothing_of_terms_is_not_doubted() -> None:
    """What a cluster stores at first, and a request that ends by 7 days, claim nothing."""
    assert not is_overstated(a_request(), at(0))
    long = a_request(RequestStatus(expiration_time=ASKED + LONGEST), timeout=8 * 86_400)
    assert not is_overstated(long, at(0))


@pytest.mark.parametrize("seconds", [30, 900])
def test_I9_agents_are_told_the_end_that_comes(seconds: int) -> None:
    """I9: who waits hears until when, and how long nobody answered, by the end that comes, not by what was written."""
    request = a_request(requirements=(LEAD,))
    forged = told(request, expiration_time=FAR)
    heard = [answer(each, settle(each, at(seconds))) for each in (request, forged)]
    assert heard[0] == heard[1]
