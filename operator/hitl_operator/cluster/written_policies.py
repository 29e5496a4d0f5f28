"""What is written on the API server, mirrored: kopf says what changed, and a look now and then whether it missed any.

A list of metadata every few seconds is cheap. Without it config could go stale in silence: a deaf watch is noticed
late, and what was deleted while kopf renewed a watch is never reported by it. `age` is the time since the last look.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from hitl.errors import ApiError, HitlError, InvalidInput
from hitl.kube.access import Access
from hitl.kube.api import JSON, LIST_METADATA, KubeAPI
from hitl_operator.cluster.kopf_watch import KopfWatch
from hitl_operator.cluster.policy_resources import (
    PLURALS,
    Key,
    Resource,
    path_of_kind,
    path_of_resource,
    resource_of,
    reviewed_at,
)
from hitl_operator.logs import Log

LOOK_EVERY: Final = 10.0  # seconds
_PAGE: Final = 500
_GONE: Final = -1  # stands for the generation of what was deleted

_Missed = set[tuple[Key, str, int]]

_log = Log(__name__)


class WrittenPolicies:
    """Every policy and tool server of the cluster.

    Attributes:
        resources: as they are written, by kind, namespace and name.
        gone: uids of those that were here and are no longer, with what they were called.
    """

    def __init__(
        self,
        api: KubeAPI,
        access: Access,
        on_change: Callable[[], None],
        *,
        look_every: float = LOOK_EVERY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Does nothing yet; `on_change` is called after each change of a spec. InvalidInput: kopf cannot use it."""
        self.resources: dict[Key, Resource] = {}
        self.gone: dict[str, Key] = {}
        self._api = api
        self._on_change = on_change
        self._look_every = look_every
        self._monotonic = monotonic
        self._kopf = KopfWatch(access, self._told)
        self._confirmed = monotonic()
        self._missed: _Missed = set()

    @property
    def age(self) -> float:
        """Seconds since it was last known that this is what is written."""
        return self._monotonic() - self._confirmed

    async def begin(self) -> None:
        """See everything once. StoreUnavailable and ApiError as `KubeAPI`: nothing is known then."""
        began = self._monotonic()
        found = [resource_of(kind, each) for kind in PLURALS for each in (await self._listed(kind, JSON))[0]]
        self.resources = {each.key: each for each in found}
        self._confirmed = began

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._kopf.run())
            tasks.create_task(self._look_now_and_then())

    async def is_there(self, key: Key, uid: str) -> bool:
        """What the API server itself says: this mirror may be old. Raises as `KubeAPI`."""
        try:
            found = await self._api.get(path_of_resource(key))
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return bool(found["metadata"]["uid"] == uid)

    async def look(self) -> None:
        """Compare what is known with what is written, and mend it. HitlError where that cannot be told."""
        began = self._monotonic()
        deaf = set(self._missed)
        missed: _Missed = set()
        for kind in PLURALS:
            items, version = await self._listed(kind, LIST_METADATA)
            missed |= await self._compare(kind, [each["metadata"] for each in items], version)
        self._confirmed = began
        self._missed |= missed
        if deaf & self._missed:
            # It had from one look to the next to say what the first one found.
            _log.error("kopf-deaf", missed=len(deaf & self._missed), meaning="it is started anew")
            self._missed.clear()
            self._kopf.restart()

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._look_every)
            try:
                await self.look()
            except HitlError as error:
                _log.warning("policies-not-confirmed", age=f"{self.age:.0f}s", problem=error)

    async def _listed(self, kind: str, accept: str) -> tuple[list[dict[str, Any]], int]:
        """Everything of a kind, and the version as of which that is so."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = await self._api.list_page(path_of_kind(kind), limit=_PAGE, after=after, accept=accept)
            found += page.get("items") or ()
            after = page["metadata"].get("continue", "")
            if not after:
                return found, int(page["metadata"]["resourceVersion"])

    async def _compare(self, kind: str, written: list[dict[str, Any]], version: int) -> _Missed:
        missed: _Missed = set()
        there: set[Key] = set()
        for metadata in written:
            key = kind, metadata.get("namespace", ""), metadata["name"]
            there.add(key)
            known = self.resources.get(key)
            content = metadata["uid"], int(metadata["generation"])
            if known is not None and (known.content == content or known.version > int(metadata["resourceVersion"])):
                self.resources[key] = replace(known, reviewed=reviewed_at(metadata))
                continue
            try:
                found = resource_of(kind, await self._api.get(path_of_resource(key)))
            except ApiError as error:
                if error.status != 404:
                    raise
                continue
            self._take(found)
            missed.add((key, found.uid, found.generation))
        for key, known in list(self.resources.items()):
            if key[0] == kind and key not in there and known.version <= version:
                missed.add((key, known.uid, _GONE))
                self._remove(key, known.uid)
        return missed

    def _told(self, kind: str, event: str, manifest: Mapping[str, Any]) -> None:
        """By kopf."""
        try:
            resource = resource_of(kind, manifest)
        except InvalidInput as error:
            _log.error("policy-unreadable", problem=error)
            return
        generation = _GONE if event == "DELETED" else resource.generation
        self._missed.discard((resource.key, resource.uid, generation))
        if event == "DELETED":
            self._remove(resource.key, resource.uid)
        else:
            self._take(resource)

    def _take(self, resource: Resource) -> None:
        """It stands like this; older news about it changes nothing."""
        before = self.resources.get(resource.key)
        if before is not None and before.version > resource.version:
            return
        self.resources[resource.key] = resource
        self.gone.pop(resource.uid, None)
        if before is not None and before.uid != resource.uid:
            self.gone[before.uid] = before.key
        if before is None or (before.content, before.foreign) != (resource.content, resource.foreign):
            self._on_change()

    def _remove(self, key: Key, uid: str) -> None:
        before = self.resources.get(key)
        if before is not None and before.uid == uid:
            del self.resources[key]
            self.gone[uid] = key
            _log.warning("policy-deleted", policy=before, meaning="its rules no longer apply")
            self._on_change()
