"""Hubs in this process on real sockets and one real SQLite file, their people, and sidecars that speak hub.proto."""

import asyncio
import base64
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from grpc import aio

from hitl.approvals.requests import (
    ApprovalRequest,
    CallShown,
    Category,
    Decision,
    DecisionKind,
    Kind,
    Note,
    NoteType,
    Proof,
    RequestSpec,
    State,
)
from hitl.approvals.signing import signed_note, signed_text
from hitl.kube.requests import spec_to_json
from hitl.policy.calls import Agent
from hitl.policy.config import COMPILER, SCHEMA
from hitl.policy.verdicts import Requirement
from hitl.stores.people import add_reviewer, sign
from hitl.stores.sqlite import SQLiteStore
from hitl.v1 import gate_pb2, hub_pb2, hub_pb2_grpc
from hitl.wire.identity import AGENT_METADATA, Identity, agent_to_metadata
from hitl_operator.archive.archive import Archive
from hitl_operator.heads import AuditHeads
from hitl_operator.home import Home, open_home
from hitl_operator.hub import Hub
from hitl_operator.identity import HomeAuthenticator
from hitl_operator.keys import open_keyring
from hitl_operator.metrics import HubMetrics
from hitl_operator.policy_files import PolicyFiles
from hitl_operator.reviewers import Reviewers
from hitl_operator.server import HubServer
from hitl_operator.sources import ConfigBook
from hitl_operator.standing import Standing
from hitl_operator.verification import SignatureVerifier

POLICY = """\
apiVersion: hitl.dev/v1alpha1
kind: AgentPolicy
metadata: {name: support}
spec:
  rules:
  - {action: Allow, tools: ["get_*"]}
  - {action: Confirm, tools: ["stripe/*"], reviewers: [leads]}
"""
EVER = 60.0  # seconds after which a test has failed; nothing here waits for the clock
ALLOWED_TO_GO_ON = (gate_pb2.OUTCOME_PENDING, gate_pb2.OUTCOME_APPROVED)
RELEASED = hub_pb2.ConsumeResponse.RELEASE_RELEASED
_numbers = itertools.count()


class Clock:
    """The wall clock, and what a story adds to it."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def a_spec(**changes: Any) -> RequestSpec:
    """A call nobody else made: without a call_id its key is its digest."""
    digest = changes.pop("digest", None) or digest_of(f"call {next(_numbers)}")
    spec = RequestSpec(
        kind=Kind.TOOL_CALL,
        summary="refund 150.00 EUR to customer C-20817",
        requester="somebody",
        agent_pod="",
        agent_pod_uid="",
        service_account="",
        workload="",
        session_id="s-1",
        call=CallShown("stripe", "create_refund", json.dumps({"amount": 15000, "currency": "eur"})),
        digest=digest,
        key=digest,
        sameness=digest,
        tier="confirm",
        requirements=(Requirement("leads", any_of=("leads",)),),
        timeout=900,
        patchable=("/amount",),
    )
    spec = replace(spec, **changes)
    return replace(spec, key=spec.call.call_id or spec.digest)


def with_call_id(call_id: str, **changes: Any) -> RequestSpec:
    spec = a_spec(**changes)
    return replace(spec, call=replace(spec.call, call_id=call_id), key=call_id)


class HubHere:
    """One hub in this process."""

    def __init__(
        self,
        world: "World",
        home: Home,
        socket: Path,
        *,
        standing: Standing | None,
        leads: Callable[[], bool],
        at_once: int = 512,
        archive: Archive | None = None,
    ) -> None:
        self._archive = archive
        self._standing = standing
        self._leads = leads
        self._at_once = at_once
        self.address = f"unix:{socket}"
        self.metrics = HubMetrics()
        self.book = ConfigBook()
        self.reviewers = Reviewers(home.reviewers)
        identity = Identity(Agent(home.namespace), home.namespace_uid, home.cluster_uid)
        self.files = PolicyFiles(
            self.book, [world.policies], settings=world.settings, memory=home.last_good, identity=identity
        )
        self._world = world
        self._home = home
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        world, home = self._world, self._home
        self.files.start(world.clock())
        store = await self._stack.enter_async_context(SQLiteStore.open(home.database, clock=world.clock))
        self.hub = Hub(
            store,
            authenticator=HomeAuthenticator(
                namespace=home.namespace, namespace_uid=home.namespace_uid, cluster_uid=home.cluster_uid
            ),
            source=self.book,
            verifier=SignatureVerifier(self.reviewers.now, home.cluster_uid),
            keyring=open_keyring(home.keys),
            heads=AuditHeads(home.audit_heads),
            metrics=self.metrics,
            clock=world.clock,
            standing=self._standing,
            leads=self._leads,
            at_once=self._at_once,
            archive=self._archive,
        )
        self._server = HubServer(self.hub)
        self._server.bind(self.address)
        await self._server.start()
        self._run = asyncio.create_task(self.hub.run())
        await within(self.hub.settler.is_following.wait())
        await self._server.tell_health()

    async def stop(self) -> None:
        await self._server.stop()
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)
        await self._stack.aclose()

    def look(self) -> None:
        """What the process does several times a second: twice, because a change must stand still for one look."""
        self.files.look(self._world.clock())
        self.files.look(self._world.clock())
        self.reviewers.now()
        self.hub.settler.look_at_all()

    def tick(self) -> None:
        """What its timer does when time has passed."""
        self.hub.settler.call_due()
        self.hub.update_gauges()

    def count(self, name: str, **labels: str) -> float:
        """A metric's value; 0 where it was never touched."""
        return self.metrics.registry.get_sample_value(f"hitl_{name}", labels) or 0.0


