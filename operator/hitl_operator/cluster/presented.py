"""What a handshake shows, for gRPC and for HTTPS alike, and how it is exchanged while connections stand."""

import asyncio
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from hitl.errors import InvalidInput
from hitl_operator.cluster.issuing import Pair


class Presented:
    """A certificate with its key, in memory alone. Who is connected stays; who comes sees the one shown last.

    Attributes:
        is_there: set once there is one.
        context: for an HTTPS server; it goes on being the same object.
    """

    def __init__(self) -> None:
        self.is_there = asyncio.Event()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._pair: Pair | None = None
        self._is_news = False
        self._lock = threading.Lock()

    @property
    def pair(self) -> Pair | None:
        """What is shown now."""
        return self._pair

    def show(self, pair: Pair) -> None:
        """From the next handshake on. InvalidInput where OpenSSL cannot use it.

        For the thread in which HTTPS shakes hands: OpenSSL takes certificate and key one after the other, and whoever
        came in between, in another thread, would be hung up on.
        """
        if pair == self._pair:
            return
        try:
            with _readable(pair.certificate) as certificate, _readable(pair.key) as key:
                self.context.load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise InvalidInput(f"cannot be served with ({error})") from error
        with self._lock:
            self._pair, self._is_news = pair, True
        self.is_there.set()

    def credentials(self) -> grpc.ServerCredentials:
        """For a gRPC server. Not before `is_there`."""
        assert self._pair is not None, "something is shown"
        return grpc.dynamic_ssl_server_credentials(_configuration(self._pair), self._current)  # type: ignore[arg-type]  # may be None

    def _current(self) -> grpc.ServerCertificateConfiguration | None:
        """What changed since the handshake before, or None. Called by gRPC's threads; must not raise."""
        with self._lock:
            is_news, self._is_news = self._is_news, False
            return _configuration(self._pair) if is_news and self._pair is not None else None


@contextmanager
def _readable(pem: bytes) -> Iterator[str]:
    """A path under which OpenSSL, which takes files alone, reads bytes of this process: a pipe, never a disk."""
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pem)  # some KiB; a pipe takes 64
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)])
