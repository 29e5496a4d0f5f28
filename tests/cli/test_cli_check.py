"""`hitl check` and `hitl init` against UX 6: file, line, severity, code, message; and a first policy that is clean."""

from pathlib import Path

import pytest

from cli.homes import AHome
from hitl.policy.problem_codes import CODES

BROKEN = """\
apiVersion: hitl.dev/v1alpha1
kind: AgentPolicy
metadata: {name: support}
spec:
  rules:
  - {name: all-stripe, action: Allow, tools: ["stripe/*"]}
  - {name: refunds, action: Confirm, tools: ["stripe/create_refund"]}
  - {name: reads, action: Allow, tools: ["db/query"], args: {query: {matches: "^select"}}}
"""


@pytest.fixture
def broken(home: AHome) -> Path:
    file = home.path / "support.yaml"
    file.write_text(BROKEN)
    return file


def test_problems_come_with_file_line_severity_and_code(home: AHome, broken: Path) -> None:
    """One line each, aligned; the rule that is in the way is named by its line; exit code 1."""
    done = home.process("check", "-f", str(broken))
    assert done.code == 1
    words = " ".join(done.out.split())
    assert words.startswith(
        f'{broken}:7 error HITL104 rule "refunds" never matches: "all-stripe" (line 6) is first '
        f"{broken}:8 warning HITL201 "
    )
    assert done.err == "1 error, 1 warning. What a code means: hitl check --explain HITL104\n"


def test_programs_read_the_same_as_json(home: AHome, broken: Path) -> None:
    """-o json: a list with file, line, severity, code and message; nothing on stderr."""
    done = home.hitl("check", "-f", str(broken), "-o", "json")
    assert done.err == ""
    assert [(each["line"], each["severity"], each["code"]) for each in done.document] == [
        (7, "error", "HITL104"),
        (8, "warning", "HITL201"),
    ]


@pytest.mark.parametrize("columns", [80, 100])
def test_messages_fit_the_terminal(home: AHome, broken: Path, columns: int) -> None:
    """Long messages go on below where they began."""
    lines = home.hitl("check", "-f", str(broken), columns=columns).lines
    assert max(map(len, lines)) <= columns


def test_warnings_alone_are_no_failure(home: AHome, tmp_path: Path) -> None:
    """Exit code 0 where nothing is refused."""
    (tmp_path / "reads.yaml").write_text("\n".join(each for each in BROKEN.splitlines() if "stripe" not in each))
    done = home.hitl("check", "-f", str(tmp_path))
    assert done.code == 0
    assert "warning" in done.out


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (BROKEN.replace("action: Confirm", "acton: Confirm"), ":7", "acton"),
        (BROKEN.replace("metadata: {name: support}", "metadata: {name: support}\nkind: AgentPolicy"), ":4", "'kind'"),
        (BROKEN.replace('"stripe/*"', '"**"'), ":6", "**"),
        (BROKEN.replace('"^select"', '"("'), ":8", "RE2"),
        (BROKEN.replace("name: refunds", "name: all-stripe"), ":7", "all-stripe"),
        (BROKEN.replace('args: {query: {matches: "^select"}}', 'cel: "1 + 1"'), ":8", "cel"),
        ("spec: [", ":1", "not YAML"),
    ],
    ids=["unknown key", "key twice", "two stars", "bad regex", "name twice", "cel not boolean", "broken YAML"],
)
def test_bad_policies_are_named_where_they_are_wrong(
    home: AHome, tmp_path: Path, text: str, place: str, words: str
) -> None:
    """Each kind of mistake: its line, what is wrong, exit code 1."""
    (tmp_path / "bad.yaml").write_text(text)
    done = home.hitl("check", "-f", str(tmp_path / "bad.yaml"), "-o", "json")
    assert done.code == 1
    found = [each for each in done.document if words in each["message"]]
    assert [f":{each['line']}" for each in found][:1] == [place]


def test_a_policy_on_stdin_is_checked(home: AHome) -> None:
    """-f - reads stdin."""
    assert home.process("check", "-f", "-", typed=BROKEN).lines[0].startswith("-:7")


def test_a_code_can_be_looked_up(home: AHome) -> None:
    """--explain prints what a code means and how to mend it; in any capitals."""
    done = home.hitl("check", "--explain", "hitl201")
    assert done.lines[0] == "HITL201"
    assert " ".join(each.strip() for each in done.lines[1:]) == CODES["HITL201"]


def test_an_unknown_code_lists_the_known_ones(home: AHome) -> None:
    """Exit code 2."""
    done = home.hitl("check", "--explain", "HITL999")
    assert done.code == 2
    assert "HITL104" in done.err


def test_a_file_that_is_not_there_is_said(home: AHome) -> None:
    """Exit code 1 and the next step."""
    done = home.hitl("check", "-f", "/tmp/no-such-policy.yaml")
    assert done.code == 1
    assert done.err == "error: /tmp/no-such-policy.yaml: no such file or folder; a first policy: hitl init\n"


def test_a_first_policy_is_clean_and_does_what_it_says(home: AHome, tmp_path: Path) -> None:
    """`hitl init` writes a policy without errors or warnings; its comments' promises hold."""
    done = home.process("init", str(tmp_path / "new"))
    file = tmp_path / "new" / "policy.yaml"
    assert (done.code, done.out) == (0, f"wrote {file}\n")
    assert f"hitl check -f {file}" in done.err
    assert home.hitl("check", "-f", str(file)).err == "1 resource in 1 file: nothing to mend.\n"
    wanted = {
        ("crm/get_customer", "{}"): "Allow",
        ("crm/delete_customer", "{}"): "Deny",
        ("shop/refund", '{"amount": 5000}'): "Notify",
        ("shop/refund", '{"amount": 7500}'): "Confirm",
        ("shop/refund", '{"amount": 20001}'): "MultiFactor",
    }
    for (tool, arguments), action in wanted.items():
        done = home.hitl("explain", "-f", str(file), "--tool", tool, "--args", arguments, "-o", "json")
        assert done.document["action"] == action, tool


def test_init_never_overwrites(home: AHome, tmp_path: Path) -> None:
    """A policy that is there stays as it is: exit code 1."""
    (tmp_path / "policy.yaml").write_text("mine")
    done = home.hitl("init", str(tmp_path))
    assert done.code == 1
    assert "is already there and was left as it is" in done.err
    assert (tmp_path / "policy.yaml").read_text() == "mine"


def test_a_code_is_explained_as_json_too(home: AHome) -> None:
    """-o json is JSON whatever is asked."""
    assert home.hitl("check", "--explain", "HITL201", "-o", "json").document == {
        "code": "HITL201",
        "meaning": CODES["HITL201"],
    }


def test_where_no_resource_is_nothing_is_called_fine(home: AHome, tmp_path: Path) -> None:
    """A file without a resource decides nothing: a warning and exit code 1, as for an empty folder."""
    (tmp_path / "empty.yaml").write_text("# to do\n")
    for place in (tmp_path, tmp_path / "empty.yaml"):
        done = home.hitl("check", "-f", str(place))
        assert done.code == 1
        assert done.err == (
            f"warning: {place}: no policy here: the built-in one would decide; a first policy: hitl init\n"
        )
    assert home.hitl("check", "-f", str(tmp_path), "-o", "json").document == []
