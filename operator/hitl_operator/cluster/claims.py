"""What a ServiceAccount token says of itself, before anybody has checked it (SECURITY B1, F3).

Nothing rests on this alone: it tells which pod to look for, so that a token of no pod of ours is refused without
asking the API server, and when the token ends, which its review does not tell.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from hitl.errors import Forbidden
from hitl.kube.marks import AUDIENCE

HEADER: Final = "authorization"
_LARGEST: Final = 8192  # bytes; a projected token has some 1 200
_SCHEME: Final = "bearer "
_FAR: Final = 4_000_000_000  # seconds since the epoch: what lies beyond is no date of ours


@dataclass(frozen=True, slots=True)
class Claims:
    """The pod that a token claims to be bound to.

    Attributes:
        expires: when the token ends.
    """

    namespace: str
    service_account: str
    pod_name: str
    pod_uid: str
    expires: datetime


def bearer_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The token of a call. Forbidden where there is none, or more than one."""
    sent = [value for key, value in metadata if key == HEADER]
    if len(sent) != 1 or not isinstance(sent[0], str):
        raise Forbidden(f"a call of the hub carries one token, in metadata {HEADER} as: Bearer TOKEN")
    scheme, token = sent[0][: len(_SCHEME)], sent[0][len(_SCHEME) :]
    if scheme.lower() != _SCHEME or not token or len(token) > _LARGEST:
        raise Forbidden(f"metadata {HEADER} must be: Bearer TOKEN, with the projected token of the pod")
    return token


def read_claims(token: str) -> Claims:
    """What a token says of itself. Forbidden for whatever is no token of a pod for this hub."""
    try:
        _, body, _ = token.split(".")
        document = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        audiences = document["aud"]
        bound: Any = document["kubernetes.io"]
        expires = document["exp"]
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise Forbidden(f"this is no ServiceAccount token; project one with audience {AUDIENCE} into the pod") from None
    if AUDIENCE not in (audiences if isinstance(audiences, list) else [audiences]):
        raise Forbidden(f"the token is for another audience; project one with audience {AUDIENCE} into the pod")
    if not isinstance(expires, int) or not 0 < expires < _FAR:
        raise Forbidden("the token does not say when it ends; project one into the pod")
    try:
        pod, account = bound["pod"], bound["serviceaccount"]
        claims = Claims(
            bound["namespace"], account["name"], pod["name"], pod["uid"], datetime.fromtimestamp(expires, UTC)
        )
        named = (claims.namespace, claims.service_account, claims.pod_name, claims.pod_uid)
    except (KeyError, TypeError):
        named = ("",) * 4
    if not all(isinstance(text, str) and text for text in named):
        raise Forbidden("the token is bound to no pod; only the projected token of a pod is taken")
    return claims
