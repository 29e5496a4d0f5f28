"""What the CRD of ApprovalRequest refuses from every writer on a real API server, the operator and admins included."""

from typing import Any

import orjson
import pytest

from cluster.voting import (
    ANA,
    MASTER,
    OPERATOR,
    Change,
    Court,
    Json,
    adding,
    applies,
    condition,
    ending,
    note_of,
    refused,
    tries,
    vote_of,
)
from hitl.approvals.requests import CallShown, Kind, RequestSpec, Touches
from hitl.errors import ApiError
from hitl.kube.requests import API_VERSION, KIND, served_request, spec_to_json
from hitl.policy.verdicts import EscalationStep, Factor, OnTimeout, PolicyRef, Reason, Requirement, SecondFactor
from stores.asking import a_spec

ONE_END = "Denied, Expired, Cancelled and Consumed exclude each other"
CHANGED = "what was asked is never changed"
THREE = ("replace", "merge patch", "JSON patch")
WRITERS = pytest.mark.parametrize("person", [OPERATOR, MASTER], ids=["the operator", "an administrator"])


def to(**more: Any) -> Change:
    return lambda status, _: {**status, **more}


def dropping(*keys: str, **more: Any) -> Change:
    return lambda status, _: {key: value for key, value in {**status, **more}.items() if key not in keys}


async def an_ended(court: Court, state: str) -> Json:
    request = await court.ask()
    await court.end(request, state)
    return request


@WRITERS
async def test_C3_the_question_is_never_changed(court: Court, person: Any) -> None:
    """C3: spec can be neither changed, nor emptied, nor removed (spec: null), nor added to."""
    request = await court.ask()
    path = court.path(request["metadata"]["name"])
    live = await court.look(request)
    async with court.api(person) as api:
        for attempt, words in (
            (api.merge_patch(path, {"spec": None}), "spec: Required value"),
            (api.merge_patch(path, {"spec": {"summary": "something harmless"}}), CHANGED),
            (api.merge_patch(path, {"spec": {"tier": "multi-factor", "undo": "easily"}}), CHANGED),
            (api.merge_patch(path, {"spec": {"excluded": ["bo@example.com"]}}), CHANGED),
            (api.json_patch(path, [{"op": "remove", "path": "/spec"}]), "spec: Required value"),
            (api.json_patch(path, [{"op": "remove", "path": "/spec/requirements"}]), "requirements: Required value"),
            (api.replace(path, {key: value for key, value in live.items() if key != "spec"}), "spec: Required value"),
            (api.replace(path, {**live, "spec": {**live["spec"], "digest": "77" * 32}}), CHANGED),
        ):
            with pytest.raises(ApiError, match=words):
                await attempt
    assert await court.look(request) == live


@WRITERS
async def test_C3_the_status_is_never_dropped(court: Court, person: Any) -> None:
    """C3: neither null nor absence of the status, of decisions, notes or conditions takes anything away."""
    request = await court.ask(expires=900)
    path = court.path(request["metadata"]["name"], "status")
    async with court.api(ANA) as api:
        await applies(api, path, request, [note_of(ANA, request, "Feedback")], manager="n", where="notes")
    await court.end(request, "Approved")
    await refused(court, person, request, None, "decisions stay", ways=THREE)
    for key, words in {
        "decisions": "decisions stay",
        "notes": "notes stay",
        "verified": "what was verified, or refused, stays so",
        "conditions": "conditions stay",
        "expirationTime": "expirationTime may not be dropped",
    }.items():
        more = {"state": "Pending"} if key == "conditions" else {}
        await refused(court, person, request, dropping(key, **more), words, ways=THREE)
    await refused(court, person, request, to(notes=[]), "a note is never removed", ways=THREE)
    empty = to(decisions=[], verified=[], conditions=[], state="Pending")
    await refused(court, person, request, empty, "a decision is never removed", ways=THREE)


