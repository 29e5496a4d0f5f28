"""I5: which writes the life cycle forbids, whoever asks."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.asked import AGENT, a_decision, a_note, a_request, at, noted, voted, written
from hitl.approvals.conditions import CancelReason, outcome
from hitl.approvals.requests import (
    ApprovalRequest,
    Condition,
    DecisionKind,
    NoteType,
    RequestStatus,
    State,
    Verified,
)
from hitl.approvals.settle import approve_unheld, cancel, consume, expire, report, settle
from hitl.approvals.transitions import guard, guard_opening, state_of, with_decision, with_note, with_verified
from hitl.errors import HitlError, NoLongerPending, Refused
from hitl.policy.verdicts import EscalationStep, OnTimeout, Requirement

ANA_APPROVED = voted(a_request(), "ana")
APPROVED = written(ANA_APPROVED, approve_unheld(ANA_APPROVED, at(40)))
CONSUMED = written(APPROVED, consume(APPROVED, at(50), digest=APPROVED.spec.digest, by="pod/1").status)  # type: ignore[arg-type]
DENIED_VOTES = voted(a_request(), "bo", DecisionKind.DENIED, reason="no")
DENIED = written(DENIED_VOTES, settle(DENIED_VOTES, at(40)).status)  # type: ignore[arg-type]
EXPIRED = written(a_request(), expire(a_request(), at(900)))
CANCELLED = written(a_request(), cancel(a_request(), at(5), CancelReason.WITHDRAWN, "the agent withdrew it"))
EVERY_STATE = {
    State.PENDING: ANA_APPROVED,
    State.APPROVED: APPROVED,
    State.CONSUMED: CONSUMED,
    State.DENIED: DENIED,
    State.EXPIRED: EXPIRED,
    State.CANCELLED: CANCELLED,
}
ENDED = [state for state in State if state.is_terminal]


def a_condition(state: State, **changes: str) -> Condition:
    return replace(Condition(state.value, "True", "Because", "of a test", at(60)), **changes)


def reached(request: ApprovalRequest, *states: State) -> RequestStatus:
    """The status with these outcomes added, consistent in itself."""
    conditions = (*request.status.conditions, *(a_condition(state) for state in states))
    after = state_of(conditions)
    status = replace(request.status, conditions=conditions, state=after)
    if after is not State.PENDING:
        status = replace(status, resolved_time=status.resolved_time or at(60))
    if after is State.CONSUMED:
        status = replace(status, consumed_time=at(60), consumed_digest="d", consumed_by="pod/1")
    return status


def test_I5_each_state_is_reached_by_writes_that_the_guard_allows() -> None:
    """I5: the six states of the life cycle can all be written, in the order that DESIGN 8 names."""
    assert {state: request.status.state for state, request in EVERY_STATE.items()} == {state: state for state in State}


@pytest.mark.parametrize("old", list(State))
@pytest.mark.parametrize("new", [state for state in State if state is not State.PENDING])
def test_I5_only_the_steps_of_the_life_cycle_may_be_written(old: State, new: State) -> None:
    """I5: from Pending anywhere, from Approved to Consumed, Expired or Cancelled, and from an end nowhere."""
    request = EVERY_STATE[old]
    allowed = {
        State.PENDING: {State.APPROVED, State.DENIED, State.EXPIRED, State.CANCELLED},
        State.APPROVED: {State.CONSUMED, State.EXPIRED, State.CANCELLED},
    }.get(old, set())
    if new in allowed:
        guard(request, reached(request, new))
    elif new is not old:
        with pytest.raises(Refused):
            guard(request, reached(request, new))


def test_I5_approved_and_consumed_may_come_in_one_write() -> None:
    """I5: a release writes both outcomes in one compare-and-set; Consumed alone is refused."""
    guard(ANA_APPROVED, reached(ANA_APPROVED, State.APPROVED, State.CONSUMED))
    with pytest.raises(Refused, match="not Approved"):
        guard(ANA_APPROVED, reached(ANA_APPROVED, State.CONSUMED))


@pytest.mark.parametrize("end", [State.EXPIRED, State.CANCELLED])
def test_I5_an_end_and_an_approval_cannot_come_in_one_write(end: State) -> None:
    """I5: what expired or was cancelled while Pending cannot claim in the same write that it had been approved."""
    with pytest.raises(Refused, match="cannot also say"):
        guard(ANA_APPROVED, reached(ANA_APPROVED, State.APPROVED, end))


@pytest.mark.parametrize("pair", list(combinations((State.APPROVED, *ENDED), 2)), ids="+".join)
def test_I5_outcomes_exclude_each_other_also_in_one_write(pair: tuple[State, State]) -> None:
    """I5: of all pairs that one write could set, only Approved with Consumed is allowed."""
    if set(pair) == {State.APPROVED, State.CONSUMED}:
        guard(ANA_APPROVED, reached(ANA_APPROVED, *pair))
        return
    status = replace(reached(ANA_APPROVED, *pair), consumed_time=None, consumed_digest="", consumed_by="")
    with pytest.raises(Refused, match=r"exclude each other|cannot also say|not Approved"):
        guard(ANA_APPROVED, status)


def test_I5_the_time_of_the_outcome_comes_with_it() -> None:
    """I5: resolvedTime is set exactly when a request leaves Pending."""
    with pytest.raises(Refused, match="resolvedTime is set exactly"):
        guard(a_request(), replace(reached(a_request(), State.DENIED), resolved_time=None))
    with pytest.raises(Refused, match="resolvedTime is set exactly"):
        guard(a_request(), replace(RequestStatus(), resolved_time=at(1)))


@pytest.mark.parametrize("state", [state for state in State if state is not State.PENDING])
def test_I5_an_outcome_is_never_taken_back_or_reworded(state: State) -> None:
    """I5: a stored outcome may not vanish, turn False, or get another reason, time or text."""
    request = EVERY_STATE[state]
    stored = outcome(request.status.conditions, state)
    assert stored is not None
    rest = tuple(each for each in request.status.conditions if each is not stored)
    changed = [
        replace(stored, status="False"),
        replace(stored, status="Unknown"),
        replace(stored, reason="Other"),
        replace(stored, message="other words"),
        replace(stored, last_transition_time=at(999)),
    ]
    for conditions in [rest, *((*rest, each) for each in changed)]:
        with pytest.raises(Refused):
            guard(request, replace(request.status, conditions=conditions, state=state_of(conditions)))


def test_I5_an_outcome_is_only_ever_set_to_true() -> None:
    """I5: an outcome with status False is refused even where none stood, so that nothing can wait to be flipped."""
    conditions = (a_condition(State.DENIED, status="False"),)
    with pytest.raises(Refused, match="only ever set to True"):
        guard(a_request(), replace(RequestStatus(), conditions=conditions))


def test_I5_a_condition_stands_there_once() -> None:
    """I5: two entries of one type would let readers disagree about the outcome."""
    twice = (*APPROVED.status.conditions, replace(APPROVED.status.conditions[0], message="again"))
    with pytest.raises(Refused, match="once"):
        guard(APPROVED, replace(APPROVED.status, conditions=twice))


def test_I5_the_state_follows_from_the_conditions() -> None:
    """I5: a state that the conditions do not give is refused, for columns and selectors would lie."""
    with pytest.raises(Refused, match="does not follow"):
        guard(a_request(), replace(RequestStatus(), state=State.APPROVED))


def test_I5_other_conditions_may_come_and_go() -> None:
    """I5 names five outcomes; a condition that only informs may change and vanish."""
    told = written(a_request(), replace(RequestStatus(), conditions=(Condition("Told", "False", "Sent", "", at(1)),)))
    changed = written(told, replace(told.status, conditions=(Condition("Told", "True", "Seen", "", at(2)),)))
    assert written(changed, replace(changed.status, conditions=())).status.conditions == ()


def test_I5_decisions_are_append_only() -> None:
    """I5: a stored decision may not be removed or changed in any field, also not by the operator."""
    decision = ANA_APPROVED.status.decisions[0]
    for decisions in (
        (),
        (replace(decision, decision=DecisionKind.DENIED),),
        (replace(decision, reason="other words"),),
        (replace(decision, time=at(1)),),
    ):
        with pytest.raises(Refused, match="may not be changed or removed"):
            guard(ANA_APPROVED, replace(ANA_APPROVED.status, decisions=decisions))


@pytest.mark.parametrize("second", ["ana", "ANA", "Ana "])
def test_I5_B3_one_decision_for_each_person_under_any_capitals(second: str) -> None:
    """I5, B3: a second decision of one person is refused, also under other capitals."""
    decisions = (*ANA_APPROVED.status.decisions, a_decision(second, time=at(35)))
    with pytest.raises(Refused, match="vote twice"):
        guard(ANA_APPROVED, replace(ANA_APPROVED.status, decisions=decisions))


@pytest.mark.parametrize("state", [State.APPROVED, *ENDED])
def test_I5_any_outcome_ends_voting(state: State) -> None:
    """I5: once one of the five outcomes is True no decision is added and no vote is verified."""
    request = EVERY_STATE[state]
    late = (*request.status.decisions, a_decision("cy", time=at(61)))
    with pytest.raises(Refused, match="voting has ended"):
        guard(request, replace(request.status, decisions=late))
    with pytest.raises(NoLongerPending):
        with_decision(request, a_decision("cy"), at(61))


def test_I5_one_write_cannot_vote_and_decide() -> None:
    """I5: who writes an outcome cannot bring the votes for it along; a vote is stored first and counted after."""
    votes = (a_decision("cy", time=at(31)),)
    with pytest.raises(Refused, match="vote and decide"):
        guard(a_request(), replace(reached(a_request(), State.DENIED), decisions=votes))
    with pytest.raises(Refused, match="stored before"):
        guard(a_request(), replace(RequestStatus(), decisions=votes, verified=(Verified("cy"),)))
    with pytest.raises(Refused, match="stored before"):
        guard(a_request(), replace(RequestStatus(), verified=(Verified("cy"),)))


def test_I5_what_was_verified_stays_so() -> None:
    """I5: the hub's word on a vote is never changed, not from refused to counted and not back."""
    refused = voted(a_request(), "ana", refused="signature does not fit")
    for verified in ((), (Verified("ana"),), (*refused.status.verified, Verified("ana"))):
        with pytest.raises(Refused, match="verified"):
            guard(refused, replace(refused.status, verified=verified))


