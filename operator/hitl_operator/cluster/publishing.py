"""The leader tells the API server what to trust: caBundle of the webhook, and the CAs that gated pods may carry (E1).

Both are written by server-side apply, and only these fields: whatever else stands there is the installation's. What is
not there is not installed, and that is no trouble. What somebody else wrote there is put back.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from hitl.errors import ApiError, HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.logs import Log

WEBHOOKS: Final = "hitl-injection"
WEBHOOK: Final = "inject.hitl.dev"
PODS: Final = "hitl-pods"
FIELD_MANAGER: Final = "hitl-certificates"

_API: Final = "admissionregistration.k8s.io/v1"
_LOOK_EVERY: Final = 2.0  # seconds
_SETTLED: Final = 30.0  # seconds after which every API server has heard of what was written, by its own caches

_log = Log(__name__)


class Publishing:
    """Writes while this replica leads.

    Args:
        api: as the operator.
        namespace: the operator's.
        admitted: what pods made now may have been injected with, see `tls.Certification`.
        clock: monotonic seconds.
        settled: seconds.
    """

    def __init__(
        self,
        api: KubeAPI,
        namespace: str,
        admitted: Callable[[], tuple[bytes, bytes]],
        *,
        clock: Callable[[], float] = time.monotonic,
        settled: float = _SETTLED,
    ) -> None:
        self.trouble = Trouble(api, "ca-not-published", meaning="the API server goes by the one before")
        self._api = api
        self._namespace = namespace
        self._admitted = admitted
        self._clock = clock
        self._settled = settled
        self._stood: tuple[tuple[bytes, bytes], float] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether what is admitted now has stood there, as far as it is installed, for a while."""
        if self._stood is None:
            return False
        admitted, since = self._stood
        return admitted == self._admitted() and self._clock() - since >= self._settled

    async def run(self, leads: Callable[[], bool]) -> None:
        """Write until cancelled."""
        while True:
            if not leads():
                self._stood = None
            elif self._admitted()[0]:
                try:
                    await self.look()
                    self.trouble.over()
                except HitlError as error:
                    self._stood = None
                    self.trouble.tell(error)
            await asyncio.sleep(_LOOK_EVERY)

    async def look(self) -> None:
        """Write what differs. ApiError, StoreUnavailable: it could not be done, or nobody knows."""
        admitted = self._admitted()
        wrote = [await self._webhook(admitted[0]), await self._pods(*admitted)]
        if any(wrote) or self._stood is None or self._stood[0] != admitted:
            self._stood = admitted, self._clock()

    async def _webhook(self, bundle: bytes) -> bool:
        text = base64.b64encode(bundle).decode()
        path = path_of(_API, "mutatingwebhookconfigurations", name=WEBHOOKS)
        found = await self._found(path)
        ours = [each for each in (found or {}).get("webhooks") or () if each.get("name") == WEBHOOK]
        if found is None or not ours or ours[0].get("clientConfig", {}).get("caBundle") == text:
            return False
        webhook = {"name": WEBHOOK, "clientConfig": {"caBundle": text}}
        await self._apply(path, found, _API, "MutatingWebhookConfiguration", {"webhooks": [webhook]})
        return True

    async def _pods(self, bundle: bytes, before: bytes) -> bool:
        wanted = {"ca": bundle.decode(), "previousCA": before.decode()}
        path = path_of("v1", "configmaps", self._namespace, PODS)
        found = await self._found(path)
        if found is None or {key: (found.get("data") or {}).get(key) for key in wanted} == wanted:
            return False
        await self._apply(path, found, "v1", "ConfigMap", {"data": wanted})
        return True

    async def _found(self, path: str) -> dict[str, Any] | None:
        try:
            return await self._api.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    async def _apply(self, path: str, found: Mapping[str, Any], version: str, kind: str, fields: Any) -> None:
        # With its uid, so that what was deleted meanwhile is not made by us.
        metadata = {"name": found["metadata"]["name"], "uid": found["metadata"]["uid"]}
        body = {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
        try:
            await self._api.apply(path, body, field_manager=FIELD_MANAGER, force=True)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return  # it went, or was changed at the same moment; the next look finds out
        _log.info("ca-published", kind=kind, name=metadata["name"])
