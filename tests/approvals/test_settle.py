"""What has become of a request at a given moment, and which write follows: the same answer for hub and sweep."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.asked import DIGEST, a_note, a_request, at, noted, voted, written
from hitl.approvals.conditions import LONGEST_MESSAGE, CancelReason, ExpiryReason, outcome
from hitl.approvals.requests import ApprovalRequest, DecisionKind, Kind, RequestStatus, State
from hitl.approvals.settle import (
    Outcome,
    Release,
    approve_unheld,
    cancel,
    consume,
    expire,
    report,
    settle,
)
from hitl.errors import Forbidden, NoLongerPending, Refused
from hitl.policy.verdicts import EscalationStep, OnTimeout, Requirement

DENIED = DecisionKind.DENIED
EDITED = "77aa01be" * 8
TWO = (Requirement("reviewer", 2),)


def settled(request: ApprovalRequest, seconds: float) -> ApprovalRequest:
    """The request once somebody settled it and wrote that down."""
    found = settle(request, at(seconds))
    return written(request, found.status or request.status)


def test_it_waits_until_enough_people_agree() -> None:
    """Waiting says how far it has come and when to look again; the last vote makes it Ready, and nothing is written."""
    request = a_request(requirements=TWO)
    found = settle(request, at(10))
    assert (found.outcome, found.message, found.look_again) == (Outcome.WAITING, "0 of 2 approvals", at(900))
    request = voted(request, "ana")
    assert settle(request, at(40)).message == "1 of 2 approvals"
    request = voted(request, "bo")
    found = settle(request, at(50))
    assert (found.outcome, found.message) == (Outcome.READY, "approved by ana, bo")
    assert not (found.status or request.status).conditions


def test_I13_the_first_look_writes_the_terms_once() -> None:
    """What is in force is written down once, and a second look has nothing to write."""
    request = settled(a_request(), 1)
    assert request.status.expiration_time == at(900)
    assert settle(request, at(2)).status is None


def test_I9_at_the_deadline_it_is_expired_whatever_votes_exist() -> None:
    """I9: enough approvals, or a denial, that nobody wrote down in time end as expired, and not as a denial."""
    for request in (a_request(), voted(a_request(), "ana"), voted(a_request(), "bo", DENIED, reason="no")):
        assert settle(request, at(899)).outcome is not Outcome.EXPIRED
        found = settle(request, at(900))
        assert (found.outcome, found.reason) == (Outcome.EXPIRED, ExpiryReason.NOT_DECIDED)
        assert found.status is not None
        assert found.status.state is State.EXPIRED
        assert "nobody decided within 15m" in found.message


def test_an_approval_that_was_written_outlives_the_deadline() -> None:
    """Approved stands past the deadline: it ends by the release window alone."""
    request = voted(a_request(), "ana", when=890)
    request = written(request, approve_unheld(request, at(899)))
    assert settle(request, at(950)).outcome is Outcome.APPROVED
    assert settle(request, at(950)).look_again == at(899 + 300)


def test_one_denial_ends_it_even_if_enough_people_approved() -> None:
    """A no is never outvoted by a yes that nobody had acted on."""
    request = voted(voted(a_request(), "ana"), "bo", DENIED, reason="already refunded", when=40)
    found = settle(request, at(50))
    assert (found.outcome, found.message) == (Outcome.DENIED, 'denied by bo: "already refunded"')


def test_denials_to_end_is_counted_in_people() -> None:
    """With two denials to end, one leaves it open and a second ends it; an unverified one does not count."""
    request = voted(a_request(requirements=TWO, denials_to_end=2), "bo", DENIED, when=10)
    request = voted(request, "cy", DENIED, when=20, verified=False)
    assert settle(request, at(30)).outcome is Outcome.WAITING
    request = voted(request, "di", DENIED, when=40)
    assert settle(request, at(50)).message == "denied by bo, di"


def test_a_verified_note_is_no_verified_denial() -> None:
    """The hub's word on somebody's note says nothing about a denial that it has not judged."""
    request = noted(a_request(), a_note("bo"), when=10)
    request = voted(request, "bo", DENIED, when=20, verified=False)
    assert settle(request, at(30)).outcome is Outcome.WAITING


def test_I3_votes_the_hub_did_not_verify_decide_nothing() -> None:
    """I3: neither an unverified approval nor a refused one nor a refused denial moves a request."""
    request = voted(a_request(), "ana", verified=False)
    request = voted(request, "bo", refused="signature does not fit")
    request = voted(request, "cy", DENIED, refused="unknown person")
    assert settle(request, at(60)).outcome is Outcome.WAITING


@pytest.mark.parametrize("on_timeout", [OnTimeout.ESCALATE, OnTimeout.RETRY])
def test_I9_a_request_that_was_granted_more_time_still_ends_as_expired(on_timeout: OnTimeout) -> None:
    """I9: Escalate and Retry grant one more timeout, are written, and end as expired like all others."""
    request = settled(a_request(on_timeout=on_timeout), 1)
    request = settled(request, 900)
    assert (request.status.rounds, request.status.expiration_time) == (1, at(1800))
    assert settle(request, at(1799)).outcome is Outcome.WAITING
    assert settle(request, at(1800)).reason == ExpiryReason.NOT_DECIDED


def test_people_added_by_escalation_can_decide() -> None:
    """After five minutes the on-call may fill the lead's place; before, the same vote does not count."""
    lead = Requirement("lead", any_of=("leads",), origin="p")
    request = a_request(requirements=(lead,), escalation=(EscalationStep(300, ("oncall",), "p"),))
    request = voted(request, "olga", groups=("oncall",))
    assert settle(request, at(299)).outcome is Outcome.WAITING
    assert settle(request, at(299)).look_again == at(300)
    assert settle(request, at(300)).outcome is Outcome.READY


