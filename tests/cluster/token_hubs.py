"""What a hub needs to know who calls, on a real API server; and tokens as they are shown, refused and forged."""

import asyncio
import base64
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.gated_pods import until
from hitl.errors import Forbidden
from hitl.kube.api import KubeAPI
from hitl.wire.identity import Identity
from hitl_operator.cluster.namespaces import NamespaceCache
from hitl_operator.cluster.pods import PodCache
from hitl_operator.cluster.reviews import Reviews
from hitl_operator.cluster.tokens import TokenAuthenticator


class Clock:
    """The wall clock, and what a story adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Hub:
    """What a hub needs to know who calls: the real thing. `asks` reviews tokens where it is not `api`."""

    def __init__(self, api: KubeAPI, cluster_uid: str, *, asks: KubeAPI | None = None, remembered: float = 0.5) -> None:
        self.clock = Clock()
        self.pods = PodCache(api)
        self.namespaces = NamespaceCache(api)
        self.reviews = Reviews(asks or api, remembered=remembered)
        self.authenticator = TokenAuthenticator(
            self.reviews, self.pods, self.namespaces, cluster_uid=cluster_uid, clock=self.clock, review_again=0.5
        )
        self._tasks = [asyncio.create_task(each.run()) for each in (self.pods, self.namespaces)]

    async def who(self, token: str) -> Identity:
        return await self.authenticator.authenticate(shown(token))

    async def knows(self, namespace: str, *pods: dict[str, Any]) -> None:
        """Returns once the hub has heard of pods and their namespace."""

        def look() -> bool:
            found = [(self.pods.get(namespace, pod["metadata"]["name"]), pod["metadata"]["uid"]) for pod in pods]
            return all(known is not None and known.uid == uid for known, uid in found)

        await until(look)
        await until(lambda: self.namespaces.get(namespace))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def shown(token: str) -> tuple[tuple[str, str], ...]:
    return (("user-agent", "test"), ("authorization", f"Bearer {token}"))


async def refused(hub: Hub, token: str) -> str:
    """Why a token is refused; the test fails if it is not."""
    with pytest.raises(Forbidden) as refusal:
        await hub.who(token)
    return str(refusal.value)


def rewritten(token: str, **changes: Any) -> str:
    """A token with other claims, and so without a good signature."""
    head, body, signature = token.split(".")
    return f"{head}.{_encoded({**_decoded(body), **changes})}.{signature}"


def forged(token: str, **header: Any) -> str:
    """A token that claims the same under a signature of noise; `header`: what its header says otherwise."""
    head, body, _ = token.split(".")
    noise = base64.urlsafe_b64encode(os.urandom(256)).rstrip(b"=").decode()
    return f"{_encoded({**_decoded(head), **header})}.{body}.{noise}"


def _decoded(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def _encoded(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()
