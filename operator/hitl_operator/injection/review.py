"""What the API server asks a webhook, and what it is told: AdmissionReview of admission.k8s.io/v1, both ways."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from hitl.errors import InvalidInput
from hitl.policy.escaping import as_plain
from hitl_operator.injection.patching import Injected, OptedOut, Refused, patch

_API: Final = "admission.k8s.io/v1"
_PODS: Final = {"group": "", "version": "v1", "resource": "pods"}
_LONGEST: Final = 2000  # characters of a refusal; kubectl prints all of them
_LONGEST_WARNING: Final = 240  # the API server cuts all warnings together at 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """One question.

    Attributes:
        uid: of the question, to be repeated.
        namespace: in which the pod is to be.
        name: of the pod for people; of a pod that is still to be named what its name begins with.
        pod: None where something else than a new pod is asked about.
    """

    uid: str
    namespace: str
    name: str
    pod: Mapping[str, Any] | None = field(repr=False)


def read_review(body: bytes) -> Asked:
    """InvalidInput: it is no question to a webhook, so that there is nothing to answer."""
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON ({error}); wanted an AdmissionReview of {_API}") from None
    if not isinstance(review, dict) or (review.get("apiVersion"), review.get("kind")) != (_API, "AdmissionReview"):
        raise InvalidInput(f"the body is no AdmissionReview of {_API}")
    request = review.get("request")
    if not isinstance(request, dict) or not isinstance(request.get("uid"), str) or not request["uid"]:
        raise InvalidInput("the AdmissionReview has no request with a uid")
    pod = request.get("object")
    is_new = request.get("operation") == "CREATE" and not request.get("subResource")
    is_pod = isinstance(pod, dict) and all(isinstance(pod.get(part), dict) for part in ("metadata", "spec"))
    if request.get("resource") != _PODS or not is_new or not is_pod:
        pod = None
    metadata = (pod or {}).get("metadata") or {}
    name = str(metadata.get("name") or f"{metadata.get('generateName', '')}*")
    return Asked(request["uid"], str(request.get("namespace", "")), name, pod)


def answer(asked: Asked, decide: Callable[[Mapping[str, Any]], Injected | OptedOut | Refused]) -> tuple[str, bytes]:
    """Outcome, for metrics, and the AdmissionReview to send back."""
    if asked.pod is None:
        return "refused", refusal(asked.uid, 400, "hitl decides on new pods alone; ask it about CREATE of pods")
    match decide(asked.pod):
        case Refused(reasons):
            words = "; ".join(reasons)
            return "refused", refusal(asked.uid, 403, f"pod {asked.name} cannot be gated by hitl: {words}")
        case Injected(pod, warnings):
            return "injected", _allowed(asked, pod, warnings)
        case OptedOut(pod, warnings):
            return "opted-out", _allowed(asked, pod, warnings)


def refusal(uid: str, code: int, words: str) -> bytes:
    """A no, with words that the author of the pod reads."""
    status = {
        "code": code,
        "message": _plain(words, _LONGEST),
        "reason": "Forbidden" if code == 403 else "InternalError",
    }
    return _review({"uid": uid, "allowed": False, "status": status})


def _allowed(asked: Asked, pod: Mapping[str, Any], warnings: tuple[str, ...]) -> bytes:
    response: dict[str, Any] = {"uid": asked.uid, "allowed": True}
    assert asked.pod is not None
    if operations := patch(asked.pod, pod):
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(orjson.dumps(operations)).decode()
    if warnings:
        response["warnings"] = [_plain(each, _LONGEST_WARNING) for each in warnings]
    return _review(response)


def _review(response: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"apiVersion": _API, "kind": "AdmissionReview", "response": response})


def _plain(text: str, longest: int) -> str:
    plain = as_plain(text)
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"
