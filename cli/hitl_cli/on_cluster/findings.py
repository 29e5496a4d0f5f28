"""What `doctor` and `status` found, as values."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How one thing stands."""

    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "unknown"
    """The caller may not read it, or it has not been written yet."""


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
