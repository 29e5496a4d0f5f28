"""What ran, or was refused, without asking anyone: one line of the feed, wherever it comes from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that happened.

    Attributes:
        action: Notify, Deny …
        why: the rule or score that decided.
        what: what it did.
        document: the same for programs.
        name: with which `what` begins and which is to be typed: it is never cut.
    """

    time: datetime
    action: str
    agent: str
    why: str
    what: str
    document: Mapping[str, Any]
    name: str = ""


class Activity(Protocol):
    """A place's feed. With `every` also what was allowed or held."""

    def fresh(self, *, every: bool) -> Sequence[Told]:
        """What has come since the last look, oldest first; at the first look everything that is kept."""
        ...

    def follow(self, *, every: bool) -> Iterator[Told]:
        """Everything that comes from now on, until the caller stops."""
        ...

    def heading(self, *, every: bool) -> list[str]:
        """Lines on what this feed shows and what not, where that is not everything."""
        ...

    @property
    def more(self) -> str:
        """What there would be with `every`, for whom nothing is shown."""
        ...

    def caveats(self) -> list[str]:
        """Lines on what could not be read."""
        ...
