"""HubService and health on one gRPC server."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from hitl.errors import Unavailable
from hitl.v1 import hub_pb2_grpc
from hitl_operator.hub import Hub
from hitl_operator.service import HubService

_SERVICE = "hitl.v1.HubService"
_LARGEST_SENT = 16 << 20  # bytes of one message: a config with a few thousand rules
# The same of what comes in, which is read whole before anybody looks at it (SECURITY B5): a hold has 128 KiB, a batch
# of activity twice that, and more than is stored of a call is still refused in words.
_LARGEST_RECEIVED = 2 << 20
# Without the first two grpc.aio cancels half of a burst of ten thousand calls. One socket, one server: port sharing
# would let a second process serve half of the connections.
_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", _LARGEST_RECEIVED),
    ("grpc.max_send_message_length", _LARGEST_SENT),
    ("grpc.max_metadata_size", 32 << 10),
)
_DRAIN = 3.0  # seconds for RPCs under way, once the streams have been ended


class HubServer:
    """Serves one `Hub`. SERVING only while the hub is ready."""

    def __init__(self, hub: Hub, *, interceptors: Sequence[Any] = (), options: Sequence[tuple[str, int]] = ()) -> None:
        """`interceptors` see every call first; `options`: gRPC's, beside our own."""
        self._hub = hub
        self._server = aio.server(interceptors=interceptors, options=(*_OPTIONS, *options))
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]  # missing in grpc-stubs
        self._is_serving: bool | None = None
        hub_pb2_grpc.add_HubServiceServicer_to_server(HubService(hub), self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def bind(self, address: str) -> int:
        """Listen on ``unix:PATH`` (or ``127.0.0.1:PORT``); returns the port, 1 for a path."""
        return self._server.add_insecure_port(address)

    def bind_tls(self, address: str, credentials: grpc.ServerCredentials) -> int:
        """Listen on ``HOST:PORT`` over TLS alone; returns the port. Unavailable, HUB_ADDRESS, where that fails."""
        try:
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise Unavailable(
                "HUB_ADDRESS", f"--listen {address}: cannot be bound ({error}); choose another port"
            ) from error

    async def start(self) -> None:
        """Begin to answer; NOT_SERVING until `tell_health` finds the hub ready."""
        await self.tell_health()
        await self._server.start()

    async def tell_health(self) -> None:
        """Bring health in line with the hub."""
        serving = self._hub.is_ready and not self._hub.stopping.is_set()
        if serving != self._is_serving:
            self._is_serving = serving
            status = health_pb2.HealthCheckResponse
            for service in ("", _SERVICE):
                await self._health.set(service, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self) -> None:
        """Drain: streams end, so that sidecars go elsewhere or wait; what is being written is answered."""
        self._hub.stopping.set()
        await self.tell_health()
        await asyncio.sleep(0)
        await self._server.stop(_DRAIN)
