"""Which certificates an installation has, step by step (DESIGN 11 Certificates); years pass in a moment here."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from hitl.errors import InvalidInput
from hitl_operator.cluster.issuing import Pair, an_authority, names_of, served_names
from hitl_operator.cluster.rotation import (
    AUTHORITY_LIFETIME,
    NEXT_AT,
    RENEWED_AT,
    SERVING_LIFETIME,
    TAKES_OVER_AFTER,
    Certificates,
    due,
    fresh,
    from_secret,
    to_secret,
)

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = names_of("hitl-operator", "hitl-system")


def believes(trusted: bytes, held: Certificates, now: datetime) -> bool:
    """Whether a client with these roots takes what is served for the hub."""
    leaf, *behind = x509.load_pem_x509_certificates(held.serving.certificate)
    store = Store(x509.load_pem_x509_certificates(trusted))
    verifier = PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName(NAMES[0]))
    try:
        verifier.verify(leaf, behind)
    except VerificationError:
        return False
    return True


def settled(held: Certificates, now: datetime, *, published: bool = True) -> Certificates:
    """After all steps that are due."""
    while (step := due(held, NAMES, now, published=published)) is not None:
        held = from_secret(to_secret(step[0]))  # whoever goes on reads it
    return held


def history(days: int) -> Iterator[tuple[datetime, Certificates]]:
    """Day by day, from the installation on."""
    held = fresh(NAMES, START)
    for day in range(days):
        now = START + day * DAY
        held = settled(held, now)
        yield now, held


def test_what_is_served_is_believed_on_every_day_by_everybody_who_was_injected_in_the_last_months() -> None:
    """B1: through three roll-overs, both who heard nothing since his pod was made and who heard all believe the hub."""
    injected: dict[datetime, bytes] = {}
    rolled = set()
    for now, held in history(800):
        injected[now] = held.injected
        rolled.add(held.authority.certificate)
        assert believes(held.bundle, held, now)
        for made in (now - 1 * DAY, now - 30 * DAY, now - NEXT_AT + DAY):
            if made in injected:
                assert believes(injected[made], held, now), (made, now)
    assert len(rolled) == 4


def test_serving_certificates_are_renewed_with_half_of_their_time_left() -> None:
    """And what is trusted never ends before it was rolled over."""
    for now, held in history(500):
        assert held.serving.ends - now > RENEWED_AT - DAY
        assert held.authority_ends - now > NEXT_AT - TAKES_OVER_AFTER - DAY
        assert now <= held.serving.ends <= now + SERVING_LIFETIME


def test_a_roll_over_goes_step_by_step() -> None:
    """The next authority is sent and injected for two weeks before it signs; the one before goes when it has ended."""
    held = fresh(NAMES, START)
    old = held.authority.certificate
    begins = START + AUTHORITY_LIFETIME - NEXT_AT
    held = settled(held, begins - DAY)
    assert (held.bundle, held.next) == (old, None)
    held = settled(held, begins, published=False)
    assert held.next is not None
    new = held.next.certificate
    assert (held.bundle, held.injected, held.authority.certificate) == (old + new, old, old)
    held = settled(held, begins)
    assert (held.injected, held.injected_before) == (old + new, old)
    held = settled(held, begins + TAKES_OVER_AFTER - DAY)
    assert held.authority.certificate == old
    held = settled(held, begins + TAKES_OVER_AFTER)
    assert (held.bundle, held.injected, held.next) == (new + old, new + old, None)
    assert believes(old, held, begins + TAKES_OVER_AFTER)
    assert believes(new, held, begins + TAKES_OVER_AFTER)
    ends = START + AUTHORITY_LIFETIME
    assert settled(held, ends - DAY).previous == old
    held = settled(held, ends)
    assert (held.bundle, held.injected, held.crossed) == (new, new, b"")
    assert len(x509.load_pem_x509_certificates(held.serving.certificate)) == 1
    assert believes(new, held, ends)


def test_pods_get_nothing_that_admission_does_not_know_yet() -> None:
    """E1: what is injected, and what was a moment ago, are always among what the policies are told to admit."""
    held = fresh(NAMES, START)
    before = held.injected
    for day in range(0, 500, 5):
        for told in (False, True):
            while (step := due(held, NAMES, START + day * DAY, published=told)) is not None:
                held = step[0]
                assert held.injected in held.admitted
                assert before in held.admitted
                before = held.injected


def test_a_takeover_waits_until_everybody_was_told() -> None:
    """Where the API server could not be told of the next authority, the present one goes on signing."""
    held = settled(fresh(NAMES, START), START + AUTHORITY_LIFETIME - NEXT_AT)
    now = START + AUTHORITY_LIFETIME - 20 * DAY
    assert settled(held, now, published=False).authority == held.authority
    assert settled(held, now).authority == held.next


def test_an_installation_that_was_off_for_long_goes_on() -> None:
    """What ended meanwhile is replaced at once: by what sidecars heard of, where there is such."""
    held = fresh(NAMES, START)
    after_its_serving = START + 100 * DAY
    assert believes(held.injected, settled(held, after_its_serving), after_its_serving)
    rolling = settled(held, START + AUTHORITY_LIFETIME - NEXT_AT)
    after = START + AUTHORITY_LIFETIME + DAY
    assert believes(rolling.bundle, settled(rolling, after, published=False), after)
    late = settled(held, after, published=False)
    assert late.injected == late.bundle == late.authority.certificate
    assert believes(late.injected, late, after)
    assert not believes(held.injected, late, after)


def test_a_clock_that_was_wrong_when_a_step_began_delays_it_no_longer_than_the_authority_lasts() -> None:
    """A time far in the future is no reason to let the authority end."""
    held = settled(fresh(NAMES, START), START + AUTHORITY_LIFETIME - NEXT_AT)
    spoilt = replace(held, since=START + 9000 * DAY)
    assert settled(spoilt, START + AUTHORITY_LIFETIME - DAY).authority == held.authority
    after = START + AUTHORITY_LIFETIME
    assert believes(held.bundle, settled(spoilt, after), after)


def test_other_names_are_certified_at_once() -> None:
    """An operator that is told another --service serves for it."""
    held = fresh(NAMES, START)
    step = due(held, names_of("other", "guard"), START, published=True)
    assert step is not None
    assert served_names(step[0].serving) == ("other.guard.svc", "other.guard.svc.cluster.local", "other.guard", "other")


def changed(**data: bytes | None) -> Callable[[dict[str, Any]], None]:
    def change(secret: dict[str, Any]) -> None:
        for key, value in data.items():
            name = key.replace("_", ".", 1)
            if value is None:
                del secret["data"][name]
            else:
                secret["data"][name] = base64.b64encode(value).decode()

    return change


FOREIGN = an_authority(START, AUTHORITY_LIFETIME)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (changed(ca_key=None), r"data\[ca\.key\]: is not there"),
        (changed(ca_key=b"x"), r"data\[ca\.crt\], data\[ca\.key\]: must be PEM"),
        (changed(ca_key=FOREIGN.key), r"is not the key of the certificate"),
        (changed(ca_crt=FOREIGN.certificate, ca_key=FOREIGN.key), r"data\[tls\.crt\]: is not signed by data\[ca"),
        (changed(tls_crt=b"", tls_key=b""), r"data\[tls\.crt\]"),
        (changed(injected_crt=b"nothing"), r"data\[injected\.crt\]: must be CA certificates"),
        (changed(injected_crt=fresh(NAMES, START).serving.certificate), r"has a certificate that is no CA's"),
        (changed(since=b"yesterday"), r"data\[since\]: is no time"),
        (changed(since=b"2026-01-01"), r"data\[since\]: has no time zone"),
        (lambda secret: secret.pop("data"), r"is not there"),
        (lambda secret: secret["data"].update({"tls.key": "%%%"}), r"data\[tls\.key\]: is not there or no base64"),
    ],
)  # fmt: skip
def test_what_somebody_spoilt_is_named_and_no_key_is_shown(spoil: Callable[[dict[str, Any]], Any], words: str) -> None:
    """G1: which key of the Secret, and what is wrong with it; not what stands in it."""
    held = fresh(NAMES, START)
    secret = to_secret(held)
    spoil(secret)
    with pytest.raises(InvalidInput, match=words) as raised:
        from_secret(secret)
    assert "PRIVATE" not in str(raised.value)


def test_keys_are_in_no_text() -> None:
    """G1: what is printed or logged of a pair or of all of them has no private key."""
    held = settled(fresh(NAMES, START), START + AUTHORITY_LIFETIME - NEXT_AT)
    assert "PRIVATE" not in repr(held)
    assert isinstance(held.next, Pair)
    assert from_secret(to_secret(held)) == held
