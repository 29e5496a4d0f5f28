"""One request on one page: what would run, why, what it can touch, why it is held and who decides, in this order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.cells import cell_len

from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Kind, State
from hitl.approvals.requirements import Progress, votes
from hitl.approvals.timeline import in_force
from hitl.policy.durations import format_duration
from hitl.policy.verdicts import SecondFactor
from hitl_cli.arguments import argument_lines, changes, framed, limited
from hitl_cli.difference import difference, edits_of, patched
from hitl_cli.endings import deciders, ending, is_uncounted, override_of, state_at
from hitl_cli.lines import Line, Tint, hanging, line, tinted, word
from hitl_cli.past import Past
from hitl_cli.place import Place
from hitl_cli.requests import tier_of, tool_of
from hitl_cli.standing import FACTORS, Standing, Viewer, can_fill, standing_of
from hitl_cli.times import clock, since, until

# Bytes of a digest that people compare by eye.
_DIGEST_SHOWN = 16


@dataclass(frozen=True, slots=True)
class Beside:
    """What the page needs beside the request.

    Attributes:
        past: earlier requests of this agent and tool.
        place: where it waits.
        viewer: who looks, where that is known.
    """

    past: Past
    place: Place
    viewer: Viewer | None
    now: datetime


def page(request: ApprovalRequest, beside: Beside, width: int, *, full: bool) -> list[Line]:
    """The whole page, `width` columns wide; `full`: nothing is cut."""
    blocks = [
        _what(request, beside, width, full=full),
        _why(request, width, full=full),
        _touches(request, width),
        _held(request, beside, width),
        _who_decides(request, beside, width),
        _origin(request, beside, width, full=full),
    ]
    lines = [*_head(request, beside, width)]
    for block in blocks:
        if block:
            lines += ["", *block]
    return lines


def who_decides(request: ApprovalRequest, place: Place, now: datetime) -> list[Line]:
    """One line per person who approved and per place that is open, without the heading."""
    rows = place.progress(request)
    size = max(len(row.requirement.name) for row in rows)
    return [line(f"  {name.ljust(size)}   {text}") for name, text, _ in _places(request, rows, {}, place, now)]


def _head(request: ApprovalRequest, beside: Beside, width: int) -> list[Line]:
    state = state_at(request, beside.now)
    lines: list[Line] = hanging("", request.spec.summary, width)
    facts = line(word(tier_of(request)), " · ", word(state.value))
    if state is State.PENDING:
        deadline = in_force(request, beside.now).deadline
        left = (deadline - beside.now).total_seconds()
        text = f"expires in {until(deadline, beside.now)} ({clock(deadline, beside.now)})"
        return [*lines, line(facts, " · ", tinted(text, Tint.EXPIRING if left < 120 else Tint.NONE))]
    return [*lines, facts, *hanging("", f"{request.name} {ending(request, beside.now)}", width)]


def _what(request: ApprovalRequest, beside: Beside, width: int, *, full: bool) -> list[Line]:
    call = request.spec.call
    version = f"   {call.version}" if call.version else ""
    definition = f"   definition {call.tool_definition_digest[:12]}" if full and call.tool_definition_digest else ""
    lines: list[Line] = [_heading(request)]
    lines.append(f"  {tool_of(request)}{version}{definition}")
    lines += argument_lines(call.arguments_preview, width, full=full)
    for editor, patch in edits_of(request):
        lines.append(f"  changed by {editor}")
        lines += changes(*patched(request, patch), width, indent="    ")
    if beside.past.last_approved is not None:
        first, *rest = difference(request, beside.past.last_approved, beside.now, width)
        lines += [line("  ", first), *rest]
    return lines


def _heading(request: ApprovalRequest) -> str:
    if request.spec.kind is Kind.SUGGESTION:
        return "WHAT IS SUGGESTED: do it yourself, the agent will not run it"
    return "WHAT WAS ASKED" if request.status.state.is_terminal else "WHAT WILL RUN"


def _why(request: ApprovalRequest, width: int, *, full: bool) -> list[Line]:
    spec = request.spec
    lines: list[Line] = ["WHY"]
    if spec.justification:
        lines += framed("agent says", limited(spec.justification, full=full), width)
    else:
        lines.append("  agent says   (nothing; ask for a justification in the policy)")
    if spec.alternatives:
        numbered = "   ".join(f"{number}. {text}" for number, text in enumerate(spec.alternatives, 1))
        lines += framed("instead it could", limited(numbered, full=full), width)
    if spec.context:
        lines += framed("context", limited(spec.context, full=full), width)
    return lines


def _touches(request: ApprovalRequest, width: int) -> list[Line]:
    spec = request.spec
    rows = {
        "network": spec.touches.network,
        "reads": spec.touches.reads,
        "writes": spec.touches.writes,
        "environment": spec.touches.environment,
        "effects": spec.effects,
        "undo": (f"{spec.undo} (stated by the tool, not checked)",) if spec.undo else (),
    }
    lines: list[Line] = []
    for name, values in rows.items():
        if values:
            lines += hanging(f"  {name.ljust(12)}", ", ".join(values), width)
    return ["WHAT IT CAN TOUCH", *lines] if lines else []


def _held(request: ApprovalRequest, beside: Beside, width: int) -> list[Line]:
    spec = request.spec
    lines: list[Line] = ["WHY IT IS HELD"]
    lines += hanging("  ", spec.explanation or _explanation(request), width)
    if spec.because and spec.because not in spec.explanation:
        lines += hanging("  because ", spec.because, width)
    points = [f"{factor.points:+d} {factor.reason}" for factor in spec.factors if factor.points]
    lines += _packed(points, width)
    if spec.earlier:
        lines.append(f"  the same call was asked before: {spec.earlier}")
    if beside.past.requests:
        lines += hanging("  ", f"seen before: {beside.past}", width)
    return lines


def _explanation(request: ApprovalRequest) -> str:
    spec = request.spec
    if spec.rule:
        policy, _, rule = spec.rule.rpartition("#")
        return f"rule {rule} of policy {policy.rpartition('/')[2]} is {tier_of(request)}"
    return f"score {spec.score} is {tier_of(request)}" if spec.score is not None else f"it is {tier_of(request)}"


def _who_decides(request: ApprovalRequest, beside: Beside, width: int) -> list[Line]:
    rows = beside.place.progress(request)
    filled, places = votes(rows)
    is_overridden = override_of(request) is not None
    count = "overridden" if is_overridden else f"{filled} of {places}"
    lines: list[Line] = [_opposed("WHO DECIDES", count, width)]
    for decision in deciders(request, DecisionKind.OVERRIDDEN):
        lines += hanging("  ", _overrode(request, decision, beside.now), width)
    pending = state_at(request, beside.now) is State.PENDING
    standing = standing_of(beside.viewer, request, rows) if beside.viewer and pending else None
    size = max(len(row.requirement.name) for row in rows)
    for name, text, note in _places(request, rows, _notes(rows, standing, beside), beside.place, beside.now):
        lines += _noted(f"  {name.ljust(size)}   {text}", note if not is_overridden else "", width)
    for decision in deciders(request, DecisionKind.DENIED):
        lines += hanging("  ", _said(request, decision, beside.now), width)
    for decision in request.status.decisions if pending else ():
        if decision.decision is DecisionKind.APPROVED and is_uncounted(request, decision):
            lines += hanging("  ", _said(request, decision, beside.now), width)
    for entry in request.status.verified:
        if entry.refused and not entry.note:
            lines += hanging("  ", f"not counted: {entry.reviewer}, {entry.refused}", width)
    for step in request.spec.escalation if pending else ():
        groups = ", ".join(step.to)
        lines.append(f"  {'after'.ljust(size)}   {format_duration(step.after)} also {groups}")
    return lines if len(lines) > 1 else []


def _places(
    request: ApprovalRequest, rows: Sequence[Progress], notes: Mapping[str, str], place: Place, now: datetime
) -> list[tuple[str, str, str]]:
    """(requirement, who approved or who is wanted, note) for every place, those that are filled first."""
    said = {decision.reviewer: decision for decision in request.status.decisions}
    places: list[tuple[str, str, str]] = []
    for row in rows:
        name = row.requirement.name
        places += [(name, _said(request, said[reviewer], now), "") for reviewer in row.filled_by]
        missing = row.places - len(row.filled_by)
        if missing and state_at(request, now) is State.PENDING:
            groups = row.requirement.any_of
            people = "person" if missing == 1 else "people"
            if _factor_replaces_one(row):
                missing, people = missing + 1, "people"
            whom = f"{missing} of group {' or '.join(groups)}" if groups else f"{missing} {people} {place.anyone}"
            places.append((name, f"{whom}{_factor(row)}", notes.get(name, "")))
    return places


def _factor(row: Progress) -> str:
    requirement = row.requirement
    factor = FACTORS[requirement.second_factor]
    if requirement.second_factor is SecondFactor.NONE or row.places > requirement.approvals:
        return ""  # none is wanted, or a second person stands in for it
    if _factor_replaces_one(row):
        missing = row.places - len(row.filled_by)
        return f", or {'one' if missing == 1 else missing} with a {factor}"
    return f", {factor} needed"


def _factor_replaces_one(row: Progress) -> bool:
    """Whether one person less is enough where a second factor is shown."""
    return row.requirement.or_second_person and row.places == row.requirement.approvals


def _said(request: ApprovalRequest, decision: Decision, now: datetime) -> str:
    at = f" {clock(decision.time, now)}" if decision.time else ""
    reason = f' ("{decision.reason}")' if decision.reason else ""
    waits = ", not counted yet" if is_uncounted(request, decision) else ""
    said = f"{decision.reviewer} {decision.decision.value.lower()}{at}{_shown_factor(request, decision)}"
    return f"{said}{waits}{reason}"


def _overrode(request: ApprovalRequest, decision: Decision, now: datetime) -> str:
    at = f" {clock(decision.time, now)}" if decision.time else ""
    waits = ", not counted yet" if is_uncounted(request, decision) else ""
    factor = _shown_factor(request, decision)
    return f'overridden by {decision.reviewer} (break-glass){at}{factor}{waits}: "{decision.reason}"'


def _shown_factor(request: ApprovalRequest, decision: Decision) -> str:
    """What beside the login the hub verified of this vote."""
    entries = (e for e in request.status.verified if e.reviewer == decision.reviewer and not e.note and not e.refused)
    entry = next(entries, None)
    if entry is None or not entry.second_factor:
        return ""
    return f", {'security key' if entry.hardware else 'second factor'} verified"


def _notes(rows: Sequence[Progress], standing: Standing | None, beside: Beside) -> dict[str, str]:
    """Beside each open place: whether the one who looks may fill it."""
    if standing is None:
        return {}
    notes = {}
    for row in rows:
        if not standing.may_approve:
            notes[row.requirement.name] = f"you may not: {standing.why_not}"
            continue
        assert beside.viewer is not None, "a standing is somebody's"
        notes[row.requirement.name] = _note(beside.viewer, row)
    return notes


def _note(viewer: Viewer, row: Progress) -> str:
    if can_fill(viewer, row):
        return "you may decide"
    if viewer.is_in(row.requirement.any_of):
        return f"you may not: no {FACTORS[row.requirement.second_factor]} in this login"
    return f"you may not: not in {' or '.join(row.requirement.any_of)}"


def _origin(request: ApprovalRequest, beside: Beside, width: int, *, full: bool) -> list[Line]:
    spec = request.spec
    whom = []
    if spec.on_behalf_of:
        verified = spec.on_behalf_of_verified
        whom = [f"for {spec.on_behalf_of} (token verified)" if verified else f"says it acts for {spec.on_behalf_of}"]
    agent = [f"agent {spec.agent_pod or spec.workload}, sa {spec.service_account}"]
    policies = [f"policy {policy.name} gen {policy.generation}" for policy in spec.policies]
    digest = spec.digest if full else f"{spec.digest[:8]} {spec.digest[8:_DIGEST_SHOWN]} …"
    asked = f"asked {clock(request.created, beside.now)}, {since(request.created, beside.now)} ago"
    lines = hanging("", " · ".join([*whom, *agent, *policies]), width)
    lines += [f"digest hmac:{digest}", asked] if full else [f"digest hmac:{digest}   {asked}"]
    if full:
        lines.append(f"name {request.handle}   uid {request.uid}")
        named = {"revision": spec.revision, "session": spec.session_id}
        lines += [f"{name} {value}" for name, value in named.items() if value]
    return lines


def _opposed(left: str, right: str, width: int) -> str:
    return f"{left}{' ' * max(width - cell_len(left) - cell_len(right), 1)}{right}"


def _noted(left: str, note: str, width: int) -> list[Line]:
    """The note at the right edge, or below where there is no room."""
    if not note or cell_len(left) + cell_len(note) + 3 <= width:
        return [_opposed(left, note, width) if note else left]
    return [left, _opposed("", note, width)]


def _packed(parts: Sequence[str], width: int) -> list[Line]:
    """Short parts, three spaces apart, as many as fit on a line."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(lines[-1]) + 3 + cell_len(part) <= width:
            lines[-1] += f"   {part}"
        else:
            lines.append(f"  {part}")
    return [*lines]