def test_I5_notes_are_append_only_and_at_most_eight_for_each_person() -> None:
    """I5: a note stays as it is; each person may leave eight, numbered in order."""
    request = a_request()
    for n in range(1, 9):
        request = written(request, with_note(request, a_note("ana", n, NoteType.FEEDBACK, reason="hm"), at(n)))
    with pytest.raises(Refused, match="has left 8 notes"):
        with_note(request, a_note("ANA", 9, NoteType.FEEDBACK, reason="hm"), at(20))
    with pytest.raises(Refused, match="numbered 1 to 8"):
        guard(request, replace(request.status, notes=(*request.status.notes, a_note("ana", 9, time=at(20)))))
    with pytest.raises(Refused, match="may not be changed or removed"):
        guard(request, replace(request.status, notes=request.status.notes[1:]))
    assert len(with_note(request, a_note("bo", 1, NoteType.FEEDBACK, reason="hm"), at(20)).notes) == 9


def test_I13_twins_that_a_store_took_in_do_not_keep_the_hub_from_writing() -> None:
    """I13: an API server folds names more coarsely, so notes of ünal and Ünal may both stand there; what is added is
    judged, not what stands there: the hub writes on, and a third one of that number is refused.
    """
    twins = tuple(a_note(name, at_least, time=at(5)) for name in ("ünal", "Ünal") for at_least in (1, 2))
    request = a_request(replace(RequestStatus(), notes=twins))
    request = written(
        request, with_verified(request, [Verified("ünal", note=1), Verified("Ünal", note=1, refused="x")])
    )
    request = voted(request, "bo", DecisionKind.DENIED, reason="no")
    written(request, settle(request, at(40)).status)  # type: ignore[arg-type]
    for more in ((a_note("ÜNAL", 2, time=at(6)),), (a_note("ÜNAL", 9, time=at(6)),), twins[:1]):
        with pytest.raises(Refused, match="numbered 1 to 8"):
            guard(request, replace(request.status, notes=(*request.status.notes, *more)))


