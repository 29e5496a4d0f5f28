"""Whether the API server's checks stand, so that votes count (SECURITY C4), and whether it went back in time (D2).

A stored vote cannot prove who cast it; what proves it is that the server let nobody else write it. So every replica
watches the policies, their bindings and the CRD, compares them with what was shipped, and tries forged writes. A vote
counts once all guards were read, after it was seen, as the very objects that were verified before it: nothing was
changed in between, not even for a moment. In a gap no hold is opened, no vote counted and nothing released; after it,
what was written in it is voided before anything counts again.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import ApiError, Conflict, HitlError, StoreUnavailable, Unavailable
from hitl.kube.api import KubeAPI
from hitl.kube.comparison import KINDS, collection, guards
from hitl.kube.reflector import Reflector
from hitl.kube.shipped import DEFAULT, Shipped, admission, crds, pods
from hitl_operator.cluster import rewind
from hitl_operator.cluster.defects import note_defect
from hitl_operator.cluster.enforcement_metrics import EnforcementMetrics
from hitl_operator.cluster.enforcement_record import (
    Back,
    Mark,
    Record,
    acknowledged,
    found_standing,
    lost,
    regained,
    rewound,
)
from hitl_operator.cluster.looks import Looks
from hitl_operator.cluster.probe import Probe
from hitl_operator.cluster.served import Guards, Listed, Served, Touched, touched
from hitl_operator.cluster.shared_record import SharedRecord
from hitl_operator.cluster.sweeping import Settling, sweep, try_again
from hitl_operator.cluster.trouble import MEND, Trouble
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics
from hitl_operator.standing import ENFORCEMENT_LOST, Lost

# Seconds from the first refusal of forged writes until votes count: a binding that was re-created let forbidden
# requests pass for almost a second more, and a cluster may have several API servers.
GRACE: Final = 10.0
_LOOK_EVERY: Final = 5.0  # seconds between two looks while nothing happens
_AGAIN: Final = (0.05, 0.25)  # seconds until a look that follows a lost race
_LOOK_SOON: Final = 1.0  # the same while votes do not count
_WRITE_EVERY: Final = timedelta(seconds=30)  # how old `checked` may become; a gap while nobody ran begins there
_TOO_SHORT: Final = "forged writes have been refused for too short a time"
_UNENDED: Final = "what stands in it cannot be believed, and it could not be ended before"
_LOST: Final = Lost(
    ENFORCEMENT_LOST,
    "It cannot be proved now that only people decide, so nobody is asked and nothing is released. Nothing ran. Tell "
    "the user that the cluster's admission policies need an administrator, and try again later.",
)

_QUARANTINED: Final = Lost(
    ENFORCEMENT_LOST,
    "Somebody may have forged what stands in this request, and it could not be ended, so it is never released. Nothing "
    "ran. Tell the user that an administrator must look at it, and make the call again to ask again.",
)

_log = Log(__name__)

Announce = Callable[[str, str], None]
"""Tells people: (EnforcementLost, EnforcementStands, RequestsQuarantined, Rewound or RewindAcknowledged; words)."""


@dataclass(frozen=True, slots=True)
class _Again:
    """What one more look at the guards found.

    Attributes:
        before: highest versions seen before it began.
        let_through: as `Probe.vote_refused`.
    """

    before: Mapping[str, int]
    listed: Listed
    let_through: str


class Enforcement:
    """The check of one replica; a `hitl_operator.standing.Standing`.

    Args:
        api: as the operator.
        shipped: what differs in this installation.
        gates_pods: what keeps gated pods gated is installed, too; no vote rests on it, but its loss is reported alike.
        metrics: where gaps are counted.
        hub_metrics: where defects are.
        announce: tells people when it is lost and regained.
        clock: aware UTC times, for people.
        monotonic: seconds, for the grace.
    """

    def __init__(
        self,
        api: KubeAPI,
        shipped: Shipped = DEFAULT,
        *,
        gates_pods: bool = False,
        metrics: EnforcementMetrics | None = None,
        hub_metrics: HubMetrics | None = None,
        announce: Announce = lambda _reason, _words: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._namespace = shipped.namespace
        policies = (*admission(shipped), *(pods(shipped) if gates_pods else ()))
        self._guards = Guards(api, guards(policies, crds()))
        self._probe = Probe(api, shipped.namespace, shipped.operator, clock=clock)
        self._shared = SharedRecord(api, shipped.namespace)
        self._metrics = EnforcementMetrics() if metrics is None else metrics
        self._hub_metrics = HubMetrics() if hub_metrics is None else hub_metrics
        self._announce = announce
        self._clock = clock
        self._monotonic = monotonic
        self._lost: Lost | None = _LOST
        self._told: Lost | None = _LOST
        self._why = ""
        self._record = Record()
        self._highest = rewind.Highest()
        self._back: Back | None = None
        self._refused_since: float | None = None
        self._let_through = ""
        self._logged = ""
        self.trouble = Trouble(api, "enforcement-not-checked")
        self._marks_tried: Mapping[str, Mark] = {}
        self._confirmed = 0
        self._looks = Looks(self._read_again, self._confirm)
        self._trust_memory = True
        self._wake = asyncio.Event()
        self.is_known = asyncio.Event()
        """Set after the first look: from then on `lost` says more than that nobody has looked."""

    @property
    def lost(self) -> Lost | None:
        """As `Standing.lost`."""
        return self._lost

    @property
    def why(self) -> str:
        """Why votes do not count now, for administrators; empty while they do."""
        return self._why

    @property
    def stands(self) -> bool:
        """Whether votes count now."""
        return self._lost is None

    @property
    def since(self) -> datetime | None:
        """From when on the checks have stood, as far as all replicas know together; None while they do not."""
        return self._record.since if self._record.stands else None

    @property
    def record(self) -> Record:
        """What the replicas know together, as this one read or wrote it last."""
        return self._record

    async def run(self, settling: Settling) -> None:
        """Watch, look and try until cancelled. What fails is tried again."""
        async with asyncio.TaskGroup() as tasks:
            for kind in KINDS:
                tasks.create_task(self._follow(kind).run())
            tasks.create_task(self._keep_looking(settling))

    @property
    def confirmations(self) -> int:
        """How often the guards were read and tried because of what people wrote."""
        return self._looks.begun

    async def vouch(self, request: ApprovalRequest) -> Lost | None:
        """As `Standing.vouch`: whether nobody could forge what is written in this picture.

        Costs nothing for a picture that was vouched for before; several that wait share one look.
        """
        status = request.status
        if not (status.decisions or status.notes or status.verified or status.conditions):
            return None  # nobody has written anything
        if request.uid in self._record.quarantined:
            return _QUARANTINED
        version = int(request.version)
        while self._lost is None and self._confirmed < version:
            try:
                await self._looks.look(version)
            except ApiError as error:
                raise Unavailable(ENFORCEMENT_LOST, f"the admission policies cannot be read: {error}") from error
        return self._lost

    async def look(self, settling: Settling) -> None:
        """Look once, and do what follows from it. Conflict: another replica wrote first; ApiError, StoreUnavailable."""
        loaded = await self._shared.load()
        before = self._highest.before()
        served = await self._guards.look()
        versions = served.listed.versions
        back = self._highest.take(before, versions) or self._back or rewind.behind(loaded.record, versions)
        self._back = None
        if back is not None:
            self._refused_since = None
        self._metrics.show(served.problems, [guard.key for guard in self._guards.all])
        broken = next((served.problems[guard.key] for guard in self._guards.vital if guard.key in served.problems), "")
        let_through = "" if broken else await self._tried(served)
        now = self._clock()

        record = replace(loaded.record, confirmed=max(loaded.record.confirmed, self._confirmed))
        if back is not None:
            record = rewound(record, back, now)
        elif record.rewound is not None and rewind.is_acknowledgement(loaded.annotation):
            record = acknowledged(record, loaded.annotation)
        if record.rewound is not None:
            self._confirmed, self._trust_memory = 0, False
        if not served.listed.untouched_since(record.marks):
            # Compared with the marks, not with what this release ships: while releases change, two of them look.
            record = lost(record, broken or "a guard was changed or replaced, and put back", now)
        elif let_through:
            record = lost(record, let_through, now)

        waits = GRACE if self._refused_since is None else GRACE - (self._monotonic() - self._refused_since)
        may_stand = not broken and not self._let_through and waits <= 0 and record.rewound is None
        if may_stand and not record.stands:
            record = await self._swept(record, served, settling)
        if record.stands and _is_old(record, now):
            record = found_standing(record, now, seen=max(versions.values()))
            if record.quarantined:
                left = await try_again(self._api, settling, record.quarantined, _UNENDED)
                record = replace(record, quarantined=left)
        if not _same(record, loaded.record):
            await self._shared.save(loaded, record)
            self._tell(before=loaded.record, after=record)
        if not record.stands:
            self._let_through = ""
        self._record = record
        self._metrics.quarantined.set(len(record.quarantined))
        if record.rewound is not None:
            self._set(rewind.lost(record), f"REWOUND; {rewind.how_to_acknowledge(self._namespace)}", settling)
        elif may_stand and not self._let_through and self._back is None:  # a release may just have noticed a restore
            self._set(None, "", settling)
        else:
            why = broken or let_through or self._let_through
            self._set(_LOST, why or _TOO_SHORT, settling, left=0 if why else waits)
        self.trouble.over()
        self.is_known.set()

    async def _tried(self, served: Served) -> str:
        """Why a forged write was let through; empty where all were refused. Notes since when they are."""
        if served.marks != self._marks_tried:
            self._marks_tried, self._refused_since = dict(served.marks), None
        why = await self._probe.refused() or self._let_through
        self._let_through = why
        if why:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = self._monotonic()
        return why

    async def _swept(self, record: Record, served: Served, settling: Settling) -> Record:
        """The record of checks that stand again, once nothing is open any more that was written in the gap."""
        gap = record.gaps[-1].why if record.gaps else "nothing is known of the time before"
        why = f"something was written in it while the API server's checks did not provably stand ({gap}); ask again"
        swept = await sweep(
            self._api,
            settling,
            confirmed=record.confirmed,
            now=self._clock(),
            why=why,
            trust_memory=self._trust_memory,
            quarantined=record.quarantined,
        )
        self._trust_memory = True
        return regained(record, served.marks, self._clock(), clean=swept.clean, quarantined=swept.quarantined)

    async def _read_again(self) -> _Again:
        """Read the guards once more and try them, for all who wait.

        They are untouched and a forged vote is refused: nobody could forge what was seen so far. A server that was
        started anew without admission policies has them stored as they were, so only a trial tells. What such a server
        lets in between two trials, before it is started anew with them, nothing tells.
        """
        before = self._highest.before()
        listed, let_through = await asyncio.gather(self._guards.list(), self._vote_refused())
        return _Again(before, listed, let_through)

    async def _vote_refused(self) -> str:
        """As `Probe.vote_refused`. A vote that was let through is a gap whatever else can be read."""
        let_through = await self._probe.vote_refused()
        if let_through:
            self._let_through = self._let_through or let_through
            self._lost = self._lost or _LOST
            self._wake.set()
        return let_through

    def _confirm(self, again: _Again, covers: int) -> None:
        """Confirm what was written up to version `covers`, unless this look, or one before it, found a gap."""
        self._let_through = self._let_through or again.let_through
        back = self._highest.take(again.before, again.listed.versions)
        if back is not None:
            self._back, self._confirmed = back, 0
        if back is not None or self._let_through or not again.listed.untouched_since(self._record.marks):
            self._lost = self._lost or _LOST
            self._wake.set()
        elif self._lost is None:
            self._confirmed = max(self._confirmed, covers)

    async def _keep_looking(self, settling: Settling) -> None:
        while True:
            self._wake.clear()
            try:
                await self.look(settling)
            except Conflict:  # another replica wrote first
                await asyncio.sleep(random.uniform(*_AGAIN))  # noqa: S311 - keeps replicas apart, guards nothing
                continue
            except HitlError as error:
                self._trouble(error, settling)
            except Exception:  # noqa: BLE001 - while nobody looks nothing may count, and other work must not end
                note_defect(self._hub_metrics, "enforcement")
                self._set(_LOST, "the check stumbled over what it read; the log says how", settling)
                self.is_known.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY if self.stands else _LOOK_SOON):
                    await self._wake.wait()

    def _trouble(self, error: HitlError, settling: Settling) -> None:
        """It could not be told. What stood stands until it can: each vote asks for a look of its own."""
        self.trouble.tell(error)
        if not isinstance(error, StoreUnavailable):
            self._set(_LOST, self.trouble.why, settling)
            self.is_known.set()  # it answered, and not in a way that votes could rest on

    def _set(self, now: Lost | None, why: str, settling: Settling, *, left: float = 0) -> None:
        """Say whether votes count; `left`: seconds of the grace, of which the log says nothing."""
        was, self._lost = self._told, now
        self._told = now
        self._metrics.standing.set(1 if now is None else 0)
        if why and why != self._logged:
            _log.error("enforcement-not-standing", why=why)
        self._logged = why
        self._why = f"{why}, {left:.0f} s are left" if left else why
        if was != now:
            _log.warning("enforcement", stands=now is None)
            settling.look_at_all()

    def _tell(self, *, before: Record, after: Record) -> None:
        """Only who wrote it tells it, so that people hear it once."""
        if after.rewound is not None and before.rewound is None:
            words = (
                f"the API server served version {after.rewound.served} after {after.rewound.seen}; nothing is released"
            )
            self._announce("Rewound", f"{words} until: {rewind.how_to_acknowledge(self._namespace)}")
        if before.rewound is not None and after.rewound is None:
            _log.warning("rewind-acknowledged", words=after.acknowledgement)
            self._announce("RewindAcknowledged", after.acknowledgement)
        if before.stands and not after.stands:
            self._metrics.gaps.inc()
            self._announce("EnforcementLost", f"{after.gaps[-1].why}; {MEND}")
        if left := after.quarantined - before.quarantined:
            self._announce(
                "RequestsQuarantined",
                f"{len(left)} requests that cannot be believed could not be ended either; nothing in them counts. The "
                "log has their names (request-quarantined); what to do with them: docs/enforcement.md",
            )
        if after.stands and not before.stands:
            self._announce("EnforcementStands", "forged writes are refused, everything is as shipped; votes count")

    def _follow(self, kind: str) -> Reflector[Touched]:
        names = self._guards.names(kind)

        def keep(found: dict[str, Any]) -> Touched | None:
            metadata = found["metadata"]
            return touched(metadata) if metadata["name"] in names else None

        def changed(_key: object, _was: object, _now: object) -> None:
            self._wake.set()

        return Reflector(self._api, collection(kind), keep=keep, on_change=changed, metadata_only=True)


def _is_old(record: Record, now: datetime) -> bool:
    return record.checked is None or now - record.checked >= _WRITE_EVERY


def _same(record: Record, stored: Record) -> bool:
    """Whether there is nothing to write; what was confirmed waits for something else to write, `checked` at last."""
    return record.stands and replace(record, confirmed=stored.confirmed) == stored
