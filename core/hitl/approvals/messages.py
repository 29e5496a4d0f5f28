"""What agents read: one function for each outcome, used by hub and sidecar alike (UX 8).

Each text says what happened and what to do next, and no two outcomes sound alike: a call that nobody decided was not
refused, and one that was withdrawn was neither (I9).
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from hitl.approvals.conditions import OVERRIDDEN, CancelReason, ExpiryReason, outcome
from hitl.approvals.cooldown import Refusal, tool_of
from hitl.approvals.edits import Edit
from hitl.approvals.requests import ApprovalRequest, Decision, Kind, RequestStatus, State
from hitl.approvals.requirements import Progress, progress_of
from hitl.approvals.settlement import Outcome, Settlement
from hitl.approvals.timeline import deadline_of
from hitl.approvals.votes import denials
from hitl.policy import wording
from hitl.policy.freezes import Freeze, frozen_advice, frozen_words


class AgentOutcome(StrEnum):
    """What the caller must do, in the words of the wire (gate.proto, Outcome). Anything but ALLOWED: do not execute."""

    ALLOWED = "ALLOWED"
    DENIED = "DENIED"
    PENDING = "PENDING"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    SUGGESTED = "SUGGESTED"
    CLARIFY = "CLARIFY"
    UNAVAILABLE = "UNAVAILABLE"
    ALREADY_RELEASED = "ALREADY_RELEASED"
    APPROVED = "APPROVED"
    INVALID = "INVALID"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent is told.

    Attributes:
        outcome: what it must do.
        reason_code: stable and machine-readable.
        message: one to three sentences, fit for the model.
    """

    outcome: AgentOutcome
    reason_code: str
    message: str


def answer(request: ApprovalRequest, found: Settlement, *, release_window: int = 300) -> Answer:
    """What those who wait on `request` are told about a settlement of it, written or not."""
    settled = found.status or request.status
    suggestion = request.spec.kind is Kind.SUGGESTION
    match found.outcome:
        case (Outcome.WAITING | Outcome.APPROVED) as so_far if suggestion:
            return suggested(request, done=so_far is Outcome.APPROVED)
        case Outcome.WAITING | Outcome.READY:
            rows = () if found.reason == OVERRIDDEN else found.progress
            return pending(request, rows, deadline_of(replace(request, status=settled)))
        case Outcome.APPROVED:
            return approved(request, release_window=release_window)
        case Outcome.DENIED:
            return denied(request)
        case Outcome.EXPIRED:
            return expired(request, settled, release_window=release_window)
        case Outcome.CANCELLED:
            return cancelled(CancelReason(found.reason), request.name, edit=found.edit, why=found.message)
        case Outcome.CONSUMED:
            return already_released(request)
        case never:
            assert_never(never)


def pending(
    request: ApprovalRequest, rows: tuple[Progress, ...] | None = None, until: datetime | None = None
) -> Answer:
    """People must decide. `rows` and `until`: as settled; without them as last written."""
    spec = request.spec
    missing = " and ".join(_missing(row) for row in (progress_of(request) if rows is None else rows) if not row.met)
    because = wording.authors_words(spec.because, spec.explanation) if missing else ""
    where = f"{request.name}, until {_clock(until or deadline_of(request), request.created)}"
    said = wording.waiting(missing or "the release", because=because, where=where)
    return Answer(AgentOutcome.PENDING, "WAITING", said)


def approved(request: ApprovalRequest, *, release_window: int = 300) -> Answer:
    """Approved and not released: only from Await. Of a Question: answered."""
    if request.spec.kind is not Kind.TOOL_CALL:
        return Answer(AgentOutcome.APPROVED, "REVIEWER", f"A person answered ({request.name}).")
    condition = outcome(request.status.conditions, State.APPROVED)
    broken = condition is not None and condition.reason == OVERRIDDEN
    return Answer(
        AgentOutcome.APPROVED,
        "OVERRIDDEN" if broken else "REVIEWER",
        f"Approved {'as an exception ' if broken else ''}({request.name}). Nothing ran yet: make the same call again "
        f"within {_span(release_window)} and it runs once.",
    )


