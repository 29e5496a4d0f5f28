"""How much of something one of many may have: bounds that one who floods uses up for itself alone (SECURITY B5)."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

_MOST_KEPT: Final = 10_000  # buckets; each takes some 200 bytes, and one that was not asked for long is full again

K = TypeVar("K", bound=Hashable)


class Buckets(Generic[K]):
    """One bucket for each key, full at first: `burst` at once, and so many a second in the long run.

    Args:
        burst: what a full bucket holds.
        per_second: what comes back.
        most: buckets kept; of those above it the one that was asked least recently is forgotten, and full again.
        monotonic: seconds.
    """

    def __init__(
        self,
        burst: float,
        per_second: float,
        *,
        most: int = _MOST_KEPT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._most = most
        self._monotonic = monotonic
        self._left: OrderedDict[K, tuple[float, float]] = OrderedDict()

    def take(self, key: K, amount: float = 1.0) -> bool:
        """Take so much, if there is that much."""
        left = self._now(key)
        if left < amount:
            return False
        self._keep(key, left - amount)
        return True

    def give_back(self, key: K, amount: float) -> None:
        """What was taken was not used after all; a bucket that is full stays full."""
        self._keep(key, min(self._burst, self._now(key) + amount))

    def owe(self, key: K, amount: float = 1.0) -> float:
        """Take so much whether or not there is; the seconds until that is made up for, 0 where there was enough.

        Nobody owes more than a bucket: who asked far too often is heard again soon after it is over.
        """
        left = max(-self._burst, self._now(key) - amount)
        self._keep(key, left)
        return max(0.0, -left / self._per_second)

    def _now(self, key: K) -> float:
        left, at = self._left.get(key, (self._burst, 0.0))
        return min(self._burst, left + (self._monotonic() - at) * self._per_second)

    def _keep(self, key: K, left: float) -> None:
        self._left[key] = left, self._monotonic()
        self._left.move_to_end(key)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
