"""TokenReviews: asked once for each token, remembered for seconds, and never more of them at once than is good."""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from hitl.errors import ApiError, Forbidden, StoreError, StoreUnavailable, Unavailable
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_operator.cluster.claims import AUDIENCE, Claims

_API: Final = "authentication.k8s.io/v1"
_EXTRA: Final = "authentication.kubernetes.io/"
_AT_ONCE: Final = 32  # reviews under way; an API server answers some hundreds a second
_PER_POD: Final = 2  # tokens of one pod under review: the one it had and the one that follows
_REMEMBERED: Final = 10.0  # seconds; whether the pod still runs is not remembered but looked up each time
_MOST_GOOD: Final = 20_000
_MOST_BAD: Final = 4096
_WITHIN: Final = 5.0  # seconds for one review


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What the API server says of a token: that it is what it claims, and more.

    Attributes:
        user_uid: uid of the ServiceAccount.
        node: of the pod; empty where the token names none.
    """

    user_uid: str
    node: str


class Reviews:
    """Asks the API server about tokens.

    Args:
        api: with the right to create tokenreviews.
        remembered: seconds that an answer is good for.
        clock: monotonic seconds.
    """

    def __init__(
        self, api: KubeAPI, *, remembered: float = _REMEMBERED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.asked = 0
        self._api = api
        self._remembered = remembered
        self._clock = clock
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._good: OrderedDict[bytes, tuple[float, Reviewed]] = OrderedDict()
        self._bad: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Reviewed]] = {}
        self._of_pod: Counter[str] = Counter()

    async def review(self, token: str, claims: Claims) -> Reviewed:
        """The API server's word on a token, perhaps from a few seconds ago.

        Raises:
            Forbidden: it is not what it claims, or not for us.
            Unavailable: that cannot be told now; REVIEW_BUSY where too many tokens of this pod are under review.
        """
        key = sha256(token.encode()).digest()
        now = self._clock()
        if (good := self._good.get(key)) is not None and now < good[0]:
            return good[1]
        if (bad := self._bad.get(key)) is not None and now < bad[0]:
            raise Forbidden(bad[1])
        return await self._ask(key, token, claims)

    async def review_again(self, token: str, claims: Claims) -> None:
        """Whether it still holds. Forbidden where it does not; a server that cannot say ends nothing."""
        try:
            await self._ask(sha256(token.encode()).digest(), token, claims)
        except (Unavailable, StoreError):
            return

    async def _ask(self, key: bytes, token: str, claims: Claims) -> Reviewed:
        asking = self._asking.get(key)
        if asking is None:
            if self._of_pod[claims.pod_uid] >= _PER_POD:
                raise Unavailable("REVIEW_BUSY", "other tokens of this pod are being reviewed; try again")
            asking = asyncio.create_task(self._reviewed(key, token, claims))
            self._asking[key] = asking
            self._of_pod[claims.pod_uid] += 1
            asking.add_done_callback(lambda task: self._over(key, claims.pod_uid, task))
        # Whoever hangs up must not end the review for others who wait for it.
        return await asyncio.shield(asking)

    def _over(self, key: bytes, pod_uid: str, task: "asyncio.Task[Reviewed]") -> None:
        del self._asking[key]
        self._of_pod[pod_uid] -= 1
        if not self._of_pod[pod_uid]:
            del self._of_pod[pod_uid]
        if not task.cancelled():
            task.exception()  # seen by whoever waits; if they all hung up, by nobody

    async def _reviewed(self, key: bytes, token: str, claims: Claims) -> Reviewed:
        body = {"apiVersion": _API, "kind": "TokenReview", "spec": {"token": token, "audiences": [AUDIENCE]}}
        async with self._slots:
            self.asked += 1
            try:
                answer = await self._api.create(path_of(_API, "tokenreviews"), body, deadline=_WITHIN)
            except ApiError as error:
                raise StoreUnavailable(
                    f"tokens cannot be reviewed: {error}; the hub needs the right to create tokenreviews"
                ) from error
        self._good.pop(key, None)
        try:
            found = judge(answer.get("status") or {}, claims)
        except Forbidden as error:
            _remember(self._bad, key, (self._clock() + self._remembered, str(error)), _MOST_BAD)
            raise
        _remember(self._good, key, (self._clock() + self._remembered, found), _MOST_GOOD)
        return found


def judge(status: Mapping[str, Any], claims: Claims) -> Reviewed:
    """What a TokenReview's status is worth. Forbidden where the token is not what it claims to be.

    An API server that knows no audiences answers without them, and one that found another audience says so: neither
    is ours.
    """
    if status.get("authenticated") is not True:
        raise Forbidden("the API server does not accept the token; it has ended, or its pod or ServiceAccount is gone")
    if AUDIENCE not in (status.get("audiences") or ()):
        raise Forbidden(f"the token is not for audience {AUDIENCE}")
    user = status.get("user") or {}
    if user.get("username") != f"system:serviceaccount:{claims.namespace}:{claims.service_account}":
        raise Forbidden("the token is of another ServiceAccount than it claims")
    extra = user.get("extra") or {}
    for name, claimed in (("pod-name", claims.pod_name), ("pod-uid", claims.pod_uid)):
        if list(extra.get(_EXTRA + name) or ()) != [claimed]:
            raise Forbidden("the token is bound to no pod, or to another one than it claims")
    node = list(extra.get(f"{_EXTRA}node-name") or ())
    return Reviewed(user_uid=str(user.get("uid") or ""), node=str(node[0]) if node else "")


def _remember(kept: "OrderedDict[bytes, Any]", key: bytes, value: object, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
