"""What an installation's certificates are, and which step of renewal or roll-over is next (pure; DESIGN 11).

A roll-over of the authority goes in steps, each one write of one Secret, so that a process may die between any two:

1. a next authority is made, and sent and injected beside the present one, which goes on signing;
2. it takes over: it signs what is served, and the one before, whose key is destroyed, signed it too. Who trusts either
   of them believes what is served: a sidecar that was away all the time, too, by what it was injected with;
3. once the one before has ended it is dropped: by then nobody could believe it any more.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hitl.errors import InvalidInput
from hitl_operator.cluster.issuing import (
    Pair,
    a_serving_certificate,
    an_authority,
    checked_bundle,
    checked_pair,
    crossed,
    first_end,
    is_issued_by,
    served_names,
)

NAME: Final = "hitl-certificates"
_TYPE: Final = "hitl.dev/certificates"

AUTHORITY_LIFETIME: Final = timedelta(days=365)
"""Longer than pods live; a stolen authority's key is worth no more than that."""
NEXT_AT: Final = timedelta(days=120)
"""What is left of an authority when its successor is made: for so long a sidecar may be away and still come back."""
TAKES_OVER_AFTER: Final = timedelta(days=14)
"""How long a next authority is sent and injected before it signs: whatever restarts within two weeks knows both."""
SERVING_LIFETIME: Final = timedelta(days=30)
"""A stolen serving key is worth no more than that: nobody asks whether a certificate was revoked."""
RENEWED_AT: Final = timedelta(days=15)
"""What is left of a serving certificate when it is renewed: so long may an installation be unable to write."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """What stands in the Secret.

    Attributes:
        authority: signs what is served.
        serving: what is served, with what it leads to behind it.
        since: when the present step of a roll-over began.
        injected: what injection puts into pods; `bundle`, or what that was before until new pods may have it.
        injected_before: what it put in before that.
        next: will sign.
        previous: signed before; a certificate without a key.
        crossed: the authority's certificate as `previous` signed it.
    """

    authority: Pair
    serving: Pair
    since: datetime
    injected: bytes
    injected_before: bytes
    next: Pair | None = None
    previous: bytes = b""
    crossed: bytes = b""

    @property
    def bundle(self) -> bytes:
        """What clients are to trust."""
        return self.authority.certificate + (self.next.certificate if self.next else b"") + self.previous

    @property
    def admitted(self) -> tuple[bytes, bytes]:
        """What pods that are made now may have been injected with."""
        return self.bundle, self.injected_before if self.injected == self.bundle else self.injected

    @property
    def authority_ends(self) -> datetime:
        """When nobody can believe what is served any more, unless it rolls over."""
        return self.authority.ends


def fresh(names: Sequence[str], now: datetime) -> Certificates:
    """For an installation that has none."""
    authority = an_authority(now, AUTHORITY_LIFETIME)
    serving = a_serving_certificate(names, authority, now, SERVING_LIFETIME)
    return Certificates(authority, serving, now, authority.certificate, authority.certificate)


def due(held: Certificates, names: Sequence[str], now: datetime, *, published: bool) -> tuple[Certificates, str] | None:
    """The next step, and what happens in it; None while there is none.

    Args:
        held: as it is.
        names: of the server.
        now: wall clock, which was compared with the API server's.
        published: whether API server and admission policies have gone by `held.admitted` for a while.
    """
    if now >= held.authority.ends:
        return _after_its_end(held, names, now)
    if held.injected != held.bundle:
        if not published:
            return _renewed(held, names, now)
        return replace(held, injected=held.bundle, injected_before=held.injected), "pods are injected with it from now"
    if (renewed := _renewed(held, names, now)) is not None:
        return renewed
    if held.previous and now >= first_end(held.previous):
        return _served(replace(held, previous=b"", crossed=b"", since=now), names, now), "the one before is dropped"
    if held.next is None and not held.previous and held.authority.ends - now <= NEXT_AT:
        successor = an_authority(now, AUTHORITY_LIFETIME)
        return replace(held, next=successor, since=now), "the next authority is made and sent to sidecars"
    if held.next is not None and published and now - held.since >= TAKES_OVER_AFTER:
        return _taken_over(held, held.next, names, now), "the next authority signs from now"
    return None


def _renewed(held: Certificates, names: Sequence[str], now: datetime) -> tuple[Certificates, str] | None:
    ends = held.serving.ends
    # Near its authority's end a new one would last no longer; then the authority rolls over.
    is_old = ends - now <= RENEWED_AT and ends < held.authority.ends
    if not is_old and set(served_names(held.serving)) == set(names):
        return None
    return _served(held, names, now), "what is served is renewed"


def _served(held: Certificates, names: Sequence[str], now: datetime) -> Certificates:
    serving = a_serving_certificate(names, held.authority, now, SERVING_LIFETIME, behind=held.crossed)
    return replace(held, serving=serving)


def _taken_over(held: Certificates, successor: Pair, names: Sequence[str], now: datetime) -> Certificates:
    return _served(
        replace(
            held,
            authority=successor,
            next=None,
            previous=held.authority.certificate,
            crossed=crossed(successor, held.authority),
            since=now,
        ),
        names,
        now,
    )


def _after_its_end(held: Certificates, names: Sequence[str], now: datetime) -> tuple[Certificates, str]:
    """Nobody believes what it signed: nothing is lost by going on with another one at once."""
    successor = held.next if held.next is not None and now < held.next.ends else an_authority(now, AUTHORITY_LIFETIME)
    alone = Certificates(successor, held.serving, now, successor.certificate, held.injected)
    return _served(alone, names, now), (
        "the authority had ended before it could roll over; pods that know no other have to be made anew"
    )


def to_secret(held: Certificates) -> dict[str, Any]:
    """As it is written; without a resourceVersion."""
    data = {
        "ca.crt": held.authority.certificate,
        "ca.key": held.authority.key,
        "tls.crt": held.serving.certificate,
        "tls.key": held.serving.key,
        "since": held.since.astimezone(UTC).isoformat().encode(),
        "injected.crt": held.injected,
        "injected-before.crt": held.injected_before,
        **({"next-ca.crt": held.next.certificate, "next-ca.key": held.next.key} if held.next else {}),
        **({"previous-ca.crt": held.previous, "crossed-ca.crt": held.crossed} if held.previous else {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/part-of": "hitl"}},
        "type": _TYPE,
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def from_secret(secret: Mapping[str, Any]) -> Certificates:
    """InvalidInput for what could not be served or rolled over; it names the key, and shows nothing of its value."""
    data = secret.get("data") or {}

    def found(key: str) -> bytes:
        try:
            return base64.b64decode(data[key], validate=True)
        except (KeyError, TypeError, binascii.Error) as error:
            raise InvalidInput(f"data[{key}]: is not there or no base64") from error

    def pair(name: str) -> Pair:
        try:
            return checked_pair(Pair(found(f"{name}.crt"), found(f"{name}.key")))
        except InvalidInput as error:
            raise InvalidInput(f"data[{name}.crt], data[{name}.key]: {error}") from error

    def bundle(key: str) -> bytes:
        try:
            return checked_bundle(found(key))
        except InvalidInput as error:
            raise InvalidInput(f"data[{key}]: {error}") from error

    def optional(key: str) -> bytes:
        return bundle(key) if key in data else b""

    try:
        since = datetime.fromisoformat(found("since").decode())
    except ValueError as error:
        raise InvalidInput("data[since]: is no time") from error
    if since.tzinfo is None:
        raise InvalidInput("data[since]: has no time zone")
    authority, serving = pair("ca"), pair("tls")
    for key in ("ca.crt", *(["next-ca.crt"] if "next-ca.crt" in data else [])):
        bundle(key)
    if not is_issued_by(serving.certificate, authority.certificate):
        raise InvalidInput("data[tls.crt]: is not signed by data[ca.crt]")
    return Certificates(
        authority,
        serving,
        since,
        bundle("injected.crt"),
        bundle("injected-before.crt"),
        pair("next-ca") if "next-ca.crt" in data else None,
        optional("previous-ca.crt"),
        optional("crossed-ca.crt"),
    )
