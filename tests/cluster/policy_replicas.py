"""Replicas that follow the policies of a real API server with a real kopf, and policies written to it by kubectl."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from control_plane.running import ControlPlane
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.policy.calls import Agent
from hitl.policy.settings import Settings
from hitl.wire.identity import Identity
from hitl_operator.cluster.acceptance import Outcome
from hitl_operator.cluster.accepted_specs import AcceptedSpecs
from hitl_operator.cluster.policy_source import PolicySource
from hitl_operator.metrics import HubMetrics
from hitl_operator.sources import ConfigBook

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
    """One replica's view: what it would serve."""

    def __init__(self, api: KubeAPI, source: PolicySource, book: ConfigBook, metrics: HubMetrics) -> None:
        self.api = api
        self.source = source
        self.book = book
        self.metrics = metrics
        self.task: asyncio.Task[None] | None = None

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
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


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
        async with asyncio.timeout(30):
            await replica.source.synced.wait()
        return replica

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
        replica = Replica(api, source, book, metrics)
        replica.task = asyncio.create_task(source.run())
        self._stack.push_async_callback(replica.stop)
        return replica

    async def close(self) -> None:
        await self._stack.aclose()


class Author:
    """Writes resources as people do."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace

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

    async def _kubectl(self, *args: str, stdin: str | None = None) -> str:
        done = await asyncio.to_thread(self.plane.kubectl, "-n", self.namespace, *args, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout
