"""A hub to test the sidecar against: the real wire, and answers that a test chooses, wrong and lost ones included."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import orjson
from grpc import aio

from hitl.approvals.requests import RequestSpec
from hitl.kube.requests import spec_from_json
from hitl.policy.calls import Agent
from hitl.policy.config import config_document, revision_of
from hitl.policy.settings import Settings
from hitl.v1 import gate_pb2, hub_pb2, hub_pb2_grpc
from hitl.wire.identity import AGENT_METADATA, Identity, agent_from_metadata, identity_to_proto
from hitl.wire.requests import terms_to_json

KEY_ID = "k1"
KEY = bytes(range(32))
NAMESPACE_UID = "5f0c2a4e-0000-4000-8000-000000000001"
CLUSTER_UID = "5f0c2a4e-0000-4000-8000-000000000002"
RELEASED = hub_pb2.ConsumeResponse.RELEASE_RELEASED
ENDED = (gate_pb2.OUTCOME_DENIED, gate_pb2.OUTCOME_EXPIRED, gate_pb2.OUTCOME_CANCELLED)

RULES = [
    {"action": "Deny", "tools": ["shop/delete_*"]},
    {"action": "Allow", "tools": ["shop/get_*"]},
    {"action": "Notify", "tools": ["shop/note"]},
    {"action": "Allow", "tools": ["shop/limited"], "limit": {"calls": 2, "per": "1h"}},
    {"action": "MultiFactor", "tools": ["shop/deploy"], "reviewers": ["ops", "managers"]},
    {"action": "Suggest", "tools": ["shop/suggest"]},
    {"action": "Confirm", "tools": ["shop/*"], "reviewers": ["support"]},
]


def a_policy(*rules: dict[str, Any], name: str = "support", generation: int = 1, **spec: Any) -> dict[str, Any]:
    """A policy of the document; without rules those of `RULES`."""
    return {
        "kind": "AgentPolicy",
        "name": name,
        "namespace": "shop",
        "uid": f"uid-{name}",
        "generation": generation,
        "spec": {"rules": list(rules) or RULES, **spec},
    }


def a_document(*policies: dict[str, Any], settings: Settings | None = None, **more: Any) -> dict[str, Any]:
    """A config document of namespace shop."""
    return config_document(
        namespace="shop",
        namespace_uid=NAMESPACE_UID,
        settings=settings or Settings(),
        policies=policies or (a_policy(),),
        tool_servers=more.get("tool_servers", ()),
        key_id=KEY_ID,
        freezes=more.get("freezes", ()),
    )


@dataclass(slots=True)
class Request:
    """A request of the scripted hub."""

    handle: str
    spec: RequestSpec
    created: float
    outcome: int = gate_pb2.OUTCOME_PENDING
    ready: bool = False
    reason_code: str = "WAITING"
    message: str = "Waiting for a person."
    reviews: list[gate_pb2.Review] = field(default_factory=list)
    patch: dict[str, Any] | None = None
    editor: str = ""
    expires_in: float = 900.0
    refs: list[tuple["Stream", str]] = field(default_factory=list)


class Stream:
    """One Hold stream as the hub sees it."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.outbox: asyncio.Queue[hub_pb2.HoldResponse] = asyncio.Queue()
        self.dropped: list[str] = []


