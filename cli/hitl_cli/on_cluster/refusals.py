"""What an API server's "no" to a decision or a note means for the person who wrote it. Pure."""

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import ApiError, Forbidden, HitlError, InvalidDecision
from hitl_cli.on_cluster.place_words import PlaceWords
from hitl_cli.on_cluster.reading import denied


def in_words(error: HitlError, request: ApprovalRequest, place: PlaceWords) -> HitlError:
    """The same error with a next step; the admission policies' own words are for the person who reads them here."""
    cause = error.__cause__
    if isinstance(error, Forbidden | InvalidDecision) and isinstance(cause, ApiError):
        if cause.status == 403 and "ValidatingAdmissionPolicy" not in cause.message:
            doing = f"write to approvalrequests in namespace {request.namespace}"
            return denied(cause, doing, "role hitl-reviewer has verb patch on approvalrequests/status")
        words = str(error).removeprefix(f"{request.name}: ")
        return type(error)(f"{words}\nWho can: {place.hint('show', request.name, about=request)}")
    return error
