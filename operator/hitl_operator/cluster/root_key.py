"""The root key of an installation, in a Secret that all replicas share (DESIGN 18 Keys, SECURITY D1).

Made once by whoever creates it first; the others read it. A new epoch is begun by raising ``epoch``: the one before
stays live, so that calls held under it can still be released.
"""

import base64
import binascii
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from hitl.errors import ApiError, Unavailable
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.reflector import Reflector
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.keys import Keyring
from hitl_operator.logs import Log

NAME: Final = "hitl-keys"
_ROOT_BYTES: Final = 32

_log = Log(__name__)


class RootKey:
    """Keeps the keyring in step with the Secret.

    Args:
        api: as the operator.
        namespace: the operator's.
        on_change: gets every new keyring after the first.
    """

    def __init__(self, api: KubeAPI, namespace: str, *, on_change: Callable[[Keyring], None]) -> None:
        self._api = api
        self._namespace = namespace
        self._on_change = on_change
        self._found: tuple[bytes, int] | None = None
        path = path_of("v1", "secrets", namespace)
        only = {"fieldSelector": f"metadata.name={NAME}"}
        self.trouble = Trouble(api, "root-key-not-followed", meaning="the one that was read before stays in use")
        self._reflector: Reflector[bool] = Reflector(
            api,
            path,
            keep=self._take,
            params=only,
            on_change=self._changed,
            on_trouble=self.trouble.tell,
            on_heard=self.trouble.over,
        )

    async def open(self) -> Keyring:
        """The keyring; the Secret is made where it is not there.

        Raises:
            Unavailable: KEY_BROKEN, where what stands in it is no key.
            ApiError, StoreUnavailable: it can neither be read nor made.
        """
        path = path_of("v1", "secrets", self._namespace, NAME)
        while True:
            try:
                return self._keyring(await self._api.get(path))
            except ApiError as error:
                if error.status != 404:
                    raise
            try:
                made = await self._api.create(path_of("v1", "secrets", self._namespace), _fresh())
                _log.warning("root-key-made", secret=f"{self._namespace}/{NAME}", meaning="back it up")
                return self._keyring(made)
            except ApiError as error:
                if error.status != 409:
                    raise

    async def run(self) -> None:
        """Follow the Secret until cancelled."""
        await self._reflector.run()

    def _keyring(self, secret: Mapping[str, Any]) -> Keyring:
        self._found = read_key(secret)
        return Keyring(*self._found)

    def _take(self, secret: Mapping[str, Any]) -> bool:
        """What the Secret has now comes into force; what is no key changes nothing."""
        try:
            found = read_key(secret)
        except Unavailable as error:
            _log.error("root-key-unusable", problem=error, meaning="the one that was read before stays in use")
            return True
        before, self._found = self._found, found
        if before is not None and found != before:
            if found[0] != before[0]:
                _log.error("root-key-replaced", meaning="calls held under the key before have to be made again")
            else:
                _log.info("root-key-rotated", epoch=found[1])
            self._on_change(Keyring(*found))
        return True

    def _changed(self, _key: tuple[str, str], _old: bool | None, new: bool | None) -> None:
        if new is None:
            _log.error(
                "root-key-deleted",
                secret=f"{self._namespace}/{NAME}",
                meaning="restore it from a backup: a replica that starts now would make another one",
            )


def read_key(secret: Mapping[str, Any]) -> tuple[bytes, int]:
    """Root and epoch. Unavailable, KEY_BROKEN, says what is wrong without showing any of it."""
    data = secret.get("data") or {}
    try:
        root = base64.b64decode(data["root"], validate=True)
        epoch = base64.b64decode(data["epoch"], validate=True).strip()
    except (KeyError, TypeError, binascii.Error):
        root, epoch = b"", b""
    if len(root) != _ROOT_BYTES:
        raise Unavailable(
            "KEY_BROKEN",
            f"Secret {NAME}: data.root has {len(root)} bytes, wanted {_ROOT_BYTES}; restore it from a backup, or "
            "delete the Secret: calls held under the lost key then have to be made again",
        )
    if not epoch.isdigit() or not 1 <= int(epoch) < 1 << 31:
        raise Unavailable(
            "KEY_BROKEN", f"Secret {NAME}: data.epoch must be a number from 1; the current one is the highest"
        )
    return root, int(epoch)


def _fresh() -> dict[str, Any]:
    data = {"root": secrets.token_bytes(_ROOT_BYTES), "epoch": b"1"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/part-of": "hitl"}},
        "type": "hitl.dev/root-key",
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }
