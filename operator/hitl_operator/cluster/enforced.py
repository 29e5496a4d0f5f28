"""Which votes and notes count on a cluster: those that the API server let in while its checks stood (SECURITY C4, I3).

The server has compared reviewer, groups, digest, rights and second factor before it stored an entry. What can be
compared again from the entry alone is compared again here, and what CEL cannot compare: names under Unicode case
folding, and whether an edit fits the call.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from hitl.approvals.edits import check_patch, stored_at
from hitl.approvals.overriding import check_override
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Note, Proof, Verified
from hitl.approvals.requirements import barred, fold
from hitl.errors import Forbidden, InvalidDecision
from hitl.kube.shipped import Shipped
from hitl.policy.escaping import as_plain
from hitl_operator.identity import is_system_name
from hitl_operator.standing import Standing
from hitl_operator.verification import Cause, Judgement

_LONGEST_WHY: Final = 4096  # characters, as the CRD has it


class EnforcedVerifier:
    """A `DecisionVerifier` for clusters.

    Args:
        standing: whether the checks stand, and stood when an entry was written.
        shipped: which authentication methods count as a second factor, and which as hardware.
    """

    def __init__(self, standing: Standing, shipped: Shipped) -> None:
        self._standing = standing
        self._factors = shipped.factors
        self._hardware = shipped.hardware

    async def judge_decision(self, request: ApprovalRequest, decision: Decision) -> Judgement | None:
        """As `DecisionVerifier.judge_decision`; None in a gap."""
        if await self._standing.vouch(request) is not None:
            return None
        reviewer = decision.reviewer
        echo = (decision.request_uid, decision.digest)
        problem = (
            _unread(decision)
            or _stranger(request, reviewer, echo)
            or _twice(request, decision, request.status.decisions)
            or _may_not(request, decision)
        )
        if problem is not None:
            return _refused(Verified(reviewer), problem)
        factors = self._shown(decision.proof)
        if decision.decision is DecisionKind.OVERRIDDEN and not factors:
            return _refused(Verified(reviewer), (Cause.NO_FACTOR, f"{reviewer} overrode without a second factor"))
        return Judgement(
            Verified(
                reviewer,
                groups=decision.groups,
                second_factor=f"oidc:{','.join(factors)}" if factors else "",
                hardware=any(factor in self._hardware for factor in factors),
            )
        )

    async def judge_note(self, request: ApprovalRequest, note: Note) -> Judgement | None:
        """As `DecisionVerifier.judge_note`; None in a gap."""
        if await self._standing.vouch(request) is not None:
            return None
        same = [each for each in request.status.notes if each.n == note.n]
        problem = (
            _unread(note)
            or _stranger(request, note.reviewer, (note.request_uid, request.spec.digest))
            or _twice(request, note, same)
        )
        if problem is not None:
            return _refused(Verified(note.reviewer, note=note.n), problem)
        return Judgement(Verified(note.reviewer, note=note.n))

    def _shown(self, proof: Proof | None) -> tuple[str, ...]:
        """The second factors that the API server found in the reviewer's own login, each once, in our order."""
        if proof is None or proof.type != "oidc":
            return ()
        return tuple(factor for factor in self._factors if factor in proof.factors)


_Problem = tuple[Cause, str] | None


def _refused(entry: Verified, problem: tuple[Cause, str]) -> Judgement:
    """In words that the API server takes in: otherwise nothing more could be written."""
    cause, why = problem
    return Judgement(replace(entry, refused=as_plain(why)[:_LONGEST_WHY]), cause)


def _unread(entry: Decision | Note) -> _Problem:
    if not entry.unreadable:
        return None
    return Cause.UNREADABLE, f"what {entry.reviewer} wrote cannot be read: {entry.unreadable}"


def _stranger(request: ApprovalRequest, reviewer: str, echo: tuple[str, str]) -> _Problem:
    name = fold(reviewer)
    if not name or is_system_name(name) or name == fold(request.spec.requester):
        return Cause.REQUESTER, f"{reviewer} is no person; agents and ServiceAccounts never decide"
    if echo != (request.uid, request.spec.digest):
        return Cause.OTHER_REQUEST, f"{reviewer} decided another request or another call, not this one"
    return None


def _twice(request: ApprovalRequest, entry: Decision | Note, others: Sequence[Decision | Note]) -> _Problem:
    """One person under two spellings that fold alike is one person: what came first stands (I5)."""
    mine = (stored_at(entry), entry.reviewer)
    for other in others:
        same = other.reviewer != entry.reviewer and fold(other.reviewer) == fold(entry.reviewer)
        if same and (stored_at(other), other.reviewer) < mine:
            what = "voted" if isinstance(entry, Decision) else f"left note {entry.n}"
            return Cause.TWICE, f"{entry.reviewer} has {what} on {request.name} before, as {other.reviewer}"
    return None


def _may_not(request: ApprovalRequest, decision: Decision) -> _Problem:
    match decision.decision:
        case DecisionKind.DENIED:
            return None
        case DecisionKind.APPROVED | DecisionKind.OVERRIDDEN:
            pass
    if fold(decision.reviewer) in barred(request.spec):
        return Cause.BARRED, f"{decision.reviewer} asked for this call or changed it; another person must approve it"
    is_override = decision.decision is DecisionKind.OVERRIDDEN
    try:
        if is_override:
            check_override(request, decision)
        elif decision.arguments_patch is not None:
            check_patch(request.spec, decision.arguments_patch)
    except InvalidDecision as error:
        return Cause.OVERRIDE if is_override else Cause.EDIT, str(error)
    except Forbidden as error:
        return Cause.NO_FACTOR, str(error)
    return None
