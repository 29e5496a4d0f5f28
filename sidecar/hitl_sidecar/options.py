"""What a sidecar is started with."""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from hitl import __version__
from hitl.errors import InvalidInput
from hitl_sidecar.ca_bundle import ca_certificates
from hitl_sidecar.hub_channel import CA_PEM, HubTrust, target_of
from hitl_sidecar.metrics_server import ANYWHERE

_LABEL = re.compile(r"([^=]+)=(.*)")


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked.

    Attributes:
        socket: where agents connect.
        hub: gRPC address of the hub.
        trust: how hub and sidecar know each other; None where the hub is a socket of this account.
        state: folder of audit log and ledger; outlives the process, not the pod.
        tcp: loopback address to listen on too, or None.
        socket_mode: who may connect, of those who reach the socket's folder.
        metrics_port: port of ``/metrics`` and ``/readyz``, or None.
        metrics_host: address on which they are served.
        namespace, workload, service_account, pod_name, labels: what a standalone sidecar says that it is.
    """

    socket: Path
    hub: str
    state: Path
    trust: HubTrust | None = None
    tcp: str | None = None
    socket_mode: int = 0o600
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    namespace: str = "default"
    workload: str = "local"
    service_account: str = "default"
    pod_name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    verbose: bool = False


def parse(arguments: Sequence[str] | None = None) -> Options:
    """SystemExit with code 2, and words on stderr, for what cannot be meant."""
    parser = argparse.ArgumentParser(
        prog="hitl-sidecar",
        description="The gate in the agent's pod: evaluates, holds, releases and records tool calls.",
    )
    parser.add_argument("--socket", required=True, type=Path, metavar="PATH", help="Unix socket for the agent")
    parser.add_argument(
        "--socket-mode",
        default="0600",
        choices=["0600", "0660", "0666"],
        help="who may connect: this account, its group too, or whoever reaches the folder  [%(default)s]",
    )
    parser.add_argument(
        "--hub", required=True, metavar="ADDRESS", help="the hub: unix:PATH, HOST:PORT or IP:PORT,IP:PORT"
    )
    parser.add_argument(
        "--hub-ca",
        type=Path,
        metavar="FILE",
        help=f"PEM; what the hub's certificate must lead to  [environment variable {CA_PEM}]",
    )
    parser.add_argument(
        "--hub-token", type=Path, metavar="FILE", help="token that says who this is; read as it changes"
    )
    parser.add_argument("--hub-name", default="", metavar="NAME", help="of the hub's certificate  [its address]")
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="folder for audit log and ledger")
    parser.add_argument("--tcp", metavar="127.0.0.1:PORT", help="listen on this loopback address too")
    parser.add_argument("--metrics-port", type=_port, metavar="N", help="serve /metrics and /readyz on this port")
    parser.add_argument(
        "--metrics-host",
        default="127.0.0.1",
        type=_host,
        metavar="ADDRESS",
        help=f"on this IP address, {ANYWHERE} for all  [%(default)s]",
    )
    parser.add_argument("--namespace", default="default", metavar="NAME", help="namespace of the agent  [default]")
    parser.add_argument("--workload", default="local", metavar="NAME", help="e.g. deploy/support  [local]")
    parser.add_argument("--service-account", default="default", metavar="NAME", help="of the agent  [default]")
    parser.add_argument("--pod-name", default="", metavar="NAME", help="of this instance  [the machine's name]")
    parser.add_argument("--label", action="append", default=[], type=_label, metavar="K=V", help="may be repeated")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")
    parser.add_argument("--version", action="version", version=f"hitl {__version__}")
    found = parser.parse_args(arguments)
    try:
        ca = found.hub_ca.absolute() if found.hub_ca else _given_ca()
    except InvalidInput as error:
        parser.error(str(error))
    if (ca is None) != (found.hub_token is None) or (found.hub_name and ca is None):
        parser.error(f"--hub-ca (or {CA_PEM}) and --hub-token go together, and --hub-name goes with them")
    state = found.state.absolute()
    trust = None if ca is None else HubTrust(ca, found.hub_token.absolute(), found.hub_name, state / "hub-ca.pem")
    try:
        hub = target_of(found.hub, trust)
    except InvalidInput as error:
        parser.error(str(error))
    return Options(
        socket=found.socket.absolute(),
        hub=hub,
        trust=trust,
        state=state,
        tcp=found.tcp,
        socket_mode=int(found.socket_mode, 8),
        metrics_port=found.metrics_port,
        metrics_host=found.metrics_host,
        namespace=found.namespace,
        workload=found.workload,
        service_account=found.service_account,
        pod_name=found.pod_name or os.uname().nodename,
        labels=dict(found.label),
        verbose=found.verbose,
    )


def _given_ca() -> bytes | None:
    """What the environment gives; None where it gives nothing. InvalidInput where that is no CA."""
    pem = os.environ.get(CA_PEM, "").encode()
    if not pem:
        return None
    try:
        ca_certificates(pem)
    except InvalidInput as error:
        raise InvalidInput(f"{CA_PEM}: {error}") from error
    return pem


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(text)
    return port


def _host(text: str) -> str:
    try:
        return text if text == ANYWHERE else str(ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address; write e.g. 127.0.0.1, or * for all") from None


def _label(text: str) -> tuple[str, str]:
    found = _LABEL.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no label; write key=value")
    return found[1], found[2]
