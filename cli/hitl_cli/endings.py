"""How a request stands or ended, in one sentence. Five endings, five wordings: no expiry is called a denial (I9)."""

from datetime import datetime
from typing import assert_never

from hitl.approvals.conditions import OVERRIDDEN, CancelReason, ExpiryReason, outcome
from hitl.approvals.edits import tally
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Kind, State
from hitl.approvals.requirements import requirements_in_force
from hitl.approvals.timeline import deadline_of, in_force
from hitl_cli.lines import shown
from hitl_cli.times import clock, since


def state_at(request: ApprovalRequest, now: datetime) -> State:
    """The stored state, except that a request past its time is Expired whether or not anybody has written so."""
    if request.status.state is State.PENDING and in_force(request, now).expired:
        return State.EXPIRED
    return request.status.state


def ended_at(request: ApprovalRequest, now: datetime) -> datetime:
    """When what became of it last came to be: of an approval that lapsed its lapse; for one that still waits, `now`."""
    state = state_at(request, now)
    if state is State.PENDING:
        return now
    reached = outcome(request.status.conditions, state)
    if reached is None:
        return request.status.resolved_time or deadline_of(request)
    if reached.reason == ExpiryReason.NOT_DECIDED:
        # It was over at its deadline, however late that was written down.
        return min(reached.last_transition_time, deadline_of(request))
    return reached.last_transition_time


def ended_by(request: ApprovalRequest, now: datetime) -> list[str]:
    """Whose word made it end, oldest first: nobody's where time ran out, the agent gave up or the policy changed."""
    match state_at(request, now):
        case State.DENIED:
            votes = deciders(request, DecisionKind.DENIED)
        case State.APPROVED | State.CONSUMED:
            votes = _approvals(request)
        case State.CANCELLED if _may_be_over_an_edit(request):
            votes = [each for each in _approvals(request) if each.arguments_patch]
        case State.PENDING | State.EXPIRED | State.CANCELLED:
            votes = []
    return list(dict.fromkeys(each.reviewer for each in votes))


def override_of(request: ApprovalRequest) -> Decision | None:
    """The override by which it was let run, or will be once that is written; None: people agreed, or nobody did."""
    if request.status.state not in (State.PENDING, State.APPROVED, State.CONSUMED) and not _has_lapsed(request):
        return None
    approved = outcome(request.status.conditions, State.APPROVED)
    if approved is not None and approved.reason != OVERRIDDEN:
        return None
    return tally(request, requirements_in_force(request)).override


def overridden_by(decision: Decision, now: datetime) -> str:
    """An override in words; the reason, which is always there, comes last."""
    return f'overridden by {decision.reviewer} (break-glass){_ago(decision.time, now)}: "{shown(decision.reason)}"'


def ending(request: ApprovalRequest, now: datetime) -> str:
    """What became of it, continuing a sentence that began with its name."""
    status = request.status
    when = ended_at(request, now)
    match state_at(request, now):
        case State.PENDING:
            return "waits for a decision"
        case State.APPROVED if request.spec.kind is Kind.SUGGESTION:
            return f"was done by a person{_by(request, DecisionKind.APPROVED, now)}; the agent did not run it"
        case State.APPROVED:
            return f"was {_approved(request, now)} and waits for the agent to pick it up"
        case State.CONSUMED:
            return (
                f"was {_approved(request, now)} and released{_ago(status.consumed_time or when, now)}{_result(request)}"
            )
        case State.DENIED:
            return f"was denied{_by(request, DecisionKind.DENIED, now) or _ago(when, now)}{_because(_denial(request))}"
        case State.EXPIRED:
            return _expiry(request, now)
        case State.CANCELLED if refused := refused_edit(request):
            by = _by(request, DecisionKind.APPROVED, now)
            return f"was approved with changes{by}, and the policy refused the changed call: {refused}; nothing ran"
        case State.CANCELLED:
            message = _message(request, State.CANCELLED)
            return f"was cancelled{_ago(when, now)}{f': {message}' if message else ''}; nothing ran"
        case other:
            assert_never(other)


def _expiry(request: ApprovalRequest, now: datetime) -> str:
    when = ended_at(request, now)
    at = f"expired at {clock(when, now)}, {since(when, now)} ago; nothing ran"
    if _has_lapsed(request):
        return f"was {_approved(request, now)}, but the agent did not come for it: it {at}"
    return at


def _has_lapsed(request: ApprovalRequest) -> bool:
    condition = outcome(request.status.conditions, State.EXPIRED)
    return condition is not None and condition.reason == ExpiryReason.RELEASE_WINDOW


