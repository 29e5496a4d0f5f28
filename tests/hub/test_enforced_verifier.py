"""What the hub compares again of votes that an API server let in (SECURITY C4, I3, I4, D5)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Kind, Note, NoteType, Proof, RequestStatus
from hitl.kube.shipped import Shipped
from hitl.policy.escaping import plain
from hitl_operator.cluster.enforced import EnforcedVerifier
from hitl_operator.standing import ENFORCEMENT_LOST, Alone, Lost
from stores.asking import a_spec

AT = datetime(2026, 5, 1, 2, 47, tzinfo=UTC)
SHIPPED = Shipped(factors=("mfa", "otp", "hwk"), hardware=("hwk",))


class Gap:
    """The checks do not stand."""

    lost = Lost(ENFORCEMENT_LOST, "not now")

    async def vouch(self, _request: ApprovalRequest) -> Lost | None:
        return self.lost


def a_request(**spec: object) -> ApprovalRequest:
    return ApprovalRequest("shop", "refund-1", "uid-1", "7", AT, a_spec(**{"on_behalf_of": "", **spec}))


def a_vote(request: ApprovalRequest, reviewer: str = "ana@example.com", **changes: object) -> Decision:
    vote = Decision(reviewer, DecisionKind.APPROVED, request.spec.digest, request.uid, time=AT)
    return replace(vote, **changes)


def oidc(*factors: str) -> Proof:
    return Proof("oidc", factors=factors, time=AT)


def an_override(request: ApprovalRequest, **changes: object) -> Decision:
    vote = a_vote(request, decision=DecisionKind.OVERRIDDEN, reason="INC-88", proof=oidc("otp"))
    return replace(vote, **changes)


Wrong = Callable[[ApprovalRequest], Decision]
REFUSED: dict[str, tuple[dict[str, object], Wrong, str]] = {
    "a ServiceAccount": ({}, lambda r: a_vote(r, "system:serviceaccount:shop:bot"), "requester"),
    "a ServiceAccount in wide letters": ({}, lambda r: a_vote(r, "ｓystem:serviceaccount:shop:bot"), "requester"),  # noqa: RUF001
    "nobody": ({}, lambda r: a_vote(r, "  "), "requester"),
    "the requester under another capitalisation": (
        {"requester": "ana@example.com"},
        lambda r: a_vote(r, "ANA@example.com"),
        "requester",
    ),
    "for another request": ({}, lambda r: a_vote(r, request_uid="uid-0"), "other_request"),
    "for another call": ({}, lambda r: a_vote(r, digest="ab" * 32), "other_request"),
    "by who changed the call": ({"excluded": ("Ana@Example.com",)}, a_vote, "barred"),
    "an override without a reason": ({}, lambda r: an_override(r, reason=" "), "override"),
    "an override of another call": ({}, lambda r: an_override(r, arguments_patch={"amount": 1}), "override"),
    "an override of a question": ({"kind": Kind.QUESTION}, an_override, "override"),
    "an override that shows nothing": ({}, lambda r: an_override(r, proof=None), "no_factor"),
    "an override that shows a password": ({}, lambda r: an_override(r, proof=oidc("pwd")), "no_factor"),
    "an override with a home's signature": (
        {},
        lambda r: an_override(r, proof=Proof("ed25519", "c2ln", time=AT)),
        "no_factor",
    ),
    "an override by whom the agent acts for": ({"on_behalf_of": "ANA@example.com"}, an_override, "barred"),
    "an override by who changed the call": ({"excluded": ("ana@example.com",)}, an_override, "barred"),
    "an edit of what was not shown": ({}, lambda r: a_vote(r, arguments_patch={"iban": "DE0"}), "edit"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_I3_I4_a_vote_that_should_not_be_there_does_not_count(case: str) -> None:
    """I3, I4: whatever the API server let in, what can be compared from the entry alone is compared again."""
    spec, wrong, cause = REFUSED[case]
    request = a_request(**spec)
    vote = wrong(request)
    request = replace(request, status=RequestStatus(decisions=(vote,)))
    judged = await EnforcedVerifier(Alone(), SHIPPED).judge_decision(request, vote)
    assert judged is not None
    assert judged.cause == cause
    assert judged.entry.refused


async def test_D4_an_override_counts_with_the_factor_that_it_shows() -> None:
    """D4: the API server has asked for the verb; the word on it names the second factor, which counting asks for."""
    request = a_request(tier="multi-factor")
    judged = await EnforcedVerifier(Alone(), SHIPPED).judge_decision(request, an_override(request))
    assert judged is not None
    assert judged.cause is None
    assert judged.entry.second_factor == "oidc:otp"


@pytest.mark.parametrize(("verified", "tier", "counts"), [(True, "confirm", True), (False, "confirm", False)])
async def test_B3_whom_the_agent_acts_for_approves_only_where_a_token_said_so(
    verified: bool, tier: str, counts: bool
) -> None:
    """B3, I4: a name that is only claimed still bars that person; a proved one may approve where the policy says so."""
    request = replace(
        a_request(),
        spec=a_spec(
            on_behalf_of="ana@example.com", on_behalf_of_verified=verified, on_behalf_of_may_approve=True, tier=tier
        ),
    )
    judged = await EnforcedVerifier(Alone(), SHIPPED).judge_decision(request, a_vote(request))
    assert judged is not None
    assert (judged.cause is None) is counts


async def test_B3_a_claimed_name_never_bars_a_denial() -> None:
    """B3: whom the agent says it acts for may always say no."""
    request = replace(a_request(), spec=a_spec(on_behalf_of="ana@example.com"))
    vote = a_vote(request, decision=DecisionKind.DENIED, reason="not mine")
    judged = await EnforcedVerifier(Alone(), SHIPPED).judge_decision(request, vote)
    assert judged is not None
    assert judged.cause is None


async def test_I5_one_person_under_two_spellings_votes_once() -> None:
    """I5: the first of two votes whose names fold alike stands, the second never counts."""
    request = a_request()
    first, second = a_vote(request), a_vote(request, "ＡNA@example.com", time=AT + timedelta(seconds=1))  # noqa: RUF001
    request = replace(request, status=RequestStatus(decisions=(second, first)))
    verifier = EnforcedVerifier(Alone(), SHIPPED)
    judged = [await verifier.judge_decision(request, vote) for vote in (first, second)]
    assert [each and each.cause for each in judged] == [None, "twice"]


@pytest.mark.parametrize(
    ("proof", "shown", "hardware"),
    [
        (None, "", False),
        (oidc("hwk", "pwd", "mfa"), "oidc:mfa,hwk", True),
        (oidc("otp"), "oidc:otp", False),
        (oidc("pwd"), "", False),
        (Proof("ed25519", "c2ln", time=AT), "", False),
    ],
)
async def test_D5_second_factors_are_those_that_the_installation_names(
    proof: Proof | None, shown: str, hardware: bool
) -> None:
    """D5: of what the login carries only the configured methods are second factors, and only some of them hardware."""
    request = a_request()
    judged = await EnforcedVerifier(Alone(), SHIPPED).judge_decision(request, a_vote(request, proof=proof))
    assert judged is not None
    assert (judged.entry.second_factor, judged.entry.hardware) == (shown, hardware)


async def test_C4_in_a_gap_nothing_is_said_of_a_vote_or_note() -> None:
    """C4: a vote stays uncounted, and is judged again later."""
    request = a_request()
    verifier = EnforcedVerifier(Gap(), SHIPPED)
    assert await verifier.judge_decision(request, a_vote(request)) is None
    assert await verifier.judge_note(request, Note("ana@example.com", 1, request.uid, NoteType.ESCALATE)) is None


async def test_I3_a_note_for_another_request_moves_nothing() -> None:
    """I3: a note that answers another request is refused as a vote would be."""
    request = a_request()
    note = Note("ana@example.com", 1, "uid-0", NoteType.EXTEND, minutes=60)
    judged = await EnforcedVerifier(Alone(), SHIPPED).judge_note(request, note)
    assert judged is not None
    assert judged.cause == "other_request"
    assert judged.entry.note == 1


async def test_I5_one_person_under_two_spellings_leaves_each_note_once() -> None:
    """I5: of two notes of one number whose authors fold alike the first counts, and a later number by itself."""
    first, second, third = (
        Note(name, n, "uid-1", NoteType.EXTEND, minutes=60, time=AT + timedelta(seconds=after))
        for name, n, after in (("ünal@example.com", 1, 0), ("Ünal@example.com", 1, 1), ("Ünal@example.com", 2, 2))
    )
    request = replace(a_request(), status=RequestStatus(notes=(second, first, third)))
    verifier = EnforcedVerifier(Alone(), SHIPPED)
    judged = [await verifier.judge_note(request, note) for note in (first, second, third)]
    assert [each and each.cause for each in judged] == [None, "twice", None]


async def test_I2_what_cannot_be_read_is_refused_in_words() -> None:
    """I2: an entry of which something was not understood never counts, a denial neither, and people read why."""
    request = a_request()
    vote = a_vote(request, decision=DecisionKind.DENIED, unreadable="proof.time: is '+24:00'")
    note = Note("ana@example.com", 1, request.uid, NoteType.ESCALATE, unreadable="mood: is not a known field")
    verifier = EnforcedVerifier(Alone(), SHIPPED)
    for judged in (await verifier.judge_decision(request, vote), await verifier.judge_note(request, note)):
        assert judged is not None
        assert judged.cause == "unreadable"
        assert judged.entry.refused.startswith("what ana@example.com wrote cannot be read: ")


async def test_I13_why_a_vote_does_not_count_can_always_be_stored() -> None:
    """I13: names that a reviewer or an agent chose make the words neither longer nor other than the CRD takes them."""
    patchable = tuple(f"/{'x' * 4000}{n}" for n in range(64))
    request = replace(a_request(), spec=replace(a_request().spec, patchable=patchable))
    judged = await EnforcedVerifier(Alone(), SHIPPED).judge_decision(
        request, a_vote(request, arguments_patch={"\u202e\n": 1})
    )
    assert judged is not None
    assert len(judged.entry.refused) <= 4096
    assert plain(judged.entry.refused)