class World:
    """A home, its people, and the hubs that serve it."""

    def __init__(self, folder: Path, *, settings: str = "", policy: str = POLICY) -> None:
        self.folder = folder
        self.clock = Clock()
        self.home = open_home(folder / "home", "shop")
        self.policies = folder / "policies"
        self.policies.mkdir()
        (self.policies / "support.yaml").write_text(policy)
        self.settings = folder / "settings.yaml" if settings else None
        if self.settings is not None:
            self.settings.write_text(settings)
        self._stack = AsyncExitStack()
        self._hubs = 0

    async def hub(
        self,
        *,
        standing: Standing | None = None,
        leads: Callable[[], bool] = lambda: True,
        at_once: int = 512,
        archive: Archive | None = None,
    ) -> HubHere:
        """One more hub on the same file."""
        self._hubs += 1
        socket = self.folder / f"hub{self._hubs}.sock"
        hub = HubHere(self, self.home, socket, standing=standing, leads=leads, at_once=at_once, archive=archive)
        await hub.start()
        self._stack.push_async_callback(hub.stop)
        return hub

    async def sidecar(self, hub: "HubHere | str", **who: Any) -> "Sidecar":
        """A sidecar that is connected to a hub, or to an address."""
        address = hub if isinstance(hub, str) else hub.address
        return await self._stack.enter_async_context(sidecar_at(address, **who))

    async def store(self) -> SQLiteStore:
        """The reviewers' side: a store of its own on the same file."""
        return await self._stack.enter_async_context(SQLiteStore.open(self.home.database, clock=self.clock))

    def person(self, name: str, *groups: str) -> None:
        add_reviewer(self.home.path, name, groups or ("leads",))

    def signed(
        self,
        request: ApprovalRequest,
        name: str,
        kind: DecisionKind = DecisionKind.APPROVED,
        *,
        key_of: str = "",
        at: datetime | None = None,
        **changes: Any,
    ) -> Decision:
        """A decision with the signature that `key_of` (else the reviewer) makes over it."""
        time = (at or self.clock()).replace(microsecond=0)
        denial = {"reason": "not this customer", "category": Category.MISSING_CONTEXT}
        decision = Decision(
            name,
            kind,
            request.spec.digest,
            request.uid,
            proof=Proof("ed25519", time=time),
            **({**denial, **changes} if kind is DecisionKind.DENIED else changes),
        )
        signature = sign(self.home.path, key_of or name, signed_text(self.home.cluster_uid, request, decision))
        return replace(decision, proof=Proof("ed25519", base64.b64encode(signature).decode(), time=time))

    async def decide(self, handle: str, name: str, kind: DecisionKind = DecisionKind.APPROVED, **how: Any) -> None:
        """A person's own word, through a store of their own."""
        store = await self.store()
        namespace, _, key = handle.partition("/")
        request = await store.get(namespace, key)
        await store.decide(namespace, key, self.signed(request, name, kind, **how))

    async def extend(self, handle: str, name: str, minutes: int, *, key_of: str = "") -> None:
        store = await self.store()
        namespace, _, key = handle.partition("/")
        request = await store.get(namespace, key)
        proof = Proof("ed25519", time=self.clock().replace(microsecond=0))
        note = Note(name, 1, request.uid, NoteType.EXTEND, minutes=minutes, proof=proof)
        signature = sign(self.home.path, key_of or name, signed_note(self.home.cluster_uid, request, note))
        signed = replace(note, proof=replace(proof, signature=base64.b64encode(signature).decode()))
        await store.note(namespace, key, signed)

    async def state_of(self, handle: str, *states: State) -> ApprovalRequest:
        """The request, once it is in one of these states."""
        store = await self.store()
        namespace, _, name = handle.partition("/")
        return await eventually(lambda: store.get(namespace, name), lambda each: each.status.state in states)

    async def aclose(self) -> None:
        await self._stack.aclose()


