"""Streams that break: nothing of them is left behind, whenever and however often they are told to end (B5, D2)."""

import asyncio
from typing import Any

import pytest
from hubs import HubHere, Sidecar, World, a_spec, eventually, within

from hitl.kube.requests import spec_to_json
from hitl.policy.config import SCHEMA
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.holding import HoldStream
from hitl_operator.syncing import sync


class Peer:
    """A peer that says one thing, then breaks off, and whose writer takes a while to end."""

    def __init__(self, first: Any) -> None:
        self._first = [first]
        self.breaks_off = asyncio.Event()
        self.is_told = asyncio.Event()
        self.is_ending = asyncio.Event()

    async def read(self) -> Any:
        if self._first:
            return self._first.pop()
        await self.breaks_off.wait()
        return None

    async def write(self, _: Any) -> None:
        self.is_told.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.is_ending.set()
            await asyncio.Event().wait()


async def cancelled_while_it_ends(peer: Peer, serving: "asyncio.Task[None]") -> None:
    """The peer breaks off, and while the stream ends gRPC cancels it as well."""
    await within(peer.is_told.wait())
    peer.breaks_off.set()
    await within(peer.is_ending.wait())
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(serving)


async def test_D2_a_hold_stream_cancelled_while_it_ends_holds_nothing_any_more(
    world: World, hub: HubHere, sidecar: Sidecar
) -> None:
    """D2: a stream that broke off and is cancelled at that moment waits on no request: others may settle it."""
    wish = hub_pb2.OpenHold(spec_json=spec_to_json(a_spec()), epoch=sidecar.epoch)
    peer = Peer(hub_pb2.HoldRequest(ref="r1", open=wish))
    stream = HoldStream(Identity(sidecar.agent, "uid", "cluster"), hub.hub)
    serving = asyncio.create_task(stream.serve(peer.read, peer.write))

    async def waits() -> list[Any]:
        return [entry for entry in hub.hub.tracker.open.values() if entry.waiters]

    (entry,) = await eventually(waits, bool)
    await cancelled_while_it_ends(peer, serving)
    assert entry.waiters == []


async def test_a_sync_stream_cancelled_while_it_ends_counts_no_longer(hub: HubHere, sidecar: Sidecar) -> None:
    """The same of Sync: its sidecar is no longer among those that are connected."""
    peer = Peer(hub_pb2.SyncRequest(hello=hub_pb2.Hello(epoch="another", schemas=(SCHEMA,))))
    identity = Identity(sidecar.agent, "uid", "cluster")
    serving = asyncio.create_task(sync(hub.hub, identity, peer.read, peer.write))

    async def connected() -> set[str]:
        return {each.epoch for each in hub.hub.sidecars}

    await eventually(connected, lambda found: found == {sidecar.epoch, "another"})
    await cancelled_while_it_ends(peer, serving)
    assert await connected() == {sidecar.epoch}
