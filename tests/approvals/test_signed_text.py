"""D5: what a reviewer signs is exactly what is counted."""

import json
from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.asked import a_decision, a_note, a_request, at
from hitl.approvals.requests import Category, Decision, DecisionKind, Note, NoteType, Proof
from hitl.approvals.signing import fresh, signed_note, signed_text
from hitl.errors import InvalidDecision

CLUSTER = "cluster-uid"
PROOF = Proof("ed25519", time=at(30))


def a_signed(**changes: object) -> Decision:
    return replace(replace(a_decision("ana"), proof=PROOF), **changes)  # type: ignore[arg-type]


def test_D5_the_signed_text_names_everything_that_makes_the_decision() -> None:
    """D5: version, cluster, request, digest, who, what, why, which change, when; in canonical JSON."""
    text = signed_text(CLUSTER, a_request(), a_signed(reason="ok", groups=("b", "a"), arguments_patch={"amount": 1}))
    assert json.loads(text) == {
        "version": "hitl.dev/decision/v1",
        "clusterUID": CLUSTER,
        "namespace": "shop",
        "name": "create-refund-7f3kq00000",
        "requestUID": "0b9c-uid",
        "digest": "19c4d2f8" * 8,
        "reviewer": "ana",
        "decision": "Approved",
        "reason": "ok",
        "category": None,
        "groups": ["a", "b"],
        "argumentsPatch": {"amount": 1},
        "answer": None,
        "proof": "ed25519",
        "time": "2026-05-01T02:47:40Z",
    }
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"reviewer": "bo"},
        {"decision": DecisionKind.DENIED},
        {"digest": "other"},
        {"request_uid": "other"},
        {"reason": "other"},
        {"category": Category.OTHER},
        {"groups": ("leads",)},
        {"arguments_patch": {}},
        {"answer": False},
        {"proof": replace(PROOF, type="other")},
        {"proof": replace(PROOF, time=at(31))},
        {"proof": replace(PROOF, factors=("hwk",))},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_D5_changing_any_part_changes_the_text(changes: dict[str, object]) -> None:
    """D5: a signature over one decision fits no other decision."""
    assert signed_text(CLUSTER, a_request(), a_signed(**changes)) != signed_text(CLUSTER, a_request(), a_signed())


@pytest.mark.parametrize("changes", [{"namespace": "x"}, {"name": "x"}])
def test_D5_a_signature_cannot_be_replayed_on_another_request_or_cluster(changes: dict[str, str]) -> None:
    """D5: name, namespace and cluster are part of the text."""
    signed = signed_text(CLUSTER, a_request(), a_signed())
    assert signed_text(CLUSTER, replace(a_request(), **changes), a_signed()) != signed
    assert signed_text("another", a_request(), a_signed()) != signed


def test_D5_signature_and_stamp_are_no_part_of_the_text() -> None:
    """D5: the text is the same before signing and after storing: signature and stamp are not in it."""
    stored = a_signed(time=at(35), proof=replace(PROOF, signature="c2ln", time=at(30.25)))
    elsewhere = replace(PROOF, time=at(30).astimezone(timezone(timedelta(hours=2))))
    text = signed_text(CLUSTER, a_request(), a_signed())
    assert signed_text(CLUSTER, a_request(), stored) == text
    assert signed_text(CLUSTER, a_request(), a_signed(proof=elsewhere)) == text


def test_D5_notes_are_signed_too_and_never_read_as_decisions() -> None:
    """D5: every field of a note is in its text, under a version of its own."""
    note = replace(a_note("ana", reason="meeting"), proof=PROOF)
    text = signed_note(CLUSTER, a_request(), note)
    others: list[Note] = [
        replace(note, n=2),
        replace(note, minutes=16),
        replace(note, type=NoteType.ESCALATE),
        replace(note, reason=""),
        replace(note, category=Category.OTHER),
        replace(note, reviewer="bo"),
        replace(note, request_uid="x"),
    ]
    assert len({text, *(signed_note(CLUSTER, a_request(), other) for other in others)}) == 8
    assert json.loads(text)["version"] == "hitl.dev/note/v1"


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (a_decision("ana"), "carries no proof"),
        (a_signed(answer=float("nan")), "no exact JSON form"),
        (a_signed(arguments_patch={"amount": 2**60}), "no exact JSON form"),
        (a_signed(reason="\ud800"), "no exact JSON form"),
    ],
    ids=["no proof", "NaN", "a long integer", "half a character"],
)
def test_D5_what_cannot_be_written_exactly_cannot_be_signed(decision: Decision, words: str) -> None:
    """D5: two spellings of one decision would be two texts, so such a decision is refused before signing."""
    with pytest.raises(InvalidDecision, match=words):
        signed_text(CLUSTER, a_request(), decision)


@pytest.mark.parametrize(("age", "good"), [(0, True), (300, True), (300.1, False), (-60, True), (-60.1, False)])
def test_D5_a_proof_is_good_for_five_minutes(age: float, good: bool) -> None:
    """D5: at most five minutes old, and not from more than a minute ahead."""
    assert fresh(Proof("ed25519", time=at(0)), at(age)) is good


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), st.integers(-9, 9) | st.text("ab")))
def test_D5_the_text_does_not_depend_on_the_order_of_keys(patch: dict[str, object]) -> None:
    """D5: a store may hand a patch back with its keys in another order; the text stays."""
    other = dict(reversed(patch.items()))
    assert signed_text(CLUSTER, a_request(), a_signed(arguments_patch=patch)) == signed_text(
        CLUSTER, a_request(), a_signed(arguments_patch=other)
    )
