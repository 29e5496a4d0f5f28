"""Decides about all resources beside the event loop: reading a policy may take a third of a second (SECURITY B5).

Reading happens in turns of the namespaces and for a moment at a time, so that what somebody writes into one namespace
is in force within a second or two, however much is waiting in another one. Until a resource was read, what was decided
about it before holds, as if the news of it were still on their way.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from hitl.policy.settings import Settings
from hitl.policy.verdicts import SecondFactor
from hitl_operator.cluster.acceptance import Acceptance, accept
from hitl_operator.cluster.crowding import beyond, in_turns
from hitl_operator.cluster.overrides import Overrides
from hitl_operator.cluster.policy_resources import OVERRIDE, Key, Resource
from hitl_operator.cluster.readings import LastGood, Readings

_TURN: Final = 0.25  # seconds of reading at a time
REST: Final = 0.25  # seconds until the next: sidecars and streams want the processor as well


class Decider:
    """Not for several callers at once: each call waits for the one before."""

    def __init__(self, factors: frozenset[SecondFactor], operator_namespace: str) -> None:
        """`factors`: the second factors that people can show here; `operator_namespace`: whose PolicyOverrides are for
        every namespace.
        """
        self._factors = factors
        self._overrides = Overrides(operator_namespace)
        self._readings = Readings()
        self._decided: Mapping[Key, Resource] = {}
        self._served: dict[str, int] = {}
        self.is_behind = False
        """Whether something is written that was not read yet; then `decide` wants to be called again, after `REST`."""

    async def read_all(self, written: Collection[Resource], good: Mapping[str, LastGood]) -> None:
        """Read everything, so that the first decision is about all of it (SECURITY H1)."""
        self.is_behind = True
        while self.is_behind:
            self.is_behind = bool(await asyncio.to_thread(self._read, _without_overrides(written), good))

    async def decide(
        self, written: Collection[Resource], good: Mapping[str, LastGood], settings: Settings, now: datetime
    ) -> Acceptance:
        """What becomes of all of them, as far as they could be read in a moment; the rest is as it was.

        Args:
            written: every resource as it is written now; not to be changed meanwhile.
            good: what was accepted last, by uid.
            settings: of the operator.
            now: decides whose grace is over.
        """
        return await asyncio.to_thread(self._decide, written, good, settings, now)

    def _decide(
        self, written: Collection[Resource], good: Mapping[str, LastGood], settings: Settings, now: datetime
    ) -> Acceptance:
        # Nothing that waits to be read keeps a freeze waiting: these are few words each.
        overrides = self._overrides.judge(written, now)
        written = _without_overrides(written)
        unread = {each.key for each in self._read(written, good)}
        self.is_behind = bool(unread)
        resources = [self._as_decided(each) if each.key in unread else each for each in written]
        known = [each for each in resources if each is not None]
        found = accept(known, good, readings=self._readings, settings=settings, now=now, factors=self._factors)
        self._decided = {each.key: each for each in known}
        return found.with_overrides(overrides)

    def _read(self, written: Collection[Resource], good: Mapping[str, LastGood]) -> list[Resource]:
        """Read for a moment; what is left to be read."""
        ends = time.monotonic() + _TURN
        excess = beyond(sorted(written, key=lambda each: (each.created, each.key)))
        unread = [
            each
            for each in written
            if not self._readings.knows(each, good.get(each.uid), counts=each.key not in excess)
        ]
        if not unread:
            self._served.clear()
            return []
        # Who was served last comes last, also where one policy takes more than a moment.
        unread.sort(key=lambda each: self._served.get(each.namespace, 0))
        turns = list(in_turns(unread, lambda each: each.namespace))
        for number, resource in enumerate(turns):
            if number and time.monotonic() >= ends:
                return turns[number:]
            self._served[resource.namespace] = max(self._served.values(), default=0) + 1
            if resource.key not in excess:
                self._readings.of(resource)
            last = good.get(resource.uid)
            if last is not None and last.generation <= resource.generation:
                self._readings.of_good(resource, last)
        return []

    def _as_decided(self, resource: Resource) -> Resource | None:
        """It before its news, where it was there before."""
        before = self._decided.get(resource.key)
        return before if before is not None and before.uid == resource.uid else None


def _without_overrides(written: Collection[Resource]) -> list[Resource]:
    return [each for each in written if each.kind != OVERRIDE]
