"""Replicas that follow the policies of a real API server with a real kopf, and policies written to it by kubectl."""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from cluster.gated_pods import EVER
from control_plane.running import ControlPlane
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.policy.calls import Agent
from hitl.policy.config import COMPILER, SCHEMA
from hitl.policy.settings import Settings
from hitl.stores.sqlite import SQLiteStore
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.cluster.acceptance import Outcome
from hitl_operator.cluster.accepted_specs import AcceptedSpecs
from hitl_operator.cluster.namespaces import NamespaceCache
from hitl_operator.cluster.policy_source import PolicySource
from hitl_operator.cluster.policy_status import PolicyStatus
from hitl_operator.cluster.reporter import Reporter
from hitl_operator.heads import AuditHeads
from hitl_operator.hub import Hub
from hitl_operator.identity import HomeAuthenticator
from hitl_operator.keys import Keyring
from hitl_operator.metrics import HubMetrics
from hitl_operator.sidecars import Sidecar
from hitl_operator.sources import ConfigBook
from hitl_operator.verification import SignatureVerifier

DENY = {"rules": [{"action": "Deny", "tools": ["delete_*"]}]}
ALLOW = {"rules": [{"action": "Allow", "tools": ["get_*"]}]}
# The API server takes it, because only the compiler knows what an expression may use.
TYPO = {"rules": [{"action": "Deny", "tools": ["delete_*"], "cel": "args.amount > budget"}]}


