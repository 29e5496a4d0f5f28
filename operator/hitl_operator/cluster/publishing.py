"""What the API server is told: whom the webhook is trusted by, and what the sidecar of a new pod may be (E1).

`caBundle` of the webhook is written by the leader, by server-side apply, and nothing else of it: the rest is the
installation's. Where there is no webhook it is not installed, and that is no trouble. The SidecarStandard is all ours:
every replica adds the sidecar that it injects, so that during an upgrade what either release injects is admitted, and
marks it every few minutes as still injected; the leader says whom sidecars may trust, and takes out what nobody has
marked for a while.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hitl.errors import ApiError, HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.manifests import API_VERSION
from hitl.kube.paths import path_of
from hitl.kube.shipped import STANDARD, sidecar_standard
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.logs import Log

WEBHOOKS: Final = "hitl-injection"
WEBHOOK: Final = "inject.hitl.dev"
FIELD_MANAGER: Final = "hitl-certificates"
STANDARDS: Final = path_of(API_VERSION, "sidecarstandards")

_API: Final = "admissionregistration.k8s.io/v1"
_LOOK_EVERY: Final = 2.0  # seconds
_SETTLED: Final = 30.0  # seconds after which every API server has heard of what was written, by its own caches
_MARK_EVERY: Final = 240.0  # seconds after which a replica says again that it injects its sidecar
_OVERLAP: Final = 600.0  # seconds for which a sidecar that nobody marks stays admitted; pods on their way take seconds
_MOST: Final = 16  # sidecars, as the CRD has it

_log = Log(__name__)

_Sidecar = tuple[str, tuple[str, ...]]
"""Image and arguments."""


@dataclass(frozen=True, slots=True)
class InjectedSidecar:
    """The sidecar that this replica puts into pods."""

    image: str
    args: tuple[str, ...]


class Publishing:
    """Writes what is this replica's to write.

    Args:
        api: as the operator.
        admitted: what pods made now may have been injected with, see `tls.Certification`.
        injected: None where this replica injects nothing; then it leaves the SidecarStandard alone.
        clock: monotonic seconds.
        settled: seconds.
        overlap: seconds.
    """

    def __init__(
        self,
        api: KubeAPI,
        admitted: Callable[[], tuple[bytes, bytes]],
        injected: InjectedSidecar | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        settled: float = _SETTLED,
        overlap: float = _OVERLAP,
    ) -> None:
        self.trouble = Trouble(api, "not-published", meaning="the API server goes by what stood there before")
        self._api = api
        self._admitted = admitted
        self._injected = injected
        self._clock = clock
        self._settled = settled
        self._overlap = overlap
        self._marked = float("-inf")
        # Sidecars of others, by their annotation: its value, and since when this leader has seen that.
        self._foreign: dict[str, tuple[str, float]] = {}
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
            try:
                await self.look(leads=leads())
                self.trouble.over()
            except HitlError as error:
                self._stood = None
                self.trouble.tell(error)
            await asyncio.sleep(_LOOK_EVERY)

    async def look(self, *, leads: bool) -> None:
        """Write what differs. ApiError, StoreUnavailable: it could not be done, or nobody knows."""
        admitted = self._admitted()
        if not leads:
            self._stood = None
            self._foreign.clear()
        if not leads or not admitted[0]:
            if self._injected is not None:
                await self._standard(self._injected, None)
            return
        wrote = [await self._webhook(admitted[0])]
        if self._injected is not None:
            wrote.append(await self._standard(self._injected, admitted))
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

    async def _standard(self, injected: InjectedSidecar, admitted: Sequence[bytes] | None) -> bool:
        """Bring it up to date; `admitted`: None where that is for the leader to say."""
        found = await self._found(f"{STANDARDS}/{STANDARD}")
        stands: Mapping[str, Any] = (found or {}).get("spec") or {}
        marks: dict[str, str] = (found or {}).get("metadata", {}).get("annotations") or {}
        before = dict(marks)
        sidecars = [(each["image"], tuple(each["args"])) for each in stands.get("sidecars") or ()]
        authorities = list(stands.get("authorities") or ())
        own = injected.image, injected.args
        if admitted is not None:
            gone = {each for each in sidecars if each != own and not self._is_recent(each, marks)}
            sidecars = [each for each in sidecars if each not in gone]
            marks = {key: value for key, value in marks.items() if key not in set(map(_mark, gone))}
            authorities = list(dict.fromkeys(each.decode() for each in admitted if each))
        if own not in sidecars:
            sidecars = [own, *sidecars][:_MOST]
        if (now := self._clock()) - self._marked >= _MARK_EVERY:
            marks[_mark(own)] = secrets.token_hex(4)  # any other value than before says that somebody is there
        wanted = sidecar_standard(sidecars, authorities)
        if wanted["spec"] == stands and marks == before:
            return False
        wanted["metadata"]["annotations"] = marks
        try:
            if found is None:
                await self._api.create(STANDARDS, wanted)
            else:
                wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
                await self._api.replace(f"{STANDARDS}/{STANDARD}", wanted)
        except ApiError as error:
            # Another replica wrote at the same moment: the next look finds out. A 404 to a create: there is no CRD.
            if error.status != 409 and (error.status != 404 or found is None):
                raise
            return True
        self._marked = now if marks.get(_mark(own)) != before.get(_mark(own)) else self._marked
        if wanted["spec"] == stands:
            return False
        _log.info("sidecars-published", images=",".join(image for image, _ in sidecars), authorities=len(authorities))
        return True

    def _is_recent(self, sidecar: _Sidecar, marks: Mapping[str, str]) -> bool:
        """Whether a replica of another release injects it still, or has pods on their way that it was put into."""
        key, now = _mark(sidecar), self._clock()
        value = marks.get(key, "")
        if key not in self._foreign or self._foreign[key][0] != value:
            self._foreign[key] = value, now
        return now - self._foreign[key][1] < self._overlap

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


def _mark(sidecar: _Sidecar) -> str:
    """The annotation by which replicas say that they inject it."""
    return f"hitl.dev/sidecar-{hashlib.sha256(json.dumps(sidecar).encode()).hexdigest()[:16]}"
