"""ApprovalRequests as manifests: what `-o yaml` prints, what a store keeps, what a hold carries on the wire.

Times are RFC 3339 in UTC with microseconds, durations ``15m``. Writing and reading are each other's inverse.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import orjson

from hitl.approvals.requests import ApprovalRequest, RequestSpec, RequestStatus
from hitl.errors import InvalidInput
from hitl.kube.codecs import TEXT, TEXT_MAP, TIME, Misfit, shown
from hitl.kube.request_shapes import SPEC, STATUS
from hitl.kube.shapes import Field, Shape
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

    Raises:
        InvalidInput: a field of spec or status unknown, missing or of the wrong type, with its path.
    """
    metadata = found["metadata"]
    parts: dict[str, Any] = {key: found[key] for key in ("spec", "status") if key in found}
    parts["metadata"] = {key: metadata[key] for key in _OURS if key in metadata}
    return _read(_MANIFEST, parts, "")


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