@WRITERS
@pytest.mark.parametrize("state", ["Approved", "Denied", "Expired", "Cancelled", "Consumed"])
async def test_I5_an_outcome_is_never_taken_back(court: Court, person: Any, state: str) -> None:
    """I5: an outcome is neither removed, nor set to False or Unknown, nor given another reason or time."""
    request = await an_ended(court, state)
    kept = [condition(each) for each in (["Approved", "Consumed"] if state == "Consumed" else [state])]
    others = kept[:-1]
    await refused(
        court, person, request, to(conditions=others, state="Pending"), "a condition is never removed", ways=THREE
    )
    away = to(conditions=[condition("Other")], state="Pending")
    await refused(court, person, request, away, "a condition is never removed", ways=THREE)
    for last in (
        condition(state, status="False"),
        condition(state, status="Unknown"),
        condition(state, "AnotherReason"),
        condition(state, message="another story"),
        {**condition(state), "lastTransitionTime": "2027-01-01T00:00:00.000000Z"},
    ):
        await refused(court, person, request, to(conditions=[*others, last]), "an outcome is never changed")


@WRITERS
@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("Denied", "Approved", "Approved and Denied exclude each other"),
        ("Denied", "Cancelled", ONE_END),
        ("Expired", "Approved", "state follows from the conditions"),
        ("Expired", "Consumed", ONE_END),
        ("Cancelled", "Expired", ONE_END),
        ("Consumed", "Denied", ONE_END),
        ("Consumed", "Cancelled", ONE_END),
        ("Approved", "Denied", "Approved and Denied exclude each other"),
    ],
)
async def test_I5_ends_exclude_each_other(court: Court, person: Any, *, first: str, second: str, words: str) -> None:
    """I5: a request that ended one way never ends another way, nor is an approved one denied."""
    request = await an_ended(court, first)
    had = {each["type"]: each for each in ending(first)["conditions"]}
    both = {**ending(second), "conditions": [*had.values(), *(
        each for each in ending(second)["conditions"] if each["type"] not in had)]}  # fmt: skip
    await refused(court, person, request, to(**both), words)


@pytest.mark.parametrize("second", ["Consumed", "Expired", "Cancelled"])
async def test_I5_approved_comes_before_a_release_or_another_end(court: Court, second: str) -> None:
    """I5: what was approved may still be consumed, expire or be cancelled: once."""
    request = await an_ended(court, "Approved")
    more = ending(second)
    later = [condition("Approved"), *(each for each in more["conditions"] if each["type"] != "Approved")]
    found = await tries(court, OPERATOR, request, to(**{**more, "conditions": later}), ways=["merge patch"])
    assert found.messages == []
    assert (await court.look(request))["status"]["state"] == second


async def test_I5_an_outcome_and_its_state_agree(court: Court) -> None:
    """I5: state cannot say what the conditions do not, and an outcome is not born as False."""
    request = await court.ask()
    for change, words in (
        (to(state="Approved"), "state follows"),
        (to(conditions=[condition("Denied")]), "state follows"),
        (to(conditions=[condition("Approved", status="False")], state="Approved"), "only ever set to True"),
        (to(conditions=[condition("Consumed")], state="Consumed"), "nothing is Consumed that was not Approved"),
        (to(consumedTime="2026-05-01T02:47:10Z"), "stands beside the condition Consumed"),
        (to(state="Done"), "Unsupported value"),
    ):
        await refused(court, OPERATOR, request, change, words)


async def test_I6_what_was_consumed_is_written_once(court: Court) -> None:
    """I6: time, digest and holder of a release are never written over."""
    request = await an_ended(court, "Consumed")
    for more in (
        {"consumedTime": "2027-01-01T00:00:00.000000Z"},
        {"consumedDigest": "77" * 32},
        {"consumedBy": "another/epoch-9"},
    ):
        await refused(court, OPERATOR, request, to(**more), "what was consumed, when and by whom is written once")
    await refused(court, OPERATOR, request, dropping("consumedTime"), "written once", ways=THREE)
    await refused(court, OPERATOR, request, dropping("consumedBy"), "written once", ways=THREE)


