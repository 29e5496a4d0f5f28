"""The sidecars that are connected, and which config each of them runs."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics
from hitl_operator.pacing import Buckets

# Lines about refused configs: so many of one pod at once, and one in ten seconds after that (SECURITY B5).
_LINES, _LINES_PER_SECOND = 5, 0.1

_log = Log(__name__)


@dataclass(slots=True)
class Sidecar:
    """One sidecar process.

    Attributes:
        since: when it connected, or was sent `wanted`.
        wanted: revision sent last. running: revision it said it runs.
        refused: why it did not take `wanted`; empty if it did or has not answered.
        replaced: set once another stream of the same process took its place; this one is to end.
    """

    identity: Identity
    epoch: str
    compiler: str
    since: datetime
    wanted: str = ""
    running: str = ""
    refused: str = ""
    replaced: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_current(self) -> bool:
        """Whether it runs what it was sent last."""
        return bool(self.wanted) and self.running == self.wanted


class Sidecars:
    """Who is connected, by pod and epoch.

    Attributes:
        changes: counts everything that happened to any of them.
    """

    def __init__(self, metrics: HubMetrics, clock: Callable[[], datetime]) -> None:
        self.changes = 0
        self._metrics = metrics
        self._clock = clock
        self._lines: Buckets[str] = Buckets(_LINES, _LINES_PER_SECOND)
        self._known: dict[tuple[str, str], Sidecar] = {}
        self._current = (
            0  # counted along: with thousands of sidecars a change of config must not count them all each time
        )
        self._count()

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Sidecar]:
        return iter(self._known.values())

    def connect(self, identity: Identity, hello: hub_pb2.Hello) -> Sidecar:
        """A sidecar opened its Sync stream; a second one of the same process ends the first."""
        sidecar = Sidecar(identity, hello.epoch, hello.compiler, self._clock(), running=hello.revision)
        key = identity.agent.pod_uid, hello.epoch
        replaced = self._known.get(key)
        if replaced is not None:
            self._current -= replaced.is_current
            replaced.replaced.set()
        self._known[key] = sidecar
        self._count()
        _log.info("sidecar-connected", pod=identity.agent.pod_name, workload=identity.agent.workload, epoch=hello.epoch)
        return sidecar

    def disconnect(self, sidecar: Sidecar) -> None:
        """Its Sync stream ended."""
        key = sidecar.identity.agent.pod_uid, sidecar.epoch
        if self._known.get(key) is sidecar:
            del self._known[key]
            self._current -= sidecar.is_current
            self._count()
            _log.info("sidecar-gone", pod=sidecar.identity.agent.pod_name, epoch=sidecar.epoch)

    def sent(self, sidecar: Sidecar, revision: str) -> None:
        """It was sent this config."""
        was = sidecar.is_current
        sidecar.wanted, sidecar.refused, sidecar.since = revision, "", self._clock()
        self._changed(sidecar, was)

    def answered(self, sidecar: Sidecar, revision: str, *, accepted: bool, reason: str) -> None:
        """It took a config, or did not and goes on with the one before."""
        was = sidecar.is_current
        if accepted:
            sidecar.running = revision
        if revision == sidecar.wanted:
            sidecar.refused = "" if accepted else reason or "it gave no reason"
        self._changed(sidecar, was)
        if not accepted and self._lines.take(sidecar.identity.agent.pod_uid):
            _log.error(
                "config-nacked",
                pod=sidecar.identity.agent.pod_name,
                revision=revision[:7],
                runs=sidecar.running[:7],
                why=reason,
            )

    def compiler_of(self, identity: Identity, epoch: str) -> str | None:
        """The compiler version of a sidecar; None while its Sync stream is away."""
        sidecar = self._known.get((identity.agent.pod_uid, epoch))
        return sidecar.compiler if sidecar is not None else None

    def may_run(self, identity: Identity, epoch: str, revision: str, in_force: str) -> bool:
        """Whether a release may rest on a verdict under `revision` (I8).

        It may under the config in force for that sidecar, and under its last good one if it said that it cannot compile
        the one in force.
        """
        if revision == in_force:
            return True
        sidecar = self._known.get((identity.agent.pod_uid, epoch))
        if sidecar is None or sidecar.wanted != in_force or not sidecar.refused:
            return False
        return sidecar.running == revision

    def _changed(self, sidecar: Sidecar, was: bool) -> None:
        self.changes += 1
        key = sidecar.identity.agent.pod_uid, sidecar.epoch
        if self._known.get(key) is sidecar and was != sidecar.is_current:
            self._current += 1 if sidecar.is_current else -1
            self._count()

    def _count(self) -> None:
        self.changes += 1
        self._metrics.sidecars.labels("true").set(self._current)
        self._metrics.sidecars.labels("false").set(len(self._known) - self._current)
