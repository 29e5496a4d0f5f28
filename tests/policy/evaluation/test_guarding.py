"""Protected paths are found wherever they are looked for, and the quick look before the search is never wrong."""

from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from hitl.errors import EvaluationFailed
from hitl.policy.builtin import BUILT_IN, PROTECTED_PATHS
from hitl.policy.calls import ToolCall
from hitl.policy.envelope import parse_call
from hitl.policy.guarding import Guard
from hitl.policy.paths import protection
from hitl.policy.voices import Voice


def a_call(arguments: dict[str, Any]) -> ToolCall:
    return parse_call("box", "put", orjson.dumps(arguments))


pieces = st.sampled_from(
    [
        *(
            "/etc",
            "shadow",
            "/",
            "~",
            ".ssh",
            "..",
            "%2f",
            "\\",
            "'",
            '"',
            "$HOME",
            "*",
            "?",
            " ",
            "cat",
            "run",
            "hitl",
        ),
        *("=", "s", "hadow", "secrets", "/run/", "https://", "example.com", "file:", "\n", "{a,b}", "\u202e", ".", ":"),
        *("ETC", "/home/bo/", "%", "&"),
    ]
)


@given(st.lists(pieces, max_size=10).map("".join))
def test_the_quick_look_never_misses_a_protected_path(text: str) -> None:
    """What is passed over without a search has no protected path in it: the quick look errs only by doubting."""
    guard = Guard([Voice.of(BUILT_IN)])
    try:
        found = protection(PROTECTED_PATHS).found_in(text)
    except EvaluationFailed:
        found = ("", "")
    hits = None
    try:
        hits = guard.hits(a_call({"path": text}), None)
    except EvaluationFailed:
        assert found == ("", "")
    assert hits is None or bool(hits) == (found is not None)


@given(st.lists(pieces, max_size=8).map("".join))
def test_protected_names_need_no_slash_in_front(text: str) -> None:
    """With a protected name such as .env the quick look is as right as the search."""
    voice = Voice.of(
        replace(BUILT_IN, ref=replace(BUILT_IN.ref, kind="AgentPolicy"), protected_paths=(".env", "*.pem"))
    )
    guard = Guard([voice, Voice.of(BUILT_IN)])
    for tail in ("", ".env", "key.pem", ".ENV"):
        try:
            found = protection((".env", "*.pem")).found_in(text + tail)
            assert (voice in guard.hits(a_call({"path": text + tail}), None)) == (found is not None)
        except EvaluationFailed:
            continue