def deciders(request: ApprovalRequest, kind: DecisionKind) -> list[Decision]:
    """Decisions of one kind that count or may yet, oldest first.

    Left out are those that the hub refused, and those that cannot be read whole until the hub has judged them. Once the
    request has ended nothing more is judged: a vote that came too late for that counts no more.
    """
    votes = [entry for entry in request.status.verified if not entry.note]
    refused = {entry.reviewer for entry in votes if entry.refused}
    has_ended = request.status.state is not State.PENDING
    not_yet = {each.reviewer for each in request.status.decisions if has_ended or each.unreadable}
    not_yet -= {entry.reviewer for entry in votes}
    return [
        each for each in request.status.decisions if each.decision is kind and each.reviewer not in refused | not_yet
    ]


def _approvals(request: ApprovalRequest) -> list[Decision]:
    """The approvals of one and the same call: an override alone, of a changed one its editor's, else the unchanged."""
    override = override_of(request)
    if override is not None:
        return [override]
    found = deciders(request, DecisionKind.APPROVED)
    if not any(each.arguments_patch for each in found):
        return found
    edit = tally(request, requirements_in_force(request)).wanted
    editor = edit.editor if edit else None
    return [each for each in found if (each.reviewer == editor if editor else not each.arguments_patch)]


def _may_be_over_an_edit(request: ApprovalRequest) -> bool:
    """Whether it was cancelled as one is for a changed call that others must see first, or that the policy refuses."""
    condition = outcome(request.status.conditions, State.CANCELLED)
    return condition is not None and condition.reason in (CancelReason.SUPERSEDED, CancelReason.POLICY_TIGHTENED)


def is_frozen(request: ApprovalRequest) -> bool:
    """Whether it ended because people stopped the agent or the tool."""
    condition = outcome(request.status.conditions, State.CANCELLED)
    return condition is not None and condition.reason == CancelReason.FROZEN


def refused_edit(request: ApprovalRequest) -> str:
    """Why the policy refused a call as a reviewer had changed it; empty where it did not, or nobody changed it."""
    condition = outcome(request.status.conditions, State.CANCELLED)
    if condition is None or condition.reason != CancelReason.POLICY_TIGHTENED:
        return ""
    changed = any(each.arguments_patch for each in deciders(request, DecisionKind.APPROVED))
    return _message(request, State.CANCELLED) or "the policy says Deny" if changed else ""


def is_uncounted(request: ApprovalRequest, decision: Decision) -> bool:
    """Whether no control plane has looked at a vote on a request that still waits."""
    looked_at = {entry.reviewer for entry in request.status.verified if not entry.note}
    return request.status.state is State.PENDING and decision.reviewer not in looked_at


def _denial(request: ApprovalRequest) -> Decision | None:
    denials = deciders(request, DecisionKind.DENIED)
    return denials[-1] if denials else None


def _by(request: ApprovalRequest, kind: DecisionKind, now: datetime) -> str:
    counted = _approvals(request) if kind is DecisionKind.APPROVED else deciders(request, kind)
    if not counted:
        return ""
    names = " and ".join(dict.fromkeys(each.reviewer for each in counted))
    return f" by {names}{_ago(counted[-1].time, now)}"


def _approved(request: ApprovalRequest, now: datetime) -> str:
    override = override_of(request)
    return overridden_by(override, now) if override else f"approved{_by(request, DecisionKind.APPROVED, now)}"


def _ago(moment: datetime | None, now: datetime) -> str:
    return f" {since(moment, now)} ago" if moment else ""


def _because(decision: Decision | None) -> str:
    return f': "{shown(decision.reason)}"' if decision and decision.reason else ""


def _message(request: ApprovalRequest, state: State) -> str:
    condition = outcome(request.status.conditions, state)
    return shown(condition.message.rstrip(".")) if condition else ""


def _result(request: ApprovalRequest) -> str:
    match request.status.result:
        case "Succeeded":
            return "; it succeeded"
        case "Failed":
            return "; it failed"
        case "NotStarted":
            return "; the agent did not start it"
        case _:
            return "; how it ended was not reported"


def ending_in_a_row(request: ApprovalRequest, now: datetime) -> str:
    """The same for one line among several: ``expired 20s ago``."""
    state = state_at(request, now)
    match state:
        case State.PENDING:
            return "waits for a decision"
        case State.APPROVED | State.CONSUMED:
            return f"already {_approved(request, now)}"
        case State.DENIED:
            return f"denied{_by(request, DecisionKind.DENIED, now)}"
        case State.CANCELLED if is_frozen(request):
            return f"cancelled by a freeze {since(ended_at(request, now), now)} ago"
        case State.EXPIRED | State.CANCELLED:
            return f"{state.value.lower()} {since(ended_at(request, now), now)} ago"
