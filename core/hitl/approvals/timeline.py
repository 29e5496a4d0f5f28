"""What is in force at a given moment: deadline, extra round, escalation steps and the notes that moved them.

Everything is replayed from the question, so it does not matter who looks, how often, or how late: a sweep that comes
an hour after the deadline finds what a hub would have found on time.

What the status says of the terms is for people and for columns. It is written with a token that may be stolen, or in a
gap of enforcement by anybody (SECURITY C4, D5), so nothing is asked less, later or longer because it says so: whom a
request asks follows from the spec, the time since it was made, and the notes that count. Only a deadline before the
one that these give is taken as it stands: a request that ends too early lets nothing through.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hitl.approvals.escalation import steps_of, widen
from hitl.approvals.requests import ApprovalRequest, Note, NoteType
from hitl.approvals.requirements import fold, requirements_of
from hitl.policy.verdicts import EscalationStep, OnTimeout, Requirement

# No request stays open longer than this after it was made, whatever rounds and notes add (DESIGN 6).
LONGEST = timedelta(days=7)

# How far apart the clocks of two hubs, or of a hub and its store, may be: what one of them wrote as due may still come
# for the other.
APART = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class InForce:
    """The terms of a pending request at one moment.

    Attributes:
        deadline: at this moment and later it is expired, unless a round is left.
        requirements: as asked, widened by the steps taken.
        rounds: extra timeouts granted so far, 0 or 1.
        escalated: steps taken so far, in the order of `escalation.steps_of`.
        notes_applied: verified Extend and Escalate notes that came in time.
        expired: no answer in time, and no round is left.
        next_change: when the terms change next if nobody does anything.
    """

    deadline: datetime
    requirements: tuple[Requirement, ...]
    rounds: int
    escalated: int
    notes_applied: int
    expired: bool
    next_change: datetime


def deadline_of(request: ApprovalRequest) -> datetime:
    """When the request ends without an answer: as last written, but no later than spec and notes can ever give.

    Before the first write: creation + timeout.
    """
    written, first = request.status.expiration_time, _first_deadline(request)
    if written is None or written <= first:
        return first if written is None else written
    latest = request.created + LONGEST
    ends = _replayed(request, latest).deadline
    return min(written, latest) if written <= ends + APART else ends


def in_force(request: ApprovalRequest, now: datetime) -> InForce:
    """The terms at `now`."""
    spec, status = request.spec, request.status
    steps = steps_of(spec)
    replay = _replayed(request, now)
    moved = replay.rounds > status.rounds or replay.notes_applied > status.notes_applied
    written = deadline_of(request)
    # A note that was judged late must not take away what was told: the round that came instead of it stands.
    deadline = max(written, replay.deadline) if moved else written
    # By the replay as well: what was written may lie a moment before it, by another clock, and no round comes after it.
    longest = max(deadline, replay.deadline) >= request.created + LONGEST
    last = spec.on_timeout is OnTimeout.ABORT or bool(replay.rounds) or longest
    coming = [request.created + timedelta(seconds=step.after) for step in steps[replay.escalated :]]
    return InForce(
        deadline=deadline,
        requirements=widen(requirements_of(spec), steps[: replay.escalated]),
        rounds=replay.rounds,
        escalated=replay.escalated,
        notes_applied=replay.notes_applied,
        expired=last and now >= deadline,
        next_change=min((moment for moment in (deadline, replay.deadline, *coming) if now < moment), default=deadline),
    )


def requirements_due(request: ApprovalRequest, now: datetime) -> tuple[Requirement, ...]:
    """What is asked at `now`: the spec's, widened by the steps that are due, whatever was written down of them."""
    due = _replayed(request, now).escalated
    return widen(requirements_of(request.spec), steps_of(request.spec)[:due])