class Sidecar:
    """A sidecar as the hub sees it: three kinds of connection, one identity, one epoch."""

    def __init__(self, channel: Any, agent: Agent, epoch: str) -> None:
        self.agent = agent
        self.epoch = epoch
        self.metadata = ((AGENT_METADATA, agent_to_metadata(agent)),)
        self.stub: Any = hub_pb2_grpc.HubServiceStub(channel)
        self._states: dict[str, asyncio.Queue[hub_pb2.HoldResponse]] = {}
        self._refs = itertools.count()
        self._hold: Any = None
        self._one_at_a_time = asyncio.Lock()  # gRPC takes one write of a stream at a time
        self._reader: asyncio.Task[None] | None = None
        self._sync: Any = None
        self.config: hub_pb2.ConfigUpdate | None = None

    async def sync(self, *, schemas: Sequence[int] = (SCHEMA,), ack: bool = True, compiler: str = COMPILER) -> None:
        """Open the Sync stream and take the first config."""
        self._sync = self.stub.Sync(metadata=self.metadata)
        hello = hub_pb2.Hello(epoch=self.epoch, schemas=schemas, compiler=compiler)
        await self._sync.write(hub_pb2.SyncRequest(hello=hello))
        await self.next_config(ack=ack)

    async def next_config(self, *, ack: bool = True, reason: str = "") -> hub_pb2.ConfigUpdate:
        """The next config, acknowledged or (with a reason) refused; heartbeats are passed over."""
        while True:
            message = await within(self._sync.read())
            assert message is not aio.EOF, "the hub ended the stream"
            if message.WhichOneof("message") == "config":
                break
        config: hub_pb2.ConfigUpdate = message.config
        if ack and not reason:
            self.config = config
        if ack or reason:
            answer = hub_pb2.Ack(revision=config.revision, accepted=not reason, reason=reason)
            await self._sync.write(hub_pb2.SyncRequest(ack=answer))
        return config

    async def say(self, **message: Any) -> None:
        """One more message on the Sync stream."""
        await self._sync.write(hub_pb2.SyncRequest(**message))

    async def open(self, spec: RequestSpec, *, supersedes: bool = False) -> "Held":
        """Ask for a hold and wait for the first answer."""
        return await self.open_json(spec_to_json(spec), supersedes=supersedes)

    async def open_json(self, document: bytes, *, supersedes: bool = False) -> "Held":
        wish = hub_pb2.OpenHold(spec_json=document, epoch=self.epoch, supersedes=supersedes)
        return await self._start(open=wish)

    async def watch(self, handle: str, *, holding: bool = True) -> "Held":
        return await self._start(watch=hub_pb2.WatchHold(handle=handle, epoch=self.epoch, holding=holding))

    async def _start(self, **message: Any) -> "Held":
        if self._hold is None:
            self._hold = self.stub.Hold(metadata=self.metadata)
            self._reader = asyncio.create_task(self._read())
        ref = str(next(self._refs))
        queue = self._states[ref] = asyncio.Queue()
        async with self._one_at_a_time:
            await self._hold.write(hub_pb2.HoldRequest(ref=ref, **message))
        return Held(self, ref, await within(queue.get()), queue)

    async def drop(self, held: "Held") -> None:
        await self._hold.write(hub_pb2.HoldRequest(ref=held.ref, drop=hub_pb2.DropHold()))

    def hang_up(self) -> None:
        """The Hold stream breaks."""
        self._hold.cancel()
        self._hold = None

    async def _read(self) -> None:
        try:
            async for state in self._hold:
                self._states[state.ref].put_nowait(state)
        except (aio.AioRpcError, asyncio.CancelledError):
            pass

    async def consume(self, handle: str, digest: str, **changes: Any) -> hub_pb2.ConsumeResponse:
        assert self.config is not None, "a sidecar that releases has a config"
        request = hub_pb2.ConsumeRequest(
            handle=handle, digest=digest, **{"epoch": self.epoch, "revision": self.config.revision, **changes}
        )
        answer: hub_pb2.ConsumeResponse = await self.stub.Consume(request, metadata=self.metadata, timeout=EVER)
        return answer

    async def cancel(self, handle: str, condition_reason: str = "Withdrawn") -> gate_pb2.Outcome:
        request = hub_pb2.HubServiceCancelRequest(
            handle=handle, reason="no longer wanted", condition_reason=condition_reason
        )
        answer = await self.stub.Cancel(request, metadata=self.metadata, timeout=EVER)
        return gate_pb2.Outcome.Name(answer.outcome)

    async def report(self, handle: str, result: gate_pb2.Result, **changes: Any) -> None:
        request = hub_pb2.HubServiceReportRequest(handle=handle, result=result, **{"epoch": self.epoch, **changes})
        await self.stub.Report(request, metadata=self.metadata, timeout=EVER)

    def close(self) -> None:
        for call in (self._hold, self._sync):
            if call is not None:
                call.cancel()
        if self._reader is not None:
            self._reader.cancel()


