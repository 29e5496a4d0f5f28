"""What a decision or a note may not say on a real API server: another request or call, other fields or words."""

from typing import Any

import pytest

from cluster.voting import ANA, BO, Change, Court, Person, adding, note_of, proof, refused, vote_of
from hitl.approvals.requests import Kind
from stores.asking import a_spec


@pytest.mark.parametrize("decision", ["Approved", "Denied"])
async def test_C1_a_vote_for_another_request_or_call_is_refused(court: Court, decision: str) -> None:
    """C1: uid and digest are echoed, so that a vote fits the one request that was looked at."""
    request, other = await court.ask(), await court.ask(a_spec(digest="77" * 32, key="77" * 32))
    for changes, words in (
        ({"requestUID": other["metadata"]["uid"]}, "this answers another request"),
        ({"requestUID": ""}, "this answers another request"),
        ({"requestUID": None}, "requestUID"),
        ({"digest": other["spec"]["digest"]}, "this answers another call"),
        ({"digest": request["spec"]["digest"].upper()}, "this answers another call"),
        ({"digest": None}, "digest"),
    ):
        await refused(court, ANA, request, adding(vote_of(ANA, request, decision, **changes)), words)


async def test_C1_a_note_on_another_request_is_refused(court: Court) -> None:
    """C1: notes echo the uid too."""
    request, other = await court.ask(), await court.ask()
    change = adding(note_of(ANA, request, requestUID=other["metadata"]["uid"]), "notes")
    await refused(court, ANA, request, change, "this answers another request")


@pytest.mark.parametrize(
    "changes",
    [
        {"time": "2026-01-01T00:00:00Z"},
        {"grant": {"uses": 20}},
        {"verified": True},
        {"Decision": "Approved"},
        {"proof": {"signature": "c2ln"}},
        {"proof": {"hardware": True}},
    ],
    ids=["a time", "a grant", "a word of the hub", "other capitals", "a signature", "more of a proof"],
)
async def test_C1_an_unknown_field_is_refused_by_name(court: Court, changes: dict[str, Any]) -> None:
    """C1, C5: what a decision may not say is not dropped in silence but refused, naming it."""
    request = await court.ask()
    (named,) = changes.get("proof", changes)
    if "proof" in changes:  # good for five minutes, so it is shown now and not when the tests were collected
        changes = {"proof": proof("hwk", **changes["proof"])}
    entry = vote_of(ANA, request, **changes)
    words = f"unknown field in the entry: {named};"
    await refused(court, ANA.with_factors("hwk"), request, adding(entry), words)


async def test_C1_an_unknown_field_of_a_note_is_refused_by_name(court: Court) -> None:
    """C1: a note has the keys of DESIGN 6 and no others."""
    request = await court.ask()
    for key in ("time", "digest", "proof", "groups"):
        change = adding(note_of(ANA, request, **{key: "2026"}), "notes")
        await refused(court, ANA, request, change, f"unknown field in the entry: {key};")


