"""Who a sidecar is, by its pod's token (SECURITY B1): reviewed by the API server, and held against our own caches.

Cheap refusals come first. What names no gated pod that runs now, and what this cluster did not sign, is refused without
a question to the API server, so that a flood of bad tokens neither costs reviews nor keeps good ones waiting. No token
is stored or logged; what is remembered is its SHA-256.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from hitl.errors import Forbidden
from hitl.kube.marks import GATED, INJECTION, SIDECAR
from hitl.policy.calls import Agent
from hitl.wire.identity import Identity
from hitl_operator.cluster.claims import Claims, bearer_of, read_claims
from hitl_operator.cluster.namespaces import Namespace, NamespaceCache
from hitl_operator.cluster.pods import Pod, PodCache
from hitl_operator.cluster.reviews import Reviews
from hitl_operator.identity import Metadata

# Seconds after which the token of an open stream is reviewed again: a ServiceAccount that was deleted ends it then.
_REVIEW_AGAIN: Final = 300.0
_LONGEST_WAIT: Final = 30.0  # seconds; a wall clock that jumps is noticed so fast


class TokenAuthenticator:
    """On a cluster: the token says which pod, the caches whether it is one of ours and still there.

    Args:
        reviews: asks the API server.
        pods, namespaces: caches; both must be synced before anybody is let in.
        cluster_uid: uid of the cluster, for digests.
        clock: aware UTC times; tokens end by them.
    """

    def __init__(
        self,
        reviews: Reviews,
        pods: PodCache,
        namespaces: NamespaceCache,
        *,
        cluster_uid: str,
        clock: Callable[[], datetime],
        review_again: float = _REVIEW_AGAIN,
    ) -> None:
        self._reviews = reviews
        self._pods = pods
        self._namespaces = namespaces
        self._cluster_uid = cluster_uid
        self._clock = clock
        self._review_again = review_again
        self._streams: dict[tuple[str, str], set[asyncio.Event]] = {}
        pods.listeners.append(self._pod_changed)
        namespaces.listeners.append(self._namespace_changed)

    async def authenticate(self, metadata: Metadata) -> Identity:
        """As `Authenticator`."""
        token = bearer_of(metadata)
        claims = read_claims(token)
        self._established(claims)
        reviewed = await self._reviews.review(token, claims)
        # Anew: the pod may have gone while the API server was asked.
        identity = self._established(claims)
        pod = self._pods.get(claims.namespace, claims.pod_name)
        if pod is not None and reviewed.node and reviewed.node != pod.node:
            raise Forbidden(
                f"the token is of a pod on node {reviewed.node}, and {pod.name} runs on {pod.node or 'none'}"
            )
        return replace(identity, requester_uid=reviewed.user_uid)

    async def ended(self, identity: Identity, metadata: Metadata) -> str:
        """As `Authenticator`: the token ended, the pod is gone or changed, its namespace is no longer gated."""
        token = bearer_of(metadata)
        claims = read_claims(token)
        place = claims.namespace, claims.pod_name
        rung = asyncio.Event()
        self._streams.setdefault(place, set()).add(rung)
        try:
            review_at = self._later()
            while True:
                rung.clear()
                established = self._established(claims)
                if replace(established, requester_uid=identity.requester_uid) != identity:
                    return "its pod was changed"
                if time.monotonic() >= review_at:
                    await self._reviews.review_again(token, claims)
                    review_at = self._later()
                await self._until_rung(rung, claims, review_at)
        except Forbidden as error:
            return str(error)
        finally:
            waiting = self._streams[place]
            waiting.discard(rung)
            if not waiting:
                del self._streams[place]

    def _later(self) -> float:
        return time.monotonic() + self._review_again * random.uniform(0.8, 1.0)  # noqa: S311 - spreads reviews

    async def _until_rung(self, rung: asyncio.Event, claims: Claims, review_at: float) -> None:
        pod = self._pods.get(claims.namespace, claims.pod_name)
        ends = min(each for each in (claims.expires, pod.ends if pod else None) if each is not None)
        seconds = min((ends - self._clock()).total_seconds(), review_at - time.monotonic(), _LONGEST_WAIT)
        try:
            async with asyncio.timeout(max(0.01, seconds)):
                await rung.wait()
        except TimeoutError:
            return

    def _established(self, claims: Claims) -> Identity:
        """The identity that the caches give to what a token claims. Forbidden where they do not."""
        return identity_of(
            claims,
            self._pods.get(claims.namespace, claims.pod_name),
            self._namespaces.get(claims.namespace),
            cluster_uid=self._cluster_uid,
            now=self._clock(),
        )

    def _pod_changed(self, namespace: str, name: str) -> None:
        for rung in self._streams.get((namespace, name), ()):
            rung.set()

    def _namespace_changed(self, name: str) -> None:
        for (namespace, _), waiting in self._streams.items():
            if namespace == name:
                for rung in waiting:
                    rung.set()


def identity_of(
    claims: Claims, pod: Pod | None, namespace: Namespace | None, *, cluster_uid: str, now: datetime
) -> Identity:
    """Who a token speaks for, if what it claims is so.

    A pod that is being deleted counts until its grace period is over: what it has begun may end well.

    Args:
        claims: of the token.
        pod: as the cache has it.
        namespace: as the cache has it.
        cluster_uid: of this cluster.
        now: wall clock.

    Raises:
        Forbidden: why not, and what to do.
    """
    if now >= claims.expires:
        raise Forbidden("the token has ended; the kubelet puts a new one into its file")
    if pod is None or pod.uid != claims.pod_uid:
        raise Forbidden(
            f"no gated pod {claims.namespace}/{claims.pod_name} with uid {claims.pod_uid} runs here; "
            f"gated pods carry label {GATED}=true"
        )
    if pod.ends is not None and now >= pod.ends:
        raise Forbidden(f"pod {pod.namespace}/{pod.name} was deleted and its grace period is over")
    if not pod.has_sidecar:
        raise Forbidden(f"pod {pod.namespace}/{pod.name} has no container {SIDECAR}; only injected pods are served")
    if pod.flaw:
        raise Forbidden(f"pod {pod.namespace}/{pod.name}: {pod.flaw}; delete it, so that it is injected anew")
    if pod.service_account != claims.service_account:
        raise Forbidden(
            f"the token is of ServiceAccount {claims.service_account}, and pod {pod.namespace}/{pod.name} runs as "
            f"{pod.service_account}"
        )
    if namespace is None or not namespace.is_gated:
        raise Forbidden(
            f"namespace {claims.namespace} is not gated; run: kubectl label namespace {claims.namespace} "
            f"{INJECTION}=enabled"
        )
    agent = Agent(pod.namespace, pod.service_account, pod.workload, pod.name, pod.uid, pod.labels)
    return Identity(agent, namespace.uid, cluster_uid, stamped=pod.stamped)
