"""Certificates of a control plane that lives as long as a test session: one authority, EC keys, loopback names."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# A clock that is a little behind must not find the certificate "not yet valid"; a session never lasts a day.
BEFORE = dt.timedelta(hours=1)
AFTER = dt.timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write `<name>.crt` and `<name>.key` (0600) into `folder`; answer both paths."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.touch(mode=0o600)
        key.write_bytes(self.key)
        return certificate, key


def private_key() -> ec.EllipticCurvePrivateKey:
    """P-256: what Kubernetes accepts everywhere, made in a tenth of a millisecond."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    # SEC 1: of EC keys, the only form that service-account-key-file reads
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def name_of(user: str, groups: Sequence[str] = ()) -> x509.Name:
    """How Kubernetes reads a client certificate: the common name is the user, each organization a group."""
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    # X.509 allows 64 characters, which a service account's or a node's name may pass; the API server does not mind.
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user, _validate=False)])


class Authority:
    """A certificate authority in memory; `pem` is what clients are told to trust."""

    def __init__(self, name: str = "hitl-control-plane") -> None:
        self._key = private_key()
        self._name = name_of(name)
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)

    def client(self, user: str, groups: Sequence[str] = ()) -> Pair:
        """A certificate that makes its holder `user` in `groups`."""
        return self._issue(name_of(user, groups), ExtendedKeyUsageOID.CLIENT_AUTH, ())

    def server(self, name: str, *, names: Sequence[str] = ("localhost",), addresses: Sequence[str] = ()) -> Pair:
        """A certificate for a server on 127.0.0.1 and further `addresses` that also answers to `names`."""
        all_addresses = [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", *addresses)]
        return self._issue(name_of(name), ExtendedKeyUsageOID.SERVER_AUTH, (*all_addresses, *map(x509.DNSName, names)))

    def _issue(self, subject: x509.Name, purpose: x509.ObjectIdentifier, names: Sequence[x509.GeneralName]) -> Pair:
        key = private_key()
        builder = (
            self._builder(subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(self._identifier, critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), pem_of(key))

    def _builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BEFORE)
            .not_valid_after(now + AFTER)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )


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
