"""After a gap of enforcement: which open requests cannot be believed any more, and their end (SECURITY C4).

A request is clean if nothing was written in it since the last moment at which the checks are known to have stood, or if
this very hub judged everything in it before. A vote that came after is not believed, whatever time stands beside it:
who can write past the policies can write the time as well. Terms count for nothing, wherever they were written; but who
wrote others than spec and time give meant harm, and people read them, so such a request is ended, too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from hitl.approvals.timeline import is_overstated
from hitl.errors import HitlError, InvalidInput, StoreUnavailable, Unavailable
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.requests import API_VERSION
from hitl.stores.kubernetes.objects import request_of
from hitl_operator.logs import Log

_REQUESTS: Final = path_of(API_VERSION, "approvalrequests")
_OPEN: Final = {
    "fieldSelector": ",".join(f"status.state!={end}" for end in ("Denied", "Expired", "Cancelled", "Consumed"))
}
_PAGE: Final = 500
MOST_QUARANTINED: Final = 1000  # each takes 40 bytes of a Secret; more are no matter of single requests
_PEOPLE_S: Final = ("decisions", "notes", "verified", "conditions")
_TERMS: Final = ("expirationTime", "requirements", "rounds", "escalated", "notesApplied")

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


def is_doubtful(found: Mapping[str, Any], confirmed: int, now: datetime) -> bool:
    """Whether somebody may have written in an open request while the checks did not stand.

    Args:
        found: the request as the server has it.
        confirmed: highest version of any request up to which the checks are known to have stood.
        now: aware, UTC.
    """
    metadata, status = found["metadata"], found.get("status") or {}
    if metadata.get("generation", 1) != 1:
        return True  # what was asked is never changed while the CRD stands
    if int(metadata["resourceVersion"]) <= confirmed:
        return False
    return any(status.get(part) for part in _PEOPLE_S) or _has_other_terms(found, now)


def _has_other_terms(found: Mapping[str, Any], now: datetime) -> bool:
    """Whether other terms stand in a request, of which nothing else was said, than its spec gives."""
    if not any((found.get("status") or {}).get(part) for part in _TERMS):
        return False
    try:
        return is_overstated(request_of(found), now)
    except InvalidInput:
        return True  # no hub writes what it cannot read


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep came to.

    Attributes:
        clean: version up to which everything open can be believed, but for what is in quarantine.
        quarantined: uids of those that cannot be believed and could not be ended.
    """

    clean: int
    quarantined: frozenset[str]


async def sweep(
    api: KubeAPI,
    settling: Settling,
    *,
    confirmed: int,
    now: datetime,
    why: str,
    trust_memory: bool,
    quarantined: frozenset[str] = frozenset(),
) -> Swept:
    """End every open request that cannot be believed; what the API server does not let end goes into quarantine.

    So one request that cannot be ended does not keep all the others from being decided. Nothing in it ever counts, for
    its uid is remembered; `try_again`.

    Raises:
        ApiError, StoreUnavailable: they could not be read, or the server went away.
        Unavailable: more could not be ended than is remembered; the others were.
    """

    def is_suspect(found: Mapping[str, Any]) -> bool:
        return found["metadata"]["uid"] in quarantined or is_doubtful(found, confirmed, now)

    def may_be_known(metadata: Mapping[str, Any]) -> bool:
        return trust_memory and metadata["uid"] not in quarantined and metadata.get("generation", 1) == 1

    clean, suspects = await _open(api, is_suspect)
    return Swept(clean, await _end(api, settling, suspects, why, may_be_known))


async def try_again(api: KubeAPI, settling: Settling, quarantined: frozenset[str], why: str) -> frozenset[str]:
    """End what is in quarantine. Returns what still is: neither ended nor deleted. Errors as `sweep`."""
    _, found = await _open(api, lambda each: each["metadata"]["uid"] in quarantined)
    return await _end(api, settling, found, why, lambda _: False)


async def _open(api: KubeAPI, is_meant: Callable[[Mapping[str, Any]], bool]) -> tuple[int, list[Mapping[str, Any]]]:
    """The metadata of the open requests that are meant, and the version as of which these are all."""
    found, version, after = [], 0, ""
    while True:
        page = await api.list_page(_REQUESTS, _OPEN, limit=_PAGE, after=after)
        version = version or int(page["metadata"]["resourceVersion"])
        found += [each["metadata"] for each in page.pop("items", None) or () if is_meant(each)]
        after = page["metadata"].get("continue", "")
        if not after:
            return version, found


async def _end(
    api: KubeAPI,
    settling: Settling,
    suspects: Iterable[Mapping[str, Any]],
    why: str,
    may_be_known: Callable[[Mapping[str, Any]], bool],
) -> frozenset[str]:
    """The uids of those that could not be ended."""
    left: dict[str, str] = {}
    for metadata in suspects:
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        try:
            await settling.void(namespace, name, why, unless_known=may_be_known(metadata))
        except HitlError as error:
            if isinstance(error, StoreUnavailable):
                await api.list_page(_REQUESTS, limit=1)  # is it this request, or the server?
            _log.error("request-quarantined", handle=f"{namespace}/{name}", uid=uid, problem=error)
            left[uid] = f"{namespace}/{name}"
    if len(left) > MOST_QUARANTINED:
        raise Unavailable(
            "ENFORCEMENT_LOST",
            f"{len(left)} requests cannot be ended, though votes on them cannot be believed: "
            f"{', '.join(list(left.values())[:10])}, …",
        )
    return frozenset(left)