def allowed(name: str, edit: Edit | None = None, *, overridden: bool = False) -> Answer:
    """Released. An edited call runs with the arguments that come with this answer.

    overridden: one person took it upon himself (break-glass). The agent is told, so that it takes an exception for one.
    """
    if edit is None and overridden:
        return Answer(
            AgentOutcome.ALLOWED,
            "OVERRIDDEN",
            f"Approved as an exception ({name}): one person overrode what the policy asks for. Run it once, now; the "
            "next such call is asked again.",
        )
    if edit is None:
        return Answer(AgentOutcome.ALLOWED, "REVIEWER", f"Approved ({name}). Run it once, now.")
    return Answer(
        AgentOutcome.ALLOWED,
        "EDITED",
        f"Approved with changes ({name}): {_json(edit)}. Run it once, now, with exactly the arguments given here.",
    )


def denied(request: ApprovalRequest) -> Answer:
    """People said no, in their words."""
    return Answer(AgentOutcome.DENIED, "REVIEWER", f"{_no(denials(request))} Do not retry.{_categories(request)}")


def cooled_down(refusal: Refusal) -> Answer:
    """Refused without asking anybody: people said no shortly before."""
    earlier, until = refusal.earlier, _clock(refusal.until, refusal.earlier.created)
    if refusal.reason_code == "COOLDOWN":
        said = denied(earlier)
        text = f"{said.message} This was {earlier.name}; the same call is refused until {until}."
        return Answer(AgentOutcome.DENIED, refusal.reason_code, text)
    return Answer(
        AgentOutcome.DENIED,
        refusal.reason_code,
        f"Reviewers said no to {tool_of(earlier)} three times, last to {earlier.name}: {_no(denials(earlier))} Do not "
        f"retry; this tool is refused until {until}.",
    )


def expired(request: ApprovalRequest, settled: RequestStatus | None = None, *, release_window: int = 300) -> Answer:
    """Time ran out. Not a denial: nobody said no."""
    status = settled or request.status
    condition = outcome(status.conditions, State.EXPIRED)
    if condition is not None and condition.reason == ExpiryReason.RELEASE_WINDOW:
        return Answer(
            AgentOutcome.EXPIRED,
            "RELEASE_WINDOW",
            f"It was approved, but the call was not made again within {_span(release_window)}, so the approval lapsed; "
            "this is not a refusal. Nothing ran. Make the call again to ask again.",
        )
    waited = round((deadline_of(replace(request, status=status)) - request.created).total_seconds())
    text = f"Nobody answered within {_span(waited)}; this is not a refusal. Nothing ran."
    return Answer(AgentOutcome.EXPIRED, "NOT_DECIDED", f"{text} Tell the user, or ask again later.")


def cancelled(reason: CancelReason, name: str, *, edit: Edit | None = None, why: str = "") -> Answer:
    """It ended without an answer of people. Where the policy forbids it by now, the answer is the policy's no.

    why: who froze it, until when and what for.
    """
    again = "Make the call again to ask again."
    match reason:
        case CancelReason.POLICY_TIGHTENED:
            return Answer(
                AgentOutcome.DENIED,
                "TIGHTENED",
                f"The policy was tightened while {name} waited and forbids this call now. Nothing ran. Do not retry.",
            )
        case CancelReason.SUPERSEDED if edit is not None:
            text = f"A reviewer would approve {name} only with this change: {_json(edit)}. Nothing ran. "
            return Answer(
                AgentOutcome.CANCELLED, "EDITED", text + "Make the call again with it; others must agree, too."
            )
        case CancelReason.SUPERSEDED:
            text = f"The policy was tightened while {name} waited and asks for more now. Nothing ran. {again}"
            return Answer(AgentOutcome.CANCELLED, "SUPERSEDED", text)
        case CancelReason.WITHDRAWN:
            text = f"{name} was withdrawn. Nothing ran. {again}"
            return Answer(AgentOutcome.CANCELLED, "WITHDRAWN", text)
        case CancelReason.ENFORCEMENT_LOST:
            text = f"{name} ended because the votes on it could not be trusted. Nothing ran. {again}"
            return Answer(AgentOutcome.CANCELLED, "ENFORCEMENT_LOST", text)
        case CancelReason.DELETED:
            text = f"{name} was deleted while it waited. Nothing ran. {again}"
            return Answer(AgentOutcome.CANCELLED, "DELETED", text)
        case CancelReason.FROZEN:
            text = f"{name} ended, {why or 'frozen'}; nobody said no to the call itself. Nothing ran. "
            then = "Make it again only once the freeze is over; tell the user that it was stopped."
            return Answer(AgentOutcome.CANCELLED, "FROZEN", text + then)
        case CancelReason.SHUTDOWN:
            text = f"{name} ended because the gate is being shut down. Nothing ran. {again}"
            return Answer(AgentOutcome.CANCELLED, "SHUTDOWN", text)
        case never:
            assert_never(never)


