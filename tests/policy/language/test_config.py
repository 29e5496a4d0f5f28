"""The config document: complete or refused (SECURITY H1), what a baseline forbids (A7), and its revision."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.errors import InvalidPolicy, Problem
from hitl.policy.config import COMPILER, SCHEMA, compile_config, config_document, revision_of, together
from hitl.policy.parse import parse_policy, parse_tool_server
from hitl.policy.settings import Settings

ALLOW = {"rules": [{"action": "Allow", "tools": ["get_*"]}]}


def a_policy(name: str = "support", spec: Any = None, kind: str = "AgentPolicy") -> dict[str, Any]:
    namespace = "" if kind == "ClusterAgentPolicy" else "shop"
    return {
        "kind": kind,
        "name": name,
        "namespace": namespace,
        "uid": f"u-{name}",
        "generation": 1,
        "spec": spec or ALLOW,
    }


def a_server(name: str = "stripe", spec: Any = None) -> dict[str, Any]:
    return {"name": name, "uid": f"u-{name}", "generation": 3, "spec": {} if spec is None else spec}


def a_document(*policies: dict[str, Any], servers: tuple[dict[str, Any], ...] = (), **changes: Any) -> dict[str, Any]:
    document = config_document(
        namespace="shop",
        namespace_uid="ns-1",
        settings=Settings(),
        policies=policies,
        tool_servers=servers,
        key_id="k1",
    )
    return {**document, **changes}


def problems_of(document: Any) -> tuple[Problem, ...]:
    with pytest.raises(InvalidPolicy) as caught:
        compile_config(document)
    return caught.value.problems


def test_a_document_compiles_to_a_config() -> None:
    """Policies sorted by name, the baseline apart, servers by their names, everything else as given."""
    document = a_document(
        a_policy("b"),
        a_policy("a"),
        a_policy("base", {"undeclared": "Confirm"}, "ClusterAgentPolicy"),
        servers=(a_server(),),
    )
    config = compile_config(document)
    assert [policy.ref.name for policy in config.policies] == ["a", "b"]
    assert [policy.ref.name for policy in config.baseline] == ["base"]
    assert set(config.tool_servers) == {"stripe"}
    assert (config.namespace, config.namespace_uid, config.key_id, config.floor) == ("shop", "ns-1", "k1", None)
    assert config.settings == Settings()
    assert config.revision == revision_of(document)
    assert config.policies[0].uid == "u-a"
    assert config.policies[0].ref.generation == 1


def test_a_config_without_policies_is_one() -> None:
    """A namespace that was labelled and has no policy yet: the built-in policy decides."""
    config = compile_config(a_document(keyID=""))
    assert (config.policies, config.baseline, config.key_id) == ((), (), "")


def test_C6_a_floor_travels_with_the_config() -> None:
    """C6: the hub sets it when an invalid update was left standing; no other word is known."""
    floor = compile_config(a_document(floor="Confirm")).floor
    assert floor is not None
    assert floor.word == "Confirm"
    assert problems_of(a_document(floor="Allow"))[0].path == "floor"


@pytest.mark.parametrize(
    "key", ["schema", "namespace", "namespaceUID", "baseline", "keyID", "settings", "policies", "toolServers"]
)
def test_H1_an_absent_part_is_refused(key: str) -> None:
    """H1: nothing is defaulted, because a part may have been lost on the way."""
    document = a_document(a_policy())
    del document[key]
    assert problems_of(document)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": SCHEMA + 1},
        {"schema": True},
        {"schema": "1"},
        {"namespace": ""},
        {"namespace": None},
        {"namespaceUID": ""},
        {"baseline": "present"},
        {"baseline": ""},
        {"baseline": True},
        {"settings": {"maxStalenes": "1m"}},
        {"settings": []},
        {"policies": {}},
        {"policies": None},
        {"toolServers": None},
        {"extra": 1},
    ],
)
def test_H1_an_empty_or_mismatched_part_is_refused(changes: dict[str, Any]) -> None:
    """H1: also a baseline that is announced and not there."""
    assert problems_of(a_document(a_policy(), **changes))


def test_H1_a_baseline_that_is_not_announced_is_refused() -> None:
    """H1: the announcement and the policies must agree, in both directions."""
    document = a_document(a_policy(), a_policy("base", kind="ClusterAgentPolicy"), baseline="none")
    assert problems_of(document)[0].path == "baseline"


@pytest.mark.parametrize(
    ("key", "value"),
    [("uid", ""), ("uid", None), ("generation", 0), ("generation", "1"), ("namespace", "other"), ("kind", "Role")],
)
def test_H1_every_input_is_named_by_uid_and_version(key: str, value: Any) -> None:
    """H1: a policy without uid or generation, of another namespace, or of another kind does not compile."""
    assert problems_of(a_document({**a_policy(), key: value}))


@pytest.mark.parametrize("document", [None, [], {}, "x", 5])
def test_H1_what_is_no_document_is_refused(document: Any) -> None:
    """H1: absent and empty are not the same as a config without policies."""
    assert problems_of(document)


def test_a_problem_says_in_which_resource_it_is() -> None:
    """By index and by name, so that the hub can mark the right policy."""
    document = a_document(a_policy("a"), a_policy("b", {"mode": "x"}), servers=(a_server(spec={"trusted": 1}),))
    problems = problems_of(document)
    assert [(problem.path, problem.document) for problem in problems] == [("spec.mode", 1), ("spec.trusted", 2)]
    assert "(in AgentPolicy b)" in problems[0].message
    assert "(in ToolServer stripe)" in problems[1].message


RELAXATIONS = {
    "Monitor": ({"mode": "Monitor"}, "spec.mode"),
    "AuditOnly": ({"autonomy": 4}, "spec.autonomy"),
    "Permissive": ({"posture": "Permissive"}, "spec.posture"),
    "Trust": ({"trust": [{"ceiling": "Allow", "tools": ["*"]}]}, "spec.trust"),
    "Final": ({"rules": [{"action": "Allow", "tools": ["*"], "final": True}]}, "spec.rules[0].final"),
}


@pytest.mark.parametrize("word", RELAXATIONS)
def test_A7_what_the_baseline_forbids_is_refused_by_name(word: str) -> None:
    """A7: a namespaced policy that uses it does not compile, and the message names the ClusterAgentPolicy."""
    spec, path = RELAXATIONS[word]
    baseline = a_policy("guardrails", {"forbid": [word]}, "ClusterAgentPolicy")
    (problem,) = problems_of(a_document(a_policy(spec=spec), baseline))
    assert (problem.path, problem.code) == (path, "HITL112")
    assert "forbidden by ClusterAgentPolicy guardrails" in problem.message
    others = a_policy("guardrails", {"forbid": [each for each in RELAXATIONS if each != word]}, "ClusterAgentPolicy")
    assert compile_config(a_document(a_policy(spec=spec), others))


def test_A4_two_servers_under_one_name_are_refused() -> None:
    """A4: server names are compared as calls name them."""
    servers = [parse_tool_server({"name": name}, {}) for name in ("stripe", "STRIPE")]
    (problem,) = together(servers)
    assert (problem.document, problem.code) == (1, "HITL115")


def test_two_policies_of_one_name_are_refused_and_kinds_kept_apart() -> None:
    """One AgentPolicy and one ClusterAgentPolicy may share a name."""
    one = parse_policy("AgentPolicy", {"name": "a", "namespace": "shop"}, ALLOW)
    cluster = parse_policy("ClusterAgentPolicy", {"name": "a"}, {})
    assert together([one, cluster]) == []
    assert [problem.document for problem in together([one, cluster, one])] == [2]


def test_I14_the_revision_depends_on_content_and_compiler_alone() -> None:
    """I14: not on the order of resources or keys; on every byte of content, and on who compiles."""
    document = a_document(a_policy("a"), a_policy("b"), servers=(a_server("x"), a_server("y")))
    shuffled = dict(reversed(document.items()))
    shuffled["policies"] = document["policies"][::-1]
    shuffled["toolServers"] = document["toolServers"][::-1]
    assert revision_of(shuffled) == revision_of(document)
    assert revision_of(document, "another compiler") != revision_of(document, COMPILER)
    assert len(revision_of(document)) == 64


@pytest.mark.parametrize(
    "path",
    [
        ("namespaceUID",),
        ("keyID",),
        ("policies", 0, "uid"),
        ("policies", 0, "spec", "rules", 0, "action"),
        ("toolServers", 0, "name"),
    ],
)
def test_every_change_changes_the_revision(path: tuple[str | int, ...]) -> None:
    """A sidecar that runs something else never runs the same revision."""
    document = a_document(a_policy(), servers=(a_server(),))
    changed: Any = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = "changed"
    assert revision_of(changed) != revision_of(document)


@pytest.mark.parametrize("value", [2**53 + 1, float("nan"), {1: 2}, object()])
def test_a_document_without_canonical_form_has_no_revision(value: Any) -> None:
    """It is refused as invalid, not as a crash."""
    with pytest.raises(InvalidPolicy, match="canonical form"):
        revision_of(a_document(extra=value))


PARTS = [
    "schema",
    "namespace",
    "namespaceUID",
    "baseline",
    "keyID",
    "settings",
    "policies",
    "toolServers",
    "floor",
    "x",
]
RAW = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*PARTS, "kind", "name", "uid", "spec"]), inner),
)


@given(RAW)
def test_H1_any_document_compiles_or_is_refused(document: Any) -> None:
    """H1: garbage from a hub is an InvalidPolicy, whatever its shape."""
    if isinstance(document, dict):
        document = {**a_document(a_policy()), **document}
    try:
        outcome: Any = compile_config(document)
    except InvalidPolicy as error:
        outcome = error.problems
    assert outcome
