"""What was accepted last of each policy, kept in Secrets of the operator's namespace (SECURITY C6, H1).

A replica that starts while a policy is invalid serves what every other replica serves. One Secret for each resource,
named after its uid; all replicas write the same, by compare-and-set, and an older generation never replaces a newer.
Nothing in it is secret: it is a Secret because who can write it can write policy, and in this namespace only the
operator may. One that is damaged counts as not there and is written anew; no other resource is touched by it.
"""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import orjson

from hitl.errors import ApiError, InvalidInput
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_operator.cluster.policy_resources import PLURALS, Key, Resource, path_of_resource
from hitl_operator.cluster.readings import LastGood
from hitl_operator.logs import Log

LABEL: Final = "hitl.dev/accepted"
_SELECTED: Final = {"labelSelector": LABEL}
_FIELD: Final = "accepted"
_SCHEMA: Final = 1
_TRIES: Final = 5  # writes that lose against another replica, which writes the same
_LARGEST: Final = 8 << 20  # bytes of a spec as JSON; etcd takes no object over 1.5 MiB

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """One Secret's content: whose it is, and what was accepted of it."""

    key: Key
    uid: str
    good: LastGood


class AcceptedSpecs:
    """Reads and writes them. Methods raise StoreUnavailable and ApiError as `KubeAPI` does."""

    def __init__(self, api: KubeAPI, namespace: str) -> None:
        """`namespace`: the operator's."""
        self._api = api
        self._namespace = namespace

    @property
    def namespace(self) -> str:
        """The operator's."""
        return self._namespace

    async def read_all(self, written: Mapping[str, Resource] = MappingProxyType({})) -> dict[str, Stored]:
        """Every one by uid. One that cannot be gone by is reported and counts as not there.

        Args:
            written: every resource by uid, as it is written as far as is known.
        """
        found: dict[str, Stored] = {}
        async for secret in self._api.list(path_of("v1", "secrets", self._namespace), _SELECTED):
            uid = secret["metadata"]["name"].removeprefix(_name(""))
            if (stored := await self._usable(secret, written.get(uid))) is not None:
                found[stored.uid] = stored
        return found

    async def read(self, uid: str, resource: Resource | None = None) -> Stored | None:
        """What is kept of one resource; `resource`: as it is written as far as is known."""
        secret = await self._secret(uid)
        return await self._usable(secret, resource) if secret is not None else None

    async def save(self, resource: Resource, good: LastGood) -> LastGood:
        """Keep what was accepted of a resource; returns what is kept now: newer where another replica saw more.

        Of two times since which one generation is overtaken by invalid ones the earlier counts.
        """
        for _ in range(_TRIES):
            secret = await self._secret(resource.uid)
            before = await self._usable(secret, resource) if secret is not None else None
            wanted = _merged(good, before.good if before is not None else None)
            if before is not None and wanted == before.good:
                return wanted
            try:
                if secret is None:
                    collection = path_of("v1", "secrets", self._namespace)
                    await self._api.create(collection, _manifest(resource, wanted, self._namespace))
                else:
                    fresh = _manifest(resource, wanted, self._namespace)
                    fresh["metadata"]["resourceVersion"] = secret["metadata"]["resourceVersion"]
                    await self._api.replace(self._path(resource.uid), fresh)
            except ApiError as error:
                if error.status not in (404, 409):
                    raise
                continue
            return wanted
        raise ApiError(409, "Conflict", f"{resource}: the Secret that keeps its accepted spec changes all the time")

    async def forget(self, uid: str) -> None:
        """Its resource is gone for good."""
        try:
            await self._api.delete(self._path(uid))
        except ApiError as error:
            if error.status != 404:
                raise

    async def _usable(self, secret: Mapping[str, Any], resource: Resource | None) -> Stored | None:
        """What a Secret keeps of a resource (None: of one that is perhaps gone); None where it cannot be gone by."""
        try:
            stored = _stored(secret)
            if resource is not None:
                await self._check(stored, resource)
        except InvalidInput as error:
            _log.error("accepted-spec-unusable", secret=secret["metadata"]["name"], problem=error)
            return None
        return stored

    async def _check(self, stored: Stored, resource: Resource) -> None:
        """InvalidInput where that was never accepted of this resource."""
        if stored.key != resource.key:
            raise InvalidInput(f"it holds {'/'.join(stored.key)}, wanted {resource}")
        if stored.good.generation <= resource.generation:
            return
        try:
            found = await self._api.get(path_of_resource(resource.key))
        except ApiError as error:
            if error.status != 404:
                raise
            return
        written = int(found["metadata"]["generation"])
        if found["metadata"]["uid"] == resource.uid and stored.good.generation > written:
            raise InvalidInput(
                f"it holds generation {stored.good.generation}, and {written} is the newest there ever was"
            )

    async def _secret(self, uid: str) -> dict[str, Any] | None:
        try:
            return await self._api.get(self._path(uid))
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def _path(self, uid: str) -> str:
        return path_of("v1", "secrets", self._namespace, _name(uid))


def _name(uid: str) -> str:
    return f"hitl-accepted-{uid}"


def _merged(good: LastGood, kept: LastGood | None) -> LastGood:
    if kept is None or good.generation > kept.generation:
        return good
    if good.generation < kept.generation:
        return kept
    if good.invalid_since is None or kept.invalid_since is None:
        return good
    return good if good.invalid_since <= kept.invalid_since else kept


def _manifest(resource: Resource, good: LastGood, namespace: str) -> dict[str, Any]:
    document = {
        "schema": _SCHEMA,
        "kind": resource.kind,
        "namespace": resource.namespace,
        "name": resource.name,
        "uid": resource.uid,
        "generation": good.generation,
        "spec": good.spec,
        "invalidSince": good.invalid_since.isoformat() if good.invalid_since is not None else None,
    }
    # A spec may be as large as a Secret may be, and base64 adds a third: policy text shrinks to a tenth.
    packed = base64.b64encode(zlib.compress(orjson.dumps(document))).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _name(resource.uid), "namespace": namespace, "labels": {LABEL: PLURALS[resource.kind]}},
        "type": "hitl.dev/accepted-spec",
        "data": {_FIELD: packed},
    }


def _stored(secret: Mapping[str, Any]) -> Stored:
    """InvalidInput for anything that `_manifest` would not have made."""
    try:
        packed = base64.b64decode(secret["data"][_FIELD], validate=True)
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(packed, _LARGEST)
        if not unpacking.eof or unpacking.unused_data:  # only the end of it proves that all of it is as it was written
            raise InvalidInput("its content is cut off")
        document = orjson.loads(text)
        if document["schema"] != _SCHEMA:
            raise InvalidInput(f"its schema is {document['schema']!r}, wanted {_SCHEMA}")
        kind, namespace, name, uid = (_text(document[each]) for each in ("kind", "namespace", "name", "uid"))
        generation, spec, since = document["generation"], document["spec"], document["invalidSince"]
        if type(generation) is not int or generation < 1 or not isinstance(spec, Mapping):
            raise InvalidInput("its generation is no number, or its spec no policy")
        good = LastGood(generation, spec, None if since is None else _time(since))
    except (KeyError, TypeError, ValueError, OverflowError, zlib.error) as error:
        raise InvalidInput(f"its content is not what was written ({type(error).__name__}: {error})") from None
    if kind not in PLURALS or secret["metadata"]["name"] != _name(uid):
        raise InvalidInput("it is named after another resource than it holds")
    return Stored((kind, namespace, name), uid, good)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _time(text: Any) -> datetime:
    found = datetime.fromisoformat(_text(text))
    if found.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return found.astimezone(UTC)