def test_I5_nothing_is_verified_once_an_outcome_is_written() -> None:
    """I5: a vote that nobody had judged when the request ended stays unjudged."""
    request = voted(DENIED_VOTES, "cy", verified=False)
    request = written(request, settle(request, at(40)).status)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="nothing more is counted"):
        guard(request, replace(request.status, verified=(*request.status.verified, Verified("cy"))))


@pytest.mark.parametrize("state", ENDED)
def test_I5_after_the_end_only_feedback_is_added(state: State) -> None:
    """I5: feedback on an ended request is welcome; more time or more people for it are refused."""
    request = EVERY_STATE[state]
    written(request, with_note(request, a_note("cy", 1, NoteType.FEEDBACK, reason="good call"), at(5000)))
    for kind in (NoteType.EXTEND, NoteType.ESCALATE):
        with pytest.raises(NoLongerPending):
            with_note(request, a_note("cy", 1, kind), at(5000))
        with pytest.raises(Refused, match="only Feedback"):
            guard(request, replace(request.status, notes=(a_note("cy", 1, kind, time=at(5000)),)))


def test_I5_the_deadline_moves_forward_only_for_a_counted_reason() -> None:
    """I5: expirationTime is moved by an applied note or a round, never by itself, never back, never past 7 days."""
    request = written(a_request(), replace(RequestStatus(), expiration_time=at(900)))
    for moved in (at(899), at(901), None):
        with pytest.raises(Refused, match="expirationTime"):
            guard(request, replace(request.status, expiration_time=moved))
    request = noted(request, a_note("ana"), when=60)
    guard(request, replace(request.status, expiration_time=at(1800), notes_applied=1))
    with pytest.raises(Refused, match="longer than 7 d"):
        guard(request, replace(request.status, expiration_time=at(7 * 86400 + 1), notes_applied=1))
    with pytest.raises(Refused, match="forward"):
        guard(request, replace(request.status, expiration_time=at(899), notes_applied=1))
    with pytest.raises(Refused, match="than there are"):
        guard(request, replace(request.status, expiration_time=at(1800), notes_applied=2))


