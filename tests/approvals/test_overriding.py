"""Break-glass: one person's word in the place of all of them, and everything that it does not stand in for (D4)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.asked import AGENT, ASKED, DIGEST, a_decision, a_request, at, voted, written
from hitl.approvals.conditions import OVERRIDDEN, REQUIREMENTS_MET, CancelReason, outcome
from hitl.approvals.messages import AgentOutcome, allowed, answer
from hitl.approvals.overriding import overrides
from hitl.approvals.requests import ApprovalRequest, DecisionKind, Kind, Proof, State, Verified
from hitl.approvals.settle import Outcome, Release, approve_unheld, cancel, consume, settle
from hitl.approvals.transitions import with_decision
from hitl.errors import Forbidden, InvalidDecision, NoLongerPending, Refused
from hitl.policy.verdicts import EscalationStep, Requirement, SecondFactor

KEY = Proof("oidc", factors=("hwk",), time=ASKED)
WORDS = "INC-88: the site is down, nobody else answers"
# As strict as it gets: managers with hardware keys, a lead beside them.
STRICT = (
    Requirement("manager", 2, any_of=("managers",), second_factor=SecondFactor.HARDWARE),
    Requirement("lead", any_of=("leads",)),
)


def strictly(**spec: Any) -> ApprovalRequest:
    return a_request(**{"tier": "multi-factor", "requirements": STRICT, **spec})


def overridden(request: ApprovalRequest, reviewer: str = "ana", **changes: Any) -> ApprovalRequest:
    changes = {"reason": WORDS, "proof": KEY, "factor": "oidc:hwk", **changes}
    return voted(request, reviewer, DecisionKind.OVERRIDDEN, **changes)


def stored(request: ApprovalRequest, word: Verified | None, **changes: Any) -> ApprovalRequest:
    """An override as some writer put it there, past all checks, with a hub's word on it or none."""
    vote = replace(a_decision("ana", DecisionKind.OVERRIDDEN, reason=WORDS, proof=KEY, time=at(30)), **changes)
    words = () if word is None else (word,)
    return replace(request, status=replace(request.status, decisions=(vote,), verified=words))


def test_D4_one_override_releases_what_three_people_should_have_approved_once() -> None:
    """D4, I6: it satisfies all requirements alone, whatever they ask for, and releases the call as an approval does."""
    request = overridden(strictly())
    found = settle(request, at(40))
    assert (found.outcome, found.reason) == (Outcome.READY, OVERRIDDEN)
    assert found.message == f'overridden by ana (break-glass): "{WORDS}"'
    released = consume(request, at(41), digest=DIGEST, by="pod/1")
    assert released.release is Release.RELEASED
    assert released.status is not None
    after = written(request, released.status)
    approved = outcome(after.status.conditions, State.APPROVED)
    assert approved is not None
    assert (approved.reason, approved.message) == (OVERRIDDEN, found.message)
    assert consume(after, at(42), digest=DIGEST, by="pod/1").release is Release.SPENT


def test_D4_where_enough_people_agreed_it_is_no_override() -> None:
    """What decided is what is written: an override that came when everybody had agreed has overridden nobody."""
    request = overridden(voted(a_request(), "bo", when=20), when=30)
    assert settle(request, at(40)).reason == REQUIREMENTS_MET
    assert settle(overridden(a_request(), when=20), at(40)).reason == OVERRIDDEN


def test_I7_an_override_is_for_the_call_that_was_shown() -> None:
    """I7: another digest is not released by it, nor is one that somebody changed."""
    request = overridden(strictly())
    assert consume(request, at(41), digest="77" * 32, by="pod/1").release is Release.REFUSED
    changed = consume(request, at(41), digest="77" * 32, original_digest=DIGEST, by="pod/1")
    assert changed.release is Release.REFUSED


@pytest.mark.parametrize("late", [False, True], ids=["before it", "after it"])
def test_D4_enough_denials_end_it_whatever_was_overridden(late: bool) -> None:
    """D4: an override stands in for approvals, not for a no: that counts before it and until the call has run."""
    request = strictly()
    if late:
        request = voted(overridden(request), "bo", DecisionKind.DENIED, reason="stop", when=35)
    else:
        request = overridden(voted(request, "bo", DecisionKind.DENIED, reason="stop", when=20, verified=True), when=30)
    assert settle(request, at(40)).outcome is Outcome.DENIED


