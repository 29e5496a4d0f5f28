"""The hub on one machine: ``python -m hitl_operator.standalone --home DIR -f PATH…`` (DESIGN 18).

Ready is what the health service on ``DIR/hub.sock`` says. It ends on SIGTERM and SIGINT, with code 1 and words where
it cannot go on, and with code 2 where it was called wrongly.
"""

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hitl.errors import HitlError, Unavailable
from hitl.policy.calls import Agent
from hitl.stores.people import Person
from hitl.stores.sqlite import SQLiteStore
from hitl.tracing import open_traces
from hitl.wire.identity import Identity
from hitl_operator.heads import AuditHeads
from hitl_operator.home import Home, open_home
from hitl_operator.home_freezes import HomeFreezes
from hitl_operator.hub import Hub
from hitl_operator.identity import HomeAuthenticator
from hitl_operator.keys import open_keyring
from hitl_operator.logs import Log, log_to
from hitl_operator.metrics import HubMetrics
from hitl_operator.policy_files import LOOK_EVERY, PolicyFiles
from hitl_operator.reviewers import Reviewers, unmanned
from hitl_operator.server import HubServer
from hitl_operator.sockets import SocketClaim, claim_socket
from hitl_operator.sources import ConfigBook
from hitl_operator.verification import SignatureVerifier

_COOPERATIVE = (
    "standalone mode is cooperative: requests, policies and reviewers' keys all belong to this account, so whatever "
    "runs under it, an agent included, could decide by itself. Run agents under another account or in a container "
    "that does not see the home; on a cluster the API server enforces who decides."
)
_UNWRITABLE = {
    errno.EROFS: "is read-only",
    errno.EACCES: "is not writable for this account",
    errno.EPERM: "is not writable for this account",
    errno.ENOSPC: "has no space left",
}
_TICK = 1.0  # seconds between two updates of gauges and flushes of audit heads

