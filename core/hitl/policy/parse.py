"""From raw mappings to policies and tool servers that cannot be wrong; every problem is named, not just the first."""

from collections.abc import Mapping
from typing import Any, Final

from hitl.errors import InvalidPolicy
from hitl.policy.actions import Action
from hitl.policy.parsing_people import read_approval
from hitl.policy.parsing_reader import Problems, Reader, check_numbers
from hitl.policy.parsing_rules import ACTIONS, read_rules
from hitl.policy.parsing_sections import (
    read_protected,
    read_raisers,
    read_redaction,
    read_review,
    read_scoring,
    read_selector,
    read_trust,
)
from hitl.policy.parsing_servers import read_tool_server
from hitl.policy.spec import Autonomy, Mode, Policy, Posture, ToolServer, Undeclared
from hitl.policy.verdicts import PolicyRef
from hitl.policy.weights import check_weight

ONLY_TIGHTENS: Final = "HITL111"

KINDS: Final = ("AgentPolicy", "ClusterAgentPolicy", "ToolServer")
FORBIDDABLE: Final = ("Monitor", "AuditOnly", "Final", "Trust", "Incident", "Permissive")

_UNDECLARED: Final[dict[str, Action | Undeclared | None]] = {**ACTIONS, "Score": Undeclared.SCORE}
_AUTONOMY: Final = {each.value: each for each in Autonomy}
HINTS: Final = {
    "reviewers": "unknown key; it stands under approval: {reviewers: […]}, or in a rule",
    "timeout": "unknown key; it stands under approval: {timeout: 15m}, or in a rule",
    "default": "unknown key; write undeclared",
    "selector": "unknown key; write podSelector",
}


def parse_policy(kind: str, metadata: Mapping[str, Any], spec: Any) -> Policy:
    """An AgentPolicy or ClusterAgentPolicy.

    Args:
        kind: which of the two.
        metadata: name, and as far as known namespace, uid and generation.
        spec: as written.

    Raises:
        InvalidPolicy: with every problem; paths start at ``spec``.
    """
    problems = Problems()
    check_weight(spec)
    reader = Reader(spec, "spec", problems)
    check_numbers(spec, "spec", problems)
    ref = PolicyRef(
        kind=kind,
        namespace="" if kind == "ClusterAgentPolicy" else str(metadata.get("namespace", "")),
        name=str(metadata.get("name", "")),
        generation=int(metadata.get("generation", 0)),
    )
    policy = Policy(
        ref=ref,
        uid=str(metadata.get("uid", "")),
        pod_selector=read_selector(reader),
        mode=reader.word("mode", {each.value: each for each in Mode}, Mode.ENFORCE),
        autonomy=_read_autonomy(reader),
        posture=reader.word("posture", {each.value: each for each in Posture}, Posture.BALANCED),
        undeclared=reader.word("undeclared", _UNDECLARED, None),
        rules=read_rules(reader),
        scoring=read_scoring(reader),
        trust=read_trust(reader),
        raisers=read_raisers(reader),
        protected_paths=read_protected(reader),
        redaction=read_redaction(reader),
        approval=read_approval(reader),
        review_every=read_review(reader),
        forbid=frozenset(reader.words("forbid", {word: word for word in FORBIDDABLE})),
    )
    if policy.is_cluster:
        _check_only_tightens(policy, reader)
    elif "forbid" in reader:
        reader.problem("forbid", "only a ClusterAgentPolicy can forbid; move it there", ONLY_TIGHTENS)
    reader.done(HINTS)
    if problems.found:
        raise InvalidPolicy(tuple(problems.found))
    return policy


def parse_tool_server(metadata: Mapping[str, Any], spec: Any) -> ToolServer:
    """A ToolServer. Raises InvalidPolicy with every problem; paths start at ``spec``."""
    problems = Problems()
    check_weight(spec)
    check_numbers(spec, "spec", problems)
    server = read_tool_server(str(metadata.get("name", "")), Reader(spec, "spec", problems))
    if problems.found:
        raise InvalidPolicy(tuple(problems.found))
    return server


def _read_autonomy(reader: Reader) -> Autonomy:
    """A word, or its number from 1 to 4 in the order of the words."""
    number = reader.raw.get("autonomy")
    if type(number) is int and 1 <= number <= len(_AUTONOMY):
        reader.value("autonomy")
        return list(Autonomy)[number - 1]
    return reader.word("autonomy", _AUTONOMY, Autonomy.READ_ONLY)


def _check_only_tightens(policy: Policy, reader: Reader) -> None:
    """A baseline raises results and adds requirements. What could only relax has no meaning there, or a wrong one."""
    why = "a ClusterAgentPolicy may only tighten"
    if policy.mode is Mode.MONITOR:
        reader.problem("mode", f"Monitor is not for a baseline: {why}; try it in one namespace first", ONLY_TIGHTENS)
    if policy.autonomy is Autonomy.AUDIT_ONLY:
        reader.problem("autonomy", f"AuditOnly is not for a baseline: {why}", ONLY_TIGHTENS)
    if policy.posture is Posture.PERMISSIVE:
        reader.problem("posture", f"Permissive is not for a baseline: {why}", ONLY_TIGHTENS)
    if policy.trust:
        reader.problem("trust", f"ceilings are not for a baseline: {why}; put them into an AgentPolicy", ONLY_TIGHTENS)
    if policy.undeclared is Action.ALLOW:
        reader.problem("undeclared", f"Allow says nothing here: {why}; leave it out", ONLY_TIGHTENS)
    for rule in policy.rules:
        if rule.final:
            reader.problems.add(
                f"{reader.at('rules')}[{rule.index}].final",
                f"a final rule is not for a baseline: {why}; it would switch raisers off",
                ONLY_TIGHTENS,
            )
