"""The Sync stream: configs and heartbeats down; acknowledgements, activity, usage and the audit chain's head up.

It never ends by itself. While it is down the last good config stays in force, getting older (`Programmed`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, assert_never

from grpc import aio

from hitl.audit import Head
from hitl.errors import InvalidInput, Unavailable
from hitl.policy.config import COMPILER, SCHEMA
from hitl.v1 import hub_pb2
from hitl_sidecar.backoff import Backoff
from hitl_sidecar.hub import Hub, words_of
from hitl_sidecar.programmed import InForce, Programmed
from hitl_sidecar.usage import Usage

log = logging.getLogger(__name__)

_SILENT_AFTER = 30.0  # seconds without a heartbeat (sent every few) until the stream counts as dead
_SEND_EVERY = 1.0  # seconds between batches of activity
_HEAD_EVERY = 60.0  # seconds between audit heads (SECURITY H2)
_USAGE_EVERY = 10.0  # seconds between reports of usage
_MOST_ACTIVITY = 2000  # records kept while the hub is away; the audit log has them all
_BATCH = 500  # records or rows of one message; the hub reads no more than twice that
_LARGEST_BATCH = 256 << 10  # bytes of one message of activity; a single record has a few thousand


def head_to_proto(head: Head) -> hub_pb2.AuditHead:
    return hub_pb2.AuditHead(epoch=head.epoch, sequence=head.sequence, head=head.hash)


class Sync:
    """Keeps `Programmed` fed and the hub informed."""

    def __init__(
        self,
        hub: Hub,
        programmed: Programmed,
        *,
        epoch: str,
        head: Callable[[], Head],
        on_config: Callable[[InForce], None],
        usage: Usage,
        on_trust: Callable[[str], None] = lambda _pem: None,
        head_every: float = _HEAD_EVERY,
        usage_every: float = _USAGE_EVERY,
    ) -> None:
        """`on_config` is called whenever another revision came into force, `on_trust` with every CA bundle that the hub
        sends; head and usage go up every so often.
        """
        self._hub = hub
        self._programmed = programmed
        self._epoch = epoch
        self._head = head
        self._on_config = on_config
        self._on_trust = on_trust
        self._usage = usage
        self._head_every = head_every
        self._usage_every = usage_every
        self._activity: deque[hub_pb2.ActivityRecord] = deque(maxlen=_MOST_ACTIVITY)
        self._acks: deque[hub_pb2.Ack] = deque(maxlen=16)
        self._wake = asyncio.Event()
        self._trouble = ""

    def note(self, record: hub_pb2.ActivityRecord) -> None:
        """Send this with the next batch; the oldest is dropped while the hub is away for long."""
        self._activity.append(record)

    async def run(self) -> None:
        """Connect, serve, come back, until cancelled."""
        backoff = Backoff()
        while True:
            try:
                await self._stream(backoff)
                self._log_once("the hub ended the stream")
            except aio.AioRpcError as error:
                self._log_once(words_of(error))
            except TimeoutError:
                self._log_once(f"the hub sent nothing for {_SILENT_AFTER:.0f} s")
            await self._hub.renew_trust()
            await asyncio.sleep(backoff.wait())

    async def _stream(self, backoff: Backoff) -> None:
        call = self._hub.stub.Sync(metadata=self._hub.metadata)
        hello = hub_pb2.Hello(
            epoch=self._epoch, schemas=[SCHEMA], compiler=COMPILER, revision=self._programmed.revision
        )
        self._acks.clear()
        sender: asyncio.Task[None] | None = None
        try:
            await call.write(hub_pb2.SyncRequest(hello=hello))
            sender = asyncio.create_task(self._send(call))
            messages = aiter(call)
            while True:
                async with asyncio.timeout(_SILENT_AFTER):
                    message = await anext(messages, None)
                if message is None:
                    return
                backoff.reset()
                self._trouble = ""
                self._receive(message)
        finally:
            if sender is not None:
                sender.cancel()
            call.cancel()

    def _receive(self, message: hub_pb2.SyncResponse) -> None:
        match message.WhichOneof("message"):
            case "config":
                self._receive_config(message.config)
            case "heartbeat":
                self._programmed.confirm(message.heartbeat.revision, message.heartbeat.age_seconds)
            case "trust":
                self._on_trust(message.trust.ca_pem)
            case None:
                log.warning("the hub sent an empty message; hub and sidecar differ in release")
            case other:
                assert_never(other)

    def _receive_config(self, update: hub_pb2.ConfigUpdate) -> None:
        before = self._programmed.revision
        try:
            in_force = self._programmed.accept(update)
            if in_force.config.revision != before:
                self._on_config(in_force)
        except (InvalidInput, Unavailable) as error:
            log.warning("config %.12s is refused, %s stays in force: %s", update.revision, before[:12] or "none", error)
            ack = hub_pb2.Ack(revision=update.revision, accepted=False, reason=str(error)[:1000])
        else:
            ack = hub_pb2.Ack(revision=update.revision, accepted=True)
        self._acks.append(ack)
        self._wake.set()

    async def _send(self, call: Any) -> None:
        loop = asyncio.get_running_loop()
        head_at = loop.time() + self._head_every
        usage_at = loop.time() + self._usage_every
        try:
            while True:
                await self._woken()
                while self._acks:
                    await call.write(hub_pb2.SyncRequest(ack=self._acks.popleft()))
                while batch := self._batch():
                    await call.write(hub_pb2.SyncRequest(activity=hub_pb2.Activity(records=batch)))
                    for _ in batch:
                        self._activity.popleft()
                if loop.time() >= usage_at:
                    usage_at += self._usage_every
                    while (usage := self._usage.report(_BATCH)) is not None:
                        await call.write(hub_pb2.SyncRequest(usage=usage))
                        self._usage.reported(usage)
                        if len(usage.policies) < _BATCH:
                            break  # what was called meanwhile can wait, and acks cannot
                if loop.time() >= head_at:
                    head_at += self._head_every
                    await call.write(hub_pb2.SyncRequest(audit_head=head_to_proto(self._head())))
        except (aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the reader of the same stream sees the same end and says why

    def _batch(self) -> list[hub_pb2.ActivityRecord]:
        """The oldest records, as many as go into one message."""
        batch: list[hub_pb2.ActivityRecord] = []
        size = 0
        for record in self._activity:
            size += record.ByteSize()
            if batch and (size > _LARGEST_BATCH or len(batch) == _BATCH):
                break
            batch.append(record)
        return batch

    async def _woken(self) -> None:
        try:
            async with asyncio.timeout(_SEND_EVERY):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _log_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("no config from the hub at %s: %s", self._hub.address, trouble)
