"""The operator as a process: ``python -m hitl_operator.cluster``.

Ready is what ``/readyz`` says. It ends with code 0 on SIGTERM and SIGINT, with 1 and words on stderr where it cannot go
on, and with 2 where it was called wrongly.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hitl import __version__
from hitl.errors import HitlError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.shipped import DEFAULT, Shipped
from hitl.policy.escaping import as_plain
from hitl.tracing import open_traces
from hitl_operator.archive.archive import DAYS
from hitl_operator.cluster.admission import Webhook
from hitl_operator.cluster.place import ArchivePlace, Place
from hitl_operator.cluster.readyz import serve_probes
from hitl_operator.cluster.replica import Replica
from hitl_operator.cluster.settings_file import SettingsFile
from hitl_operator.cluster.tls import ServingCertificate
from hitl_operator.injection.installation import Installation
from hitl_operator.logs import Log, log_to

_log = Log(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit code."""
    options = _options(arguments)
    log_to(level=logging.DEBUG if options.verbose else logging.INFO)
    os.umask(0o077)
    try:
        with tempfile.TemporaryDirectory(prefix="hitl-operator-") as temporary:
            return asyncio.run(serve(options, Path(options.state or temporary)))
    except* HitlError as problems:
        for line in sorted({str(error) for error in _leaves(problems)}):
            sys.stderr.write(f"error: {as_plain(line)}\n")
    return 1


async def serve(options: argparse.Namespace, state: Path) -> int:
    """Bring everything up, serve, take everything down. HitlError, or a group of them: why it cannot serve."""
    stopped = _stop_signals()
    place = Place(
        shipped=Shipped(
            namespace=options.namespace,
            service_account=options.service_account,
            factor_key=options.factor_key,
            factors=tuple(options.factors.split(",")),
            hardware=tuple(filter(None, options.hardware.split(","))),
        ),
        name=options.replica or os.uname().nodename,
        listen=options.listen,
        certificate=_certificate(options),
        settings=SettingsFile(options.settings),
        state=state,
        archive=ArchivePlace(options.archive.absolute(), options.archive_days) if options.archive else None,
        service=options.service,
        webhook=_webhook(options),
    )
    access = Access.from_kubeconfig(options.kubeconfig) if options.kubeconfig else Access.in_cluster()
    traces = open_traces("hitl-hub", os.environ)
    agent = f"hitl-operator/{__version__}"
    async with KubeAPI.open(access, user_agent=agent) as api, KubeAPI.open(access, user_agent=agent) as vital:
        replica = Replica(api, vital, access, place, traces=traces)
        async with serve_probes(
            options.http, replica.checks, replica.remarks, replica.metrics.registry, lambda: replica.leads
        ) as port:
            _log.info("probes", http=f"{options.http[0]}:{port}")
            running = asyncio.create_task(replica.run())
            stopping = asyncio.create_task(stopped.wait())
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            _log.info("stopping")
            try:
                await replica.stop()
            finally:
                stopping.cancel()
                running.cancel()
                await asyncio.gather(stopping, running, return_exceptions=True)
            if not running.cancelled():
                running.result()
    if traces is not None:
        await asyncio.to_thread(traces.close)
    return 0


def _certificate(options: argparse.Namespace) -> ServingCertificate | None:
    """The one in files; None where the operator is to have its own."""
    return ServingCertificate(options.tls_cert, options.tls_key, options.ca) if options.tls_cert else None


def _webhook(options: argparse.Namespace) -> Webhook | None:
    """Where pods are injected, and with what; None where they are not to be. InvalidInput: a name is none."""
    if options.admission is None:
        return None
    host, port = options.admission
    return Webhook(host, port, Installation(options.sidecar_image, options.namespace, options.service))


def _leaves(problem: BaseException) -> list[BaseException]:
    if isinstance(problem, BaseExceptionGroup):
        return [leaf for each in problem.exceptions for leaf in _leaves(each)]
    return [problem]


def _stop_signals() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.tls_cert is None) != (options.tls_key is None) or (options.ca and not options.tls_cert):
        parser.error(
            "--tls-cert and --tls-key go together, and --ca goes with them; leave out all for own certificates"
        )
    if (options.admission is None) != (options.sidecar_image is None):
        parser.error("--admission and --sidecar-image go together: where pods are injected, and what into them")
    if options.admission and options.tls_cert and not options.ca:
        parser.error("--admission with --tls-cert needs --ca: injected sidecars are told what to trust")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hitl-operator", description="The control plane of hitl on Kubernetes: one of several replicas, all alike."
    )
    add = parser.add_argument
    add("--namespace", default=DEFAULT.namespace, metavar="NAME", help="of the operator  [%(default)s]")
    add("--service-account", default=DEFAULT.service_account, metavar="NAME", help="of the operator  [%(default)s]")
    add("--kubeconfig", type=Path, metavar="FILE", help="how to reach the API server  [as a pod does]")
    add("--listen", required=True, type=_address, metavar="HOST:PORT", help="for sidecars, over TLS")
    add("--tls-cert", type=Path, metavar="FILE", help="PEM; read again when it changes  [its own, in a Secret]")
    add("--tls-key", type=Path, metavar="FILE", help="PEM, without a password")
    add("--ca", type=Path, metavar="FILE", help="PEM; with --tls-cert: what sidecars and API server are to trust")
    add("--admission", type=_host_port, metavar="HOST:PORT", help="for the webhook that injects sidecars  [none]")
    add("--sidecar-image", metavar="IMAGE", help="with --admission: what is injected")
    add("--service", default="hitl-operator", metavar="NAME", help="by which it is reached  [%(default)s]")
    add("--http", required=True, type=_host_port, metavar="HOST:PORT", help="for /healthz, /readyz and /metrics")
    add("--settings", type=Path, metavar="FILE", help="the operator's settings as YAML; read again when it changes")
    add("--replica", default="", metavar="NAME", help="unlike that of the other replicas  [the machine's name]")
    add("--state", metavar="DIR", help="where it notes how far audit chains have come  [a temporary folder]")
    add(
        "--archive",
        type=Path,
        metavar="DIR",
        help="where evidence is kept, on a volume; then ended requests go  [none]",
    )
    add("--archive-days", type=_days, default=DAYS, metavar="N", help="for which evidence is kept  [%(default)s]")
    add("--factor-key", default=DEFAULT.factor_key, metavar="KEY", help="as in the installed admission policies")
    add("--factors", default=",".join(DEFAULT.factors), metavar="LIST", help="likewise  [%(default)s]")
    add("--hardware", default=",".join(DEFAULT.hardware), metavar="LIST", help="likewise  [%(default)s]")
    add("--verbose", action="store_true", help="log refused holds too")
    return parser


def _days(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of days from 1")
    return int(text)


def _host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} must be HOST:PORT, e.g. 0.0.0.0:8443")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _address(text: str) -> str:
    _host_port(text)
    return text
