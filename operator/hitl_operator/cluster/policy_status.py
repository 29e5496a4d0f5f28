"""Who leads writes the status of policies and tool servers; every replica reports what it needs for that (DESIGN 11).

Nothing that is enforced rests on a status: it is for the people who wrote the policy.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from hitl.errors import ApiError, HitlError, StoreUnavailable
from hitl.kube.api import KubeAPI
from hitl.kube.manifests import API_VERSION
from hitl.kube.policy_conditions import PolicyCondition, ReviewersAvailable
from hitl_operator.cluster.acceptance import Outcome
from hitl_operator.cluster.crowding import in_turns
from hitl_operator.cluster.defects import note_defect
from hitl_operator.cluster.manning import Manned, Manning
from hitl_operator.cluster.namespaces import NamespaceCache
from hitl_operator.cluster.policy_report import Known, is_as, status_of
from hitl_operator.cluster.policy_resources import OVERRIDE, Resource, path_of_resource
from hitl_operator.cluster.policy_source import PolicySource
from hitl_operator.cluster.replica_reports import Tally
from hitl_operator.cluster.replicas import Reports
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics
from hitl_operator.usage import Used

FIELD_MANAGER: Final = "hitl-operator-policies"

_LOOK_EVERY: Final = 2.0  # seconds between two looks at what replicas report
_USAGE_EVERY: Final = 60.0  # seconds for which the usage in a status stays as it is
_ASK_EVERY: Final = 60.0  # seconds between two rounds of questions about reviewers
_SETTLES: Final = 5.0  # seconds after a write in which the status that is read may still be the one before
_ROUND: Final = 2.0  # seconds of writing, after which it is looked again at what is to be written
_WAITS: Final = 30.0  # seconds for which a namespace waits of whose policy the API server did not take a status

Announce = Callable[[Resource, str, str], None]

_log = Log(__name__)


class PolicyStatus:
    """Keeps status in step with what is known.

    Args:
        api: as the operator.
        source: what became of every resource.
        namespaces: tells which are gated.
        operator_namespace: where replicas report.
        leads: whether this replica may write now.
        metrics: gets `policy_unmanned`.
        clock: aware UTC times.
        announce: tells people of a resource that is not accepted, with reason and words.
    """

    def __init__(
        self,
        api: KubeAPI,
        source: PolicySource,
        *,
        namespaces: NamespaceCache,
        operator_namespace: str,
        leads: Callable[[], bool],
        metrics: HubMetrics,
        clock: Callable[[], datetime],
        announce: Announce = lambda _resource, _reason, _words: None,
        look_every: float = _LOOK_EVERY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._source = source
        self._leads = leads
        self._metrics = metrics
        self._clock = clock
        self._announce = announce
        self._look_every = look_every
        self._monotonic = monotonic
        self._reports = Reports(api, operator_namespace, monotonic=monotonic)
        self._manning = Manning(
            api,
            lambda: [each.name for each in namespaces.items.values() if each.is_gated],
            monotonic=monotonic,
        )
        self._unwritable = Trouble(api, "status-unwritable")
        self._unread = Trouble(api, "reports-unusable", meaning="sidecars and usage are said as they were before")
        self._manned: dict[str, tuple[int, Manned]] = {}
        self._usage: dict[str, tuple[Used, float]] = {}
        self._written: dict[str, tuple[Mapping[str, Any], float]] = {}
        self._unmanned: set[str] = set()
        self._unanswered: Counter[str] = Counter()
        self._waits: dict[str, float] = {}
        self._news = asyncio.Event()
        self._unasked = asyncio.Event()
        source.listeners.append(self._notice)

    async def run(self) -> None:
        """Write while this replica leads, until cancelled."""
        await self._source.synced.wait()
        self._notice()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_writing())
            tasks.create_task(self._keep_asking())

    def _notice(self) -> None:
        self._news.set()
        self._unasked.set()

    async def _keep_writing(self) -> None:
        while True:
            await _either(self._news, self._look_every)
            if not self._leads():
                self._forget()
                await asyncio.sleep(self._look_every)
                continue
            try:
                await self._read_reports()
                await self.write()
                self._unwritable.over()
            except HitlError as error:
                self._unwritable.tell(error)
            except Exception:  # noqa: BLE001 - as everywhere here: nobody's policy ends the telling of all
                note_defect(self._metrics, "policy-status")

    async def _read_reports(self) -> None:
        try:
            await self._reports.read()
            await self._reports.take_over({each.uid for each in self._source.written.resources.values()})
            self._unread.over()
        except StoreUnavailable:
            raise
        except HitlError as error:
            self._unread.tell(error)
        except Exception:  # noqa: BLE001 - what is not counted is said as it was before
            note_defect(self._metrics, "replica-reports")

    async def _keep_asking(self) -> None:
        while True:
            await _either(self._unasked, _ASK_EVERY)
            if not self._leads() or self._source.acceptance is None:
                await asyncio.sleep(self._look_every)
                self._unasked.set()
                continue
            for outcome in list(self._source.acceptance.outcomes.values()):
                policy = outcome.entry.policy if outcome.entry is not None else None
                if policy is None:
                    continue
                try:
                    manned = await self._manning.check(policy)
                except Exception:  # noqa: BLE001
                    note_defect(self._metrics, "manning", policy=outcome.resource)
                    continue
                self._manned[outcome.resource.uid] = policy.ref.generation, manned
            self._manning.sweep()
            self._count_unmanned()
            self._news.set()

    async def write(self) -> None:
        """For a moment, every status that is not as it should be, in turns of the namespaces: neither how many policies
        somebody has, nor that a status of one is more than the API server writes in time, keeps others from being told
        what became of theirs (SECURITY B5).

        StoreUnavailable: the API server answered neither for one namespace nor for another. ApiError: it does not know
        the operator (401).
        """
        acceptance = self._source.acceptance
        assert acceptance is not None, "it has been seen"
        began = self._monotonic()
        # Within a namespace comes last what was not answered most often.
        outcomes = sorted(acceptance.outcomes.values(), key=lambda each: self._unanswered[each.resource.uid])
        silent: set[str] = set()
        self._waits = {namespace: ends for namespace, ends in self._waits.items() if ends > began}
        for outcome in in_turns(outcomes, lambda each: each.resource.namespace):
            resource = self._source.written.resources.get(outcome.resource.key)
            if resource is None or resource.uid != outcome.resource.uid or not self._leads():
                continue
            namespace = resource.namespace
            if namespace in self._waits:
                continue
            if self._monotonic() > began + _ROUND:
                self._news.set()
                break
            try:
                await self._write_one(resource, outcome)
            except StoreUnavailable as error:
                if silent - {namespace}:
                    self._waits.clear()  # it is the server
                    raise
                _log.warning("status-unwritable", policy=resource, problem=error, meaning="others come first")
                silent.add(namespace)
                self._unanswered[resource.uid] += 1
                self._waits[namespace] = self._monotonic() + _WAITS
            except ApiError:
                raise
            except Exception:  # noqa: BLE001
                note_defect(self._metrics, "policy-status", policy=resource)
        there = {each.uid for each in self._source.written.resources.values()}
        for known in (self._written, self._usage, self._manned, self._unanswered):
            for uid in known.keys() - there:
                del known[uid]

    async def _write_one(self, resource: Resource, outcome: Outcome) -> None:
        wanted = status_of(resource, outcome, self._known(resource, outcome), self._clock())
        if self._stands(resource, wanted):
            return
        try:
            await self._apply(resource, wanted)
        except ApiError as error:
            if error.status == 401:
                raise  # about the operator, not about this policy: said once for all of them
            if error.status != 404:
                _log.error("status-refused", policy=resource, problem=error)
        self._written[resource.uid] = wanted, self._monotonic()
        for condition in wanted["conditions"]:
            if condition["type"] == PolicyCondition.ACCEPTED and condition["status"] == "False":
                self._announce(resource, condition["reason"], condition["message"])

    def _known(self, resource: Resource, outcome: Outcome) -> Known:
        manned = self._manned.get(resource.uid)
        generation = outcome.entry.generation if outcome.entry is not None else 0
        return Known(
            tally=self._reports.tallies.get(resource.uid, Tally()),
            manned=manned[1] if manned is not None and manned[0] == generation else None,
            usage=self._usage_of(resource) if resource.kind not in ("ToolServer", OVERRIDE) else None,
            unkept=self._source.unkept.get(resource.uid, ""),
        )

    def _usage_of(self, resource: Resource) -> Used:
        """As it is said for a minute: a status that changes with each call would be written with each call."""
        now = self._monotonic()
        known = self._usage.get(resource.uid)
        if known is None or now >= known[1] + _USAGE_EVERY:
            known = self._usage[resource.uid] = self._reports.usage.get(resource.uid, Used()), now
        return known[0]

    def _stands(self, resource: Resource, wanted: Mapping[str, Any]) -> bool:
        """Whether it is written already: what is read may be older than what was written a moment ago."""
        written = self._written.get(resource.uid)
        if written is not None and self._monotonic() < written[1] + _SETTLES:
            return _same(written[0], wanted)
        return is_as(resource.status, wanted)

    async def _apply(self, resource: Resource, status: Mapping[str, Any]) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": resource.kind,
            "metadata": {"name": resource.name, **({"namespace": resource.namespace} if resource.namespace else {})},
            "status": status,
        }
        await self._api.apply(path_of_resource(resource.key, "status"), body, field_manager=FIELD_MANAGER, force=True)

    def _count_unmanned(self) -> None:
        acceptance = self._source.acceptance
        outcomes = acceptance.outcomes.values() if acceptance is not None else ()
        found = {
            str(each.resource): self._manned[each.resource.uid][1].reason is ReviewersAvailable.UNBOUND
            for each in outcomes
            if each.resource.uid in self._manned
        }
        for policy in self._unmanned - found.keys():
            self._metrics.unmanned.remove(policy)
        for policy, is_unmanned in found.items():
            self._metrics.unmanned.labels(policy).set(1 if is_unmanned else 0)
        self._unmanned = set(found)

    def _forget(self) -> None:
        """Somebody else leads: what he writes is his, and so are the numbers."""
        self._written.clear()
        self._usage.clear()
        self._unanswered.clear()
        self._waits.clear()
        for policy in self._unmanned:
            self._metrics.unmanned.remove(policy)
        self._unmanned = set()


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two statuses say the same; times of change follow from the rest."""
    return _without_times(one) == _without_times(other)


def _without_times(status: Mapping[str, Any]) -> dict[str, Any]:
    conditions = [
        {key: value for key, value in each.items() if key != "lastTransitionTime"} for each in status["conditions"]
    ]
    return {**status, "conditions": conditions}


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    event.clear()