def test_an_extension_is_written_and_waited_for() -> None:
    """A verified note moves expirationTime in the next write."""
    request = settled(noted(a_request(), a_note("ana", minutes=15), when=60), 61)
    assert request.status.expiration_time == at(1800)
    assert settle(request, at(901)).outcome is Outcome.WAITING


def test_reminders_are_counted_from_the_beginning() -> None:
    """Every five minutes one more reminder is due, and the next look is no later than the next of them."""
    request = a_request(remind=300)
    assert [settle(request, at(seconds)).reminders for seconds in (0, 299, 300, 899)] == [0, 0, 1, 2]
    assert settle(request, at(301)).look_again == at(600)
    assert settle(a_request(), at(301)).reminders == 0


@pytest.mark.parametrize("kind", [Kind.QUESTION, Kind.SUGGESTION, Kind.TOOL_CHANGE])
def test_an_answer_is_the_end_and_never_lapses(kind: Kind) -> None:
    """What releases nothing is Approved as soon as people agreed, and no release window ends it."""
    request = voted(a_request(kind=kind), "ana", answer="eur" if kind is Kind.QUESTION else None)
    request = settled(request, 40)
    assert request.status.state is State.APPROVED
    assert settle(request, at(9999)).outcome is Outcome.APPROVED
    assert consume(request, at(50), digest=DIGEST, by="pod/1").release is Release.REFUSED


# --- Release


def test_I6_I7_a_release_writes_approved_and_consumed_at_once() -> None:
    """I6, I7: one status carries both outcomes, the digest that runs, who took it, and when."""
    request = voted(a_request(), "ana")
    given_out = consume(request, at(50), digest=DIGEST, by="pod/1")
    assert given_out.release is Release.RELEASED
    assert given_out.status is not None
    request = written(request, given_out.status)
    status = request.status
    assert [each.type for each in status.conditions] == ["Approved", "Consumed"]
    assert (status.state, status.consumed_digest, status.consumed_by) == (State.CONSUMED, DIGEST, "pod/1")
    assert (status.consumed_time, status.resolved_time) == (at(50), at(50))


