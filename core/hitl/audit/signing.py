"""The key under checkpoints: Ed25519, its public half as PEM, known by the SHA-256 of its 32 bytes."""

import base64
import binascii
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hitl.errors import InvalidInput

SEED_BYTES: Final = 32
_RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw


class AuditKey:
    """The private key, made of a seed of 32 bytes."""

    def __init__(self, seed: bytes) -> None:
        """InvalidInput: it is no seed."""
        if len(seed) != SEED_BYTES:
            raise InvalidInput(f"an audit key has {SEED_BYTES} bytes, not {len(seed)}")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.fingerprint = fingerprint_of(self._key.public_key())
        self.pem = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, text: bytes) -> str:
        """As `checkpoint.Sign`."""
        return base64.b64encode(self._key.sign(text)).decode()


class PublicKeys:
    """Public keys that may have signed, by fingerprint."""

    def __init__(self, pems: Iterable[bytes]) -> None:
        """`pems`: each one key or several below each other. InvalidInput: one that is no Ed25519 public key."""
        self._keys: dict[str, Ed25519PublicKey] = {}
        for pem in pems:
            for one in _each(pem):
                key = _loaded(one)
                self._keys[fingerprint_of(key)] = key

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of all of them."""
        return tuple(self._keys)

    def is_good(self, fingerprint: str, text: bytes, signature: str) -> bool:
        """As `checkpoint.IsGood`."""
        key = self._keys.get(fingerprint)
        if key is None:
            return False
        try:
            raw = base64.b64decode(signature, validate=True)
            key.verify(raw, text)
        except (binascii.Error, InvalidSignature):
            return False
        return base64.b64encode(raw).decode() == signature


def fingerprint_of(key: Ed25519PublicKey) -> str:
    """``SHA256:`` and the unpadded base64 of the hash, as ssh-keygen shows fingerprints."""
    digest = sha256(key.public_bytes(*_RAW)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


_END = b"-----END PUBLIC KEY-----"


def _each(pem: bytes) -> list[bytes]:
    found = [part + _END + b"\n" for part in pem.split(_END)[:-1]]
    if not found:
        raise InvalidInput("no public key in PEM form is here; the operator publishes it in ConfigMap hitl-audit-key")
    return found


def _loaded(pem: bytes) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem.lstrip())
    except ValueError as error:
        raise InvalidInput(f"not a public key in PEM form ({error})") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput("the public key of checkpoints is an Ed25519 key; this is another kind")
    return key