def test_I5_rounds_are_granted_only_where_the_policy_grants_them() -> None:
    """I5: no extra timeout under Abort, one under Retry, and counters never run backwards."""
    with pytest.raises(Refused, match="Abort does not grant"):
        guard(a_request(), replace(RequestStatus(), rounds=1))
    again = a_request(on_timeout=OnTimeout.RETRY)
    again = written(again, replace(RequestStatus(), rounds=1, expiration_time=at(1800)))
    with pytest.raises(Refused, match="does not grant 2"):
        guard(again, replace(again.status, rounds=2))
    with pytest.raises(Refused, match="counted up"):
        guard(again, replace(again.status, rounds=0))


LEADS = Requirement("lead", any_of=("leads",), origin="AgentPolicy/shop/support")


@pytest.mark.parametrize(
    "widened",
    [
        (),
        (LEADS, LEADS),
        (replace(LEADS, any_of=()),),
        (replace(LEADS, any_of=("oncall",)),),
        (replace(LEADS, any_of=("leads", "oncall"), approvals=2),),
        (replace(LEADS, any_of=("leads", "oncall"), origin="cluster"),),
        (replace(LEADS, any_of=("leads", "oncall"), or_second_person=True),),
    ],
    ids=["none", "more", "anyone", "others", "count", "origin", "second person"],
)
def test_I5_requirements_are_a_snapshot_that_only_escalation_widens(widened: tuple[Requirement, ...]) -> None:
    """I5: status.requirements may gain groups by a counted step and change in no other way."""
    request = a_request(requirements=(LEADS,), escalation=(EscalationStep(300, ("oncall",), LEADS.origin),))
    request = written(request, replace(RequestStatus(), requirements=(LEADS,)))
    with pytest.raises(Refused, match="requirements"):
        guard(request, replace(request.status, requirements=widened, escalated=1))
    more = (replace(LEADS, any_of=("leads", "oncall")),)
    guard(request, replace(request.status, requirements=more, escalated=1))
    with pytest.raises(Refused, match="only an escalation step"):
        guard(request, replace(request.status, requirements=more))
    with pytest.raises(Refused, match="than there are"):
        guard(request, replace(request.status, requirements=more, escalated=2))


def test_I5_the_terms_of_a_decided_request_do_not_change() -> None:
    """I5: after an outcome neither deadline nor requirements nor counters move."""
    step = EscalationStep(300, ("oncall",), LEADS.origin)
    request = voted(a_request(requirements=(LEADS,), escalation=(step,)), "ana", groups=("leads",))
    request = written(request, approve_unheld(request, at(40)))
    more = (replace(LEADS, any_of=("leads", "oncall")),)
    with pytest.raises(Refused, match="decided request"):
        guard(request, replace(request.status, requirements=more, escalated=1))
    with pytest.raises(Refused, match="does not move"):
        guard(request, replace(request.status, expiration_time=at(1800)))


