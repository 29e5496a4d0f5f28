"""Opening holds: carries out what `hitl.approvals.opening` decides, on the store and the tracker (DESIGN 8)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from weakref import WeakValueDictionary

from hitl.approvals.edits import editors
from hitl.approvals.keys import request_name
from hitl.approvals.opening import Attach, Create, Refuse, first_status, may_touch, open_or_attach
from hitl.approvals.requests import ApprovalRequest, RequestSpec
from hitl.approvals.settlement import Outcome
from hitl.errors import AlreadyExists, InvalidInput, NotFound, StoreUnavailable
from hitl.policy.settings import Settings
from hitl.stores.protocol import ApprovalStore
from hitl_operator.keys import NamespaceKey
from hitl_operator.metrics import HubMetrics
from hitl_operator.records import Silent, Witness, record_open, record_refusal
from hitl_operator.settling import Settler
from hitl_operator.tracking import LONGEST_COOLDOWN, Open, Tracker, call_key
from hitl_operator.turns import Turns

# So many below its bound a workload's open requests begin to be counted in the store; far from it that would cost more
# with each of them. The default bound is 20, so there all of them are.
_HEADWAY: Final = 20
_PATIENCE: Final = 10.0  # seconds that an opening waits for others of its workload


@dataclass(frozen=True, slots=True)
class Opened:
    """The request that stands for a call now."""

    entry: Open
    attached: bool


class Opener:
    """Opens requests and attaches to them."""

    def __init__(
        self,
        store: ApprovalStore,
        tracker: Tracker,
        settler: Settler,
        metrics: HubMetrics,
        turns: Turns,
        *,
        clock: Callable[[], datetime],
        settings: Callable[[], Settings],
        witness: Witness | None = None,
    ) -> None:
        self._witness = Silent() if witness is None else witness
        self._store = store
        self._tracker = tracker
        self._settler = settler
        self._metrics = metrics
        self._store_turns = turns
        self._clock = clock
        self._settings = settings
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def open(self, namespace: str, spec: RequestSpec, key: NamespaceKey, *, supersedes: bool) -> Opened | Refuse:
        """The open request for this call: found, or created now; or why nobody is asked.

        Args:
            namespace: of the agent.
            spec: as checked by `read_wish`.
            key: current key of the namespace.
            supersedes: the request that stood for this call was superseded; attach to none but its successor.

        Raises:
            StoreError: it could not be told.
        """
        tracker = self._tracker
        spec = await self._with_earlier(namespace, spec)
        names = _Names(spec, key, tracker.first_n(call_key(namespace, spec)))
        read: dict[str, ApprovalRequest | None] = {}
        while True:
            await self._know_denials(namespace, spec)
            decided = self._decide(namespace, spec, names, read, supersedes=supersedes)
            match decided:
                case Refuse():
                    record_refusal(self._metrics, namespace, spec, decided)
                    return decided
                case Attach(request):
                    entry = await self._attach(request)
                    if entry is not None:
                        return Opened(entry, attached=True)
                    read[request.name] = await self._read(namespace, request.name, spec)
                case Create(name, asked):
                    async with self._turn(namespace, spec) as counted:
                        if counted and not self._stands(decided, namespace, spec, names, read, supersedes=supersedes):
                            continue
                        try:
                            entry = await self._create(namespace, name, asked)
                        except AlreadyExists:
                            read[name] = await self._read(namespace, name, spec)
                        else:
                            tracker.begin_at(call_key(namespace, spec), names.number_of(name))
                            return Opened(entry, attached=False)

    def _stands(
        self,
        decided: Create,
        namespace: str,
        spec: RequestSpec,
        names: "_Names",
        read: dict[str, ApprovalRequest | None],
        *,
        supersedes: bool,
    ) -> bool:
        """Whether the same is decided after a pause, by what became known in it and is still known."""
        if not self._tracker.knows_denials_of(namespace, spec.workload):
            return False
        return self._decide(namespace, spec, names, read, supersedes=supersedes) == decided

    @asynccontextmanager
    async def _turn(self, namespace: str, spec: RequestSpec) -> AsyncIterator[bool]:
        """Near its bound a workload's requests are opened one after the other, each after a fresh count: other hubs
        open some as well, and word of them takes a moment (SECURITY B5). Says whether there was one.

        Two hubs that count at the same moment may still open one each: the bound is passed by as many as there are
        other hubs, at most. The bound of a namespace goes by what was heard of other hubs alone.
        """
        settings, workload = self._settings(), spec.workload
        if self._tracker.pending_of(namespace, workload)[0] < settings.max_pending_per_workload - _HEADWAY:
            yield False
            return
        turn = self._turns.setdefault((namespace, workload), asyncio.Lock())
        try:
            async with asyncio.timeout(_PATIENCE):
                await turn.acquire()
        except TimeoutError:
            raise StoreUnavailable(f"{namespace}: too many requests of {workload} wait to be opened") from None
        try:
            async with self._at_store(namespace, spec):
                found = await self._store.open_of(namespace, workload)
            for request in found:
                self._settler.observe(request)
            yield True
        finally:
            turn.release()

    def _decide(
        self,
        namespace: str,
        spec: RequestSpec,
        names: "_Names",
        read: dict[str, ApprovalRequest | None],
        *,
        supersedes: bool,
    ) -> Attach | Create | Refuse:
        """One pass without I/O. A name that nobody here knows counts as free: creating it tells whether it is."""

        def find(name: str) -> ApprovalRequest | None:
            entry = self._tracker.open.get(f"{namespace}/{name}")
            return read.get(name) if entry is None else entry.request

        now = self._clock()
        in_workload, in_namespace = self._tracker.pending_of(namespace, spec.workload)
        return open_or_attach(
            spec,
            name_of=names.name_of,
            find=find,
            earlier=self._tracker.denials_of(namespace, spec.workload, now),
            open_in_workload=in_workload,
            open_in_namespace=in_namespace,
            settings=self._settings(),
            now=now,
            supersedes=supersedes,
        )

    async def _attach(self, request: ApprovalRequest) -> Open | None:
        """The open entry of a request; None if it has ended by now."""
        self._settler.observe(request)  # news if it is another hub's
        entry = self._tracker.open.get(request.handle)
        if entry is not None and (entry.found is None or not _waits(entry)):
            await self._settler.settle_now(entry, asked=True)
            entry = self._tracker.open.get(request.handle)
        return entry

    async def _create(self, namespace: str, name: str, spec: RequestSpec) -> Open:
        """Counted before it is written, so that a burst cannot slip past the bound (SECURITY B5)."""
        self._tracker.reserve(namespace, spec.workload, 1)
        try:
            async with self._at_store(namespace, spec):
                request = await self._store.create(namespace, name, spec, first_status(spec, self._clock()))
            entry = self._settler.take_in(request)
        finally:
            self._tracker.reserve(namespace, spec.workload, -1)
        record_open(request)
        self._witness.opened(request)
        return entry

    async def _read(self, namespace: str, name: str, spec: RequestSpec) -> ApprovalRequest | None:
        """What stands under a name, for who asks with this spec."""
        try:
            async with self._at_store(namespace, spec):
                request = await self._store.get(namespace, name)
        except NotFound:
            return None
        self._settler.observe(request)
        return request

    def _at_store(self, namespace: str, spec: RequestSpec) -> AbstractAsyncContextManager[None]:
        return self._store_turns.turn(namespace, spec.agent_pod_uid)

    async def _know_denials(self, namespace: str, spec: RequestSpec) -> None:
        workload = spec.workload
        if not self._tracker.knows_denials_of(namespace, workload):
            since = self._clock() - LONGEST_COOLDOWN
            async with self._at_store(namespace, spec):
                denied = await self._store.denied_since(namespace, workload, since)
            self._tracker.seed_denials(namespace, workload, denied)

    async def _with_earlier(self, namespace: str, spec: RequestSpec) -> RequestSpec:
        """The spec with the earlier request of the same call; one that the sidecar names must be its own (B4).

        Whoever edited that one is excluded from this one, whatever the sidecar says (SECURITY D3).
        """
        if not spec.earlier:
            known = self._tracker.earlier(namespace, spec)
            return replace(spec, earlier=known) if known else spec
        earlier = await self._read(namespace, spec.earlier, spec)
        if earlier is None or not may_touch(earlier.spec, service_account=spec.service_account, workload=spec.workload):
            raise InvalidInput(f"spec.earlier: {spec.earlier} is no request of this workload; leave it out")
        excluded = dict.fromkeys((*spec.excluded, *editors(earlier)))
        return replace(spec, excluded=tuple(excluded))


class _Names:
    """The names that a call may have, in their order."""

    def __init__(self, spec: RequestSpec, key: NamespaceKey, first: int) -> None:
        # Where a call_id is given, every request it ever stood for says whether it may be used again.
        self._first = 0 if spec.call.call_id else first
        self._spec = spec
        self._key = key
        self._names: list[str] = []

    def name_of(self, n: int) -> str:
        while len(self._names) <= n:
            self._names.append(self._name(self._first + len(self._names)))
        return self._names[n]

    def number_of(self, name: str) -> int:
        return self._first + self._names.index(name)

    def _name(self, number: int) -> str:
        spec = self._spec
        return request_name(
            spec.call.tool,
            self._key.key,
            workload=spec.workload,
            session=spec.session_id,
            key_text=spec.key,
            n=number,
        )


def _waits(entry: Open) -> bool:
    return entry.found is not None and entry.found.outcome in (Outcome.WAITING, Outcome.READY, Outcome.APPROVED)
