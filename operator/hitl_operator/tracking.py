"""What the hub knows by heart of the requests in its stores: which are open, who waits on them, what came before.

Memory only, and always behind the store: everything that binds is a compare-and-set there. Open requests are kept
whole; of ended ones a few words, so that the same call finds its earlier request and a denial its cooldown.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from hitl.approvals.requests import ApprovalRequest, RequestSpec, State
from hitl.approvals.settlement import Settlement
from hitl_operator.trusting import Said

# How many ended requests are remembered at all; each takes some 700 bytes.
_MOST_REMEMBERED = 20_000
# Denials are kept whole, because their words are repeated; so many for each workload, and no longer than any cooldown.
_MOST_DENIALS = 200
# Workloads whose denials are kept at the same time, and denials of all of them. Of who asked least recently they are
# dropped, and read from the store when he asks again.
_MOST_WORKLOADS = 2_000
_MOST_DENIALS_IN_ALL = 10_000
LONGEST_COOLDOWN = timedelta(days=1)

CallKey = tuple[str, str, str, str, str]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Waiter(Protocol):
    """Somebody on a Hold stream who is told what becomes of a request."""

    @property
    def is_holding(self) -> bool:
        """Whether the call itself is held there and may be consumed."""
        ...

    def wake(self) -> None:
        """Something changed; the request may just have ended. Must not block."""
        ...


@dataclass(slots=True)
class Open:
    """One request that has not ended.

    Attributes:
        request: as last seen in the store.
        found: what settling it found last; None until it was looked at.
        judged: the request with the hub's word on votes that is not written yet, because a holder may write it all.
        ready_since: since when its requirements are met without Approved having been written.
        is_busy: it is being settled or waits for it. is_stale: look again afterwards.
        passed_over: it was left to another hub to settle; look as soon as somebody waits on it here.
        due: when to look again though nothing happens.
        said: votes and notes with what this hub itself found about them.
        reminded: how many of its reminders were dealt with here.
    """

    request: ApprovalRequest
    found: Settlement | None = None
    judged: ApprovalRequest | None = None
    ready_since: datetime | None = None
    is_busy: bool = False
    is_stale: bool = False
    passed_over: bool = False
    due: float = 0.0
    waiters: list[Waiter] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    reminded: int = 0

    @property
    def is_held(self) -> bool:
        """Whether a sidecar of this hub holds the call."""
        return any(waiter.is_holding for waiter in self.waiters)

    def wake_all(self) -> None:
        """Tell everybody who waits."""
        for waiter in tuple(self.waiters):
            waiter.wake()


def call_key(namespace: str, spec: RequestSpec) -> CallKey:
    """What a retry of a call attaches by, within one workload and ServiceAccount (SECURITY B4)."""
    return namespace, spec.service_account, spec.workload, spec.session_id, spec.key


class Tracker:
    """The index. Not thread-safe; lives on one event loop."""

    def __init__(self) -> None:
        self.open: dict[str, Open] = {}
        self._per_workload: Counter[tuple[str, str]] = Counter()
        self._per_namespace: Counter[str] = Counter()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._first_n: OrderedDict[CallKey, int] = OrderedDict()
        self._latest: OrderedDict[tuple[str, str, str, str], str] = OrderedDict()
        self._denied: OrderedDict[tuple[str, str], OrderedDict[str, ApprovalRequest]] = OrderedDict()

    def observe(self, request: ApprovalRequest, *, refuted: str = "") -> Open | None:
        """Take note of a request as read or written. Returns its entry if that was news, also if it has just ended.

        Reads overtake each other: of an open request a picture that lacks what the known one has is older (I5: votes,
        notes and outcomes are only added) and is passed over.

        refuted: a version that the store said, before this picture was read, is not the stored one. The picture takes
        its place whatever it lacks; otherwise a row that lost something would never be looked at again.
        """
        handle = request.handle
        entry = self.open.get(handle)
        if request.status.state.is_terminal:
            return self._end(request, entry)
        if request.uid in self._ended:
            return None  # an old picture of a request that has ended since
        if entry is None:
            entry = self.open[handle] = Open(request)
            self._count(request, 1)
            self._remember_latest(request)
            return entry
        known = entry.request
        if known.version == request.version or (known.version != refuted and _is_older(request, known)):
            return None
        entry.request, entry.judged = request, None
        return entry

    def knows(self, namespace: str, name: str, version: str) -> bool:
        """Whether this very version is known; called by the store from its own threads, where a dict may be read."""
        entry = self.open.get(f"{namespace}/{name}")
        return entry is not None and entry.request.version == version

    def forget(self, handle: str) -> Open | None:
        """Drop a request that is gone from the store."""
        entry = self.open.pop(handle, None)
        if entry is not None:
            self._drop(entry.request)
        return entry

    def pending_of(self, namespace: str, workload: str) -> tuple[int, int]:
        """Open requests of (a workload, its namespace), those being opened included (SECURITY B5)."""
        return self._per_workload[namespace, workload], self._per_namespace[namespace]

    def reserve(self, namespace: str, workload: str, count: int) -> None:
        """Count a request that is being opened (+1), or is no longer (-1)."""
        _add(self._per_workload, (namespace, workload), count)
        _add(self._per_namespace, namespace, count)

    def first_n(self, key: CallKey) -> int:
        """Where to begin looking for a call's request: names before it belong to ended ones."""
        return self._first_n.get(key, 0)

    def begin_at(self, key: CallKey, n: int) -> None:
        """Remember `first_n`."""
        if n:
            _keep(self._first_n, key, n)

    def earlier(self, namespace: str, spec: RequestSpec) -> str:
        """Name of the newest request for the same call, whatever its session or call_id; empty if none is known."""
        return self._latest.get((namespace, spec.service_account, spec.workload, spec.sameness), "")

    def knows_denials_of(self, namespace: str, workload: str) -> bool:
        """Whether all denials of this workload are kept, since `seed_denials`; they are not for ever."""
        return (namespace, workload) in self._denied

    def seed_denials(self, namespace: str, workload: str, denied: Iterable[ApprovalRequest]) -> None:
        """Begin to keep a workload's denials, with those that the store remembers."""
        kept = self._denied.setdefault((namespace, workload), OrderedDict())
        for request in denied:
            kept.setdefault(request.handle, request)
        self._shed_denials()

    def denials_of(self, namespace: str, workload: str, now: datetime) -> list[ApprovalRequest]:
        """A workload's denied requests that a cooldown could still rest on."""
        kept = self._denied.get((namespace, workload), OrderedDict())
        if (namespace, workload) in self._denied:
            self._denied.move_to_end((namespace, workload))
        for handle, request in tuple(kept.items()):
            if now > (request.status.resolved_time or request.created) + LONGEST_COOLDOWN:
                del kept[handle]
        return list(kept.values())

    def _shed_denials(self) -> None:
        kept = sum(map(len, self._denied.values()))
        while len(self._denied) > _MOST_WORKLOADS or kept > _MOST_DENIALS_IN_ALL:
            kept -= len(self._denied.popitem(last=False)[1])

    def _end(self, request: ApprovalRequest, entry: Open | None) -> Open | None:
        if request.uid in self._ended:
            return None
        _keep(self._ended, request.uid, None)
        self._remember_latest(request)
        kept = self._denied.get((request.namespace, request.spec.workload))
        if request.status.state is State.DENIED and kept is not None:
            kept[request.handle] = request
            if len(kept) > _MOST_DENIALS:
                kept.popitem(last=False)
            self._shed_denials()
        if entry is None:
            return None
        del self.open[request.handle]
        self._drop(entry.request)
        entry.request, entry.judged = request, None
        return entry

    def _drop(self, request: ApprovalRequest) -> None:
        self._count(request, -1)

    def _count(self, request: ApprovalRequest, count: int) -> None:
        self.reserve(request.namespace, request.spec.workload, count)

    def _remember_latest(self, request: ApprovalRequest) -> None:
        spec = request.spec
        _keep(self._latest, (request.namespace, spec.service_account, spec.workload, spec.sameness), request.name)


def _is_older(picture: ApprovalRequest, known: ApprovalRequest) -> bool:
    """Whether a picture of the same request lacks what the life cycle never takes away. Versions have no order."""
    if picture.uid != known.uid:
        return False
    new, old = picture.status, known.status
    return (
        any(each not in new.decisions for each in old.decisions)
        or any(each not in new.notes for each in old.notes)
        or any(each not in new.verified for each in old.verified)
        or any(each not in new.conditions for each in old.conditions)
        or (new.rounds, new.escalated, new.notes_applied) < (old.rounds, old.escalated, old.notes_applied)
    )


def _add(counter: Counter[_K], key: _K, count: int) -> None:
    """Keeps no zeros: workloads come and go."""
    counter[key] += count
    if not counter[key]:
        del counter[key]


def _keep(remembered: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    """Remember as the newest; forget the oldest past the bound."""
    remembered[key] = value
    remembered.move_to_end(key)
    if len(remembered) > _MOST_REMEMBERED:
        remembered.popitem(last=False)
