"""What came of the calls: counted from what ran, not from what anybody said."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Wanted(StrEnum):
    """What may become of a call."""

    RUNS = "runs"  # somebody approved it in time: it must run, once
    NEVER = "never"  # it was refused, expired or forbidden: it must not run
    EITHER = "either"  # decided in the last moment: once or never


@dataclass(frozen=True, slots=True)
class Tally:
    """The demonstration's result.

    Attributes:
        tried: calls that the agents asked for, each counted once however often they asked.
        released: calls that ran.
        lost: calls that somebody approved in time and that never ran.
        twice: calls that ran more than once.
        forbidden: calls that ran and must not have.
        unreleased: what became of those that did not run: how many by outcome, in order.
    """

    tried: int
    released: int
    lost: int
    twice: int
    forbidden: int
    unreleased: Mapping[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the product kept its word."""
        return self.lost == self.twice == self.forbidden == 0

    def __str__(self) -> str:
        ends = ", ".join(
            f"{outcome} {count}" for outcome, count in {"released": self.released, **self.unreleased}.items()
        )
        return (
            f"calls tried {self.tried}: {ends}\nlost {self.lost}, released twice {self.twice}, "
            f"released against the policy {self.forbidden}"
        )


def tally(wanted: Mapping[str, Wanted], ran: Iterable[str], told: Mapping[str, str]) -> Tally:
    """Compare what must have run with what ran.

    Args:
        wanted: by call, what may become of it.
        ran: the call of each execution.
        told: by call, the last outcome that an agent was told, where that was its end.
    """
    runs = Counter(ran)
    return Tally(
        tried=len(wanted),
        released=len(runs),
        lost=sum(may is Wanted.RUNS and not runs[call] for call, may in wanted.items()),
        twice=sum(count > 1 for count in runs.values()),
        forbidden=sum(wanted.get(call, Wanted.NEVER) is Wanted.NEVER for call in runs),
        unreleased=Counter(told.get(call, "unanswered").lower() for call in wanted if not runs[call]),
    )
