"""The gRPC server of the gate: one Unix socket, and loopback TCP where it is asked for (SECURITY E2)."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final

import grpc
from grpc import aio
from grpc_health.v1 import _async as health
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hitl.errors import Unavailable
from hitl_sidecar.metrics import SERVICE
from hitl_sidecar.service import GateService
from hitl_sidecar.socket_path import SocketPath

# A call may have 1 MiB, a tool's result 8 MiB. What is a little larger is refused in words, by whoever parses it.
_LARGEST: Final = 12 * 1024 * 1024
_OPTIONS: Final = (
    # The defaults cancel more than half of a burst of ten thousand calls that arrive together.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.max_send_message_length", _LARGEST),
    ("grpc.so_reuseport", 0),  # a taken port must be an error, not a port that two processes share
)
_DRAIN_WITHIN: Final = 5.0  # seconds for answers that are on their way
_LOOK_EVERY: Final = 0.5  # seconds between two looks at whether the gate can decide


class GateServer:
    """Serves `GateService`, health and reflection."""

    def __init__(self, service: GateService, can_decide: Callable[[], bool]) -> None:
        """`can_decide`: whether calls are answered by policy now; health says so to kubelet and clients."""
        self._can_decide = can_decide
        self._health = health.HealthServicer()
        self._server = aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((service.handler(), _Reflection()))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._is_stopping = False

    def bind(self, path: SocketPath) -> None:
        """Take the socket. Unavailable, SOCKET_TAKEN, where that fails."""
        path.claim()
        with path.binding() as address:
            try:
                self._server.add_insecure_port(address)
            except RuntimeError as error:
                raise Unavailable(
                    "SOCKET_PATH", f"--socket {path.path}: cannot be bound ({error}); choose another path"
                ) from error

    def bind_tcp(self, address: str) -> int:
        """Listen on ``127.0.0.1:PORT`` too; returns the port, a free one for 0. Whoever is in the pod can connect.

        Unavailable, TCP_ADDRESS, for anything but loopback and for a port that is taken.
        """
        host, _, port = address.rpartition(":")
        try:
            is_loopback = ip_address(host.strip("[]")).is_loopback and port.isdecimal()
        except ValueError:
            is_loopback = False
        if not is_loopback:
            raise Unavailable(
                "TCP_ADDRESS", f"--tcp {address}: must be a loopback address and a port, such as 127.0.0.1:7443"
            )
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise Unavailable(
                "TCP_ADDRESS", f"--tcp {address}: cannot be bound ({error}); choose another port"
            ) from error

    async def start(self) -> None:
        """Serve. Health says NOT_SERVING until the gate can decide."""
        await self.tell_health()
        await self._server.start()

    async def tell_health(self) -> None:
        """Say now whether the gate can decide."""
        serving = self._can_decide() and not self._is_stopping
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE):
            await self._health.set(name, status)

    async def watch_health(self) -> None:
        """Keep health up to date, until cancelled: a config grows stale without anything happening."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await self.tell_health()

    async def stop(self, drain: Callable[[], Any]) -> None:
        """Say NOT_SERVING, answer who waits, and end."""
        self._is_stopping = True
        await self.tell_health()
        await drain()
        await self._server.stop(_DRAIN_WITHIN)


class _Reflection(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # its parameters are in the stubs alone
    """Server reflection, imported by the first client that asks: it is for people with grpcurl."""

    def __init__(self) -> None:
        self._handlers: Any = None

    def service(self, handler_call_details: Any) -> Any:
        if not handler_call_details.method.startswith("/grpc.reflection."):
            return None
        if self._handlers is None:
            self._handlers = _reflection_handlers()
        return self._handlers.service(handler_call_details)


def _reflection_handlers() -> Any:
    from grpc_reflection.v1alpha import _async as reflection  # noqa: PLC0415 - start-up and idle memory
    from grpc_reflection.v1alpha import reflection_pb2  # noqa: PLC0415

    name = "grpc.reflection.v1alpha.ServerReflection"
    servicer = reflection.ReflectionServicer((SERVICE, "grpc.health.v1.Health", name))
    return grpc.method_handlers_generic_handler(
        name,
        {
            "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                servicer.ServerReflectionInfo,
                reflection_pb2.ServerReflectionRequest.FromString,
                reflection_pb2.ServerReflectionResponse.SerializeToString,
            )
        },
    )