def test_I6_a_second_release_is_spent_also_for_the_same_sidecar() -> None:
    """I6: once Consumed is stored nobody gets it again, not even who took it: the answer may have been lost (D2)."""
    request = voted(a_request(), "ana")
    request = written(request, consume(request, at(50), digest=DIGEST, by="pod/1").status)  # type: ignore[arg-type]
    for by in ("pod/1", "pod/2"):
        again = consume(request, at(51), digest=DIGEST, by=by)
        assert (again.release, again.status) == (Release.SPENT, None)


def test_I7_another_digest_than_the_approved_one_is_not_released() -> None:
    """I7: a call that changed between question and release is refused, whatever it says it was before."""
    request = voted(a_request(), "ana")
    for digest, original in ((EDITED, ""), (EDITED, DIGEST), ("", ""), (DIGEST, EDITED)):
        refused = consume(request, at(50), digest=digest, by="pod/1", original_digest=original)
        assert (refused.release, refused.status) == (Release.REFUSED, None)
    assert consume(request, at(50), digest=DIGEST, by="").release is Release.REFUSED


def test_I6_nothing_is_released_that_is_not_ready() -> None:
    """I6: too few votes: NotReady; ended: Ended with the outcome, written if it was not yet."""
    assert consume(a_request(), at(50), digest=DIGEST, by="pod/1").release is Release.NOT_READY
    late = consume(voted(a_request(), "ana"), at(900), digest=DIGEST, by="pod/1")
    assert (late.release, late.settlement.outcome) == (Release.ENDED, Outcome.EXPIRED)
    assert late.status is not None
    assert late.status.state is State.EXPIRED
    denied = settled(voted(a_request(), "bo", DENIED, reason="no"), 40)
    assert consume(denied, at(50), digest=DIGEST, by="pod/1").status is None


def test_D2_an_approval_waits_for_its_call_five_minutes_and_then_lapses() -> None:
    """D2: Approved but unconsumed ends as Expired/ReleaseWindow, counted from the approval."""
    request = voted(a_request(), "ana")
    request = written(request, approve_unheld(request, at(40)))
    assert consume(request, at(339), digest=DIGEST, by="pod/1").release is Release.RELEASED
    late = consume(request, at(340), digest=DIGEST, by="pod/1")
    assert (late.release, late.settlement.reason) == (Release.ENDED, ExpiryReason.RELEASE_WINDOW)
    request = settled(request, 340)
    assert request.status.state is State.EXPIRED
    assert outcome(request.status.conditions, State.APPROVED) is not None
    assert request.status.resolved_time == at(40)


def test_D2_the_release_window_is_a_setting() -> None:
    """D2: with a window of a minute the approval lapses after a minute, for hub and sweep alike."""
    request = voted(a_request(), "ana")
    request = written(request, approve_unheld(request, at(40)))
    assert settle(request, at(100), release_window=60).outcome is Outcome.EXPIRED
    assert expire(request, at(100), release_window=60).state is State.EXPIRED
    assert settle(request, at(99), release_window=60).outcome is Outcome.APPROVED


def test_an_approval_names_who_counted_and_writes_the_terms_it_rests_on() -> None:
    """The outcome's text lists counted approvals alone, and deadline and requirements are written with it."""
    request = voted(a_request(denials_to_end=2, excluded=("eve",)), "ana")
    request = voted(request, "bo", verified=False)
    request = voted(request, "cy", refused="unknown person")
    request = voted(request, "di", DENIED, reason="hm")
    request = written(request, approve_unheld(request, at(40)))
    assert request.status.conditions[-1].message == "approved by ana"
    assert (request.status.expiration_time, len(request.status.requirements)) == (at(900), 1)


def test_approve_unheld_is_for_ready_requests_alone() -> None:
    """The sweep may write Approved where people agreed; not before, and not twice."""
    with pytest.raises(Refused, match="0 of 1 approvals"):
        approve_unheld(a_request(), at(40))
    request = voted(a_request(), "ana")
    request = written(request, approve_unheld(request, at(40)))
    with pytest.raises(NoLongerPending):
        approve_unheld(request, at(41))
    with pytest.raises(NoLongerPending):
        approve_unheld(voted(a_request(), "ana"), at(900))


