"""What one replica says of its sidecars and of usage, in a ConfigMap of its own in the operator's namespace.

A report holds what its process counted since it began; `replicas` says what becomes of it.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from hitl.errors import ApiError, HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.marks import ENDED, REPLICA, REPORT
from hitl.kube.paths import path_of
from hitl_operator.cluster.defects import note_defect
from hitl_operator.cluster.replica_reports import (
    MOST_BEHIND,
    Behind,
    Report,
    Tally,
    added,
    report_to_json,
    shortened,
)
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.hub import Hub
from hitl_operator.logs import Log
from hitl_operator.sources import ConfigBook
from hitl_operator.usage import Used

_LOOK_EVERY: Final = 2.0  # seconds between two reports, if there is news
_SAY_EVERY: Final = 15.0  # seconds after which a replica says that it is still there
_LAST_WORDS: Final = 1.0  # seconds that they may take

_log = Log(__name__)


class Reporter:
    """Writes the report of this replica.

    Args:
        api: as the operator.
        namespace: the operator's.
        replica: name of this replica, for people.
        hub: has the sidecars and the usage.
        book: what they should run.
    """

    def __init__(
        self,
        api: KubeAPI,
        namespace: str,
        replica: str,
        hub: Hub,
        book: ConfigBook,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trouble = Trouble(api, "report-unwritable", meaning="status shows what was reported before")
        self._api = api
        self._namespace = namespace
        self._replica = replica
        self._hub = hub
        self._book = book
        self._monotonic = monotonic
        self._run = secrets.token_hex(8)
        self._version = ""
        self._counted: Mapping[str, Tally] = {}
        self._counted_at = -1, -1
        self._written: dict[str, Used] = {}
        self._taken_over: dict[str, Used] = {}
        self._told = ""
        self._cut = 0
        self._said_at = float("-inf")

    async def run(self) -> None:
        """Report until cancelled, and then that it ends: its sidecars are elsewhere, its counts the leader's."""
        try:
            while True:
                await self._try()
                await asyncio.sleep(_LOOK_EVERY)
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await self._try(is_last=True)

    async def _try(self, *, is_last: bool = False) -> None:
        try:
            await self.report(is_last=is_last)
            self._trouble.over()
        except HitlError as error:
            self._trouble.tell(error)
        except Exception:  # noqa: BLE001 - whatever it stumbles over, sidecars are served
            note_defect(self._hub.metrics, "replica-report")

    async def report(self, *, is_last: bool = False) -> None:
        """Say what is new, now and then that there is nothing new, and at last that it ends. Raises as `KubeAPI`."""
        usage = self._usage()
        whole = Report(self._run, self._replica, self._tallies(), _less(usage, self._taken_over))
        report = shortened(whole, {entry.uid: entry.namespace for entry in self._entries()})
        self._say_what_is_cut(whole, report)
        text = report_to_json(report)
        now = self._monotonic()
        if text == self._told and now < self._said_at + _SAY_EVERY and not is_last:
            return
        try:
            await self._write(text, {ENDED: "true"} if is_last else {})
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            await self._look_at_own()
        else:
            self._told, self._said_at = text, now
            # What is not in it nobody takes over.
            self._written = {
                uid: used if uid in report.usage else self._taken_over.get(uid, Used()) for uid, used in usage.items()
            }

    def _say_what_is_cut(self, whole: Report, report: Report) -> None:
        cut = len(whole.worth_saying) - len(report.worth_saying)
        if cut != self._cut:
            self._cut = cut
            _log.warning("report-cut", policies=cut, meaning="the status of so many shows no sidecars and no usage")

    async def _look_at_own(self) -> None:
        """A write was taken of which this process never heard; or a leader took the process for gone and has taken over
        what it wrote last. Then it goes on as another one.
        """
        try:
            own = await self._api.get(self._path())
            self._version = own["metadata"]["resourceVersion"]
        except ApiError as error:
            if error.status != 404:
                raise
            self._run, self._version, self._taken_over = secrets.token_hex(8), "", dict(self._written)

    def _usage(self) -> dict[str, Used]:
        """By uid, copied."""
        uids = {str(entry.policy.ref): entry.uid for entry in self._entries() if entry.policy is not None}
        self._hub.usage.follow(uids)
        return added({uids[policy]: used} for policy, used in self._hub.usage.by_policy.items())

    def _tallies(self) -> Mapping[str, Tally]:
        """Counted only where something happened: there may be thousands of sidecars, and this is every two seconds."""
        now = self._hub.sidecars.changes, self._book.version
        if now != self._counted_at:
            self._counted_at, self._counted = now, self._count()
        return self._counted

    def _count(self) -> dict[str, Tally]:
        tallies: dict[str, Tally] = {}
        for sidecar in self._hub.sidecars:
            identity = sidecar.identity
            served = self._hub.config_for(identity, sidecar.compiler)
            is_current = served is not None and sidecar.running == served.revision
            behind = Behind(
                f"{identity.agent.namespace}/{identity.agent.pod_name}",
                sidecar.running,
                sidecar.since,
                sidecar.refused,
            )
            labels = identity.agent.labels, identity.stamped
            reached = [each.freeze.uid for each in self._book.frozen if each.reaches(identity.agent.namespace, labels)]
            policies = [entry.uid for entry in self._book.concerning(identity) if entry.policy is not None]
            for uid in (*policies, *reached):
                tally = tallies.setdefault(uid, Tally())
                tally.total += 1
                tally.current += is_current
                if not is_current and len(tally.behind) < MOST_BEHIND:
                    tally.behind.append(behind)
        return tallies

    def _entries(self) -> tuple[Any, ...]:
        return self._book.generation.entries if self._book.generation is not None else ()

    async def _write(self, text: str, more: Mapping[str, str]) -> None:
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": config_map_of(self._run), "labels": {REPLICA: "report"}},
            # What changes with every write makes a word of "still there" one that can be seen.
            "data": {REPORT: text, "said": f"{self._monotonic():.0f}", **more},
        }
        if self._version:
            body["metadata"]["resourceVersion"] = self._version
            written = await self._api.replace(self._path(), body)
        else:
            written = await self._api.create(path_of("v1", "configmaps", self._namespace), body)
        self._version = written["metadata"]["resourceVersion"]

    def _path(self) -> str:
        return path_of("v1", "configmaps", self._namespace, config_map_of(self._run))


def config_map_of(run: str) -> str:
    """The name of the ConfigMap in which a process reports."""
    return f"hitl-replica-{run}"


def _less(usage: Mapping[str, Used], before: Mapping[str, Used]) -> dict[str, Used]:
    """What has come since; a policy that was made anew has another uid."""
    found: dict[str, Used] = {}
    for uid, used in usage.items():
        was = before.get(uid, Used())
        found[uid] = Used(
            used.calls - was.calls, used.held - was.held, used.decided - was.decided, used.expired - was.expired
        )
    return found
