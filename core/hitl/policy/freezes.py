"""Freezes: calls that people stopped for a while, whatever any policy says of them (DESIGN 7, step 2).

A freeze that is in a config binds; no time is looked at here. The hub takes one out when its time is over, by its own
clock, so an agent whose hub is away stays frozen for longer and never for shorter.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hitl.policy.globs import Glob

FREEZE: Final = "Freeze"

_MINUTE: Final = timedelta(minutes=1)
_LAST_MINUTE: Final = datetime.max.replace(tzinfo=UTC, second=0, microsecond=0)  # there is none to round it up to


@dataclass(frozen=True, slots=True)
class Freeze:
    """A stop button that is pressed.

    Attributes:
        name, namespace, uid, generation: of the PolicyOverride.
        by: who pressed it, as the API server knows them; in a home, as they are logged in on the machine.
        reason: theirs.
        until: when it ends, aware, UTC; None: when people lift it.
        tools: what is stopped; empty: every call.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    by: str
    reason: str
    until: datetime | None = None
    tools: tuple[Glob, ...] = ()

    def covers(self, name: str) -> bool:
        """Whether calls of this tool are stopped; `name` as `ToolCall.name` has it."""
        return not self.tools or any(glob.matches(name) for glob in self.tools)

    @property
    def order(self) -> tuple[Any, ...]:
        """What lasts longest is told first."""
        last = self.until.timestamp() if self.until is not None else float("inf")
        return -last, self.namespace, self.name

    def to_json(self) -> dict[str, Any]:
        """As it stands in a config document."""
        found: dict[str, Any] = {
            "type": FREEZE,
            "name": self.name,
            "namespace": self.namespace,
            "uid": self.uid,
            "generation": self.generation,
            "by": self.by,
            "reason": self.reason,
        }
        if self.until is not None:
            found["until"] = self.until.strftime("%Y-%m-%dT%H:%M:%SZ")
        if self.tools:
            found["tools"] = [glob.text for glob in self.tools]
        return found


def frozen_words(freeze: Freeze) -> str:
    """Who stopped it, until when and why: ``frozen by ana until 2026-05-01 14:30 UTC: "INC-88"``."""
    until = f" until {clock(freeze.until)}" if freeze.until is not None else ""
    return f'frozen by {freeze.by}{until}: "{freeze.reason}"'


def frozen_advice(freeze: Freeze) -> str:
    """What an agent does about it."""
    if freeze.until is None:
        return "Do not retry before people have lifted the freeze; tell the user that it was stopped."
    return f"Do not retry before {clock(freeze.until)}; tell the user that it was stopped."


def clock(moment: datetime) -> str:
    """A time for people, whole minutes rounded up: nobody is sent back too early.

    moment: aware, UTC; any that there is, up to the last second of the year 9999.
    """
    whole = moment.replace(second=0, microsecond=0)
    if whole < min(moment, _LAST_MINUTE):
        whole += _MINUTE
    return f"{whole.replace(tzinfo=None).isoformat(' ', 'minutes')} UTC"
