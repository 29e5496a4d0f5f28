"""Replicas tell the leader of their sidecars and of usage: each in a ConfigMap of its own in the operator's namespace.

Counts must neither get lost nor count twice when replicas and leaders come and go. A report holds what its process
counted since it began. Of one that has said that it ends, or has gone silent, the leader first notes the counts
(`hitl-usage`), then deletes the report, only as it noted it, and only then takes the counts into the totals. Whoever
takes over goes on from any point.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson

from hitl.errors import ApiError, HitlError, InvalidInput
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_operator.cluster.defects import note_defect
from hitl_operator.cluster.replica_reports import (
    MOST_BEHIND,
    Behind,
    Report,
    Tally,
    added,
    report_from_json,
    report_to_json,
    shortened,
    tallies_of,
    usage_from_json,
    usage_to_json,
)
from hitl_operator.hub import Hub
from hitl_operator.logs import Log
from hitl_operator.sources import ConfigBook
from hitl_operator.usage import Used

LABEL: Final = "hitl.dev/replica"
_SELECTED: Final = {"labelSelector": LABEL}
_FIELD: Final = "report"
_ENDED: Final = "ended"
_TOTALS: Final = "hitl-usage"
_TOTALS_FIELD: Final = "usage"
# Policies of which is remembered what replicas counted that are gone, some 60 bytes each, as for each policy in the
# report of one of them; a ConfigMap takes 1 MiB.
_MOST_TOTALS: Final = 8_000

_LOOK_EVERY: Final = 2.0  # seconds between two reports, if there is news
_SAY_EVERY: Final = 15.0  # seconds after which a replica says that it is still there
_LAST_WORDS: Final = 1.0  # seconds that they may take
SILENT_AFTER: Final = 45.0  # seconds without a word after which the sidecars of a replica no longer count
GONE_AFTER: Final = 300.0  # seconds after which its counts are taken over and its report is deleted

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
        except HitlError as error:
            _log.warning("report-unwritable", problem=error)
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
            await self._write(text, {_ENDED: "true"} if is_last else {})
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
            for entry in self._book.concerning(identity):
                if entry.policy is None:
                    continue
                tally = tallies.setdefault(entry.uid, Tally())
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
            "metadata": {"name": _name(self._run), "labels": {LABEL: "report"}},
            # What changes with every write makes a word of "still there" one that can be seen.
            "data": {_FIELD: text, "said": f"{self._monotonic():.0f}", **more},
        }
        if self._version:
            body["metadata"]["resourceVersion"] = self._version
            written = await self._api.replace(self._path(), body)
        else:
            written = await self._api.create(path_of("v1", "configmaps", self._namespace), body)
        self._version = written["metadata"]["resourceVersion"]

    def _path(self) -> str:
        return path_of("v1", "configmaps", self._namespace, _name(self._run))


@dataclass(slots=True)
class _Seen:
    """A report, the version it was last seen at, when that was seen first, and whether it is the last one."""

    report: Report
    version: str
    at: float
    is_last: bool


@dataclass(frozen=True, slots=True)
class _Totals:
    """What is known of processes that are gone: taken in, and noted by run but perhaps not yet deleted."""

    taken: Mapping[str, Used]
    noted: Mapping[str, Mapping[str, Used]]
    version: str = ""


class Reports:
    """Reads the reports of all replicas; only who leads may."""

    def __init__(self, api: KubeAPI, namespace: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`namespace`: the operator's."""
        self.tallies: Mapping[str, Tally] = {}
        self.usage: Mapping[str, Used] = {}
        self._api = api
        self._namespace = namespace
        self._monotonic = monotonic
        self._seen: dict[str, _Seen] = {}

    async def read(self) -> None:
        """Bring `tallies` and `usage` up to date, by uid of the policy. Raises as `KubeAPI`."""
        found: dict[str, tuple[Report, str, bool]] = {}
        async for manifest in self._api.list(path_of("v1", "configmaps", self._namespace), _SELECTED):
            metadata, said = manifest["metadata"], manifest.get("data", {})
            try:
                report = report_from_json(said.get(_FIELD, ""))
            except InvalidInput as error:
                _log.warning("report-unusable", configmap=metadata["name"], problem=error)
                continue
            found[report.run] = report, metadata["resourceVersion"], _ENDED in said
        now = self._monotonic()
        self._seen = {
            run: self._seen[run]
            if run in self._seen and self._seen[run].version == version
            else _Seen(report, version, now, is_last)
            for run, (report, version, is_last) in found.items()
        }
        totals = await self._read_totals()
        live = [each.report for each in self._seen.values() if now < each.at + SILENT_AFTER and not each.is_last]
        self.tallies = tallies_of(live)
        gone = [noted for run, noted in totals.noted.items() if run not in self._seen]
        self.usage = added([totals.taken, *gone, *(each.report.usage for each in self._seen.values())])

    async def take_over(self, uids: set[str]) -> None:
        """Take in what was counted by processes that are gone; of policies that are gone (not in `uids`) nothing stays.

        Raises as `KubeAPI`.
        """
        now = self._monotonic()
        ended = [run for run, each in self._seen.items() if each.is_last or now >= each.at + GONE_AFTER]
        gone = {run: self._seen[run] for run in sorted(ended)[:1]}  # one by one: all they counted is noted in one place
        totals = await self._read_totals()
        deleted = {run for run in totals.noted if run not in self._seen}
        if not gone and not deleted:
            return
        taken = added([totals.taken, *(totals.noted[run] for run in deleted)])
        noted = {run: each.report.usage for run, each in gone.items()}
        kept = {uid: used for uid, used in taken.items() if uid in uids}
        most = sorted(kept, key=lambda uid: kept[uid].calls, reverse=True)[:_MOST_TOTALS]
        if len(most) < len(kept):
            _log.warning("usage-cut", policies=len(kept) - len(most), meaning="what they did is counted anew")
        await self._write_totals(_Totals({uid: kept[uid] for uid in most}, noted, totals.version))
        for run, each in gone.items():
            try:
                place = path_of("v1", "configmaps", self._namespace, _name(run))
                await self._api.delete(place, version=each.version)
                _log.info("replica-gone", replica=each.report.replica)
            except ApiError as error:
                if error.status not in (404, 409):  # 409: it is not gone after all, and counts for itself
                    raise

    async def _read_totals(self) -> _Totals:
        try:
            manifest = await self._api.get(path_of("v1", "configmaps", self._namespace, _TOTALS))
        except ApiError as error:
            if error.status != 404:
                raise
            return _Totals({}, {})
        version = manifest["metadata"]["resourceVersion"]
        try:
            document = orjson.loads(manifest["data"][_TOTALS_FIELD])
            return _Totals(
                _usages(document["taken"]), {run: _usages(each) for run, each in document["noted"].items()}, version
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            _log.error("usage-unusable", configmap=_TOTALS, problem=error, meaning="counting starts anew")
            return _Totals({}, {}, version)

    async def _write_totals(self, totals: _Totals) -> None:
        document = {
            "taken": {uid: usage_to_json(used) for uid, used in totals.taken.items()},
            "noted": {
                run: {uid: usage_to_json(used) for uid, used in each.items()} for run, each in totals.noted.items()
            },
        }
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": _TOTALS},
            "data": {_TOTALS_FIELD: orjson.dumps(document).decode()},
        }
        if totals.version:
            body["metadata"]["resourceVersion"] = totals.version
            await self._api.replace(path_of("v1", "configmaps", self._namespace, _TOTALS), body)
        else:
            await self._api.create(path_of("v1", "configmaps", self._namespace), body)


def _name(run: str) -> str:
    return f"hitl-replica-{run}"


def _usages(document: Mapping[str, list[int]]) -> dict[str, Used]:
    return {uid: usage_from_json(numbers) for uid, numbers in document.items()}


def _less(usage: Mapping[str, Used], before: Mapping[str, Used]) -> dict[str, Used]:
    """What has come since; a policy that was made anew has another uid."""
    found: dict[str, Used] = {}
    for uid, used in usage.items():
        was = before.get(uid, Used())
        found[uid] = Used(
            used.calls - was.calls, used.held - was.held, used.decided - was.decided, used.expired - was.expired
        )
    return found
