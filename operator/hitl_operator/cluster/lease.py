"""The Lease that one replica at a time holds: who holds it writes the status of policies, escalates and cleans up.

Safe without synchronised clocks: whoever holds it stops by its own monotonic clock `renew` seconds after it *sent* its
last good renewal, and everybody else waits `duration` seconds of their own clock after they *saw* the Lease change.
Every write is a compare-and-set. Times in the Lease are for people; no decision rests on them.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from hitl.errors import ApiError, HitlError, StoreUnavailable
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.logs import Log

_API: Final = "coordination.k8s.io/v1"
_RELEASE_WITHIN: Final = 5.0  # seconds that giving it back may take when this process ends; others would wait longer
_SOON: Final = 0.05  # seconds until a look that follows a lost race

_log = Log(__name__)


def monotonic() -> float:
    """Seconds that never jump and, where the system has such a clock, go on while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Lease:
    """One candidate for a Lease.

    Args:
        api: as the operator.
        namespace, name: of the Lease; made if it is not there.
        identity: unlike that of every other candidate, also of this one before a restart.
        duration: seconds after which others may take it from a silent holder.
        renew: seconds after which a holder whose renewals fail stops; less than `duration`.
        retry: seconds between two attempts.
        clock: monotonic seconds.
        wall: aware UTC times, written for people.
    """

    def __init__(
        self,
        api: KubeAPI,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration: float = 15.0,
        renew: float = 10.0,
        retry: float = 2.0,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not 0 < retry < renew < duration:
            raise ValueError("a holder must stop before others may begin: retry < renew < duration")
        self.identity = identity
        self.trouble = Trouble(api, "lease-attempt-failed", meaning="whoever holds it goes on until it ends")
        self._api = api
        self._place = path_of(_API, "leases", namespace, name)
        self._collection = path_of(_API, "leases", namespace)
        self._name = name
        self._duration, self._renew, self._retry = duration, renew, retry
        self._clock, self._wall = clock, wall
        self._held_until = float("-inf")
        self._seen: dict[str, Any] = {}
        self._seen_version = ""
        self._seen_at = float("-inf")
        self._told = False
        self._news = asyncio.Event()

    @property
    def is_held(self) -> bool:
        """Whether this process holds it at this very moment. Ask before every write: it also ends by itself."""
        return self._clock() < self._held_until

    @property
    def holder(self) -> str:
        """Who held it when it was last read; empty for nobody."""
        return str(self._seen.get("holderIdentity") or "")

    async def wait_change(self) -> bool:
        """Waits until holding begins or ends, and says which it was: True for begins."""
        await self._news.wait()
        return self._told

    async def run(self) -> None:
        """Try to hold it until cancelled; then give it back."""
        try:
            while True:
                pause = self._retry * random.uniform(0.8, 1.0)  # noqa: S311 - spreads candidates, guards nothing
                left = self._held_until - self._clock() if self.is_held else self._renew
                try:
                    async with asyncio.timeout(left):
                        if not await self._attempt(left):
                            pause = _SOON
                    self.trouble.over()
                except TimeoutError:
                    self.trouble.tell(StoreUnavailable(f"the API server {self._api.server} did not answer in time"))
                except HitlError as error:
                    self.trouble.tell(error)
                self._tell()
                if self.is_held:
                    pause = min(pause, max(0.0, self._held_until - self._clock()))
                await asyncio.sleep(pause)
                self._tell()
        finally:
            await self._give_back()

    async def _attempt(self, within: float) -> bool:
        """Take or renew it where that is allowed. False: somebody else wrote first; look again."""
        sent = self._clock()
        try:
            stored = await self._api.get(self._place, deadline=within)
        except ApiError as error:
            if error.status != 404:
                raise
            stored = None
        if stored is not None:
            self._see(stored)
        # One that was deleted is still its last holder's until that one must have stopped.
        holder, spec = self.holder, self._seen
        if holder != self.identity:
            self._held_until = float("-inf")
            if holder and self._clock() < self._seen_at + float(spec.get("leaseDurationSeconds") or self._duration):
                return True
        try:
            await self._write(stored, self._claim(spec, is_new=holder != self.identity), within)
        except ApiError as error:
            if error.status != 409:
                raise
            return False
        self._held_until = sent + self._renew
        return True

    async def _write(self, stored: dict[str, Any] | None, spec: dict[str, Any], within: float) -> None:
        body: dict[str, Any] = {"apiVersion": _API, "kind": "Lease", "metadata": {"name": self._name}, "spec": spec}
        if stored is None:
            written = await self._api.create(self._collection, body, deadline=within)
        else:
            body["metadata"] = {key: value for key, value in stored["metadata"].items() if key != "managedFields"}
            written = await self._api.replace(self._place, body, deadline=within)
        self._see(written)

    def _see(self, stored: dict[str, Any]) -> None:
        version = stored["metadata"]["resourceVersion"]
        if version != self._seen_version:
            self._seen, self._seen_version, self._seen_at = dict(stored.get("spec") or {}), version, self._clock()

    def _claim(self, spec: dict[str, Any], *, is_new: bool) -> dict[str, Any]:
        now = self._wall().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        claim = {
            **spec,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._duration),
            "renewTime": now,
        }
        if is_new:
            claim |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        return claim

    async def _give_back(self) -> None:
        """Stop, and let others begin at once; where that cannot be said in time, they begin after `duration`."""
        was_held, self._held_until = self.is_held, float("-inf")
        self._tell()
        if not was_held:
            return
        try:
            async with asyncio.timeout(_RELEASE_WITHIN):
                stored = await self._api.get(self._place, deadline=_RELEASE_WITHIN)
                spec = dict(stored.get("spec") or {})
                if spec.get("holderIdentity") == self.identity:
                    await self._write(
                        stored, {**spec, "holderIdentity": "", "leaseDurationSeconds": 1}, _RELEASE_WITHIN
                    )
                    _log.info("lease-given-back", lease=self._name)
        except (TimeoutError, HitlError) as error:
            _log.warning("lease-not-given-back", lease=self._name, problem=error or "no answer")

    def _tell(self) -> None:
        held = self.is_held
        if held != self._told:
            self._told = held
            _log.info("lease-held" if held else "lease-lost", lease=self._name, holder=self.holder)
            self._news.set()
            self._news = asyncio.Event()
