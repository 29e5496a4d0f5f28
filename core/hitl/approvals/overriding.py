"""Break-glass: one person's word in the place of everybody whom a request asks for (SECURITY D4).

It takes the place of the requirements and of nothing else. Enough denials still end the request, its time runs on, the
call is judged again before it runs and must be the very call that was shown.
"""

from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Kind, Verified
from hitl.approvals.requirements import barred, fold
from hitl.errors import Forbidden, InvalidDecision


def overrides(request: ApprovalRequest) -> tuple[Decision, ...]:
    """The overrides that count, as stored; any one of them satisfies the whole request.

    That this person may override was checked where the vote was let in, and is what the hub's word on it says: a vote
    without that word, or with a refused one, counts nothing. What can be told from the entry is asked here once more.
    """
    if request.spec.kind is not Kind.TOOL_CALL:
        return ()
    words = {entry.reviewer: entry for entry in request.status.verified if entry.note == 0 and not entry.refused}
    others = barred(request.spec)
    return tuple(
        each
        for each in request.status.decisions
        if each.decision is DecisionKind.OVERRIDDEN
        and each.reviewer in words
        and fold(each.reviewer) not in {"", *others}
        and each.arguments_patch is None
        and each.reason.strip()
        and _is_shown(each, words[each.reviewer])
    )


def check_override(request: ApprovalRequest, decision: Decision) -> None:
    """Refuse an override that could never count.

    Raises:
        InvalidDecision: it is about no tool call, changes the call, or says no reason.
        Forbidden: it shows neither a second factor nor a signature.
    """
    if request.spec.kind is not Kind.TOOL_CALL:
        raise InvalidDecision(f"{request.name} is a {request.spec.kind.value}, nothing runs on it; approve or deny it")
    if decision.arguments_patch is not None:
        raise InvalidDecision("an override lets the call run as it was asked; approve with the edit, or leave it out")
    if not decision.reason.strip():
        raise InvalidDecision(f'{request.name} wants a reason (Overridden); everybody reads it: --reason "..."')
    proof = decision.proof
    if proof is None or not (proof.factors or proof.signature):
        raise Forbidden(
            f"an override of {request.name} needs a second factor; log in with one, and use kubectl hitl breakglass"
        )


def _is_shown(decision: Decision, word: Verified) -> bool:
    """Whether more than a login stands behind it: a verified second factor, or a signature over this very decision."""
    proof = decision.proof
    if proof is None:
        return False
    return bool(proof.factors and word.second_factor) if proof.type == "oidc" else bool(proof.signature)
