"""The key under checkpoints: its seed in a Secret of the operator's namespace, its public half in a ConfigMap.

Made once by whoever creates it first; all replicas sign with it. Public keys stay in the ConfigMap beside newer ones,
so that what an earlier key signed can still be verified.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping
from typing import Any, Final

from hitl.audit.layout import key_file
from hitl.audit.signing import SEED_BYTES, AuditKey
from hitl.errors import ApiError, InvalidInput, Unavailable
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_operator.logs import Log

NAME: Final = "hitl-audit-key"
"""Of the Secret, and of the ConfigMap with the public keys."""
_LABELS: Final = {"app.kubernetes.io/part-of": "hitl"}

_log = Log(__name__)


async def open_audit_key(api: KubeAPI, namespace: str) -> AuditKey:
    """The key; Secret and ConfigMap are made where they are not there.

    Raises:
        Unavailable: KEY_BROKEN, where what stands in the Secret is no key.
        ApiError, StoreUnavailable: it can neither be read nor made.
    """
    key = await _key(api, namespace)
    await _publish(api, namespace, key)
    return key


async def _key(api: KubeAPI, namespace: str) -> AuditKey:
    path = path_of("v1", "secrets", namespace, NAME)
    while True:
        try:
            return read_audit_key(await api.get(path))
        except ApiError as error:
            if error.status != 404:
                raise
        try:
            made = await api.create(path_of("v1", "secrets", namespace), _fresh())
        except ApiError as error:
            if error.status != 409:
                raise
        else:
            _log.warning("audit-key-made", secret=f"{namespace}/{NAME}", meaning="keep its public half elsewhere, too")
            return read_audit_key(made)


async def _publish(api: KubeAPI, namespace: str, key: AuditKey) -> None:
    path = path_of("v1", "configmaps", namespace, NAME)
    name = key_file(key.fingerprint).rpartition("/")[2]
    while True:
        try:
            stored = await api.get(path)
            if (stored.get("data") or {}).get(name) == key.pem.decode():
                return
            await api.replace(path, {**stored, "data": {**(stored.get("data") or {}), name: key.pem.decode()}})
        except ApiError as error:
            if error.status == 409:
                continue  # another replica was faster
            if error.status != 404:
                raise
        else:
            return
        metadata = {"name": NAME, "labels": _LABELS}
        fresh = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {name: key.pem.decode()}}
        try:
            await api.create(path_of("v1", "configmaps", namespace), fresh)
        except ApiError as error:
            if error.status != 409:
                raise


def read_audit_key(secret: Mapping[str, Any]) -> AuditKey:
    """Unavailable, KEY_BROKEN, says what is wrong without showing any of it."""
    try:
        return AuditKey(base64.b64decode((secret.get("data") or {}).get("seed", ""), validate=True))
    except (binascii.Error, InvalidInput) as error:
        raise Unavailable(
            "KEY_BROKEN",
            f"Secret {NAME}: data.seed is no key of {SEED_BYTES} bytes; restore it from a backup, or delete the "
            "Secret: a new key is made, and what the old one signed is verified by its public half in the ConfigMap",
        ) from error


def _fresh() -> dict[str, Any]:
    seed = base64.b64encode(secrets.token_bytes(SEED_BYTES)).decode()
    metadata = {"name": NAME, "labels": _LABELS}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "hitl.dev/audit-key",
        "data": {"seed": seed},
    }
