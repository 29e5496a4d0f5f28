"""TokenReviews: asked once for each token, remembered for seconds, and never more of them at once than is good.

Who may look at pods can write down any number of tokens that name one. So a token is reviewed at once only if this
cluster signed it, or if it was found good before; what it was not signed by is refused, and of what nobody can say
whose it is only few are reviewed at a time. In every case the review decides who is let in.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from hitl.errors import ApiError, Forbidden, StoreError, StoreUnavailable, Unavailable
from hitl.kube.api import KubeAPI
from hitl.kube.marks import AUDIENCE
from hitl.kube.paths import path_of
from hitl_operator.cluster.claims import Claims
from hitl_operator.cluster.signing_keys import Signed, SigningKeys
from hitl_operator.cluster.strangers import Strangers

_API: Final = "authentication.k8s.io/v1"
_EXTRA: Final = "authentication.kubernetes.io/"
_AT_ONCE: Final = 32  # reviews under way; an API server answers some hundreds a second
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
        self._keys = SigningKeys(api, clock=clock)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._strangers = Strangers()
        # Entries outlive `remembered`: what was good is asked about again, but never has to wait behind strangers.
        self._good: OrderedDict[bytes, tuple[float, Reviewed]] = OrderedDict()
        self._bad: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Reviewed]] = {}

    async def review(self, token: str, claims: Claims) -> Reviewed:
        """The API server's word on a token, perhaps from a few seconds ago.

        Raises:
            Forbidden: it is not what it claims, or not for us.
            Unavailable: that cannot be told now; REVIEW_BUSY where too many unknown tokens wait for a review.
        """
        key = sha256(token.encode()).digest()
        if (found := self._recalled(key)) is not None:
            return found
        signed = Signed.UNKNOWN if key in self._good else await self._keys.look(token)
        if signed is Signed.NO:
            raise Forbidden("the API server does not accept the token; it is not signed by this cluster")
        # Anew: while the keys were read somebody else may have asked.
        return self._recalled(key) or await self._ask(key, token, claims, is_known=signed is Signed.YES)

    async def review_again(self, token: str, claims: Claims) -> None:
        """Whether a token that was good still is. Forbidden where not; a server that cannot say ends nothing."""
        try:
            await self._ask(sha256(token.encode()).digest(), token, claims, is_known=True)
        except (Unavailable, StoreError):
            return

    def _recalled(self, key: bytes) -> Reviewed | None:
        now = self._clock()
        if (good := self._good.get(key)) is not None and now < good[0]:
            return good[1]
        if (bad := self._bad.get(key)) is not None and now < bad[0]:
            raise Forbidden(bad[1])
        return None

    async def _ask(self, key: bytes, token: str, claims: Claims, *, is_known: bool) -> Reviewed:
        asking = self._asking.get(key)
        if asking is None:
            turn = self._slots if is_known or key in self._good else self._strangers.turn(claims.pod_uid)
            asking = asyncio.create_task(self._reviewed(key, token, claims, turn))
            self._asking[key] = asking
            asking.add_done_callback(lambda task: self._over(key, task))
        # Whoever hangs up must not end the review for others who wait for it.
        return await asyncio.shield(asking)

    def _over(self, key: bytes, task: "asyncio.Task[Reviewed]") -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # seen by whoever waits; if they all hung up, by nobody

    async def _reviewed(
        self, key: bytes, token: str, claims: Claims, turn: AbstractAsyncContextManager[None]
    ) -> Reviewed:
        body = {"apiVersion": _API, "kind": "TokenReview", "spec": {"token": token, "audiences": [AUDIENCE]}}
        async with turn:
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
