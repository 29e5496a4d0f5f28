"""What moves a scored tier: posture, then trust, then autonomy (DESIGN 7.6). A rule's own action is moved by none but
SuggestOnly, which lets nothing run on its own.
"""

from dataclasses import dataclass
from typing import assert_never

from hitl.policy.actions import Action
from hitl.policy.plans import ToolPlan
from hitl.policy.spec import Autonomy, Policy, Posture, Trust
from hitl.policy.verdicts import Factor


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A tier after adjustment, and each step that moved it."""

    action: Action
    factors: tuple[Factor, ...] = ()
    by_autonomy: bool = False


def adjust(policy: Policy, tool: ToolPlan, tier: Action, floor: Action, *, read_only: bool) -> Adjusted:
    """The action for a scored tier.

    Args:
        policy: whose posture, trust and autonomy count.
        tool: for trust by name or publisher.
        tier: what the thresholds say.
        floor: what neither posture nor trust may undercut.
        read_only: whether the call only reads (DESIGN 18).
    """
    action = max(tier, floor)
    factors: list[Factor] = []
    match policy.posture:
        case Posture.BALANCED:
            moved = action
        case Posture.CONSERVATIVE:
            moved = min(Action(action + 1), Action.MULTI_FACTOR)
        case Posture.PERMISSIVE:
            moved = max(Action(max(action - 1, Action.ALLOW)), floor)
        case _:
            assert_never(policy.posture)
    if moved is not action:
        factors.append(Factor("posture", 0, f"{policy.posture} makes {action.word} {moved.word}"))
        action = moved
    ceiling = min((trust.ceiling for trust in policy.trust if _trusts(trust, tool)), default=None)
    if ceiling is not None and ceiling < action:
        lowered = max(ceiling, floor)
        if lowered < action:
            factors.append(Factor("trust", 0, f"trusted up to {ceiling.word}, so {action.word} is {lowered.word}"))
            action = lowered
    match policy.autonomy:
        case Autonomy.READ_ONLY:
            if not read_only and action < Action.CONFIRM:
                factors.append(Factor("autonomy", 0, "ReadOnly: a call that is not read-only is at least Confirm"))
                return Adjusted(Action.CONFIRM, tuple(factors), by_autonomy=True)
        case Autonomy.SUGGEST_ONLY | Autonomy.CALIBRATED | Autonomy.AUDIT_ONLY:
            pass  # SuggestOnly and AuditOnly act on rules' actions too, so not here
        case _:
            assert_never(policy.autonomy)
    return Adjusted(action, tuple(factors))


def _trusts(trust: Trust, tool: ToolPlan) -> bool:
    if any(glob.matches(tool.name) for glob in trust.tools):
        return True
    # A publisher's name is only text until somebody who may says `trusted` of the server that carries it.
    server = tool.server
    return bool(trust.publisher) and server is not None and server.trusted and server.publisher == trust.publisher
