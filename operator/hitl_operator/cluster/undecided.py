"""How long something has been written that nothing in force goes by yet: config of which that is so gets old (I2)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Undecided:
    """Changes between being heard of and being decided."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._being_decided: float | None = None
        self._waiting: float | None = None

    @property
    def age(self) -> float:
        """Seconds since the oldest of them was heard of; 0 where there is none."""
        oldest = self._waiting if self._being_decided is None else self._being_decided
        return 0.0 if oldest is None else self._monotonic() - oldest

    def heard(self) -> None:
        """Something changed."""
        if self._waiting is None:
            self._waiting = self._monotonic()

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Around a decision about everything heard of so far, and putting it in force. Where it raises, all that is
        still to be decided, also where nothing was heard of: time alone changes what is in force.
        """
        if self._being_decided is None:
            self._being_decided = self._monotonic() if self._waiting is None else self._waiting
        self._waiting = None
        yield
        self._being_decided = None
