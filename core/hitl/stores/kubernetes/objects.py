"""An ApprovalRequest as the object that an API server stores, read and written."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import orjson

from hitl.approvals.conditions import ExpiryReason, outcome, state_of
from hitl.approvals.requests import ApprovalRequest, Condition, Decision, Note, RequestSpec, RequestStatus, State
from hitl.approvals.requirements import requirements_of
from hitl.approvals.timeline import LONGEST, deadline_of
from hitl.kube.codecs import SECONDS, TIME, Codec, Misfit
from hitl.kube.paths import path_of
from hitl.kube.request_shapes import CONDITION
from hitl.kube.requests import API_VERSION, KIND, served_request, spec_to_manifest, status_to_manifest
from hitl.kube.shapes import Shape
from hitl.stores.protocol import Unread

PLURAL: Final = "approvalrequests"
# The reviewers' part of the status: nobody else writes it, also not unchanged.
_THEIRS: Final = ("decisions", "notes")
# What the first write of the operator says even though nothing of it changed: an opening is one create, which cannot
# carry a status, and from then on columns and other programs find it written down.
_TERMS: Final = ("expirationTime", "requirements")

T = TypeVar("T")
D = TypeVar("D")
Entry = tuple[str, str, int]


def path_to(namespace: str | None, name: str | None = None, *, status: bool = False) -> str:
    """Of one request, of its status, or of all in a namespace or everywhere."""
    return path_of(API_VERSION, PLURAL, namespace, name, "status" if status else None)


def request_of(found: Mapping[str, Any]) -> ApprovalRequest:
    """The request in a stored object. InvalidInput: not one that this release can read, with the path.

    Votes and notes carry the time at which the server took them, by its own books (managedFields), whatever they say.
    Terms that were not written yet are those of the beginning, so a hub that dies right after creating a request
    leaves one that ends in time all the same (I13).
    """
    request = served_request(found)
    status = request.status
    if status.decisions or status.notes:
        times = dict(_times(found["metadata"]))
        status = replace(
            status,
            decisions=tuple(replace(each, time=times.get((each.reviewer, "", 0))) for each in status.decisions),
            notes=tuple(replace(each, time=times.get((each.reviewer, "n", each.n))) for each in status.notes),
        )
    if status.expiration_time is None or not status.requirements:
        status = replace(
            status,
            expiration_time=status.expiration_time or deadline_of(request),
            requirements=status.requirements or requirements_of(request.spec),
        )
    return request if status is request.status else replace(request, status=status)


def new_object(namespace: str, name: str, spec: RequestSpec) -> dict[str, Any]:
    """What to create. InvalidInput for what a manifest cannot carry, with its path."""
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec_to_manifest(spec)}


def status_patch(request: ApprovalRequest, status: RequestStatus) -> dict[str, Any]:
    """A merge patch with what the operator changes, bound to the version that was read. What people wrote stays out."""
    old, new = (status_to_manifest(replace(each, decisions=(), notes=())) for each in (request.status, status))
    is_first = not (request.status.verified or request.status.conditions or request.status.rounds)
    changed: dict[str, Any] = {}
    for key in [*new, *(key for key in old if key not in new)]:
        if new.get(key) != old.get(key) or (is_first and key in _TERMS):
            changed[key] = new.get(key)
    return {"metadata": {"resourceVersion": request.version}, "status": changed}


def entry_of(request: ApprovalRequest, entry: Decision | Note) -> dict[str, Any]:
    """What a reviewer applies: his entry and nothing else, bound to the version that he was shown."""
    entry = replace(entry, time=None)  # the server stamps it
    mine = RequestStatus(decisions=(entry,)) if isinstance(entry, Decision) else RequestStatus(notes=(entry,))
    written = status_to_manifest(mine)
    metadata = {"namespace": request.namespace, "name": request.name, "resourceVersion": request.version}
    status = {key: written[key] for key in _THEIRS if key in written}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status}


def unread_of(found: Mapping[str, Any], why: str) -> Unread:
    """What can be told of an object that is no request which this release can read."""
    metadata, status = found["metadata"], _mapping(found.get("status"))
    created = TIME.read(metadata["creationTimestamp"])
    latest = created + LONGEST
    ends = _read_or(TIME, status.get("expirationTime"), None)
    if ends is None:
        timeout = _read_or(SECONDS, _mapping(found.get("spec")).get("timeout"), None)
        ends = latest if timeout is None else created + min(LONGEST, timedelta(seconds=timeout))
    return Unread(
        metadata["namespace"],
        metadata["name"],
        metadata["uid"],
        metadata["resourceVersion"],
        state=(reached := state_of(_conditions(status))),
        ended=outcome(_conditions(status), reached) if reached.is_terminal else None,
        ends=min(ends, latest),
        why=why,
    )


def ending_patch(found: Mapping[str, Any], ended: Condition) -> dict[str, Any] | None:
    """A merge patch that ends a stored object by this condition, whatever stands in it; None as `EndingStore.end`.

    Bound to the very object that was found. Writes the outcome, the state and the time, nothing else.
    """
    metadata, status = found["metadata"], _mapping(found.get("status"))
    state = state_of(_conditions(status))
    if state.is_terminal or (state is State.APPROVED and ended.reason == ExpiryReason.NOT_DECIDED):
        return None
    others = [each for each in _list(status.get("conditions")) if _mapping(each).get("type") != ended.type]
    changed: dict[str, Any] = {"state": ended.type, "conditions": [*others, CONDITION.write(ended)]}
    if not status.get("resolvedTime"):
        changed["resolvedTime"] = TIME.write(ended.last_transition_time)
    same = {key: metadata[key] for key in ("uid", "resourceVersion")}
    return {"metadata": same, "status": changed}


def _conditions(status: Mapping[str, Any]) -> list[Condition]:
    """Those that can be read, which is all that an API server takes in."""
    found = (_read_or(CONDITION, each, None) for each in _list(status.get("conditions")))
    return [each for each in found if each is not None]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _read_or(codec: Codec[T] | Shape[T], value: Any, otherwise: D) -> T | D:
    try:
        return codec.read(value)
    except Misfit:
        return otherwise


def _times(metadata: Mapping[str, Any]) -> Iterator[tuple[Entry, datetime]]:
    """When each vote (reviewer, "", 0) and note (reviewer, "n", n) came in: the earliest of who owns it.

    An entry never changes, so whoever owns it later has only repeated it.
    """
    books = sorted(metadata.get("managedFields") or (), key=lambda book: str(book.get("time", "")), reverse=True)
    for book in books:  # the earliest comes last, and so it stays
        if not book.get("time"):
            continue
        owned = (book.get("fieldsV1") or {}).get("f:status") or {}
        for field in ("f:decisions", "f:notes"):
            for key in owned.get(field) or ():
                if key.startswith("k:"):
                    named = orjson.loads(key[2:])
                    number = named.get("n", 0)
                    yield (named.get("reviewer", ""), "n" if number else "", number), TIME.read(book["time"])
