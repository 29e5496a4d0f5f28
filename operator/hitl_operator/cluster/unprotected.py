"""Reports pods that run without a gate though their namespace is gated, by metric, Events and log; the leader does.

The hub follows gated pods alone, by their label. The others are not followed but listed once a minute, namespace by
namespace and page by page, and of each only its metadata: what is kept is a few numbers for each gated namespace. So a
cluster of many pods costs a short burst of reading and no memory, and the report is a minute old at most.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from hitl.errors import HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.unprotected import Unprotected, Why, lets_opt_out, unprotected_pods
from hitl_operator.cluster.events import WARNING, About, Said
from hitl_operator.cluster.namespaces import Namespace, NamespaceCache
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.logs import Log

_EVERY: Final = 60.0  # seconds between two rounds
_BETWEEN: Final = 0.05  # seconds between two namespaces: at most 20 lists a second, however many are gated
_TICK: Final = 1.0  # seconds between two looks at who leads
_WORKLOADS: Final = 20  # of one namespace that are told by name; the rest is in the numbers
_HOUR: Final = 3600  # seconds after which an Event is said again: the API server keeps one as long

_log = Log(__name__)


class UnprotectedPods:
    """Looks for them while this replica leads.

    Args:
        api: as the operator.
        namespaces: which of them are gated.
        leads: whether this replica does.
        say: posts an Event.
        registry: for the metric; None: nowhere.
        clock: the time, for Events.
        monotonic: seconds, for the rounds.
    """

    def __init__(
        self,
        api: KubeAPI,
        namespaces: NamespaceCache,
        *,
        leads: Callable[[], bool],
        say: Callable[[Said], None],
        clock: Callable[[], datetime],
        registry: CollectorRegistry | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trouble = Trouble(api, "unprotected-pods-not-counted", meaning="what was counted last is gone by")
        self._api = api
        self._namespaces = namespaces
        self._leads = leads
        self._say = say
        self._clock = clock
        self._monotonic = monotonic
        self._counts: dict[str, Counter[Why]] = {}
        self._gauge = Gauge(
            "hitl_unprotected_pods",
            "Pods of gated namespaces that run without a gate, as the leader counted them.",
            ["why"],
            registry=registry,
        )

    @property
    def counts(self) -> Mapping[str, Mapping[Why, int]]:
        """How many there are in each gated namespace that has some, as of the last look."""
        return {name: counts for name, counts in self._counts.items() if counts}

    async def run(self) -> None:
        """Look once a minute while this replica leads, until cancelled."""
        await self._namespaces.synced.wait()
        due = self._monotonic()
        while True:
            if not self._leads():
                self._forget()
                due = self._monotonic()
            elif self._monotonic() >= due:
                await self.look()
                due = self._monotonic() + _EVERY
            await asyncio.sleep(_TICK)

    async def look(self) -> None:
        """One round. What cannot be read keeps its numbers of the round before."""
        gated = [each for each in self._namespaces.items.values() if each.is_gated]
        self._counts = {each.name: self._counts.get(each.name, Counter()) for each in gated}
        failure: HitlError | None = None
        for each in gated:
            if not self._leads():
                return
            try:
                await self._look_at(each)
            except HitlError as error:
                failure = error
            await asyncio.sleep(_BETWEEN)
        if failure is None:
            self.trouble.over()
        else:
            self.trouble.tell(failure)
        total: Counter[Why] = sum(self._counts.values(), Counter())
        for why in Why:
            self._gauge.labels(why.value).set(total[why])

    async def _look_at(self, namespace: Namespace) -> None:
        name, counts = namespace.name, Counter[Why]()
        workloads: dict[str, tuple[Unprotected, int]] = {}
        may_opt_out = lets_opt_out(namespace.labels)
        async for pod in unprotected_pods(self._api, name, since=namespace.gated_since, may_opt_out=may_opt_out):
            counts[pod.why] += 1
            if pod.why is Why.OPTED_OUT:
                continue  # as it was meant
            first, number = workloads.get(pod.owner, (pod, 0))
            if number or len(workloads) < _WORKLOADS:
                workloads[pod.owner] = first, number + 1
        if counts != self._counts[name]:
            tell = _log.warning if workloads else _log.info
            tell("unprotected-pods", namespace=name, **{why.value: counts[why] for why in Why})
        self._counts[name] = counts
        hour = int(self._clock().timestamp() // _HOUR)
        for first, number in workloads.values():
            self._say(_said(first, number, hour))

    def _forget(self) -> None:
        """Whoever leads now counts; two that show a number would be added up."""
        if self._counts:
            self._counts = {}
        self._gauge.clear()


def _said(first: Unprotected, number: int, hour: int) -> Said:
    """One Event for a workload and hour, about one of its pods."""
    who = f"{first.owner}: {number} pods run" if number > 1 else f"{first.owner}: a pod runs"
    words = f"{who} without a gate ({first.why.words}), so nobody is asked about its calls. Next: {first.step}"
    about = About("v1", "Pod", first.namespace, first.name, first.uid)
    return Said(about, "Unprotected", words, WARNING, shared=f"{first.owner}\0{hour}")
