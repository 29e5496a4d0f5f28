"""What `settle` and `consume` answer."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hitl.approvals.edits import Edit
from hitl.approvals.requests import RequestStatus
from hitl.approvals.requirements import Progress


class Outcome(StrEnum):
    """Where a request stands for those who wait on it.

    - Waiting: people must decide.
    - Ready: they agreed and nothing is written yet; whoever holds the call consumes it now.
    - Approved: written, waiting for its call (for a Question or Suggestion: the end).
    - Denied, Expired, Cancelled, Consumed: the end.
    """

    WAITING = "Waiting"
    READY = "Ready"
    APPROVED = "Approved"
    DENIED = "Denied"
    EXPIRED = "Expired"
    CANCELLED = "Cancelled"
    CONSUMED = "Consumed"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What `settle` found.

    Attributes:
        outcome: where it stands.
        status: to be written with a compare-and-set; None: the status of the request that was given says all of it.
        reason: the condition's reason, for ended and approved ones.
        message: what happened, for people; agents read `messages`.
        progress: requirements in force and how far they have come.
        edit: the reviewer's change: of the call that was approved, or, of a superseded request, the one that the next
            request asks for.
        reminders: how many reminders are due by now, from the beginning; the notifier knows how many it sent.
        look_again: when to settle again though nobody did anything; None once it has ended.
    """

    outcome: Outcome
    status: RequestStatus | None = None
    reason: str = ""
    message: str = ""
    progress: tuple[Progress, ...] = ()
    edit: Edit | None = None
    reminders: int = 0
    look_again: datetime | None = None


class Release(StrEnum):
    """What `consume` answers; the words are those of the wire."""

    RELEASED = "Released"
    SPENT = "Spent"
    ENDED = "Ended"
    NOT_READY = "NotReady"
    REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class Consumption:
    """Whether this very call may run.

    Attributes:
        release: Released binds only once `status` was written by a compare-and-set; all else: do not run.
        status: to be written (also with Ended, where the time was up); None if there is nothing to write.
        settlement: what it rests on.
        message: why not, for people.
    """

    release: Release
    settlement: Settlement
    status: RequestStatus | None = None
    message: str = ""
