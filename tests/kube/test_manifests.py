"""Policy files: read in exactly one way, every problem with its line."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.errors import InvalidPolicy, Problem
from hitl.kube.manifests import Manifest, read_manifests, read_mapping

HEAD = "apiVersion: hitl.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: support}\n"


def one(text: str) -> Manifest:
    (manifest,) = read_manifests(text, "support.yaml")
    return manifest


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidPolicy) as caught:
        read_manifests(text, "support.yaml")
    return caught.value.problems


def test_a_manifest_knows_the_line_of_everything() -> None:
    """Keys, items and members of flow mappings; what is not there has the line of what is around it."""
    manifest = one(
        HEAD
        + """spec:
  rules:
  - action: Deny
    tools: [a, b]
  - {action: Allow,
     tools: ["get_*"], args: {"/a.b": {min: 1}}}
"""
    )
    assert (manifest.kind, manifest.name, manifest.source) == ("AgentPolicy", "support", "support.yaml")
    assert manifest.spec["rules"][1]["args"] == {"/a.b": {"min": 1}}
    lines = {
        "": 1, "metadata.name": 3, "spec": 4, "spec.rules": 5, "spec.rules[0]": 6, "spec.rules[0].action": 6,
        "spec.rules[0].tools[1]": 7, "spec.rules[1]": 8, "spec.rules[1].tools": 9,
        'spec.rules[1].args["/a.b"].min': 9, 'spec.rules[1].args["/a.b"].max': 9, "spec.rules[1].because": 8,
        "spec.rules[7].action": 5, "spec.approval.timeout": 4, "nothing": 1,
    }  # fmt: skip
    assert {path: manifest.line_of(path) for path in lines} == lines


def test_several_documents_and_empty_ones_are_read() -> None:
    """Each with lines of the whole file."""
    manifests = read_manifests(f"---\n---\n{HEAD}spec: {{}}\n---\n{HEAD}spec:\n  mode: Enforce\n---\n", "f")
    assert [manifest.line_of("spec") for manifest in manifests] == [6, 11]
    assert read_manifests("", "f") == []
    assert read_manifests("# nothing\n", "f") == []


def test_json_is_read_too() -> None:
    """JSON is YAML."""
    text = (
        '{"apiVersion": "hitl.dev/v1alpha1", "kind": "ToolServer", "metadata": {"name": "x"}, '
        '"spec": {"tools": [{"name": "a"}]}}'
    )
    assert one(text).spec == {"tools": [{"name": "a"}]}


def test_a_manifest_from_the_cluster_is_read_without_its_status() -> None:
    """What an API server adds to metadata is no mistake; a status is never written by hand."""
    text = (
        HEAD.replace("{name: support}", "{name: support, namespace: shop, uid: u, generation: 3, labels: {a: b}}")
        + "spec: {}\n"
    )
    assert one(text).metadata["generation"] == 3
    (problem,) = problems_of(text + "status: {}\n")
    assert problem.path == "support.yaml:5"
    assert "never by hand" in problem.message


def test_a_key_twice_is_refused_with_both_lines() -> None:
    """Readers keep one of them and say nothing; the policy in force would depend on the reader."""
    (problem,) = problems_of(HEAD + "spec:\n  rules:\n  - action: Deny\n    tools: [x]\n    action: Allow\n")
    assert (problem.path, problem.code) == ("support.yaml:8", "HITL121")
    assert "the key 'action' is already on line 6" in problem.message


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("on", "boolean to some readers"),
        ("yes", "boolean to some readers"),
        ("True", "boolean to some readers"),
        ("y", "boolean to kubectl"),
        ("010", "octal"),
        ("0o10", "number to kubectl"),
        ("0x1F", "octal, binary"),
        ("0b11", "octal, binary"),
        ("1_000", "grouped"),
        ("12:30", "sexagesimal"),
        ("+5", "grouped number"),
        ("1e3", "number to kubectl"),
        (".5", "spelling that JSON does not have"),
        (".inf", "spelling that JSON does not have"),
        (".nan", "spelling that JSON does not have"),
        ("2025-01-01", "a date"),
        ("Null", "null in a spelling"),
        ("!!binary aGk=", "remove the tag"),
        ("!!python/object:os.system x", "remove the tag"),
        ("0.12345678901234567890123", "does not survive"),
    ],
)
def test_a_value_that_readers_disagree_on_is_refused_at_its_line(written: str, said: str) -> None:
    """YAML 1.1, YAML 1.2 and kubectl must read the same; the message says to quote it."""
    (problem,) = problems_of(f"{HEAD}spec:\n  x: {written}\n")
    assert (problem.path, problem.code) == ("support.yaml:5", "HITL123")
    assert said in problem.message


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True), ("false", False), ("5", 5), ("-5", -5), ("0", 0), ("1.5", 1.5), ("-0.25", -0.25),
        ("eur", "eur"),
        ('"on"', "on"), ("'010'", "010"), ("'2025-01-01'", "2025-01-01"), ("null", None), ("~", None), ("15m", "15m"),
        ("get_*", "get_*"), ("1.0.0", "1.0.0"), ("|\n    a\n    b", "a\nb\n"),
    ],
)  # fmt: skip
def test_a_plain_value_is_what_it_looks_like(written: str, value: Any) -> None:
    """Everything that all readers agree on, and everything in quotes."""
    read = one(f"{HEAD}spec:\n  x: {written}\n").spec["x"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("key", ["1", "on", "2025-01-01", "null", "<<", "[a]", "{a: b}"])
def test_a_key_that_is_no_string_is_refused(key: str) -> None:
    """Also merge keys, which would pull in what a reader does not see."""
    assert problems_of(f"{HEAD}spec:\n  ? {key}\n  : {{x: y}}\n")[0].path == "support.yaml:5"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD.replace("AgentPolicy", "AgentPolcy") + "spec: {}", "did you mean AgentPolicy?"),
        (HEAD.replace("AgentPolicy", "Pod") + "spec: {}", "kinds read here: AgentPolicy"),
        (HEAD.replace("v1alpha1", "v1") + "spec: {}", "write hitl.dev/v1alpha1"),
        ("kind: AgentPolicy\nmetadata: {name: x}\nspec: {}", "needs apiVersion"),
        ("apiVersion: hitl.dev/v1alpha1\nspec: {}", "needs kind"),
        (HEAD, "needs spec"),
        (HEAD + "spec: []", "must be a mapping"),
        (HEAD + "spec:", "is empty"),
        (HEAD + "spec: {}\nspecs: {}", "did you mean spec?"),
        (HEAD.replace("support", "Support") + "spec: {}", "no resource name"),
        (HEAD.replace("name: support", "nam: x") + "spec: {}", "did you mean name?"),
        (HEAD.replace("name: support", "name: x, namespace: a_b") + "spec: {}", "no namespace"),
        (HEAD.replace("name: support", "name: x, labels: {a: 1}") + "spec: {}", "put it in quotes"),
        (
            HEAD.replace("AgentPolicy", "ClusterAgentPolicy").replace("name: support", "name: x, namespace: a")
            + "spec: {}",
            "is in no namespace",
        ),
        ("[1, 2]", "must be a mapping"),
        ("hello", "must be a mapping"),
        ("a: [", "not YAML at column"),
        ("a: b: c", "not YAML at column"),
        ("a: \x07", "U+0007 is not allowed"),
        ("a: \ud800", "not allowed"),
        ("&a [*a]", "nested deeper than 64"),
        ("[" * 3000, "nested deeper than 64"),
        ("a: *b", "not YAML"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str, said: str) -> None:
    """Other kinds and versions with the near miss, broken YAML with its column."""
    problems = problems_of(text)
    assert any(said in problem.message for problem in problems), problems
    assert all(problem.path.startswith("support.yaml:") for problem in problems)


def test_a_bomb_of_aliases_ends_at_a_bound() -> None:
    """Ten lines of aliases stand for a billion values; reading stops at a hundred thousand."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (problem,) = problems_of("\n".join(lines))
    assert problem.code == "HITL124"


