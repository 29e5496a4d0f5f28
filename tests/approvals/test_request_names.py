"""Names of requests: from the call alone, safe in a URL and on a phone, and found by their beginning."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.approvals.keys import match_prefix, request_name
from hitl.errors import AmbiguousName, NotFound, Unavailable

KEY = bytes(range(32))


def a_name(tool: str = "create_refund", key: bytes = KEY, **changes: object) -> str:
    about = {"workload": "deploy/support", "session": "s-1", "key_text": "19c4d2f8", "n": 0, **changes}
    return request_name(tool, key, **about)  # type: ignore[arg-type]


def test_a_name_is_the_tool_and_ten_letters_that_nobody_misreads() -> None:
    """The suffix is fixed by key and call: equal calls get equal names on every hub, today and tomorrow."""
    assert a_name() == a_name() == "create-refund-wxdyksvgpn"


@pytest.mark.parametrize(
    "changes",
    [
        {"workload": "deploy/other"},
        {"session": "s-2"},
        {"key_text": "77aa01be"},
        {"n": 1},
        {"key": bytes(32)},
        {"workload": "deploy/supports", "session": "-1"},
    ],
    ids=str,
)
def test_B4_names_do_not_cross_workloads_sessions_or_keys(changes: dict[str, object]) -> None:
    """B4: whatever makes it another intention gives another name, also where the parts joined would read the same."""
    assert a_name(**changes) != a_name()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tool", "start"),
    [
        ("create_refund", "create-refund-"),
        ("HTTP.Get", "http-get-"),
        ("__x__", "x-"),
        ("...", "call-"),
        ("a" * 128, "a" * 30 + "-"),
        ("a" * 29 + "_b", "a" * 29 + "-"),
        ("löschen", "l-schen-"),
    ],
)
def test_the_tool_becomes_a_readable_safe_beginning(tool: str, start: str) -> None:
    """Lower case, hyphens for everything else, at most thirty letters, never empty and never ending in two hyphens."""
    name = a_name(tool)
    assert name.startswith(start)
    assert len(name) == len(start) + 10


@given(tool=st.text(max_size=140), session=st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
def test_every_name_is_a_name_in_kubernetes(tool: str, session: str) -> None:
    """Any tool and session give a DNS label of at most 41 characters whose suffix is Crockford's base32."""
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?-[0-9a-hjkmnp-tv-z]{10}", a_name(tool, session=session))


def test_a_key_of_the_wrong_length_names_nothing() -> None:
    """Without the namespace's key there is no name: the gate cannot tell, and says NO_KEY."""
    with pytest.raises(Unavailable, match="not 32") as refused:
        a_name(key=b"short")
    assert refused.value.reason_code == "NO_KEY"


NAMES = ["refund-7f3kq00000", "refund-7f9aa00000", "refund-7f3kq", "migrate-k4m2p00000"]


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("migrate", "migrate-k4m2p00000"),
        ("MIGRATE-K4", "migrate-k4m2p00000"),
        ("refund-7f9", "refund-7f9aa00000"),
        ("refund-7f3kq", "refund-7f3kq"),
        (" m ", "migrate-k4m2p00000"),
    ],
)
def test_a_unique_beginning_is_enough_and_a_whole_name_always_means_itself(prefix: str, name: str) -> None:
    """Capitals and spaces do not matter; a name that another one begins with is still itself."""
    assert match_prefix(NAMES, prefix) == name


def test_an_ambiguous_beginning_lists_the_candidates() -> None:
    """The error names every request it could mean, for the next attempt."""
    with pytest.raises(AmbiguousName, match="refund-7f3kq, refund-7f3kq00000, refund-7f9aa00000; give more") as refused:
        match_prefix(NAMES, "refund-7f")
    assert refused.value.candidates == ("refund-7f3kq", "refund-7f3kq00000", "refund-7f9aa00000")
    with pytest.raises(AmbiguousName, match="a-09; give"):
        match_prefix([f"a-{index:02}" for index in range(10)], "a")
    with pytest.raises(AmbiguousName, match="and 20 more"):
        match_prefix([f"a-{index:02}" for index in range(30)], "a")


@pytest.mark.parametrize("prefix", ["x", "", "  ", "refund-7f3kq000000"])
def test_a_beginning_of_nothing_is_not_found(prefix: str) -> None:
    """No match, and an empty prefix, are not found; nothing is ever guessed."""
    with pytest.raises(NotFound):
        match_prefix(NAMES, prefix)
