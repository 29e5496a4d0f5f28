"""One reviewer's decision: made for exactly the request that was read, recorded, and followed for a moment.

The hub decides who counts. What is refused here would be refused there too; here the reviewer still has a vote.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from hitl.approvals.conditions import CancelReason, ExpiryReason, outcome
from hitl.approvals.overriding import overrides
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Kind, State, Verified
from hitl.approvals.requirements import fold, progress_of
from hitl.approvals.votes import denials
from hitl.errors import Forbidden, HitlError, InvalidDecision, NoLongerPending, NotFound, Refused
from hitl.policy.durations import format_duration
from hitl.stores.protocol import ReviewerStore
from hitl_cli.endings import ending, state_at
from hitl_cli.place import Place, Voter
from hitl_cli.standing import (
    FACTORS,
    Obstacle,
    Standing,
    Viewer,
    refusal_of,
    standing_of,
    standing_to_override,
)
from hitl_cli.times import since
from hitl_cli.wishes import Wish

# How long `approve` waits to see its decision counted and the call picked up (UX 4).
PATIENCE = 2.0
# And where the call was changed: the policy is asked about it once more, and may refuse it.
_PATIENCE_EDITED = 5.0


class Stage(Enum):
    """How far a recorded decision came while we looked."""

    DECISIVE = auto()
    """The request is decided the way this reviewer wanted."""
    MORE_NEEDED = auto()
    """It counts; other people have to agree."""
    NOT_COUNTED = auto()
    """It is stored, and no control plane has looked at it yet."""
    OVERTAKEN = auto()
    """The request ended otherwise meanwhile."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision that was stored, and the request as it was when we stopped looking."""

    request: ApprovalRequest
    decision: Decision
    stage: Stage


class Reviewer:
    """Somebody who decides, at a place that says how."""

    def __init__(self, place: Place, voter: Voter, clock: Callable[[], datetime]) -> None:
        self._place = place
        self._voter = voter
        self._clock = clock

    def check(self, request: ApprovalRequest, kind: DecisionKind) -> None:
        """Refuse what cannot count, before the one vote is spent on it.

        Raises:
            NoLongerPending: it was decided, has expired or was withdrawn.
            Forbidden: this person may not approve it, or has voted.
        """
        self.need_pending(request)
        standing = standing_of(self._voter.viewer, request, self._place.progress(request))
        if standing.vote is not None:
            if why := refusal_of(request, standing.vote):
                raise Forbidden(self._voter.not_counted(request, why))
            raise Forbidden(self._has_voted(request, standing.vote))
        if kind is DecisionKind.APPROVED and not standing.may_approve:
            raise Forbidden(self._voter.refusal(request, "approve", standing))
        if kind is DecisionKind.OVERRIDDEN:
            self._check_override(request)

    def _check_override(self, request: ApprovalRequest) -> None:
        if request.spec.kind is not Kind.TOOL_CALL:
            raise InvalidDecision(
                f"{request.name} is a {request.spec.kind.value}: nothing runs on it, and nothing can be overridden\n"
                f"Next: {self._place.hint('show', request.name, about=request)}"
            )
        standing = standing_to_override(self._voter.viewer, request)
        if not standing.may_approve:
            raise Forbidden(self._voter.refusal(request, "override", standing))

    @property
    def viewer(self) -> Viewer:
        """Who decides, as one who looks."""
        return self._voter.viewer

    def _has_voted(self, request: ApprovalRequest, vote: Decision) -> str:
        when = f", {since(vote.time, self._clock())} ago" if vote.time else ""
        return (
            f"you have {vote.decision.value.lower()} {request.name} already{when}; a vote is never changed, nor is its "
            "reason; nothing new was recorded\n"
            f"Where it stands: {self._place.hint('show', request.name, about=request)}"
        )

    def need_pending(self, request: ApprovalRequest) -> None:
        """NoLongerPending where it was decided, has expired or was withdrawn: by whom, and what to do instead."""
        now = self._clock()
        if state_at(request, now) is not State.PENDING:
            raise NoLongerPending(_no_longer_pending(request, now, self._place))

    def spends_a_half_vote(self, request: ApprovalRequest) -> str:
        """What to weigh before approving with a login that decides only half; empty where it decides as much as any.

        With a second factor this person alone would decide; without one somebody else has to approve as well.
        """
        rows = [row for row in self._place.progress(request) if not row.met]
        if len(rows) != 1 or rows[0].filled_by:
            return ""
        wanted = rows[0].requirement
        if not wanted.or_second_person or wanted.approvals != 1 or self._voter.viewer.shows(wanted.second_factor):
            return ""
        return (
            f"your login shows no {FACTORS[wanted.second_factor]}: a second person has to approve {request.name}, too. "
            "With one you alone would decide, but a vote is never changed: log in again with it first."
        )

    def need(self, request: ApprovalRequest, verb: str) -> None:
        """Forbidden where this person lacks the right itself, whatever else is true of the request."""
        why_not = self._voter.viewer.why_not(verb, request)
        if why_not:
            raise Forbidden(self._voter.refusal(request, verb, Standing(Obstacle.NOT_ALLOWED, why_not)))

    async def record(self, store: ReviewerStore, request: ApprovalRequest, wish: Wish) -> Recorded:
        """Make the decision for exactly this request, store it, and look for a moment what comes of it.

        Raises:
            NoLongerPending: somebody was faster, or the request is gone.
            Forbidden: the hub or the API server refused the vote.
            InvalidDecision: it does not fit the request, an edit for example.
        """
        self.check(request, wish.kind)
        for verb in wish.verbs:
            self.need(request, verb)
        decision = self._voter.decision(request, wish)
        try:
            stored = await self.stored(store, request, store.decide(request.namespace, request.name, decision))
        except (Refused, InvalidDecision, Forbidden):
            # They may have voted in another window since the request was read: then that is what to say.
            self.check(await store.get(request.namespace, request.name), wish.kind)
            raise
        kept = next((d for d in stored.status.decisions if fold(d.reviewer) == fold(decision.reviewer)), decision)
        return await self._follow(store, stored, kept)

    async def stored(
        self, store: ReviewerStore, request: ApprovalRequest, writing: Awaitable[ApprovalRequest]
    ) -> ApprovalRequest:
        """What comes back from a write, its errors in words for this person."""
        try:
            return await writing
        except NotFound as error:
            raise NoLongerPending(
                f"{request.name} is gone: it ended and was cleaned up; nothing was recorded"
            ) from error
        except NoLongerPending:
            self.need_pending(await store.get(request.namespace, request.name))
            raise
        except Refused as error:
            look = self._place.hint("show", request.name, about=request)
            raise Refused(f"{error}; nothing was recorded\nHow it stands now: {look}") from error
        except HitlError as error:
            raise self._voter.refused(request, error) from error

    async def _follow(self, store: ReviewerStore, request: ApprovalRequest, decision: Decision) -> Recorded:
        """Wait until the decision is counted and, if it decides, until the call was picked up; for a moment only."""
        changes = store.watch(request.namespace)
        try:
            async with asyncio.timeout(PATIENCE if decision.arguments_patch is None else _PATIENCE_EDITED):
                request = await store.get(request.namespace, request.name)
                while not _is_settled(request, decision):
                    changed = await anext(changes)
                    if changed.uid == request.uid:
                        request = changed
        except TimeoutError:
            pass
        finally:
            await changes.aclose()
        entry = _entry_of(request, decision)
        if entry is not None and entry.refused:
            raise Forbidden(self._voter.not_counted(request, entry.refused))
        return Recorded(request, decision, _stage_of(request, decision, entry))


