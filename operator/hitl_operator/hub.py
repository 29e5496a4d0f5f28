"""The hub: one object that holds the parts together, for standalone and cluster alike (DESIGN 3, 8, 14).

What differs between the two is handed in: where requests live, who calls, where config comes from, which votes count.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from hitl.approvals.messages import frozen
from hitl.approvals.opening import Refuse
from hitl.approvals.requests import ApprovalRequest
from hitl.errors import Unavailable
from hitl.policy.config import COMPILER
from hitl.policy.globs import normalise
from hitl.policy.settings import Settings
from hitl.stores.protocol import ApprovalStore, EndingStore
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.archive.archive import Archive
from hitl_operator.archive.shipping import Shipping
from hitl_operator.freezing import Frozen, Labels, LabelsOf, stopping
from hitl_operator.heads import AuditHeads
from hitl_operator.identity import Authenticator
from hitl_operator.keys import Keyring
from hitl_operator.metrics import HubMetrics
from hitl_operator.opening import Opened, Opener
from hitl_operator.pacing import Buckets
from hitl_operator.records import Witness, Witnesses, record_refusal
from hitl_operator.releasing import Releaser
from hitl_operator.settling import Settler
from hitl_operator.sidecars import Sidecars
from hitl_operator.sources import ConfigSource, ServedConfig
from hitl_operator.standing import Standing
from hitl_operator.streams import Streams
from hitl_operator.tracking import Open, Tracker
from hitl_operator.turns import Turns
from hitl_operator.usage import Usage
from hitl_operator.verification import DecisionVerifier
from hitl_operator.wishes import read_wish

# What one pod may say on its Sync streams, in records (see `syncing`): at once, and each second. Ours keeps 2 000
# records while the hub is away, and sends no more than that in a second.
_UPLINK, _UPLINK_PER_SECOND = 6000, 3000
_AT_ONCE = 512  # two batches of a store on one machine


class Hub:
    """Opens, settles, releases.

    Args:
        store: where requests live; several hubs may share one.
        authenticator: who is behind a connection.
        source: the config in force.
        verifier: which votes count.
        keyring: keys of namespaces.
        heads: where the audit chains stood.
        clock: aware UTC times.
        ca_bundle: what sidecars are told to trust from their next connection on, as PEM; empty: nothing.
        standing: whether anything may rest on what people wrote; None: votes prove themselves.
        leads: as `Settler`.
        ends: as `Settler`.
        witness: told of what this hub does to requests.
        labels_of: which pods a request may be of, for freezes; None: the sidecars that are connected here say.
        at_once: how many look-ups for sidecars, and requests of theirs, the store is given at the same time.
        archive: where evidence goes; None: nowhere.
    """

    def __init__(
        self,
        store: ApprovalStore,
        *,
        authenticator: Authenticator,
        source: ConfigSource,
        verifier: DecisionVerifier,
        keyring: Keyring,
        heads: AuditHeads,
        metrics: HubMetrics,
        clock: Callable[[], datetime],
        ca_bundle: Callable[[], bytes] = bytes,
        standing: Standing | None = None,
        leads: Callable[[], bool] = lambda: True,
        ends: EndingStore | None = None,
        witness: Witness | None = None,
        labels_of: LabelsOf | None = None,
        at_once: int = _AT_ONCE,
        archive: Archive | None = None,
    ) -> None:
        self.usage = Usage()
        self.witness = Witnesses(self.usage) if witness is None else Witnesses(self.usage, witness)
        self.authenticator = authenticator
        self.source = source
        self.keyring = keyring
        self.heads = heads
        self.archive = archive
        self.shipping = Shipping(archive)
        if archive is not None:
            heads.on_said = archive.said
        self.metrics = metrics
        self.clock = clock
        self.ca_bundle = ca_bundle
        self.stopping = asyncio.Event()
        self.sidecars = Sidecars(metrics, clock)
        self.syncs, self.holds = Streams(), Streams()
        self.uplink: Buckets[str] = Buckets(_UPLINK, _UPLINK_PER_SECOND)
        self.tracker = Tracker()
        self._labels_of = self._labels_here if labels_of is None else labels_of
        turns = Turns(at_once)
        self.settler = Settler(
            store,
            self.tracker,
            verifier,
            metrics,
            clock=clock,
            release_window=self.release_window,
            standing=standing,
            leads=leads,
            ends=ends,
            stops=lambda request: stopping(self.source.frozen, request, self._labels_of),
            witness=self.witness,
        )
        self.releaser = Releaser(
            store,
            self.tracker,
            self.settler,
            metrics,
            turns,
            clock=clock,
            release_window=self.release_window,
            runs=self._may_run,
        )
        self._opener = Opener(
            store, self.tracker, self.settler, metrics, turns, clock=clock, settings=self.settings, witness=self.witness
        )

    @property
    def is_ready(self) -> bool:
        """Whether sidecars can be served: there is a config, and the store is being followed."""
        return self.source.version > 0 and self.settler.is_following.is_set()

    async def run(self) -> None:
        """Follow the store and the clock until cancelled. Raises StoreError where the store cannot even be listed."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.settler.run())
            tasks.create_task(self.settler.follow())
            tasks.create_task(self._stop_frozen())

    def settings(self) -> Settings:
        """The operator's settings in force."""
        return self.source.settings

    def release_window(self) -> int:
        """Seconds that an approval waits for its call."""
        return self.source.settings.release_window

    def config_for(self, identity: Identity, compiler: str | None) -> ServedConfig | None:
        """The config of one pod, named under its sidecar's compiler version (None: ours)."""
        key = self.keyring.keys_of(identity.namespace_uid)[0]
        return self.source.config_for(identity, key.id, compiler or COMPILER)

    async def open(self, identity: Identity, wish: hub_pb2.OpenHold) -> Opened | Refuse:
        """As `holding.HoldDesk.open`."""
        if not self.is_ready:
            raise Unavailable("NO_CONFIG", "the hub has no config yet; nobody can be asked")
        if lost := self.settler.standing.lost:
            raise Unavailable(lost.reason_code, lost.message)
        self.heads.note(identity, wish.audit_head, self.clock())
        spec = read_wish(wish.spec_json, identity, preview_bytes=self.settings().preview_bytes)
        called = f"{normalise(spec.call.server)}/{normalise(spec.call.tool)}"
        if freeze := next((each for each in self.source.freezes_of(identity) if each.covers(called)), None):
            refused = Refuse(frozen(freeze))
            record_refusal(self.metrics, identity.agent.namespace, spec, refused)
            return refused
        key = self.keyring.keys_of(identity.namespace_uid)[0]
        return await self._opener.open(identity.agent.namespace, spec, key, supersedes=wish.supersedes)

    async def find(self, identity: Identity, handle: str) -> Open:
        """As `holding.HoldDesk.find`."""
        return await self.releaser.find(identity, handle)

    def attend(self, entry: Open) -> None:
        """As `holding.HoldDesk.attend`: what was left to other hubs is settled here, too."""
        if entry.passed_over:
            self.settler.look(entry)

    def update_gauges(self) -> None:
        """Bring the gauges that follow from time up to date."""
        waiting = [entry.request for entry in self.tracker.open.values()]
        now = self.clock()
        oldest = min((request.created for request in waiting), default=now)
        self.metrics.oldest_pending.set(max(0.0, (now - oldest).total_seconds()))
        for tier in ("confirm", "multi-factor"):
            self.metrics.in_progress.labels(tier).set(sum(request.spec.tier == tier for request in waiting))

    async def _stop_frozen(self) -> None:
        """End what waits whenever people freeze something (DESIGN 8)."""
        version = 0
        before: tuple[Frozen, ...] = ()
        while True:
            version = await self.source.changed(version)
            if before != self.source.frozen:
                before = self.source.frozen
                self.settler.look_at_all()

    def _labels_here(self, request: ApprovalRequest) -> list[Labels]:
        """Of the pod of a request, or of others of its workload, as far as they are connected here."""
        spec = request.spec
        found = [
            each.identity
            for each in self.sidecars
            if (each.identity.agent.namespace, each.identity.agent.workload) == (request.namespace, spec.workload)
        ]
        own = [each for each in found if each.agent.pod_uid == spec.agent_pod_uid]
        return [labels for each in own or found for labels in (each.agent.labels, each.stamped) if labels is not None]

    def _may_run(self, identity: Identity, epoch: str, revision: str) -> bool:
        served = self.config_for(identity, self.sidecars.compiler_of(identity, epoch))
        return served is not None and self.sidecars.may_run(identity, epoch, revision, served.revision)