# --- Edits


def edited(**spec: object) -> ApprovalRequest:
    return voted(a_request(**spec), "ana", arguments_patch={"amount": 12000})


def test_D3_I7_an_edit_releases_the_changed_call_and_no_other() -> None:
    """D3, I7: where one approval suffices the changed call runs; its digest is recorded beside the one asked."""
    request = edited()
    found = settle(request, at(40))
    assert (found.outcome, found.message) == (Outcome.READY, "approved with changes by ana")
    assert found.edit is not None
    assert (found.edit.editor, found.edit.patch) == ("ana", {"amount": 12000})
    given_out = consume(request, at(50), digest=EDITED, by="pod/1", original_digest=DIGEST)
    assert given_out.release is Release.RELEASED
    assert given_out.status is not None
    assert given_out.status.consumed_digest == EDITED
    assert request.spec.digest == DIGEST
    assert "changed by ana, digest 77aa01be" in given_out.status.conditions[-1].message


def test_D3_the_call_as_asked_is_not_released_by_an_approval_of_another() -> None:
    """D3: whoever approved only the changed call did not approve the call as asked."""
    for digest, original in ((DIGEST, ""), (DIGEST, DIGEST), (EDITED, ""), (EDITED, EDITED)):
        refused = consume(edited(), at(50), digest=digest, by="pod/1", original_digest=original)
        assert refused.release is Release.REFUSED, (digest, original)


def test_D3_an_edit_stays_in_force_once_approved_is_written() -> None:
    """D3: a request approved with changes while nobody held it releases the changed call later, and no other."""
    request = written(edited(), approve_unheld(edited(), at(40)))
    assert settle(request, at(50)).edit is not None
    assert consume(request, at(50), digest=DIGEST, by="pod/1").release is Release.REFUSED
    later = consume(request, at(50), digest=EDITED, by="pod/1", original_digest=DIGEST)
    assert later.release is Release.RELEASED


def test_D3_an_edit_of_a_call_that_needs_several_people_makes_way_for_a_new_request() -> None:
    """D3: with two places a changed call ends the request as Superseded; nobody's vote becomes one for other words."""
    request = voted(a_request(requirements=TWO), "bo", when=10)
    request = voted(request, "ana", when=20, arguments_patch={"amount": 12000})
    found = settle(request, at(40))
    assert (found.outcome, found.reason) == (Outcome.CANCELLED, CancelReason.SUPERSEDED)
    assert found.edit is not None
    assert found.edit.editor == "ana"
    ended = settled(request, 40)
    assert settle(ended, at(50)).edit == found.edit


# --- Other ends


@pytest.mark.parametrize("reason", list(CancelReason))
def test_I9_every_cancellation_keeps_its_own_reason(reason: CancelReason) -> None:
    """I9: what ended without an answer of people says why, from Pending and from Approved."""
    waiting = a_request()
    approved = voted(a_request(), "ana")
    approved = written(approved, approve_unheld(approved, at(40)))
    for request in (waiting, approved):
        ended = written(request, cancel(request, at(50), reason, "somebody did"))
        found = settle(ended, at(60))
        assert (found.outcome, found.reason, found.message) == (Outcome.CANCELLED, reason, "somebody did")


def test_I5_what_was_faster_stands() -> None:
    """I5: a cancellation of something that ended, or whose time is up, is refused and says what became of it."""
    for request, seconds in (
        (a_request(), 900),
        (settled(voted(a_request(), "bo", DENIED, reason="no"), 40), 50),
        (voted(a_request(), "bo", DENIED, reason="no"), 50),
    ):
        with pytest.raises(NoLongerPending):
            cancel(request, at(seconds), CancelReason.WITHDRAWN, "too late")


