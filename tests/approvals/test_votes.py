"""What a person may add to a request, and the error that says what to do instead."""

import pytest

from approvals.asked import AGENT, a_decision, a_note, a_request, at, noted, voted, written
from hitl.approvals.conditions import CancelReason
from hitl.approvals.requests import Category, DecisionKind, Kind, NoteType, RequestStatus, Verified
from hitl.approvals.settle import cancel, settle
from hitl.approvals.transitions import unverified, with_decision, with_note, with_verified
from hitl.errors import Forbidden, InvalidDecision, NoLongerPending, Refused
from hitl.policy.verdicts import OnTimeout

DENIED = DecisionKind.DENIED


def test_a_decision_is_stamped_by_the_store_not_by_the_reviewer() -> None:
    """The time of a stored decision is `now`, whatever time the reviewer sent."""
    status = with_decision(a_request(), a_decision("ana", time=at(-9999)), at(30))
    assert [(each.reviewer, each.time) for each in status.decisions] == [("ana", at(30))]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"request_uid": "another"}, "made anew since"),
        ({"digest": "77aa01be"}, "answers digest 77aa01be, but"),
        ({"digest": ""}, "answers digest"),
    ],
)
def test_a_decision_echoes_uid_and_digest(changes: dict[str, str], words: str) -> None:
    """A decision that was made for another request or another call is refused, naming what it answers."""
    with pytest.raises(InvalidDecision, match=words):
        with_decision(a_request(), a_decision("ana", **changes), at(30))


def test_a_decision_at_the_deadline_comes_too_late_even_if_nobody_wrote_that() -> None:
    """At the deadline the request is over, also while no sweep has written Expired yet."""
    with_decision(a_request(), a_decision("ana"), at(899.9))
    with pytest.raises(NoLongerPending, match=r"expired at 03:02:10 UTC; nothing ran"):
        with_decision(a_request(), a_decision("ana"), at(900))


def test_a_decision_in_an_extra_round_is_in_time() -> None:
    """With a round left the deadline is not the end."""
    request = a_request(on_timeout=OnTimeout.RETRY)
    assert with_decision(request, a_decision("ana"), at(1200)).decisions
    with pytest.raises(NoLongerPending):
        with_decision(request, a_decision("ana"), at(1800))


def test_an_ended_request_says_how_it_ended() -> None:
    """The error for a late vote carries the outcome's own text."""
    request = written(a_request(), cancel(a_request(), at(5), CancelReason.WITHDRAWN, "withdrawn by its agent"))
    with pytest.raises(NoLongerPending, match="no longer pending: withdrawn by its agent; nothing ran"):
        with_decision(request, a_decision("ana"), at(30))


@pytest.mark.parametrize("decision", [DecisionKind.APPROVED, DENIED])
@pytest.mark.parametrize(
    "name", [AGENT, AGENT.upper(), "system:serviceaccount:kube-system:x", "system:admin", "", "  "]
)
def test_I4_no_agent_and_no_account_of_the_system_decides(name: str, decision: DecisionKind) -> None:
    """I4: the agent, ServiceAccounts and system users can neither approve nor deny nor ask for more time."""
    with pytest.raises(Forbidden):
        with_decision(a_request(), a_decision(name, decision, reason="r"), at(30))
    with pytest.raises(Forbidden):
        with_note(a_request(), a_note(name), at(30))


def test_I4_the_requester_decides_nothing_whatever_his_name_looks_like() -> None:
    """I4: in standalone mode a requester may be named like a person, and is still barred."""
    request = a_request(requester="Robo")
    for decision in (DecisionKind.APPROVED, DENIED):
        with pytest.raises(Forbidden, match="made this call"):
            with_decision(request, a_decision("robo", decision, reason="r"), at(30))


@pytest.mark.parametrize(
    ("verified", "may", "tier", "allowed"),
    [
        (True, True, "confirm", True),
        (True, True, "multi-factor", False),
        (True, False, "confirm", False),
        (False, True, "confirm", False),
        (False, False, "confirm", False),
    ],
)
@pytest.mark.parametrize("name", ["kim@example.com", "KIM@example.com"])
def test_B3_I4_the_user_behind_the_agent_approves_only_where_policy_and_token_say_so(
    verified: bool, may: bool, tier: str, allowed: bool, name: str
) -> None:
    """B3, I4: approving one's own wish needs the policy's word, tier confirm and a token; capitals do not help."""
    request = a_request(
        on_behalf_of="kim@example.com", on_behalf_of_verified=verified, on_behalf_of_may_approve=may, tier=tier
    )
    if allowed:
        assert with_decision(request, a_decision(name), at(30)).decisions
    else:
        with pytest.raises(Forbidden, match="on behalf of kim"):
            with_decision(request, a_decision(name), at(30))


def test_B3_the_user_behind_the_agent_may_always_deny() -> None:
    """B3: a claimed or verified user is kept from approving, never from denying."""
    request = a_request(on_behalf_of="kim", tier="multi-factor")
    assert with_decision(request, a_decision("kim", DENIED, reason="not mine"), at(30)).decisions


def test_D3_an_editor_cannot_approve_his_own_edit() -> None:
    """D3: who changed a call is excluded from approving the request for the changed call, and may still deny it."""
    request = a_request(excluded=("bo",))
    with pytest.raises(Forbidden, match="changed this call"):
        with_decision(request, a_decision("Bo"), at(30))
    assert with_decision(request, a_decision("Bo", DENIED, reason="no"), at(30)).decisions