_log = Log(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit code."""
    options = _parser().parse_args(arguments)
    log_to(level=logging.DEBUG if options.verbose else logging.INFO)
    os.umask(0o077)  # whatever is made from here on is for this account alone
    try:
        return asyncio.run(serve(options))
    except HitlError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        place = error.filename2 or error.filename or options.home
        sys.stderr.write(
            f"error: {place}: {_UNWRITABLE[error.errno]} ({error.strerror}); mend that, or choose another --home\n"
        )
        return 1


async def serve(options: argparse.Namespace) -> int:
    """Bring everything up, serve, take everything down. HitlError: why it cannot serve."""
    home = open_home(Path(options.home).expanduser().absolute(), options.namespace)  # noqa: ASYNC240 - before serving
    keyring = open_keyring(home.keys, rotate=options.rotate_keys)
    with contextlib.closing(claim_socket(home.socket)) as claim:
        _log.warning("cooperative", home=home.path, meaning=_COOPERATIVE)
        book = ConfigBook()
        files = _files(options, home, book)
        files.start(_now())
        if not book.version:
            raise Unavailable("NO_CONFIG", "no policy can be served; mend what is named above and start again")
        traces = open_traces("hitl-hub", os.environ)
        metrics = HubMetrics(traces)
        freezes = HomeFreezes(book, home.freezes, home.namespace, metrics)
        freezes.look(_now())  # before anybody is served
        async with SQLiteStore.open(home.database, clock=_now) as store:
            reviewers = Reviewers(home.reviewers)
            hub = Hub(
                store,
                authenticator=HomeAuthenticator(
                    namespace=home.namespace, namespace_uid=home.namespace_uid, cluster_uid=home.cluster_uid
                ),
                source=book,
                verifier=SignatureVerifier(reviewers.now, home.cluster_uid),
                keyring=keyring,
                heads=AuditHeads(home.audit_heads),
                metrics=metrics,
                clock=_now,
            )
            await _serve(hub, claim, _Watcher(hub, files, reviewers, book, freezes), options.metrics_port)
        if traces is not None:
            await asyncio.to_thread(traces.close)
    return 0


async def _serve(hub: Hub, claim: SocketClaim, watcher: "_Watcher", metrics_port: int | None) -> None:
    """Serve until a signal comes or something ends that must not."""
    server = HubServer(hub)
    with claim.binding() as address:
        server.bind(address)
    if metrics_port is not None:
        _log.info("metrics", url=f"http://127.0.0.1:{hub.metrics.serve(metrics_port)}/metrics")
    await server.start()
    stopped, lost = asyncio.create_task(_stop_signal()), asyncio.create_task(claim.lost())
    working = [asyncio.create_task(work) for work in (hub.run(), watcher.look(), watcher.tick(server))]
    try:
        await asyncio.wait([*working, stopped, lost], return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            raise Unavailable("SOCKET_LOST", f"{claim.path}: was removed or replaced; nobody can be served there")
        for task in working:
            if task.done():
                task.result()
        _log.info("stopping")
    finally:
        await server.stop()
        for task in (*working, stopped, lost):
            task.cancel()
        await asyncio.gather(*working, stopped, lost, return_exceptions=True)
        watcher.flush()


class _Watcher:
    """Everything that has to be looked at again and again."""

    def __init__(
        self, hub: Hub, files: PolicyFiles, reviewers: Reviewers, book: ConfigBook, freezes: HomeFreezes
    ) -> None:
        self._hub = hub
        self._freezes = freezes
        self._files = files
        self._reviewers = reviewers
        self._book = book
        self._unmanned: dict[str, tuple[str, ...]] = {}

    async def look(self) -> None:
        """Policies and people, several times a second."""
        policies = reviewers = window = -1
        while True:
            self._files.look(_now())
            self._freezes.look(_now())
            people = self._reviewers.now()
            if (policies, reviewers) != (self._book.version, self._reviewers.version):
                self._check_manning(people)
            if (reviewers, window) != (self._reviewers.version, self._book.settings.release_window):
                # Votes that could not be judged can be now, and approvals may lapse sooner or later than before. What
                # people are asked never changes with the policy (DESIGN 8).
                self._hub.settler.look_at_all()
            policies, reviewers = self._book.version, self._reviewers.version
            window = self._book.settings.release_window
            await asyncio.sleep(LOOK_EVERY)

    async def tick(self, server: HubServer) -> None:
        """Health, gauges and audit heads, once a second from the moment on at which there is something to serve."""
        await self._hub.settler.is_following.wait()
        while True:
            await server.tell_health()
            self._hub.update_gauges()
            metrics = self._hub.metrics
            metrics.config_invalid.set(1 if self._files.troubles else 0)
            metrics.config_age.set((_now() - self._files.taken).total_seconds() if self._files.taken else 0)
            self.flush()
            await asyncio.sleep(_TICK)

    def flush(self) -> None:
        """Write what is kept of the audit chains."""
        try:
            self._hub.heads.flush()
        except OSError as error:
            _log.error("audit-heads-unwritable", problem=error)

    def _check_manning(self, people: Mapping[str, Person] | None) -> None:
        generation = self._book.generation
        if generation is None or people is None:
            return
        found = unmanned((entry.policy for entry in generation.entries if entry.policy is not None), people)
        for policy in self._unmanned.keys() - found.keys():
            self._hub.metrics.unmanned.remove(policy)
        for policy, groups in found.items():
            self._hub.metrics.unmanned.labels(policy).set(1 if groups else 0)
            if groups and groups != self._unmanned.get(policy):
                _log.warning(
                    "policy-unmanned", policy=policy, groups=", ".join(groups), meaning="its calls will expire"
                )
        self._unmanned = found


async def _stop_signal() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _files(options: argparse.Namespace, home: Home, book: ConfigBook) -> PolicyFiles:
    return PolicyFiles(
        book,
        [Path(path).absolute() for path in options.files],
        settings=Path(options.settings).absolute() if options.settings else None,
        memory=home.last_good,
        identity=Identity(Agent(home.namespace), home.namespace_uid, home.cluster_uid),
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hitl-hub", description="The control plane of hitl on one machine.")
    add = parser.add_argument
    add("--home", required=True, metavar="DIR", help="keys, people, requests and the socket; made if it is not there")
    add("-f", "--files", required=True, nargs="+", metavar="PATH", help="policy files, or folders of them")
    add("--settings", metavar="FILE", help="the operator's settings as YAML")
    add("--namespace", metavar="NAME", help="namespace of a new home (default: default)")
    add("--metrics-port", type=int, metavar="N", help="serve Prometheus metrics on 127.0.0.1:N; 0: a free port")
    add("--rotate-keys", action="store_true", help="begin a new key epoch; calls held under the old one stay good")
    add("--verbose", action="store_true", help="log refused holds too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
