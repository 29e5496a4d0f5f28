"""Hubs in this process that serve over TLS and know sidecars by their pods' tokens; requests lie in an SQLite file."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.gated_pods import EVER
from control_plane.certificates import Authority
from hitl.kube.api import KubeAPI
from hitl.policy.calls import Agent
from hitl.policy.config import SCHEMA
from hitl.policy.settings import Settings
from hitl.stores.sqlite import SQLiteStore
from hitl.v1 import hub_pb2
from hitl_operator.cluster.door import Door
from hitl_operator.cluster.namespaces import NamespaceCache
from hitl_operator.cluster.pods import PodCache
from hitl_operator.cluster.reviews import Reviews
from hitl_operator.cluster.tls import STRANGERS, ServingCertificate
from hitl_operator.cluster.tokens import TokenAuthenticator
from hitl_operator.heads import AuditHeads
from hitl_operator.hub import Hub
from hitl_operator.keys import Keyring
from hitl_operator.metrics import HubMetrics
from hitl_operator.server import HubServer
from hitl_operator.sources import ConfigBook, Generation
from hitl_operator.verification import SignatureVerifier
from hitl_sidecar.hub import Hub as HubClient
from hitl_sidecar.hub_channel import HubTrust, target_of

NAME = "hitl-operator.hitl-system.svc"


class TlsHub:
    """One hub. Its certificate is `folder`'s hub.crt, signed by `authority`; sidecars trust `ca`."""

    def __init__(self, folder: Path, api: KubeAPI, *, strangers: Sequence[tuple[str, int]] = STRANGERS) -> None:
        self.folder = folder
        self.authority = Authority("hub-ca")
        self.ca = folder / "hub-ca.crt"
        self.ca.write_bytes(self.authority.pem)
        self.certificate, self.key = self.authority.server("hub", names=(NAME,)).write(folder, "hub")
        self.metrics = HubMetrics()
        self.book = ConfigBook()
        self.pods = PodCache(api)
        self.namespaces = NamespaceCache(api)
        self.reviews = Reviews(api)
        self.port = 0
        self.idle = 0.0
        self._strangers = strangers
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> "TlsHub":
        store = await self._stack.enter_async_context(SQLiteStore.open(self.folder / "hub.db", clock=now))
        self._tasks = [asyncio.create_task(each.run()) for each in (self.pods, self.namespaces)]
        async with asyncio.timeout(EVER):
            await self.pods.synced.wait()
            cluster_uid = await self.namespaces.cluster_uid()
        authenticator = TokenAuthenticator(self.reviews, self.pods, self.namespaces, cluster_uid=cluster_uid, clock=now)
        self.book.publish(Generation((), Settings()))
        self.hub = Hub(
            store,
            authenticator=authenticator,
            source=self.book,
            verifier=SignatureVerifier(dict, cluster_uid),
            keyring=Keyring(bytes(32), 1),
            heads=AuditHeads(self.folder / "heads.jsonl"),
            metrics=self.metrics,
            clock=now,
        )
        door = Door(authenticator, self.metrics.refused_callers, clock=self._monotonic)
        self.server = HubServer(self.hub, interceptors=[door], options=self._strangers)
        credentials = ServingCertificate(self.certificate, self.key).credentials()
        self.port = self.server.bind_tls("127.0.0.1:0", credentials)
        await self.server.start()
        self._tasks.append(asyncio.create_task(self.hub.run()))
        async with asyncio.timeout(EVER):
            await self.hub.settler.is_following.wait()
        return self

    def _monotonic(self) -> float:
        """Seconds, `idle` ahead of what they are."""
        return time.monotonic() + self.idle

    async def stop(self) -> None:
        """End it; a second time does nothing."""
        await self.server.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def refused(self, why: str) -> float:
        """How many calls were refused at the door for this reason."""
        return self.metrics.registry.get_sample_value("hitl_callers_refused_total", {"reason": why}) or 0.0


class Line:
    """A sidecar's connection to one or several hubs, with its token in a file."""

    def __init__(self, folder: Path, token: str, ca: Path, *addresses: str, name: str = NAME) -> None:
        self.token = folder / f"token-{addresses[0].rpartition(':')[2]}-{name}"
        self.token.write_text(token)
        trust = HubTrust(ca, self.token, name)
        self.hub = HubClient(target_of(",".join(addresses), trust), Agent("unused"), trust=trust)

    async def config(self) -> hub_pb2.ConfigUpdate:
        """Open a Sync stream and take the first config."""
        self.sync = self.hub.stub.Sync(metadata=self.hub.metadata)
        hello = hub_pb2.Hello(epoch="epoch-1", schemas=[SCHEMA], compiler="test")
        await self.sync.write(hub_pb2.SyncRequest(hello=hello))
        return (await self.message()).config

    async def message(self) -> Any:
        async with asyncio.timeout(EVER):
            return await self.sync.read()

    async def close(self) -> None:
        await self.hub.close()


def now() -> datetime:
    return datetime.now(UTC)
