"""One replica of the operator, put together: caches, policies, enforcement, requests, the Lease, the hub (DESIGN 11).

The hub takes connections only once everything that it goes by has been seen whole (SECURITY H1). Whether it may count
votes at all is another question, which `Enforcement` answers again and again; without it calls that need nobody go on.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

from prometheus_client import Gauge

from hitl.errors import ApiError, HitlError, StoreUnavailable, Unavailable
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.manifests import API_VERSION
from hitl.policy.settings import Settings
from hitl.stores.kubernetes import KubernetesStore
from hitl.stores.protocol import Unread
from hitl.tracing import Traces
from hitl_operator.archive.archive import Archive
from hitl_operator.cluster.acceptance import available_factors
from hitl_operator.cluster.accepted_specs import AcceptedSpecs
from hitl_operator.cluster.admission import Admission
from hitl_operator.cluster.audit_key import open_audit_key
from hitl_operator.cluster.cleanup import Cleanup
from hitl_operator.cluster.door import Door
from hitl_operator.cluster.enforced import EnforcedVerifier
from hitl_operator.cluster.enforcement_metrics import EnforcementMetrics
from hitl_operator.cluster.events import About, Events
from hitl_operator.cluster.freeze_news import FreezeNews
from hitl_operator.cluster.guard import Enforcement
from hitl_operator.cluster.issuing import names_of
from hitl_operator.cluster.lease import Lease
from hitl_operator.cluster.namespaces import NamespaceCache
from hitl_operator.cluster.own_certificates import OwnCertificates
from hitl_operator.cluster.own_name import OwnName
from hitl_operator.cluster.place import Place
from hitl_operator.cluster.pods import PodCache
from hitl_operator.cluster.policy_resources import Resource
from hitl_operator.cluster.policy_source import PolicySource
from hitl_operator.cluster.policy_status import PolicyStatus
from hitl_operator.cluster.publishing import Publishing
from hitl_operator.cluster.readyz import Checks
from hitl_operator.cluster.reporter import Reporter
from hitl_operator.cluster.reviews import Reviews
from hitl_operator.cluster.root_key import RootKey
from hitl_operator.cluster.tls import STRANGERS, Certification
from hitl_operator.cluster.tokens import TokenAuthenticator
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.cluster.unprotected import UnprotectedPods
from hitl_operator.heads import AuditHeads
from hitl_operator.hub import Hub
from hitl_operator.keys import Keyring
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics
from hitl_operator.server import HubServer
from hitl_operator.sources import ConfigBook

LEASE: Final = "hitl-operator"
_TICK: Final = 1.0  # seconds between two updates of gauges and flushes of audit heads
_LOOK_UPS: Final = 96  # under way for sidecars; a client has 128 connections, and watches and writes need some
_AGAIN: Final = 1.0  # seconds until a step of the start that failed is tried again
# Seconds for which a replica that has just started waits until votes count, before it says that it is ready: sidecars
# should not be sent to one that cannot hold yet. Past that nothing gets better by waiting, and calls that need nobody
# can be served.
_UNTIL_VOTES_COUNT: Final = 20.0

T = TypeVar("T")
_log = Log(__name__)


class Replica:
    """One replica. `run` it; `stop` it before you end that.

    Args:
        api: as the operator.
        vital: the same with connections of its own, for what nobody's flood may hold up: the Lease, the check of
            enforcement, reviews of tokens (SECURITY B5).
        access: how both reach the API server.
    """

    def __init__(
        self, api: KubeAPI, vital: KubeAPI, access: Access, place: Place, *, traces: Traces | None = None
    ) -> None:
        """Does nothing yet. InvalidInput: the access does not fit."""
        self.metrics = HubMetrics(traces)
        self.is_serving = False
        self.may_hold = False
        self.is_stopping = False
        self.port = 0
        registry, namespace = self.metrics.registry, place.shipped.namespace
        self._api, self._vital = api, vital
        self._place = place
        self._book = ConfigBook()
        self._own_name = OwnName(vital, place.shipped)
        self._pods = PodCache(api)
        self._namespaces = NamespaceCache(api)
        self._policies = PolicySource(
            api,
            access,
            self._book,
            AcceptedSpecs(api, namespace),
            settings=place.settings.settings,
            clock=_now,
            metrics=self.metrics,
            factors=available_factors(place.shipped),
        )
        self._events = Events(api, namespace, place.name, registry=registry, clock=_now)
        FreezeNews(self._policies, self._events.say)
        self._enforcement = Enforcement(
            vital,
            place.shipped,
            gates_pods=place.webhook is not None,
            metrics=EnforcementMetrics(registry),
            hub_metrics=self.metrics,
            announce=self._events.enforcement,
            clock=_now,
        )
        self._lease = Lease(vital, namespace, LEASE, f"{place.name}_{secrets.token_hex(4)}")
        self._archive: Archive | None = None
        self._unprotected = UnprotectedPods(
            api,
            self._namespaces,
            leads=lambda: self._lease.is_held,
            say=self._events.say,
            registry=registry,
            clock=_now,
        )
        self._root_key = RootKey(api, namespace, on_change=self._rekey)
        # What sidecars and the API server are shown, and told to trust; injection goes by it too.
        self.certification: Certification = place.certificate or OwnCertificates(
            vital, namespace, names_of(place.service, namespace), clock=_now, lease=LEASE
        )
        self._publishing = Publishing(
            vital, lambda: self.certification.admitted, place.webhook.injected if place.webhook is not None else None
        )
        self._admission: Admission | None = None
        if place.webhook is not None:
            self._admission = Admission(place.webhook, self._namespaces, self.certification, registry)
        self._requests = Trouble(api, "requests-unreadable", meaning="nothing is served until they are read")
        self._hub: Hub | None = None
        self._server: HubServer | None = None
        self._starting = "it was just started"
        Gauge("hitl_leader", "1 while this replica holds the Lease.", registry=registry).set_function(
            lambda: float(self._lease.is_held)
        )
        self._expiry = Gauge(
            "hitl_certificate_expiry_timestamp_seconds",
            "When what this replica serves with ends, and the authority behind it.",
            ["certificate"],
            registry=registry,
        )

    @property
    def checks(self) -> Checks:
        """What `/readyz` asks."""

        def unless(event: asyncio.Event, what: str) -> Callable[[], str]:
            return lambda: "" if event.is_set() else f"{what} have not all been seen yet"

        return {
            "identity": lambda: "" if self._own_name.is_right.is_set() else self._own_name.wrong or "not known yet",
            "pods": unless(self._pods.synced, "gated pods"),
            "namespaces": unless(self._namespaces.synced, "namespaces"),
            "policies": unless(self._policies.synced, "policies"),
            "enforcement": unless(self._enforcement.is_known, "admission policies"),
            "certificates": lambda: self.certification.wrong,
            **({"admission": self._admission.unready} if self._admission is not None else {}),
            "hub": lambda: "" if self.is_serving else self._starting,
            "holds": lambda: "" if self.may_hold else "the API server's checks are being tried; votes do not count yet",
            "running": lambda: "it is being stopped" if self.is_stopping else "",
        }

    def remarks(self) -> dict[str, str]:
        """What `/readyz` says beside: it takes nothing from being ready, but somebody should look at it."""
        troubles = {
            "its own name": self._own_name.trouble.why,
            "pods": self._pods.trouble.why,
            "namespaces": self._namespaces.trouble.why,
            "policies": self._policies.trouble,
            "admission policies": self._enforcement.trouble.why,
            "root key": self._root_key.trouble.why,
            "unprotected pods": self._unprotected.trouble.why,
            "requests": self._requests.why,
            "what the API server trusts": self._publishing.trouble.why,
        }
        remarks = {f"no news of {what}": why for what, why in troubles.items() if why}
        if self.certification.remark:
            remarks["certificates"] = self.certification.remark
        if self._archive is not None and self._archive.trouble:
            remarks["archive"] = f"{self._archive.trouble}; nothing is archived, and nothing that ended is deleted"
        if (lost := self._enforcement.lost) is not None:
            why = self._enforcement.why or "see the log for why"
            remarks["enforcement"] = f"{lost.reason_code}: no vote counts and nothing new is held; {why}"
        return remarks

    @property
    def leads(self) -> bool:
        """Whether it holds the Lease now."""
        return self._lease.is_held

    async def run(self) -> None:
        """Follow the cluster, and serve as soon as that can be done rightly; until cancelled.

        Raises:
            HitlError: it cannot serve: the key is broken, the address is taken.
        """
        async with asyncio.TaskGroup() as tasks:
            for work in self._beginning():
                tasks.create_task(work)
            hub = await self._opened()
            for work in self._going_on(hub):
                tasks.create_task(work)
            await self._serve(hub)

    async def stop(self) -> None:
        """Drain: streams end, so that sidecars go to another replica; what is being written is answered."""
        self.is_stopping = True
        if self._server is not None:
            await self._server.stop()
        if self._hub is not None:
            self._flush(self._hub)
        if self._archive is not None:
            await self._archive.close()

    def _beginning(self) -> list[Coroutine[Any, Any, None]]:
        return [
            self._own_name.run(),
            self._pods.run(),
            self._namespaces.run(),
            self._policies.run(),
            self._place.settings.follow(self._resettle),
            self.certification.run(lambda: self._lease.is_held, lambda: self._publishing.is_settled),
            self._publishing.run(lambda: self._lease.is_held),
            *([self._admission.run()] if self._admission is not None else []),
        ]

    def _going_on(self, hub: Hub) -> list[Coroutine[Any, Any, None]]:
        namespace = self._place.shipped.namespace
        return [
            self._follow_requests(hub),
            self._enforcement.run(hub.settler),
            self._events.run(),
            self._unprotected.run(),
            Cleanup(
                self._api,
                self._archive,
                leads=lambda: self._lease.is_held,
                registry=self.metrics.registry,
                clock=_now,
            ).run(),
            *([self._archive.run()] if self._archive is not None else []),
            self._root_key.run(),
            self._lease.run(),
            Reporter(self._api, namespace, self._place.name, hub, self._book).run(),
            PolicyStatus(
                self._api,
                self._policies,
                namespaces=self._namespaces,
                operator_namespace=namespace,
                leads=lambda: self._lease.is_held,
                metrics=self.metrics,
                clock=_now,
                announce=self._policy_trouble,
            ).run(),
        ]

    def _policy_trouble(self, resource: Resource, reason: str, words: str) -> None:
        about = About(API_VERSION, resource.kind, resource.namespace, resource.name, resource.uid)
        self._events.policy(about, reason, words)

    async def _opened(self) -> Hub:
        """The hub, not yet serving."""
        keyring = await self._had("root key", self._root_key.open)
        if (place := self._place.archive) is not None:
            key = await self._had("audit key", partial(open_audit_key, self._api, self._place.shipped.namespace))
            self._archive = place.archive(key, self._place.name, registry=self.metrics.registry, clock=_now)
        self._starting = "namespaces have not all been seen yet"
        cluster_uid = await self._namespaces.cluster_uid()
        authenticator = TokenAuthenticator(
            Reviews(self._vital), self._pods, self._namespaces, cluster_uid=cluster_uid, clock=_now
        )

        def deleted(handle: str, uid: str) -> None:
            hub.settler.deleted(handle, uid)

        def unread(found: Unread) -> None:
            hub.settler.last_resort.saw(found)

        store = KubernetesStore(self._api, clock=_now, on_deleted=deleted, on_unread=unread)
        self._hub = hub = Hub(
            store,
            authenticator=authenticator,
            source=self._book,
            verifier=EnforcedVerifier(self._enforcement, self._place.shipped),
            keyring=keyring,
            heads=AuditHeads(self._place.state / "audit-heads.jsonl"),
            metrics=self.metrics,
            clock=_now,
            ca_bundle=lambda: self.certification.bundle,
            standing=self._enforcement,
            leads=lambda: self._lease.is_held,
            ends=store,
            witness=self._events,
            labels_of=self._pods.labels_of,
            at_once=_LOOK_UPS,
            archive=self._archive,
        )
        door = Door(authenticator, self.metrics.refused_callers)
        self._server = HubServer(hub, interceptors=[door], options=STRANGERS)
        return hub

    async def _had(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        """What is asked for, however long the API server cannot give it."""
        trouble = Trouble(self._api, f"{what.replace(' ', '-')}-unavailable")
        while True:
            try:
                found = await ask()
            except (ApiError, StoreUnavailable) as error:
                trouble.tell(error)
                self._starting = f"the {what} cannot be had: {trouble.why}"
            else:
                trouble.over()
                return found
            await asyncio.sleep(_AGAIN)

    async def _follow_requests(self, hub: Hub) -> None:
        """Let the hub follow its store; where that cannot even be listed, try again."""
        while True:
            try:
                await hub.run()
            except* HitlError as problems:
                if isinstance(error := problems.exceptions[0], HitlError):
                    self._requests.tell(error)
            await asyncio.sleep(_AGAIN)

    async def _serve(self, hub: Hub) -> None:
        """Take connections once everything has been seen; then keep gauges and audit heads up to date."""
        assert self._server is not None, "made with the hub"
        for event, what in (
            (self._own_name.is_right, "it is not known yet whether it is the operator that policies let write"),
            (self._pods.synced, "gated pods have not all been seen yet"),
            (self._policies.synced, "policies have not all been seen yet"),
            (hub.settler.is_following, "requests have not all been seen yet"),
            (self._enforcement.is_known, "admission policies have not all been seen yet"),
        ):
            self._starting = what
            await event.wait()
        if not hub.is_ready:
            raise Unavailable("NO_CONFIG", "every policy was seen, and no config came of it")
        while self.certification.wrong:
            self._starting = self.certification.wrong
            await asyncio.sleep(_TICK)
        self.port = self._server.bind_tls(self._place.listen, self.certification.credentials())
        await self._server.start()
        self.is_serving = True
        _log.info("serving", replica=self._place.name, listen=self._place.listen, port=self.port)
        waited_since = time.monotonic()
        while True:
            overdue = time.monotonic() - waited_since > _UNTIL_VOTES_COUNT
            self.may_hold = self.may_hold or self._enforcement.stands or overdue
            await self._server.tell_health()
            hub.update_gauges()
            for certificate, ends in self.certification.ends.items():
                self._expiry.labels(certificate).set(ends.timestamp())
            self._flush(hub)
            if hub.settler.is_following.is_set():
                self._requests.over()
            await asyncio.sleep(_TICK)

    def _rekey(self, keyring: Keyring) -> None:
        if self._hub is not None:
            self._hub.keyring = keyring
        if self._book.generation is not None:
            self._book.publish(self._book.generation)  # sidecars get the key with the config

    def _resettle(self, settings: Settings) -> None:
        self._policies.use_settings(settings)
        if self._hub is not None:
            self._hub.settler.look_at_all()  # approvals may lapse sooner or later than before

    def _flush(self, hub: Hub) -> None:
        try:
            hub.heads.flush()
        except OSError as error:
            _log.error("audit-heads-unwritable", problem=error)


def _now() -> datetime:
    return datetime.now(UTC)
