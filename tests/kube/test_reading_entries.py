"""What people write never makes a request unreadable: numbers, depth, entries that make no sense (I2, I13)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl.approvals.conditions import condition_of
from hitl.approvals.requests import ApprovalRequest, Category, DecisionKind, NoteType, RequestStatus, State
from hitl.approvals.settle import settle
from hitl.approvals.settlement import Outcome
from hitl.errors import InvalidInput
from hitl.kube.parsing import parse_answer
from hitl.kube.requests import request_to_manifest, status_to_json
from hitl.stores.kubernetes.objects import ending_patch, request_of, unread_of
from stores.asking import a_decision, a_spec

T0 = datetime(2026, 5, 1, 2, 47, 10, tzinfo=UTC)
MODEL = ApprovalRequest("shop", "create-refund-7f3kq00000", "u-1", "41", T0, a_spec())

numbers = (
    st.integers(-(1 << 63), (1 << 63) - 1)
    | st.integers(1 << 63, (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
free = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def deep(levels: int) -> Any:
    """An answer of that many lists in each other."""
    found: Any = "x"
    for _ in range(levels):
        found = [found]
    return found


times = st.sampled_from(["2026-05-01T02:47:10Z", "2026-05-02T02:47:10+24:00", "2026-02-30T02:47:10Z", "yesterday"])
# As the CRD has the types, and worse: a field more, a time that there is not, depth without end.
decisions = st.fixed_dictionaries(
    {
        "reviewer": st.text(min_size=1, max_size=8),
        "decision": st.sampled_from([kind.value for kind in DecisionKind]),
        "digest": st.text(max_size=8),
        "requestUID": st.text(max_size=8),
    },
    optional={
        "reason": st.text(max_size=8),
        "category": st.sampled_from([each.value for each in Category]),
        "groups": st.lists(st.text(max_size=4), max_size=3),
        "argumentsPatch": st.dictionaries(st.text(max_size=4), free, max_size=3),
        "answer": free | st.integers(30, 60).map(deep),
        "proof": st.fixed_dictionaries({"type": st.text(max_size=4), "factors": st.just([]), "time": times}),
        "mood": free,
    },
)
notes = st.fixed_dictionaries(
    {
        "reviewer": st.text(min_size=1, max_size=8),
        "n": st.integers(1, 8),
        "requestUID": st.text(max_size=8),
        "type": st.sampled_from([each.value for each in NoteType]),
    },
    optional={"minutes": st.integers(0, 10080), "reason": st.text(max_size=8), "mood": free},
)


def stored(**status: Any) -> dict[str, Any]:
    """An object as an API server hands it out."""
    found = request_to_manifest(MODEL)
    found["status"] |= status
    return found


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(decisions, max_size=3), st.lists(notes, max_size=3))
def test_I13_whatever_people_write_the_request_is_read_and_ends(
    said: list[dict[str, Any]], noted: list[dict[str, Any]]
) -> None:
    """I13: no entry hides the request or another entry, each keeps its author, and time ends it all the same."""
    request = request_of(stored(decisions=said, notes=noted))
    assert [each.reviewer for each in request.status.decisions] == [each["reviewer"] for each in said]
    assert [(each.reviewer, each.n) for each in request.status.notes] == [
        (each["reviewer"], each["n"]) for each in noted
    ]
    assert status_to_json(request.status)
    assert settle(request, T0 + timedelta(days=8)).outcome is Outcome.EXPIRED


@given(st.lists(decisions, max_size=2))
def test_I2_an_entry_that_cannot_be_read_answers_nothing(said: list[dict[str, Any]]) -> None:
    """I2: one of which something was not understood says so, and carries neither digest, uid, groups nor edit."""
    for entry, found in zip(said, request_of(stored(decisions=said)).status.decisions, strict=True):
        assert ("mood" not in entry) or found.unreadable
        if found.unreadable:
            assert (found.digest, found.request_uid, found.groups, found.arguments_patch) == ("", "", (), None)


@pytest.mark.parametrize(
    ("served", "read"),
    [
        ("10000000000000000000", 1e19),
        ("9223372036854776000", float(2**63)),
        ("18446744073709551615", float(2**64)),
        ("-10000000000000000000", -1e19),
        ("1e+21", 1e21),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9007199254740993", 2**53 + 1),
        ("1.7e308", 1.7e308),
    ],
)
def test_I2_a_number_is_read_as_the_server_made_it(served: str, read: float) -> None:
    """I2: beyond 64 bits a server has made a float of it and writes that out whole; below, it is exact."""
    found = orjson.loads(f'{{"amount":{served}}}')
    entry = {"reviewer": "ana", "decision": "Approved", "digest": "d", "requestUID": "u", "argumentsPatch": found}
    (decision,) = request_of(stored(decisions=[entry])).status.decisions
    assert decision.arguments_patch is not None
    value = decision.arguments_patch["amount"]
    assert (value, type(value), decision.unreadable) == (read, type(read), "")
    assert status_to_json(RequestStatus(decisions=(decision,)))


@pytest.mark.parametrize("value", [1 << 63, 10**19, -(1 << 63) - 1, 10**400])
def test_a_number_that_a_server_would_bend_is_not_written(value: int) -> None:
    """A reviewer's own program says so before the server makes another number of it."""
    request = request_of(stored())
    bent = replace(request.status, decisions=(a_decision(request, arguments_patch={"amount": value}),))
    with pytest.raises(InvalidInput, match=r"decisions\[0\].argumentsPatch.amount"):
        status_to_json(bent)


