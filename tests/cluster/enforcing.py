"""Replicas that check enforcement on a control plane of their own, with the hub's real settling behind them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cluster.voting import Court, Json
from control_plane.installing import until_policies_act
from control_plane.running import ControlPlane
from hitl.approvals.requests import ApprovalRequest
from hitl.errors import ApiError, Conflict
from hitl.kube import shipped
from hitl.kube.api import KubeAPI
from hitl.kube.comparison import Guard, collection, difference, guards
from hitl.kube.paths import path_of
from hitl.stores.kubernetes import KubernetesStore
from hitl.stores.protocol import Unread
from hitl_operator.cluster.enforced import EnforcedVerifier
from hitl_operator.cluster.enforcement_metrics import EnforcementMetrics
from hitl_operator.cluster.guard import GRACE, Enforcement
from hitl_operator.cluster.probe import Probe
from hitl_operator.cluster.shared_record import NAME
from hitl_operator.metrics import HubMetrics
from hitl_operator.settling import Settler
from hitl_operator.tracking import Tracker

SOON = 90.0  # seconds within which anything that comes must have come, also where many share the machine
SECRET = path_of("v1", "secrets", shipped.DEFAULT.namespace, NAME)


@dataclass(slots=True)
class Replica:
    """One replica: the check, and the part of the hub that it speaks to."""

    api: KubeAPI
    enforcement: Enforcement
    settler: Settler
    tracker: Tracker
    store: KubernetesStore
    metrics: EnforcementMetrics
    hub_metrics: HubMetrics
    probe: Probe
    told: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def voided(self) -> float:
        """How many requests this replica ended because what was written in them cannot be believed."""
        return self.hub_metrics.registry.get_sample_value("hitl_requests_voided_total") or 0.0

    @property
    def gaps(self) -> float:
        """How many gaps this replica was the first to find."""
        (metric,) = self.metrics.gaps.collect()
        return next(sample.value for sample in metric.samples if sample.name.endswith("_total"))

    async def look(self) -> str:
        """Look once, again where another replica wrote first; the reason code, empty where votes count."""
        while True:
            try:
                await self.enforcement.look(self.settler)
            except Conflict:
                continue
            return self.enforcement.lost.reason_code if self.enforcement.lost else ""

    async def until_it_stands(self) -> None:
        """Let forged writes be refused, let the grace pass, and look again."""

        async def refused() -> bool:
            await self.look()
            return self.enforcement.stands or "are left" in self.enforcement.why

        try:
            await eventually(refused)
        except TimeoutError:
            raise AssertionError(self.enforcement.why) from None
        self.seconds += GRACE
        assert await self.look() == "", self.enforcement.why

    async def settle(self, request: Json) -> ApprovalRequest:
        """Take in what stands in the store and settle it; the request as it stands then."""
        metadata = request["metadata"]
        found = await self.store.get(metadata["namespace"], metadata["name"])
        self.settler.observe(found)
        entry = self.tracker.open.get(found.handle)
        if entry is not None:
            await self.settler.settle_now(entry)
        return await self.store.get(metadata["namespace"], metadata["name"])


@dataclass(slots=True)
class Cluster:
    """A control plane whose policies may be removed, and replicas on it."""

    plane: ControlPlane
    court: Court
    stack: AsyncExitStack

    async def replica(
        self, *, leads: Callable[[], bool] = lambda: True, of: shipped.Shipped = shipped.DEFAULT
    ) -> Replica:
        """One more replica; its first look is still to come."""
        api = await self.stack.enter_async_context(self.court.operator())
        metrics, hub_metrics, tracker = EnforcementMetrics(), HubMetrics(), Tracker()
        told: list[tuple[str, str]] = []
        replica: Replica
        enforcement = Enforcement(
            api,
            of,
            metrics=metrics,
            announce=lambda reason, words: told.append((reason, words)),
            monotonic=lambda: replica.seconds,
        )

        def unread(found: Unread) -> None:
            settler.last_resort.saw(found)

        store = KubernetesStore(api, on_unread=unread)
        self.stack.push_async_callback(store.aclose)
        settler = Settler(
            store,
            tracker,
            EnforcedVerifier(enforcement, shipped.DEFAULT),
            hub_metrics,
            clock=lambda: datetime.now(UTC),
            release_window=lambda: 300,
            standing=enforcement,
            leads=leads,
            ends=store,
        )
        probe = Probe(api, shipped.DEFAULT.namespace, shipped.DEFAULT.operator)
        replica = Replica(api, enforcement, settler, tracker, store, metrics, hub_metrics, probe, told)
        return replica

    async def standing(self, *, leads: Callable[[], bool] = lambda: True) -> Replica:
        """One more replica, for which votes count."""
        replica = await self.replica(leads=leads)
        await replica.until_it_stands()
        return replica

    def change(self, kind: str, name: str, patch: Json) -> None:
        """A merge patch by the administrator."""
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    def kubectl(self, *args: str) -> str:
        done = self.plane.kubectl(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def mend(self) -> None:
        """Everything as shipped again, and the API server goes by it.

        It takes up a change up to seconds later, one after the other: of two that follow each other quickly it may
        still act on neither, then on the first for a moment. A story that lets the grace pass at once needs the end
        of that.
        """
        if await self.put_back():
            await asyncio.to_thread(until_policies_act, self.plane)

    async def put_back(self) -> bool:
        """Everything is stored as shipped again; the API server takes it up within seconds. False: it was already."""
        async with self.court.admin() as api:
            changed = [
                await _put_back(api, guard, each)
                for each in (*shipped.crds(), *shipped.admission())
                for guard in (guards([each], []) if "Policy" in each["kind"] else guards([], [each]))
            ]
        return any(changed)


async def _put_back(api: KubeAPI, guard: Guard, manifest: Json) -> bool:
    """Whether there was anything to do."""
    try:
        stored = await api.get(guard.path)
    except ApiError as error:
        if error.status != 404:
            raise
        await api.create(collection(guard.kind), manifest)
        return True
    if not difference(guard, stored):
        return False
    metadata = {**manifest["metadata"], "resourceVersion": stored["metadata"]["resourceVersion"]}
    await api.replace(guard.path, {**manifest, "metadata": metadata})
    return True


async def eventually(look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` gives once it is true."""
    async with asyncio.timeout(SOON):
        while not (found := await look()):  # noqa: ASYNC110 - what another process does has no event to await
            await asyncio.sleep(0.05)
        return found
