"""How policies stand: one row each, and what is wrong with them. Pure: from what was read to what is said."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

from hitl.approvals.requests import ApprovalRequest, DecisionKind, State
from hitl.kube.marks import GATED
from hitl.kube.policy_conditions import PolicyCondition, Programmed
from hitl.policy.parsing_reader import Problems, Reader
from hitl.policy.parsing_sections import read_selector
from hitl.policy.selectors import selects
from hitl.policy.spec import PodSelector
from hitl_cli.endings import deciders

DAY: Final = timedelta(hours=24)
# More than so many decisions, nearly all approvals, each within seconds: nobody reads what they approve.
_MANY, _NEARLY_ALL, _SECONDS = 20, 0.95, 5.0
_APPROVED: Final = (State.APPROVED, State.CONSUMED)
# What is wrong where a condition has this status, in the order in which it is said.
_WRONG: Final = (
    (PolicyCondition.ACCEPTED, "False"),
    (PolicyCondition.PROGRAMMED, "False"),
    (PolicyCondition.REVIEWERS_AVAILABLE, "False"),
    (PolicyCondition.REVIEW_DUE, "True"),
)


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One policy.

    Attributes:
        namespace: "" for the baseline.
        sidecars: (current, total); None while the operator has not counted.
        held: calls held within 24 h, as far as their requests are stored.
        approved: share of the decided ones that were approved; None where none was decided.
        review: median seconds until a decision.
        people: distinct people who decided.
    """

    kind: str
    namespace: str
    name: str
    generation: int
    autonomy: str
    sidecars: tuple[int, int] | None
    held: int
    approved: float | None
    review: float | None
    people: int

    @property
    def label(self) -> str:
        """``namespace/name``, or the name alone."""
        return "/".join(filter(None, (self.namespace, self.name)))


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that somebody should see to: about what, what, and what to type."""

    about: str
    text: str
    step: str


def row_of(policy: Mapping[str, Any], kind: str, requests: Iterable[ApprovalRequest], now: datetime) -> PolicyRow:
    """One policy as read, with the requests it held."""
    metadata, status = policy["metadata"], policy.get("status", {})
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    held = [
        each
        for each in requests
        if each.created >= now - DAY
        and any((ref.kind, ref.namespace, ref.name) == (kind, namespace, name) for ref in each.spec.policies)
    ]
    decided = [each for each in held if each.status.state in (*_APPROVED, State.DENIED)]
    reviews = [((each.status.resolved_time or each.created) - each.created).total_seconds() for each in decided]
    approved = sum(each.status.state in _APPROVED for each in decided)
    people = {d.reviewer for each in held for what in DecisionKind for d in deciders(each, what)}
    sidecars = status.get("sidecars")
    return PolicyRow(
        kind=kind,
        namespace=namespace,
        name=name,
        generation=int(metadata.get("generation", 0)),
        autonomy=str(policy.get("spec", {}).get("autonomy", "ReadOnly")),
        sidecars=None if sidecars is None else (int(sidecars.get("current", 0)), int(sidecars.get("total", 0))),
        held=len(held),
        approved=approved / len(decided) if decided else None,
        review=median(reviews) if reviews else None,
        people=len(people),
    )


def problems_of(policy: Mapping[str, Any], row: PolicyRow) -> list[Problem]:
    """What is wrong with a policy, most urgent first."""
    conditions = {each.get("type"): each for each in policy.get("status", {}).get("conditions", ())}
    plural = "agentpolicy" if row.namespace else "clusteragentpolicy"
    look = f"kubectl describe {plural} {row.name}{f' -n {row.namespace}' if row.namespace else ''}"
    found = [
        Problem(row.label, f"{conditions[kind].get('reason', '')}: {conditions[kind].get('message', '')}", look)
        for kind, status in _WRONG
        if kind in conditions and conditions[kind].get("status") == status
    ]
    if not conditions:
        found.append(Problem(row.label, "no operator has looked at it yet", "kubectl hitl doctor"))
    return [*found, *_clicking(row)]


def notes_of(policy: Mapping[str, Any], row: PolicyRow) -> list[Problem]:
    """What may be meant, and often is a slip: a policy that holds for no pod."""
    for each in policy.get("status", {}).get("conditions", ()):
        if each.get("type") == PolicyCondition.PROGRAMMED and each.get("reason") == Programmed.UNMATCHED:
            text = "no connected sidecar is selected: no pod has these labels, or none that has them carries a sidecar"
            where = f"-n {row.namespace}" if row.namespace else "-A"
            return [Problem(row.label, text, f"kubectl get pods {where} --show-labels")]
    return []


def unpoliced(pods: Iterable[Mapping[str, Any]], policies: Iterable[Mapping[str, Any]]) -> list[Problem]:
    """Gated pods that none of these policies selects, in one line for each namespace."""
    selectors = [(each["metadata"].get("namespace", ""), _selector_of(each)) for each in policies]
    bare: dict[str, list[str]] = {}
    for pod in pods:
        metadata = pod["metadata"]
        namespace, labels = metadata["namespace"], metadata.get("labels") or {}
        if not any(where in ("", namespace) and selects(selector, labels) for where, selector in selectors):
            bare.setdefault(namespace, []).append(metadata["name"])
    return [_unpoliced(namespace, sorted(names)) for namespace, names in sorted(bare.items())]


def _unpoliced(namespace: str, names: Sequence[str]) -> Problem:
    who = f"gated pod {names[0]}" if len(names) == 1 else f"{len(names)} gated pods, {names[0]} first,"
    verb = "is" if len(names) == 1 else "are"
    text = f"{who} {verb} selected by no policy that you may read: without another, the built-in one decides"
    return Problem(namespace, text, f"kubectl get pods -n {namespace} -l {GATED}=true --show-labels")


def _selector_of(policy: Mapping[str, Any]) -> PodSelector:
    """Of one that cannot be read: all pods, as the operator takes it."""
    problems = Problems()
    selector = read_selector(Reader(policy.get("spec"), "spec", problems))
    return PodSelector() if problems.found else selector


def _clicking(row: PolicyRow) -> Sequence[Problem]:
    if row.approved is None or row.review is None or row.held < _MANY:
        return ()
    if row.approved < _NEARLY_ALL or row.review >= _SECONDS:
        return ()
    text = f"{row.approved:.0%} approved, {row.review:.0f}s each: looks like clicking, not reading"
    return [Problem(row.label, text, "lower what nobody reads to Notify, or ask for a reason: reasonRequired")]
