"""How a sidecar reaches its hub: a Unix socket of its own account, or TLS with a token on every call, and nothing else.

The token goes out through gRPC's call credentials, which gRPC refuses to send over a channel without TLS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import grpc
from grpc import aio

from hitl.errors import InvalidInput, Unavailable
from hitl_sidecar.ca_bundle import ca_certificates, pem_of

CA_PEM: Final = "HITL_HUB_CA_PEM"
"""Environment variable by which injection gives the hub's CA, where there is no ``--hub-ca``."""

_LARGEST: Final = 16 * 1024 * 1024  # bytes of one message: a config with a few thousand rules
_LARGEST_TOKEN: Final = 8192  # bytes; a projected ServiceAccount token has some 1 200
_OPTIONS: Final[Sequence[tuple[str, int]]] = (
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.max_send_message_length", _LARGEST),
    # gRPC's own reconnect backoff begins at one second; ours begins at a tenth and must not wait for it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.enable_retries", 0),  # whether to ask again is decided by who asked: Consume is not a read
    ("grpc.use_local_subchannel_pool", 1),
)
_SOCKET: Final[Sequence[tuple[str, int]]] = (*_OPTIONS, ("grpc.min_reconnect_backoff_ms", 100))
_TLS: Final[Sequence[tuple[str, int]]] = (
    *_OPTIONS,
    ("grpc.min_reconnect_backoff_ms", 5000),  # as long may a handshake take on a busy machine; refusals come at once
    # A replica that froze, or whose node is gone, hangs up nothing: it is noticed by what it does not answer.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # whichever ping is under way; a minute if it is left out
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, slots=True)
class HubTrust:
    """How hub and sidecar know each other over TLS.

    Attributes:
        ca: what the hub's certificate must lead to: a PEM file, which may change while the sidecar runs, or the PEM
            itself, as injection put it into the pod.
        token: file with the sidecar's token; read for every call, because kubelet renews it.
        name: what the hub's certificate must be for; empty: the name in its address.
        kept: file with the bundle that the hub sent last, which counts beside `ca`; None where none is kept.
    """

    ca: Path | bytes
    token: Path
    name: str = ""
    kept: Path | None = None

    def read_ca(self) -> bytes:
        """Unavailable, HUB_TRUST, where it cannot be read: without it no hub is believed."""
        return self.started_with() + pem_of(self.read_kept())

    def started_with(self) -> bytes:
        """`ca` alone. Unavailable as `read_ca`."""
        if isinstance(self.ca, bytes):
            return self.ca
        try:
            return self.ca.read_bytes()
        except OSError as error:
            raise Unavailable(
                "HUB_TRUST", f"--hub-ca {self.ca}: cannot be read ({error.strerror}); mount the hub's CA certificate"
            ) from error

    def read_kept(self) -> frozenset[bytes]:
        """Certificates (DER) of `kept`; none where it is not there or cannot be gone by: `ca` stands without it."""
        try:
            return frozenset() if self.kept is None else ca_certificates(self.kept.read_bytes())
        except (OSError, InvalidInput):
            return frozenset()


def target_of(address: str, trust: HubTrust | None) -> str:
    """What ``--hub`` says, as gRPC wants it.

    Args:
        address: ``unix:PATH``, ``HOST:PORT``, or several ``IP:PORT`` with commas between them: the first that answers
            is used, and the next when it goes.
        trust: None for a socket of this account.

    Raises:
        InvalidInput: names the option and the next step.
    """
    if address.startswith("unix:"):
        if trust is not None:
            raise InvalidInput(f"--hub {address}: is a socket of this account; leave --hub-ca, --hub-token, --hub-name")
        return address
    if trust is None:
        raise InvalidInput(
            f"--hub {address}: is reached over TLS only; give --hub-ca FILE (or the PEM itself in {CA_PEM}) and "
            "--hub-token FILE, or unix:PATH"
        )
    places = [_place(each) for each in address.split(",")]
    if len(places) == 1:
        host, port = places[0]
        return f"dns:///[{host}]:{port}" if ":" in host else f"dns:///{host}:{port}"
    if not trust.name:
        raise InvalidInput(f"--hub {address}: has several addresses; say with --hub-name what their certificate is for")
    try:
        versions = {ip_address(host).version for host, _ in places}
    except ValueError:
        raise InvalidInput(
            f"--hub {address}: several addresses must be IP addresses; one name may stand for many of them in the DNS"
        ) from None
    if len(versions) > 1:
        raise InvalidInput(f"--hub {address}: mixes IPv4 and IPv6; give addresses of one kind")
    if versions == {4}:
        return "ipv4:" + ",".join(f"{host}:{port}" for host, port in places)
    return "ipv6:" + ",".join(f"[{host}]:{port}" for host, port in places)


def open_channel(target: str, trust: HubTrust | None, ca: bytes = b"") -> Any:
    """A channel to `target_of`'s answer; connects when it is used. `ca`: what `trust` reads now."""
    if trust is None:
        if not target.startswith("unix:"):
            raise InvalidInput(f"the hub at {target} is reached over TLS only")
        return aio.insecure_channel(target, options=_SOCKET)
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(ca), grpc.metadata_call_credentials(_TokenOfFile(trust.token))
    )
    named = (("grpc.ssl_target_name_override", trust.name),) if trust.name else ()
    return aio.secure_channel(target, credentials, options=(*_TLS, *named))


def places_of(target: str) -> list[tuple[str, int]]:
    """Hosts and ports of `target_of`'s answer; none of a socket."""
    scheme, _, rest = target.partition(":")
    return [] if scheme == "unix" else [_place(each) for each in rest.removeprefix("///").split(",")]


class _TokenOfFile(grpc.AuthMetadataPlugin):
    """Puts the token, as its file has it now, on a call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, context: Any, callback: Any) -> None:  # noqa: ARG002 - gRPC's signature
        try:
            with self._path.open("rb") as file:
                token = file.read(_LARGEST_TOKEN + 1).strip().decode("ascii")
        except (OSError, UnicodeDecodeError) as error:
            callback((), Unavailable("HUB_TRUST", f"--hub-token {self._path}: cannot be read ({error})"))
            return
        if not token or len(token) > _LARGEST_TOKEN or not token.isprintable() or " " in token:
            callback((), Unavailable("HUB_TRUST", f"--hub-token {self._path}: holds no token"))
            return
        callback((("authorization", f"Bearer {token}"),), None)


def _place(text: str) -> tuple[str, int]:
    host, colon, port = text.strip().rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidInput(f"--hub {text}: must be HOST:PORT, e.g. hitl-hub.hitl-system.svc:8443")
    return bare, int(port)