def frozen(freeze: Freeze) -> Answer:
    """Nobody is asked: people stopped the agent or the tool."""
    said = f"Refused: {frozen_words(freeze)}. {frozen_advice(freeze)}"
    return Answer(AgentOutcome.DENIED, "FROZEN", said)


def already_released(request: ApprovalRequest) -> Answer:
    """Released before: it may have run, and will not again."""
    at = request.status.consumed_time
    when = f" at {_clock(at, at)}" if at else ""
    how = {
        "Succeeded": "it ran and succeeded",
        "Failed": "it ran and failed",
        "NotStarted": "it was not started",
    }.get(request.status.result, "nobody reported how it ended, so it may have run")
    return Answer(
        AgentOutcome.ALREADY_RELEASED,
        "PERMIT_SPENT",
        f"{request.name} was released{when} and {how}. It does not run twice; to do it once more, send a new call_id.",
    )


def call_id_reused(name: str) -> Answer:
    """The call_id stands for another call."""
    return Answer(
        AgentOutcome.INVALID,
        "CALL_ID_REUSED",
        f"This call_id stands for another call ({name}). Nothing ran. Send a new call_id for a changed call.",
    )


def too_many(open_now: int, limit: int, where: str) -> Answer:
    """As many calls wait already as may (SECURITY B5). `where`: ``workload`` or ``namespace``."""
    return Answer(
        AgentOutcome.DENIED,
        "LIMIT",
        f"{open_now} calls of this {where} already wait for people, and {limit} may. Nothing ran and nobody was asked. "
        "Wait until some are decided, then make the call again.",
    )


def suggested(request: ApprovalRequest, *, done: bool = False) -> Answer:
    """A person does it instead, or did."""
    what = f"{request.spec.summary} ({request.name})"
    text = (
        f"A person did this instead of you: {what}."
        if done
        else f"A person is asked to do this instead of you: {what}."
    )
    return Answer(AgentOutcome.SUGGESTED, "DONE" if done else "SUGGEST", f"{text} Do not run it yourself.")


def unavailable(reason_code: str, what: str) -> Answer:
    """The gate could not tell. `what`: one clause, such as ``the hub cannot be reached``."""
    return Answer(
        AgentOutcome.UNAVAILABLE,
        reason_code,
        f"The gate cannot decide now: {what}. Nothing ran, and nobody said no. Try again later, or tell the user.",
    )


def invalid(what: str) -> Answer:
    """The call cannot be read in exactly one way. `what`: the problem, from `InvalidCall`."""
    return Answer(
        AgentOutcome.INVALID, "INVALID_CALL", f"The call is malformed: {what}. Nothing ran. Correct the call."
    )


def _missing(row: Progress) -> str:
    requirement = row.requirement
    without = row.places > requirement.approvals  # a second person stands in for the second factor
    return wording.people(requirement, row.places - len(row.filled_by), with_factor=not without)


def _no(decisions: tuple[Decision, ...]) -> str:
    reasons = [f'"{each.reason.strip()}"' for each in decisions if each.reason.strip()]
    return f"A reviewer said no: {', '.join(reasons)}." if reasons else "A reviewer said no and gave no reason."


def _categories(request: ApprovalRequest) -> str:
    found = dict.fromkeys(each.category.kebab for each in denials(request) if each.category)
    return f" Category: {', '.join(found)}." if found else ""


def _json(edit: Edit) -> str:
    return json.dumps(edit.patch, ensure_ascii=False, separators=(", ", ": "), default=dict)


def _clock(moment: datetime, since: datetime) -> str:
    return f"{moment:%H:%M} UTC" if moment.date() == since.date() else f"{moment:%Y-%m-%d %H:%M} UTC"


def _span(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and (seconds % size == 0 or seconds >= 100 * size):
            return f"{seconds // size} {unit}"
    return f"{seconds} s" if seconds < 600 else f"{seconds // 60} min"