class ScriptedHub(hub_pb2_grpc.HubServiceServicer):
    """Keeps requests in memory. What a test wants otherwise it sets: `on_open`, `on_consume`, `garbage`, `lose`."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix:{path}"
        self.document = a_document()
        self.identity: Identity | None = None
        self.agent: Agent | None = None
        self.configs: list[hub_pb2.ConfigUpdate] = []
        self.requests: dict[str, Request] = {}
        self.opens: list[RequestSpec] = []
        self.consumed: list[hub_pb2.ConsumeRequest] = []
        self.cancelled: list[hub_pb2.HubServiceCancelRequest] = []
        self.reported: list[hub_pb2.HubServiceReportRequest] = []
        self.acks: list[hub_pb2.Ack] = []
        self.activity: list[hub_pb2.ActivityRecord] = []
        self.heads: list[hub_pb2.AuditHead] = []
        self.usage: list[hub_pb2.PolicyUsage] = []
        self.batches: list[tuple[int, int]] = []  # rows and bytes of each message of activity or usage
        self.hellos: list[hub_pb2.Hello] = []
        self.on_open: Callable[[RequestSpec], hub_pb2.HoldResponse | None] | None = None
        self.on_consume: Callable[[hub_pb2.ConsumeRequest], Awaitable[hub_pb2.ConsumeResponse | None]] | None = None
        self.lose_consume_answers = 0
        self.is_mute = False
        self.refusal = ""  # of calls and streams, as a hub gives it that does not accept the token
        self.streams: list[Stream] = []
        self.syncs: list[asyncio.Queue[hub_pb2.SyncResponse]] = []
        self.changed = asyncio.Event()
        self._names = itertools.count(1)
        self._server: Any = None

    # Life.

    async def start(self) -> None:
        self._server = aio.server()
        hub_pb2_grpc.add_HubServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None
            self.streams.clear()
            self.syncs.clear()
            for request in self.requests.values():
                request.refs.clear()

    async def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait for something the hub sees; the test fails if it never does."""
        async with asyncio.timeout(seconds):
            while not (found := condition()):
                self.changed.clear()
                await self.changed.wait()
        return found

    # What a test does.

    def config(self, document: dict[str, Any] | None = None, **changes: Any) -> hub_pb2.ConfigUpdate:
        """The update for a document, with parts of it replaced for tests of garbage."""
        document = document or self.document
        assert self.identity is not None, "no sidecar has connected"
        parts: dict[str, Any] = {
            "document_json": orjson.dumps(document),
            "revision": revision_of(document),
            "keys": [hub_pb2.NamespaceKey(id=KEY_ID, key=KEY)],
            "identity": identity_to_proto(self.identity),
        }
        return hub_pb2.ConfigUpdate(**{**parts, **changes})

    def send(self, message: hub_pb2.ConfigUpdate | hub_pb2.Heartbeat) -> None:
        """Send something to every connected sidecar."""
        for queue in self.syncs:
            if isinstance(message, hub_pb2.Heartbeat):
                queue.put_nowait(hub_pb2.SyncResponse(heartbeat=message))
            else:
                queue.put_nowait(hub_pb2.SyncResponse(config=message))

    def change_policy(self, *policies: dict[str, Any], settings: Settings | None = None, **changes: Any) -> None:
        """Put another config into force."""
        self.document = a_document(*policies, settings=settings)
        self.send(self.config(**changes))

    def only(self) -> Request:
        """The one request there is."""
        (request,) = self.requests.values()
        return request

    def approve(
        self, request: Request, *, by: str = "ana", patch: dict[str, Any] | None = None, overridden: bool = False
    ) -> None:
        """Enough people agreed, or one overrode."""
        request.ready = True
        request.reviews = [gate_pb2.Review(reviewer=by, approved=True, reason="fine", overridden=overridden)]
        request.patch, request.editor = patch, by if patch else ""
        self.tell(request)

    def end(self, request: Request, outcome: int, code: str, message: str = "", *, by: str = "") -> None:
        """It has its outcome."""
        request.outcome, request.ready, request.reason_code, request.message = outcome, False, code, message
        if by:
            request.reviews = [gate_pb2.Review(reviewer=by, approved=False, reason=message)]
        self.tell(request)

    def tell(self, request: Request) -> None:
        """Everybody on it hears its state."""
        for stream, ref in request.refs:
            if ref not in stream.dropped:
                stream.outbox.put_nowait(self.state(request, ref, attached=False))

    def state(self, request: Request, ref: str, *, attached: bool) -> hub_pb2.HoldResponse:
        state = hub_pb2.HoldResponse(
            ref=ref,
            handle=request.handle,
            outcome=request.outcome,  # type: ignore[arg-type]
            ready=request.ready,
            reason_code=request.reason_code,
            message=request.message,
            reviews=request.reviews,
            editor=request.editor,
            checkpoint=request.spec.checkpoint,
            terms_json=terms_to_json(request.spec),
            attached=attached,
            traceparent=request.spec.traceparent,
            proofs=["ed25519:c2ln"] if request.reviews else [],
        )
        state.create_time.FromNanoseconds(int(request.created * 1e9))
        state.expire_time.FromNanoseconds(int((request.created + request.expires_in) * 1e9))
        if request.patch is not None:
            state.arguments_patch_json = orjson.dumps(request.patch)
        return state

    # The wire.

    async def Sync(self, requests: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())
        self.agent = agent_from_metadata(metadata[AGENT_METADATA])
        self.identity = Identity(replace(self.agent, namespace="shop"), NAMESPACE_UID, CLUSTER_UID)
        queue: asyncio.Queue[hub_pb2.SyncResponse] = asyncio.Queue()
        self.syncs.append(queue)
        reader = asyncio.create_task(self._read_sync(requests))
        try:
            if self.is_mute:
                await asyncio.Event().wait()
            queue.put_nowait(hub_pb2.SyncResponse(config=self.config()))
            while True:
                yield await queue.get()
        finally:
            reader.cancel()
            if queue in self.syncs:
                self.syncs.remove(queue)

    async def _read_sync(self, requests: Any) -> None:
        async for message in requests:
            match message.WhichOneof("message"):
                case "hello":
                    self.hellos.append(message.hello)
                case "ack":
                    self.acks.append(message.ack)
                case "activity":
                    self.batches.append((len(message.activity.records), message.activity.ByteSize()))
                    self.activity.extend(message.activity.records)
                case "audit_head":
                    self.heads.append(message.audit_head)
                case "usage":
                    self.batches.append((len(message.usage.policies), message.usage.ByteSize()))
                    self.usage.extend(message.usage.policies)
            self.changed.set()

    async def Hold(self, requests: Any, context: Any) -> Any:
        if self.refusal:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, self.refusal)
        stream = Stream(context)
        self.streams.append(stream)
        reader = asyncio.create_task(self._read_holds(stream, requests))
        try:
            while True:
                yield await stream.outbox.get()
        finally:
            reader.cancel()

    async def _read_holds(self, stream: Stream, requests: Any) -> None:
        async for message in requests:
            match message.WhichOneof("message"):
                case "open":
                    self._opened(stream, message.ref, message.open)
                case "watch":
                    request = self.requests[message.watch.handle]
                    request.refs.append((stream, message.ref))
                    stream.outbox.put_nowait(self.state(request, message.ref, attached=True))
                case "drop":
                    stream.dropped.append(message.ref)
            self.changed.set()

    def _opened(self, stream: Stream, ref: str, wish: hub_pb2.OpenHold) -> None:
        spec = spec_from_json(wish.spec_json)
        self.opens.append(spec)
        self.heads.append(wish.audit_head)
        if self.on_open is not None:
            answer = self.on_open(spec)
            if answer is not None:
                answer.ref = ref
                stream.outbox.put_nowait(answer)
            return
        standing = next((r for r in self.requests.values() if self._stands_for(r, spec)), None)
        attached = standing is not None
        if standing is None:
            standing = Request(f"shop/{spec.call.tool.replace('_', '-')}-{next(self._names)}", spec, time.time())
            self.requests[standing.handle] = standing
        standing.refs.append((stream, ref))
        stream.outbox.put_nowait(self.state(standing, ref, attached=attached))

    @staticmethod
    def _stands_for(request: Request, spec: RequestSpec) -> bool:
        if request.spec.key != spec.key or request.spec.excluded != spec.excluded:
            return False
        if request.outcome == gate_pb2.OUTCOME_ALREADY_RELEASED:
            return bool(spec.call.call_id)
        return request.outcome not in ENDED

    async def Consume(self, request: hub_pb2.ConsumeRequest, context: Any) -> hub_pb2.ConsumeResponse:
        self.consumed.append(request)
        self.heads.append(request.audit_head)
        self.changed.set()
        if self.on_consume is not None and (chosen := await self.on_consume(request)) is not None:
            return chosen
        held = self.requests[request.handle]
        if held.outcome == gate_pb2.OUTCOME_ALREADY_RELEASED:
            return hub_pb2.ConsumeResponse(release=hub_pb2.ConsumeResponse.RELEASE_SPENT, reason_code="PERMIT_SPENT")
        if not held.ready:
            return hub_pb2.ConsumeResponse(release=hub_pb2.ConsumeResponse.RELEASE_NOT_READY)
        held.outcome, held.ready = gate_pb2.OUTCOME_ALREADY_RELEASED, False
        if self.lose_consume_answers:
            self.lose_consume_answers -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
        return hub_pb2.ConsumeResponse(release=RELEASED, reason_code="REVIEWER")

    async def Cancel(self, request: hub_pb2.HubServiceCancelRequest, context: Any) -> hub_pb2.HubServiceCancelResponse:
        if self.refusal:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, self.refusal)
        self.cancelled.append(request)
        self.changed.set()
        held = self.requests.get(request.handle)
        if held is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such request of this workload")
        if held.outcome == gate_pb2.OUTCOME_PENDING:
            held.outcome, held.ready = gate_pb2.OUTCOME_CANCELLED, False
            held.reason_code, held.message = request.condition_reason.upper(), "It was withdrawn. Nothing ran."
            self.tell(held)
        return hub_pb2.HubServiceCancelResponse(outcome=held.outcome)  # type: ignore[arg-type]

    async def Report(self, request: hub_pb2.HubServiceReportRequest, context: Any) -> hub_pb2.HubServiceReportResponse:
        self.reported.append(request)
        self.changed.set()
        return hub_pb2.HubServiceReportResponse()

    async def Ship(self, request: hub_pb2.ShipRequest, context: Any) -> hub_pb2.ShipResponse:
        return hub_pb2.ShipResponse(archived=False)