def test_D4_fewer_denials_than_end_it_do_not_keep_it_from_being_overridden() -> None:
    """As with approvals: where the policy wants two people's no, the no of one is heard, and decides nothing alone."""
    request = overridden(voted(strictly(denials_to_end=2), "bo", DecisionKind.DENIED, reason="stop", when=20))
    assert settle(request, at(40)).outcome is Outcome.READY
    again = voted(request, "cy", DecisionKind.DENIED, reason="stop", when=35)
    assert settle(again, at(40)).outcome is Outcome.DENIED


def test_I13_an_override_does_not_stop_the_clock() -> None:
    """At the deadline it is expired, overridden or not, and nobody overrides what has ended."""
    request = overridden(strictly())
    assert settle(request, at(900)).outcome is Outcome.EXPIRED
    with pytest.raises(NoLongerPending, match="expired"):
        overridden(strictly(), when=900)
    gone = written(strictly(), cancel(strictly(), at(5), CancelReason.WITHDRAWN, "withdrawn by its agent"))
    with pytest.raises(NoLongerPending, match="withdrawn"):
        overridden(gone)


def test_D2_an_override_that_nobody_fetches_lapses_like_an_approval() -> None:
    """D2: without a holder Approved is written, with the words of the override, and ends after the release window."""
    request = overridden(strictly())
    approved = written(request, approve_unheld(request, at(40)))
    found = settle(approved, at(41))
    assert (found.outcome, found.reason) == (Outcome.APPROVED, OVERRIDDEN)
    assert settle(approved, at(40 + 300)).outcome is Outcome.EXPIRED


def test_D4_escalation_does_not_matter_to_an_override() -> None:
    """Whoever may be asked by then: the override stands before and after the step."""
    request = strictly(escalation=(EscalationStep(60, ("oncall",), ""),))
    assert settle(overridden(request, when=30), at(40)).outcome is Outcome.READY
    assert settle(overridden(request, when=90), at(100)).outcome is Outcome.READY


def test_I5_one_person_has_one_vote_also_to_override() -> None:
    """I5: neither override after an approval nor approval after an override, nor a second override, in any capitals."""
    twice = [
        (voted(strictly(), "ana", when=20), DecisionKind.OVERRIDDEN),
        (overridden(strictly(), when=20), DecisionKind.APPROVED),
        (overridden(strictly(), when=20), DecisionKind.OVERRIDDEN),
    ]
    for request, kind in twice:
        with pytest.raises(Refused, match="has already"):
            with_decision(request, a_decision("ANA", kind, reason=WORDS, proof=KEY), at(30))


@pytest.mark.parametrize(
    ("spec", "name", "words"),
    [
        ({"requester": "robo"}, "ROBO", "made this call"),
        ({}, AGENT, "is not a person"),
        (
            {"on_behalf_of": "kim", "on_behalf_of_verified": True, "on_behalf_of_may_approve": True},
            "Kim",
            "on behalf of",
        ),
        ({"excluded": ("bo",)}, "Bo", "changed this call"),
    ],
    ids=["the requester", "the agent", "the user behind it", "the editor"],
)
def test_I4_nobody_overrides_in_his_own_matter(spec: dict[str, Any], name: str, words: str) -> None:
    """I4: those who may not approve may not override either, and do not count if they are stored anyhow."""
    request = strictly(**spec)
    with pytest.raises(Forbidden, match=words):
        overridden(request, name)
    forced = stored(request, Verified(name, second_factor="oidc:hwk"), reviewer=name)
    assert settle(forced, at(40)).outcome is Outcome.WAITING


