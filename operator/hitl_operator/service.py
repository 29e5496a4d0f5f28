"""HubService on the wire: every method asks first who calls, and turns what went wrong into a gRPC status, once."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import aio
from grpc.aio import EOF  # type: ignore[attr-defined]  # missing in grpc-stubs

from hitl.errors import Forbidden, InvalidInput, NotFound, Refused, StoreError, Unavailable
from hitl.v1 import hub_pb2, hub_pb2_grpc
from hitl.wire.identity import Identity
from hitl_operator.holding import HoldStream
from hitl_operator.hub import Hub
from hitl_operator.logs import Log
from hitl_operator.streams import Streams
from hitl_operator.syncing import sync

_NO_SUCH = "there is no such request of this workload"
_STORE_AWAY = "the hub's store does not answer now; its log says why"

_log = Log(__name__)


class HubService(hub_pb2_grpc.HubServiceServicer):
    """See hub.proto; each method is a few lines around a part of the `Hub`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def Sync(self, _requests: Any, context: Any) -> None:
        """Config down, what happened up."""
        async with self._caller(context) as identity:
            await _begin(context)
            serving = sync(self._hub, identity, _reader(context), context.write)
            await self._while_entitled(identity, context, serving, self._hub.syncs)

    async def Hold(self, _requests: Any, context: Any) -> None:
        """All holds of one sidecar."""
        async with self._caller(context) as identity:
            await _begin(context)
            stream = HoldStream(identity, self._hub)
            serving = stream.serve(_reader(context), context.write)
            await self._while_entitled(identity, context, serving, self._hub.holds)

    async def Consume(self, request: hub_pb2.ConsumeRequest, context: Any) -> hub_pb2.ConsumeResponse:
        """Release once."""
        async with self._caller(context) as identity:
            self._hub.heads.note(identity, request.audit_head, self._hub.clock())
            return await self._hub.releaser.consume(identity, request)

    async def Cancel(self, request: hub_pb2.HubServiceCancelRequest, context: Any) -> hub_pb2.HubServiceCancelResponse:
        """Withdraw."""
        async with self._caller(context) as identity:
            outcome = await self._hub.releaser.cancel(identity, request)
            return hub_pb2.HubServiceCancelResponse(outcome=outcome)

    async def Report(self, request: hub_pb2.HubServiceReportRequest, context: Any) -> hub_pb2.HubServiceReportResponse:
        """Record how it ended."""
        async with self._caller(context) as identity:
            await self._hub.releaser.report(identity, request)
            return hub_pb2.HubServiceReportResponse()

    async def Ship(self, request: hub_pb2.ShipRequest, context: Any) -> hub_pb2.ShipResponse:
        """Take lines of an audit log into the archive."""
        async with self._caller(context) as identity:
            return await self._hub.shipping.ship(identity, request)

    async def _while_entitled(
        self, identity: Identity, context: Any, serving: Coroutine[Any, Any, None], streams: Streams
    ) -> None:
        """Serve a stream until it is over, the hub stops, the caller is no longer who it was (SECURITY B1), or newer
        streams of its pod take its place.
        """
        entitled = self._hub.authenticator.ended(identity, context.invocation_metadata() or ())
        with streams.opened(identity.agent.pod_uid) as crowded:
            tasks: list[asyncio.Task[Any]] = [
                asyncio.create_task(serving),
                asyncio.create_task(self._hub.stopping.wait()),
                asyncio.create_task(entitled),
                asyncio.create_task(crowded.wait()),
            ]
            served, _, ended, _ = tasks
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if served.done():
                    served.result()
                elif ended.done():
                    _log.info("stream-ended", pod=identity.agent.pod_name, why=ended.result())
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def _caller(self, context: Any) -> AsyncIterator[Identity]:
        """Who calls; what is raised inside ends the RPC with a status and a message that gives nothing away."""
        try:
            identity = await self._hub.authenticator.authenticate(context.invocation_metadata() or ())
        except Forbidden as error:
            _log.warning("not-authenticated", problem=error)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except (StoreError, Unavailable) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        try:
            yield identity
        except (aio.AbortError, asyncio.CancelledError):
            raise
        except InvalidInput as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except (NotFound, Forbidden) as error:
            # One answer for both: whether another workload's request exists is nobody's business (SECURITY B4).
            _log.warning("no-such-request", pod=identity.agent.pod_name, problem=error)
            await context.abort(grpc.StatusCode.NOT_FOUND, _NO_SUCH)
        except Refused as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except StoreError as error:
            _log.error("store-unavailable", problem=error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, _STORE_AWAY)
        except Unavailable as error:
            _log.error("unavailable", problem=error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except Exception:  # noqa: BLE001 - the edge: whatever it is, the caller hears "could not tell"
            _log.exception("defect")
            await context.abort(grpc.StatusCode.INTERNAL, "the hub stumbled; its log says why")


async def _begin(context: Any) -> None:
    """Send the headers by themselves: if they went with a first message whose write is cancelled because the stream
    ends, gRPC would send them a second time with the status and fail.
    """
    await context.send_initial_metadata(())


def _reader(context: Any) -> Any:
    async def read() -> Any:
        message = await context.read()
        return None if message is EOF else message

    return read