def _no_longer_pending(request: ApprovalRequest, now: datetime, place: Place) -> str:
    """The error of a decision that came too late, and what to do instead."""
    first = f"{request.name} {ending(request, now)}."
    match state_at(request, now):
        case State.EXPIRED if _has_lapsed(request):
            return f"{first}\nThe agent may ask again. If this is too short: releaseWindow in the operator's settings."
        case State.EXPIRED:
            policy = f" in policy {request.spec.policies[0].name}" if request.spec.policies else ""
            timeout = format_duration(request.spec.timeout)
            return (
                f"{first}\nThe agent may ask again. If this is too short: spec.approval.timeout is {timeout}{policy}."
            )
        case State.APPROVED:
            stop = "To stop it before it runs: a Deny rule in the policy; release evaluates again."
            return f"{first}\nNothing was recorded. {stop}"
        case State.CANCELLED if _lost_enforcement(request):
            return f"{first}\nThe agent may ask again. Whether it is mended: {place.hint('doctor')}"
        case State.CANCELLED:
            return f"{first}\nWhat waits now: {place.hint('list')}"
        case State.CONSUMED:
            look = place.hint("show", request.name, about=request)
            return f"{first}\nNothing was recorded. It cannot be undone here; what it did: {look}"
        case State.DENIED:
            return f"{first}\nNothing was recorded. What waits now: {place.hint('list')}"
        case State.PENDING:
            return first


def _has_lapsed(request: ApprovalRequest) -> bool:
    condition = outcome(request.status.conditions, State.EXPIRED)
    return condition is not None and condition.reason == ExpiryReason.RELEASE_WINDOW


def _lost_enforcement(request: ApprovalRequest) -> bool:
    condition = outcome(request.status.conditions, State.CANCELLED)
    return condition is not None and condition.reason == CancelReason.ENFORCEMENT_LOST


def _entry_of(request: ApprovalRequest, decision: Decision) -> Verified | None:
    return next((e for e in request.status.verified if e.reviewer == decision.reviewer and not e.note), None)


def _is_settled(request: ApprovalRequest, decision: Decision) -> bool:
    """Whether looking longer would tell nothing new."""
    # Where somebody holds the call, Approved and Consumed are one write: Approved alone says that nobody does.
    if request.status.state is not State.PENDING:
        return True
    entry = _entry_of(request, decision)
    if entry is None:
        return False
    if entry.refused:
        return True
    # An edit that needs more than one approval ends the request (SECURITY D3); that takes the hub a moment.
    return decision.arguments_patch is None and not _decides(request, decision)


def _decides(request: ApprovalRequest, decision: Decision) -> bool:
    """Whether the votes so far suffice, so that the end is only a matter of somebody writing it."""
    if decision.decision is DecisionKind.DENIED:
        return len(denials(request)) >= request.spec.denials_to_end
    return bool(overrides(request)) or all(row.met for row in progress_of(request))


def _stage_of(request: ApprovalRequest, decision: Decision, entry: Verified | None) -> Stage:
    denied = decision.decision is DecisionKind.DENIED
    match request.status.state:
        case State.PENDING if entry is None:
            return Stage.NOT_COUNTED
        case State.PENDING:
            return Stage.DECISIVE if _decides(request, decision) else Stage.MORE_NEEDED
        case State.APPROVED | State.CONSUMED:
            return Stage.OVERTAKEN if denied else Stage.DECISIVE
        case State.DENIED:
            return Stage.DECISIVE if denied else Stage.OVERTAKEN
        case State.EXPIRED | State.CANCELLED:
            return Stage.OVERTAKEN
