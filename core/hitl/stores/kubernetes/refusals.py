"""What an API server's no means for a request, in words for people."""

import re
from typing import Final

from hitl.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    HitlError,
    InvalidDecision,
    NotFound,
    Refused,
    StoreUnavailable,
)

# Before a policy's own sentence: "… is forbidden: ValidatingAdmissionPolicy 'x' with binding 'y' denied request: ".
_POLICY: Final = re.compile(r"ValidatingAdmissionPolicy '([^']*)' with binding '[^']*' denied request: (.*)", re.DOTALL)


def not_found(namespace: str, name: str) -> NotFound:
    return NotFound(f"there is no approval request {namespace}/{name}; see what there is: kubectl hitl list")


def is_of_policy(error: ApiError) -> bool:
    """Whether an admission policy said it, not the roles of the caller."""
    return _POLICY.search(error.message) is not None


def words_of(error: ApiError) -> str:
    """The sentence that a person wrote: a policy's message, or those of the fields that do not fit."""
    if (policy := _POLICY.search(error.message)) is not None:
        return policy[2].strip()
    causes = [
        f"{cause['field']}: {cause['message']}" if cause.get("field") else str(cause["message"])
        for cause in error.details.get("causes") or ()
        if cause.get("message")
    ]
    return "; ".join(causes) if error.reason == "Invalid" and causes else error.message


def of_reading(error: ApiError, namespace: str | None, name: str = "") -> HitlError:
    """Why something could not be read."""
    match error.status:
        case 404 if name and error.details.get("name"):
            return not_found(namespace or "", name)
        case 404:
            return StoreUnavailable(
                f"the API server has no approval requests ({error.message}): hitl is not installed there, or another "
                "release of it; see kubectl get crd approvalrequests.hitl.dev"
            )
        case 401:
            return Forbidden(f"the API server does not know who you are ({error.message}); log in again")
        case 403:
            return Forbidden(f"{error.message}; ask for the role hitl-viewer in that namespace")
        case 410:
            return StoreUnavailable(f"reading took so long that the server forgot where it was ({error.message})")
    return StoreUnavailable(f"the API server refused to be read: {error.status} {error.message}")


def of_creating(error: ApiError, namespace: str, name: str) -> HitlError:
    """Why a request could not be created."""
    match error.status:
        case 409:
            return AlreadyExists(f"{namespace}/{name} is there already; read it and attach, or raise n")
        case 404 if error.details.get("kind") == "namespaces":
            return NotFound(f"there is no namespace {namespace}")
        case 400 | 422:
            return Refused(f"{namespace}/{name}: {words_of(error)}")
        case 403:
            return Forbidden(f"{namespace}/{name}: {words_of(error)}")
    return of_reading(error, namespace)


def of_writing(error: ApiError, namespace: str, name: str) -> HitlError:
    """Why the operator's write was not taken; 409 is for the caller to tell apart."""
    match error.status:
        case 409:
            return Conflict(f"{namespace}/{name} has changed; read it and decide again")
        case 400 | 422:
            return Refused(f"{namespace}/{name}: {words_of(error)}; read the request again and decide again")
        case 403:
            return Forbidden(f"{namespace}/{name}: {words_of(error)}")
    return of_reading(error, namespace, name)


def of_deciding(error: ApiError, namespace: str, name: str) -> HitlError:
    """Why a reviewer's entry was not taken, where the request as it stands does not tell."""
    match error.status:
        case 403 if is_of_policy(error):
            return Forbidden(f"{name}: {words_of(error)}")
        case 403:
            return Forbidden(f"{error.message}; ask for the role hitl-reviewer in namespace {namespace}")
        case 400 | 422:
            return InvalidDecision(f"{name}: {words_of(error)}")
    return of_reading(error, namespace, name)
