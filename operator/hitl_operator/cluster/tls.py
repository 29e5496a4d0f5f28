"""What the hub shows and lets others trust, from mounted files; and what a stranger's connection may cost (F3)."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import grpc

from hitl.errors import InvalidInput, Unavailable
from hitl_operator.cluster.issuing import Pair, checked_bundle, checked_pair, first_end
from hitl_operator.cluster.presented import Presented
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
_LOOK_EVERY: Final = 1.0  # seconds; kubelet itself takes a minute to bring a changed Secret
_LARGEST: Final = 48 << 10  # bytes of a file: what goes through a pipe to OpenSSL, and more than any chain has

_log = Log(__name__)


class Certification(Protocol):
    """What the operator serves with, and what others are to trust, however it comes about.

    Attributes:
        presented: to serve with; something is shown once `presented.is_there`.
        wrong: why there is nothing to serve with yet; empty where there is.
        remark: what somebody should see to though it can be served; empty where there is nothing.
    """

    presented: Presented
    wrong: str
    remark: str

    @property
    def bundle(self) -> bytes:
        """CA certificates as PEM that sidecars and the API server are to trust now; empty where none are known."""

    @property
    def injected(self) -> str:
        """The PEM that pods made now are to be injected with; admission policies admit it. Empty: inject nothing."""

    @property
    def admitted(self) -> tuple[bytes, bytes]:
        """What pods made now may have been injected with: `bundle`, and what went before it."""

    @property
    def ends(self) -> dict[str, datetime]:
        """When what is served, and the first of what is trusted that matters, end: by ``serving`` and ``ca``."""

    def credentials(self) -> grpc.ServerCredentials:
        """For the hub; not before `presented.is_there`."""

    async def run(self, leads: Callable[[], bool], published: Callable[[], bool]) -> None:
        """Keep it in step until cancelled.

        Args:
            leads: whether this replica may write what all share.
            published: whether everybody who is told by the leader has gone by `admitted` for a while.
        """


class ServingCertificate:
    """A certificate chain and its key in two PEM files, as a mounted Secret has them; see `Certification`.

    Args:
        certificate, key: files.
        ca: file with what others are to trust; None: they know it from elsewhere.

    Raises:
        Unavailable: CERTIFICATE: which file, and what is wrong with it.
    """

    def __init__(self, certificate: Path, key: Path, ca: Path | None = None) -> None:
        self.presented = Presented()
        self.wrong = ""
        self.remark = ""
        self._certificate, self._key, self._ca = certificate, key, ca
        self._read = self._load()
        self._configured = self._read
        self._bundle = self._before = self._load_ca()
        self._show()

    @property
    def bundle(self) -> bytes:
        """As `Certification`."""
        return self._bundle

    @property
    def injected(self) -> str:
        """As `Certification`."""
        return self._bundle.decode()

    @property
    def admitted(self) -> tuple[bytes, bytes]:
        """As `Certification`."""
        return self._bundle, self._before

    @property
    def ends(self) -> dict[str, datetime]:
        """As `Certification`."""
        ca = {"ca": first_end(self._bundle)} if self._bundle else {}
        return {"serving": self._read.ends, **ca}

    def credentials(self) -> grpc.ServerCredentials:
        """As `Certification`; each handshake goes by the files as they are then."""
        return grpc.dynamic_ssl_server_credentials(_configuration(self._read), self._current)  # type: ignore[arg-type]  # may be None

    async def run(self, leads: Callable[[], bool], published: Callable[[], bool]) -> None:  # noqa: ARG002 - files are not ours
        """As `Certification`: look whether the files have changed."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await self._look()

    async def _look(self) -> None:
        try:
            await asyncio.to_thread(self._renew)
            self._show()  # in no thread: see there
            found = await asyncio.to_thread(self._load_ca)
        except Unavailable as error:
            self._refuse(error)
            return
        self.remark = ""
        if found != self._bundle:
            self._bundle, self._before = found, self._bundle
            _log.info("ca-renewed", file=self._ca)

    def _current(self) -> grpc.ServerCertificateConfiguration | None:
        """What changed since the handshake before, or None. Called by gRPC's threads; must not raise."""
        try:
            self._renew()
        except Unavailable as error:
            self._refuse(error)
        if self._read == self._configured:
            return None
        self._configured = self._read
        return _configuration(self._configured)

    def _show(self) -> None:
        try:
            self.presented.show(self._read)
        except InvalidInput as error:
            raise Unavailable("CERTIFICATE", f"{self._certificate}, {self._key}: {error}") from error

    def _renew(self) -> None:
        found = self._load()
        if found != self._read:
            self._read = found
            _log.info("certificate-renewed", file=self._certificate)

    def _refuse(self, error: Unavailable) -> None:
        if str(error) != self.remark:
            self.remark = str(error)
            _log.error("certificate-unusable", problem=error, meaning="the one that was read before stays in use")

    def _load(self) -> Pair:
        try:
            return checked_pair(Pair(_content(self._certificate), _content(self._key)))
        except InvalidInput as error:
            raise Unavailable("CERTIFICATE", f"{self._certificate}, {self._key}: {error}") from error

    def _load_ca(self) -> bytes:
        try:
            return b"" if self._ca is None else checked_bundle(_content(self._ca))
        except InvalidInput as error:
            raise Unavailable("CERTIFICATE", f"--ca {self._ca}: {error}") from error


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = file.read(_LARGEST + 1)
    except OSError as error:
        raise Unavailable("CERTIFICATE", f"{path}: cannot be read ({error.strerror})") from error
    if len(found) > _LARGEST:
        raise Unavailable("CERTIFICATE", f"{path}: is larger than {_LARGEST >> 10} KiB; this is no certificate")
    return found


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)])
