"""GateService on the wire: lean around Check, and every error a status or an answer, once.

`Check` takes and keeps the caller's bytes as they came, so ten thousand held calls keep no parsed messages; that is why
the methods are registered by hand and not through the generated servicer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final

import grpc

from hitl.errors import HitlError, InvalidCall, InvalidInput, NotFound, Unavailable
from hitl.policy.actions import Action
from hitl.policy.escaping import as_plain
from hitl.tracing import Traces
from hitl.v1 import gate_pb2
from hitl_sidecar import call_spans
from hitl_sidecar.awaiting import await_request
from hitl_sidecar.callers import Caller, usable
from hitl_sidecar.declared import DeclaredTools
from hitl_sidecar.gate import LARGE, Gate, Reply
from hitl_sidecar.hold_stream import HoldStream
from hitl_sidecar.hub import Hub
from hitl_sidecar.metrics import SERVICE, GateMetrics
from hitl_sidecar.presentation import best_case
from hitl_sidecar.programmed import Programmed
from hitl_sidecar.reporting import Reports

log = logging.getLogger(__name__)

_LONGEST_HANDLE: Final = 320  # namespace and name, each at most what Kubernetes allows
_LONGEST_AWAIT: Final = 3600.0  # seconds, for callers that set no deadline
_MOST_AWAITS: Final = 1000  # at once; each of them is a look that the hub takes
_OUTCOMES: Final = {value: name.removeprefix("OUTCOME_").lower() for name, value in gate_pb2.Outcome.items()}
_ACTIONS: Final = {0: "", **{int(action): action.word for action in Action}}


class GateService:
    """The methods of `hitl.v1.GateService`."""

    def __init__(
        self,
        *,
        epoch: str,
        gate: Gate,
        programmed: Programmed,
        hub: Hub,
        stream: HoldStream,
        declared: DeclaredTools,
        reports: Reports,
        metrics: GateMetrics,
        traces: Traces | None = None,
    ) -> None:
        self._epoch = epoch
        self._gate = gate
        self._programmed = programmed
        self._hub = hub
        self._stream = stream
        self._declared = declared
        self._reports = reports
        self._metrics = metrics
        self._traces = traces
        self._awaits = 0

    def handler(self) -> Any:
        """What a server registers."""
        check = self.check if self._traces is None else self._traced(self._traces)
        methods = {"Check": grpc.unary_unary_rpc_method_handler(check)}
        for name, method, request, response in (
            ("Await", self.await_, gate_pb2.AwaitRequest, gate_pb2.AwaitResponse),
            ("Cancel", self.cancel, gate_pb2.CancelRequest, gate_pb2.CancelResponse),
            ("Report", self.report, gate_pb2.ReportRequest, gate_pb2.ReportResponse),
            ("DeclareTools", self.declare_tools, gate_pb2.DeclareToolsRequest, gate_pb2.DeclareToolsResponse),
            ("Ask", self.ask, gate_pb2.AskRequest, gate_pb2.AskResponse),
        ):
            methods[name] = grpc.unary_unary_rpc_method_handler(
                self._edge(name, method), request.FromString, response.SerializeToString
            )
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def check(self, data: bytes, context: Any) -> bytes:
        """Decide a call; wait for people where the policy says so."""
        answer, _ = await self._check(data, context)
        return answer

    def _traced(self, traces: Traces) -> Callable[[bytes, Any], Awaitable[bytes]]:
        """As `check`, with a span for each call; where nobody collects them, none of this is in its way."""

        async def check(data: bytes, context: Any) -> bytes:
            span = call_spans.begin(traces, context.invocation_metadata() or ())
            try:
                answer, caller = await self._check(data, context)
            except asyncio.CancelledError:
                call_spans.leave(span)
                raise
            call_spans.finish(span, data, answer, caller)
            return answer

        return check

    async def _check(self, data: bytes, context: Any) -> tuple[bytes, Caller | None]:
        started = perf_counter()
        metrics = self._metrics
        metrics.started["Check"] += 1
        if len(data) < LARGE:
            answered = self._gate.check(data, context.time_remaining)
        else:
            answered = await self._gate.check_large(data, context.time_remaining)
        if isinstance(answered, Reply):
            reply = answered
        elif isinstance(answered, Caller):
            try:
                reply = _reply(await answered.future)
            except asyncio.CancelledError:
                answered.leave()
                metrics.handled["Check", "CANCELLED"] += 1
                raise
        else:
            reply = _reply(answered)
        if not isinstance(answered, Caller):
            metrics.check_duration.observe(perf_counter() - started)
        metrics.checks[reply.labels] += 1
        metrics.handled["Check", "OK"] += 1
        return reply.data, answered if isinstance(answered, Caller) else None

    async def await_(self, request: gate_pb2.AwaitRequest, context: Any) -> gate_pb2.AwaitResponse:
        """Follow a request without holding its call."""
        handle = request.handle
        namespace, _, name = handle.partition("/")
        if not namespace or not name or len(handle) > _LONGEST_HANDLE or not handle.isascii():
            return gate_pb2.AwaitResponse(
                outcome=gate_pb2.OUTCOME_INVALID,
                message=f"{as_plain(handle[:80])!r} is no handle; send the one that Check gave, namespace/name.",
            )
        remaining = context.time_remaining()
        seconds = _LONGEST_AWAIT if remaining is None else usable(remaining)
        if request.HasField("wait"):
            seconds = min(seconds, max(0.0, request.wait.ToTimedelta().total_seconds()))
        if self._awaits >= _MOST_AWAITS:
            return gate_pb2.AwaitResponse(
                outcome=gate_pb2.OUTCOME_UNAVAILABLE,
                message=f"{_MOST_AWAITS} Awaits of this pod are under way already. Await later.",
            )
        self._awaits += 1
        try:
            return await await_request(self._stream, self._epoch, handle, seconds)
        except Unavailable as error:
            return gate_pb2.AwaitResponse(
                outcome=gate_pb2.OUTCOME_UNAVAILABLE, message=f"The gate cannot tell now: {as_plain(str(error))}."
            )
        finally:
            self._awaits -= 1

    async def cancel(self, request: gate_pb2.CancelRequest, _: Any) -> gate_pb2.CancelResponse:
        """Withdraw a request."""
        if len(request.handle) > _LONGEST_HANDLE:
            raise InvalidInput("handle: longer than any handle is; send the one that Check gave")
        outcome = await self._hub.cancel(request.handle, request.reason, "Withdrawn")
        return gate_pb2.CancelResponse(outcome=outcome)

    async def report(self, request: gate_pb2.ReportRequest, _: Any) -> gate_pb2.ReportResponse:
        """Close a permit."""
        return await self._reports.report(request)

    async def declare_tools(self, request: gate_pb2.DeclareToolsRequest, _: Any) -> gate_pb2.DeclareToolsResponse:
        """Take the definitions an agent sees, and say how to present each tool."""
        declared = self._declared.declare(request.server, request.tools)
        in_force = self._programmed.current()
        response = gate_pb2.DeclareToolsResponse()
        for tool, (name, definition) in zip(request.tools, declared, strict=True):
            best = best_case(in_force.config, name, definition, in_force.identity.agent)
            hidden = best is Action.DENY
            response.tools.add(name=tool.name, hidden=hidden, best_case=int(best), reason_code="RULE" if hidden else "")
        return response

    async def ask(self, _: gate_pb2.AskRequest, __: Any) -> gate_pb2.AskResponse:
        """Questions to people are not served by this release."""
        raise NotImplementedError("this gate does not put questions to people; ask the user in the conversation")

    def _edge(self, name: str, method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        """Counts a method, and turns what it raises into a status: whoever gets one was given no answer."""

        async def handle(request: Any, context: Any) -> Any:
            self._metrics.started[name] += 1
            try:
                response = await method(request, context)
            except asyncio.CancelledError:
                self._metrics.handled[name, "CANCELLED"] += 1
                raise
            except Exception as error:
                code = _status_of(error)
                self._metrics.handled[name, code.name] += 1
                if code is grpc.StatusCode.INTERNAL:
                    log.exception("%s failed", name)
                await context.abort(code, as_plain(str(error)) or "the gate failed; its log says why")
                raise AssertionError("abort raises") from error
            self._metrics.handled[name, "OK"] += 1
            return response

        return handle


def _reply(response: gate_pb2.CheckResponse) -> Reply:
    verdict = response.verdict
    labels = (_ACTIONS[verdict.action], _OUTCOMES[response.outcome], verdict.policy)
    return Reply(response.SerializeToString(), labels)


def _status_of(error: Exception) -> grpc.StatusCode:
    match error:
        case InvalidCall() | InvalidInput():
            return grpc.StatusCode.INVALID_ARGUMENT
        case NotFound():
            return grpc.StatusCode.NOT_FOUND
        case Unavailable():
            return grpc.StatusCode.UNAVAILABLE
        case NotImplementedError():
            return grpc.StatusCode.UNIMPLEMENTED
        case HitlError():
            return grpc.StatusCode.FAILED_PRECONDITION
        case _:
            return grpc.StatusCode.INTERNAL
