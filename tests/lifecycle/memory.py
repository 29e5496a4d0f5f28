"""A store in memory: the test peer that the explorer drives. It passes the same contract suite as every other store.

Every operation runs without a pause, so each is one step of an interleaving, and its whole content can be taken out
and put back.
"""

import asyncio
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from hitl.approvals.conditions import outcome
from hitl.approvals.requests import (
    ApprovalRequest,
    Decision,
    Note,
    RequestSpec,
    RequestStatus,
    State,
)
from hitl.approvals.transitions import guard, guard_opening, with_decision, with_note
from hitl.errors import AlreadyExists, Conflict, NotFound
from hitl.stores.protocol import Known


class MemoryWatch:
    """Changes that nobody looked at yet: of each request the newest."""

    def __init__(self, namespace: str | None, known: Known | None) -> None:
        self._namespace = namespace
        self._is_known = known or (lambda namespace, name, version: False)
        self._news: dict[str, ApprovalRequest] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def tell(self, request: ApprovalRequest) -> None:
        if self._namespace in (None, request.namespace):
            self._news[request.handle] = request
            self._changed.set()

    def __aiter__(self) -> "MemoryWatch":
        return self

    async def __anext__(self) -> ApprovalRequest:
        while not self._closed:
            while self._news:
                request = self._news.pop(next(iter(self._news)))
                if not self._is_known(request.namespace, request.name, request.version):
                    return request
            self._changed.clear()
            await self._changed.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._closed = True
        self._changed.set()


class Shelf:
    """What several stores share, as processes share a file.

    Args:
        requests: what stands there from the beginning.
        count: versions and uids are counted on from here.
    """

    def __init__(self, requests: Iterable[ApprovalRequest] = (), count: int = 0) -> None:
        self.requests = {request.handle: request for request in requests}
        self.count = count
        self.watches: weakref.WeakSet[MemoryWatch] = weakref.WeakSet()


class MemoryStore:
    """Both sides of a store over a `Shelf`."""

    def __init__(self, shelf: Shelf, clock: Callable[[], datetime]) -> None:
        self._shelf = shelf
        self._clock = clock

    async def get(self, namespace: str, name: str) -> ApprovalRequest:
        request = self._shelf.requests.get(f"{namespace}/{name}")
        if request is None:
            raise NotFound(f"there is no request {namespace}/{name}; see which there are: hitl list")
        return request

    async def list(self, namespace: str | None = None, *, pending_only: bool = False) -> list[ApprovalRequest]:
        found = [
            each
            for each in self._shelf.requests.values()
            if namespace in (None, each.namespace) and not (pending_only and each.status.state.is_terminal)
        ]
        return sorted(found, key=lambda each: (each.created, each.namespace, each.name))

    def watch(self, namespace: str | None = None, *, known: Known | None = None) -> MemoryWatch:
        watch = MemoryWatch(namespace, known)
        self._shelf.watches.add(watch)
        return watch

    async def create(self, namespace: str, name: str, spec: RequestSpec, status: RequestStatus) -> ApprovalRequest:
        now = self._clock()
        guard_opening(status, now)
        if f"{namespace}/{name}" in self._shelf.requests:
            raise AlreadyExists(f"there is a request {namespace}/{name} already; read it and attach to it")
        uid = f"uid-{self._shelf.count + 1}"
        return self._put(ApprovalRequest(namespace, name, uid, "", now, spec, status))

    async def write_status(self, request: ApprovalRequest, status: RequestStatus) -> ApprovalRequest:
        stored = await self._same(request)
        if stored.version != request.version:
            raise Conflict(f"{request.handle} was changed meanwhile; read it and decide again")
        return self._write(stored, status)

    async def delete(self, request: ApprovalRequest) -> None:
        await self._same(request)
        del self._shelf.requests[request.handle]

    async def count_pending(self, namespace: str, workload: str | None = None) -> int:
        return sum(
            each.status.state is State.PENDING and workload in (None, each.spec.workload)
            for each in await self.list(namespace)
        )

    async def open_of(self, namespace: str, workload: str) -> "list[ApprovalRequest]":
        return [each for each in await self.list(namespace, pending_only=True) if each.spec.workload == workload]

    async def denied_since(self, namespace: str, workload: str, since: datetime) -> "list[ApprovalRequest]":
        denials = [
            (condition.last_transition_time, each)
            for each in await self.list(namespace)
            if each.spec.workload == workload and (condition := outcome(each.status.conditions, State.DENIED))
        ]
        return [each for at, each in sorted(denials, key=lambda found: found[0]) if at >= since]

    async def decide(self, namespace: str, name: str, decision: Decision) -> ApprovalRequest:
        stored = await self.get(namespace, name)
        return self._write(stored, with_decision(stored, decision, self._clock()))

    async def note(self, namespace: str, name: str, note: Note) -> ApprovalRequest:
        stored = await self.get(namespace, name)
        return self._write(stored, with_note(stored, note, self._clock()))

    async def _same(self, request: ApprovalRequest) -> ApprovalRequest:
        stored = await self.get(request.namespace, request.name)
        if stored.uid != request.uid:
            raise NotFound(f"{request.handle} with uid {request.uid} is gone; another one has its name")
        return stored

    def _write(self, stored: ApprovalRequest, status: RequestStatus) -> ApprovalRequest:
        guard(stored, status)
        return stored if status == stored.status else self._put(replace(stored, status=status))

    def _put(self, request: ApprovalRequest) -> ApprovalRequest:
        self._shelf.count += 1
        written = replace(request, version=str(self._shelf.count))
        self._shelf.requests[written.handle] = written
        for watch in tuple(self._shelf.watches):
            watch.tell(written)
        return written
