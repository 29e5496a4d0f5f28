"""Exit codes: a contract with scripts, so they stand in one place."""

from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """How a command ended.

    Attributes:
        DONE: it did what was asked.
        ERROR: it could not; stderr says why and what to do next.
        USAGE: the command line itself cannot be taken, an ambiguous name included.
        NO_LONGER_PENDING: the request was decided, expired or withdrawn before.
        FORBIDDEN: the caller may not do this.
        NOT_DECISIVE: the decision is recorded; more people, or the control plane, have to come first.
    """

    DONE = 0
    ERROR = 1
    USAGE = 2
    NO_LONGER_PENDING = 3
    FORBIDDEN = 4
    NOT_DECISIVE = 5


_WORST_FIRST = (Exit.USAGE, Exit.ERROR, Exit.FORBIDDEN, Exit.NO_LONGER_PENDING, Exit.NOT_DECISIVE, Exit.DONE)


def worst(codes: Iterable[Exit]) -> Exit:
    """The code of several answers together: the worst wins, in the order 1, 4, 3, 5, 0."""
    return min(codes, key=_WORST_FIRST.index, default=Exit.DONE)
