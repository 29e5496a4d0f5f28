"""One Sync stream: config down, first and at every change; acknowledgements, activity and audit heads up.

What goes up is bounded by message and by pod: a sidecar that says more than ours ever would is read more slowly, and
nobody else waits for it (SECURITY B5).
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sized

from hitl.errors import InvalidInput
from hitl.policy.actions import Action
from hitl.policy.config import SCHEMA
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity, identity_to_proto
from hitl_operator.hub import Hub
from hitl_operator.sidecars import Sidecar

HEARTBEAT = 3.0  # seconds; a sidecar counts staleness from the last one
MOST_ROWS = 1000
"""Records or rows of one message; our sidecar sends half as many."""
# What is taken from `Hub.uplink` for each message: 1 for each record or row, and this for itself. A NACK is a line in
# the log, and a hello two.
_COSTS = {"hello": 600, "ack": 100, "nack": 600}
_LONGEST = 128
_ARCHIVE_WITHIN = 1.0  # seconds that a config waits until the archive has its text; after that it goes out before
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
    await _pace(hub, identity, "hello")
    sidecar = hub.sidecars.connect(identity, hello)
    tasks = [
        asyncio.create_task(_listen(hub, sidecar, read)),
        asyncio.create_task(_tell(hub, sidecar, write)),
        asyncio.create_task(hub.stopping.wait()),
        asyncio.create_task(sidecar.replaced.wait()),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        hub.sidecars.disconnect(sidecar)  # before anything is awaited: a second cancel ends us there
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(hub: Hub, sidecar: Sidecar, write: Write) -> None:
    """The config first, however long that takes (H1); then every change, and heartbeats between them."""
    identity = sidecar.identity
    told_bundle = b""
    while True:
        version = hub.source.version
        served = hub.config_for(identity, sidecar.compiler)
        if served is not None and served.revision != sidecar.wanted:
            keys = hub.keyring.keys_of(identity.namespace_uid)
            if hub.archive is not None:
                with contextlib.suppress(TimeoutError):  # a disk that hangs keeps no policy from its pods
                    async with asyncio.timeout(_ARCHIVE_WITHIN):
                        await hub.archive.keep_policy(served.document)
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
        if sidecar.wanted and (bundle := hub.ca_bundle()) != told_bundle:
            told_bundle = bundle
            await write(hub_pb2.SyncResponse(trust=hub_pb2.TrustBundle(ca_pem=bundle.decode())))
        try:
            async with asyncio.timeout(HEARTBEAT):
                await hub.source.changed(version)
        except TimeoutError:
            if sidecar.wanted:
                beat = hub_pb2.Heartbeat(revision=sidecar.wanted, age_seconds=int(hub.source.age))
                await write(hub_pb2.SyncResponse(heartbeat=beat))


async def _listen(hub: Hub, sidecar: Sidecar, read: Read) -> None:
    while (message := await read()) is not None:
        kind, rows = message.WhichOneof("message"), 0
        match kind:
            case "ack":
                ack = message.ack
                kind = "ack" if ack.accepted else "nack"
                hub.sidecars.answered(sidecar, ack.revision[:_LONGEST], accepted=ack.accepted, reason=ack.reason[:1000])
            case "activity":
                records = message.activity.records
                rows = _bounded("activity.records", records)
                hub.witness.acted(sidecar.identity, records)
                for action, count in Counter(_ACTIONS.get(record.action, "unknown") for record in records).items():
                    hub.metrics.activity.labels(action).inc(count)
            case "audit_head":
                hub.heads.note(sidecar.identity, message.audit_head, hub.clock())
            case "usage":
                rows = _bounded("usage.policies", message.usage.policies)
                hub.usage.called(message.usage, _names(hub, sidecar.identity))
            case _:
                raise InvalidInput("hello comes once, at the beginning; after it only ack, activity, usage, audit_head")
        await _pace(hub, sidecar.identity, kind, rows)


async def _pace(hub: Hub, identity: Identity, kind: str | None, rows: int = 0) -> None:
    """Wait before the next message of this pod where it has sent more than it may."""
    if seconds := hub.uplink.owe(identity.agent.pod_uid, _COSTS.get(kind or "", 1) + rows):
        await asyncio.sleep(seconds)


def _bounded(field: str, rows: Sized) -> int:
    if len(rows) > MOST_ROWS:
        raise InvalidInput(f"{field}: has {len(rows)} entries, at most {MOST_ROWS} are read; send them in several")
    return len(rows)


def _names(hub: Hub, identity: Identity) -> set[str]:
    """The policies that a sidecar was given, as it names them."""
    return {str(entry.policy.ref) for entry in hub.source.concerning(identity) if entry.policy is not None}