async def test_I5_the_hub_s_word_stays(court: Court) -> None:
    """I5: what was verified or refused is neither changed nor taken back, by the operator either."""
    request = await court.ask()
    await court.vote(ANA, request)
    async with court.operator() as api:
        await court.outcome(request, {"verified": [{"reviewer": ANA.name, "note": 0, "refused": "no person"}]}, api)
    word = {"reviewer": ANA.name, "note": 0}
    for change in (to(verified=[word]), to(verified=[{**word, "refused": "another reason"}])):
        await refused(court, OPERATOR, request, change, "what was verified, or refused, stays so", ways=THREE)
    await refused(court, OPERATOR, request, to(verified=[]), "stays so", ways=THREE)


# --- G1: what shows all of itself, and what does not

UNSEEN = {
    "a bidi override": "refund \u202e00.051 RUE",
    "an isolate": "a\u2066b\u2069",
    "zero width": "pay\u200bpal",
    "a byte order mark": "pay\ufeffpal",
    "an escape": "a\u001b[2J",
    "a line break": "a\nNAME   TIER",
    "a line separator": "a\u2028b",
    "private use": "a\ue000",
    "a grapheme joiner": "a\u034fb",
    "Hangul filler": "a\u3164b",
    "half-width filler": "a\uffa0b",
    "braille blank": "a\u2800b",
    "a tag": "a\U000e0041b",
    "a variation selector": "a\ufe00b",
    "five marks": "a" + "\u0301" * 5,
    "a mark on nothing": "\u0301a",
    "a mark on a slash": "/\u0338etc",
    "a soft hyphen": "pass\u00adword",
}


def a_body(court: Court, spec: RequestSpec) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "unseen-0000000001", "namespace": court.namespace},
        "spec": orjson.loads(spec_to_json(spec)),
    }


@pytest.mark.parametrize("text", UNSEEN.values(), ids=UNSEEN.keys())
async def test_G1_what_cannot_be_seen_is_not_stored(court: Court, text: str) -> None:
    """G1: not even the operator stores unescaped text of an agent, wherever it stands."""
    call = CallShown("stripe", "create_refund", "{}")
    async with court.operator() as api:
        for spec in (
            a_spec(summary=text),
            a_spec(justification=text),
            a_spec(call=CallShown("stripe", "create_refund", text)),
            a_spec(call=CallShown(text, "create_refund", "{}")),
            a_spec(call=call, workload=text),
            a_spec(call=call, session_id=text),
            a_spec(call=call, on_behalf_of=text),
            a_spec(call=call, touches=Touches(network=(text,))),
            a_spec(call=call, alternatives=("wait", text)),
            a_spec(call=call, requirements=(Requirement("leads", any_of=(text,)),)),
        ):
            with pytest.raises(ApiError) as raised:
                await api.create(court.path(), a_body(court, spec), dry_run=True)
            assert raised.value.status == 422, str(raised.value)


@pytest.mark.parametrize("text", UNSEEN.values(), ids=UNSEEN.keys())
async def test_G1_reviewers_write_what_can_be_seen_too(court: Court, text: str) -> None:
    """G1: a reason is read by people and by the agent; a reviewer cannot hide anything in it either."""
    request = await court.ask()
    await refused(court, ANA, request, adding(vote_of(ANA, request, "Denied", reason=text)), "in body should match")


