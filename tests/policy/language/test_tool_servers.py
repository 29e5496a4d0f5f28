"""ToolServers: what is declared, and names that cannot be told apart (SECURITY A4)."""

from typing import Any

import pytest

from hitl.errors import InvalidPolicy
from hitl.policy.parse import parse_tool_server
from hitl.policy.spec import Effect, Level, ToolDeclaration, ToolServer


def a_server(spec: Any, name: str = "stripe") -> ToolServer:
    return parse_tool_server({"name": name}, spec)


def problems_of(spec: Any, name: str = "stripe") -> dict[str, str]:
    try:
        a_server(spec, name)
    except InvalidPolicy as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}


def test_a_server_is_read_with_its_tools() -> None:
    """Every declared field reaches the declaration, under the normalised name."""
    server = a_server(
        {
            "endpoint": "https://mcp.example.com:8443/sse",
            "credentials": [{"header": "Authorization", "secretKeyRef": {"name": "stripe", "key": "token"}}],
            "publisher": "ed25519:9f2c41d0",
            "signature": "c2lnbmF0dXJl",
            "trusted": True,
            "onDefinitionChange": "Warn",
            "tools": [
                {
                    "name": "Create_Refund",
                    "level": "high",
                    "capabilities": {
                        "network": ["api.stripe.com"],
                        "filesystem": {"read": ["/a"], "write": ["/b"]},
                        "environment": ["STRIPE_*"],
                        "process": True,
                    },
                    "effects": ["Financial"],
                    "undo": "cancel it",
                    "untrustedOutput": True,
                    "definitionDigest": "sha256:" + "0" * 64,
                }
            ],
        }
    )
    assert server.tools["create_refund"] == ToolDeclaration(
        name="create_refund",
        level=Level.HIGH,
        network=("api.stripe.com",),
        reads=("/a",),
        writes=("/b",),
        environment=("STRIPE_*",),
        process=True,
        effects=(Effect.FINANCIAL,),
        undo="cancel it",
        untrusted_output=True,
        definition_digest="sha256:" + "0" * 64,
    )
    assert (server.name, server.trusted, server.publisher) == ("stripe", True, "ed25519:9f2c41d0")
    assert server.endpoint == "https://mcp.example.com:8443/sse"


def test_a_server_without_anything_is_one() -> None:
    """All of it may be left out: the server is known, its tools are inferred."""
    assert a_server({}) == ToolServer("stripe")


@pytest.mark.parametrize("names", [("readFile", "readfile"), ("read", "\uff52ead"), ("a", " a")])
def test_A4_two_tools_that_fall_on_one_name_are_refused(names: tuple[str, str]) -> None:
    """A4: no rule could tell them apart, so one could be called under the rules of the other."""
    problems = problems_of({"tools": [{"name": name} for name in names]})
    assert "are one name to the gate" in problems["spec.tools[1].name"]


@pytest.mark.parametrize("name", ["a/b", "cr\u0435ate", "a b", "x" * 129])
def test_A4_a_tool_name_that_no_call_can_have_is_refused(name: str) -> None:
    """A4: the same names as in calls."""
    assert "spec.tools[0].name" in problems_of({"tools": [{"name": name}]})


@pytest.mark.parametrize(
    ("spec", "path", "said"),
    [
        ({"tool": []}, "spec.tool", "did you mean tools?"),
        ({"tools": [{"level": "low"}]}, "spec.tools[0]", "needs name"),
        ({"tools": [{"name": "a", "level": "Low"}]}, "spec.tools[0].level", "did you mean low?"),
        ({"tools": [{"name": "a", "network": ["x"]}]}, "spec.tools[0].network", "write capabilities: {network: …}"),
        ({"tools": [{"name": "a", "capabilities": {"proces": True}}]}, "spec.tools[0].capabilities.proces", "process"),
        (
            {"tools": [{"name": "a", "capabilities": {"filesystem": {"reads": ["/x"]}}}]},
            "spec.tools[0].capabilities.filesystem.reads",
            "write read",
        ),
        (
            {"tools": [{"name": "a", "capabilities": {"environment": ["A B"]}}]},
            "spec.tools[0].capabilities.environment[0]",
            "name of a variable",
        ),
        ({"tools": [{"name": "a", "definitionDigest": "x"}]}, "spec.tools[0].definitionDigest", "64 hex digits"),
        ({"endpoint": "stripe.com"}, "spec.endpoint", "https://"),
        ({"endpoint": "https://user:pw@stripe.com"}, "spec.endpoint", "https://"),
        ({"endpoint": "https://a", "container": {"image": "x"}}, "spec.container", "excludes endpoint"),
        ({"container": {"command": ["x"]}}, "spec.container", "needs image"),
        (
            {"credentials": [{"header": "X", "value": "secret"}]},
            "spec.credentials[0].value",
            "never stands in a resource",
        ),
        (
            {"credentials": [{"header": "X: y", "secretKeyRef": {"name": "a", "key": "b"}}]},
            "spec.credentials[0].header",
            "HTTP header",
        ),
        ({"publisher": "stripe"}, "spec.publisher", "ed25519:"),
        ({"onDefinitionChange": "Ignore"}, "spec.onDefinitionChange", "Quarantine, Warn"),
        ({"trusted": "true"}, "spec.trusted", "true or false"),
    ],
)
def test_C5_a_mistake_in_a_server_is_refused_at_its_place(spec: Any, path: str, said: str) -> None:
    """C5: each with its path and the next step."""
    problems = problems_of(spec)
    assert path in problems, problems
    assert said in problems[path]
