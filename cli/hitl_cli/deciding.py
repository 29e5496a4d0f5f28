"""One reviewer's decision: made for exactly the request that was read, signed, recorded, and followed for a moment.

The hub decides who counts. What is refused here would be refused there too; here the reviewer still has a vote.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from hitl.approvals.requests import ApprovalRequest, Category, Decision, DecisionKind, Proof, State, Verified
from hitl.approvals.requirements import fold, progress_of
from hitl.approvals.votes import denials
from hitl.errors import Forbidden, NoLongerPending, NotFound
from hitl.policy.durations import format_duration
from hitl.policy.escaping import as_plain
from hitl.stores.protocol import ReviewerStore
from hitl_cli.endings import ending, state_at
from hitl_cli.home import Home
from hitl_cli.standing import progress_here, standing_of

if TYPE_CHECKING:
    from hitl.stores.people import Person

# How long `approve` waits to see its decision counted and the call picked up (UX 4).
PATIENCE = 2.0
_PROOF = "ed25519"
# Signed to see whether a key fits; no decision reads like it.
_PROBE = b"hitl: does this key fit?"


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


@dataclass(frozen=True, slots=True)
class Wish:
    """What a reviewer wants to say about a request."""

    kind: DecisionKind
    reason: str = ""
    category: Category | None = None
    patch: Mapping[str, Any] | None = None


class Reviewer:
    """A person of this home who decides."""

    def __init__(self, home: Home, name: str, people: "Mapping[str, Person]", clock: Callable[[], datetime]) -> None:
        self._home = home
        self._people = people
        self._clock = clock
        person = people.get(name.casefold())
        if person is None:
            known = ", ".join(each.name for each in people.values()) or "nobody yet"
            raise Forbidden(
                f"{name} may not decide here: not in {home.reviewers} (known: {known})\n"
                f"Add a person: hitl dev reviewer add {as_plain(name)} --group GROUP"
            )
        self.person = person

    def check(self, request: ApprovalRequest, kind: DecisionKind) -> Decision | None:
        """Refuse what cannot count, before the one vote is spent on it. The vote, if the same was cast before.

        Raises:
            NoLongerPending: it was decided, has expired or was withdrawn.
            Forbidden: this person may not approve it, or voted otherwise.
        """
        now = self._clock()
        if state_at(request, now) is not State.PENDING:
            raise NoLongerPending(no_longer_pending(request, now))
        standing = standing_of(self.person.name, request, progress_here(request), self._people)
        if standing.vote is not None:
            if standing.vote.decision is kind:
                return standing.vote
            said = standing.vote.decision.value.lower()
            raise Forbidden(f"you have {said} {request.name} already; a vote is never changed")
        if kind is DecisionKind.APPROVED and not standing.may_approve:
            if standing.is_party:
                raise Forbidden(f"{standing.why_not}; another person must decide {request.name}.")
            raise Forbidden(
                f"you may not approve {request.name}: {standing.why_not}.\nWho can: hitl show {request.name}"
            )
        return None

    async def record(self, store: ReviewerStore, request: ApprovalRequest, wish: Wish) -> Recorded:
        """Sign the decision for exactly this request, store it, and look for a moment what comes of it.

        Raises:
            NoLongerPending: somebody was faster, or the request is gone.
            Forbidden: the hub refused the vote.
            InvalidDecision: it does not fit the request, an edit for example.
        """
        repeated = self.check(request, wish.kind)
        if repeated is not None:
            return await self._follow(store, request, repeated)
        problem = self._key_problem()
        if problem:
            raise Forbidden(f"{problem}\nNothing was recorded: a vote with this key would not count")
        decision = self._signed(request, wish)
        try:
            stored = await store.decide(request.namespace, request.name, decision)
        except NotFound as error:
            raise NoLongerPending(
                f"{request.name} is gone: it ended and was cleaned up; nothing was recorded"
            ) from error
        except NoLongerPending:
            now_stored = await store.get(request.namespace, request.name)
            raise NoLongerPending(no_longer_pending(now_stored, self._clock())) from None
        kept = next((d for d in stored.status.decisions if fold(d.reviewer) == fold(decision.reviewer)), decision)
        return await self._follow(store, stored, kept)

    def _signed(self, request: ApprovalRequest, wish: Wish) -> Decision:
        from hitl.approvals.signing import signed_text  # noqa: PLC0415 - start-up: only who decides signs
        from hitl.stores.people import sign  # noqa: PLC0415

        decision = Decision(
            reviewer=self.person.name,
            decision=wish.kind,
            digest=request.spec.digest,
            request_uid=request.uid,
            reason=as_plain(wish.reason.strip()),
            category=wish.category,
            groups=self.person.groups,
            arguments_patch=wish.patch,
            proof=Proof(_PROOF, time=self._clock().replace(microsecond=0)),
        )
        text = signed_text(self._home.uid(), request, decision)
        signature = base64.b64encode(sign(self._home.path, self.person.name, text)).decode()
        assert decision.proof is not None, "it was put there above"
        return replace(decision, proof=replace(decision.proof, signature=signature))

    def _key_problem(self) -> str:
        """Where the person's key and the public key that votes are held against do not belong together; else empty."""
        from hitl.stores.people import sign, verify  # noqa: PLC0415 - start-up: only who decides signs

        if verify(self.person, _PROBE, sign(self._home.path, self.person.name, _PROBE)):
            return ""
        key = self._home.people / f"{self.person.name}.key"
        return f"the key {key} does not match the public key that {self._home.reviewers} has for {self.person.name}"

    async def _follow(self, store: ReviewerStore, request: ApprovalRequest, decision: Decision) -> Recorded:
        """Wait until the decision is counted and, if it decides, until the call was picked up; PATIENCE at most."""
        changes = store.watch(request.namespace)
        try:
            async with asyncio.timeout(PATIENCE):
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
            words = [f"your vote on {request.name} does not count: {entry.refused}", self._key_problem()]
            raise Forbidden("\n".join([*filter(None, words), f"Who can: hitl show {request.name}"]))
        return Recorded(request, decision, _stage_of(request, decision, entry))


def no_longer_pending(request: ApprovalRequest, now: datetime) -> str:
    """The error of a decision that came too late, and what to do instead."""
    first = f"{request.name} {ending(request, now)}."
    match state_at(request, now):
        case State.EXPIRED:
            policy = f" in policy {request.spec.policies[0].name}" if request.spec.policies else ""
            timeout = format_duration(request.spec.timeout)
            return (
                f"{first}\nThe agent may ask again. If this is too short: spec.approval.timeout is {timeout}{policy}."
            )
        case State.APPROVED:
            return f"{first}\nTo stop it before it runs: a Deny rule in the policy; release evaluates again."
        case State.CANCELLED:
            return f"{first}\nWhat waits now: hitl list"
        case State.CONSUMED:
            return f"{first}\nIt cannot be undone here; what it did: hitl show {request.name}"
        case State.DENIED | State.PENDING:
            return first


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
    return all(row.met for row in progress_of(request))


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
