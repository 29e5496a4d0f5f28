"""The sidecars that are connected, and which config each of them runs."""

from dataclasses import dataclass

from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics

_log = Log(__name__)


@dataclass(slots=True)
class Sidecar:
    """One sidecar process.

    Attributes:
        wanted: revision sent last. running: revision it said it runs.
        refused: why it did not take `wanted`; empty if it did or has not answered.
    """

    identity: Identity
    epoch: str
    compiler: str
    wanted: str = ""
    running: str = ""
    refused: str = ""

    @property
    def is_current(self) -> bool:
        """Whether it runs what it was sent last."""
        return bool(self.wanted) and self.running == self.wanted


class Sidecars:
    """Who is connected, by pod and epoch."""

    def __init__(self, metrics: HubMetrics) -> None:
        self._metrics = metrics
        self._known: dict[tuple[str, str], Sidecar] = {}
        self._count()

    def __len__(self) -> int:
        return len(self._known)

    def connect(self, identity: Identity, hello: hub_pb2.Hello) -> Sidecar:
        """A sidecar opened its Sync stream; a second one of the same process takes the place of the first."""
        sidecar = Sidecar(identity, hello.epoch, hello.compiler, running=hello.revision)
        self._known[identity.agent.pod_uid, hello.epoch] = sidecar
        self._count()
        _log.info("sidecar-connected", pod=identity.agent.pod_name, workload=identity.agent.workload, epoch=hello.epoch)
        return sidecar

    def disconnect(self, sidecar: Sidecar) -> None:
        """Its Sync stream ended."""
        key = sidecar.identity.agent.pod_uid, sidecar.epoch
        if self._known.get(key) is sidecar:
            del self._known[key]
            self._count()
            _log.info("sidecar-gone", pod=sidecar.identity.agent.pod_name, epoch=sidecar.epoch)

    def sent(self, sidecar: Sidecar, revision: str) -> None:
        """It was sent this config."""
        sidecar.wanted, sidecar.refused = revision, ""
        self._count()

    def answered(self, sidecar: Sidecar, revision: str, *, accepted: bool, reason: str) -> None:
        """It took a config, or did not and goes on with the one before."""
        if accepted:
            sidecar.running = revision
        if revision == sidecar.wanted:
            sidecar.refused = "" if accepted else reason or "it gave no reason"
        self._count()
        if not accepted:
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

    def _count(self) -> None:
        current = sum(sidecar.is_current for sidecar in self._known.values())
        self._metrics.sidecars.labels("true").set(current)
        self._metrics.sidecars.labels("false").set(len(self._known) - current)