@pytest.mark.parametrize(
    "change",
    [
        {"consumed_digest": "other"},
        {"consumed_by": "pod/2"},
        {"consumed_time": at(51)},
        {"consumed_time": None, "consumed_digest": "", "consumed_by": ""},
        {"resolved_time": at(51)},
        {"resolved_time": None},
        {"result": "Fine"},
    ],
    ids=",".join,
)
def test_I5_I7_what_was_released_is_written_once(change: dict[str, object]) -> None:
    """I5, I7: digest, holder and time of a release never change, and the result is one of three words."""
    with pytest.raises(Refused):
        guard(CONSUMED, replace(CONSUMED.status, **change))  # type: ignore[arg-type]


def test_I5_the_result_is_written_once_and_only_after_a_release() -> None:
    """I5: a result needs Consumed and is never replaced; an unreleased request carries no trace of a release."""
    told = written(CONSUMED, report(CONSUMED, result="Succeeded", by="pod/1"))
    with pytest.raises(Refused):
        guard(told, replace(told.status, result="Failed"))
    for fields in ({"result": "Succeeded"}, {"consumed_by": "pod/1"}, {"consumed_time": at(50)}):
        with pytest.raises(Refused, match="beside Consumed only"):
            guard(APPROVED, replace(APPROVED.status, **fields))  # type: ignore[arg-type]
    bare = replace(reached(APPROVED, State.CONSUMED), consumed_digest="")
    with pytest.raises(Refused, match="names the time"):
        guard(APPROVED, bare)


@pytest.mark.parametrize("request_", EVERY_STATE.values(), ids=lambda request: request.status.state.value)
def test_writing_the_same_status_again_is_allowed(request_: ApprovalRequest) -> None:
    """A write that changes nothing breaks no rule, so a retried write is never mistaken for an attack."""
    guard(request_, request_.status)


def test_I5_a_request_is_born_pending() -> None:
    """I5: creating a request with votes or an outcome is refused: it would skip every other rule."""
    guard_opening(RequestStatus(expiration_time=at(900)), at(0))
    for status in (APPROVED.status, ANA_APPROVED.status, replace(RequestStatus(), rounds=1)):
        with pytest.raises(Refused, match="new request"):
            guard_opening(status, at(0))
    with pytest.raises(Refused, match="until"):
        guard_opening(RequestStatus(expiration_time=at(0) + timedelta(days=8)), at(0))


STEPS: list[Callable[[ApprovalRequest, float], RequestStatus]] = [
    lambda request, when: with_decision(request, a_decision("ana"), at(when)),
    lambda request, when: with_decision(request, a_decision("bo", DecisionKind.DENIED), at(when)),
    lambda request, when: with_decision(request, a_decision("cy", arguments_patch={"amount": 1}), at(when)),
    lambda request, when: with_decision(request, a_decision(AGENT), at(when)),
    lambda request, when: with_note(request, a_note("ana"), at(when)),
    lambda request, when: with_note(request, a_note("bo", 1, NoteType.ESCALATE), at(when)),
    lambda request, when: with_verified(request, [Verified("ana"), Verified("bo"), Verified("cy", ("leads",))]),
    lambda request, when: with_verified(request, [Verified("ana", note=1), Verified("bo", note=1)]),
    lambda request, when: settle(request, at(when)).status or request.status,
    lambda request, when: approve_unheld(request, at(when)),
    lambda request, when: expire(request, at(when)),
    lambda request, when: cancel(request, at(when), CancelReason.SHUTDOWN, "down"),
    lambda request, when: consume(request, at(when), digest=request.spec.digest, by="pod/1").status or request.status,
    lambda request, when: report(request, result="Failed", by="pod/1"),
]


@given(
    steps=st.lists(st.tuples(st.sampled_from(range(len(STEPS))), st.integers(0, 900)), max_size=12),
    on_timeout=st.sampled_from(list(OnTimeout)),
    places=st.integers(1, 2),
)
def test_I5_whatever_our_own_code_proposes_the_guard_accepts(
    steps: list[tuple[int, int]], on_timeout: OnTimeout, places: int
) -> None:
    """I5: in any order and at any time, every status our functions return may be written, and ends stay ends."""
    request = a_request(
        on_timeout=on_timeout,
        requirements=(replace(LEADS, approvals=places, any_of=()),),
        escalation=(EscalationStep(300, ("oncall",), LEADS.origin),),
    )
    when = 0.0
    for index, later in steps:
        when += later
        try:
            status = STEPS[index](request, when)
        except HitlError:
            continue
        before = request.status.state
        request = written(request, status)
        assert not before.is_terminal or request.status.state is before
