"""The store itself: both sides of `hitl.stores.protocol` on one file."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Self
from uuid import uuid4

from hitl.approvals.requests import ApprovalRequest, Decision, Note, RequestSpec, RequestStatus
from hitl.stores.protocol import Known
from hitl.stores.sqlite.changes import ChangeWatch, Watches
from hitl.stores.sqlite.desks import ReadingDesk, WritingDesk
from hitl.stores.sqlite.file import Identity, secured, unavailable
from hitl.stores.sqlite.lanes import Lane
from hitl.stores.sqlite.rows import Requests, Transaction

# Two, so that a long list does not keep everybody else waiting.
_READERS = 2
# Writes that share a transaction at most: past a few hundred the fsync is paid for, and others wait longer.
_AT_ONCE = 256
# Requests that a watch reads ahead: few enough to be slim, enough for a burst.
_AHEAD = 64
_PATIENCE = 5.0

Found = list[ApprovalRequest]


class SQLiteStore:
    """`ApprovalStore` and `ReviewerStore` on one file. Make it with `open`; it belongs to the loop it was opened on.

    Any number of processes may have the file open. A write is acknowledged when it is on the disk. Who may write what
    is up to the account that owns the file: standalone mode is cooperative (SECURITY G5).
    """

    def __init__(self, reading: Lane[Requests], writing: Lane[Transaction], watches: Watches) -> None:
        self._reading = reading
        self._writing = writing
        self._watches = watches

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        clock: Callable[[], datetime],
        new_uid: Callable[[], str] = lambda: str(uuid4()),
        patience: float = _PATIENCE,
    ) -> AsyncIterator[Self]:
        """The store in `path`, made (0600, its directory 0700) if it is not there; closed at the end of the block.

        Args:
            path: on a local disk.
            clock: aware times; called from the writing thread.
            new_uid: names each new request for good.
            patience: seconds to wait for another process that is writing.

        Raises:
            StoreUnavailable: others can reach the file, or it is no store of this release.
        """
        async with AsyncExitStack() as stack:
            try:
                file = secured(path)
                identity = Identity(file)
                watches = Watches(file, identity, patience=patience)
                stack.push_async_callback(watches.close)
                writing: Lane[Transaction] = Lane("hitl-store-write", at_once=_AT_ONCE, delivered=watches.stir)
                stack.push_async_callback(writing.close)
                await writing.staff(
                    lambda: WritingDesk(file, identity, patience=patience, clock=clock, new_uid=new_uid)
                )
                reading: Lane[Requests] = Lane("hitl-store-read")
                stack.push_async_callback(reading.close)
                for _ in range(_READERS):
                    await reading.staff(lambda: ReadingDesk(file, identity, patience=patience))
                stack.callback(watches.end)
            except sqlite3.Error as error:
                raise unavailable(path, error) from error
            yield cls(reading, writing, watches)

    async def get(self, namespace: str, name: str) -> ApprovalRequest:
        return await self._reading.do(lambda requests: requests.get(namespace, name))

    async def list(self, namespace: str | None = None, *, pending_only: bool = False) -> Found:
        return await self._reading.do(lambda requests: requests.all(namespace, pending_only=pending_only))

    def watch(self, namespace: str | None = None, *, known: Known | None = None) -> ChangeWatch:
        async def look(change: int) -> tuple[int, Found, bool]:
            return await self._reading.do(lambda requests: requests.changed_after(change, namespace, _AHEAD, known))

        return self._watches.add(look)

    async def create(self, namespace: str, name: str, spec: RequestSpec, status: RequestStatus) -> ApprovalRequest:
        return await self._writing.do(lambda transaction: transaction.create(namespace, name, spec, status))

    async def write_status(self, request: ApprovalRequest, status: RequestStatus) -> ApprovalRequest:
        return await self._writing.do(lambda transaction: transaction.write_status(request, status))

    async def delete(self, request: ApprovalRequest) -> None:
        await self._writing.do(lambda transaction: transaction.delete(request))

    async def open_of(self, namespace: str, workload: str) -> Found:
        return await self._reading.do(lambda requests: requests.open_of(namespace, workload))

    async def denied_since(self, namespace: str, workload: str, since: datetime) -> Found:
        return await self._reading.do(lambda requests: requests.denied_since(namespace, workload, since))

    async def decide(self, namespace: str, name: str, decision: Decision) -> ApprovalRequest:
        return await self._writing.do(lambda transaction: transaction.decide(namespace, name, decision))

    async def note(self, namespace: str, name: str, note: Note) -> ApprovalRequest:
        return await self._writing.do(lambda transaction: transaction.note(namespace, name, note))
