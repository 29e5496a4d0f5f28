"""What all replicas said of their sidecars and of usage (`reporter`), taken together by the leader.

Counts must neither get lost nor count twice when replicas and leaders come and go. A report holds what its process
counted since it began. Of one that has said that it ends, or has gone silent, the leader first notes the counts
(`hitl-usage`), then deletes the report, only as it noted it, and only then takes the counts into the totals. Whoever
takes over goes on from any point.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from hitl.errors import ApiError, InvalidInput
from hitl.kube.api import KubeAPI
from hitl.kube.marks import ENDED, REPLICA, REPORT, SILENT_AFTER
from hitl.kube.paths import path_of
from hitl_operator.cluster.replica_reports import (
    Report,
    Tally,
    added,
    report_from_json,
    tallies_of,
    usage_from_json,
    usage_to_json,
)
from hitl_operator.cluster.reporter import config_map_of
from hitl_operator.logs import Log
from hitl_operator.usage import Used

_SELECTED: Final = {"labelSelector": REPLICA}
_TOTALS: Final = "hitl-usage"
_TOTALS_FIELD: Final = "usage"
# Policies of which is remembered what replicas counted that are gone, some 60 bytes each, as for each policy in the
# report of one of them; a ConfigMap takes 1 MiB.
_MOST_TOTALS: Final = 8_000

GONE_AFTER: Final = 300.0  # seconds after which its counts are taken over and its report is deleted

_log = Log(__name__)


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
                report = report_from_json(said.get(REPORT, ""))
            except InvalidInput as error:
                _log.warning("report-unusable", configmap=metadata["name"], problem=error)
                continue
            found[report.run] = report, metadata["resourceVersion"], ENDED in said
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
                place = path_of("v1", "configmaps", self._namespace, config_map_of(run))
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


def _usages(document: Mapping[str, list[int]]) -> dict[str, Used]:
    return {uid: usage_from_json(numbers) for uid, numbers in document.items()}
