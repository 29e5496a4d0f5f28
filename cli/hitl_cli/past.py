"""What earlier requests of the same agent and tool say about this one."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from hitl.approvals.requests import ApprovalRequest, DecisionKind, State
from hitl.policy.durations import format_duration
from hitl_cli.arguments import arguments_of, differing
from hitl_cli.endings import deciders


@dataclass(frozen=True, slots=True)
class Past:
    """Earlier requests of one agent and tool, oldest first."""

    requests: Sequence[ApprovalRequest]

    @property
    def last_approved(self) -> ApprovalRequest | None:
        """The newest one that was approved."""
        return next((each for each in reversed(self.requests) if each.status.state in _APPROVED), None)

    def __str__(self) -> str:
        states = Counter(each.status.state for each in self.requests)
        approved = sum(states[state] for state in _APPROVED)
        parts = [f"{len(self.requests)} {'call' if len(self.requests) == 1 else 'calls'}", f"{approved} approved"]
        for state in (State.DENIED, State.EXPIRED, State.CANCELLED):
            if states[state]:
                reason = _usual_category(self.requests) if state is State.DENIED else ""
                parts.append(f"{states[state]} {state.value.lower()}{f' ({reason})' if reason else ''}")
        reviews = [_review_seconds(each) for each in self.requests if each.status.state in {*_APPROVED, State.DENIED}]
        if reviews:
            parts.append(f"median review {format_duration(median(reviews))}")
        return ", ".join(parts)


_APPROVED = (State.APPROVED, State.CONSUMED)


def past_of(request: ApprovalRequest, others: Iterable[ApprovalRequest]) -> Past:
    """What came before `request` from the same agent for the same tool, and is not waiting any more."""
    return Past(
        [
            other
            for other in others
            if other.uid != request.uid
            and other.status.state is not State.PENDING
            and other.created <= request.created
            and (other.namespace, other.spec.workload) == (request.namespace, request.spec.workload)
            and (other.spec.call.server, other.spec.call.tool) == (request.spec.call.server, request.spec.call.tool)
        ]
    )


def group_of(request: ApprovalRequest, others: Iterable[ApprovalRequest]) -> list[ApprovalRequest]:
    """`request` and the others of its group that wait as well, `request` first."""
    if not request.spec.group_key:
        return [request]
    return [
        request,
        *(
            other
            for other in others
            if other.uid != request.uid
            and other.namespace == request.namespace
            and other.spec.group_key == request.spec.group_key
            and other.status.state is State.PENDING
        ),
    ]


def differs_in(first: ApprovalRequest, other: ApprovalRequest) -> list[str] | None:
    """Arguments in which a member of a group differs from the first; None where one of them was not shown whole."""
    before, after = arguments_of(first.spec.call.arguments_preview), arguments_of(other.spec.call.arguments_preview)
    return None if before is None or after is None else differing(before, after)


def alone_because(request: ApprovalRequest, first: ApprovalRequest) -> str:
    """Why a member of a group is not approved together with the first; empty where it may be (SECURITY D4)."""
    if request.spec.tier == "multi-factor":
        return "MultiFactor is decided one by one"
    changed = differs_in(first, request)
    if changed is None:
        return "its arguments are not shown whole, decide it alone"
    new = [name.removesuffix(" (new)") for name in changed if name.endswith(" (new)")]
    return f'argument "{new[0]}" is new, decide it alone' if new else ""


def _review_seconds(request: ApprovalRequest) -> float:
    ended = request.status.resolved_time or request.created
    return (ended - request.created).total_seconds()


def _usual_category(requests: Iterable[ApprovalRequest]) -> str:
    said = Counter(
        decision.category.kebab.replace("-", " ")
        for each in requests
        for decision in deciders(each, DecisionKind.DENIED)
        if decision.category
    )
    return said.most_common(1)[0][0] if said else ""
