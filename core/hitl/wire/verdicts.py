"""A verdict as agents receive it. Actions carry the same numbers on both sides; a test holds them equal."""

from typing import cast

from hitl.policy.actions import Action
from hitl.policy.verdicts import Verdict
from hitl.v1 import gate_pb2


def action_to_proto(action: Action | None) -> gate_pb2.Action:
    """ACTION_UNSPECIFIED where there is none."""
    return gate_pb2.ACTION_UNSPECIFIED if action is None else cast("gate_pb2.Action", int(action))


def verdict_to_proto(verdict: Verdict, *, digest: str = "") -> gate_pb2.Verdict:
    """`digest` is that of a held call, hex; empty where none was computed."""
    message = gate_pb2.Verdict(
        action=action_to_proto(verdict.action),
        factors=[gate_pb2.Factor(name=f.name, points=f.points, reason=f.reason) for f in verdict.factors],
        rule=verdict.rule,
        policy=verdict.policy,
        revision=verdict.revision,
        digest=digest,
    )
    if verdict.score is not None:
        message.score = verdict.score
    if verdict.would_have is not None:
        message.would_have = action_to_proto(verdict.would_have)
    return message
