"""What the replicas remember together of the API server's checks: PURE; kept in Secret `hitl-enforcement` (C4, D2).

Whether a vote came while the checks stood is not told from times, which whoever writes past the policies can write as
well, but from two numbers that the server alone gives: `uid` and `generation` of each guard say whether anything was
changed or replaced since it was last verified, even if it was put back; `confirmed` is the highest version of a
request of which it is known that everything up to it was written while the checks stood.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from hitl.errors import InvalidInput

_MOST_GAPS: Final = 20  # the newest; each is also an Event and a log line
_LONGEST_WHY: Final = 500


@dataclass(frozen=True, slots=True)
class Mark:
    """One guard as it was verified. Equal uid and generation: nobody touched its spec in between."""

    uid: str
    generation: int
    digest: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which the checks did not provably stand.

    Attributes:
        since: when they were last known to stand before it; `until`: from when they stand again, None: not yet.
        why: for people.
    """

    since: datetime
    until: datetime | None
    why: str


@dataclass(frozen=True, slots=True)
class Back:
    """The server went back from one version to a lower one."""

    seen: int
    served: int


@dataclass(frozen=True, slots=True)
class Rewound:
    """The server went back in time, as after a restore of etcd, and nobody has acknowledged that yet.

    Attributes:
        seen: the highest version it had served before; `served`: the lower one after it.
    """

    seen: int
    served: int
    time: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """The state that all replicas share.

    Attributes:
        marks: the guards as last verified, by `Guard.key`.
        stands: whether votes count, as far as the replicas know together; one of them may know better.
        since: from when on they do (or did).
        checked: when a replica last found everything as `marks` say.
        confirmed: see the module.
        seen: highest version that the server has served.
        gaps: newest last.
        rewound: set until acknowledged.
        acknowledgement: the last one, as the annotation had it.
        quarantined: uids of open requests that cannot be believed and could not be ended; nothing in them ever counts.
    """

    marks: Mapping[str, Mark] = field(default_factory=dict)
    stands: bool = False
    since: datetime | None = None
    checked: datetime | None = None
    confirmed: int = 0
    seen: int = 0
    gaps: tuple[Gap, ...] = ()
    rewound: Rewound | None = None
    acknowledgement: str = ""
    quarantined: frozenset[str] = frozenset()


def lost(record: Record, why: str, now: datetime) -> Record:
    """The checks do not stand any more; as when they do not stand already, which changes nothing."""
    if not record.stands:
        return record
    gap = Gap(record.checked or record.since or now, None, why[:_LONGEST_WHY])
    return replace(record, stands=False, gaps=(*record.gaps, gap)[-_MOST_GAPS:])


def regained(
    record: Record, marks: Mapping[str, Mark], now: datetime, *, clean: int, quarantined: frozenset[str] = frozenset()
) -> Record:
    """The checks stand again, by these marks; everything open up to version `clean` is clean, or in quarantine."""
    gaps = record.gaps
    if gaps and gaps[-1].until is None:
        gaps = (*gaps[:-1], replace(gaps[-1], until=now))
    confirmed = max(record.confirmed, clean)
    return replace(
        record,
        marks=dict(marks),
        stands=True,
        since=now,
        checked=now,
        gaps=gaps,
        confirmed=confirmed,
        quarantined=quarantined,
    )


def found_standing(record: Record, now: datetime, *, seen: int) -> Record:
    """A replica looked again and found everything as it was."""
    return replace(record, checked=now, seen=max(record.seen, seen))


def rewound(record: Record, back: Back, now: datetime) -> Record:
    """The server went back: what was confirmed says nothing about the numbers that it gives out from now on."""
    why = f"the API server served version {back.served} after {back.seen}: its storage went back in time"
    record = lost(record, why, now)
    return replace(record, confirmed=0, seen=back.served, rewound=Rewound(back.seen, back.served, now))


def acknowledged(record: Record, words: str) -> Record:
    """Somebody knows that the server went back, and says so."""
    return replace(record, rewound=None, acknowledgement=words[:_LONGEST_WHY])


def record_to_json(record: Record) -> bytes:
    """As the Secret keeps it."""
    return orjson.dumps(
        {
            "marks": {key: [mark.uid, mark.generation, mark.digest] for key, mark in sorted(record.marks.items())},
            "stands": record.stands,
            "since": _time_out(record.since),
            "checked": _time_out(record.checked),
            "confirmed": record.confirmed,
            "seen": record.seen,
            "gaps": [[_time_out(gap.since), _time_out(gap.until), gap.why] for gap in record.gaps],
            "rewound": record.rewound and [record.rewound.seen, record.rewound.served, _time_out(record.rewound.time)],
            "acknowledgement": record.acknowledgement,
            "quarantined": sorted(record.quarantined),
        },
        option=orjson.OPT_INDENT_2,
    )


def record_from_json(text: bytes) -> Record:
    """Inverse of `record_to_json`. InvalidInput where it is not that: nothing is known then."""
    try:
        found: dict[str, Any] = orjson.loads(text)
        return Record(
            marks={key: Mark(str(uid), int(number), str(digest)) for key, (uid, number, digest) in _items(found)},
            stands=found["stands"] is True,
            since=_time_in(found["since"]),
            checked=_time_in(found["checked"]),
            confirmed=int(found["confirmed"]),
            seen=int(found["seen"]),
            gaps=tuple(Gap(_time(since), _time_in(until), str(why)) for since, until, why in found["gaps"]),
            rewound=None
            if found["rewound"] is None
            else Rewound(int(found["rewound"][0]), int(found["rewound"][1]), _time(found["rewound"][2])),
            acknowledgement=str(found["acknowledgement"]),
            quarantined=frozenset(map(str, found.get("quarantined", ()))),  # older releases know of none
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise InvalidInput(f"the state of the enforcement check cannot be read ({error!r}); it begins anew") from error


def _items(found: Mapping[str, Any]) -> Any:
    return found["marks"].items()


def _time_out(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


def _time_in(text: Any) -> datetime | None:
    return None if text is None else _time(text)


def _time(text: Any) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return time.astimezone(UTC)