@pytest.mark.parametrize("levels", [1000, 1500, 9000])
def test_I13_one_deep_object_does_not_hide_the_others_of_a_page(levels: int) -> None:
    """I13: what is nested deeper than parsers go is left out, wherever it stands; all around it is read."""
    nested = b"[" * levels + b'"]\\"["' + b"]" * levels
    page = b'{"items":[{"a":' + nested + b',"b":"\\\\"},{"c":[1,' + nested + b",2]}]}"
    first, second = parse_answer(page)["items"]
    assert first["b"] == "\\"
    assert (second["c"][0], second["c"][2]) == (1, 2)


@pytest.mark.parametrize("text", [b"", b"<html>", b"{", b'{"a":[1]', b"[" * 2000, b"]" * 2000])
def test_what_is_no_json_stays_none(text: bytes) -> None:
    """Nothing is made up where the answer is cut off or something else listens there."""
    with pytest.raises(orjson.JSONDecodeError):
        parse_answer(text)


ENDED = condition_of(State.CANCELLED, "EnforcementLost", "cannot be believed", T0)


def a_condition(**parts: str) -> dict[str, str]:
    return {"reason": "Because", "message": "", "lastTransitionTime": "2026-05-01T02:47:10Z", **parts}


def test_I13_the_end_needs_nothing_of_what_stands_there() -> None:
    """I13: outcome, state and time are written over whatever a status holds; what stood among the conditions stays."""
    told = a_condition(type="Told", status="Unknown")
    found = stored(decisions=["?"], notes=7, verified={}, conditions=[told], expirationTime="soon", mood=1)
    with pytest.raises(InvalidInput):
        request_of(found)
    patch = ending_patch(found, ENDED)
    assert patch is not None
    assert patch["metadata"] == {"uid": "u-1", "resourceVersion": "41"}
    assert sorted(patch["status"]) == ["conditions", "resolvedTime", "state"]
    assert [each["type"] for each in patch["status"]["conditions"]] == ["Told", "Cancelled"]


def test_I5_what_has_ended_is_not_ended_again() -> None:
    """I5: a request that is denied stays so; and nobody says of an approved one that nobody decided."""
    expiry = condition_of(State.EXPIRED, "NotDecided", "late", T0)
    for state, late in ((State.DENIED, ENDED), (State.APPROVED, expiry)):
        reached = a_condition(type=state.value, status="True")
        assert ending_patch(stored(mood=1, conditions=[reached]), late) is None


@pytest.mark.parametrize(
    ("status", "timeout", "seconds"),
    [
        ({"expirationTime": "2026-05-01T02:48:10Z"}, "15m", 60),
        ({"expirationTime": "2026-12-01T00:00:00Z"}, "15m", 7 * 86400),
        ({"expirationTime": 5}, "15m", 900),
        ({}, "15m", 900),
        ({}, "soon", 7 * 86400),
        ({}, "900d", 7 * 86400),
    ],
)
def test_I13_what_cannot_be_read_has_an_end(status: dict[str, Any], timeout: str, seconds: int) -> None:
    """I13: its deadline as written, else creation plus timeout, and never more than seven days after it was made."""
    found = stored(mood=1, **status)
    found["spec"]["timeout"] = timeout
    unread = unread_of(found, "because")
    assert (unread.ends, unread.ended, unread.state) == (T0 + timedelta(seconds=seconds), None, State.PENDING)