def test_I13_expire_is_for_requests_whose_time_is_up() -> None:
    """I13: the sweep's expire writes Expired at the deadline, refuses before it, and does not touch what ended."""
    with pytest.raises(Refused, match="its time is not up"):
        expire(a_request(), at(899))
    assert expire(a_request(), at(900)).state is State.EXPIRED
    denied = settled(voted(a_request(), "bo", DENIED, reason="no"), 40)
    with pytest.raises(NoLongerPending):
        expire(denied, at(5000))


def test_I9_the_five_ends_have_five_names_and_five_reasons() -> None:
    """I9: denied, expired, lapsed, cancelled and consumed differ in condition, reason and words."""
    approved = voted(a_request(), "ana")
    unheld = written(approved, approve_unheld(approved, at(40)))
    ends = [
        settled(voted(a_request(), "bo", DENIED, reason="no"), 40),
        settled(a_request(), 900),
        settled(unheld, 400),
        written(a_request(), cancel(a_request(), at(5), CancelReason.WITHDRAWN, "withdrawn by its agent")),
        written(approved, consume(approved, at(50), digest=DIGEST, by="pod/1").status),  # type: ignore[arg-type]
    ]
    told = [request.status.conditions[-1] for request in ends]
    assert [each.type for each in told] == ["Denied", "Expired", "Expired", "Cancelled", "Consumed"]
    assert len({each.reason for each in told}) == len(told)
    assert len({each.message for each in told}) == len(told)
    assert not [each.message for each in told[1:] if "denied" in each.message or "refused" in each.message]


def test_a_report_is_taken_once_from_the_sidecar_that_released() -> None:
    """How it ended is the releasing sidecar's to say; saying it again is fine, saying otherwise is refused."""
    request = voted(a_request(), "ana")
    request = written(request, consume(request, at(50), digest=DIGEST, by="pod/1").status)  # type: ignore[arg-type]
    with pytest.raises(Forbidden, match="released to pod/1, not to pod/2"):
        report(request, result="Succeeded", by="pod/2")
    with pytest.raises(Refused, match="write one of Succeeded, Failed, NotStarted"):
        report(request, result="Done", by="pod/1")
    request = written(request, report(request, result="Failed", by="pod/1"))
    assert report(request, result="Failed", by="pod/1") == request.status
    with pytest.raises(Refused, match="the first report stands"):
        report(request, result="Succeeded", by="pod/1")
    with pytest.raises(Refused, match="nothing was released"):
        report(a_request(), result="Succeeded", by="pod/1")


# --- What holds of every settlement

votes_drawn = st.lists(
    st.tuples(
        st.sampled_from(["ana", "bo", "cy", "di"]),
        st.sampled_from(list(DecisionKind)[:2]),
        st.sampled_from([None, {"amount": 1}, {"amount": 2}]),
        st.booleans(),
        st.integers(0, 500),
    ),
    max_size=4,
    unique_by=lambda vote: vote[0],
)


def with_votes(drawn: list[tuple[str, DecisionKind, dict[str, int] | None, bool, int]], places: int) -> ApprovalRequest:
    request = a_request(requirements=(Requirement("reviewer", places),))
    for reviewer, decision, patch, verified, when in drawn:
        edit = patch if decision is DecisionKind.APPROVED else None
        request = voted(request, reviewer, decision, when=when, verified=verified, arguments_patch=edit)
    return request


@given(drawn=votes_drawn, places=st.integers(1, 3), seconds=st.integers(500, 1200))
def test_settling_twice_says_the_same(
    drawn: list[tuple[str, DecisionKind, dict[str, int] | None, bool, int]], places: int, seconds: int
) -> None:
    """Once a settlement is written, settling again at that moment finds the same outcome and nothing to write."""
    request = with_votes(drawn, places)
    first = settle(request, at(seconds))
    request = written(request, first.status or request.status)
    second = settle(request, at(seconds))
    assert (second.outcome, second.reason, second.edit) == (first.outcome, first.reason, first.edit)
    assert second.status is None


