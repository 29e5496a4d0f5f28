"""What has become of a request at a given moment, and the writes that follow. The same for hub and sweep.

Everything here decides and returns; carrying it out is `ApprovalStore.write_status` with the request that was read, so
whoever is first wins and everybody else reads again (compare-and-set).
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from hitl.approvals.conditions import (
    DENIED_BY_REVIEWER,
    OVERRIDDEN,
    RELEASED,
    REQUIREMENTS_MET,
    CancelReason,
    ExpiryReason,
    outcome,
    state_of,
    with_outcome,
)
from hitl.approvals.edits import Tally, tally, unfit
from hitl.approvals.escalation import steps_of, widen
from hitl.approvals.requests import ApprovalRequest, DecisionKind, Kind, RequestStatus, State
from hitl.approvals.requirements import (
    Progress,
    barred,
    fold,
    progress,
    progress_of,
    requirements_in_force,
    requirements_of,
    votes,
)
from hitl.approvals.settlement import Consumption, Outcome, Release, Settlement
from hitl.approvals.timeline import APART, InForce, in_force, requirements_due
from hitl.approvals.transitions import RESULTS
from hitl.approvals.votes import denials
from hitl.errors import Forbidden, NoLongerPending, Refused
from hitl.policy.durations import format_duration

__all__ = [
    "Consumption",
    "Outcome",
    "Release",
    "Settlement",
    "approve_unheld",
    "cancel",
    "consume",
    "expire",
    "report",
    "settle",
]

# Characters of a reason in a denial's message; whole it stands in the decision. 32 of them, each behind a name of 512,
# make some 23 000 characters, and 32 768 can be stored (`conditions.LONGEST_MESSAGE`).
_QUOTED = 200


def settle(request: ApprovalRequest, now: datetime, *, release_window: int = 300) -> Settlement:
    """Where `request` stands at `now`.

    At or after its deadline it is expired whatever votes exist, unless Approved was written (DESIGN 8). Enough denials
    end it, also if enough people approved or somebody overrode. Only votes that the hub verified count.

    Args:
        request: as read, with the hub's newest `verified` entries (`with_verified`).
        now: aware, UTC.
        release_window: seconds that an approval waits for its call (SECURITY D2).
    """
    status = request.status
    match state_of(status.conditions):
        case State.PENDING:
            return _settle_pending(request, now)
        case State.APPROVED:
            return _settle_approved(request, now, release_window)
        case (State.DENIED | State.EXPIRED | State.CANCELLED | State.CONSUMED) as state:
            condition = outcome(status.conditions, state)
            superseded = condition is not None and condition.reason == CancelReason.SUPERSEDED
            return Settlement(
                Outcome(state.value),
                reason=condition.reason if condition else "",
                message=condition.message if condition else "",
                progress=progress_of(request),
                edit=tally(request, requirements_in_force(request)).wanted if superseded else None,
            )
        case never:
            assert_never(never)


def approve_unheld(request: ApprovalRequest, now: datetime) -> RequestStatus:
    """Approved, for a request that is Ready and that nobody holds: from now on it waits for its call.

    Raises:
        NoLongerPending: it has ended or was approved before.
        Refused: it is not Ready.
    """
    found = settle(request, now)
    if found.outcome is Outcome.WAITING:
        raise Refused(f"{request.name} has {_count(found.progress)}; it is approved when all of them are there")
    if found.outcome is not Outcome.READY:
        raise NoLongerPending(f"{request.name} is {found.outcome.value}: {found.message}")
    return _approved(found, found.status or request.status, now)


def consume(
    request: ApprovalRequest,
    now: datetime,
    *,
    digest: str,
    by: str,
    release_window: int = 300,
    original_digest: str = "",
) -> Consumption:
    """Release the call behind `digest`, once: Approved and Consumed in one status.

    The call as asked is released if it was approved as asked. If one approving reviewer changed it, exactly a changed
    call is released: its digest differs and `original_digest` says what it was changed from (I7, SECURITY D3).

    Args:
        request: read live, just now.
        now: aware, UTC.
        digest: recomputed by the sidecar from the call that would run.
        by: ``pod-uid/epoch`` of the sidecar that holds it.
        release_window: as for `settle`.
        original_digest: with an edited call, the digest of the call before the edit.
    """
    found = settle(request, now, release_window=release_window)
    match found.outcome:
        case Outcome.CONSUMED:
            return Consumption(Release.SPENT, found, message=f"{request.name} was released before; it never runs twice")
        case Outcome.DENIED | Outcome.EXPIRED | Outcome.CANCELLED:
            return Consumption(Release.ENDED, found, found.status, found.message)
        case Outcome.WAITING:
            return Consumption(Release.NOT_READY, found, found.status, f"{request.name} has {_count(found.progress)}")
        case Outcome.READY | Outcome.APPROVED:
            pass
        case never:
            assert_never(never)
    if refusal := unfit(request, found.edit, digest, original_digest, by):
        return Consumption(Release.REFUSED, found, message=refusal)
    status = found.status or request.status
    if found.outcome is Outcome.READY:
        status = _approved(found, status, now)
    what = f"changed by {found.edit.editor}, digest {digest[:8]}" if found.edit else f"digest {digest[:8]}"
    status = with_outcome(status, State.CONSUMED, RELEASED, f"released to {by}, {what}", now)
    return Consumption(
        Release.RELEASED, found, replace(status, consumed_time=now, consumed_digest=digest, consumed_by=by)
    )


def cancel(
    request: ApprovalRequest, now: datetime, reason: CancelReason, message: str, *, release_window: int = 300
) -> RequestStatus:
    """Cancelled, from Pending or Approved. `message` says who or what did it, for people.

    Raises:
        NoLongerPending: it has ended, even if that is not written yet; the outcome that was faster stands.
    """
    found = settle(request, now, release_window=release_window)
    if found.outcome not in (Outcome.WAITING, Outcome.READY, Outcome.APPROVED):
        raise NoLongerPending(f"{request.name} is {found.outcome.value}: {found.message}")
    return with_outcome(found.status or request.status, State.CANCELLED, reason.value, message, now)


def expire(request: ApprovalRequest, now: datetime, *, release_window: int = 300) -> RequestStatus:
    """Expired, for a request whose time is up.

    Raises:
        NoLongerPending: it ended otherwise.
        Refused: its time is not up.
    """
    found = settle(request, now, release_window=release_window)
    if found.outcome is Outcome.EXPIRED and found.status:
        return found.status
    if found.outcome in (Outcome.WAITING, Outcome.READY, Outcome.APPROVED):
        raise Refused(f"{request.name} is {found.outcome.value} and its time is not up")
    raise NoLongerPending(f"{request.name} is {found.outcome.value}: {found.message}")


def report(request: ApprovalRequest, *, result: str, by: str) -> RequestStatus:
    """How the released call ended, as the sidecar that released it says. Saying the same again changes nothing.

    Raises:
        Refused: it was not released, another end was reported before, or `result` is no such word.
        Forbidden: another sidecar released it.
    """
    status = request.status
    if state_of(status.conditions) is not State.CONSUMED:
        raise Refused(f"{request.name} is {status.state.value}, nothing was released; only a released call can report")
    if status.consumed_by != by:
        raise Forbidden(
            f"{request.name} was released to {status.consumed_by}, not to {by}; only that sidecar may report"
        )
    if result not in RESULTS:
        raise Refused(f"result {result!r} of {request.name}: write one of {', '.join(RESULTS)}")
    if status.result not in ("", result):
        raise Refused(f"{request.name} was reported as {status.result}; the first report stands")
    return replace(status, result=result)


def _settle_pending(request: ApprovalRequest, now: datetime) -> Settlement:
    force = in_force(request, now)
    status = _with_terms(request, force)
    rows = progress(force.requirements, status.decisions, status.verified, excluded=barred(request.spec))
    if force.expired:
        after = format_duration(round((force.deadline - request.created).total_seconds()))
        text = f"nobody decided within {after}, until {force.deadline:%H:%M:%S} UTC; it had {_count(rows)}"
        ended = with_outcome(status, State.EXPIRED, ExpiryReason.NOT_DECIDED, text, now)
        return _ended(Outcome.EXPIRED, ended, rows)
    refused = denials(request)
    if len(refused) >= max(1, request.spec.denials_to_end):
        text = "denied by " + ", ".join(f"{each.reviewer}{_quoted(each.reason)}" for each in refused)
        return _ended(Outcome.DENIED, with_outcome(status, State.DENIED, DENIED_BY_REVIEWER, text, now), rows)
    counted = tally(request, force.requirements)
    if counted.superseded_by is not None:
        text = (
            f"{counted.superseded_by.editor} wants a changed call, which the others must see; ask again with the change"
        )
        ended = with_outcome(status, State.CANCELLED, CancelReason.SUPERSEDED, text, now)
        return replace(_ended(Outcome.CANCELLED, ended, rows), edit=counted.superseded_by)
    changed = status if status != request.status else None
    reminders, next_reminder = _reminders(request, now)
    look_again = min(force.next_change, next_reminder) if next_reminder else force.next_change
    if not counted.met:
        return Settlement(
            Outcome.WAITING, changed, progress=rows, message=_count(rows), reminders=reminders, look_again=look_again
        )
    reason = OVERRIDDEN if counted.override is not None else REQUIREMENTS_MET
    agreed = Settlement(
        Outcome.READY,
        changed,
        reason,
        _who_approved(request, counted),
        rows,
        counted.edit,
        look_again=force.next_change,
    )
    if request.spec.kind is Kind.TOOL_CALL:
        return agreed
    # Nothing is released after an answer or a suggestion: the people's word is the end.
    return Settlement(Outcome.APPROVED, _approved(agreed, status, now), agreed.reason, agreed.message, rows)


def _settle_approved(request: ApprovalRequest, now: datetime, release_window: int) -> Settlement:
    status = request.status
    condition = outcome(status.conditions, State.APPROVED)
    assert condition is not None, "the state follows from this condition"
    # By what was asked when it was approved, which follows from spec, time and notes, and not by what the status says
    # was asked: whoever has a hub's token writes the one, nobody the other.
    approved = min(condition.last_transition_time, now + APART)
    counted = tally(request, requirements_due(request, approved))
    rows = progress_of(request)
    standing = Settlement(Outcome.APPROVED, None, condition.reason, condition.message, rows, counted.edit)
    if request.spec.kind is not Kind.TOOL_CALL:
        return standing
    ends = condition.last_transition_time + timedelta(seconds=release_window)
    if now < ends:
        return replace(standing, look_again=ends)
    text = f"approved, but the call was not made again within {format_duration(release_window)}; nothing ran"
    return _ended(Outcome.EXPIRED, with_outcome(status, State.EXPIRED, ExpiryReason.RELEASE_WINDOW, text, now), rows)


def _ended(found: Outcome, status: RequestStatus, rows: tuple[Progress, ...]) -> Settlement:
    newest = status.conditions[-1]
    return Settlement(found, status, newest.reason, newest.message, rows)


def _with_terms(request: ApprovalRequest, force: InForce) -> RequestStatus:
    """What is in force, written down for people. What was written before is not taken back, true or not."""
    status = request.status
    escalated = max(status.escalated, force.escalated)
    steps = steps_of(request.spec)[:escalated]
    return replace(
        status,
        expiration_time=max(status.expiration_time or force.deadline, force.deadline),
        requirements=widen(requirements_of(request.spec), steps),
        rounds=max(status.rounds, force.rounds),
        escalated=escalated,
        notes_applied=max(status.notes_applied, force.notes_applied),
    )


def _approved(found: Settlement, status: RequestStatus, now: datetime) -> RequestStatus:
    return with_outcome(status, State.APPROVED, found.reason, found.message, now)


def _who_approved(request: ApprovalRequest, counted: Tally) -> str:
    if counted.override is not None:
        return f"overridden by {counted.override.reviewer} (break-glass){_quoted(counted.override.reason)}"
    if counted.edit is not None:
        return f"approved with changes by {counted.edit.editor}"
    verified = {entry.reviewer for entry in request.status.verified if entry.note == 0 and not entry.refused}
    names = sorted(
        each.reviewer
        for each in request.status.decisions
        if each.decision is DecisionKind.APPROVED
        and each.arguments_patch is None
        and each.reviewer in verified
        and fold(each.reviewer) not in barred(request.spec)
    )
    return f"approved by {', '.join(names)}"


def _reminders(request: ApprovalRequest, now: datetime) -> tuple[int, datetime | None]:
    every = request.spec.remind
    if not every:
        return 0, None
    due = max(0, int((now - request.created).total_seconds() // every))
    return due, request.created + timedelta(seconds=(due + 1) * every)


def _count(rows: tuple[Progress, ...]) -> str:
    held, places = votes(rows)
    return f"{held} of {places} approvals"


def _quoted(reason: str) -> str:
    if len(reason) > _QUOTED:
        reason = f"{reason[:_QUOTED]}…"
    return f': "{reason}"' if reason else ""
