"""Whether the hub's word that stands in a row is the hub's: `verified` and Approved lie where the votes lie (D5).

Any process of the account could write them beside a vote. So a hub believes what it said itself, as long as it runs,
and judges everything else anew before it goes by it: what another hub wrote, or itself before a restart.
"""

from collections.abc import MutableSequence, Sequence
from datetime import datetime
from typing import TypeAlias

from hitl.approvals.edits import tally
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Kind, Note, RequestStatus, State, Verified
from hitl.approvals.timeline import APART, requirements_due
from hitl.errors import Unavailable
from hitl_operator.verification import DecisionVerifier, Judgement

Said: TypeAlias = tuple[Decision | Note, Verified]
"""A vote or note exactly as it was, and the word on it."""


def about(status: RequestStatus, entry: Verified) -> list[Decision | Note]:
    """What a word is about; in a row that somebody tampered with it may be several, or nothing."""
    if entry.note == 0:
        return [each for each in status.decisions if each.reviewer == entry.reviewer]
    return [each for each in status.notes if (each.reviewer, each.n) == (entry.reviewer, entry.note)]


def knows_all(status: RequestStatus, said: Sequence[Said]) -> bool:
    """Whether this hub itself gave its word on everything that people wrote, and nobody else's word stands there."""
    votes = (*status.decisions, *status.notes)
    entries = [entry for _, entry in said]
    return all(any(vote == known for known, _ in said) for vote in votes) and all(
        entry in entries for entry in status.verified
    )


def remember(said: MutableSequence[Said], status: RequestStatus, judgement: Judgement) -> None:
    """Note a judgement that this hub has just made."""
    said.extend((vote, judgement.entry) for vote in about(status, judgement.entry))


async def doubt(
    verifier: DecisionVerifier, request: ApprovalRequest, said: MutableSequence[Said], now: datetime
) -> str:
    """Why an open request cannot be gone by as stored, for people; empty where all of it stands.

    Only what would let more through is doubted: a vote or note that counts and should not, with groups that it has
    not, a denial that should count and does not, or an approval without the votes that the spec asks for. What the
    status says that it asks for is the hub's word, too.

    Args:
        verifier: judges votes and notes.
        request: as read, Pending or Approved.
        said: what this hub said about the request; what is found to stand is added.
        now: aware, UTC.

    Raises:
        Unavailable: who may decide cannot be read now, so that nothing can be said.
    """
    status = request.status
    for entry in status.verified:
        for vote in about(status, entry):
            if (vote, entry) in said:
                continue
            if isinstance(vote, Decision):
                judged = await verifier.judge_decision(request, vote)
            else:
                judged = await verifier.judge_note(request, vote)
            if judged is None:
                raise Unavailable("REVIEWERS", f"votes on {request.name} cannot be checked while nobody knows who may")
            if why := _difference(vote, entry, judged.entry):
                return why
            said.append((vote, entry))
    is_approved = status.state is State.APPROVED and request.spec.kind is Kind.TOOL_CALL
    if is_approved and not tally(request, requirements_due(request, now + APART)).met:
        return "it stands as Approved without the votes for it"
    return ""


def _difference(vote: Decision | Note, stored: Verified, fresh: Verified) -> str:
    what = "note" if stored.note else "vote"
    if stored.refused:
        denies = isinstance(vote, Decision) and vote.decision is DecisionKind.DENIED
        return f"{stored.reviewer}'s denial stands as refused, but it counts" if denies and not fresh.refused else ""
    if fresh.refused:
        return f"{stored.reviewer}'s {what} stands as verified, but {fresh.refused}"
    if (stored.second_factor and not fresh.second_factor) or (stored.hardware and not fresh.hardware):
        return f"{stored.reviewer}'s {what} stands with a second factor that was not shown"
    foreign = sorted(set(stored.groups) - set(fresh.groups))
    return f"{stored.reviewer}'s {what} stands for {', '.join(foreign)}, but should not" if foreign else ""
