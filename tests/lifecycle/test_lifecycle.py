"""Every interleaving of a request's life, on the real code: I5, I6, I7, I8 and I13 hold in every state there is.

Each exploration prints how far it went (`pytest -s`), and each seeded bug the shortest way to it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from hitl.approvals import edits, settle, timeline
from hitl.approvals.conditions import CancelReason, with_outcome
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, RequestStatus, State, Verified
from hitl.approvals.tightening import Change
from hitl.policy.verdicts import EscalationStep, OnTimeout, Requirement
from lifecycle.explorer import explore
from lifecycle.memory import MemoryStore
from lifecycle.scenario import ANYBODY, DENIES, TWO_PEOPLE, Code, Scenario, asks

ONLY_APPROVE = {"ana": ("approve",), "bo": ("approve",)}
LEAD = Requirement("lead", any_of=("leads",), origin="p")
ONCALL_LATE = (EscalationStep(1000, ("oncall",), "p"),)

EVERYTHING = Scenario(
    "two reviewers, two hubs, a crash, expiry, a policy that tightens twice",
    policies=(asks(ANYBODY), asks(TWO_PEOPLE), DENIES),
    instants=(0, 900),
)
SUCCESSORS = Scenario(
    "a stricter policy opens a new request, and a crash",
    policies=(asks(ANYBODY), asks(TWO_PEOPLE)),
    acts=ONLY_APPROVE,
    instants=(0, 900),
    requests=2,
    liars=(),
)
TWO_NEEDED = Scenario(
    "two people are needed and edit, approve or deny",
    policies=(asks(TWO_PEOPLE),),
    instants=(0, 900),
    crashes=0,
    requests=2,
    liars=(),
)
TIME = Scenario(
    "more time, more people, a second round, and a crash",
    policies=(asks(LEAD, on_timeout=OnTimeout.RETRY, escalation=ONCALL_LATE),),
    people=(Verified("ana"), Verified("bo", ("oncall",))),
    acts={"ana": ("extend", "escalate"), "bo": ("approve",)},
    instants=(0, 900, 1800, 90_000),
    hubs=("hub-1",),
)
IDENTICAL = Scenario(
    "two identical calls without a call_id",
    policies=(asks(ANYBODY),),
    acts=ONLY_APPROVE,
    instants=(0, 900, 1800),
    crashes=0,
    requests=2,
    by_call_id=False,
    liars=(),
)
# Bo may not override: the hub refuses his word, whatever he wrote.
BREAK_GLASS = Scenario(
    "somebody overrides a request for two people, somebody without the right tries to, and the policy tightens",
    policies=(asks(TWO_PEOPLE), DENIES),
    people=(Verified("ana", second_factor="oidc:hwk"), Verified("bo", refused="may not override")),
    acts={"ana": ("override", "deny"), "bo": ("override",)},
    instants=(0, 900),
)
# What agents must have been told somewhere in each story: an exploration that misses one did not get there.
STORIES = [
    (EVERYTHING, {"ran", "Spent", "PERMIT_SPENT", "Denied", "Expired", "Refused", "DENIED, TIGHTENED", "EDITED"}),
    (SUCCESSORS, {"ran", "Spent", "PERMIT_SPENT", "Expired"}),
    (TWO_NEEDED, {"ran", "Spent", "Denied", "Expired", "EDITED"}),
    (TIME, {"ran", "Expired"}),
    (IDENTICAL, {"ran", "Expired"}),
    (BREAK_GLASS, {"ran", "Spent", "PERMIT_SPENT", "Denied", "Expired", "Refused", "DENIED, TIGHTENED"}),
]


@pytest.mark.parametrize(("scenario", "endings"), STORIES, ids=[scenario.name for scenario, _ in STORIES])
def test_I5_I6_I7_I8_I13_hold_in_every_reachable_state(scenario: Scenario, endings: set[str]) -> None:
    """I5, I6, I7, I8, I13: no interleaving breaks one of them, and every kind of ending is among those visited."""
    report = explore(scenario)
    print(report)  # noqa: T201  # how much was visited is part of the result
    assert report.violations == [], "\n".join(map(str, report.violations))
    assert set(report.told) >= endings
    assert "CALL_ID_REUSED" not in report.told, "an honest agent's retry was taken for another call"


class BlindStore(MemoryStore):
    """Writes whatever it is given over whatever stands there."""

    async def write_status(self, request: ApprovalRequest, status: RequestStatus) -> ApprovalRequest:
        return self._put(replace(await self._same(request), status=status))


def never_expires(request: ApprovalRequest, now: datetime) -> timeline.InForce:
    return replace(timeline.in_force(request, now), expired=False)


def expires_late(request: ApprovalRequest, now: datetime) -> timeline.InForce:
    force = timeline.in_force(request, now)
    return replace(force, expired=force.expired and now >= force.deadline + timedelta(hours=1))


def counts_every_edit(request: ApprovalRequest, requirements: Any) -> edits.Tally:
    found = edits.tally(request, requirements)
    return edits.Tally(met=True) if found.superseded_by else found


def takes_every_override(request: ApprovalRequest) -> tuple[Decision, ...]:
    return tuple(each for each in request.status.decisions if each.decision is DecisionKind.OVERRIDDEN)


def cancels_whatever(
    request: ApprovalRequest, now: datetime, reason: CancelReason, message: str, **_: Any
) -> RequestStatus:
    return with_outcome(request.status, State.CANCELLED, reason.value, message, now)


def never_lapses(request: ApprovalRequest, now: datetime, **_: Any) -> settle.Settlement:
    return settle.settle(request, now, release_window=10**9)


@dataclass(frozen=True)
class Bug:
    """A mistake put in on purpose: in the code that is driven, or inside one of its modules."""

    what: str
    breaks: str
    code: Code = field(default_factory=Code)
    inside: tuple[str, Callable[..., Any]] | None = None
    scenario: Scenario = EVERYTHING
    last: str = ""


BUGS = [
    Bug("a store without compare-and-set", "I5", Code(store=BlindStore, store_compares=False)),
    Bug("a hub that releases although it lost the race", "I6", Code(heeds_conflicts=False), last="runs the call"),
    Bug("settle ignores the deadline", "I13", inside=("hitl.approvals.settle.in_force", never_expires)),
    Bug(
        "settle expires an hour late",
        "I1",
        inside=("hitl.approvals.settle.in_force", expires_late),
        scenario=replace(EVERYTHING, instants=(0, 900, 90_000)),
    ),
    Bug("settle ignores denials", "I1", inside=("hitl.approvals.settle.denials", lambda request: ())),
    Bug("consume takes any digest", "I7", inside=("hitl.approvals.settle.unfit", lambda *_: ""), last="runs the call"),
    Bug(
        "an edit counts as an approval of the call",
        "I1",
        inside=("hitl.approvals.settle.tally", counts_every_edit),
        scenario=TWO_NEEDED,
    ),
    Bug(
        "an override counts whoever it is from",
        "I1",
        inside=("hitl.approvals.edits.overrides", takes_every_override),
        scenario=BREAK_GLASS,
    ),
    Bug(
        "an override releases what the policy forbids by now",
        "I8",
        Code(compare=lambda *_: Change.SAME),
        scenario=replace(BREAK_GLASS, acts={"ana": ("override",)}),
        last="releases",
    ),
    Bug("the sidecar does not evaluate again", "I8", Code(compare=lambda *_: Change.SAME), last="releases"),
    Bug("the hub does not ask which config judged", "I8", Code(checks_revision=False), last="releases"),
    Bug("a withdrawal after the end", "I5", Code(cancel=cancels_whatever)),
    Bug("an approval that nobody fetches never lapses", "I13", Code(settle=never_lapses)),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.what)
def test_a_seeded_bug_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake put in on purpose is found as a violation of the invariant it breaks, with a trace that leads there."""
    if bug.inside is not None:
        monkeypatch.setattr(*bug.inside)
    report = explore(bug.scenario, bug.code)
    assert [violation.invariant for violation in report.violations] == [bug.breaks], str(report)
    violation = report.violations[0]
    print(report, violation, sep="\n")  # noqa: T201  # the trace is the result
    assert violation.trace[0].endswith("plans to open refund-0")
    assert violation.trace[-1].endswith(bug.last)
    assert len(violation.trace) < 20
    assert str(violation).startswith(f"{bug.breaks} violated: {violation.what}\n   1 {violation.trace[0]}\n   2 ")
