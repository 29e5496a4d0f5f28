"""What evaluation may know of the past. Evaluation reads it, the sidecar writes it after the verdict (I14)."""

from typing import Protocol


class History(Protocol):
    """A read-only view of one workload's past, as of `now` (seconds since the epoch)."""

    def recent_calls(self, name: str, session_id: str, now: float) -> tuple[int, int]:
        """Calls in the last minute: (of this tool and session, of the whole pod), this call not counted."""
        ...

    def used(self, limit_id: str, key: str, per: int, now: float) -> float:
        """How much of a limit's window of `per` seconds is used up; ``inf`` while a lost state counts as exhausted."""
        ...

    def times_seen(self, name: str) -> int:
        """How often this workload was allowed this tool."""
        ...

    def has_seen_value(self, name: str, argument: str, value: str) -> bool:
        """Whether this workload was allowed this tool with this value of a watched argument."""
        ...

    def has_seen_host(self, host: str) -> bool:
        """Whether this workload was allowed a call to this host."""
        ...

    def rates(self, name: str, now: float) -> tuple[float, float]:
        """(calls of the tool in the last hour, 7-day median of calls an hour); median 0.0 while unknown."""
        ...

    def recent_denials(self, now: float) -> tuple[int, int]:
        """(denied, decided) in the last ten minutes."""
        ...

    def raised_confidence(self, sameness: str, confidence: int, now: float) -> bool:
        """Whether the same call was answered CLARIFY with a lower confidence in the last ten minutes."""
        ...
