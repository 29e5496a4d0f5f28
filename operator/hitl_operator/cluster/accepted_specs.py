"""What was accepted last of each policy, kept in Secrets of the operator's namespace (SECURITY C6, H1).

A replica that starts while a policy is invalid serves what every other replica serves. One Secret for each resource,
named after its uid; all replicas write the same, by compare-and-set, and an older generation never replaces a newer.
Nothing in it is secret: it is a Secret because who can write it can write policy, and in this namespace only the
operator may.
"""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from hitl.errors import ApiError, InvalidInput
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_operator.cluster.acceptance import LastGood
from hitl_operator.cluster.policy_resources import PLURALS, Key, Resource
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

    async def read_all(self) -> dict[str, Stored]:
        """Every one by uid. One that cannot be read is reported and counts as not there."""
        found: dict[str, Stored] = {}
        async for secret in self._api.list(path_of("v1", "secrets", self._namespace), _SELECTED):
            try:
                stored = _stored(secret)
            except InvalidInput as error:
                _log.error("accepted-spec-unusable", secret=secret["metadata"]["name"], problem=error)
            else:
                found[stored.uid] = stored
        return found

    async def read(self, uid: str) -> Stored | None:
        """What is kept of one resource."""
        secret = await self._secret(uid)
        return _usable(secret) if secret is not None else None

    async def save(self, resource: Resource, good: LastGood) -> LastGood:
        """Keep what was accepted of a resource; returns what is kept now: newer where another replica saw more.

        Of two times since which one generation is overtaken by invalid ones the earlier counts.
        """
        for _ in range(_TRIES):
            secret = await self._secret(resource.uid)
            before = _usable(secret) if secret is not None else None
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


def _usable(secret: Mapping[str, Any]) -> Stored | None:
    try:
        return _stored(secret)
    except InvalidInput as error:
        _log.error("accepted-spec-unusable", secret=secret["metadata"]["name"], problem=error)
        return None


def _stored(secret: Mapping[str, Any]) -> Stored:
    """InvalidInput for anything that `_manifest` would not have made."""
    try:
        packed = base64.b64decode(secret["data"][_FIELD], validate=True)
        unpacking = zlib.decompressobj()
        document = orjson.loads(unpacking.decompress(packed, _LARGEST))
        if document["schema"] != _SCHEMA:
            raise InvalidInput(f"its schema is {document['schema']!r}, wanted {_SCHEMA}")
        since = document["invalidSince"]
        stored = Stored(
            (document["kind"], document["namespace"], document["name"]),
            document["uid"],
            LastGood(
                int(document["generation"]),
                document["spec"],
                datetime.fromisoformat(since) if since is not None else None,
            ),
        )
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise InvalidInput(
            f"its content is not what was written ({type(error).__name__}: {error}); remove it"
        ) from None
    if stored.key[0] not in PLURALS or secret["metadata"]["name"] != _name(stored.uid):
        raise InvalidInput("it is named after another resource than it holds; remove it")
    return stored
