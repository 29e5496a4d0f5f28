"""A real OTLP collector for tests: what a program exports arrives here over gRPC."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector that keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()

    async def Export(self, request: Any, _: Any) -> Any:
        for each in request.resource_spans:
            self.services |= {a.value.string_value for a in each.resource.attributes if a.key == "service.name"}
            for scope in each.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()

    async def got(self, count: int) -> list[Any]:
        """So many spans, in the order in which they began."""
        async with asyncio.timeout(60):
            while len(self.spans) < count:  # noqa: ASYNC110 - spans come when the exporter sends them
                await asyncio.sleep(0.005)
        return sorted(self.spans, key=lambda span: span.start_time_unix_nano)


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector to which every process that is started sends its spans at once."""
    collector, server = Collector(), aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    yield collector
    await server.stop(None)


def said(span: Any) -> dict[str, Any]:
    """Its attributes."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