class Clock:
    """A wall clock that tests can put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


class Replica:
    """One replica: what it would serve, and the sidecars that are connected to it."""

    def __init__(self, api: KubeAPI, source: PolicySource, hub: Hub, book: ConfigBook, clock: Clock) -> None:
        self.api = api
        self.source = source
        self.hub = hub
        self.book = book
        self.metrics = hub.metrics
        self.clock = clock
        self.leads = False
        self.announced: list[tuple[str, str, str]] = []
        self.idle = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, *works: Coroutine[Any, Any, None]) -> None:
        self._tasks += [asyncio.create_task(work) for work in works]

    @property
    def is_running(self) -> bool:
        return not any(task.done() for task in self._tasks)

    def monotonic(self) -> float:
        """Seconds, `idle` ahead of what they are."""
        return time.monotonic() + self.idle

    def report_and_write(self, namespaces: NamespaceCache, operator_namespace: str, name: str) -> "Replica":
        """Also report, and write status while `leads`."""
        status = PolicyStatus(
            self.api,
            self.source,
            namespaces=namespaces,
            operator_namespace=operator_namespace,
            leads=lambda: self.leads,
            metrics=self.metrics,
            clock=self.clock,
            announce=lambda resource, reason, words: self.announced.append((resource.name, reason, words)),
            look_every=0.2,
            monotonic=self.monotonic,
        )
        self.reporter = Reporter(self.api, operator_namespace, name, self.hub, self.book, monotonic=self.monotonic)
        self.begin(self.reporter.run(), status.run())
        return self

    def sidecar(self, namespace: str, pod: str = "support-1", **labels: str) -> Sidecar:
        """A sidecar connects, and runs nothing yet."""
        agent = Agent(namespace, pod_name=pod, pod_uid=f"uid-of-{pod}", labels=labels)
        hello = hub_pb2.Hello(epoch="e", schemas=[SCHEMA], compiler=COMPILER)
        return self.hub.sidecars.connect(Identity(agent, f"uid-of-{namespace}", "cluster"), hello)

    def answer(self, sidecar: Sidecar, reason: str = "") -> str:
        """It is sent what is in force and takes it, or (with a reason) does not. The revision."""
        served = self.hub.config_for(sidecar.identity, sidecar.compiler)
        assert served is not None
        self.hub.sidecars.sent(sidecar, served.revision)
        self.hub.sidecars.answered(sidecar, served.revision, accepted=not reason, reason=reason)
        return served.revision

    def document(self, namespace: str, **labels: str) -> dict[str, Any]:
        """The config document of a pod; an empty one while nothing is in force."""
        served = self.book.config_for(
            Identity(Agent(namespace, labels=labels), f"uid-of-{namespace}", "cluster"), "key"
        )
        return dict(orjson.loads(served.document)) if served is not None else {}

    def policies(self, namespace: str, **labels: str) -> dict[str, Any]:
        """The specs in it by name, those of the namespace alone."""
        document = self.document(namespace, **labels)
        return {each["name"]: each["spec"] for each in document.get("policies", ()) if each["namespace"] == namespace}

    def outcome(self, namespace: str, name: str, kind: str = "AgentPolicy") -> Outcome | None:
        """What became of a resource."""
        found = self.source.acceptance
        return found.outcomes.get((kind, namespace, name)) if found is not None else None

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Replicas:
    """Starts replicas, and ends those that are left."""

    def __init__(self, plane: ControlPlane, operator_namespace: str) -> None:
        self.plane = plane
        self.operator_namespace = operator_namespace
        self.clock = Clock()
        self._stack = contextlib.AsyncExitStack()

    async def start(self, access: Access | None = None, **more: Any) -> Replica:
        """A replica that has seen everything."""
        replica = await self.prepare(access, **more)
        async with asyncio.timeout(EVER):
            await replica.source.synced.wait()
        return replica

    async def start_whole(self, name: str, *, leads: bool, access: Access | None = None, **more: Any) -> Replica:
        """A replica that also reports, and writes status while it leads."""
        replica = await self.start(access, **more)
        replica.leads = leads
        namespaces = NamespaceCache(replica.api)
        replica.begin(namespaces.run())
        return replica.report_and_write(namespaces, self.operator_namespace, name)

    async def prepare(
        self,
        access: Access | None = None,
        *,
        kopf: Access | None = None,
        look_every: float = 0.5,
        settings: Settings | None = None,
    ) -> Replica:
        """A replica that has just been started; `kopf`: with which kopf calls, where that is another access."""
        access = access or Access.from_kubeconfig(self.plane.admin)
        api = await self._stack.enter_async_context(KubeAPI.open(access, deadline=3.0))
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="hitl-")))
        store = await self._stack.enter_async_context(SQLiteStore.open(folder / "hub.db", clock=self.clock))
        book, metrics = ConfigBook(), HubMetrics()
        source = PolicySource(
            api,
            kopf or access,
            book,
            AcceptedSpecs(api, self.operator_namespace),
            settings=settings or Settings(),
            clock=self.clock,
            metrics=metrics,
            look_every=look_every,
        )
        hub = Hub(
            store,
            authenticator=HomeAuthenticator(namespace="default", namespace_uid="n", cluster_uid="cluster"),
            source=book,
            verifier=SignatureVerifier(dict, "cluster"),
            keyring=Keyring(bytes(32), 1),
            heads=AuditHeads(folder / "heads.jsonl"),
            metrics=metrics,
            clock=self.clock,
        )
        replica = Replica(api, source, hub, book, self.clock)
        replica.begin(source.run())
        self._stack.push_async_callback(replica.stop)
        return replica

    async def close(self) -> None:
        await self._stack.aclose()


class Author:
    """Writes resources as people do."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace
        self.baseline = f"base-{namespace}"
        """Name of the one ClusterAgentPolicy that this author may write."""

    async def apply(self, spec: Mapping[str, Any], *, name: str = "support", kind: str = "AgentPolicy") -> None:
        """As `kubectl apply`."""
        metadata = {"name": name} if kind == "ClusterAgentPolicy" else {"name": name, "namespace": self.namespace}
        body = {"apiVersion": "hitl.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
        await self._kubectl("apply", "-f", "-", stdin=json.dumps(body))

    async def delete(self, name: str = "support", *, kind: str = "AgentPolicy") -> None:
        """As `kubectl delete`."""
        await self._kubectl("delete", kind.lower(), name, "--ignore-not-found")

    async def read(self, name: str = "support", *, kind: str = "AgentPolicy") -> dict[str, Any]:
        """As `kubectl get -o json`, with everything in it."""
        return dict(json.loads(await self._kubectl("get", kind.lower(), name, "-o", "json", "--show-managed-fields")))

    async def row(self, name: str = "support") -> list[str]:
        """As `kubectl get ap` shows it, by column."""
        return (await self._kubectl("get", "ap", name, "--no-headers")).split()

    async def annotate(self, text: str, *, name: str = "support") -> None:
        """As `kubectl annotate --overwrite`."""
        await self._kubectl("annotate", "--overwrite", "agentpolicy", name, text)

    async def status(self, name: str = "support", *, kind: str = "AgentPolicy") -> dict[str, Any]:
        """Its status, with conditions by type."""
        status = (await self.read(name, kind=kind)).get("status", {})
        return {**status, "conditions": {each["type"]: each for each in status.get("conditions", ())}}

    async def clear(self) -> None:
        """Leave nothing behind: what is written here counts in the numbers of the whole cluster."""
        await self._kubectl("delete", "agentpolicies,toolservers", "--all")
        await self.delete(self.baseline, kind="ClusterAgentPolicy")

    async def _kubectl(self, *args: str, stdin: str | None = None) -> str:
        until = time.monotonic() + EVER
        while True:
            done = await asyncio.to_thread(self.plane.kubectl, "-n", self.namespace, *args, stdin=stdin, timeout=EVER)
            if done.returncode == 0:
                return done.stdout
            # A server that was started a moment ago has not looked at the baselines yet, and refuses policies so long.
            assert "failed to configure binding" in done.stderr, done.stderr
            assert time.monotonic() < until, done.stderr
