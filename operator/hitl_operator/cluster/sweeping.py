"""After a gap of enforcement: which open requests cannot be believed any more, and their end (SECURITY C4).

A request is clean if nothing was written in it since the last moment at which the checks are known to have stood, or if
this very hub judged everything in it before. A vote that came after is not believed, whatever time stands beside it:
who can write past the policies can write the time as well.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from hitl.errors import HitlError, Unavailable
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.requests import API_VERSION
from hitl_operator.logs import Log

_REQUESTS: Final = path_of(API_VERSION, "approvalrequests")
_OPEN: Final = {
    "fieldSelector": ",".join(f"status.state!={end}" for end in ("Denied", "Expired", "Cancelled", "Consumed"))
}
_PAGE: Final = 500
_PEOPLE_S: Final = ("decisions", "notes", "verified", "conditions")

_log = Log(__name__)


class Settling(Protocol):
    """What the check needs of the hub."""

    def look_at_all(self) -> None:
        """Enforcement was lost or regained: every open request stands otherwise now."""
        ...

    async def void(self, namespace: str, name: str, why: str, *, unless_known: bool) -> bool:
        """End a request as Cancelled/EnforcementLost. HitlError: it still stands there.

        unless_known: leave it where this hub itself judged all that is written in it. Returns whether it was ended.
        """
        ...


def is_doubtful(found: Mapping[str, Any], confirmed: int) -> bool:
    """Whether somebody may have written in an open request while the checks did not stand.

    Args:
        found: the request as the server has it.
        confirmed: highest version of any request up to which the checks are known to have stood.
    """
    metadata, status = found["metadata"], found.get("status") or {}
    if metadata.get("generation", 1) != 1:
        return True  # what was asked is never changed while the CRD stands
    return int(metadata["resourceVersion"]) > confirmed and any(status.get(part) for part in _PEOPLE_S)


async def sweep(api: KubeAPI, settling: Settling, *, confirmed: int, why: str, trust_memory: bool) -> int:
    """End every open request that cannot be believed. Returns the version up to which all of them are clean now.

    Raises:
        ApiError, StoreUnavailable: they could not be read.
        Unavailable: some could not be ended; the others were.
    """
    doubtful, left, clean, after = [], [], 0, ""
    while True:
        page = await api.list_page(_REQUESTS, _OPEN, limit=_PAGE, after=after)
        clean = clean or int(page["metadata"]["resourceVersion"])
        doubtful += [each["metadata"] for each in page.pop("items", None) or () if is_doubtful(each, confirmed)]
        after = page["metadata"].get("continue", "")
        if not after:
            break
    for metadata in doubtful:
        namespace, name = metadata["namespace"], metadata["name"]
        try:
            await settling.void(namespace, name, why, unless_known=trust_memory and metadata.get("generation", 1) == 1)
        except HitlError as error:
            _log.error("request-not-voided", handle=f"{namespace}/{name}", problem=error)
            left.append(f"{namespace}/{name}")
    if left:
        raise Unavailable(
            "ENFORCEMENT_LOST", f"{', '.join(left[:10])}: cannot be ended, though votes on it cannot be believed"
        )
    return clean
