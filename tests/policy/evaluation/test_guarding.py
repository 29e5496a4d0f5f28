"""Protected paths are found wherever they are looked for, and the quick look before the search is never wrong."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl.errors import EvaluationFailed
from hitl.policy.builtin import BUILT_IN, PROTECTED_PATHS
from hitl.policy.calls import ToolCall
from hitl.policy.envelope import parse_call
from hitl.policy.guarding import Guard
from hitl.policy.paths import Protection, protection
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


HOMES = ["/root", "/home/alice", "/home", "/Users", "/", "~", "~bo", "/home/al*", "C:/Users/", "/var/root", "/*"]


def hits_of(paths: tuple[str, ...], arguments: dict[str, Any]) -> dict[Voice, tuple[str, str]]:
    voice = Voice.of(replace(BUILT_IN, ref=replace(BUILT_IN.ref, kind="AgentPolicy"), protected_paths=paths))
    hits = Guard([voice, Voice.of(BUILT_IN)]).hits(a_call(arguments), None)
    return {who: hit for who, hit in hits.items() if who is voice}


@pytest.mark.parametrize("path", HOMES)
@pytest.mark.parametrize("text", ["~", "~/x", "~bo/notes.txt", "$HOME/x", "%7e/x", "cat ~/notes.txt"])
def test_A2_a_protected_home_is_reached_by_its_sign(path: str, text: str) -> None:
    """A2: where a home directory, or what holds it, is protected, `~` leads there whosever it is."""
    assert list(hits_of((path,), {"path": text}).values()) == [(path, "/path")]


@pytest.mark.parametrize("text", ["/", "/x", "/etc/passwd", "../x"])
def test_A2_a_protected_root_covers_everything_from_the_root(text: str) -> None:
    """A2: `/` is a place with all below it, like any other."""
    assert hits_of(("/",), {"path": text})


@pytest.mark.parametrize("path", ["/var", "/homes", "/srv/home", "/etc"])
def test_what_holds_no_home_is_not_reached_by_its_sign(path: str) -> None:
    """A neighbour of home directories does not make every `~` a hit."""
    assert not hits_of((path,), {"path": "~/notes.txt"})


protected_paths = st.sampled_from(
    [
        *HOMES,
        "/etc",
        "/var",
        "~/.ssh",
        "/srv/x y",
        "/home/alice/x",
        "/proc/1/root/home/alice",
        "/etc/s*",
        ".env",
        "*.pem",
    ]
) | st.lists(st.sampled_from(["/", "home", "alice", "root", "etc", "~", "*", ".", "x"]), min_size=1, max_size=6).map(
    "".join
)
spoken = st.sampled_from(
    [
        "/", "~", "~bo", "home", "alice", "root", "etc", "..", " ", "x", ".env", "%7e", "$HOME", "${HOME}", "*", "cd ",
        "users", "/proc/1/root", "C:", "\\", "s", ".pem", ":", "=", "var", "'", ".ssh", "file://",
    ]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(protected_paths, min_size=1, max_size=3), st.lists(spoken, max_size=7).map("".join))
def test_A2_the_quick_look_agrees_with_the_search_for_any_protected_paths(paths: list[str], text: str) -> None:
    """A2: whatever paths a policy protects, the guard hits exactly where searching every text would."""
    try:
        searched = Protection(paths)
    except ValueError:
        return  # no policy has such a path
    try:
        found = searched.found_in(text) or searched.found_in("path")
        hits = hits_of(tuple(paths), {"path": text})
    except EvaluationFailed:
        return
    assert bool(hits) == (found is not None)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"body": {"path": "/etc/shadow"}}, "/body/path"),
        ({"body": [{"path": "/etc/shadow"}]}, "/body/0/path"),
        ({"body": {"/etc/shadow": 1}}, "/body/~1etc~1shadow"),
        ({"body": [["/etc/shadow"]]}, "/body/0/0"),
        ({"edits": {"text": {"file": ["/etc/shadow"]}}}, "/edits/text/file/0"),
        ({"body": "/etc/shadow"}, None),
        ({"body": ["/etc/shadow", "x"]}, None),
        ({"edits": [{"text": "/etc/shadow", "lines": {"note": ["/etc/shadow"]}}]}, None),
    ],
)
def test_A2_prose_is_text_right_below_a_name_for_prose(arguments: dict[str, Any], where: str | None) -> None:
    """A2: an object below `body` is no prose, so a path in it is searched; texts and lists of texts stay exempt."""
    hits = Guard([Voice.of(BUILT_IN)]).hits(a_call(arguments), None)
    assert [found for _, found in hits.values()] == ([where] if where else [])


@pytest.mark.parametrize(
    "texts",
    [
        [f"/a{n}/*" for n in range(6000)],
        ["%25252525252541/" * 100 + str(n) for n in range(40)],
        ["é/" * 5000 + str(n) for n in range(4)],
        [" ".join(f"/var/*/{'*e' * 28}{n}.{m}" for m in range(31)) for n in range(29)],
        ["cd /x;cd /y;cd /z;cd /w " + " ".join(f"a{n}{m}.b'" for m in range(390)) for n in range(18)],
        ["a/" * 7900 + f"'{n}" for n in range(4)],
    ],
    ids=["wildcards", "encoded", "not ASCII", "long wildcards", "directories", "deep"],
)
def test_A5_a_call_is_searched_with_bounded_effort(texts: list[str]) -> None:
    """A5: each text is small enough to be searched, all together are too much for one call: refused, not searched."""
    guard = Guard([Voice.of(BUILT_IN)])
    assert guard.hits(a_call({"x": texts[:1]}), None) == {}
    with pytest.raises(EvaluationFailed, match="send less"):
        guard.hits(a_call({"x": texts}), None)


def test_A5_what_stands_there_twice_is_searched_once() -> None:
    """A5: repeating a text costs nothing, and the pointer is that of the first."""
    guard = Guard([Voice.of(BUILT_IN)])
    assert guard.hits(a_call({"x": ["/*"] * 12_000}), None) == {}
    hits = guard.hits(a_call({"x": ["/*"] * 6_000 + ["~/.ssh"] * 6_000}), None)
    assert list(hits.values()) == [("~/.ssh", "/x/6000")]


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
