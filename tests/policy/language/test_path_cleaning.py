"""Paths as they will be understood, not as they are spelled (SECURITY A2)."""

from itertools import dropwhile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hitl.errors import EvaluationFailed
from hitl.policy.path_cleaning import clean_path, clean_root, is_within, within_any

PIECES = st.lists(
    st.sampled_from(
        [
            "..",
            ".",
            "/",
            "a",
            "~",
            "$HOME",
            "${HOME}",
            "%2e",
            "%2F",
            "%252e",
            "%25",
            "\\",
            " ",
            "C:",
            "~bob",
            "file:",
            "é",
        ]
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("/a/b/../c", "/a/c"),
        ("/../../etc", "/etc"),
        ("//etc///passwd", "/etc/passwd"),
        ("/a/./b/", "/a/b"),
        ("a/../..", ".."),
        ("../../x", "../../x"),
        ("", "."),
        (".", "."),
        ("/", "/"),
        ("~", "~"),
        ("~/x/../y", "~/y"),
        ("~/../x", "~/../x"),
        ("~bob/x", "~bob/x"),
        ("$HOME/.ssh", "~/.ssh"),
        ("${HOME}/.ssh", "~/.ssh"),
        ("$HOMER/x", "$HOMER/x"),
        ("./~/x", "./~/x"),
        ("./$HOME/x", "./$HOME/x"),
        ("%2e%2e/x", "../x"),
        ("%252e%252e%252fx", "../x"),
        ("%c0%ae%c0%ae/x", "../x"),
        ("%24HOME/x", "~/x"),
        ("a\\..\\..\\b", "../b"),
        ("c:\\Windows\\..\\x", "C:/x"),
        ("C:/../..", "C:/"),
        ("./C:/x", "./C:/x"),
        ("...", "..."),
        ("100%", "100%"),
    ],
)
def test_A2_a_path_has_one_clean_form(text: str, cleaned: str) -> None:
    """A2: dots, slashes, home, percent-encoding, backslashes are resolved; names that only look like them are not."""
    assert clean_path(text) == cleaned


@given(PIECES | st.text(max_size=20))
@example("./%24HOME")
@example("~a/..")
@example("%5c..%5c")
def test_A2_cleaning_is_idempotent_and_stays_below_the_root(text: str) -> None:
    """A2: cleaning a cleaned path changes nothing, and an absolute one keeps no dots to climb with."""
    try:
        cleaned = clean_path(text)
    except EvaluationFailed:
        return
    assert clean_path(cleaned) == cleaned
    if cleaned.startswith("/"):
        assert not {"..", ".", ""} & set(cleaned[1:].split("/")) or cleaned == "/"
    below = cleaned.split("/")[1 if cleaned.startswith("~") else 0 :]
    assert ".." not in list(dropwhile(lambda part: part == "..", below)), "dots stand in front, or are resolved"


@given(PIECES)
def test_A2_what_is_within_a_directory_starts_with_it(text: str) -> None:
    """A2: a value judged to be inside cleans to the directory or to something below it, never to what climbs out."""
    try:
        inside = within_any(text, ("/workspace",))
    except EvaluationFailed:
        return
    if inside:
        assert clean_path(text.strip()).split("/")[:2] == ["", "workspace"] or text.strip().lower().startswith("file:")


@pytest.mark.parametrize("text", ["/a\0b", "/a%00b", "/a\nb", "/a\x7fb", "/" + "a" * 20000, "%" + "25" * 9 + "2e"])
def test_A2_a_path_that_cannot_be_read_in_one_way_is_refused(text: str) -> None:
    """A2: NUL and control characters (encoded too), over 16 KiB, and encoding without end."""
    with pytest.raises(EvaluationFailed):
        clean_path(text)


@pytest.mark.parametrize(
    ("path", "root", "inside"),
    [
        ("/workspace/a", "/workspace", True),
        ("/workspace", "/workspace", True),
        ("/workspaces/a", "/workspace", False),
        ("/etc", "/", True),
        ("a/b", ".", True),
        (".", ".", True),
        ("./~/x", ".", True),
        ("../b", ".", False),
        ("..", ".", False),
        ("~/x", ".", False),
        ("/x", ".", False),
        ("C:/x", ".", False),
        ("~/p/x", "~/p", True),
        ("~/../p", "~", False),
        ("~bob/p", "~", False),
        ("C:/x", "C:/", True),
    ],
)
def test_A2_within_is_about_components(path: str, root: str, inside: bool) -> None:
    """A2: a directory covers itself and what is below it; what climbs out of sight is below nothing."""
    assert is_within(path, root) is inside


@pytest.mark.parametrize(
    ("value", "inside"),
    [
        ("/workspace/src/a.py", True),
        ("/workspace/../etc/passwd", False),
        ("/workspace/a/../../etc", False),
        ("file:///workspace/a", True),
        ("file:///etc/passwd", False),
        ("https://x/workspace/a", False),
        ("workspace/a", False),
        ("", False),
    ],
)
def test_A2_an_argument_is_judged_by_where_it_leads(value: str, inside: bool) -> None:
    """A2: `/workspace/../etc/passwd` is not in /workspace, whatever it starts with."""
    assert within_any(value, (clean_root("/workspace"),)) is inside


@pytest.mark.parametrize(
    "value",
    [
        "/workspace/%2e%2e/etc/passwd",
        "/workspace/%252e%252e/etc/passwd",
        "/workspace/..\\..\\etc\\passwd",
        "/workspace/$OLDPWD/x",
        "/workspace/\uff0e\uff0e/etc",
        "file://workspace/a",
        "file:///workspace/a?/../../etc/passwd",
        "/workspace/\0",
    ],
)
def test_A2_where_readings_disagree_nobody_guesses(value: str) -> None:
    """A2: inside for one reader and outside for another cannot be evaluated, so a Deny rule is no way around either."""
    with pytest.raises(EvaluationFailed):
        within_any(value, (clean_root("/workspace"),))


def test_A2_a_space_before_a_path_does_not_make_it_relative() -> None:
    """A2: many programs trim; `` /etc`` is no file in the current directory."""
    with pytest.raises(EvaluationFailed):
        within_any(" /etc/passwd", (".",))


@pytest.mark.parametrize("value", ["https://evil/x", "file:///etc/x", "C:/x", "~/x", "/x", "ssh:x"])
def test_A2_the_current_directory_holds_only_relative_paths(value: str) -> None:
    """A2: `within: .` is not a way to anywhere else."""
    assert within_any(value, (clean_root("."),)) is False


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("", "is empty"),
        (" /a", "space"),
        ("/a/*", "wildcard"),
        ("https://x/a", "hosts"),
        ("/a/$X", "variable"),
        ("../a", "leaves"),
        ("~/../a", "leaves"),
        ("/a\0", "control character"),
    ],
)
def test_a_directory_that_means_nothing_certain_is_refused(root: str, said: str) -> None:
    """An author's directory must be readable in one way."""
    with pytest.raises(ValueError, match=said):
        clean_root(root)
