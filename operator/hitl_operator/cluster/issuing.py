"""Keys and certificates of an installation's own authority, as X.509 has them (pure but for the keys it draws)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hitl.errors import InvalidInput

BACKDATED: Final = timedelta(days=1)
"""Nodes whose clock is behind must not find a new certificate not yet valid."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, PEM; behind the certificate may stand what it leads to."""

    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself. ValueError where it is none."""
        return x509.load_pem_x509_certificates(self.certificate)[0]

    @property
    def ends(self) -> datetime:
        """When it does."""
        return self.leaf.not_valid_after_utc


def names_of(service: str, namespace: str) -> tuple[str, ...]:
    """What a Service is called inside its cluster; the first is the one that clients are given."""
    return (f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local", f"{service}.{namespace}", service)


def an_authority(now: datetime, lifetime: timedelta) -> Pair:
    """A self-signed one. Its name is its own, so that no two are taken for each other while both are trusted."""
    key = _key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"hitl {now:%Y-%m-%d} {secrets.token_hex(4)}")])
    # It signs serving certificates, and the successor that signs such.
    certificate = _authority(name, key.public_key(), now, now + lifetime, path_length=1)
    return Pair(_pem(certificate.issuer_name(name).sign(key, hashes.SHA256())), _key_pem(key))


def crossed(successor: Pair, by: Pair) -> bytes:
    """The successor's certificate as the authority before it signs it: who trusts only that one believes both."""
    leaf, issuer = successor.leaf, by.leaf
    ends = min(successor.ends, by.ends)
    builder = _authority(leaf.subject, leaf.public_key(), leaf.not_valid_before_utc + BACKDATED, ends, path_length=0)
    builder = builder.issuer_name(issuer.subject).add_extension(_issued_by(issuer), critical=False)
    return _pem(builder.sign(_loaded(by.key), hashes.SHA256()))


def a_serving_certificate(
    names: Sequence[str], authority: Pair, now: datetime, lifetime: timedelta, *, behind: bytes = b""
) -> Pair:
    """For a TLS server of these names; it never outlives its authority. `behind`: certificates to send with it."""
    key = _key()
    issuer = authority.leaf
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hitl-operator")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACKDATED, issuer.not_valid_before_utc))
        .not_valid_after(min(now + lifetime, authority.ends))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_issued_by(issuer), critical=False)
    )
    certificate = builder.sign(_loaded(authority.key), hashes.SHA256())
    return Pair(_pem(certificate) + behind, _key_pem(key))


def checked_pair(pair: Pair) -> Pair:
    """The same. InvalidInput where it is no certificate with its key; neither is shown."""
    try:
        public, private = pair.leaf.public_key(), load_pem_private_key(pair.key, None).public_key()
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"must be PEM, the key without a password ({error})") from error
    if _bits(public) != _bits(private):
        raise InvalidInput("is not the key of the certificate")
    return pair


def checked_bundle(pem: bytes) -> bytes:
    """The certificates alone, without what stands between them. InvalidInput where one is no CA's, or there is none."""
    try:
        found = x509.load_pem_x509_certificates(pem)
        if all(each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca for each in found):
            return b"".join(map(_pem, found))
    except (ValueError, x509.ExtensionNotFound) as error:
        raise InvalidInput(f"must be CA certificates as PEM ({error})") from error
    raise InvalidInput("has a certificate that is no CA's")


def is_issued_by(certificate: bytes, authority: bytes) -> bool:
    """Whether the first certificate of one PEM is signed by the first of the other."""
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def served_names(pair: Pair) -> tuple[str, ...]:
    """The DNS names that it is for."""
    try:
        found = pair.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(found.get_values_for_type(x509.DNSName))


def first_end(pem: bytes) -> datetime:
    """When the first of these certificates to end does. ValueError where there is none."""
    return min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(pem))


def _authority(name: x509.Name, public: Any, now: datetime, ends: datetime, *, path_length: int) -> Any:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    known: Any = issuer.public_key()
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(known)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())  # what every TLS client knows, and made in a tenth of a millisecond


def _loaded(key: bytes) -> Any:
    return load_pem_private_key(key, None)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _bits(key: Any) -> Any:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