@pytest.mark.parametrize(
    ("spec", "decision", "changes", "words"),
    [
        ({}, "Denied", {"reason": None, "spec": ("Denied",)}, "wants a reason"),
        ({}, "Denied", {"reason": "  \u2003 ", "spec": ("Denied",)}, "wants a reason"),
        ({"tier": "multi-factor"}, "Approved", {"spec": ("MultiFactor",)}, "wants a reason"),
        ({}, "Approved", {"spec": ("Approved",)}, "wants a reason"),
        ({}, "Approved", {"category": "Other"}, "A category says why a call was denied"),
        ({}, "Approved", {"answer": "yes"}, "asks no question"),
        ({"kind": Kind.QUESTION}, "Approved", {}, "is a question"),
        ({"kind": Kind.QUESTION}, "Approved", {"answer": 1, "argumentsPatch": {"amount": 1}}, "An edit belongs to"),
        ({}, "Denied", {"argumentsPatch": {"amount": 1}}, "An edit belongs to"),
        ({}, "Approved", {"argumentsPatch": {}}, "An edit belongs to"),
        ({}, "Approved", {"argumentsPatch": {"currency": "usd"}}, "arguments that can be edited here: /amount"),
        ({}, "Approved", {"argumentsPatch": {"amount": 1, "to": "x"}}, "arguments that can be edited here: /amount"),
        ({"patchable": ()}, "Approved", {"argumentsPatch": {"amount": 1}}, "arguments that can be edited here: none"),
        ({}, "Approved", {"argumentsPatch": {"amount": "1" * 7000}}, "longer than 4 KiB"),
        ({}, "Approved", {"argumentsPatch": {"amount": "€" * 2100}}, "longer than 4 KiB"),
        ({}, "Approved", {"argumentsPatch": {"amount": [[]] * 33}}, "more than 32 objects and lists"),
        ({}, "Approved", {"reason": "x" * 2001}, "Too long"),
        ({}, "Approved", {"decision": "approved"}, "Unsupported value"),
        ({}, "Approved", {"decision": "Consumed"}, "Unsupported value"),
    ],
)  # fmt: skip
async def test_C1_words_and_edits_are_checked(
    court: Court, spec: dict[str, object], decision: str, changes: dict[str, object], words: str
) -> None:
    """C1, D3: a reason where it is required, a category only of a denial, an edit only of what was shown, and small."""
    required = changes.get("spec", ())
    request = await court.ask(a_spec(**spec, reason_required=required))
    entry = vote_of(ANA, request, decision, **{key: value for key, value in changes.items() if key != "spec"})
    await refused(court, ANA, request, adding(entry), words)


UNSEEN = {
    "an escape sequence": "\x1b[31mRED",
    "a bell": "\a",
    "a carriage return": "fine\rnot",
    "delete": "\x7f",
    "a control of eight bits": "\x9b31m",
    "a bidi override": "refund \u202e00.051",
    "an isolate": "\u2066b\u2069",
    "zero width": "pay\u200bpal",
    "a soft hyphen": "pay\u00adpal",
    "a byte order mark": "\ufeff",
    "a line separator": "a\u2028b",
    "a paragraph separator": "a\u2029b",
    "a private one": "\ue000",
    "a tag": "\U000e0041",
    "a filler": "\u3164",
    "a joiner that is no mark": "a\u034f",
    "braille without dots": "\u2800",
    "a musical control": "\U0001d173",
}


@pytest.mark.parametrize("text", UNSEEN.values(), ids=UNSEEN)
async def test_G1_nobody_edits_or_answers_with_what_cannot_be_seen(court: Court, text: str) -> None:
    """G1: kubectl prints free JSON raw, so no control, direction or zero-width character gets into it, at any depth."""
    request = await court.ask(a_spec(patchable=("/amount",)))
    question = await court.ask(a_spec(kind=Kind.QUESTION))
    words = "the edit or the answer holds a character that cannot be seen"
    for value in (f"x{text}", ["a", {"b": text}], {text: 1}):
        edit = vote_of(ANA, request, argumentsPatch={"amount": value})
        await refused(court, ANA, request, adding(edit), words, ways=("merge patch",))
        answer = vote_of(ANA, question, answer=value)
        await refused(court, ANA, question, adding(answer), words, ways=("merge patch",))


async def test_G1_what_can_be_seen_is_taken_in_edits_and_answers(court: Court) -> None:
    """Lines, tabs, quotes, backslashes and words in any script stand in edits and answers as they were given."""
    text = (
        'two\nlines\tand "quotes" \\u202e \\x1b C:\\new '
        "\u00fc\u4f60\u597d\u3000\u0939\u093f \U0001f7e2 \u2764\ufe0f 5\u00a0\u20ac \u2013 \U0001fae8"
    )
    request, question = await court.ask(), await court.ask(a_spec(kind=Kind.QUESTION))
    for asked, entry in (
        (request, vote_of(ANA, request, argumentsPatch={"amount": {text: [text]}})),
        (question, vote_of(ANA, question, answer=text)),
    ):
        await court.vote(ANA, asked, entry)
        assert (await court.look(asked))["status"]["decisions"] == [entry]


