"""Reading from the API server, its "no" in words with a next step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hitl.errors import ApiError, Forbidden, HitlError

_NOT_KNOWN: Final = 401
_NOT_ALLOWED: Final = 403
_NOT_THERE: Final = 404
NOT_INSTALLED: Final = "hitl is not installed on this cluster, or not whole: it has no {kind}"


@contextmanager
def reading(what: str, whose: str, role: str, doctor: str) -> Iterator[None]:
    """Around a read of a whole collection.

    Args:
        what: the resource in the plural, e.g. ``approvalrequests``.
        whose: where, as the end of "in …".
        role: the ClusterRole that would help.
        doctor: the command that looks for what is missing.

    Raises:
        Forbidden: the caller may not, or is not known.
        HitlError: the cluster has no such resource.
    """
    try:
        yield
    except HitlError as error:
        said = error if isinstance(error, ApiError) else error.__cause__
        if not isinstance(said, ApiError):
            raise
        if said.status == _NOT_THERE:
            raise HitlError(f"{NOT_INSTALLED.format(kind=f'{what}.hitl.dev')}\nWhat is missing: {doctor}") from error
        raise denied(said, f"list {what} in {whose}", f"role {role} has verb list on {what}.hitl.dev") from error


def denied(error: ApiError, doing: str, step: str) -> HitlError:
    """What an API server's "no" to `doing` means for a person; `step`: what would help."""
    if error.status == _NOT_KNOWN:
        return Forbidden(
            f"the API server does not know you: {error.message}\nLog in again; who you are: kubectl auth whoami"
        )
    if error.status == _NOT_ALLOWED:
        return Forbidden(f"you may not {doing}: {error.message}\n{step[:1].upper()}{step[1:]}")
    return error