@pytest.mark.parametrize(
    "text",
    [
        "refund 150 € – für Žofie",
        "עברית",
        "日本語のテキスト",
        "C:\\temp\\u202e",
        "e\u0301\u0302",
        "🚀",
        "Zażółć gęślą jaźń",
    ],
)
async def test_G1_people_s_languages_are_stored_as_they_are(court: Court, text: str) -> None:
    """G1: what shows all of itself is stored letter for letter, in every script."""
    async with court.operator() as api:
        made = await api.create(court.path(), a_body(court, a_spec(summary=text, justification=text)), dry_run=True)
    assert (made["spec"]["summary"], made["spec"]["justification"]) == (text, text)


async def test_everything_that_is_asked_survives_the_api_server(court: Court) -> None:
    """What the hub writes is what comes back: every field of a question, and nothing that the server adds to it."""
    spec = a_spec(
        kind=Kind.TOOL_CALL,
        requester_uid="0b9c",
        on_behalf_of="kim@example.com",
        on_behalf_of_verified=True,
        on_behalf_of_may_approve=True,
        call=CallShown("stripe", "create_refund", '{"a":"b"}', "call-1", "v1", "ab" * 32),
        touches=Touches(("api.stripe.com",), ("/etc",), ("/tmp",), ("HOME",)),
        effects=("Financial",),
        undo="refund the refund",
        group_key="deploy/support stripe/create_refund refunds",
        score=64,
        factors=(Factor("level high", 60, "moves money"), Factor("exact", -10, "one host")),
        reasons=tuple(Reason),
        rule="AgentPolicy/shop/support#refunds",
        because="Refunds over 50 EUR: policy 4.2",
        explanation="rule refunds",
        justification="3 days late",
        alternatives=("wait", "store credit"),
        context="ticket 812",
        policies=(PolicyRef("AgentPolicy", "shop", "support", 3), PolicyRef("BuiltIn", "", "builtin")),
        revision="a41f09c",
        requirements=(
            Requirement(
                "leads", 2, ("support-leads", "oncall"), SecondFactor.HARDWARE, True, "AgentPolicy/shop/support"
            ),
        ),
        timeout=3600,
        on_timeout=OnTimeout.ESCALATE,
        denials_to_end=2,
        denial_cooldown=60,
        escalation=(EscalationStep(300, ("oncall",), "AgentPolicy/shop/support"),),
        remind=120,
        reason_required=("Denied", "MultiFactor"),
        checkpoint="opaque",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        earlier="create-refund-7f3kq00000",
        excluded=("bo@example.com",),
        patchable=("/amount", "/a~1b"),
    )
    request = await court.ask(spec)
    assert served_request(await court.look(request)).spec == spec


@pytest.mark.parametrize("field", ["status.state=Pending", "spec.tier=confirm", "spec.agent.workload=deploy/support"])
def test_requests_are_found_by_their_selectable_fields(court: Court, field: str) -> None:
    """DESIGN 6: a selector on what was declared is answered by the server."""
    listed = court.plane.kubectl("get", "ar", "-n", court.namespace, f"--field-selector={field}", "-o", "name")
    assert listed.returncode == 0, listed.stderr


async def test_kubectl_shows_what_would_happen_last(court: Court) -> None:
    """UX 2: `kubectl get ar` answers the first question before anything is written; the longest column stands last."""
    request = await court.ask()
    shown = court.plane.kubectl("get", "ar", request["metadata"]["name"], "-n", court.namespace)
    header, row = shown.stdout.splitlines()
    assert header.split() == ["NAME", "TIER", "STATE", "TIMEOUT", "AGE", "AGENT", "WHAT"]
    assert row.split()[1:4] == ["confirm", "Pending", "15m"]
    assert row.rstrip().endswith("refund 150.00 EUR to customer C-20817")


def test_explain_teaches_what_omission_means(court: Court) -> None:
    """`kubectl explain approvalrequest.spec.onBehalfOf` says who it is and that a claim satisfies nothing."""
    told = court.plane.kubectl("explain", "approvalrequest.spec.onBehalfOf")
    assert "a claim satisfies nothing" in " ".join(told.stdout.split())