def test_an_alias_that_is_used_honestly_is_read() -> None:
    """Aliases are expanded to what they stand for."""
    assert one(HEAD + "spec:\n  x: &x [a]\n  y: *x\n").spec == {"x": ["a"], "y": ["a"]}


def test_problems_of_all_documents_are_named_with_their_index() -> None:
    """One look finds every mistake in a file."""
    text = f"{HEAD}spec: []\n---\n{HEAD}spec: {{x: on}}\n---\n{HEAD}spec: {{}}\nstatus: {{}}\n"
    assert [
        (problem.document, problem.path) for problem in sorted(problems_of(text), key=lambda each: each.document)
    ] == [
        (0, "support.yaml:4"),
        (1, "support.yaml:9"),
        (2, "support.yaml:15"),
    ]


def test_a_settings_file_is_one_mapping() -> None:
    """Read as strictly as policies."""
    assert read_mapping("maxStaleness: 1m\n", "s.yaml") == {"maxStaleness": "1m"}
    assert read_mapping("", "s.yaml") == {}
    for text in ("a: 1\na: 2\n", "[1]\n", "a: 1\n---\nb: 2\n"):
        with pytest.raises(InvalidPolicy, match=r"s\.yaml:\d"):
            read_mapping(text, "s.yaml")


@given(st.text("ab:{}[]-,&*!|>'\"# \n\t\\%?01", max_size=40) | st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    """No text makes the reader fail in another way."""
    try:
        read_manifests(text, "f")
    except InvalidPolicy as error:
        found = error.problems
    else:
        return
    assert found
    assert all(problem.path.startswith("f:") for problem in found)
