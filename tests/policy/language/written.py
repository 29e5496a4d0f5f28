"""What authors write, made short for tests of the policy language."""

from collections.abc import Mapping
from typing import Any

from hitl.errors import InvalidPolicy
from hitl.policy.calls import Agent, OnBehalfOf, ToolCall
from hitl.policy.expressions import Variables
from hitl.policy.matchers import ArgumentMatchers
from hitl.policy.parse import parse_policy
from hitl.policy.spec import Policy, Rule

# 2025-01-01 03:00:00 UTC.
NIGHT = 1735700400.0


def a_policy(spec: Any, kind: str = "AgentPolicy", name: str = "support") -> Policy:
    """The policy that a spec makes in namespace shop."""
    return parse_policy(kind, {"name": name, "namespace": "shop", "uid": "u-1", "generation": 1}, spec)


def a_rule(**fields: Any) -> Rule:
    """The one rule of a policy; by default it confirms every call."""
    return a_policy({"rules": [{"action": "Confirm", "tools": ["*"], **fields}]}).rules[0]


def matchers(**args: Any) -> ArgumentMatchers:
    """Compiled matchers, as a policy's author writes them under `args`."""
    return a_rule(args=args).args


def problems_of(spec: Any, kind: str = "AgentPolicy") -> dict[str, str]:
    """Path to message of everything that is wrong with a spec; empty if nothing is."""
    try:
        a_policy(spec, kind)
    except InvalidPolicy as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}


def rule_problems(**fields: Any) -> dict[str, str]:
    """What is wrong with the one rule of a policy, by path inside the rule."""
    found = problems_of({"rules": [{"action": "Confirm", "tools": ["*"], **fields}]})
    return {path.removeprefix("spec.rules[0]").removeprefix("."): message for path, message in found.items()}


def variables(
    arguments: Mapping[str, Any],
    *,
    name: str = "stripe/create_refund",
    on_behalf_of: OnBehalfOf | None = None,
    tainted: bool = False,
    now: float = NIGHT,
) -> Variables:
    """What a condition reads of a call with these arguments."""
    server, _, tool = name.partition("/")
    call = ToolCall(server, tool, name.lower(), arguments, b"{}", session_id="s-1", claimed_user="kim")
    agent = Agent("shop", service_account="support", workload="deploy/support", labels={"app": "support"})
    return Variables(call, agent, on_behalf_of, tainted=tainted, now=now)
