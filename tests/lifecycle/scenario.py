"""What one exploration is about: who takes part, what they may do, and the bounds that make it finite."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hitl.approvals import settle as real
from hitl.approvals.requests import CallShown, Kind, Proof, RequestSpec, Verified
from hitl.approvals.tightening import compare
from hitl.policy.actions import Action
from hitl.policy.verdicts import ApprovalTerms, Requirement, Verdict
from lifecycle.memory import MemoryStore

BEGIN = datetime(2026, 5, 1, 2, 47, 10, tzinfo=UTC)
NAMESPACE = "shop"
ARGUMENTS: Mapping[str, Any] = {"amount": 15000, "currency": "eur"}
PATCH: Mapping[str, Any] = {"amount": 12000}
VOTES = ("approve", "deny", "edit")
FACTOR = Proof("oidc", factors=("hwk",), time=BEGIN)
LIE: Mapping[str, Any] = {"amount": 99999, "currency": "eur"}


def digest_of(arguments: Mapping[str, Any]) -> str:
    """Stands in for the keyed digest: equal for equal calls, and nothing else matters here."""
    return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Code:
    """The functions under test. An exploration with a broken one must find a violation."""

    settle: Callable[..., Any] = real.settle
    consume: Callable[..., Any] = real.consume
    cancel: Callable[..., Any] = real.cancel
    approve_unheld: Callable[..., Any] = real.approve_unheld
    compare: Callable[..., Any] = compare
    store: Callable[..., MemoryStore] = MemoryStore
    # What a broken peer may lack: the store's comparison of versions; the hub's look, at Consume, whether the sidecar
    # judged by the config of now; its respect for a lost race.
    store_compares: bool = True
    checks_revision: bool = True
    heeds_conflicts: bool = True


@dataclass(frozen=True)
class Scenario:
    """One story with all its turns.

    Attributes:
        policies: verdicts on the call, each stricter than the one before; the policy may only change forwards, to any
            later one, at any time.
        people: reviewers and what the hub would verify of each.
        acts: what each reviewer may do, once for each request: approve, deny, edit, override; and, as a note, extend or
            escalate.
        instants: seconds after the beginning between which the clock steps; the last one is after every deadline.
        hubs: each with a sidecar that holds the same call.
        crashes: how often anybody may die between two steps; he comes back and knows nothing.
        requests: how many requests may be opened; a sidecar that would need one more gives up.
        by_call_id: the call has a call_id; otherwise its digest is its key.
        liars: hubs whose agent may swap the arguments after people have seen them.
    """

    name: str
    policies: tuple[Verdict, ...]
    people: tuple[Verified, ...] = (Verified("ana"), Verified("bo"))
    acts: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict.fromkeys(("ana", "bo"), VOTES))
    instants: tuple[int, ...] = (0, 900, 90_000)
    hubs: tuple[str, ...] = ("hub-1", "hub-2")
    crashes: int = 1
    requests: int = 1
    by_call_id: bool = True
    liars: tuple[str, ...] = ("hub-2",)

    def now(self, instant: int) -> datetime:
        """The time that hubs and sweep see."""
        return BEGIN + timedelta(seconds=self.instants[instant], milliseconds=500)

    def stamp(self, instant: int, votes: int) -> datetime:
        """The store's time of the next vote or note: in order, and before what hubs see."""
        return BEGIN + timedelta(seconds=self.instants[instant], milliseconds=votes + 1)

    def spec_of(self, policy: int, *, editor: str = "") -> RequestSpec:
        """What is asked under a policy; with an editor: for the call as he changed it."""
        verdict = self.policies[policy]
        assert verdict.terms is not None
        arguments = {**ARGUMENTS, **PATCH} if editor else dict(ARGUMENTS)
        digest = digest_of(arguments)
        call_id = "toolu_1" if self.by_call_id else ""
        return RequestSpec(
            kind=Kind.TOOL_CALL,
            summary="refund",
            requester="system:serviceaccount:shop:support",
            agent_pod="support-1",
            agent_pod_uid="pod",
            service_account="support",
            workload="deploy/support",
            session_id="s",
            call=CallShown("stripe", "create_refund", json.dumps(arguments), call_id=call_id),
            digest=digest,
            key=call_id or digest,
            sameness="",
            tier=verdict.action.kebab,
            requirements=verdict.terms.requirements,
            timeout=verdict.terms.timeout,
            on_timeout=verdict.terms.on_timeout,
            escalation=verdict.terms.escalation,
            reason_required=(),
            patchable=("/amount",),
            excluded=(editor,) if editor else (),
        )


def asks(*requirements: Requirement, **terms: Any) -> Verdict:
    """A policy that asks these people, by the default terms or these."""
    terms = {"reason_required": (), **terms}
    return Verdict(Action.CONFIRM, "RULE", "", terms=ApprovalTerms(requirements=requirements, **terms))


DENIES = Verdict(Action.DENY, "RULE", "")
ANYBODY = Requirement("reviewer")
TWO_PEOPLE = Requirement("reviewer", 2)
