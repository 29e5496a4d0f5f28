"""What people add to a request: a decision, a note, and the hub's word on whether these count."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from hitl.approvals.conditions import outcome, state_of
from hitl.approvals.edits import check_patch, stored_at
from hitl.approvals.overriding import check_override
from hitl.approvals.requests import (
    ApprovalRequest,
    Decision,
    DecisionKind,
    Kind,
    Note,
    NoteType,
    RequestStatus,
    State,
    Verified,
)
from hitl.approvals.requirements import barred, fold
from hitl.approvals.timeline import LONGEST, in_force
from hitl.errors import Forbidden, InvalidDecision, NoLongerPending, Refused

MAX_NOTES = 8
# As the CRD has it: a reason is read by people and by a model, neither wants a book.
MAX_REASON = 2000


def with_decision(request: ApprovalRequest, decision: Decision, now: datetime) -> RequestStatus:
    """The status with one reviewer's decision appended, stamped with `now`.

    Raises:
        InvalidDecision: uid or digest are not this request's, a reason or answer is missing, or the edit does not fit.
        NoLongerPending: it was decided or withdrawn, or its time is up, whether or not that was written yet.
        Forbidden: this person may not decide it, or may not approve it.
        Refused: this person voted already.
    """
    _check_echo(request, decision.request_uid, decision.digest)
    _check_pending(request, now)
    _check_person(request, decision.reviewer)
    for earlier in request.status.decisions:
        if fold(earlier.reviewer) == fold(decision.reviewer):
            raise Refused(
                f"{earlier.reviewer} has already {earlier.decision.value.lower()} {request.name}; a vote is never "
                "changed. To stop an approved call that has not run, tighten the policy: release asks it again"
            )
    match decision.decision:
        case DecisionKind.OVERRIDDEN:
            _check_is_no_party(request, decision)
            check_override(request, decision)
        case DecisionKind.APPROVED:
            _check_is_no_party(request, decision)
            if decision.arguments_patch is not None:
                check_patch(request.spec, decision.arguments_patch)
        case DecisionKind.DENIED:
            if decision.arguments_patch is not None:
                raise InvalidDecision("a denial carries no edit; approve with the edit, or deny without it")
    _check_words(request, decision)
    stamped = replace(decision, time=now)
    return replace(request.status, decisions=(*request.status.decisions, stamped))


def with_note(request: ApprovalRequest, note: Note, now: datetime) -> RequestStatus:
    """The status with one reviewer's note appended, stamped with `now`. Feedback is welcome after the end, too.

    Raises:
        InvalidDecision: the uid is not this request's, or the note says nothing that could be done.
        NoLongerPending: more time or more people are asked for and the request has ended.
        Forbidden: this person may not.
        Refused: past eight notes, or `n` is not the next number.
    """
    _check_echo(request, note.request_uid, request.spec.digest)
    _check_person(request, note.reviewer)
    if len(note.reason) > MAX_REASON:
        raise InvalidDecision(f"the reason has {len(note.reason)} characters, at most {MAX_REASON} are allowed")
    longest = int(LONGEST.total_seconds() // 60)
    match note.type:
        case NoteType.EXTEND:
            _check_pending(request, now)
            if not 1 <= note.minutes <= longest:
                raise InvalidDecision(f"cannot extend by {note.minutes} minutes; give 1 to {longest}")
            if in_force(request, now).deadline >= request.created + LONGEST:
                raise InvalidDecision(
                    f"{request.name} already ends 7 d after it was made, the latest there is; decide it"
                )
        case NoteType.ESCALATE:
            _check_pending(request, now)
        case NoteType.FEEDBACK:
            if not note.reason and note.category is None:
                raise InvalidDecision("the feedback says nothing; give a category or a reason")
    if note.type is not NoteType.EXTEND and note.minutes:
        raise InvalidDecision(f"{note.type.value} takes no minutes; to give more time use extend")
    written = sum(fold(each.reviewer) == fold(note.reviewer) for each in request.status.notes)
    if written >= MAX_NOTES:
        raise Refused(f"{note.reviewer} has left {MAX_NOTES} notes on {request.name}, the most there may be")
    if note.n != written + 1:
        raise Refused(
            f"note {note.n} of {note.reviewer} on {request.name} is not the next one; write it as {written + 1}"
        )
    return replace(request.status, notes=(*request.status.notes, replace(note, time=now)))


def with_verified(request: ApprovalRequest, entries: Iterable[Verified]) -> RequestStatus:
    """The status with the hub's word on votes and notes appended; what was said before stands.

    Once an outcome is written voting has ended, and nothing is added.
    """
    status = request.status
    known = {(entry.reviewer, entry.note) for entry in status.verified}
    stored = _votes_and_notes(status)
    added = tuple(entry for entry in entries if (key := (entry.reviewer, entry.note)) in stored and key not in known)
    if status.state is not State.PENDING or not added:
        return status
    return replace(status, verified=(*status.verified, *added))


def unverified(status: RequestStatus) -> tuple[tuple[Decision, ...], tuple[Note, ...]]:
    """The votes and notes of a pending request that the hub has not judged yet."""
    if status.state is not State.PENDING:
        return (), ()
    known = {(entry.reviewer, entry.note) for entry in status.verified}
    return (
        tuple(each for each in status.decisions if (each.reviewer, 0) not in known),
        tuple(each for each in status.notes if (each.reviewer, each.n) not in known),
    )


def denials(request: ApprovalRequest) -> tuple[Decision, ...]:
    """The denials that count, oldest first. Anybody verified may deny, except who made the call."""
    counted = {entry.reviewer for entry in request.status.verified if entry.note == 0 and not entry.refused}
    requester = fold(request.spec.requester)
    found = [
        each
        for each in request.status.decisions
        if each.decision is DecisionKind.DENIED and each.reviewer in counted and fold(each.reviewer) != requester
    ]
    return tuple(sorted(found, key=lambda each: (stored_at(each), each.reviewer)))


def _votes_and_notes(status: RequestStatus) -> set[tuple[str, int]]:
    return {(each.reviewer, 0) for each in status.decisions} | {(each.reviewer, each.n) for each in status.notes}


def _check_echo(request: ApprovalRequest, uid: str, digest: str) -> None:
    if uid != request.uid:
        raise InvalidDecision(
            f"this answers request uid {uid or '(none)'}, but {request.name} is {request.uid}: it was made anew since; "
            "look at it again"
        )
    if digest != request.spec.digest:
        raise InvalidDecision(
            f"this answers digest {digest[:12] or '(none)'}, but {request.name} asks for {request.spec.digest[:12]}; "
            "look at it again"
        )


def _check_pending(request: ApprovalRequest, now: datetime) -> None:
    state = state_of(request.status.conditions)
    ended = outcome(request.status.conditions, state)
    if ended is not None:
        ran = "" if state in (State.APPROVED, State.CONSUMED) else "; nothing ran"
        raise NoLongerPending(f"{request.name} is no longer pending: {ended.message}{ran}")
    force = in_force(request, now)
    if force.expired:
        raise NoLongerPending(
            f"{request.name} expired at {force.deadline:%H:%M:%S} UTC; nothing ran. The agent may ask again"
        )


def _check_person(request: ApprovalRequest, reviewer: str) -> None:
    name = fold(reviewer)
    if not name or name.startswith("system:"):
        raise Forbidden(f"{reviewer or 'somebody without a name'} is not a person; only people decide {request.name}")
    if name == fold(request.spec.requester):
        raise Forbidden(f"{reviewer} made this call; somebody else must decide {request.name}")


def _check_is_no_party(request: ApprovalRequest, decision: Decision) -> None:
    spec, name = request.spec, fold(decision.reviewer)
    if name in map(fold, spec.excluded):
        raise Forbidden(f"{decision.reviewer} changed this call; another person must approve {request.name}")
    if name in barred(spec):
        raise Forbidden(
            f"you asked for this call (on behalf of {spec.on_behalf_of}); another person must approve {request.name}"
        )


def _check_words(request: ApprovalRequest, decision: Decision) -> None:
    spec = request.spec
    tier = "MultiFactor" if spec.tier == "multi-factor" else "Confirm"
    wanted = [word for word in (decision.decision.value, tier) if word in spec.reason_required]
    if wanted and not decision.reason.strip():
        raise InvalidDecision(f'{request.name} wants a reason ({wanted[0]}); the agent reads it: --reason "..."')
    if len(decision.reason) > MAX_REASON:
        raise InvalidDecision(f"the reason has {len(decision.reason)} characters, at most {MAX_REASON} are allowed")
    if decision.category is not None and decision.decision is not DecisionKind.DENIED:
        raise InvalidDecision("a category says why a call was denied; leave it out of an approval")
    asks = spec.kind in (Kind.QUESTION, Kind.SUGGESTION)
    if decision.answer is not None and not asks:
        raise InvalidDecision(f"{request.name} asks no question; approve or deny it")
    if spec.kind is Kind.QUESTION and decision.decision is DecisionKind.APPROVED and decision.answer is None:
        raise InvalidDecision(f"{request.name} is a question; answer it")
