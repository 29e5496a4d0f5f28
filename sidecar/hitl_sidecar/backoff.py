"""How long to wait before trying again."""

import random


class Backoff:
    """Doubles from `first` to `most` seconds, each wait jittered down to half, so that pods do not come in step."""

    def __init__(self, first: float = 0.1, most: float = 5.0) -> None:
        self._first = first
        self._most = most
        self._next = first

    def reset(self) -> None:
        """It worked: the next wait is short again."""
        self._next = self._first

    def wait(self) -> float:
        """Seconds until the next attempt."""
        now, self._next = self._next, min(self._next * 2, self._most)
        return now * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