@given(drawn=votes_drawn, places=st.integers(1, 3), data=st.data())
def test_the_order_in_which_votes_are_listed_does_not_matter(
    drawn: list[tuple[str, DecisionKind, dict[str, int] | None, bool, int]], places: int, data: st.DataObject
) -> None:
    """A store may list votes in any order: their stored times decide, not their places."""
    request = with_votes(drawn, places)
    shuffled = tuple(data.draw(st.permutations(request.status.decisions)))
    other = replace(request, status=replace(request.status, decisions=shuffled))
    mine, theirs = settle(request, at(600)), settle(other, at(600))
    assert (mine.outcome, mine.message, mine.edit) == (theirs.outcome, theirs.message, theirs.edit)


@given(drawn=votes_drawn, places=st.integers(1, 3), seconds=st.integers(0, 2000))
def test_I6_a_release_needs_enough_people_for_one_and_the_same_call(
    drawn: list[tuple[str, DecisionKind, dict[str, int] | None, bool, int]], places: int, seconds: int
) -> None:
    """I6, D3: released means in time, no denial, and as many plain approvals as places, or one edit for one place."""
    request = with_votes([vote for vote in drawn if vote[4] <= seconds], places)
    for digest, original in ((DIGEST, ""), (EDITED, DIGEST)):
        given_out = consume(request, at(seconds), digest=digest, by="pod/1", original_digest=original)
        if given_out.release is not Release.RELEASED:
            continue
        counted = {entry.reviewer for entry in request.status.verified}
        votes_counted = [each for each in request.status.decisions if each.reviewer in counted]
        assert seconds < 900
        assert all(each.decision is DecisionKind.APPROVED for each in votes_counted)
        plain = [each for each in votes_counted if each.arguments_patch is None]
        if digest == DIGEST:
            assert len(plain) >= places
        else:
            assert places == 1
            assert len(plain) < len(votes_counted)


def test_an_empty_status_settles_like_a_written_one() -> None:
    """On a cluster a new request has no status yet; what it becomes does not depend on that."""
    empty, first = a_request(RequestStatus()), settled(a_request(), 1)
    assert settle(empty, at(900)).message == settle(first, at(900)).message


@pytest.mark.parametrize("text", ["é", "no "])
def test_I13_a_crowd_that_denies_at_length_still_ends_it(text: str) -> None:
    """I13: 32 denials of 2000 characters, under names of 512, make a message that the CRD takes; each is heard of."""
    request = a_request(denials_to_end=32, requirements=(Requirement("all", approvals=10),))
    names = [f"reviewer-{n:02d}@{'x' * 500}" for n in range(32)]
    for name in names:
        request = voted(request, name, DecisionKind.DENIED, reason=text * (2000 // len(text)))
    found = settle(request, at(60))
    assert found.outcome is Outcome.DENIED
    assert len(found.message) < 24_000 < LONGEST_MESSAGE
    assert all(f"{name}: " in found.message for name in names)


def test_I13_no_outcome_has_a_message_that_cannot_be_stored() -> None:
    """I13: whatever an outcome's message is made of, it is cut where the CRD would refuse it."""
    status = cancel(a_request(), at(5), CancelReason.WITHDRAWN, "x" * 50_000)
    assert len(status.conditions[-1].message) == LONGEST_MESSAGE
    assert status.conditions[-1].message.endswith("x…")


def test_D5_an_approved_call_carries_the_edit_that_the_spec_s_people_made() -> None:
    """D5: requirements that were shrunk in the status do not make one person's edit the call that was approved."""
    request = voted(a_request(requirements=(Requirement("two", approvals=2),)), "ana", when=20)
    request = voted(request, "bo", when=30)
    request = written(request, approve_unheld(request, at(40)))
    edited = replace(request.status.decisions[0], arguments_patch={"amount": 1})
    forged = replace(
        request.status, decisions=(edited, *request.status.decisions[1:]), requirements=(Requirement("anyone"),)
    )
    found = settle(replace(request, status=forged), at(50))
    assert (found.outcome, found.edit) == (Outcome.APPROVED, None)
