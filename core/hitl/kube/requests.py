"""ApprovalRequests as manifests: what `-o yaml` prints, what a store keeps, what a hold carries on the wire.

Times are RFC 3339 in UTC with microseconds, durations ``15m``. Writing and reading are each other's inverse.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, TypeVar

import orjson

from hitl.approvals.requests import (
    ApprovalRequest,
    Decision,
    DecisionKind,
    Note,
    NoteType,
    RequestSpec,
    RequestStatus,
)
from hitl.errors import InvalidInput
from hitl.kube.codecs import TEXT, TEXT_MAP, TIME, Codec, Misfit, integer, many, shown
from hitl.kube.request_shapes import DECISION, NOTE, SPEC, STATUS
from hitl.kube.shapes import Field, Shape
from hitl.policy.escaping import as_plain
from hitl.policy.strict_json import parse_json

API_VERSION: Final = "hitl.dev/v1alpha1"
KIND: Final = "ApprovalRequest"
# What an API server adds to metadata and a request does not carry.
_NOT_OURS = frozenset(
    {
        "annotations",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "selfLink",
    }
)

# What a request carries of an API server's metadata, whatever else a newer one adds.
_OURS = ("namespace", "name", "uid", "resourceVersion", "creationTimestamp", "labels")

# What people write into a status, each his own entry.
_PEOPLE_S = ("decisions", "notes")
_LONGEST_WHY = 300  # characters

_MANIFEST = Shape(
    ApprovalRequest,
    Field("metadata.namespace", "namespace", TEXT),
    Field("metadata.name", "name", TEXT),
    Field("metadata.uid", "uid", TEXT),
    Field("metadata.resourceVersion", "version", TEXT),
    Field("metadata.creationTimestamp", "created", TIME),
    Field("metadata.labels", "labels", TEXT_MAP, default=MappingProxyType({})),
    Field("spec", "spec", SPEC.codec),
    Field("status", "status", STATUS.codec, always=True),
)
T = TypeVar("T")


def request_to_manifest(request: ApprovalRequest) -> dict[str, Any]:
    """The resource as a mapping of plain JSON values, keys in reading order.

    Raises:
        InvalidInput: a value that a manifest cannot carry, with its path.
    """
    return {"apiVersion": API_VERSION, "kind": KIND, **_written(_MANIFEST, request, "")}


def manifest_to_request(manifest: Mapping[str, Any]) -> ApprovalRequest:
    """The request a manifest means. Metadata that an API server adds for itself is passed over.

    Raises:
        InvalidInput: another kind or version, a field unknown, missing or of the wrong type, with its path.
    """
    ours = dict(manifest)
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if ours.pop(key, None) != wanted:
            raise InvalidInput(f"{key}: is {shown(manifest.get(key))}, wanted {wanted}")
    if isinstance(ours.get("metadata"), Mapping):
        ours["metadata"] = {key: value for key, value in ours["metadata"].items() if key not in _NOT_OURS}
    return _read(_MANIFEST, ours, "")


def served_request(found: Mapping[str, Any]) -> ApprovalRequest:
    """The request in an object as an API server hands it out; metadata that we do not know is passed over.

    A decision or note that cannot be read stands there as one that says so (`unreadable`) and never counts: what one
    person wrote keeps nobody from reading the rest, or from ending the request (I13).

    Raises:
        InvalidInput: a field of spec, or of the hub's part of the status, unknown, missing or of the wrong type.
    """
    metadata = found["metadata"]
    parts: dict[str, Any] = {key: found[key] for key in ("spec", "status") if key in found}
    parts["metadata"] = {key: metadata[key] for key in _OURS if key in metadata}
    try:
        return _MANIFEST.read(parts)
    except Misfit as misfit:
        if not isinstance(status := parts.get("status"), Mapping):
            raise InvalidInput(str(misfit)) from misfit
    ours = {key: value for key, value in status.items() if key not in _PEOPLE_S}
    request = _read(_MANIFEST, {**parts, "status": ours}, "")
    decisions = _each_read(status, "decisions", DECISION, _unread_decision)
    notes = _each_read(status, "notes", NOTE, _unread_note)
    return replace(request, status=replace(request.status, decisions=decisions, notes=notes))


def spec_to_json(spec: RequestSpec) -> bytes:
    """The spec as compact JSON: what a sidecar sends to open a hold, and what a store keeps. InvalidInput as above."""
    return _dumped(_written(SPEC, spec, ".spec"), "spec")


def spec_from_json(document: bytes) -> RequestSpec:
    """The spec that a JSON text means, read in exactly one way (SECURITY A3).

    Raises:
        InvalidInput: not such a text, or a field unknown, missing or of the wrong type, with its path.
    """
    return _read(SPEC, parse_json(document, "spec"), ".spec")


def spec_to_manifest(spec: RequestSpec) -> dict[str, Any]:
    """The spec as plain JSON values. InvalidInput for what JSON cannot carry, with its path."""
    return _written(SPEC, spec, ".spec")


def status_to_manifest(status: RequestStatus) -> dict[str, Any]:
    """The status as plain JSON values. InvalidInput for what JSON cannot carry, with its path."""
    return _written(STATUS, status, ".status")


def status_to_json(status: RequestStatus) -> bytes:
    """The status as compact JSON. InvalidInput for what JSON cannot carry, with its path."""
    return _dumped(_written(STATUS, status, ".status"), "status")


def stored_request(metadata: Mapping[str, Any], spec: str, status: str) -> ApprovalRequest:
    """A request from the parts that a store keeps: JSON that this module wrote. InvalidInput where it did not."""
    try:
        parts = {"metadata": metadata, "spec": orjson.loads(spec), "status": orjson.loads(status)}
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"not JSON: {error}") from error
    return _read(_MANIFEST, parts, "")


def _each_read(
    status: Mapping[str, Any], part: str, shape: Shape[T], instead: Callable[[Mapping[str, Any], str], T]
) -> tuple[T, ...]:
    """What people wrote in one part of a status, each entry by itself; `instead` of one that cannot be read."""

    def read(entry: Any) -> T:
        try:
            return shape.read(entry)
        except Misfit as misfit:
            if not isinstance(entry, Mapping):
                raise
            return instead(entry, as_plain(str(misfit))[:_LONGEST_WHY])

    try:
        return many(Codec(shape.write, read)).read(status.get(part, []))
    except Misfit as misfit:
        raise InvalidInput(str(misfit.under(f".status.{part}"))) from misfit


def _unread_decision(entry: Mapping[str, Any], why: str) -> Decision:
    said = next((kind for kind in DecisionKind if kind == entry.get("decision")), DecisionKind.DENIED)
    # Without digest and uid it answers nothing: nobody can count it, also who overlooks the rest.
    return Decision(TEXT.read(entry.get("reviewer")), said, digest="", request_uid="", unreadable=why)


def _unread_note(entry: Mapping[str, Any], why: str) -> Note:
    reviewer, number = TEXT.read(entry.get("reviewer")), integer(1, 8).read(entry.get("n"))
    return Note(reviewer, number, request_uid="", type=NoteType.FEEDBACK, unreadable=why)


def _written(shape: Shape[T], value: T, path: str) -> dict[str, Any]:
    try:
        return shape.write(value)
    except Misfit as misfit:
        raise InvalidInput(str(misfit.under(path))) from misfit


def _read(shape: Shape[T], document: Any, path: str) -> T:
    try:
        return shape.read(document)
    except Misfit as misfit:
        raise InvalidInput(str(misfit.under(path))) from misfit


def _dumped(document: dict[str, Any], what: str) -> bytes:
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"{what}: has no JSON form ({error}); escape the text before it is stored") from error
