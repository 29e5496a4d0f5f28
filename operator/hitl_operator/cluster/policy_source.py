"""Policies from the API server into the config book: every replica by itself, without a leader (DESIGN 11).

Everything is listed and every accepted spec is read before anything is put in force (SECURITY H1). From then on each
change is decided on its own: what is new is read beside the event loop, the rest is as it was.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from hitl.errors import HitlError, StoreUnavailable
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.policy_conditions import Accepted
from hitl.policy.settings import Settings
from hitl.policy.verdicts import SecondFactor
from hitl_operator.cluster.acceptance import ALL_FACTORS, Acceptance, Outcome
from hitl_operator.cluster.accepted_specs import AcceptedSpecs
from hitl_operator.cluster.deciding import REST, Decider
from hitl_operator.cluster.defects import note_defect
from hitl_operator.cluster.policy_resources import OVERRIDE, Resource
from hitl_operator.cluster.readings import LastGood
from hitl_operator.cluster.trouble import Trouble, in_words
from hitl_operator.cluster.undecided import Undecided
from hitl_operator.cluster.written_policies import LOOK_EVERY, WrittenPolicies
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics
from hitl_operator.sources import ConfigBook

_TOGETHER: Final = 0.02  # seconds; what `kubectl apply -f FOLDER` writes in a burst is decided in few steps
_TRY_AGAIN: Final = 1.0  # seconds
_TRY_LATER: Final = 30.0  # seconds
_TICK: Final = 1.0  # seconds between two looks at the clock
_LONGEST_WHY: Final = 300  # characters

_log = Log(__name__)


class PolicySource:
    """Keeps a `ConfigBook` in step with the cluster.

    Attributes:
        written: what is written.
        acceptance: what became of it; None before the first look.
        synced: set once everything there is has been seen, and put in force as far as it may be.
        listeners: called after every decision.
        unkept: by uid, why what was accepted could not be kept.
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
        self.unkept: dict[str, str] = {}
        self._dirty = asyncio.Event()
        self._undecided = Undecided(monotonic)
        self.written = WrittenPolicies(
            api, access, self._changed, metrics=metrics, look_every=look_every, monotonic=monotonic
        )
        self._api = api
        self._trouble = Trouble(api, "policies-unreadable")
        self._book = book
        self._specs = specs
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._factors = factors
        self._look_every = look_every
        self._decider = Decider(factors, specs.namespace)
        self._good: dict[str, LastGood] = {}
        self._stored: dict[str, LastGood] = {}
        self._to_keep = asyncio.Event()

    @property
    def trouble(self) -> str:
        """What keeps policies from being read, or from being compared with what is written; empty where nothing."""
        return self._trouble.why or self.written.trouble.why

    @property
    def age(self) -> float:
        """Seconds since what is in force was all that is written, as far as could be told. What is written and known,
        and waits for its turn to be read, does not count: one namespace must not make all others' config old (B5).
        """
        return max(self.written.age, self._undecided.age)

    def use_settings(self, settings: Settings) -> None:
        """The operator's settings are these now; they travel with the config."""
        self._settings = settings
        self._changed()

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        await self._begin("no config is served until they are read")
        self.synced.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.written.run())
            tasks.create_task(self._decide())
            tasks.create_task(self._remember())
            tasks.create_task(self._catch_up())

    async def _begin(self, meaning: str) -> None:
        """See everything, as if nothing had ever been seen, and put it in force; `meaning`: of that this takes time."""
        self._trouble = Trouble(self._api, "policies-unreadable", meaning=meaning)
        while True:
            try:
                await self._see_everything()
                await self._decide_now()
            except HitlError as error:
                self._trouble.tell(error)
            except Exception:  # noqa: BLE001 - nothing is in force that was not seen whole; it may be mended meanwhile
                note_defect(self._metrics, "policies-begin")
            else:
                break
            await asyncio.sleep(_TRY_AGAIN)
        self._trouble.over()

    async def _see_everything(self) -> None:
        await self.written.begin()
        kept = await self._specs.read_all({each.uid: each for each in self.written.resources.values()})
        self._decider = Decider(self._factors, self._specs.namespace)
        self.unkept.clear()
        self._good = {uid: stored.good for uid, stored in kept.items()}
        self._stored = dict(self._good)
        known = {each.uid for each in self.written.resources.values()}
        self.written.gone.update((uid, stored.key) for uid, stored in kept.items() if uid not in known)
        self._book.measure_age = lambda: self.age
        self._metrics.config_age.set_function(lambda: self.age)
        await self._decider.read_all(tuple(self.written.resources.values()), dict(self._good))

    def _changed(self) -> None:
        self._undecided.heard()
        self._dirty.set()

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
                await asyncio.sleep(REST if self._decider.is_behind else _TOGETHER)
            self._dirty.clear()
            try:
                if self.written.is_rewound:
                    await self._begin("what was in force before the rewind stays so until they are read")
                await self._decide_now()
            except Exception:  # noqa: BLE001 - what is in force stays so, and gets old
                note_defect(self._metrics, "policies-decide")
                await asyncio.sleep(_TRY_AGAIN)
                self._dirty.set()

    async def _decide_now(self) -> None:
        before, good = self.acceptance, dict(self._good)
        with self._undecided.deciding():
            written = tuple(self.written.resources.values())
            found = await self._decider.decide(written, good, self._settings, self._clock())
            if self._decider.is_behind:
                self._dirty.set()
            self._good = {each.uid: kept for each in written if (kept := self._newest(each, found, good))}
            if before is None or _content(before) != _content(found):
                self._book.publish(found.generation, found.frozen)
            self.acceptance = found
        for outcome in found.outcomes.values():
            _report(before.outcomes.get(outcome.resource.key) if before is not None else None, outcome)
        self._metrics.count_policies(
            (each.reason.value for each in found.outcomes.values()),
            strict=sum(each.floor is not None for each in found.outcomes.values()),
        )
        self._metrics.count_freezes(found.frozen)
        self._to_keep.set()
        for listener in self.listeners:
            listener()

    def _newest(self, resource: Resource, found: Acceptance, good: Mapping[str, LastGood]) -> LastGood | None:
        """What is to be remembered of a resource; of one that others have seen newer, what they accepted.

        Args:
            resource: as it is written.
            found: what was decided; nothing of one that is new and waits to be read.
            good: what that went by. Another replica may have told more since.
        """
        known, outcome = self._good.get(resource.uid), found.outcomes.get(resource.key)
        if outcome is None or outcome.resource.uid != resource.uid or known is not good.get(resource.uid):
            return known
        return known if known is not None and known.generation > outcome.resource.generation else outcome.good

    async def _remember(self) -> None:
        """Keep every accepted spec, and forget those whose resource is gone."""
        while True:
            await self._to_keep.wait()
            self._to_keep.clear()
            try:
                refused = await self._forget_gone() + await self._save_all()
            except StoreUnavailable as error:
                _log.error(
                    "accepted-specs-unwritable", problem=in_words(error, self._api), meaning="tried again in a moment"
                )
                self._to_keep.set()
                await asyncio.sleep(_TRY_AGAIN)
            else:
                if refused:
                    asyncio.get_running_loop().call_later(_TRY_LATER, self._to_keep.set)

    async def _forget_gone(self) -> int:
        """How many the API server did not let go."""
        refused = 0
        for uid, key in list(self.written.gone.items()):
            try:
                if not await self.written.is_there(key, uid):
                    await self._specs.forget(uid)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - as below
                self._not_kept(uid, "/".join(key), error)
                refused += 1
                continue
            self.written.gone.pop(uid, None)
            self._stored.pop(uid, None)
            self.unkept.pop(uid, None)
        return refused

    async def _save_all(self) -> int:
        """How many the API server did not take; one that is too large must not keep the others from being kept."""
        refused = 0
        for resource in list(self.written.resources.values()):
            good = self._good.get(resource.uid)
            if good is None or self._stored.get(resource.uid) == good:
                continue
            try:
                kept = await self._specs.save(resource, good)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one that we stumble over must not keep the others out either
                self._not_kept(resource.uid, resource, error)
                refused += 1
                continue
            self._stored[resource.uid] = kept
            self.unkept.pop(resource.uid, None)
            self._adopt(resource.uid, kept)
        return refused

    def _not_kept(self, uid: str, policy: object, error: Exception) -> None:
        if not isinstance(error, HitlError):
            note_defect(self._metrics, "accepted-specs", policy=policy)
        _log.error("accepted-spec-not-kept", policy=policy, problem=error)
        self.unkept[uid] = f"{type(error).__name__}: {error}"[:_LONGEST_WHY]

    async def _catch_up(self) -> None:
        """Ask what others know of the resources that are not accepted: one of them may have seen a valid generation
        that was overtaken before this replica saw it.
        """
        while True:
            await asyncio.sleep(self._look_every)
            outcomes = self.acceptance.outcomes.values() if self.acceptance is not None else ()
            for resource in [each.resource for each in outcomes if not each.is_accepted]:
                try:
                    kept = await self._specs.read(resource.uid, resource)
                except HitlError as error:
                    _log.warning("accepted-specs-unreadable", policy=resource, problem=in_words(error, self._api))
                    break
                except Exception:  # noqa: BLE001
                    note_defect(self._metrics, "accepted-specs", policy=resource)
                    continue
                if kept is not None:
                    self._adopt(resource.uid, kept.good)

    def _adopt(self, uid: str, kept: LastGood) -> None:
        """Another replica accepted a newer generation, or knew earlier that it was overtaken."""
        mine = self._good.get(uid)
        if kept == mine or (mine is not None and kept.generation < mine.generation):
            return
        self._good[uid] = kept
        self._changed()


def _content(acceptance: Acceptance) -> tuple[object, ...]:
    """What sidecars can notice of it."""
    generation = acceptance.generation
    return *map(id, generation.entries), generation.floors, generation.settings, acceptance.frozen


def _report(before: Outcome | None, now: Outcome) -> None:
    """Say in the log what became of a resource, once for every change of that."""
    if now.resource.kind == OVERRIDE and (before is None or before.frozen != now.frozen):
        _log.warning("frozen" if now.frozen is not None else "freeze-ended", override=now.resource, says=now.message)
        return
    same = before is not None and (before.reason, before.resource.content) == (now.reason, now.resource.content)
    if not same and now.reason is Accepted.VALID:
        _log.info("policy-accepted", policy=now.resource, generation=now.resource.generation)
    elif not same:
        _log.error("policy-refused", policy=now.resource, generation=now.resource.generation, why=now.message)
    if now.floor is not None and (before is None or before.floor is None):
        _log.error("policy-strict", policy=now.resource, meaning="what ran unasked for its pods now asks a person")
