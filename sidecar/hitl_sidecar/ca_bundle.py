"""CA certificates as PEM, read by OpenSSL alone: the sidecar carries no other library for certificates."""

import ssl
from collections.abc import Iterable
from typing import Final

from hitl.errors import InvalidInput

LARGEST: Final = 64 << 10
"""Bytes of a bundle; one certificate has less than 1 KiB, and a roll-over has two at once."""


def ca_certificates(pem: bytes) -> frozenset[bytes]:
    """The certificates (DER) of a bundle.

    Raises:
        InvalidInput: it is too large, is no PEM, has no certificate, or has one that is no CA's.
    """
    if len(pem) > LARGEST:
        raise InvalidInput(f"a CA bundle has {len(pem)} bytes, at most {LARGEST} are read")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise InvalidInput(f"it holds no CA certificates as PEM ({error})") from error
    found = context.cert_store_stats()
    if not found["x509_ca"] or found["x509_ca"] != found["x509"]:
        raise InvalidInput(f"it has {found['x509']} certificates, of which {found['x509_ca']} are a CA's; wanted: all")
    return frozenset(context.get_ca_certs(binary_form=True))


def pem_of(certificates: Iterable[bytes]) -> bytes:
    """Certificates (DER) as PEM, always in the same order."""
    return "".join(map(ssl.DER_cert_to_PEM_cert, sorted(certificates))).encode()
