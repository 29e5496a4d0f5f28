"""Whether the cluster signed a token, by its public keys, before a review is spent on it (SECURITY F3).

Everybody who may look at pods can write down a token that names one, and sign it with noise. Such a token costs a
fraction of a millisecond here. Nobody is let in by this: a good signature says nothing of whether a pod still runs or
an account still exists, so that is asked of the API server all the same.
"""

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hitl.errors import ApiError, StoreUnavailable
from hitl.kube.api import KubeAPI
from hitl_operator.logs import Log

_PATH: Final = "/openid/v1/jwks"
_TYPES: Final = "application/jwk-set+json, application/json"
_SOONEST: Final = 10.0  # seconds between two looks at the keys, whatever ids strangers invent
_OLDEST: Final = 600.0  # seconds after which they are read anew
_WITHIN: Final = 2.0  # seconds for reading them
_RSA: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "RS256": hashes.SHA256(),
    "RS384": hashes.SHA384(),
    "RS512": hashes.SHA512(),
}
_EC: Final[Mapping[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]]] = {
    "ES256": (ec.SECP256R1(), hashes.SHA256()),
    "ES384": (ec.SECP384R1(), hashes.SHA384()),
    "ES512": (ec.SECP521R1(), hashes.SHA512()),
}

_log = Log(__name__)


class Signed(Enum):
    """What the keys say of a token. UNKNOWN: the API server names no such key, or none at all."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Key:
    """One public key of the cluster, and the one algorithm for which it is."""

    algorithm: str
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey


Keys = Mapping[str, Sequence[Key]]
"""By key id."""


class SigningKeys:
    """The keys with which the API server signs ServiceAccount tokens, as it publishes them.

    Where it publishes none (an issuer that is no https URL, a missing right) every token is UNKNOWN.

    Args:
        api: with the right to get /openid/v1/jwks.
        clock: monotonic seconds.
    """

    def __init__(self, api: KubeAPI, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._keys: Keys = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._trouble = ""

    async def look(self, token: str) -> Signed:
        """What they say of a token; they are read again where they are old, or do not have its key."""
        key_id = key_id_of(token)
        if self._is_due(key_id):
            async with self._reading:
                if self._is_due(key_id):
                    await self._read()
        return signed(token, self._keys)

    def _is_due(self, key_id: str) -> bool:
        return self._clock() - self._read_at >= (_OLDEST if key_id in self._keys else _SOONEST)

    async def _read(self) -> None:
        try:
            self._keys = read_keys(await self._api.get(_PATH, accept=_TYPES, deadline=_WITHIN))
            trouble = "" if self._keys else "it publishes none"
        except (ApiError, StoreUnavailable) as error:
            trouble = str(error)
        self._read_at = self._clock()
        if trouble and trouble != self._trouble:
            _log.warning("signing-keys-unknown", problem=trouble, meaning="forged tokens cost reviews until they are")
        self._trouble = trouble


def read_keys(document: Mapping[str, Any]) -> Keys:
    """The keys of a JWK set that can be used here; what is none, or of another kind, is left out."""
    found: dict[str, list[Key]] = {}
    entries = document.get("keys")
    for entry in entries if isinstance(entries, list) else ():
        try:
            found.setdefault(str(entry["kid"]), []).append(_key(entry))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return {key_id: keys for key_id, keys in found.items() if keys}


def key_id_of(token: str) -> str:
    """The id of the key by which a token says it is signed; empty where it says nothing of the kind."""
    found = _header(token).get("kid")
    return found if isinstance(found, str) else ""


def signed(token: str, keys: Keys) -> Signed:
    """Whether one of these keys signed a token. The algorithm is the key's, whatever the token would like it to be."""
    candidates = keys.get(key_id_of(token), ())
    if not candidates:
        return Signed.UNKNOWN
    text, _, encoded = token.rpartition(".")
    try:
        signature = _bytes(encoded)
    except ValueError:
        return Signed.NO
    named = _header(token).get("alg")
    good = (_verifies(key, text.encode(), signature) for key in candidates if key.algorithm == named)
    return Signed.YES if any(good) else Signed.NO


def _verifies(key: Key, text: bytes, signature: bytes) -> bool:
    try:
        if isinstance(key.public, rsa.RSAPublicKey):
            key.public.verify(signature, text, padding.PKCS1v15(), _RSA[key.algorithm])
        else:
            half = (key.public.curve.key_size + 7) // 8
            if len(signature) != 2 * half:
                return False
            r, s = (int.from_bytes(part) for part in (signature[:half], signature[half:]))
            key.public.verify(encode_dss_signature(r, s), text, ec.ECDSA(_EC[key.algorithm][1]))
    except InvalidSignature:
        return False
    return True


def _key(entry: Mapping[str, Any]) -> Key:
    """KeyError, ValueError, TypeError, AttributeError: it is no key for this."""
    algorithm = str(entry["alg"])
    if entry.get("use", "sig") != "sig":
        raise ValueError("not for signatures")
    if algorithm in _RSA:
        numbers = rsa.RSAPublicNumbers(_number(entry["e"]), _number(entry["n"]))
        return Key(algorithm, numbers.public_key())
    curve, _ = _EC[algorithm]
    return Key(algorithm, ec.EllipticCurvePublicNumbers(_number(entry["x"]), _number(entry["y"]), curve).public_key())


def _header(token: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(_bytes(token.partition(".")[0]))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text))


def _bytes(text: str) -> bytes:
    """ValueError for all but the one way in which bytes are written: nobody gets a second text of one token."""
    try:
        found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if base64.urlsafe_b64encode(found).rstrip(b"=") != text.encode():
        raise ValueError("not base64url, or not as it is written")
    return found
