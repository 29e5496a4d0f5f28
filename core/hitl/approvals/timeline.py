"""What is in force at a given moment: deadline, extra round, escalation steps and the notes that moved them.

Everything is replayed from the question, so it does not matter who looks, how often, or how late: a sweep that comes
an hour after the deadline finds what a hub would have found on time.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hitl.approvals.escalation import steps_of, widen
from hitl.approvals.requests import ApprovalRequest, Note, NoteType
from hitl.approvals.requirements import fold, requirements_of
from hitl.policy.verdicts import EscalationStep, OnTimeout, Requirement

# No request stays open longer than this after it was made, whatever rounds and notes add (DESIGN 6).
LONGEST = timedelta(days=7)


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
    """When the request ends without an answer, as last written; before the first write: creation + timeout."""
    return request.status.expiration_time or _latest(request, request.created + _timeout(request))


def in_force(request: ApprovalRequest, now: datetime) -> InForce:
    """The terms at `now`. Nothing that was written is ever taken back: counters and deadline only grow."""
    spec, status = request.spec, request.status
    steps = steps_of(spec)
    replay = _replayed(request, now)
    rounds = max(status.rounds, replay.rounds)
    notes_applied = max(status.notes_applied, replay.notes_applied)
    moved = (rounds, notes_applied) != (status.rounds, status.notes_applied)
    written = deadline_of(request)
    deadline = max(written, replay.deadline) if moved else written
    escalated = max(status.escalated, replay.escalated)
    # By what is in force, not by the replay: a note that was judged late must not keep open what was told to end.
    last = spec.on_timeout is OnTimeout.ABORT or bool(rounds) or deadline >= request.created + LONGEST
    ends = deadline if deadline > now else replay.deadline
    coming = [request.created + timedelta(seconds=step.after) for step in steps[escalated:]]
    return InForce(
        deadline=deadline,
        requirements=widen(requirements_of(spec), steps[:escalated]),
        rounds=rounds,
        escalated=escalated,
        notes_applied=notes_applied,
        expired=last and now >= deadline,
        next_change=min((ends, *(moment for moment in coming if now < moment < deadline))),
    )


def requirements_due(request: ApprovalRequest, now: datetime) -> tuple[Requirement, ...]:
    """What is asked at `now`: the spec's, widened by the steps that are due, whatever was written down of them.

    The spec never changes; the hub's part of the status is written with a token that may be stolen (SECURITY D5).
    """
    asked = replace(request.status, expiration_time=None, rounds=0, notes_applied=0)
    due = _replayed(replace(request, status=asked), now).escalated
    return widen(requirements_of(request.spec), steps_of(request.spec)[:due])


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
        untouched = not request.status.rounds and not request.status.notes_applied
        first = request.created + _timeout(request)
        self.deadline = deadline_of(request) if untouched else _latest(request, first)
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
