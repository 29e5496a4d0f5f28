"""Edits: a reviewer approves a changed call. What a patch may touch, what it gives, and when it applies (SECURITY D3).

A patch is JSON Merge Patch (RFC 7396) over the arguments. An approval that carries one approves the *changed* call and
nothing else, so it never adds up with approvals of the call as asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import rfc8785

from hitl.approvals.overriding import overrides
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Kind, Note, RequestSpec
from hitl.approvals.requirements import Approver, alternatives, approvers, barred, fill, requirements_of
from hitl.errors import InvalidCall, InvalidDecision
from hitl.policy.strict_json import MAX_DEPTH, parse_json, pointer
from hitl.policy.verdicts import Requirement

MAX_PATCH_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Edit:
    """A reviewer's change to the call."""

    editor: str
    patch: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tally:
    """What the approvals come to, taken in the order in which they were stored.

    Attributes:
        met: enough people approved one and the same call, or one overrode.
        override: with `met`: the one word that decided against the requirements; it is about the call as asked.
        edit: with `met`: the change that this call carries; None: as asked.
        superseded_by: somebody whose word counts wants another call, and one approval does not suffice for it: the
            request ends and a new one, with this editor excluded, takes its place.
    """

    met: bool
    edit: Edit | None = None
    superseded_by: Edit | None = None
    override: Decision | None = None

    @property
    def wanted(self) -> Edit | None:
        """The change that a request which was superseded hands on to the next one."""
        return self.superseded_by or self.edit


def apply_patch(arguments: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments after the patch (RFC 7396): null removes, objects merge, everything else replaces."""
    return dict(_merged(arguments, patch))


def check_patch(spec: RequestSpec, patch: Mapping[str, Any]) -> None:
    """Refuse a patch that this request cannot take.

    Raises:
        InvalidDecision: it is empty, too long, no exact JSON, touches what was not shown whole and unredacted, or
            changes nothing.
    """
    if not isinstance(patch, Mapping) or not patch:
        raise InvalidDecision(
            "the edit is empty; give the arguments to change as a JSON object, or approve without one"
        )
    size = _size(patch)
    if size > MAX_PATCH_BYTES:
        raise InvalidDecision(
            f"the edit has {size} bytes, at most {MAX_PATCH_BYTES} are allowed; deny and say what is wanted"
        )
    editable = ", ".join(spec.patchable) or "none"
    for name in patch:
        if pointer(name) not in spec.patchable:
            raise InvalidDecision(
                f"the edit touches {pointer(name)}, which was not shown whole and unredacted; "
                f"arguments that can be edited here: {editable}"
            )
    shown = _shown(spec)
    if apply_patch(shown, patch) == shown:
        raise InvalidDecision("the edit changes nothing; approve without it, or give another value")


def tally(request: ApprovalRequest, requirements: Sequence[Requirement]) -> Tally:
    """What the approvals so far come to under these requirements.

    Votes are taken in the order of their stored times; of the same moment those without an edit first, then by name.
    Whoever could fill no place changes nothing, with an edit or without, unless he overrides.
    """
    status = request.status
    people = {each.shown: each for each in approvers(status.decisions, status.verified, excluded=barred(request.spec))}
    plain: list[Approver] = []
    overriding = overrides(request)
    for decision in sorted((*_approvals(request), *overriding), key=_order):
        if decision in overriding:
            return Tally(met=True, override=decision)
        person = people.get(decision.reviewer)
        if person is None:
            continue
        if decision.arguments_patch is None:
            plain.append(person)
            if _suffice(requirements, plain):
                return Tally(met=True)
            continue
        edit = Edit(decision.reviewer, decision.arguments_patch)
        if _suffice(requirements, [person]):
            return Tally(met=True, edit=edit)
        if any(place.takes(person) for way in alternatives(requirements) for places in way for place in places):
            return Tally(met=False, superseded_by=edit)
    return Tally(met=False)


def one_approval_suffices(spec: RequestSpec) -> bool:
    """Whether an edit can apply at once, because a single approval can decide this request."""
    requirements = requirements_of(spec)
    return len(requirements) == 1 and requirements[0].approvals <= 1


def editors(request: ApprovalRequest) -> tuple[str, ...]:
    """Who approved a changed call here; all of them are excluded from the request that takes this one's place."""
    return tuple(sorted({each.reviewer for each in _approvals(request) if each.arguments_patch is not None}))


def unfit(request: ApprovalRequest, edit: Edit | None, digest: str, original_digest: str, by: str) -> str:
    """Why this call is not the one that was approved; empty if it is."""
    asked = request.spec.digest
    if request.spec.kind is not Kind.TOOL_CALL:
        return f"{request.name} is a {request.spec.kind.value}: nothing runs on it"
    if not digest or not by:
        return f"a release of {request.name} names the digest and the sidecar that holds the call"
    if edit is None and (digest != asked or original_digest not in ("", asked)):
        return f"{request.name} was approved for digest {asked[:8]}, not for {digest[:8]}; a changed call is a new one"
    if edit is not None and original_digest != asked:
        return (
            f"{edit.editor} approved {request.name} with changes: apply them to the call of digest {asked[:8]}, name "
            "that digest and the new one"
        )
    if edit is not None and digest == asked:
        return f"{edit.editor} approved {request.name} only with changes, and this call does not have them"
    return ""


def stored_at(entry: Decision | Note) -> datetime:
    """When the store took it. A vote or note without a time was stamped by no store: it comes last."""
    return entry.time or datetime.max.replace(tzinfo=UTC)


def _approvals(request: ApprovalRequest) -> Iterator[Decision]:
    return (each for each in request.status.decisions if each.decision is DecisionKind.APPROVED)


def _order(decision: Decision) -> tuple[datetime, bool, str]:
    return (stored_at(decision), decision.arguments_patch is not None, decision.reviewer)


def _suffice(requirements: Sequence[Requirement], people: Sequence[Approver]) -> bool:
    in_order = sorted(people, key=lambda person: person.name)
    return bool(requirements) and all(row.met for row in fill(requirements, in_order))


def _merged(target: Any, patch: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    known = target if isinstance(target, Mapping) else {}
    for name, value in known.items():
        if name not in patch:
            yield name, value
        elif patch[name] is not None:
            yield name, _patched(value, patch[name])
    for name, value in patch.items():
        if name not in known and value is not None:
            yield name, _patched(None, value)


def _patched(target: Any, patch: Any) -> Any:
    return dict(_merged(target, patch)) if isinstance(patch, Mapping) else patch


def _size(patch: Mapping[str, Any]) -> int:
    try:
        if _depth(patch) > MAX_DEPTH:
            raise InvalidDecision(f"the edit is nested deeper than {MAX_DEPTH} levels; flatten it")
        return len(rfc8785.dumps(dict(patch)))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise InvalidDecision(
            f"the edit cannot be written as exact JSON: {error}; give such a value as a string"
        ) from error


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        children: list[Any] = []
        for each in level:
            children.extend(each.values() if isinstance(each, Mapping) else each if isinstance(each, list) else ())
        level, depth = children, depth + 1
    return depth


def _shown(spec: RequestSpec) -> dict[str, Any]:
    """The arguments that may be edited, as they were shown."""
    try:
        preview = parse_json(spec.call.arguments_preview.encode(), "the preview")
    except InvalidCall as error:
        raise InvalidDecision(f"the arguments were not shown whole, so they cannot be edited here: {error}") from error
    arguments = preview if isinstance(preview, dict) else {}
    return {name: value for name, value in arguments.items() if pointer(name) in spec.patchable}
