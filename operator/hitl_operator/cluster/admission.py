"""The webhook by which new pods of gated namespaces get their sidecar: HTTPS around `injection`, which decides.

It runs on every replica and writes nothing. Whatever goes wrong here is a refusal or no answer, and both keep the pod
from being made (`failurePolicy: Fail`). Anybody in the cluster's network can ask: what he learns stands in every gated
pod, what he may cost is bounded, and at worst no pod of a gated namespace is made while he asks (SECURITY I2, F3).
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from hitl.errors import InvalidInput, Unavailable
from hitl.kube.marks import OPT_OUT
from hitl_operator.cluster.namespaces import NamespaceCache
from hitl_operator.cluster.publishing import InjectedSidecar
from hitl_operator.cluster.tls import Certification
from hitl_operator.injection.installation import Installation, args
from hitl_operator.injection.patching import Injected, OptedOut, Refused, inject
from hitl_operator.injection.review import Asked, answer, read_review, refusal
from hitl_operator.logs import Log

PATH: Final = "/inject"
OUTCOMES: Final = ("injected", "opted-out", "refused", "invalid", "failed")

_LARGEST: Final = 4 << 20  # bytes of a question; the API server takes objects of up to 3 MiB
_LARGE: Final = 64 << 10  # bytes past which a question waits for its turn and is decided beside the loop
_LARGE_AT_ONCE: Final = 8
_CONNECTIONS: Final = 512  # some 60 KB each; an API server has one for each pod that is being made at the moment
_WITHIN: Final = 4.0  # seconds; the API server waits for 5
# Longer than API servers keep a connection that nobody uses (90 s): who hangs up first makes the next question fail.
_IDLE: Final = 180.0
_DRAIN_WITHIN: Final = 5.0  # seconds for questions that are being answered

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to answer, and what to inject."""

    host: str
    port: int
    installation: Installation

    @property
    def injected(self) -> InjectedSidecar:
        """What the API server is told of it."""
        here = self.installation
        return InjectedSidecar(here.image, args(namespace=here.namespace, service=here.service))


class Admission:
    """Answers while `run` runs.

    Args:
        webhook: where, and what is injected.
        namespaces: say who may opt out.
        certification: what is shown, and what sidecars are to trust.
        registry: gets `hitl_injections_total`.

    Attributes:
        port: where it listens; 0 before.
    """

    def __init__(
        self,
        webhook: Webhook,
        namespaces: NamespaceCache,
        certification: Certification,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.port = 0
        self._webhook = webhook
        self._namespaces = namespaces
        self._certification = certification
        self._outcomes = Counter(
            "hitl_injections_total", "Answers about new pods of gated namespaces.", ["outcome"], registry=registry
        )
        for outcome in OUTCOMES:
            self._outcomes.labels(outcome)
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    def unready(self) -> str:
        """Why pods cannot be injected now; empty where they can."""
        if not self._namespaces.synced.is_set():
            return "namespaces have not all been seen yet"
        if not self.port:
            return self._certification.wrong or "it does not listen yet"
        return "" if self._certification.injected else "it is not known yet which CA sidecars are to trust"

    async def run(self) -> None:
        """Answer once namespaces are known and there is a certificate; until cancelled.

        Raises:
            Unavailable: ADMISSION_ADDRESS, where the address cannot be bound.
        """
        await self._namespaces.synced.wait()
        await self._certification.presented.is_there.wait()
        server = _FewConnections(self.handle, access_log=None, keepalive_timeout=_IDLE)
        runner = web.ServerRunner(server, shutdown_timeout=_DRAIN_WITHIN)
        await runner.setup()
        host, port = self._webhook.host, self._webhook.port
        try:
            site = web.TCPSite(runner, host or None, port, ssl_context=self._certification.presented.context)
            try:
                await site.start()
            except OSError as error:
                raise Unavailable(
                    "ADMISSION_ADDRESS", f"--admission {host}:{port}: cannot be bound ({error.strerror})"
                ) from error
            self.port = int(runner.addresses[0][1])
            _log.info("admission", listen=f"{host}:{self.port}", image=self._webhook.installation.image)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """One question."""
        try:
            async with asyncio.timeout(_WITHIN):
                return await self._answered(request)
        except TimeoutError:
            return self._misunderstood(503, f"it was not answered within {_WITHIN:.0f} s; ask again")

    async def _answered(self, request: web.BaseRequest) -> web.Response:
        if request.path != PATH:
            return self._misunderstood(404, f"pods are injected at {PATH}")
        if request.method != "POST":
            return self._misunderstood(405, "wanted: POST", Allow="POST")
        if request.content_type != "application/json":
            return self._misunderstood(415, f"the body is {request.content_type}, wanted application/json")
        length = request.content_length
        if length is not None and length > _LARGEST:
            return self._misunderstood(413, f"at most {_LARGEST} bytes are read")
        is_large = length is None or length > _LARGE
        async with self._large if is_large else contextlib.nullcontext():
            body = bytearray()
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > _LARGEST:
                    return self._misunderstood(413, f"at most {_LARGEST} bytes are read")
            try:
                if is_large:
                    outcome, answered = await asyncio.to_thread(self._decided, bytes(body))
                else:
                    outcome, answered = self._decided(bytes(body))
            except InvalidInput as error:
                return self._misunderstood(400, str(error))
        self._outcomes.labels(outcome).inc()
        return web.Response(body=answered, content_type="application/json")

    def _decided(self, body: bytes) -> tuple[str, bytes]:
        """Outcome and answer. InvalidInput: it is no question."""
        asked = read_review(body)
        try:
            return answer(asked, lambda pod: self._injected(asked, pod))
        except Exception:  # noqa: BLE001 - I2: whatever it is that nobody thought of, the pod is not made
            _log.exception("injection-failed", namespace=asked.namespace, pod=asked.name)
            words = "hitl could not tell what to do with it, which is a defect of hitl; the operator's log says more"
            return "failed", refusal(asked.uid, 500, f"pod {asked.name} is refused: {words}")

    def _injected(self, asked: Asked, pod: Mapping[str, Any]) -> Injected | OptedOut | Refused:
        if why := self.unready():
            return Refused((f"the operator is not ready: {why}; try again in a moment",))
        namespace = self._namespaces.get(asked.namespace)
        return inject(
            pod,
            installation=self._webhook.installation,
            ca=self._certification.injected,
            may_opt_out=None if namespace is None else namespace.labels.get(OPT_OUT) == "allowed",
        )

    def _misunderstood(self, status: int, words: str, **headers: str) -> web.Response:
        self._outcomes.labels("invalid").inc()
        return web.Response(status=status, text=f"{words}\n", headers=headers)


class _FewConnections(web.Server):
    """Hangs up on whoever comes when there are too many; those that ask nothing are hung up on after a while."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > _CONNECTIONS:
            transport.abort()
