"""The record of the enforcement check in its Secret, which all replicas read and write by compare-and-set (C4)."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

from hitl.errors import ApiError, Conflict, InvalidInput
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_operator.cluster.enforcement_record import Record, record_from_json, record_to_json
from hitl_operator.logs import Log

NAME: Final = "hitl-enforcement"
ACKNOWLEDGE: Final = "hitl.dev/acknowledge-rewind"
_KEY: Final = "record"

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A record as it stands in the Secret.

    Attributes:
        version: of the Secret; empty where there is none.
        annotation: what somebody wrote to acknowledge that the server went back.
    """

    record: Record
    version: str = ""
    annotation: str = ""


class SharedRecord:
    """The Secret `hitl-enforcement` of the operator's namespace."""

    def __init__(self, api: KubeAPI, namespace: str) -> None:
        self._api = api
        self._collection = path_of("v1", "secrets", namespace)
        self._path = path_of("v1", "secrets", namespace, NAME)

    async def load(self) -> Loaded:
        """As it is now; an empty record where there is none, or none that can be read: then nothing is known (I2)."""
        try:
            secret = await self._api.get(self._path)
        except ApiError as error:
            if error.status != 404:
                raise
            return Loaded(Record())
        metadata = secret["metadata"]
        annotation = (metadata.get("annotations") or {}).get(ACKNOWLEDGE, "")
        try:
            text = base64.b64decode((secret.get("data") or {}).get(_KEY, ""), validate=True)
            record = record_from_json(text)
        except (binascii.Error, InvalidInput) as error:
            _log.error("enforcement-record-unreadable", secret=NAME, problem=error)
            record = Record()
        return Loaded(record, metadata["resourceVersion"], annotation)

    async def save(self, loaded: Loaded, record: Record) -> Loaded:
        """Write a record in the place of what was loaded; an acknowledgement that stood there is used up.

        Raises:
            Conflict: another replica wrote first; load again.
            ApiError, StoreUnavailable: it was not written, or nobody knows.
        """
        metadata: dict[str, Any] = {"name": NAME, "labels": {"app.kubernetes.io/part-of": "hitl"}}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "hitl.dev/enforcement-record",
            "data": {_KEY: base64.b64encode(record_to_json(record)).decode()},
        }
        try:
            if loaded.version:
                metadata["resourceVersion"] = loaded.version
                written = await self._api.replace(self._path, secret)
            else:
                written = await self._api.create(self._collection, secret)
        except ApiError as error:
            # A 404 to a new one says that its namespace is not there, which reading again does not mend.
            if error.status == 409 or (error.status == 404 and loaded.version):
                raise Conflict(f"Secret {NAME}: another replica wrote first; it is read again") from error
            raise
        return Loaded(record, written["metadata"]["resourceVersion"])
