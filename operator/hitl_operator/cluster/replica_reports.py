"""What a replica says of its own sidecars and of what policies did there, and how the reports of all add up (pure)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import orjson

from hitl.errors import InvalidInput
from hitl_operator.cluster.crowding import in_turns
from hitl_operator.usage import MOST, Used

_SCHEMA: Final = 1
MOST_BEHIND: Final = 10  # named for each policy
_MOST_NAMED: Final = 200  # named in one report: a bad release may put thousands behind
MOST_POLICIES: Final = 4_000  # in one report, some 130 bytes each
_LARGEST: Final = 1_000_000  # bytes; a ConfigMap takes 1 MiB
_LONGEST_REASON: Final = 300


@dataclass(frozen=True, slots=True)
class Behind:
    """A sidecar that does not run the config in force.

    Attributes:
        pod: ``namespace/name``.
        revision: what it runs; empty for nothing.
        since: when it connected, or was sent what it does not run.
        reason: why it refused; empty where it has not answered.
    """

    pod: str
    revision: str
    since: datetime
    reason: str = ""


@dataclass(slots=True)
class Tally:
    """The sidecars that one policy selects; of those behind the ones that are so for longest."""

    total: int = 0
    current: int = 0
    behind: list[Behind] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Those of another replica."""
        self.total += other.total
        self.current += other.current
        self.behind = sorted([*self.behind, *other.behind], key=lambda each: (each.since, each.pod))[:MOST_BEHIND]


@dataclass(frozen=True, slots=True)
class Report:
    """One replica's share.

    Attributes:
        run: drawn by each process.
        replica: its name, for people.
        tallies: by uid of the policy.
        usage: by uid, since the process began.
    """

    run: str
    replica: str
    tallies: Mapping[str, Tally]
    usage: Mapping[str, Used]

    @property
    def worth_saying(self) -> list[str]:
        """The policies that have sidecars or did something, in an order that stays."""
        return sorted(self.tallies.keys() | {uid for uid, used in self.usage.items() if used != Used()})


def shortened(report: Report, namespaces: Mapping[str, str]) -> Report:
    """A report that fits, of the policies that there is something to say of: in turns of the namespaces, so that one
    with very many of them takes the place of nobody else's.

    Args:
        report: of everything.
        namespaces: by uid of the policy.
    """
    kept = set(islice(in_turns(report.worth_saying, lambda uid: namespaces.get(uid, "")), MOST_POLICIES))
    return Report(
        report.run,
        report.replica,
        {uid: tally for uid, tally in report.tallies.items() if uid in kept},
        {uid: used for uid, used in report.usage.items() if uid in kept},
    )


def report_to_json(report: Report) -> str:
    """As it stands in a ConfigMap; where there is no place for them, without the sidecars that are behind."""
    named = sorted((each for tally in report.tallies.values() for each in tally.behind), key=lambda each: each.since)
    last = named[_MOST_NAMED - 1].since if len(named) > _MOST_NAMED else None
    text = _document(report, last)
    return text if len(text.encode()) <= _LARGEST else _document(report, datetime.min.replace(tzinfo=UTC))


def _document(report: Report, last: datetime | None) -> str:
    policies = {
        uid: {
            "sidecars": _tally_to_json(report.tallies.get(uid, Tally()), last),
            "usage": usage_to_json(report.usage.get(uid, Used())),
        }
        for uid in sorted(report.tallies.keys() | report.usage.keys())
    }
    document = {"schema": _SCHEMA, "run": report.run, "replica": report.replica, "policies": policies}
    return orjson.dumps(document).decode()


def report_from_json(text: str) -> Report:
    """InvalidInput for anything that `report_to_json` of this release would not have made."""
    try:
        document = orjson.loads(text)
        if document["schema"] != _SCHEMA:
            raise InvalidInput(f"its schema is {document['schema']!r}, wanted {_SCHEMA}")
        policies = document["policies"]
        return Report(
            document["run"],
            document["replica"],
            {uid: _tally_from_json(each["sidecars"]) for uid, each in policies.items()},
            {uid: usage_from_json(each["usage"]) for uid, each in policies.items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"its content is not what a replica wrote ({type(error).__name__}: {error})") from None


def usage_to_json(used: Used) -> list[int]:
    """Four numbers in the order of the fields."""
    return [used.calls, used.held, used.decided, used.expired]


def usage_from_json(numbers: list[int]) -> Used:
    """TypeError or ValueError where they are not four numbers."""
    calls, held, decided, expired = (int(number) for number in numbers)
    return Used(calls, held, decided, expired)


def tallies_of(reports: Iterable[Report]) -> dict[str, Tally]:
    """The sidecars of all replicas by uid of the policy."""
    found: dict[str, Tally] = {}
    for report in reports:
        for uid, tally in report.tallies.items():
            found.setdefault(uid, Tally()).add(tally)
    return found


def added(parts: Iterable[Mapping[str, Used]]) -> dict[str, Used]:
    """The sum by uid; of calls never more than can be written and read again by everybody."""
    found: dict[str, Used] = {}
    for part in parts:
        for uid, used in part.items():
            total = found.setdefault(uid, Used())
            total.calls = min(MOST, total.calls + used.calls)
            total.held += used.held
            total.decided += used.decided
            total.expired += used.expired
    return found


def _tally_to_json(tally: Tally, last: datetime | None) -> dict[str, Any]:
    return {
        "total": tally.total,
        "current": tally.current,
        "behind": [
            {
                "pod": each.pod,
                "revision": each.revision,
                "since": each.since.isoformat(),
                "reason": each.reason[:_LONGEST_REASON],
            }
            for each in tally.behind
            if last is None or each.since < last
        ],
    }


def _tally_from_json(document: Mapping[str, Any]) -> Tally:
    behind = [
        Behind(str(each["pod"]), str(each["revision"]), datetime.fromisoformat(each["since"]), str(each["reason"]))
        for each in document["behind"]
    ]
    return Tally(int(document["total"]), int(document["current"]), behind)