async def test_D3_an_edit_needs_its_own_verb(court: Court) -> None:
    """C1, D3: approving does not include editing."""
    only = Person("amy@example.com", ("support-leads",), ("hitl-test-approves-only", "hitl-test-writes-anything"))
    court.let_in(only, {"hitl-test-approves-only": ("approvalrequests/confirm", "approve")})
    request = await court.ask()
    entry = vote_of(only, request, argumentsPatch={"amount": 1})
    await refused(court, only, request, adding(entry), "you may not edit Confirm calls")
    await court.vote(only, request, vote_of(only, request))


async def test_D3_an_answer_nested_deeper_than_the_operator_reads_is_refused(court: Court) -> None:
    """I2: what the operator could not read would take the whole request from everybody: 33 levels are too many."""
    answer: object = "deep"
    for _ in range(33):
        answer = [answer]
    request = await court.ask(a_spec(kind=Kind.QUESTION))
    await refused(court, ANA, request, adding(vote_of(ANA, request, answer=answer)), "more than 32 objects and lists")


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("Extend", {"minutes": None}, "Say by how many minutes"),
        ("Extend", {"minutes": 0}, "Say by how many minutes"),
        ("Extend", {"minutes": -5}, "should be greater than or equal to 0"),
        ("Extend", {"minutes": 10081}, "should be less than or equal to 10080"),
        ("Escalate", {"minutes": 5}, "Only Extend takes minutes"),
        ("Feedback", {"reason": None}, "The feedback says nothing"),
        ("Feedback", {"reason": " "}, "The feedback says nothing"),
        ("Extend", {"n": 2}, "your next note here is number 1"),
        ("Extend", {"n": 0}, "should be greater than or equal to 1"),
        ("Extend", {"n": 9}, "should be less than or equal to 8"),
        ("Approve", {}, "Unsupported value"),
    ],
)
async def test_C1_notes_are_checked(court: Court, kind: str, changes: dict[str, object], words: str) -> None:
    """DESIGN 6: minutes belong to Extend, feedback says something, numbers follow on each other, 1 to 8."""
    request = await court.ask()
    await refused(court, ANA, request, adding(note_of(ANA, request, kind, **changes), "notes"), words)


def beside(**more: list[dict[str, object]]) -> Change:
    """These entries at once."""
    return lambda status, _: {**status, **more}


async def test_C1_one_entry_at_a_time(court: Court) -> None:
    """C1: two entries in one write, or a vote with a note, are refused."""
    request = await court.ask()
    vote, note = vote_of(ANA, request), note_of(ANA, request)
    for change in (
        beside(decisions=[vote], notes=[note]),
        beside(decisions=[vote, vote_of(BO, request)]),
        beside(notes=[note, {**note, "n": 2}]),
    ):
        await refused(court, ANA, request, change, "write exactly one new decision or note")


async def test_D4_an_override_needs_its_verb_a_second_factor_and_a_reason(court: Court) -> None:
    """D4: who was given the verb still shows a second factor and says why."""
    boss = Person("boss@example.com", ("managers",), ("hitl-test-overrides", "hitl-test-writes-anything"))
    court.let_in(boss, {"hitl-test-overrides": ("approvalrequests/confirm", "override")})
    request = await court.ask(a_spec(reason_required=()))
    shown = boss.with_factors("hwk")
    bare = vote_of(boss, request, "Overridden", reason="production is down")
    await refused(court, boss, request, adding(bare), "An override needs a second factor")
    silent = vote_of(boss, request, "Overridden", proof=proof("hwk"))
    await refused(court, shown, request, adding(silent), "wants a reason")
    await court.vote(shown, request, {**bare, "proof": proof("hwk")})
