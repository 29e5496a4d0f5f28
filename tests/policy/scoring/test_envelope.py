"""From what an agent sent to a call: complete, or refused with what to send instead (SECURITY A3, A4)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.errors import InvalidCall
from hitl.policy.calls import ToolCall
from hitl.policy.envelope import parse_call


def a_call(**fields: Any) -> ToolCall:
    """A parsed refund, with these fields."""
    return parse_call(**{"server": "stripe", "tool": "create_refund", "arguments_json": b'{"amount":1}', **fields})


def test_A3_what_runs_is_the_call_written_again() -> None:
    """A3: the bytes kept are the re-serialised arguments, never the ones received."""
    call = a_call(arguments_json=b' {"amount": 5.0,\n "to": "\\u0061na"} ')
    assert call.arguments == {"amount": 5, "to": "ana"}
    assert call.arguments_json == b'{"amount":5,"to":"ana"}'


def test_a_call_without_arguments_or_server_is_an_empty_one_of_the_agents_own() -> None:
    """Empty bytes mean {}, an empty server means local."""
    call = a_call(server="", tool="Bash", arguments_json=b"")
    assert (call.server, call.tool, call.name) == ("local", "Bash", "local/bash")
    assert (call.arguments, call.arguments_json) == ({}, b"{}")


def test_A4_the_name_forwarded_is_the_name_judged() -> None:
    """A4: compatibility forms are folded once, for lookup and for forwarding alike; capitals are kept."""
    call = a_call(server="\uff33tripe", tool=" createRefund ")
    assert (call.server, call.tool, call.name) == ("Stripe", "createRefund", "stripe/createrefund")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [(b"[]", "an array"), (b'"x"', "a string"), (b"1", "a number"), (b"null", "null"), (b"true", "a boolean")],
)
def test_A3_arguments_that_are_no_object_are_refused(arguments: bytes, found: str) -> None:
    """A3: a batch or a bare value is no call; the message says what stood there."""
    with pytest.raises(InvalidCall, match=f"arguments: {found} where an object is wanted"):
        a_call(arguments_json=arguments)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"arguments_json": b'{"a":1,"a":2}'}, "arguments: the whole text: the key"),
        ({"arguments_json": b'{"a":' * 50 + b"1" + b"}" * 50}, "nested deeper than 32"),
        ({"arguments_json": b" " * 10_000_000}, "10000000 bytes"),
        ({"arguments_json": b'{"a":"\xff"}'}, "invalid UTF-8 at byte 6"),
        ({"arguments_json": b'{"a":NaN}'}, "/a: NaN"),
        ({"arguments_json": b'{"id":12345678901234567890}'}, "/id: an integer of"),
        ({"tool": "cr\u0435ate_refund"}, "U+0435"),
        ({"confidence_percent": 101}, "confidence_percent is 101; send 0 to 100"),
        ({"confidence_percent": -1}, "confidence_percent is -1"),
        ({"call_id": "x" * 257}, "call_id has 257 characters"),
        ({"session_id": "a\nb"}, "session_id"),
        ({"call_id": "a\u202eb"}, r"a\u202eb"),
        ({"claimed_user": "ana\x00"}, "claimed_user"),
        ({"agent_path": ["main"] * 17}, "agent_path has 17 steps"),
        ({"agent_path": ["x" * 257]}, "agent_path has 257"),
        ({"checkpoint": "ä" * 513}, "checkpoint is longer than 1024 bytes"),
        ({"checkpoint": "\ud800"}, "checkpoint: half of a surrogate pair"),
        ({"context_json": b'{"a":1,"a":1}'}, "context: the whole text: the key"),
        ({"context_json": b"[]"}, "context: an array"),
        ({"context_json": b'{"a":"' + b"x" * 16384 + b'"}'}, "context: 16392 bytes"),
    ],
)
def test_A3_bad_input_is_named(fields: dict[str, Any], said: str) -> None:
    """A3, A4: each kind of bad input is refused with its place and the next step."""
    with pytest.raises(InvalidCall) as refusal:
        a_call(**fields)
    assert said in str(refusal.value)


def test_long_prose_is_cut_and_says_so() -> None:
    """Justification and alternatives stay bounded; how much is missing is told, and no word is cut in two."""
    call = a_call(justification="because " * 1000, alternatives=["wait " * 200] * 20)
    assert len(call.justification) <= 4000
    shown, _, rest = call.justification.rpartition(" … ")
    assert shown.endswith("because")
    assert rest == f"{8000 - len(shown)} more"
    assert len(call.alternatives) == 8
    assert all(len(text) <= 500 for text in call.alternatives)


def test_everything_the_agent_said_is_kept() -> None:
    """Fields arrive where they belong."""
    call = a_call(
        call_id="c1",
        session_id="s1",
        agent_path=["main", "helper"],
        justification="three days late",
        confidence_percent=0,
        claimed_user="Ana@example.com",
        checkpoint="thread/7",
        alternatives=["wait"],
        external_impact=True,
        context_json=b'{"order":"R-5512"}',
    )
    assert (call.call_id, call.session_id, call.agent_path) == ("c1", "s1", ("main", "helper"))
    assert (call.justification, call.confidence_percent, call.claimed_user) == ("three days late", 0, "Ana@example.com")
    assert (call.checkpoint, call.alternatives, call.external_impact) == ("thread/7", ("wait",), True)
    assert call.context == {"order": "R-5512"}


@given(st.binary(max_size=64), st.text(max_size=12), st.text(max_size=12))
def test_A3_a_call_is_parsed_or_refused_and_nothing_else(arguments: bytes, tool: str, text: str) -> None:
    """A3, I2: whatever bytes arrive, the answer is a call or InvalidCall."""
    try:
        call = parse_call(text, tool, arguments, call_id=text, justification=text, claimed_user=tool)
    except InvalidCall:
        return
    assert parse_call(call.server, call.tool, call.arguments_json).arguments == call.arguments