@pytest.mark.parametrize(
    ("required", "tier", "decision", "needs"),
    [
        ((), "confirm", DENIED, False),
        (("Denied",), "confirm", DENIED, True),
        (("Denied",), "confirm", DecisionKind.APPROVED, False),
        (("Denied", "MultiFactor"), "multi-factor", DecisionKind.APPROVED, True),
        (("Denied", "MultiFactor"), "confirm", DecisionKind.APPROVED, False),
        (("Approved",), "confirm", DecisionKind.APPROVED, True),
    ],
)
def test_a_reason_is_asked_where_the_policy_asks_it(
    required: tuple[str, ...], tier: str, decision: DecisionKind, needs: bool
) -> None:
    """`reasonRequired` names decisions and tiers; spaces are no reason."""
    request = a_request(reason_required=required, tier=tier)
    assert with_decision(request, a_decision("ana", decision, reason="CHG-4411"), at(30)).decisions
    if needs:
        with pytest.raises(InvalidDecision, match="wants a reason"):
            with_decision(request, a_decision("ana", decision, reason="  "), at(30))
    else:
        assert with_decision(request, a_decision("ana", decision), at(30)).decisions


@pytest.mark.parametrize(
    ("kind", "decision", "words"),
    [
        (Kind.TOOL_CALL, a_decision("ana", DENIED, arguments_patch={"amount": 1}), "a denial carries no edit"),
        (Kind.TOOL_CALL, a_decision("ana", arguments_patch={"amount": 15000}), "changes nothing"),
        (Kind.TOOL_CALL, a_decision("ana", category=Category.OTHER), "says why a call was denied"),
        (Kind.TOOL_CALL, a_decision("ana", answer="yes"), "asks no question"),
        (Kind.TOOL_CALL, a_decision("ana", reason="x" * 2001), "at most 2000"),
        (Kind.QUESTION, a_decision("ana"), "is a question; answer it"),
    ],
)
def test_a_decision_that_says_what_cannot_be_said_is_refused(kind: Kind, decision: object, words: str) -> None:
    """Each impossible decision is refused with the words that lead to a possible one."""
    with pytest.raises(InvalidDecision, match=words):
        with_decision(a_request(kind=kind), decision, at(30))  # type: ignore[arg-type]


def test_a_reason_may_have_two_thousand_characters() -> None:
    """The limit is inclusive, for votes and notes."""
    assert with_decision(a_request(), a_decision("ana", reason="x" * 2000), at(30)).decisions
    assert with_note(a_request(), a_note("ana", reason="x" * 2000), at(30)).notes


def test_an_answer_ends_a_question() -> None:
    """On a Question an approval with an answer is taken, and settles it."""
    request = voted(a_request(kind=Kind.QUESTION), "ana", answer=["eur"])
    assert settle(request, at(40)).outcome == "Approved"


def test_the_second_vote_of_a_person_is_refused_and_names_the_first() -> None:
    """One decision for each person: the error says what they said."""
    request = voted(a_request(), "Ana", DENIED, reason="no", verified=False)
    with pytest.raises(Refused, match="Ana has already denied"):
        with_decision(request, a_decision("ana"), at(40))


@pytest.mark.parametrize(
    ("note", "error", "words"),
    [
        (a_note("ana", minutes=0), InvalidDecision, "cannot extend by 0"),
        (a_note("ana", minutes=10081), InvalidDecision, "1 to 10080"),
        (a_note("ana", 1, NoteType.ESCALATE, minutes=5), InvalidDecision, "takes no minutes"),
        (a_note("ana", 1, NoteType.FEEDBACK), InvalidDecision, "says nothing"),
        (a_note("ana", request_uid="other"), InvalidDecision, "made anew"),
        (a_note("ana", reason="x" * 2001), InvalidDecision, "at most 2000"),
        (a_note("ana", 2), Refused, "write it as 1"),
        (a_note("ana", 0), Refused, "write it as 1"),
    ],
)
def test_a_note_that_says_nothing_doable_is_refused(note: object, error: type[Exception], words: str) -> None:
    """Each impossible note is refused with the words that lead to a possible one."""
    with pytest.raises(error, match=words):
        with_note(a_request(), note, at(30))  # type: ignore[arg-type]


def test_more_time_than_seven_days_is_not_to_be_had() -> None:
    """A request that already ends seven days after it was made cannot be extended; the error says so."""
    request = noted(a_request(), a_note("ana", minutes=10080), when=10)
    with pytest.raises(InvalidDecision, match="7 d after it was made"):
        with_note(request, a_note("ana", 2, minutes=1), at(20))


def test_unverified_names_what_the_hub_has_yet_to_judge() -> None:
    """Votes and notes without the hub's word are listed while the request is pending, and nothing after its end."""
    request = voted(a_request(), "ana", verified=False)
    request = noted(request, a_note("ana"), when=40, verified=False)
    request = voted(request, "bo", when=50)
    votes, notes = unverified(request.status)
    assert [each.reviewer for each in votes] == ["ana"]
    assert [(each.reviewer, each.n) for each in notes] == [("ana", 1)]
    ended = written(request, cancel(request, at(60), CancelReason.WITHDRAWN, "gone"))
    assert unverified(ended.status) == ((), ())


def test_with_verified_adds_only_what_there_is_to_judge() -> None:
    """An entry for a vote that is not stored, or was judged before, is dropped; after the end nothing is added."""
    request = voted(a_request(), "ana", refused="bad signature")
    assert with_verified(request, [Verified("ana"), Verified("nobody"), Verified("ana", note=3)]) is request.status
    pending = voted(a_request(), "bo", verified=False)
    ended = written(pending, cancel(pending, at(60), CancelReason.WITHDRAWN, "gone"))
    assert with_verified(ended, [Verified("bo")]) is ended.status


def test_a_request_whose_status_was_never_written_takes_a_vote() -> None:
    """On a cluster a new request has an empty status: nothing depends on the hub's first write."""
    assert with_decision(a_request(RequestStatus()), a_decision("ana"), at(30)).decisions
