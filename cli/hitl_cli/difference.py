"""What a call changes against the last approved one like it, and what a reviewer changed in a call."""

from collections.abc import Mapping
from datetime import datetime

from hitl.approvals.requests import ApprovalRequest, DecisionKind
from hitl_cli.arguments import arguments_of, changes
from hitl_cli.endings import deciders
from hitl_cli.lines import Line
from hitl_cli.requests import tool_of
from hitl_cli.times import since


def difference(request: ApprovalRequest, last: ApprovalRequest | None, now: datetime, width: int) -> list[Line]:
    """What changed since the last approved call like this one."""
    if last is None:
        return [f"no call of {tool_of(request)} by this agent was approved before"]
    before, after = _approved_arguments(last), arguments_of(request.spec.call.arguments_preview)
    title = f"since the last approved one ({last.name}, {_approved_by(last, now)})"
    if before is None or after is None:
        return [f"{title}: one of the two is too large to compare"]
    changed = changes(before, after, width, indent="    ")
    return [title, *changed] if changed else [f"{title}: the same arguments"]


def edits_of(request: ApprovalRequest) -> list[tuple[str, Mapping[str, object]]]:
    """(reviewer, patch) of every approval that carries a change."""
    return [
        (decision.reviewer, decision.arguments_patch)
        for decision in deciders(request, DecisionKind.APPROVED)
        if decision.arguments_patch
    ]


def patched(request: ApprovalRequest, patch: Mapping[str, object]) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The arguments as asked, and with a patch."""
    from hitl.approvals.edits import apply_patch  # noqa: PLC0415 - start-up: few requests carry an edit

    before = arguments_of(request.spec.call.arguments_preview) or {}
    return before, apply_patch(before, patch)


def _approved_arguments(request: ApprovalRequest) -> Mapping[str, object] | None:
    """What was approved: the arguments as asked, or as the approving reviewer changed them."""
    edits = edits_of(request)
    if not edits:
        return arguments_of(request.spec.call.arguments_preview)
    return patched(request, edits[-1][1])[1]


def _approved_by(request: ApprovalRequest, now: datetime) -> str:
    approvals = [*deciders(request, DecisionKind.APPROVED), *deciders(request, DecisionKind.OVERRIDDEN)]
    when = request.status.resolved_time or request.created
    names = ", ".join(dict.fromkeys(each.reviewer for each in approvals))
    return f"{since(when, now)} ago{f', {names}' if names else ''}"
