"""Whether the API server acts on the policies now: forged writes, tried by the operator, must be refused (SECURITY C4).

That the policies are stored as shipped does not say that the server goes by them: it takes up a binding up to seconds
after it was stored, and a server can be started without admission policies. So what nobody may do is tried: as a dry
run, which passes the same checks and stores nothing. Each trial is refused by exactly one guard; for that the policies
treat the operator's own dry runs of these trials as anybody's (see the match conditions of the shipped policies).

The trials are made on a request that is kept in the operator's namespace: it asks nobody and has ended.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from hitl.approvals.conditions import CancelReason, with_outcome
from hitl.approvals.requests import CallShown, Kind, RequestSpec, RequestStatus, State
from hitl.errors import ApiError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.requests import API_VERSION, KIND, spec_to_manifest, status_to_manifest
from hitl.policy.verdicts import Requirement
from hitl_operator.logs import Log

PROBE: Final = "hitl-probe"
_NEVER_MADE: Final = "hitl-probe-new"
_REVIEWER: Final = "mallory@example.com"
_PLURAL: Final = "approvalrequests"
_WHY: Final = "kept by the operator to see that the API server refuses forged votes; it asks nobody"
_DENIED: Final = re.compile(r"ValidatingAdmissionPolicy '([^']+)' with binding '([^']+)' denied request")
_OUTSIDE = "nobody"
_TRIES: Final = 2  # somebody may remove what the trials are made on; who does so each time is no passing accident

_log = Log(__name__)


class Probe:
    """Tries the forged writes.

    Args:
        api: as the operator.
        namespace: the operator's.
        operator: its user name.
    """

    def __init__(
        self,
        api: KubeAPI,
        namespace: str,
        operator: str,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._operator = operator
        self._namespace = namespace
        self._clock = clock
        self._collection = path_of(API_VERSION, _PLURAL, namespace)
        self._status = path_of(API_VERSION, _PLURAL, namespace, PROBE, "status")
        self._kept: Mapping[str, Any] | None = None

    async def refused(self) -> str:
        """Why some forged write was not refused as it has to be, for people; empty where all of them were.

        Raises:
            ApiError, StoreUnavailable: it could not be tried.
        """
        return await self._tried(lambda uid: (self._vote(uid), self._word(), self._creation(), self._removal()))

    async def vote_refused(self) -> str:
        """As `refused`, of a forged vote alone: whether this server goes by policies at all.

        That is what releases wait for: it costs a third of all trials. Of policies that are stored untouched a server
        goes by all or by none, once it has taken them up; whether it has, `refused` says after each change of them.
        """
        return await self._tried(lambda uid: (self._vote(uid),))

    async def _tried(self, trials: Callable[[str], Iterable[Coroutine[Any, Any, str]]]) -> str:
        for _ in range(_TRIES):
            kept = self._kept  # another look may forget it meanwhile
            if kept is None:
                kept = self._kept = await self._keep()
            found = await asyncio.gather(*trials(str(kept["uid"])), return_exceptions=True)
            # What was let through was, whatever became of the other trials.
            if let_through := next((each for each in found if each and isinstance(each, str)), ""):
                return let_through
            failed = [each for each in found if isinstance(each, BaseException)]
            if not failed:
                return ""
            if (other := next((each for each in failed if not isinstance(each, _Gone)), None)) is not None:
                raise other
            self._kept = None
        raise ApiError(
            404,
            "NotFound",
            f"request {self._namespace}/{PROBE}, on which forged writes are tried, is there when it is read and is not "
            "found when it is written; see that the API server serves approvalrequests/status, and whether something "
            "removes the request",
        )

    async def _vote(self, uid: str) -> str:
        """A note in somebody's name. Nothing else is wrong with it: notes may be added after the end, votes may not."""
        note = {"reviewer": _REVIEWER, "n": 1, "requestUID": uid, "type": "Feedback", "reason": "forged"}
        attempt = self._api.merge_patch(self._status, {"status": {"notes": [note]}}, dry_run=True)
        return await _denied(attempt, "hitl-decisions", "an entry in another person's name")

    async def _word(self) -> str:
        """The operator's word that a vote counts which nobody cast."""
        word = {"reviewer": _REVIEWER, "note": 0}
        attempt = self._api.merge_patch(self._status, {"status": {"verified": [word]}}, dry_run=True)
        return await _denied(attempt, "hitl-operator-writes", "the word that a vote counts which nobody cast")

    async def _creation(self) -> str:
        """A request that no hub made."""
        attempt = self._api.create(self._collection, self._manifest(_NEVER_MADE), dry_run=True)
        return await _denied(attempt, "hitl-writers", "a request that no hub made")

    async def _removal(self) -> str:
        """An outcome taken back: refused by the resource definition itself."""
        what = "an outcome taken back"
        try:
            await self._api.merge_patch(
                self._status, {"status": {"conditions": None, "state": "Pending"}}, dry_run=True
            )
        except ApiError as error:
            if error.status == 404:
                raise _Gone from error
            if error.status == 422:
                return ""
            return f"{what} was refused, but not by the CRD: {error}"
        return f"{what} was not refused; the CRD does not act"

    async def _keep(self) -> Mapping[str, Any]:
        """Metadata of the request that the trials are made on; it is made, and ended, where it is not there."""
        path = path_of(API_VERSION, _PLURAL, self._namespace, PROBE)
        try:
            found = await self._api.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            try:
                found = await self._api.create(self._collection, self._manifest(PROBE))
            except ApiError as raced:
                if raced.status != 409:
                    raise
                found = await self._api.get(path)  # another replica made it
        if not (found.get("status") or {}).get("conditions"):
            found = await self._end(found)
        kept: Mapping[str, Any] = found["metadata"]
        return kept

    async def _end(self, found: Mapping[str, Any]) -> dict[str, Any]:
        status = with_outcome(RequestStatus(), State.CANCELLED, CancelReason.WITHDRAWN, _WHY, self._clock())
        version = found["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "status": status_to_manifest(status)}
        try:
            return await self._api.merge_patch(self._status, patch, field_manager="hitl-operator")
        except ApiError as error:
            if error.status != 409:
                raise
            return await self._api.get(path_of(API_VERSION, _PLURAL, self._namespace, PROBE))

    def _manifest(self, name: str) -> dict[str, Any]:
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": self._namespace, "labels": {"app.kubernetes.io/part-of": "hitl"}},
            "spec": spec_to_manifest(_spec(self._operator)),
        }


class _Gone(Exception):
    """Somebody removed what the trials are made on."""


def _spec(operator: str) -> RequestSpec:
    return RequestSpec(
        kind=Kind.SUGGESTION,
        summary="kept by the operator to see that forged votes are refused",
        requester=operator,
        agent_pod=_OUTSIDE,
        agent_pod_uid=_OUTSIDE,
        service_account=_OUTSIDE,
        workload=_OUTSIDE,
        session_id=_OUTSIDE,
        call=CallShown("hitl", "probe", "{}"),
        digest="0" * 64,
        key="0" * 64,
        sameness="0" * 64,
        tier="confirm",
        requirements=(Requirement("reviewer"),),
        timeout=60,
    )


async def _denied(attempt: Any, policy: str, what: str) -> str:
    """Why an attempt was not refused by this very policy; empty where it was."""
    try:
        await attempt
    except ApiError as error:
        if error.status == 404:
            raise _Gone from error
        denied = _DENIED.search(error.message)
        if denied is None:
            return f"{what} was refused, but not by policy {policy}: {error.message}"
        if denied[1] != policy:
            return f"{what} was refused by policy {denied[1]} instead of {policy}"
        return ""
    return f"{what} was not refused; policy {policy} does not act"
