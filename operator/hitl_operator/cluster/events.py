"""Kubernetes Events: what was held and decided, what ran unasked, whether votes count. For people who look on.

An Event is a hint, never evidence: it may be lost, and one that comes too often is dropped. It says no more than the
summary, which is redacted and escaped (I10, G1). Its name follows from what it says, so replicas that say the same
thing twice say it once. What agents and authors of one namespace make of them is bounded there, and keeps neither those
of others nor an alarm of the operator's own from being posted (SECURITY B5).
"""

import asyncio
import hashlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter

from hitl.approvals.conditions import outcome
from hitl.approvals.overriding import overrides
from hitl.approvals.requests import ApprovalRequest, State
from hitl.errors import ApiError, HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.requests import API_VERSION, KIND
from hitl.policy.actions import Action
from hitl.policy.escaping import as_plain, plain
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.cluster.trouble import in_words
from hitl_operator.logs import Log
from hitl_operator.pacing import Buckets
from hitl_operator.reminding import Reminder, time_left

COMPONENT: Final = "hitl-operator"
NORMAL: Final = "Normal"
WARNING: Final = "Warning"
_WAITING: Final = 1000  # Events that wait to be posted, but for alarms; more are dropped, first of who has most
_PER_SECOND: Final = 10.0  # in one namespace
_BURST: Final = 100.0
_NAMESPACES: Final = 1000  # of whose Events it is known how many there were; each takes some 200 bytes
_ALARMS: Final = 100  # that wait to be posted; past that the oldest are dropped
_LONGEST: Final = 1024  # bytes of a message, as the API server has it
_REMEMBERED: Final = 10_000  # names said lately; each takes some 100 bytes

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class About:
    """What an Event is about, as an ObjectReference has it."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""

    def to_json(self) -> dict[str, str]:
        """As the API has it; empty parts are left out."""
        parts = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
        }
        return {key: value for key, value in parts.items() if value}


@dataclass(frozen=True, slots=True)
class Said:
    """One thing to say.

    Attributes:
        reason: in UpperCamelCase.
        once: what makes two of them about one thing the same; empty: the message does.
        shared: the same for several things of a namespace, of which one is named; empty: only for this one.
    """

    about: About
    reason: str
    message: str
    type: str = NORMAL
    once: str = ""
    shared: str = ""
    related: About | None = None

    @property
    def name(self) -> str:
        """Follows from what is said, so that whoever says it first has said it for all."""
        about = self.about
        if self.shared:
            text = f"{about.namespace}\0{self.reason}\0{self.shared}"
            return f"hitl-{self.reason.lower()}.{hashlib.sha256(text.encode()).hexdigest()[:20]}"
        text = "\0".join((about.kind, about.namespace, about.name, about.uid, self.reason, self.once or self.message))
        return f"{about.name[:40].strip('.-') or 'hitl'}.{hashlib.sha256(text.encode()).hexdigest()[:20]}"


class Events:
    """Posts Events: alarms first, then in turns of the namespaces, of each in the order in which they are said.

    A `hitl_operator.records.Witness`.

    Args:
        api: as the operator.
        namespace: the operator's, for what concerns the whole cluster.
        instance: this replica.
        monotonic: seconds, for the rate.
    """

    def __init__(
        self,
        api: KubeAPI,
        namespace: str,
        instance: str,
        *,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._instance = instance
        self._clock = clock
        self._alarms: deque[Said] = deque(maxlen=_ALARMS)
        self._waiting: OrderedDict[str, deque[Said]] = OrderedDict()
        self._count = 0
        self._wake = asyncio.Event()
        self._names: OrderedDict[str, None] = OrderedDict()
        self._buckets: Buckets[str] = Buckets(_BURST, _PER_SECOND, most=_NAMESPACES, monotonic=monotonic)
        self._counted = Counter("hitl_events_total", "Kubernetes Events.", ["outcome"], registry=registry)

    @property
    def waiting(self) -> int:
        """How many are still to be posted."""
        return self._count + len(self._alarms)

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            if (said := self._next()) is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                await self._post(said)
            except HitlError as error:
                self._counted.labels("failed").inc()
                problem = in_words(error, self._api)
                _log.warning("event-not-posted", reason=said.reason, about=said.about.name, problem=problem)

    def say(self, said: Said) -> None:
        """Have it posted, unless that was done or there is too much of it. Never blocks."""
        if said.name in self._names:
            return
        namespace = said.about.namespace
        if not self._buckets.take(namespace) or not self._has_room(namespace):
            self._counted.labels("dropped").inc()
            return
        self._names[said.name] = None
        if len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)
        self._waiting.setdefault(namespace, deque()).append(said)
        self._count += 1
        self._wake.set()

    def opened(self, request: ApprovalRequest) -> None:
        """As `Witness.opened`."""
        tier = "MultiFactor" if request.spec.tier == "multi-factor" else "Confirm"
        words = f"{request.spec.workload} asks ({tier}): {request.spec.summary}. kubectl hitl show {request.name}"
        self.say(Said(_request(request), "Held", words, related=_pod(request), once="held"))

    def written(self, before: ApprovalRequest, after: ApprovalRequest) -> None:
        """As `Witness.written`: every outcome once, and every time that more people, or the same again, are asked."""
        for each in overrides(after):
            if each not in overrides(before):
                self._broke_glass(after, each.reviewer)
        state = after.status.state
        if state is before.status.state:
            self._asked_again(before, after)
            return
        condition = outcome(after.status.conditions, state)
        reason = condition.reason if condition is not None else ""
        # Who and what it was, and in which words, stands in the request, for those who may read it.
        words = f"{after.spec.summary}: {state.value.lower()}" + (f" ({reason})" if reason else "")
        kind = WARNING if state in (State.EXPIRED, State.CANCELLED) else NORMAL
        self.say(Said(_request(after), state.value, words, kind, once=state.value, related=_pod(after)))

    def reminded(self, request: ApprovalRequest, reminder: Reminder) -> None:
        """As `Witness.reminded`: each once, whoever leads."""
        words = f"waits for {reminder.waits_for}, {reminder.left} left"
        self._ask(request, "Reminder", words, f"reminder-{reminder.number}")

    def acted(self, identity: Identity, records: Iterable[hub_pb2.ActivityRecord]) -> None:
        """As `Witness.acted`: one Event for each workload, tool and minute of the Notify tier (DESIGN 18)."""
        agent = identity.agent
        minute = int(self._clock().timestamp() // 60)
        for record in records:
            if int(record.action) != Action.NOTIFY:
                continue
            words = " · ".join(part for part in (record.tool, record.why, record.summary) if part)
            if not plain(words):
                self._counted.labels("refused").inc()  # a sidecar escapes what it sends; this one did not
                continue
            about = About("v1", "Pod", agent.namespace, agent.pod_name, agent.pod_uid)
            shared = f"{agent.workload}\0{record.tool}\0{minute}"
            self.say(Said(about, "Notify", f"{agent.workload} ran {words}", shared=shared))

    def enforcement(self, reason: str, words: str) -> None:
        """As `hitl_operator.cluster.guard.Announce`."""
        about = About("v1", "Secret", self._namespace, "hitl-enforcement")
        kind = NORMAL if reason in ("EnforcementStands", "RewindAcknowledged") else WARNING
        self._alarms.append(Said(about, reason, words, kind, once=f"{reason}\0{self._clock().isoformat()}"))
        self._wake.set()

    def policy(self, about: About, reason: str, words: str) -> None:
        """Something is wrong with a policy or tool server; said once for each wording."""
        self.say(Said(about, reason, words, WARNING))

    def _asked_again(self, before: ApprovalRequest, after: ApprovalRequest) -> None:
        was, now = before.status, after.status
        left = f"{time_left(after, self._clock())} left"
        if now.escalated > was.escalated:
            more = " or ".join(dict.fromkeys(group for row in now.requirements for group in row.any_of))
            self._ask(after, "Escalated", f"may now be decided by {more}, {left}", f"escalated-{now.escalated}")
        elif now.rounds > was.rounds:
            self._ask(
                after, "AskedAgain", f"was not decided in time and waits once more, {left}", f"round-{now.rounds}"
            )

    def _ask(self, request: ApprovalRequest, reason: str, words: str, once: str) -> None:
        command = f"kubectl hitl show {request.name} -n {request.namespace}"
        # What is next comes first: a summary may be as long as a whole message.
        said = f"{request.spec.workload} {words} ({command}): {request.spec.summary}"
        self.say(Said(_request(request), reason, said, once=once, related=_pod(request)))

    def _broke_glass(self, request: ApprovalRequest, reviewer: str) -> None:
        """An alarm, so that no flood of other Events keeps it from being posted. Who and why stands in the request."""
        command = f"kubectl hitl show {request.name} -n {request.namespace}"
        words = f"{request.spec.workload} may run what its policy holds ({command}): {request.spec.summary}"
        self._alarms.append(Said(_request(request), "BreakGlass", words, WARNING, once=reviewer, related=_pod(request)))
        self._wake.set()

    def _has_room(self, namespace: str) -> bool:
        """Whether one more of a namespace may wait; what another one has too much of is dropped for it."""
        if self._count < _WAITING:
            return True
        crowded = max(self._waiting, key=lambda each: len(self._waiting[each]))
        if len(self._waiting[crowded]) <= len(self._waiting.get(namespace, ())) + 1:
            return False
        self._names.pop(self._waiting[crowded].pop().name, None)
        self._count -= 1
        self._counted.labels("dropped").inc()
        return True

    def _next(self) -> Said | None:
        """What is to be posted next; None while there is nothing."""
        if self._alarms:
            return self._alarms.popleft()
        if not self._waiting:
            return None
        namespace, line = self._waiting.popitem(last=False)
        said = line.popleft()
        if line:
            self._waiting[namespace] = line
        self._count -= 1
        return said

    async def _post(self, said: Said) -> None:
        now = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        namespace = said.about.namespace or "default"
        event: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": said.name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "hitl"}},
            "involvedObject": said.about.to_json(),
            "reason": said.reason,
            "message": _cut(as_plain(said.message)),
            "type": said.type,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
        }
        if said.related is not None:
            event["related"] = said.related.to_json()
        try:
            await self._api.create(path_of("v1", "events", namespace), event)
        except ApiError as error:
            if error.status != 409:
                raise
            self._counted.labels("said_before").inc()  # by another replica
        else:
            self._counted.labels("posted").inc()


def _request(request: ApprovalRequest) -> About:
    return About(API_VERSION, KIND, request.namespace, request.name, request.uid)


def _pod(request: ApprovalRequest) -> About:
    return About("v1", "Pod", request.namespace, request.spec.agent_pod, request.spec.agent_pod_uid)


def _cut(message: str) -> str:
    raw = message.encode()
    return message if len(raw) <= _LONGEST else raw[: _LONGEST - 4].decode("utf-8", "ignore") + "…"
