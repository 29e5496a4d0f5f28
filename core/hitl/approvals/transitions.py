"""Which changes of a status may be written, for every writer (I5). Every store asks `guard` before it writes."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NoReturn, TypeVar

from hitl.approvals.conditions import OUTCOMES, outcome, state_of
from hitl.approvals.escalation import steps_of, widen
from hitl.approvals.requests import ApprovalRequest, NoteType, RequestStatus, State
from hitl.approvals.requirements import fold, requirements_of
from hitl.approvals.timeline import LONGEST
from hitl.approvals.votes import MAX_NOTES, unverified, with_decision, with_note, with_verified
from hitl.errors import Refused
from hitl.policy.verdicts import OnTimeout

__all__ = ["RESULTS", "guard", "guard_opening", "state_of", "unverified", "with_decision", "with_note", "with_verified"]

# From where to where a request may go in one write. Consumed stands beside Approved, also when both come at once.
_STEPS = {
    State.PENDING: {State.PENDING, State.APPROVED, State.DENIED, State.EXPIRED, State.CANCELLED, State.CONSUMED},
    State.APPROVED: {State.APPROVED, State.EXPIRED, State.CANCELLED, State.CONSUMED},
}
T = TypeVar("T")
RESULTS = ("Succeeded", "Failed", "NotStarted")


def guard(request: ApprovalRequest, new: RequestStatus) -> None:
    """Refuse to replace the status of the stored `request` by `new` where the life cycle forbids it.

    Decisions, notes and the hub's word on them are only ever added, one decision for each person, and none after an
    outcome (but for Feedback). Outcomes are set to True once and stay. Denied, Expired, Cancelled and Consumed exclude
    each other and end everything; Approved may come before Consumed, Expired or Cancelled. The terms only widen and the
    deadline only moves forward, each for a counted reason, and never past creation + 7 days.

    Raises:
        Refused: naming the first rule that the write would break. The status as stored stays.
    """
    _check_votes(request, new)
    _check_outcomes(request, new)
    _check_terms(request, new)
    _check_release(request, new)


def guard_opening(status: RequestStatus, created: datetime) -> None:
    """Refuse to create a request that is not simply pending.

    Raises:
        Refused: it is born with votes or an outcome, or would stay open for more than 7 days.
    """
    told = (status.decisions, status.notes, status.verified, status.conditions, status.rounds, status.notes_applied)
    if status.state is not State.PENDING or any(told) or status.escalated or status.result or status.consumed_digest:
        raise Refused("a new request is Pending, without votes and outcomes; write them once it is stored")
    if status.expiration_time is not None and status.expiration_time > created + LONGEST:
        raise Refused(f"a new request may stay open until {created + LONGEST}, not until {status.expiration_time}")


def _refuse(request: ApprovalRequest, what: str) -> NoReturn:
    raise Refused(f"{request.name} ({request.status.state.value}): {what}; read the request again and decide again")


def _check_votes(request: ApprovalRequest, new: RequestStatus) -> None:
    old = request.status
    if any(decision not in new.decisions for decision in old.decisions):
        _refuse(request, "a decision may not be changed or removed")
    # By what is added: what an API server took in already, whose case folding is coarser, must not block every write.
    voted = Counter(fold(each.reviewer) for each in new.decisions)
    twice = [name for each in _added(old.decisions, new.decisions) if voted[name := fold(each.reviewer)] > 1]
    if twice:
        _refuse(request, f"{twice[0]} may not vote twice")
    if any(note not in new.notes for note in old.notes):
        _refuse(request, "a note may not be changed or removed")
    numbers = Counter((fold(note.reviewer), note.n) for note in new.notes)
    added = [(fold(note.reviewer), note.n) for note in _added(old.notes, new.notes)]
    if any(numbers[each] > 1 or not 1 <= each[1] <= MAX_NOTES for each in added):
        _refuse(request, f"a person's notes are numbered 1 to {MAX_NOTES}, each number once")
    if any(entry not in new.verified for entry in old.verified):
        _refuse(request, "what was verified, or refused, stays so")
    stored = {(each.reviewer, 0) for each in old.decisions} | {(each.reviewer, each.n) for each in old.notes}
    entries = [(entry.reviewer, entry.note) for entry in new.verified]
    if len(set(entries)) < len(entries):
        _refuse(request, "a vote is verified once")
    if any(entry not in stored for entry in entries):
        _refuse(request, "a vote is stored before anybody says that it counts")

    if any(outcome(old.conditions, state) for state in OUTCOMES):
        if len(new.decisions) > len(old.decisions):
            _refuse(request, "voting has ended")
        if any(note.type is not NoteType.FEEDBACK for note in new.notes if note not in old.notes):
            _refuse(request, "it has ended: only Feedback may be added")
        if len(new.verified) > len(old.verified):
            _refuse(request, "voting has ended, nothing more is counted")
    elif len(new.decisions) > len(old.decisions) and state_of(new.conditions) is not State.PENDING:
        _refuse(request, "one write cannot both vote and decide")


def _added(old: Sequence[T], new: Sequence[T]) -> list[T]:
    """What stands in `new` beside all of `old`; entries are compared, for not all of them can be hashed."""
    rest = list(new)
    for each in old:
        rest.remove(each)
    return rest


def _check_outcomes(request: ApprovalRequest, new: RequestStatus) -> None:
    old = request.status
    if len({each.type for each in new.conditions}) < len(new.conditions):
        _refuse(request, "each condition stands there once")
    names = {state.value for state in OUTCOMES}
    for condition in old.conditions:
        if condition.type in names and condition not in new.conditions:
            _refuse(request, f"{condition.type} may not be changed or removed")
    if any(each.type in names and each.status != "True" for each in new.conditions):
        _refuse(request, "an outcome is only ever set to True")
    reached = {state for state in OUTCOMES if outcome(new.conditions, state)}
    ends = [state.value for state in OUTCOMES if state in reached and state.is_terminal]
    if len(ends) > 1:
        _refuse(request, f"{' and '.join(ends)} exclude each other")
    if State.CONSUMED in reached and State.APPROVED not in reached:
        _refuse(request, "nothing is Consumed that was not Approved")
    if State.DENIED in reached and State.APPROVED in reached:
        _refuse(request, "Approved and Denied exclude each other")
    before, after = state_of(old.conditions), state_of(new.conditions)
    ended = before.is_terminal and any(outcome(old.conditions, state) is None for state in reached)
    if ended or (after is not before and after not in _STEPS.get(before, ())):
        _refuse(request, f"it cannot become {' and '.join(sorted(state.value for state in reached))}")
    late = State.APPROVED in reached and before is State.PENDING and after in (State.EXPIRED, State.CANCELLED)
    if late:
        _refuse(request, f"a write that makes it {after.value} cannot also say that it was Approved")
    if new.state is not after:
        _refuse(request, f"state {new.state.value} does not follow from its conditions, which say {after.value}")
    if (new.resolved_time is None) != (after is State.PENDING):
        _refuse(request, "resolvedTime is set exactly when it leaves Pending")
    if old.resolved_time is not None and new.resolved_time != old.resolved_time:
        _refuse(request, "resolvedTime is set once")


def _check_terms(request: ApprovalRequest, new: RequestStatus) -> None:
    old = request.status
    before = (old.rounds, old.escalated, old.notes_applied)
    after = (new.rounds, new.escalated, new.notes_applied)
    if any(now < then for then, now in zip(before, after, strict=True)):
        _refuse(request, "rounds, escalation steps and applied notes are only counted up")
    # By what is added: what somebody else counted too high is believed nowhere, and must not block every write.
    if new.rounds > max(old.rounds, 0 if request.spec.on_timeout is OnTimeout.ABORT else 1):
        _refuse(request, f"onTimeout {request.spec.on_timeout.value} does not grant {new.rounds} more timeouts")
    too_many = new.escalated > max(old.escalated, len(request.spec.escalation))
    if too_many or new.notes_applied > max(old.notes_applied, len(new.notes)):
        _refuse(request, "more escalation steps or notes are applied than there are")
    _check_deadline(request, new)
    asked = old.requirements or requirements_of(request.spec)
    given = new.requirements or asked
    if old.requirements and not new.requirements:
        _refuse(request, "requirements in force may not be dropped")
    same = len(asked) == len(given) and all(
        (was.name, was.approvals, was.second_factor, was.or_second_person, was.origin)
        == (now.name, now.approvals, now.second_factor, now.or_second_person, now.origin)
        and (set(was.any_of) <= set(now.any_of) and bool(was.any_of) == bool(now.any_of))
        for was, now in zip(asked, given, strict=False)
    )
    # Those of the spec stand again where somebody wrote others.
    own = widen(requirements_of(request.spec), steps_of(request.spec)[: new.escalated])
    if given != own and (not same or (given != asked and new.escalated == old.escalated)):
        _refuse(request, "requirements are a snapshot: only an escalation step may add groups to them")
    if old.state is not State.PENDING and (after != before or given != asked):
        _refuse(request, "the terms of a decided request do not change")


def _check_deadline(request: ApprovalRequest, new: RequestStatus) -> None:
    old = request.status
    if new.expiration_time == old.expiration_time:
        return
    if new.expiration_time is None:
        _refuse(request, "expirationTime may not be dropped")
    if old.state is not State.PENDING:
        _refuse(request, "the deadline of a decided request does not move")
    if new.expiration_time > request.created + LONGEST:
        _refuse(request, f"nothing stays open longer than 7 d, here until {request.created + LONGEST}")
    if old.expiration_time is None:
        return
    if new.expiration_time < old.expiration_time:
        _refuse(request, "expirationTime may only move forward")
    if new.rounds == old.rounds and new.notes_applied == old.notes_applied:
        _refuse(request, "expirationTime moves only with a round or a note that is counted")


def _check_release(request: ApprovalRequest, new: RequestStatus) -> None:
    old = request.status
    was, is_now = _release(old), _release(new)
    if state_of(new.conditions) is not State.CONSUMED:
        if any(is_now) or new.result:
            _refuse(request, "time, digest, holder and result of a release stand beside Consumed only")
        return
    if any(was) and is_now != was:
        _refuse(request, "what was consumed, when and by whom is written once")
    if not all(is_now):
        _refuse(request, "Consumed names the time, the digest and the holder")
    if new.result not in ("", *RESULTS) or (old.result and new.result != old.result):
        _refuse(request, f"result is one of {', '.join(RESULTS)}, written once")


def _release(status: RequestStatus) -> tuple[datetime | None, str, str]:
    return status.consumed_time, status.consumed_digest, status.consumed_by
