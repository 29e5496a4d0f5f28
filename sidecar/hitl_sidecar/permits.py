"""Permits: the proof that a call was ALLOWED, spent by one Report.

A permit names the process that gave it, so one from before a restart is told from one that never was. The agent is one
principal and could only close its own calls: a permit needs to be unique, not secret.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Final

_MOST: Final = 10_000  # open and closed ones together; the oldest are forgotten


class Closing(Enum):
    """What `close` found."""

    CLOSED = "closed"
    """It was open; it is spent now."""
    REPEATED = "repeated"
    """It was closed before, as the same call reports again."""
    UNKNOWN = "unknown"
    """Of another process, or forgotten: there is nothing to close."""


@dataclass(slots=True)
class Permit:
    """What was allowed: the tool as ``server/tool``, and the handle of the request if people allowed it."""

    tool: str
    handle: str = ""
    is_open: bool = True


class Permits:
    """The permits of one process."""

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._count = 0
        self._permits: OrderedDict[str, Permit] = OrderedDict()

    def give(self, tool: str, handle: str = "") -> str:
        """A new permit."""
        self._count += 1
        permit = f"{self._epoch}.{self._count}"
        self._permits[permit] = Permit(tool, handle)
        if len(self._permits) > _MOST:
            self._permits.popitem(last=False)
        return permit

    def close(self, permit: str) -> tuple[Closing, Permit]:
        """Spend a permit. ValueError if it does not look like one."""
        epoch, _, number = permit.partition(".")
        if not (epoch.isalnum() and epoch.isascii() and number.isdecimal() and len(permit) <= 64):
            raise ValueError(
                f"{permit[:64]!r} is no permit; send the one that Check gave with ALLOWED, exactly as it came"
            )
        found = self._permits.get(permit)
        if found is None:
            return Closing.UNKNOWN, Permit("", is_open=False)
        closing = Closing.CLOSED if found.is_open else Closing.REPEATED
        found.is_open = False
        return closing, found
