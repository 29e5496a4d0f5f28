"""The injection webhook in this process, over TLS, and registered with a real API server as the chart registers it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from cluster.backstop import AUTHORITY, IMAGE, PATIENCE
from cluster.gated_pods import until
from cluster_fixtures import a_namespace
from control_plane.certificates import Authority
from control_plane.running import ControlPlane
from hitl.errors import HitlError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_operator.cluster import admission
from hitl_operator.cluster.admission import Admission, Webhook
from hitl_operator.cluster.namespaces import NamespaceCache
from hitl_operator.cluster.tls import ServingCertificate
from hitl_operator.injection.installation import Installation

Json = dict[str, Any]
REGISTRATIONS = path_of("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations")
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_ASKED_WITHIN = 30  # seconds, the most there is; the chart says 5, and a machine that many share must not decide a test


class Told(ServingCertificate):
    """Serves with files, and tells sidecars to trust what the backstop of the tests admits."""

    @property
    def injected(self) -> str:
        return AUTHORITY


class Served:
    """A webhook that runs, and a gated namespace whose pods it injects.

    Attributes:
        authority: signs its certificates.
        registry: its metrics.
    """

    def __init__(self, plane: ControlPlane, api: KubeAPI, folder: Path, namespace: str) -> None:
        self.plane = plane
        self.api = api
        self.namespace = namespace
        self.authority = Authority("webhook-ca")
        self.registry = CollectorRegistry()
        self.files = self.authority.server("first").write(folder, "webhook")
        (folder / "ca.crt").write_bytes(self.authority.pem)
        self.certificate = Told(*self.files, folder / "ca.crt")
        self.namespaces = NamespaceCache(api)
        self.admission = Admission(
            Webhook("127.0.0.1", 0, Installation(IMAGE)), self.namespaces, self.certificate, self.registry
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when it listens."""
        self._task = asyncio.create_task(self.admission.run())
        await until(lambda: self._task is None or self._task.done() or self.admission.port)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def kubectl(self, *args: str, stdin: Json | None = None) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of kubectl in the namespace."""
        done = await asyncio.to_thread(
            self.plane.kubectl,
            *("-n", self.namespace, *args),
            stdin=None if stdin is None else json.dumps(stdin),
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout, done.stderr

    async def made(self, pod: Json, *, dry_run: bool = False) -> Json:
        """The pod as the API server stores it. ApiError: it refuses."""
        path = path_of("v1", "pods", self.namespace)
        return await self.api.create(path, pod, dry_run=dry_run)

    async def label(self, wanted: Mapping[str, str | None]) -> None:
        """Label the namespace; returns when the webhook's own cache has it."""
        path = path_of("v1", "namespaces", name=self.namespace)
        await self.api.merge_patch(path, {"metadata": {"labels": wanted}})

        def seen() -> bool:
            found = self.namespaces.get(self.namespace)
            return found is not None and all(found.labels.get(key) == value for key, value in wanted.items())

        await until(seen)

    def outcomes(self, outcome: str) -> float:
        """How often it answered so."""
        return self.registry.get_sample_value("hitl_injections_total", {"outcome": outcome}) or 0.0


@asynccontextmanager
async def serving(
    plane: ControlPlane, folder: Path, *, accounts: bool = True, patient: bool = True
) -> AsyncIterator[Served]:
    """A webhook with a gated namespace of its own; nobody calls it yet.

    Args:
        plane: has the namespace.
        folder: for its certificate.
        accounts: controllers make some there.
        patient: it takes as long for an answer as the API server here waits for one, not as little as where it runs.
    """
    async with AsyncExitStack() as held:
        if patient:
            held.enter_context(pytest.MonkeyPatch.context()).setattr(admission, "_WITHIN", float(_ASKED_WITHIN))
        api = await held.enter_async_context(KubeAPI.open(Access.from_kubeconfig(plane.admin), deadline=PATIENCE))
        served = Served(plane, api, folder, a_namespace(plane))
        following = asyncio.create_task(served.namespaces.run())
        renewing = asyncio.create_task(served.certificate.run(lambda: False, lambda: True))
        try:
            await served.start()
            account = path_of("v1", "serviceaccounts", served.namespace, "default")
            await until(lambda: not accounts or _is_there(api, account))
            await until(lambda: served.namespaces.get(served.namespace))
            yield served
        finally:
            await served.stop()
            for task in (following, renewing):
                task.cancel()
            await asyncio.gather(following, renewing, return_exceptions=True)


@asynccontextmanager
async def registration(
    api: KubeAPI, name: str, namespace: str, port: int, authority: bytes, *, path: str = "/inject"
) -> AsyncIterator[None]:
    """An API server asks a webhook about new pods of one namespace; several are asked in the order of their names."""
    hook = {
        "name": "inject.hitl.dev",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {
            "url": f"https://127.0.0.1:{port}{path}",
            "caBundle": base64.b64encode(authority).decode(),
        },
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "namespaceSelector": {
            "matchLabels": {"hitl.dev/injection": "enabled", "kubernetes.io/metadata.name": namespace}
        },
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
        "timeoutSeconds": _ASKED_WITHIN,
    }
    name = f"{name}-{namespace}"
    await api.create(REGISTRATIONS, {"metadata": {"name": name}, "webhooks": [hook]})
    try:
        yield
    finally:
        await api.delete(f"{REGISTRATIONS}/{name}")


def registered(served: Served, name: str, port: int, *, path: str = "/inject") -> AbstractAsyncContextManager[None]:
    """The same for the namespace and authority of a webhook of these tests."""
    return registration(served.api, name, served.namespace, port, served.authority.pem, path=path)


@asynccontextmanager
async def another_webhook(served: Served, change: Callable[[Json], None]) -> AsyncIterator[int]:
    """Somebody else's webhook, of the same authority, that changes pods in its own way; gives the port."""

    async def answer(request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())["request"]
        pod = asked["object"]
        before = orjson.dumps(pod)
        change(pod)
        response: Json = {"uid": asked["uid"], "allowed": True}
        if orjson.dumps(pod) != before:
            operations = [{"op": "replace", "path": f"/{part}", "value": pod[part]} for part in ("metadata", "spec")]
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(operations)).decode()}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        return web.json_response(review)

    application = web.Application(client_max_size=1 << 22)
    application.add_routes([web.post("/change", answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=served.certificate.presented.context)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def until_asked(served: Served, look: Callable[[Json], bool] | None = None) -> None:
    """Return when the API server goes by what was registered: it takes a second to hear of it."""

    async def acts() -> bool:
        try:
            pod = await served.made(a_pod("probe"), dry_run=True)
        except HitlError:  # refused, or the webhook was not reached
            return False
        return (look or is_gated)(pod)

    await until(acts, PATIENCE)


def is_gated(pod: Json) -> bool:
    """Whether the sidecar is in it."""
    return [each["name"] for each in pod["spec"].get("initContainers", ())][:1] == ["hitl-sidecar"]


def a_pod(name: str, **spec: Any) -> Json:
    """A pod as people write it, in a namespace where Pod Security is restricted."""
    containers = [{"name": "agent", "image": "agent:1", "securityContext": RESTRICTED}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "support"}},
        "spec": {"containers": containers, "schedulerName": "nobody", **spec},
    }


async def _is_there(api: KubeAPI, path: str) -> bool:
    try:
        await api.get(path)
    except HitlError:
        return False
    return True
