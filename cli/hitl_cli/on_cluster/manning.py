"""Requests that nobody can decide: the operator asks the API server each minute and writes it into the policies."""

from collections.abc import Sequence
from typing import Any, Final

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.policy_conditions import PolicyCondition
from hitl_cli.on_cluster.place_words import PlaceWords
from hitl_cli.standing import brings_more_people

_POLICIES: Final = {"AgentPolicy": "agentpolicies", "ClusterAgentPolicy": "clusteragentpolicies"}


async def unmanned(api: KubeAPI, place: PlaceWords, requests: Sequence[ApprovalRequest]) -> list[str]:
    """One warning for each reason why nobody can decide what waits; empty where that cannot be read or is not known."""
    said: dict[str, list[str]] = {}
    held = {(ref.kind, ref.namespace, ref.name): each for each in reversed(requests) for ref in each.spec.policies}
    for kind, plural in _POLICIES.items():
        if not any(of == kind for of, _, _ in held):
            continue
        try:
            policies = [
                each
                async for each in api.list(
                    path_of("hitl.dev/v1alpha1", plural, place.namespace if kind == "AgentPolicy" else None)
                )
            ]
        except HitlError:
            continue  # a warning that cannot be given is none; `status` says what cannot be read
        for policy in policies:
            metadata = policy["metadata"]
            request = held.get((kind, metadata.get("namespace", ""), metadata["name"]))
            message = _why_unmanned(policy)
            if request is not None and message and message not in said:
                warning = f"warning: {message.rstrip('.')}; {request.name} will expire."
                said[message] = [warning, "  An administrator can bind the role to the group."]
                if brings_more_people(request, place.now()):
                    said[message].append(f"  Or ask more people: {place.hint('escalate', request.name, about=request)}")
    return [line for lines in said.values() for line in lines]


def _why_unmanned(policy: dict[str, Any]) -> str:
    """What the operator found; empty where all groups may decide, or nobody knows (people who are bound by name)."""
    for condition in policy.get("status", {}).get("conditions", ()):
        if condition.get("type") == PolicyCondition.REVIEWERS_AVAILABLE and condition.get("status") == "False":
            return str(condition.get("message", ""))
    return ""