@pytest.mark.parametrize(
    ("spec", "changes", "error", "words"),
    [
        ({}, {"reason": "  "}, InvalidDecision, "wants a reason"),
        ({}, {"arguments_patch": {"amount": 1}}, InvalidDecision, "as it was asked"),
        ({}, {"proof": None}, Forbidden, "needs a second factor"),
        ({}, {"proof": Proof("oidc", time=ASKED)}, Forbidden, "needs a second factor"),
        ({"kind": Kind.QUESTION}, {}, InvalidDecision, "nothing runs on it"),
        ({"kind": Kind.SUGGESTION}, {}, InvalidDecision, "nothing runs on it"),
        ({"reason_required": ()}, {"reason": ""}, InvalidDecision, "wants a reason"),
    ],
)
def test_D4_an_override_says_why_shows_a_factor_and_changes_nothing(
    spec: dict[str, Any], changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    """D4: it takes a reason whatever the policy says of them, a factor, and the call as it is; else it is refused."""
    request = strictly(**spec)
    with pytest.raises(error, match=words):
        overridden(request, **changes)
    forced = stored(request, Verified("ana", second_factor="oidc:hwk"), **changes)
    assert settle(forced, at(40)).outcome is Outcome.WAITING


@given(
    word=st.none()
    | st.builds(
        Verified,
        reviewer=st.sampled_from(["ana", "bo", "ANA"]),
        groups=st.just(("managers", "leads")),
        second_factor=st.sampled_from(["", "oidc:hwk"]),
        hardware=st.booleans(),
        refused=st.sampled_from(["", "may not override"]),
        note=st.sampled_from([0, 1]),
    ),
    requirements=st.sampled_from([STRICT, (Requirement("reviewer"),), ()]),
    tier=st.sampled_from(["confirm", "multi-factor"]),
    seconds=st.floats(31, 899),
)
def test_D4_an_override_without_the_hubs_word_never_counts(
    word: Verified | None, requirements: tuple[Requirement, ...], tier: str, seconds: float
) -> None:
    """D4, I3: exactly a word on this person's vote, unrefused and with its second factor, makes an override count."""
    request = stored(a_request(tier=tier, requirements=requirements), word)
    counts = (
        word is not None and (word.reviewer, word.note, word.refused) == ("ana", 0, "") and word.second_factor != ""
    )
    assert (settle(request, at(seconds)).outcome is Outcome.READY) is counts
    assert bool(overrides(request)) is counts


@given(
    votes=st.lists(
        st.tuples(
            st.sampled_from(["ana", "bo", "cy", "di"]),
            st.sampled_from(list(DecisionKind)),
            st.booleans(),
            st.integers(1, 800),
        ),
        max_size=4,
        unique_by=lambda drawn: drawn[0],
    ),
    denials_to_end=st.integers(1, 2),
)
def test_I6_a_release_rests_on_people_or_on_one_override_and_never_on_a_denied_one(
    votes: list[tuple[str, DecisionKind, bool, int]], denials_to_end: int
) -> None:
    """I6, D4: by whatever votes, what is Ready has either its approvals or a verified override, and too few denials."""
    request = a_request(requirements=(Requirement("reviewer", 2),), denials_to_end=denials_to_end)
    for name, kind, verified, when in sorted(votes, key=lambda drawn: drawn[3]):
        extra = {"proof": KEY, "factor": "oidc:hwk"} if kind is DecisionKind.OVERRIDDEN else {}
        request = voted(request, name, kind, when=when, verified=verified, reason=WORDS, **extra)
    counted = [kind for _, kind, verified, _ in votes if verified]
    denied = counted.count(DecisionKind.DENIED) >= denials_to_end
    enough = counted.count(DecisionKind.APPROVED) >= 2 or DecisionKind.OVERRIDDEN in counted
    wanted = Outcome.DENIED if denied else Outcome.READY if enough else Outcome.WAITING
    assert settle(request, at(850)).outcome is wanted


def test_D3_an_edit_that_came_first_stands() -> None:
    """D3: votes are taken in their order: a change that sufficed is what runs, one that did not ends the request."""
    suffices = overridden(voted(a_request(), "bo", when=20, arguments_patch={"amount": 12000}), when=30)
    found = settle(suffices, at(40))
    assert (found.outcome, found.edit and found.edit.editor) == (Outcome.READY, "bo")
    two = a_request(requirements=(Requirement("reviewer", 2),))
    superseded = overridden(voted(two, "bo", when=20, arguments_patch={"amount": 12000}), when=30)
    assert settle(superseded, at(40)).reason == CancelReason.SUPERSEDED
    first = voted(overridden(two, when=20), "bo", when=30, arguments_patch={"amount": 12000})
    assert settle(first, at(40)).reason == OVERRIDDEN


def test_I9_the_agent_is_told_that_it_was_an_exception() -> None:
    """The agent learns that one person made an exception, so that it does not count on it the next time."""
    request = overridden(strictly())
    assert "Waiting for the release" in answer(request, settle(request, at(40))).message
    approved = written(request, approve_unheld(request, at(40)))
    told = answer(approved, settle(approved, at(41)))
    assert (told.outcome, told.reason_code) == (AgentOutcome.APPROVED, "OVERRIDDEN")
    assert "as an exception" in told.message
    released = allowed("refund-7f3kq", overridden=True)
    assert (released.outcome, released.reason_code) == (AgentOutcome.ALLOWED, "OVERRIDDEN")
    assert "one person overrode" in released.message
