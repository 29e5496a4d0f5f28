"""What `doctor` and `status` found, as values."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How one thing stands."""

    OK = "ok"
    PROBLEM = "problem"
    NOTE = "note"
    """Worth knowing, and nothing that is wrong with the installation."""
    UNKNOWN = "unknown"
    """The caller may not read it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what, in one or two words.
        text: what was found.
        steps: what to do, line by line; none where all is well.
    """

    check: str
    health: Health
    text: str
    steps: tuple[str, ...] = ()
