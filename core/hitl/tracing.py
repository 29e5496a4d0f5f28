"""Traces by OpenTelemetry, imported only where the standard OTEL_… variables name an exporter (DESIGN 13).

A span says what was decided about which tool, never with which arguments (I10). Exporting happens on a thread of its
own and loses spans rather than hold up a call.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hitl import __version__

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FLUSH_MS: Final = 2000  # milliseconds for what is still to be sent when a program ends
_HEADER: Final = "traceparent"

Attributes = Mapping[str, str | int | float | bool]


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment names where spans go, and nothing there switches them off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().casefold() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").strip() == "none":
        return False
    return any(environment.get(name, "").strip() for name in _ENDPOINTS)


def open_traces(service: str, environment: Mapping[str, str]) -> "Traces | None":
    """Where this program's spans go; None, and nothing imported, where nobody asked for any.

    Args:
        service: name of the program; OTEL_SERVICE_NAME overrides it.
        environment: of the process: endpoint, headers, certificates, sampler and resource are the SDK's own variables
            (opentelemetry.io, "Environment Variable Specification").
    """
    if not is_wanted(environment):
        return None
    # Start-up and memory: 10 MiB that only those pay who collect traces.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    # A collector that is away is no news for every batch that it misses.
    logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.ERROR)
    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": service}
    provider = TracerProvider(resource=Resource.create({**named, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)


@dataclass(frozen=True, slots=True)
class Span:
    """Something that is under way or was. `traceparent`: how others name it (W3C Trace Context); empty if unsampled."""

    _span: Any

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        if not context.is_valid or not context.trace_flags.sampled:
            return ""
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    def end(self, attributes: Attributes, *, name: str = "", links: Iterable[str] = (), error: str = "") -> None:
        """Close it. `links`: traceparents of spans that belong to it; `error`: why it could not be done."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - as above

        if name:
            self._span.update_name(name)
        self._span.set_attributes({key: value for key, value in attributes.items() if value != ""})
        for each in links:
            context = _context_of(each)
            if context is not None:
                self._span.add_link(context)
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class Traces:
    """Begins spans."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("hitl", __version__)

    def begin(self, name: str, *, parent: str = "", is_server: bool = False, start: float | None = None) -> Span:
        """A span that is under way.

        Args:
            name: what it is about; `Span.end` may say it better.
            parent: traceparent of the caller's span; anything else begins a trace of its own.
            is_server: it answers a call from another process.
            start: when it began, in seconds since the epoch; None: now.
        """
        from opentelemetry.context import Context  # noqa: PLC0415
        from opentelemetry.trace import (  # noqa: PLC0415 - as above
            NonRecordingSpan,
            SpanKind,
            set_span_in_context,
        )

        caller = _context_of(parent)
        return Span(
            self._tracer.start_span(
                name,
                context=Context() if caller is None else set_span_in_context(NonRecordingSpan(caller), Context()),
                kind=SpanKind.SERVER if is_server else SpanKind.INTERNAL,
                start_time=None if start is None else int(start * 1e9),
            )
        )

    def close(self) -> None:
        """Send what is left, for at most two seconds. Blocks: call it off the event loop."""
        self._provider.force_flush(_FLUSH_MS)
        self._provider.shutdown()


def trace_id_of(traceparent: str) -> str:
    """The trace that a traceparent belongs to, 32 hex digits; empty if it is none. For exemplars."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else ""


def traceparent_in(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The caller's traceparent in gRPC metadata; empty if it sent none."""
    return next((value for key, value in metadata if key == _HEADER and isinstance(value, str)), "")


def _context_of(traceparent: str) -> Any:
    """The span context that a traceparent names; None for anything that is no traceparent."""
    if not traceparent:
        return None
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - as above
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    found = TraceContextTextMapPropagator().extract({_HEADER: traceparent}, context=Context())
    context = get_current_span(found).get_span_context()
    return context if context.is_valid else None
