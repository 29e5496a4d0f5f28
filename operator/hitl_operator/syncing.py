"""One Sync stream: config down, first and at every change; acknowledgements, activity and audit heads up."""

import asyncio
from collections.abc import Awaitable, Callable

from hitl.errors import InvalidInput
from hitl.policy.actions import Action
from hitl.policy.config import SCHEMA
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity, identity_to_proto
from hitl_operator.hub import Hub
from hitl_operator.sidecars import Sidecar

HEARTBEAT = 3.0  # seconds; a sidecar counts staleness from the last one
_LONGEST = 128
_ACTIONS = {int(action): action.word for action in Action}

Read = Callable[[], Awaitable[hub_pb2.SyncRequest | None]]
Write = Callable[[hub_pb2.SyncResponse], Awaitable[None]]


async def sync(hub: Hub, identity: Identity, read: Read, write: Write) -> None:
    """Serve one sidecar until it goes or the hub stops.

    Raises:
        InvalidInput: the first message is no Hello, or no schema of ours is known there.
    """
    first = await read()
    if first is None:
        return
    if first.WhichOneof("message") != "hello":
        raise InvalidInput("the first message must be hello")
    hello = first.hello
    if not hello.epoch or len(hello.epoch) > _LONGEST or max(len(hello.revision), len(hello.compiler)) > _LONGEST:
        raise InvalidInput("hello: epoch must be the random one of this process")
    if SCHEMA not in hello.schemas:
        known = ", ".join(map(str, hello.schemas)) or "none"
        raise InvalidInput(f"hello: schemas are {known}; this hub serves {SCHEMA}; upgrade the sidecar")
    sidecar = hub.sidecars.connect(identity, hello)
    tasks = [
        asyncio.create_task(_listen(hub, sidecar, read)),
        asyncio.create_task(_tell(hub, sidecar, write)),
        asyncio.create_task(hub.stopping.wait()),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        hub.sidecars.disconnect(sidecar)


async def _tell(hub: Hub, sidecar: Sidecar, write: Write) -> None:
    """The config first, however long that takes (H1); then every change, and heartbeats between them."""
    identity = sidecar.identity
    while True:
        version = hub.source.version
        served = hub.config_for(identity, sidecar.compiler)
        if served is not None and served.revision != sidecar.wanted:
            keys = hub.keyring.keys_of(identity.namespace_uid)
            hub.sidecars.sent(sidecar, served.revision)
            await write(
                hub_pb2.SyncResponse(
                    config=hub_pb2.ConfigUpdate(
                        document_json=served.document,
                        revision=served.revision,
                        keys=[hub_pb2.NamespaceKey(id=key.id, key=key.key) for key in keys],
                        identity=identity_to_proto(identity),
                        age_seconds=int(hub.source.age),
                    )
                )
            )
        try:
            async with asyncio.timeout(HEARTBEAT):
                await hub.source.changed(version)
        except TimeoutError:
            if sidecar.wanted:
                beat = hub_pb2.Heartbeat(revision=sidecar.wanted, age_seconds=int(hub.source.age))
                await write(hub_pb2.SyncResponse(heartbeat=beat))


async def _listen(hub: Hub, sidecar: Sidecar, read: Read) -> None:
    while (message := await read()) is not None:
        match message.WhichOneof("message"):
            case "ack":
                ack = message.ack
                hub.sidecars.answered(sidecar, ack.revision[:_LONGEST], accepted=ack.accepted, reason=ack.reason[:1000])
            case "activity":
                hub.witness.acted(sidecar.identity, message.activity.records)
                for record in message.activity.records:
                    hub.metrics.activity.labels(_ACTIONS.get(record.action, "unknown")).inc()
            case "audit_head":
                hub.heads.note(sidecar.identity, message.audit_head, hub.clock())
            case "usage":
                hub.usage.called(message.usage, _names(hub, sidecar.identity))
            case _:
                raise InvalidInput("hello comes once, at the beginning; after it only ack, activity, usage, audit_head")


def _names(hub: Hub, identity: Identity) -> set[str]:
    """The policies that a sidecar was given, as it names them."""
    return {str(entry.policy.ref) for entry in hub.source.concerning(identity) if entry.policy is not None}
