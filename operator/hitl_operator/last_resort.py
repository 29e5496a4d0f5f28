"""Ends what can be neither read nor judged: nothing waits for ever, whatever stands in it (I13).

A request that this release cannot read counts for nothing and releases nothing, but it must not stay open. It is known
by name, uid and time alone, and its end is written without a look at what people wrote.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from hitl.approvals.conditions import ExpiryReason, condition_of
from hitl.approvals.requests import Condition, State
from hitl.errors import Conflict, HitlError, NotFound, StoreUnavailable
from hitl.policy.escaping import as_plain
from hitl.stores.protocol import EndingStore, Unread
from hitl_operator.logs import Log

_AGAIN: Final = timedelta(seconds=30)  # between two tries at one that the store does not let end
_EVERY: Final = 1.0  # seconds
_TRIES: Final = 8  # as many writers one after the other are one that writes without end

_log = Log(__name__)


class LastResort:
    """The unreadable requests of one store, and their ends.

    Args:
        store: None: one in which nothing is unreadable to this release.
        leads: whether this hub ends what nobody waits for here.
        clock: aware UTC times.
        ended: told (handle, outcome) of every one that was ended here, or found to have ended.
    """

    def __init__(
        self,
        store: EndingStore | None,
        *,
        leads: Callable[[], bool],
        clock: Callable[[], datetime],
        ended: Callable[[str, Condition], object],
    ) -> None:
        self._store = store
        self._leads = leads
        self._clock = clock
        self._ended = ended
        self._unread: dict[str, Unread] = {}
        self._not_before: dict[str, datetime] = {}

    @property
    def unread(self) -> int:
        """How many open requests cannot be read."""
        return len(self._unread)

    def saw(self, found: Unread) -> None:
        """The store has it so now."""
        if found.ended is None:
            self._unread[found.handle] = found
            return
        self.forget(found.handle)
        self._ended(found.handle, found.ended)

    def forget(self, handle: str) -> None:
        """It can be read, or is gone."""
        self._unread.pop(handle, None)
        self._not_before.pop(handle, None)

    async def run(self) -> None:
        """End each as its time is up, until cancelled."""
        while True:
            if self._leads():
                await self.sweep()
            await asyncio.sleep(_EVERY)

    async def sweep(self) -> None:
        """End those whose time is up."""
        now = self._clock()
        for handle, found in tuple(self._unread.items()):
            if found.ends > now or self._not_before.get(handle, now) > now:
                continue
            try:
                await self.end(found.namespace, found.name, self._expiry(found))
            except HitlError as error:
                _log.error("unread-request-stays", handle=handle, uid=found.uid, problem=error)
                self._not_before[handle] = now + _AGAIN

    async def end(self, namespace: str, name: str, ended: Condition) -> bool:
        """End it whatever stands in it. Returns whether it was ended by this.

        Raises:
            HitlError: it still stands there; StoreUnavailable: as far as is known.
        """
        if self._store is None:
            raise StoreUnavailable(f"{namespace}/{name} cannot be ended unread: this store ends nothing so")
        handle = f"{namespace}/{name}"
        for _ in range(_TRIES):
            try:
                is_ours = await self._store.end(namespace, name, ended)
            except Conflict:
                continue
            except NotFound:
                self.forget(handle)
                return False
            self.forget(handle)
            if is_ours:
                _log.error("ended-unread", handle=handle, outcome=ended.type, reason=ended.reason)
                self._ended(handle, ended)
            return is_ours
        raise Conflict(f"{handle} was changed {_TRIES} times while it was being ended; it is tried again")

    def _expiry(self, found: Unread) -> Condition:
        is_approved = found.state is State.APPROVED
        reason = ExpiryReason.RELEASE_WINDOW if is_approved else ExpiryReason.NOT_DECIDED
        text = as_plain(f"its time is up, and nothing in it could be counted: {found.why}")
        return condition_of(State.EXPIRED, reason, text, self._clock())
