"""Kubernetes Events: what was held and decided, what ran unasked, whether votes count. For people who look on.

An Event is a hint, never evidence: it may be lost, and one that comes too often is dropped. It says no more than the
summary, which is redacted and escaped (I10, G1). Its name follows from what it says, so replicas that say the same
thing twice say it once.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter

from hitl.approvals.conditions import outcome
from hitl.approvals.requests import ApprovalRequest, State
from hitl.errors import ApiError, StoreUnavailable
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.requests import API_VERSION, KIND
from hitl.policy.actions import Action
from hitl.policy.escaping import as_plain, plain
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.logs import Log

COMPONENT: Final = "hitl-operator"
NORMAL: Final = "Normal"
WARNING: Final = "Warning"
_WAITING: Final = 1000  # Events that wait to be posted; more are dropped
_PER_SECOND: Final = 10.0
_BURST: Final = 100.0
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
    """Posts Events in the order in which they are said; a `hitl_operator.records.Witness`.

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
        self._monotonic = monotonic
        self._queue: asyncio.Queue[Said] = asyncio.Queue(_WAITING)
        self._names: OrderedDict[str, None] = OrderedDict()
        self._tokens, self._filled = _BURST, monotonic()
        self._counted = Counter("hitl_events_total", "Kubernetes Events.", ["outcome"], registry=registry)

    @property
    def waiting(self) -> int:
        """How many are still to be posted."""
        return self._queue.qsize()

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            said = await self._queue.get()
            try:
                await self._post(said)
            except (ApiError, StoreUnavailable) as error:
                self._counted.labels("failed").inc()
                _log.warning("event-not-posted", reason=said.reason, about=said.about.name, problem=error)

    def say(self, said: Said) -> None:
        """Have it posted, unless that was done or there is too much of it. Never blocks."""
        if said.name in self._names:
            return
        now = self._monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._filled) * _PER_SECOND)
        self._filled = now
        if self._tokens < 1 or self._queue.full():
            self._counted.labels("dropped").inc()
            return
        self._tokens -= 1
        self._names[said.name] = None
        if len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)
        self._queue.put_nowait(said)

    def opened(self, request: ApprovalRequest) -> None:
        """As `Witness.opened`."""
        tier = "MultiFactor" if request.spec.tier == "multi-factor" else "Confirm"
        words = f"{request.spec.workload} asks ({tier}): {request.spec.summary}. kubectl hitl show {request.name}"
        self.say(Said(_request(request), "Held", words, related=_pod(request), once="held"))

    def written(self, before: ApprovalRequest, after: ApprovalRequest) -> None:
        """As `Witness.written`: every outcome once."""
        state = after.status.state
        if state is before.status.state:
            return
        condition = outcome(after.status.conditions, state)
        reason = condition.reason if condition is not None else ""
        # Who and what it was, and in which words, stands in the request, for those who may read it.
        words = f"{after.spec.summary}: {state.value.lower()}" + (f" ({reason})" if reason else "")
        kind = WARNING if state in (State.EXPIRED, State.CANCELLED) else NORMAL
        self.say(Said(_request(after), state.value, words, kind, once=state.value, related=_pod(after)))

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
        self.say(Said(about, reason, words, kind, once=f"{reason}\0{self._clock().isoformat()}"))

    def policy(self, about: About, reason: str, words: str) -> None:
        """Something is wrong with a policy or tool server; said once for each wording."""
        self.say(Said(about, reason, words, WARNING))

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
