"""Counting over time windows, in bounded memory. Times are the ledger's own: seconds that never run backwards."""

from collections import deque
from decimal import Decimal, InvalidOperation
from statistics import median
from typing import Any, ClassVar, Self

# A sliding sum is kept in this many buckets (DESIGN 18), plus the one being filled: the window is never cut short.
_BUCKETS = 60
_MINUTE = 60.0
_HOUR = 3600.0
_WEEK_OF_HOURS = 168
# Fewer hours of use than this say nothing about what is usual.
_HOURS_TO_KNOW = 24


class Recent:
    """How many events in the last `span` seconds, to a sixtieth of the span; it errs towards counting longer."""

    __slots__ = ("_buckets", "_total", "_width")

    def __init__(self, span: float = _MINUTE) -> None:
        self._width = span / _BUCKETS
        self._buckets: deque[tuple[int, int]] = deque()
        self._total = 0

    def add(self, now: float) -> None:
        index = int(now / self._width)
        while self._buckets and self._buckets[0][0] < index - _BUCKETS:
            self._total -= self._buckets.popleft()[1]
        if self._buckets and self._buckets[-1][0] == index:
            self._buckets[-1] = (index, self._buckets[-1][1] + 1)
        else:
            self._buckets.append((index, 1))
        self._total += 1

    def count(self, now: float) -> int:
        """Reads without forgetting: whoever looks from the future must not make the present laxer."""
        oldest = int(now / self._width) - _BUCKETS
        gone = 0
        for index, count in self._buckets:
            if index >= oldest:
                break
            gone += count
        return self._total - gone

    def is_over(self, now: float) -> bool:
        """Whether nothing is left in the window."""
        return not self._buckets or self._buckets[-1][0] < int(now / self._width) - _BUCKETS


class TokenBucket:
    """A limit on calls: `maximum` at once, refilled evenly over `per` seconds. Keeps what is used, so that a policy
    may change its numbers without anything being forgotten.
    """

    __slots__ = ("_at", "_rate", "_used")
    kind: ClassVar = "calls"

    def __init__(self, used: float = 0.0, at: float = 0.0, rate: float = 0.0) -> None:
        self._used = used
        self._at = at
        self._rate = rate

    def used(self, now: float) -> float:
        return max(0.0, self._used - max(0.0, now - self._at) * self._rate)

    def add(self, amount: float, maximum: float, per: int, now: float) -> None:
        # Approved calls may go beyond the maximum; more than one window of debt is not carried.
        self._used = min(self.used(now) + amount, 2 * max(maximum, amount))
        self._at = now
        self._rate = maximum / per

    def state(self) -> list[float]:
        return [self._used, self._at, self._rate]

    @classmethod
    def restored(cls, state: list[float]) -> Self:
        used, at, rate = state
        return cls(float(used), float(at), float(rate))


class SlidingSum:
    """A limit on an amount: everything spent in the last `per` seconds, to a sixtieth of them, in exact decimals."""

    __slots__ = ("_buckets", "_width")
    kind: ClassVar = "sum"

    def __init__(self, width: float = 1.0, buckets: list[tuple[int, Decimal]] | None = None) -> None:
        self._width = width
        self._buckets = buckets or []

    def used(self, now: float) -> float:
        return float(self._spent(now))

    def add(self, amount: float, maximum: float, per: int, now: float) -> None:
        del maximum
        width = per / _BUCKETS
        index = int(now / width)
        if width != self._width:
            # The policy changed the window: what was spent counts as spent just now rather than being forgotten.
            spent = self._spent(now)
            self._width = width
            self._buckets = [(index, spent)] if spent else []
        self._buckets = [bucket for bucket in self._buckets if bucket[0] >= index - _BUCKETS]
        # repr is the shortest text of a double, so 0.1 is a tenth: ten times ten cents are one euro.
        exact = Decimal(repr(amount))
        if self._buckets and self._buckets[-1][0] == index:
            self._buckets[-1] = (index, self._buckets[-1][1] + exact)
        else:
            self._buckets.append((index, exact))

    def _spent(self, now: float) -> Decimal:
        oldest = int(now / self._width) - _BUCKETS
        return sum((amount for index, amount in self._buckets if index >= oldest), Decimal(0))

    def state(self) -> list[object]:
        return [self._width, [[index, str(amount)] for index, amount in self._buckets]]

    @classmethod
    def restored(cls, state: list[Any]) -> Self:
        width, buckets = state
        if not width > 0:
            raise ValueError(f"a window's bucket of {width} s")
        return cls(float(width), [(int(index), _amount(amount)) for index, amount in buckets])


class Hours:
    """Calls of one tool by the hour over a week, and what is usual."""

    __slots__ = ("_counts", "_recent")

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self._counts = counts or {}
        self._recent = Recent(_HOUR)

    def add(self, now: float) -> None:
        hour = int(now / _HOUR)
        self._counts[hour] = self._counts.get(hour, 0) + 1
        self._recent.add(now)
        if len(self._counts) > _WEEK_OF_HOURS:
            self._counts = {at: count for at, count in self._counts.items() if at >= hour - _WEEK_OF_HOURS}

    def rates(self, now: float) -> tuple[float, float]:
        """(calls in the last hour, median of the past week's hours in which it was used; 0.0 while too few)."""
        hour = int(now / _HOUR)
        past = [count for at, count in self._counts.items() if hour - _WEEK_OF_HOURS <= at < hour]
        return float(self._recent.count(now)), float(median(past)) if len(past) >= _HOURS_TO_KNOW else 0.0

    @property
    def known_hours(self) -> int:
        return len(self._counts)

    def state(self) -> list[list[int]]:
        return [[hour, count] for hour, count in self._counts.items()]

    @classmethod
    def restored(cls, state: list[list[int]]) -> Self:
        return cls({int(hour): int(count) for hour, count in state})


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"an amount of {text!r}") from error
    if not amount.is_finite():
        raise ValueError(f"an amount of {text!r}")
    return amount
