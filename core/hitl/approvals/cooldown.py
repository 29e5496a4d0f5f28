"""After a denial the same call is not asked again for a while (SECURITY B4): people are not worn down by repetition."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from hitl.approvals.conditions import outcome, state_of
from hitl.approvals.requests import ApprovalRequest, State

# So many denials of one tool within the cooldown refuse the tool for the rest of it.
DENIALS_OF_A_TOOL: Final = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that is refused without asking anybody, because people said no shortly before.

    Attributes:
        reason_code: COOLDOWN for the same call, TOOL_COOLDOWN for a tool that was denied again and again.
        earlier: the denied request whose words are repeated.
        until: from then on it may be asked again.
    """

    reason_code: str
    earlier: ApprovalRequest
    until: datetime


def refusal(
    earlier: Iterable[ApprovalRequest], sameness: str, tool: str, now: datetime, cooldown: int
) -> Refusal | None:
    """Why this call is refused at once, or None if it may be asked.

    Args:
        earlier: requests of the same workload, in any order; only denied ones matter.
        sameness: of the call: no session and no call_id makes it another one.
        tool: ``server/tool``; capitals do not matter.
        now: aware, UTC. A clock that was set back, so that a denial lies ahead of it, ends no cooldown.
        cooldown: seconds; 0 switches it off.
    """
    window = timedelta(seconds=cooldown)
    denied = sorted(
        (
            (at, request.name, request)
            for request in earlier
            if (at := _denied_at(request)) is not None and now < at + window
        ),
        key=lambda found: found[:2],
        reverse=True,
    )
    for at, _, request in denied:
        if sameness and request.spec.sameness == sameness:
            return Refusal("COOLDOWN", request, at + window)
    of_tool = [found for found in denied if tool_of(found[2]) == tool.casefold()]
    if len(of_tool) < DENIALS_OF_A_TOOL:
        return None
    third_last = of_tool[DENIALS_OF_A_TOOL - 1][0]
    return Refusal("TOOL_COOLDOWN", of_tool[0][2], third_last + window)


def tool_of(request: ApprovalRequest) -> str:
    """``server/tool`` in the form in which `refusal` compares it."""
    return f"{request.spec.call.server}/{request.spec.call.tool}".casefold()


def _denied_at(request: ApprovalRequest) -> datetime | None:
    if state_of(request.status.conditions) is not State.DENIED:
        return None
    condition = outcome(request.status.conditions, State.DENIED)
    return condition.last_transition_time if condition else None
