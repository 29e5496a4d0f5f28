"""A tool call from the wire, parsed once into the one form that is judged, digested and run (SECURITY A3)."""

from hitl.policy.calls import ToolCall
from hitl.policy.envelope import parse_call
from hitl.v1 import gate_pb2


def call_from_proto(message: gate_pb2.ToolCall) -> ToolCall:
    """The call that a message means. InvalidCall where it could be read in no way, or in two."""
    return parse_call(
        message.server,
        message.tool,
        message.arguments_json,
        call_id=message.call_id,
        session_id=message.session_id,
        agent_path=tuple(message.agent_path),
        justification=message.justification,
        confidence_percent=message.confidence_percent if message.HasField("confidence_percent") else None,
        claimed_user=message.claimed_user,
        checkpoint=message.checkpoint,
        alternatives=tuple(message.alternatives),
        external_impact=message.external_impact,
        context_json=message.context_json,
    )
