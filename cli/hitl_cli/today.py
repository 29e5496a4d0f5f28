"""Today in numbers, from the audit logs and requests of a home: why "nothing is waiting" can be believed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from hitl.approvals.requests import ApprovalRequest, State
from hitl.audit import AuditRecord
from hitl_cli.endings import state_at
from hitl_cli.feed import is_verdict

_HELD = frozenset({"Confirm", "MultiFactor", "Suggest"})

_DECIDED = frozenset({State.APPROVED, State.CONSUMED, State.DENIED})


@dataclass(frozen=True, slots=True)
class Today:
    """Counts since local midnight."""

    calls: int
    held: int
    decided: int
    expired: int

    def __str__(self) -> str:
        share = f" ({100 * self.held / self.calls:.1f}%)" if self.held and self.calls else ""
        calls = f"{self.calls:,}".replace(",", " ")
        return f"{calls} calls, {self.held} held{share}, {self.decided} decided, {self.expired} expired"


def today(records: Iterable[AuditRecord], requests: Iterable[ApprovalRequest], now: datetime) -> Today:
    """What happened since local midnight."""
    midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    verdicts = [record for record in records if is_verdict(record) and record.time >= midnight]
    states = [state_at(each, now) for each in requests if each.created >= midnight]
    return Today(
        calls=len(verdicts),
        held=sum(record.decision in _HELD for record in verdicts),
        decided=sum(state in _DECIDED for state in states),
        expired=states.count(State.EXPIRED),
    )
