"""The five outcomes of a request as conditions, their reasons, and the one state that follows from them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from hitl.approvals.requests import Condition, RequestStatus, State


class CancelReason(StrEnum):
    """Why a request ended without anybody having said no to it and without its time being up.

    - Withdrawn: the agent no longer wants it.
    - PolicyTightened: the policy forbids the call by now; the agent is told DENIED.
    - Superseded: the policy asks for more by now, or a reviewer changed a call that needs several people; a new
      request takes its place and no vote is carried over.
    - EnforcementLost: a vote came in while the API server's checks did not provably stand (SECURITY C4).
    - Deleted: the stored request vanished.
    - Frozen: people stopped the agent or the tool (PolicyOverride); nobody said no to this call.
    - Shutdown: the gate is being taken down for good.
    """

    WITHDRAWN = "Withdrawn"
    POLICY_TIGHTENED = "PolicyTightened"
    SUPERSEDED = "Superseded"
    ENFORCEMENT_LOST = "EnforcementLost"
    DELETED = "Deleted"
    FROZEN = "Frozen"
    SHUTDOWN = "Shutdown"


class ExpiryReason(StrEnum):
    """Which time ran out: nobody decided, or an approved call was not made again in time (SECURITY D2)."""

    NOT_DECIDED = "NotDecided"
    RELEASE_WINDOW = "ReleaseWindow"


# Reasons of the other outcomes.
REQUIREMENTS_MET = "RequirementsMet"
# Approved against the requirements, by one person (break-glass).
OVERRIDDEN = "Overridden"
DENIED_BY_REVIEWER = "DeniedByReviewer"
RELEASED = "Released"

# Characters of a condition's message, as the CRD has it. What is too long could not be written, and nothing would end.
LONGEST_MESSAGE = 32_768

OUTCOMES = (State.APPROVED, State.DENIED, State.EXPIRED, State.CANCELLED, State.CONSUMED)


def outcome(conditions: Iterable[Condition], state: State) -> Condition | None:
    """The condition by which a request reached `state`, or None if it did not."""
    return next((each for each in conditions if each.type == state.value and each.status == "True"), None)


def state_of(conditions: Iterable[Condition]) -> State:
    """Where a request with these conditions stands. Approved yields to what came after it."""
    reached = {each.type for each in conditions if each.status == "True"}
    for state in (State.CONSUMED, State.DENIED, State.EXPIRED, State.CANCELLED, State.APPROVED):
        if state.value in reached:
            return state
    return State.PENDING


def condition_of(state: State, reason: str, message: str, now: datetime) -> Condition:
    """The condition by which a request reaches `state`; a message that nobody could store is cut."""
    text = message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 1]}…"
    return Condition(state.value, "True", reason, text, now)


def with_outcome(status: RequestStatus, state: State, reason: str, message: str, now: datetime) -> RequestStatus:
    """The status with one more outcome. Whether it may be written is for `transitions.guard` to say."""
    return with_condition(status, condition_of(state, reason, message, now))


def with_condition(status: RequestStatus, reached: Condition) -> RequestStatus:
    """As `with_outcome`."""
    conditions = (*status.conditions, reached)
    return replace(
        status,
        conditions=conditions,
        state=state_of(conditions),
        resolved_time=status.resolved_time or reached.last_transition_time,
    )