class Held:
    """One hold or Await of a sidecar, and the last thing it was told."""

    def __init__(
        self, sidecar: Sidecar, ref: str, first: hub_pb2.HoldResponse, states: "asyncio.Queue[hub_pb2.HoldResponse]"
    ) -> None:
        self.sidecar = sidecar
        self.ref = ref
        self.state = first
        self._states = states

    @property
    def handle(self) -> str:
        return str(self.state.handle)

    @property
    def outcome(self) -> str:
        return str(gate_pb2.Outcome.Name(self.state.outcome)).removeprefix("OUTCOME_")

    async def until(self, wanted: Callable[[hub_pb2.HoldResponse], bool]) -> hub_pb2.HoldResponse:
        """The first state, the last one included, that is wanted."""
        while not wanted(self.state):
            self.state = await within(self._states.get())
        return self.state

    async def ready(self) -> hub_pb2.HoldResponse:
        return await self.until(lambda state: state.ready)

    async def end(self) -> str:
        """The last outcome."""
        await self.until(lambda state: state.outcome not in ALLOWED_TO_GO_ON)
        return self.outcome


@asynccontextmanager
async def sidecar_at(
    address: str,
    *,
    workload: str = "deploy/support",
    service_account: str = "support",
    namespace: str = "shop",
    pod: str = "",
    epoch: str = "",
    labels: dict[str, str] | None = None,
) -> AsyncIterator[Sidecar]:
    number = next(_numbers)
    agent = Agent(namespace, service_account, workload, pod or f"pod-{number}", pod or f"uid-{number}", labels or {})
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50))
    async with aio.insecure_channel(address, options=options) as channel:
        sidecar = Sidecar(channel, agent, epoch or f"epoch-{number}")
        try:
            yield sidecar
        finally:
            sidecar.close()


async def within(awaitable: Any) -> Any:
    async with asyncio.timeout(EVER):
        return await awaitable


async def eventually(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """What `look` gives once it is wanted."""
    async with asyncio.timeout(EVER):
        while not wanted(found := await look()):  # noqa: ASYNC110 - another process's file has no event to await
            await asyncio.sleep(0.005)
        return found


def document_of(config: hub_pb2.ConfigUpdate) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(config.document_json)
    return document


async def counted(hub: HubHere, wanted: float, name: str, **labels: str) -> None:
    """Returns once a metric has this value."""

    async def look() -> float:
        return hub.count(name, **labels)

    await eventually(look, lambda found: found == wanted)


async def logged(caplog: pytest.LogCaptureFixture, *words: str) -> None:
    """Returns once one line of the log has all these words."""

    async def look() -> bool:
        return any(all(word in line for word in words) for line in caplog.messages)

    await eventually(look, bool)
