"""Which decisions and notes count: the hub's own check, before anything is counted (DESIGN 18, SECURITY C1, D5).

On one machine a decision is a row that any process of the account could write, so what counts is the signature: over
cluster, request uid, digest, decision and time, by a key that `reviewers.yaml` knows. A signature for another request
or another call does not verify; one that is older than five minutes when the store takes it does not count either.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Note, Proof, Verified
from hitl.approvals.requirements import fold
from hitl.approvals.signing import fresh, signed_note, signed_text
from hitl.approvals.votes import unverified
from hitl.stores.people import OVERRIDE, Person, verify
from hitl_operator.identity import is_system_name


class Cause(StrEnum):
    """Why a decision does not count; a metric's label, so a closed list."""

    NO_PERSON = "no_person"
    NOT_SIGNED = "not_signed"
    SIGNATURE = "signature"
    OTHER_REQUEST = "other_request"
    STALE = "stale"
    GROUPS = "groups"
    REQUESTER = "requester"
    BARRED = "barred"
    TWICE = "twice"
    EDIT = "edit"
    OVERRIDE = "override"
    NO_FACTOR = "no_factor"
    NO_RIGHT = "no_right"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The hub's word on one decision or note. `cause` is set exactly where `entry.refused` says why."""

    entry: Verified
    cause: Cause | None = None


class DecisionVerifier(Protocol):
    """Says whether a vote or note is what it claims to be. Never raises for a bad one: that is an answer."""

    async def judge_decision(self, request: ApprovalRequest, decision: Decision) -> Judgement | None:
        """None: cannot tell now; it stays uncounted and is judged again."""
        ...

    async def judge_note(self, request: ApprovalRequest, note: Note) -> Judgement | None:
        """None: as for a decision."""
        ...


async def judge_new(verifier: DecisionVerifier, request: ApprovalRequest) -> tuple[Judgement, ...]:
    """Judgements of everything on a pending request that has none yet."""
    decisions, notes = unverified(request.status)
    judged = [await verifier.judge_decision(request, decision) for decision in decisions]
    judged += [await verifier.judge_note(request, note) for note in notes]
    return tuple(each for each in judged if each is not None)


class SignatureVerifier:
    """Standalone: Ed25519 signatures of the people in `reviewers.yaml`.

    Args:
        people: the people now, by case-folded name; None while the file cannot be read.
        cluster_uid: what signatures of this home are bound to.
    """

    def __init__(self, people: Callable[[], Mapping[str, Person] | None], cluster_uid: str) -> None:
        self._people = people
        self._cluster_uid = cluster_uid

    async def judge_decision(self, request: ApprovalRequest, decision: Decision) -> Judgement | None:
        """As `DecisionVerifier.judge_decision`."""
        return self._judge(
            request,
            decision.reviewer,
            lambda: signed_text(self._cluster_uid, request, decision),
            echo=(decision.request_uid, decision.digest),
            proof=decision.proof,
            stored=decision.time,
            groups=decision.groups,
            needs=OVERRIDE if decision.decision is DecisionKind.OVERRIDDEN else "",
        )

    async def judge_note(self, request: ApprovalRequest, note: Note) -> Judgement | None:
        """As `DecisionVerifier.judge_note`."""
        return self._judge(
            request,
            note.reviewer,
            lambda: signed_note(self._cluster_uid, request, note),
            echo=(note.request_uid, request.spec.digest),
            proof=note.proof,
            stored=note.time,
            note=note.n,
        )

    def _judge(
        self,
        request: ApprovalRequest,
        reviewer: str,
        text: Callable[[], bytes],
        *,
        echo: tuple[str, str],
        proof: Proof | None,
        stored: datetime | None,
        groups: tuple[str, ...] = (),
        note: int = 0,
        needs: str = "",
    ) -> Judgement | None:
        def refused(cause: Cause, why: str) -> Judgement:
            return Judgement(Verified(reviewer, refused=why, note=note), cause)

        people = self._people()
        if people is None:
            return None
        if is_system_name(reviewer) or fold(reviewer) == fold(request.spec.requester):
            return refused(Cause.REQUESTER, f"{reviewer} is no person; agents and ServiceAccounts never decide")
        person = people.get(reviewer.casefold())
        if person is None:
            return refused(Cause.NO_PERSON, f"{reviewer} is not in reviewers.yaml")
        if echo != (request.uid, request.spec.digest):
            # What is signed is what the decision says it answers: signed rightly, it may still answer something else.
            return refused(Cause.OTHER_REQUEST, f"{reviewer} decided another request or another call, not this one")
        if proof is None or proof.type != "ed25519" or stored is None:
            return refused(
                Cause.NOT_SIGNED, f"nothing here is signed by {reviewer}; decide with: hitl approve, hitl deny"
            )
        if not _signed(person, text(), proof):
            return refused(Cause.SIGNATURE, f"the signature is not {reviewer}'s over this very request and decision")
        if not fresh(proof, stored):
            return refused(
                Cause.STALE,
                f"signed at {proof.time.isoformat()} and stored at {stored.isoformat()}; a signature is good for 5 min",
            )
        foreign = sorted(set(groups) - set(person.groups))
        if foreign:
            return refused(Cause.GROUPS, f"{reviewer} is not in {', '.join(foreign)}")
        if needs and needs not in person.may:
            return refused(Cause.NO_RIGHT, f"{reviewer} may not {needs}: reviewers.yaml has no may: [{needs}] for them")
        return Judgement(Verified(reviewer, groups=groups or person.groups, note=note))


def _signed(person: Person, text: bytes, proof: Proof) -> bool:
    try:
        signature = base64.b64decode(proof.signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    return verify(person, text, signature)
