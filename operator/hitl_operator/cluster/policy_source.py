"""Policies from the API server into the config book: every replica by itself, without a leader (DESIGN 11).

Everything is listed and every accepted spec is read before anything is put in force (SECURITY H1). From then on each
change is decided on its own: what is new is read, the rest is as it was.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from hitl.errors import ApiError, HitlError, StoreUnavailable
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.policy_conditions import Accepted
from hitl.policy.settings import Settings
from hitl.policy.verdicts import SecondFactor
from hitl_operator.cluster.acceptance import ALL_FACTORS, Acceptance, LastGood, Outcome, Readings, accept
from hitl_operator.cluster.accepted_specs import AcceptedSpecs
from hitl_operator.cluster.written_policies import LOOK_EVERY, WrittenPolicies
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics
from hitl_operator.sources import ConfigBook

_TOGETHER: Final = 0.02  # seconds; what `kubectl apply -f FOLDER` writes in a burst is decided in few steps
_TRY_AGAIN: Final = 1.0  # seconds
_TRY_LATER: Final = 30.0  # seconds
_TICK: Final = 1.0  # seconds between two looks at the clock
_READ_AT_ONCE: Final = 10  # specs, a millisecond each, until others get their turn

_log = Log(__name__)


class PolicySource:
    """Keeps a `ConfigBook` in step with the cluster.

    Attributes:
        written: what is written.
        acceptance: what became of it; None before the first look.
        synced: set once everything there is has been seen, and put in force as far as it may be.
        listeners: called after every decision.
    """

    def __init__(
        self,
        api: KubeAPI,
        access: Access,
        book: ConfigBook,
        specs: AcceptedSpecs,
        *,
        settings: Settings,
        clock: Callable[[], datetime],
        metrics: HubMetrics,
        factors: frozenset[SecondFactor] = ALL_FACTORS,
        look_every: float = LOOK_EVERY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Does nothing yet. InvalidInput: kopf cannot use this access."""
        self.acceptance: Acceptance | None = None
        self.synced = asyncio.Event()
        self.listeners: list[Callable[[], None]] = []
        self._dirty = asyncio.Event()
        self.written = WrittenPolicies(api, access, self._dirty.set, look_every=look_every, monotonic=monotonic)
        self._book = book
        self._specs = specs
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._factors = factors
        self._look_every = look_every
        self._readings = Readings()
        self._good: dict[str, LastGood] = {}
        self._stored: dict[str, LastGood] = {}
        self._to_keep = asyncio.Event()

    def use_settings(self, settings: Settings) -> None:
        """The operator's settings are these now; they travel with the config."""
        self._settings = settings
        self._dirty.set()

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        await self._begin()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.written.run())
            tasks.create_task(self._decide())
            tasks.create_task(self._remember())
            tasks.create_task(self._catch_up())

    async def _begin(self) -> None:
        """See everything once; until that is done nothing is in force."""
        told = ""
        while True:
            try:
                await self.written.begin()
                kept = await self._specs.read_all()
            except HitlError as error:
                if str(error) != told:
                    told = str(error)
                    _log.error("policies-unreadable", problem=error, meaning="no config is served until they are read")
                await asyncio.sleep(_TRY_AGAIN)
                continue
            break
        self._good = {uid: stored.good for uid, stored in kept.items()}
        self._stored = dict(self._good)
        known = {each.uid for each in self.written.resources.values()}
        self.written.gone.update((uid, stored.key) for uid, stored in kept.items() if uid not in known)
        self._book.measure_age = lambda: self.written.age
        self._metrics.config_age.set_function(lambda: self.written.age)
        await self._read_ahead()
        self._decide_now()
        self.synced.set()

    async def _decide(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_TICK):
                    await self._dirty.wait()
            except TimeoutError:
                due = self.acceptance.next_change if self.acceptance is not None else None
                if due is None or self._clock() < due:
                    continue
            else:
                await asyncio.sleep(_TOGETHER)
            self._dirty.clear()
            await self._read_ahead()
            self._decide_now()

    async def _read_ahead(self) -> None:
        """Read what is new in small steps; deciding then finds it read."""
        for number, resource in enumerate(list(self.written.resources.values()), 1):
            self._readings.of(resource)
            if number % _READ_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _decide_now(self) -> None:
        before = self.acceptance
        self.acceptance = found = accept(
            self.written.resources.values(),
            self._good,
            readings=self._readings,
            settings=self._settings,
            now=self._clock(),
            factors=self._factors,
        )
        self._good = {each.resource.uid: good for each in found.outcomes.values() if (good := self._newest(each))}
        if before is None or _content(before) != _content(found):
            self._book.publish(found.generation)
        for outcome in found.outcomes.values():
            _report(before.outcomes.get(outcome.resource.key) if before is not None else None, outcome)
        self._metrics.count_policies(
            (each.reason.value for each in found.outcomes.values()),
            strict=sum(each.floor is not None for each in found.outcomes.values()),
        )
        self._to_keep.set()
        for listener in self.listeners:
            listener()

    def _newest(self, outcome: Outcome) -> LastGood | None:
        """What is to be remembered of a resource; of one that others have seen newer, what they accepted."""
        known = self._good.get(outcome.resource.uid)
        return known if known is not None and known.generation > outcome.resource.generation else outcome.good

    async def _remember(self) -> None:
        """Keep every accepted spec, and forget those whose resource is gone."""
        while True:
            await self._to_keep.wait()
            self._to_keep.clear()
            try:
                await self._forget_gone()
                refused = await self._save_all()
            except StoreUnavailable as error:
                _log.error("accepted-specs-unwritable", problem=error, meaning="tried again in a moment")
                self._to_keep.set()
                await asyncio.sleep(_TRY_AGAIN)
            else:
                if refused:
                    asyncio.get_running_loop().call_later(_TRY_LATER, self._to_keep.set)

    async def _forget_gone(self) -> None:
        for uid, key in list(self.written.gone.items()):
            if not await self.written.is_there(key, uid):
                await self._specs.forget(uid)
            self.written.gone.pop(uid, None)
            self._stored.pop(uid, None)

    async def _save_all(self) -> int:
        """How many the API server did not take; one that is too large must not keep the others from being kept."""
        refused = 0
        for resource in list(self.written.resources.values()):
            good = self._good.get(resource.uid)
            if good is None or self._stored.get(resource.uid) == good:
                continue
            try:
                kept = await self._specs.save(resource, good)
            except ApiError as error:
                _log.error("accepted-spec-not-kept", policy=resource, problem=error)
                refused += 1
                continue
            self._stored[resource.uid] = kept
            self._adopt(resource.uid, kept)
        return refused

    async def _catch_up(self) -> None:
        """Ask what others know of the resources that are not accepted: one of them may have seen a valid generation
        that was overtaken before this replica saw it.
        """
        while True:
            await asyncio.sleep(self._look_every)
            outcomes = self.acceptance.outcomes.values() if self.acceptance is not None else ()
            try:
                for uid in [each.resource.uid for each in outcomes if not each.is_accepted]:
                    if (kept := await self._specs.read(uid)) is not None:
                        self._adopt(uid, kept.good)
            except HitlError as error:
                _log.warning("accepted-specs-unreadable", problem=error)

    def _adopt(self, uid: str, kept: LastGood) -> None:
        """Another replica accepted a newer generation, or knew earlier that it was overtaken."""
        mine = self._good.get(uid)
        if kept == mine or (mine is not None and kept.generation < mine.generation):
            return
        self._good[uid] = kept
        self._dirty.set()


def _content(acceptance: Acceptance) -> tuple[object, ...]:
    """What sidecars can notice of it."""
    generation = acceptance.generation
    return *map(id, generation.entries), generation.floors, generation.settings


def _report(before: Outcome | None, now: Outcome) -> None:
    """Say in the log what became of a resource, once for every change of that."""
    same = before is not None and (before.reason, before.resource.content) == (now.reason, now.resource.content)
    if not same and now.reason is Accepted.VALID:
        _log.info("policy-accepted", policy=now.resource, generation=now.resource.generation)
    elif not same:
        _log.error("policy-refused", policy=now.resource, generation=now.resource.generation, why=now.message)
    if now.floor is not None and (before is None or before.floor is None):
        _log.error("policy-strict", policy=now.resource, meaning="what ran unasked for its pods now asks a person")