def is_overstated(request: ApprovalRequest, now: datetime) -> bool:
    """Whether the status says of the terms what spec, time and counted notes never gave (SECURITY C4).

    What a hub whose clock is ahead wrote a moment before its time is no such thing, nor is the round that came before a
    note was judged which would have put it off.
    """
    spec, status = request.spec, request.status
    due = _replayed(request, now + APART)
    without_notes = _replayed(replace(request, status=replace(status, notes=())), now + APART)
    told = widen(requirements_of(spec), steps_of(spec)[: status.escalated])
    return (
        (status.expiration_time is not None and status.expiration_time > deadline_of(request))
        or status.rounds > max(due.rounds, without_notes.rounds)
        or status.escalated > max(due.escalated, without_notes.escalated)
        or status.notes_applied > due.notes_applied
        or status.requirements not in ((), told)
    )


def _replayed(request: ApprovalRequest, now: datetime) -> "_Replay":
    replay = _Replay(request, steps_of(request.spec))
    for note in _notes(request):
        if note.time is None or note.time > now:
            continue
        replay.pass_to(note.time)
        if replay.over:
            break
        replay.take(note)
    replay.pass_to(now)
    return replay


class _Replay:
    """Walks through a request's life in the order of time."""

    def __init__(self, request: ApprovalRequest, steps: tuple[EscalationStep, ...]) -> None:
        self._request = request
        self._steps = steps
        self.deadline = _first_deadline(request)
        self.rounds = self.escalated = self.notes_applied = 0
        self.over = False

    def pass_to(self, moment: datetime) -> None:
        """Lets time pass: deadlines first, since at the deadline it is too late for everything else."""
        while not self.over and self.deadline <= moment:
            self._take_steps_before(self.deadline)
            self._time_is_up()
        if not self.over:
            self._take_steps_before(moment + timedelta.resolution)

    def take(self, note: Note) -> None:
        """A reviewer's note that came in time."""
        if note.type is NoteType.EXTEND:
            self.deadline = _latest(self._request, self.deadline + timedelta(minutes=max(0, note.minutes)))
        else:
            self.escalated = min(len(self._steps), self.escalated + 1)
        self.notes_applied += 1

    def _time_is_up(self) -> None:
        later = _latest(self._request, self.deadline + _timeout(self._request))
        if self._request.spec.on_timeout is OnTimeout.ABORT or self.rounds or later <= self.deadline:
            self.over = True
            return
        self.rounds, self.deadline = 1, later
        if self._request.spec.on_timeout is OnTimeout.ESCALATE:
            # All groups that the policy names; where none is left, the round is the same people's second chance.
            # To let in people whom no policy names would be to loosen it.
            self.escalated = len(self._steps)

    def _take_steps_before(self, moment: datetime) -> None:
        due = sum(self._request.created + timedelta(seconds=step.after) < moment for step in self._steps)
        self.escalated = max(self.escalated, due)


def _first_deadline(request: ApprovalRequest) -> datetime:
    return _latest(request, request.created + _timeout(request))


def _timeout(request: ApprovalRequest) -> timedelta:
    return timedelta(seconds=max(1, request.spec.timeout))


def _latest(request: ApprovalRequest, moment: datetime) -> datetime:
    return min(moment, request.created + LONGEST)


def _notes(request: ApprovalRequest) -> list[Note]:
    """Notes that may move something and were verified, in the order in which the store took them.

    One person under two spellings of his name is one person: the second note of the same number moves nothing.
    """
    counted = {(entry.reviewer, entry.note) for entry in request.status.verified if entry.note and not entry.refused}
    notes = [
        note
        for note in request.status.notes
        if note.type is not NoteType.FEEDBACK and (note.reviewer, note.n) in counted and note.time is not None
    ]
    first: dict[tuple[str, int], Note] = {}
    for note in sorted(notes, key=lambda note: (note.time, note.reviewer, note.n)):
        first.setdefault((fold(note.reviewer), note.n), note)
    return list(first.values())
