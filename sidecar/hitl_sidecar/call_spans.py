"""One span for each Check: what was asked of which tool and what was answered, by the conventions for GenAI agents.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ ("Execute tool span"); our own attributes are `hitl.…`.
A call that is answered PENDING and made again later has two spans; the second links to the first, under which people
were asked.
"""

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final

from hitl.policy.actions import Action
from hitl.policy.escaping import escape
from hitl.tracing import Span, Traces, traceparent_in
from hitl.v1 import gate_pb2
from hitl_sidecar.callers import Caller

TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")
"""Of the Check that this task answers; empty where nobody collects traces."""
_LONGEST: Final = 128  # characters of what an agent names freely
_ACTIONS: Final = {int(action): action.word for action in Action}


def begin(traces: Traces, metadata: Iterable[tuple[str, str | bytes]]) -> Span:
    """A Check has arrived; whatever it opens is asked under its name."""
    span = traces.begin("execute_tool", parent=traceparent_in(metadata), is_server=True)
    TRACEPARENT.set(span.traceparent)
    return span


def finish(span: Span, asked: bytes, answered: bytes, caller: Caller | None) -> None:
    """It is answered. `asked`, `answered`: the messages as they were on the wire; `caller`: where it waited."""
    if not span.traceparent:
        span.end({})
        return
    call = gate_pb2.CheckRequest.FromString(asked).call
    response = gate_pb2.CheckResponse.FromString(answered)
    verdict = response.verdict
    tool = escape(call.tool, limit=_LONGEST)
    opened_in = caller.opened_in if caller is not None else ""
    span.end(
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.call.id": escape(call.call_id, limit=_LONGEST),
            "gen_ai.conversation.id": escape(call.session_id, limit=_LONGEST),
            "hitl.tool.server": escape(call.server, limit=_LONGEST),
            "hitl.outcome": gate_pb2.Outcome.Name(response.outcome).removeprefix("OUTCOME_"),
            "hitl.reason_code": response.reason_code,
            "hitl.action": _ACTIONS.get(verdict.action, ""),
            "hitl.policy": verdict.policy,
            "hitl.rule": verdict.rule,
            "hitl.handle": response.handle,
            "hitl.revision": verdict.revision,
            **({"hitl.score": verdict.score} if verdict.HasField("score") else {}),
        },
        name=f"execute_tool {tool}",
        links=[opened_in] if opened_in and opened_in != span.traceparent else (),
        error=response.reason_code if response.outcome == gate_pb2.OUTCOME_UNAVAILABLE else "",
    )


def leave(span: Span) -> None:
    """The caller went before it was answered."""
    span.end({"gen_ai.operation.name": "execute_tool", "hitl.outcome": "CANCELLED_BY_CALLER"})
