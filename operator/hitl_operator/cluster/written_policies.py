"""What is written on the API server, mirrored: kopf says what changed, and a look now and then whether it missed any.

A list of metadata every few seconds is cheap. Without it config could go stale in silence: a deaf watch is noticed
late, and what was deleted while kopf renewed a watch is never reported by it. `age` is the time since the last look.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from hitl.errors import ApiError, HitlError, InvalidInput
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl_operator.cluster.defects import note_defect
from hitl_operator.cluster.kopf_watch import LISTED, KopfWatch
from hitl_operator.cluster.policy_resources import (
    OVERRIDE,
    PLURALS,
    Key,
    Resource,
    path_of_resource,
    resource_of,
    reviewed_at,
)
from hitl_operator.cluster.served_kinds import NotServed, metadata_of, must_be_served, whole_of
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics

LOOK_EVERY: Final = 10.0  # seconds
_LOOK_SOON: Final = 2.0  # seconds, while kopf cannot be relied on
_GONE: Final = -1  # stands for the generation of what was deleted

_Missed = set[tuple[Key, str, int]]

_log = Log(__name__)


class WrittenPolicies:
    """Every policy and tool server of the cluster.

    Attributes:
        resources: as they are written, by kind, namespace and name.
        gone: uids of those that were here and are no longer, with what they were called.
        is_rewound: the server's storage went back in time, as after a restore of etcd. What is known may not be what is
            written by the same numbers now; only `begin` ends that.
        trouble: what keeps this from being compared with what is written.
    """

    def __init__(
        self,
        api: KubeAPI,
        access: Access,
        on_change: Callable[[], None],
        *,
        metrics: HubMetrics,
        look_every: float = LOOK_EVERY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Does nothing yet; `on_change` is called after each change of a spec, and when `is_rewound` becomes true.

        InvalidInput: kopf cannot use this access.
        """
        self.resources: dict[Key, Resource] = {}
        self.gone: dict[str, Key] = {}
        self.is_rewound = False
        self.trouble = Trouble(api, "policies-not-confirmed", meaning="what was read before stays in force")
        self._api = api
        self._on_change = on_change
        self._metrics = metrics
        self._look_every = look_every
        self._monotonic = monotonic
        self._kopf = KopfWatch(access, self._told)
        self._confirmed = monotonic()
        self._missed: _Missed = set()
        self._look_soon = asyncio.Event()
        self._newest: dict[str, int] = {}
        self._passed_over: dict[Key, str] = {}
        self._deleted: dict[Key, str] = {}
        self._deletion_told = asyncio.Event()
        self._unserved: set[str] = set()

    @property
    def age(self) -> float:
        """Seconds since it was last known that this is what is written."""
        return self._monotonic() - self._confirmed

    async def begin(self) -> None:
        """See everything, as if nothing had ever been seen. HitlError: that cannot be done now, and nothing changes."""
        began = self._monotonic()
        whole = {kind: await whole_of(self._api, kind, partial(self._read, kind)) for kind in PLURALS}
        for kind in PLURALS:
            await must_be_served(self._api, kind)
        if self.is_rewound:
            self._kopf.restart()
        self.resources = {each.key: each for found, _ in whole.values() for each in found}
        self._newest = {kind: version for kind, (_, version) in whole.items()}
        self.gone.clear()
        self._missed.clear()
        self.is_rewound = False
        self._confirmed = began

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._kopf.run())
            tasks.create_task(self._look_now_and_then())
            tasks.create_task(self._take_away())

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
        trouble: list[HitlError] = []
        unserved: set[str] = set()
        for kind in PLURALS:
            newest = self._newest.get(kind, 0)
            try:
                items, version = await metadata_of(self._api, kind)
            except NotServed as error:
                trouble.append(error)
                unserved.add(kind)
                continue
            if version < newest:
                self._rewound(kind, newest, version)
            if self.is_rewound:
                return
            missed |= await self._compare(kind, items, version, trouble)
            self._newest[kind] = max(version, self._newest.get(kind, 0))
        if unserved != self._unserved:
            self._unserved = unserved
            self._kopf.restart()  # it neither goes on where one kind goes, nor notices that it comes back
        if trouble:
            raise trouble[0]
        self._confirmed = began
        self._missed |= missed
        if deaf & self._missed:
            # It had from one look to the next to say what the first one found.
            _log.error("kopf-deaf", missed=len(deaf & self._missed), meaning="it is started anew")
            self._missed.clear()
            self._kopf.restart()

    async def _look_now_and_then(self) -> None:
        while True:
            await self._rest()
            try:
                await self.look()
                self.trouble.over()
            except HitlError as error:
                self.trouble.tell(error)
            except Exception:  # noqa: BLE001 - what is known stays known, and gets old
                note_defect(self._metrics, "policies-look")

    async def _take_away(self) -> None:
        """Believe kopf that something was deleted, unless it went with its CRD."""
        while True:
            await self._deletion_told.wait()
            self._deletion_told.clear()
            deleted, self._deleted = self._deleted, {}
            for kind in {kind for kind, _, _ in deleted}:
                try:
                    await must_be_served(self._api, kind)
                except HitlError as error:
                    self.trouble.tell(error)
                    self._look_soon.set()  # which tells it again, or takes them away
                    continue
                for key, uid in deleted.items():
                    if key[0] == kind:
                        self._remove(key, uid)

    async def _rest(self) -> None:
        """Until the next look: it comes soon where kopf says so, or has ended."""
        ends = self._monotonic() + self._look_every
        while (left := ends - self._monotonic()) > 0 and not self._look_soon.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_LOOK_SOON, left)):
                    await self._look_soon.wait()
            if not self._kopf.is_steady:
                break
        self._look_soon.clear()

    def _read(self, kind: str, manifest: Mapping[str, Any]) -> Resource | None:
        """One resource. One that cannot be read is passed over: it must not hide all the others.

        InvalidInput: of a baseline, which is everybody's, and which nobody can write who has but a namespace.
        """
        try:
            return resource_of(kind, manifest)
        except InvalidInput as error:
            metadata = manifest["metadata"]
            key = kind, metadata.get("namespace", ""), metadata["name"]
            if not key[1]:
                raise _unknown_baseline(key, error) from None
            self._pass_over(key, error)
            return None

    def _pass_over(self, key: Key, error: InvalidInput) -> None:
        if self._passed_over.get(key) != str(error):
            self._passed_over[key] = str(error)
            _log.error("policy-unreadable", policy="/".join(key), problem=error, meaning="it is passed over")

    def _rewound(self, kind: str, seen: int, served: int) -> None:
        _log.error("policies-rewound", kind=kind, seen=seen, served=served, meaning="everything is read anew")
        self.is_rewound = True
        self._on_change()

    async def _compare(
        self, kind: str, written: list[dict[str, Any]], version: int, trouble: list[HitlError]
    ) -> _Missed:
        """What kopf has not told. What keeps single resources from being looked at is added to `trouble`."""
        missed: _Missed = set()
        there: set[Key] = set()
        for metadata in written:
            key = kind, metadata.get("namespace", ""), metadata["name"]
            there.add(key)
            try:
                found = await self._news_of(key, metadata, version)
            except InvalidInput as error:
                if key[1]:
                    self._pass_over(key, error)
                else:
                    trouble.append(_unknown_baseline(key, error))
            except HitlError as error:
                trouble.append(error)
            except Exception as error:  # noqa: BLE001 - one resource must not hide all the others
                note_defect(self._metrics, "policies-look", policy="/".join(key))
                if not key[1]:
                    trouble.append(_unknown_baseline(key, error))
            else:
                if found is not None:
                    missed.add((key, found.uid, found.generation))
            if self.is_rewound:
                return missed
        gone = [
            known
            for key, known in self.resources.items()
            if key[0] == kind and key not in there and known.version <= version
        ]
        if gone:
            try:
                await must_be_served(self._api, kind)
            except HitlError as error:
                trouble.append(error)
                return missed
        for known in gone:
            missed.add((known.key, known.uid, _GONE))
            self._remove(known.key, known.uid)
        return missed

    async def _news_of(self, key: Key, metadata: Mapping[str, Any], version: int) -> Resource | None:
        """A resource, where its spec is another one than is known.

        Args:
            key: what it is called.
            metadata: as it stood at `version`.
            version: of a list of all of its kind.
        """
        known, listed = self.resources.get(key), int(metadata["resourceVersion"])
        if known is not None and known.version >= listed:
            if listed < known.version <= version:
                self._rewound(key[0], known.version, listed)
            self.resources[key] = replace(known, reviewed=reviewed_at(metadata))
            return None
        try:
            found = resource_of(key[0], await self._api.get(path_of_resource(key)))
        except ApiError as error:
            if error.status != 404:
                raise
            return None
        before = self.resources.get(key)
        self._take(found)
        return None if before is not None and before.content == found.content else found

    def _told(self, kind: str, event: str, manifest: Mapping[str, Any]) -> None:
        """By kopf."""
        try:
            if manifest.get("kind") == LISTED:
                self._listed(kind, manifest["metadata"])
            else:
                self._changed(event, resource_of(kind, manifest))
        except InvalidInput as error:
            _log.error("policy-unreadable", problem=error)
            if kind == "ClusterAgentPolicy":
                self._look_soon.set()  # which tells that nobody's config is known to be current
        except Exception:  # noqa: BLE001 - it is looked at soon
            note_defect(self._metrics, "policies-told", kind=kind)
            self._look_soon.set()

    def _changed(self, event: str, resource: Resource) -> None:
        generation = _GONE if event == "DELETED" else resource.generation
        self._missed.discard((resource.key, resource.uid, generation))
        if event == "DELETED":
            self._deleted[resource.key] = resource.uid
            self._deletion_told.set()
        else:
            self._take(resource)

    def _listed(self, kind: str, metadata: Mapping[str, Any]) -> None:
        """Of what was there when kopf began it says the metadata alone; what is news in it is looked at."""
        key = kind, metadata.get("namespace", ""), metadata["name"]
        self._missed.discard((key, metadata["uid"], int(metadata["generation"])))
        known = self.resources.get(key)
        if known is None or known.version < int(metadata["resourceVersion"]):
            self._look_soon.set()

    def _take(self, resource: Resource) -> None:
        """It stands like this; older news about it changes nothing."""
        before = self.resources.get(resource.key)
        if before is not None and before.version > resource.version:
            return
        self.resources[resource.key] = resource
        self._newest[resource.kind] = max(resource.version, self._newest.get(resource.kind, 0))
        self._passed_over.pop(resource.key, None)
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
            if key[0] == OVERRIDE:
                _log.warning("freeze-deleted", override=before, meaning="what it stopped goes on")
            else:
                _log.warning("policy-deleted", policy=before, meaning="its rules no longer apply")
            self._on_change()


def _unknown_baseline(key: Key, error: Exception) -> InvalidInput:
    """A baseline is everybody's: what it may deny or forbid now nobody knows, so nobody's config is known to be current
    (I2). Only who runs the cluster can write one, so no namespace can make this happen to others.
    """
    return InvalidInput(
        f"ClusterAgentPolicy {key[2]} cannot be read ({type(error).__name__}: {error}), so nobody's config is known to "
        f"be what is written; look at it with kubectl get clusteragentpolicy {key[2]} -o yaml, and correct or delete it"
    )
