"""Which people are told again that a call waits for them, and in which words: pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from hitl.approvals.requests import ApprovalRequest
from hitl.approvals.requirements import Progress
from hitl.approvals.settlement import Outcome, Settlement
from hitl.approvals.timeline import in_force
from hitl.policy.durations import format_duration

# What was due longer ago was told by who led then, or is no news to anybody by now. Far less than the hour for which an
# API server keeps Events: until then nobody posts the same twice.
_LATE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Reminder:
    """One that is due.

    Attributes:
        number: from 1; the same for every hub.
        waits_for: who may decide, in words.
        left: how long there is for that, in words.
    """

    number: int
    waits_for: str
    left: str


def reminder(request: ApprovalRequest, found: Settlement, told: int, now: datetime) -> Reminder | None:
    """What is to be told now.

    Args:
        request: as it stands.
        found: what settling it at `now` found.
        told: how many of its reminders were dealt with here before.
        now: the time.
    """
    every = request.spec.remind
    if not every or found.outcome is not Outcome.WAITING or found.reminders <= told:
        return None
    if now - request.created - timedelta(seconds=every * found.reminders) > _LATE:
        return None
    return Reminder(found.reminders, waits_for(found.progress), time_left(request, now))


def waits_for(rows: Iterable[Progress]) -> str:
    """Whose word is missing: groups, and how many people of them; never who said what."""
    return " and ".join(_missing(row) for row in rows if not row.met)


def time_left(request: ApprovalRequest, now: datetime) -> str:
    """Until it ends without an answer."""
    return format_duration(max(0.0, (in_force(request, now).deadline - now).total_seconds()))


def _missing(row: Progress) -> str:
    count = row.places - len(row.filled_by)
    people = "1 person" if count == 1 else f"{count} people"
    groups = row.requirement.any_of
    return f"{people} of {' or '.join(groups)}" if groups else f"{people} who may approve"
