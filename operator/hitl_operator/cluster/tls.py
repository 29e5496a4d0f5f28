"""The hub's certificate, read again whenever it changes, and what a stranger's connection may cost (SECURITY F3)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from hitl.errors import Unavailable
from hitl_operator.logs import Log

# What a connection costs before anybody knows whose it is. A sidecar always has a stream open, so a connection that
# has none is nobody's; 5 000 sidecars are what one replica serves.
STRANGERS: Final[Sequence[tuple[str, int]]] = (
    ("grpc.max_allowed_incoming_connections", 8000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 10_000),
    ("grpc.max_concurrent_streams", 256),
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.absolute_max_metadata_size", 16 << 10),
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),  # sidecars ask every 10 s whether the hub is still there
)

_log = Log(__name__)


class ServingCertificate:
    """A certificate chain and its key in two PEM files, as a mounted Secret has them."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._paths = certificate, key
        self._read = self._load()
        self._refused: tuple[bytes, bytes] | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """For a gRPC server; each handshake goes by the files as they are then."""
        return grpc.dynamic_ssl_server_credentials(_configuration(self._read), self._current)  # type: ignore[arg-type]  # may be None

    def _current(self) -> grpc.ServerCertificateConfiguration | None:
        """What changed since the handshake before, or None. Called by gRPC's threads; must not raise."""
        try:
            found = self._load()
        except Unavailable as error:
            _log.error("certificate-unusable", problem=error, meaning="the one that was read before stays in use")
            return None
        if found == self._read:
            return None
        self._read = found
        _log.info("certificate-renewed", file=self._paths[0])
        return _configuration(found)

    def _load(self) -> tuple[bytes, bytes]:
        """Unavailable, CERTIFICATE: which file, and what is wrong with it."""
        certificate_path, key_path = self._paths
        try:
            certificate, key = certificate_path.read_bytes(), key_path.read_bytes()
            public = x509.load_pem_x509_certificates(certificate)[0].public_key()
            private = load_pem_private_key(key, None).public_key()
        except OSError as error:
            raise Unavailable("CERTIFICATE", f"{error.filename}: cannot be read ({error.strerror})") from error
        except (ValueError, TypeError) as error:
            raise Unavailable(
                "CERTIFICATE", f"{certificate_path}, {key_path}: must be PEM, the key without a password ({error})"
            ) from error
        if _bits(public) != _bits(private):
            raise Unavailable("CERTIFICATE", f"{key_path}: is not the key of {certificate_path}")
        return certificate, key


def _configuration(pair: tuple[bytes, bytes]) -> grpc.ServerCertificateConfiguration:
    certificate, key = pair
    return grpc.ssl_server_certificate_configuration([(key, certificate)])


def _bits(key: Any) -> Any:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
