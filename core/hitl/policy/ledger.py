"""The sidecar's memory of one workload: what evaluation reads as `History`, written after each verdict.

Everything is bounded, and where a bound is reached it errs on the strict side: a forgotten tool is novel again, a limit
that cannot be remembered is exhausted. Values of arguments are kept as hashes. Times given are wall-clock seconds; if
they jump back, the ledger's own time stands still for the jump and goes on, so no window opens early and none for ever.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import orjson

from hitl.policy.verdicts import Charge
from hitl.policy.windows import Hours, Recent, SlidingSum, TokenBucket

_TEN_MINUTES = 600.0
_MAX_FLOODS = 16_384
_MAX_LIMITS = 10_000
_MAX_TOOLS = 4_096
_MAX_RATED_TOOLS = 512
_MAX_VALUES = 50_000
_MAX_HOSTS = 10_000
# More than flood control lets through in ten minutes on default settings: nobody can push his own entry out.
_MAX_CLARIFIED = 8_192
# Looking for limits that have recovered walks over all of them; once a minute is often enough.
_SWEEP = 60.0
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Sightings:
    """What of a call is worth remembering once it ran: values of watched arguments, and hosts it reached."""

    values: tuple[tuple[str, str], ...] = ()
    hosts: tuple[str, ...] = ()


class Ledger:
    """Implements `hitl.policy.history.History`, and the writes that belong to it.

    Attributes:
        lost_because: why an earlier state could not be read; empty if it could, or if there never was one.
    """

    def __init__(self) -> None:
        self.lost_because = ""
        self._time = 0.0
        self._wall = -math.inf
        self._lost_at: float | None = None
        self._swept = -math.inf
        self._pod = Recent()
        self._floods: dict[tuple[str, str], Recent] = {}
        self._limits: dict[tuple[str, str], TokenBucket | SlidingSum] = {}
        self._hours: dict[str, Hours] = {}
        self._seen: dict[str, int] = {}
        self._values: dict[str, None] = {}
        self._hosts: dict[str, None] = {}
        self._decided = Recent(_TEN_MINUTES)
        self._denied = Recent(_TEN_MINUTES)
        self._clarified: dict[str, tuple[int, float]] = {}

    @classmethod
    def lost(cls, now: float, because: str = "the earlier state is gone") -> Self:
        """A ledger whose past is unknown: every limit counts as exhausted for one of its windows from now on."""
        ledger = cls()
        ledger._lost_at = ledger._advance(now)
        ledger.lost_because = because
        return ledger

    # What evaluation reads.

    def recent_calls(self, name: str, session_id: str, now: float) -> tuple[int, int]:
        at = self._at(now)
        flood = self._floods.get((name, session_id))
        return (0 if flood is None else flood.count(at)), self._pod.count(at)

    def used(self, limit_id: str, key: str, per: int, now: float) -> float:
        at = self._at(now)
        if self._lost_at is not None and at - self._lost_at < per:
            return math.inf
        window = self._limits.get((limit_id, _kept(key)))
        if window is not None:
            return window.used(at)
        return math.inf if len(self._limits) >= _MAX_LIMITS else 0.0

    def times_seen(self, name: str) -> int:
        return self._seen.get(name, 0)

    def has_seen_value(self, name: str, argument: str, value: str) -> bool:
        return _fingerprint(name, argument, value) in self._values

    def has_seen_host(self, host: str) -> bool:
        return _fingerprint(host) in self._hosts

    def rates(self, name: str, now: float) -> tuple[float, float]:
        hours = self._hours.get(name)
        return (0.0, 0.0) if hours is None else hours.rates(self._at(now))

    def recent_denials(self, now: float) -> tuple[int, int]:
        at = self._at(now)
        return self._denied.count(at), self._decided.count(at)

    @property
    def has_clarified(self) -> bool:
        """Whether any call was answered CLARIFY lately; if not, nobody needs to work out a sameness."""
        return bool(self._clarified)

    def raised_confidence(self, sameness: str, confidence: int, now: float) -> bool:
        earlier = self._clarified.get(sameness)
        return earlier is not None and earlier[0] < confidence and self._at(now) - earlier[1] < _TEN_MINUTES

    # What the sidecar writes.

    def record_call(self, name: str, session_id: str, now: float) -> None:
        """Count a call towards flood control and rates. Not for calls that flood control itself refused: an agent that
        keeps knocking would never be let in again.
        """
        at = self._advance(now)
        self._pod.add(at)
        key = (name, session_id)
        flood = self._floods.get(key)
        if flood is None:
            if len(self._floods) >= _MAX_FLOODS:
                self._floods = {kept: window for kept, window in self._floods.items() if not window.is_over(at)}
            _make_room(self._floods, _MAX_FLOODS)
            flood = self._floods[key] = Recent()
        flood.add(at)
        hours = self._hours.get(name)
        if hours is None:
            if len(self._hours) >= _MAX_RATED_TOOLS:
                # The least used goes: names made up in passing must not push out what is usual.
                del self._hours[min(self._hours, key=lambda known: self._hours[known].known_hours)]
            hours = self._hours[name] = Hours()
        hours.add(at)
        if len(self._limits) >= _MAX_LIMITS and at - self._swept > _SWEEP:
            self._swept = at
            self._limits = {key: window for key, window in self._limits.items() if window.used(at) > 0}

    def charge(self, charges: Iterable[Charge], now: float) -> None:
        """Use limits up, once the call is ALLOWED; never refunded."""
        at = self._advance(now)
        for charge in charges:
            key = (charge.limit_id, _kept(charge.key))
            window = self._limits.get(key)
            if window is None or window.kind != charge.kind:
                if window is None and len(self._limits) >= _MAX_LIMITS:
                    continue  # `used` calls it exhausted as long as there is no room
                window = TokenBucket() if charge.kind == "calls" else SlidingSum()
                self._limits[key] = window
            window.add(charge.amount, charge.maximum, charge.per, at)

    def record_allowed(self, name: str, sightings: Sightings, now: float) -> None:
        """Remember what a call that ran has shown: from now on it is no longer novel."""
        self._advance(now)
        if name not in self._seen:
            _make_room(self._seen, _MAX_TOOLS)
        self._seen[name] = self._seen.get(name, 0) + 1
        for argument, value in sightings.values:
            _remember(self._values, _fingerprint(name, argument, value), _MAX_VALUES)
        for host in sightings.hosts:
            _remember(self._hosts, _fingerprint(host), _MAX_HOSTS)

    def record_decision(self, now: float, *, denied: bool) -> None:
        """Count what a person decided; a share of denials over a fifth is an anomaly."""
        at = self._advance(now)
        self._decided.add(at)
        if denied:
            self._denied.add(at)

    def record_clarify(self, sameness: str, confidence: int, now: float) -> None:
        """Remember that this very call was answered CLARIFY: the same call with more confidence is not believed."""
        at = self._advance(now)
        earlier = self._clarified.pop(sameness, None)
        if earlier is not None and at - earlier[1] < _TEN_MINUTES:
            confidence = min(confidence, earlier[0])
        _make_room(self._clarified, _MAX_CLARIFIED)
        self._clarified[sameness] = (confidence, at)

    # On disk.

    def dump(self) -> bytes:
        """The state as JSON, a few megabytes at most. Flood control is left out: it looks back one minute."""
        return orjson.dumps(
            {
                "version": _VERSION,
                "time": self._time,
                "wall": None if self._wall == -math.inf else self._wall,
                "lostAt": self._lost_at,
                "limits": [[*key, window.kind, window.state()] for key, window in self._limits.items()],
                "hours": {name: hours.state() for name, hours in self._hours.items()},
                "seen": self._seen,
                "values": list(self._values),
                "hosts": list(self._hosts),
                "clarified": {sameness: list(entry) for sameness, entry in self._clarified.items()},
            }
        )

    @classmethod
    def load(cls, data: bytes, now: float) -> Self:
        """The ledger that `dump` wrote. What cannot be read is lost (see `lost_because`), never empty."""
        try:
            return cls._restored(orjson.loads(data))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return cls.lost(now, f"the stored state cannot be read: {error}")

    @classmethod
    def _restored(cls, state: dict[str, Any]) -> Self:
        if state["version"] != _VERSION:
            raise ValueError(f"it has version {state['version']}, this program reads version {_VERSION}")
        ledger = cls()
        ledger._time = float(state["time"])
        ledger._wall = -math.inf if state["wall"] is None else float(state["wall"])
        ledger._lost_at = None if state["lostAt"] is None else float(state["lostAt"])
        for limit_id, key, kind, window in state["limits"][:_MAX_LIMITS]:
            ledger._limits[str(limit_id), str(key)] = (
                TokenBucket.restored(window) if kind == TokenBucket.kind else SlidingSum.restored(window)
            )
        ledger._hours = {name: Hours.restored(hours) for name, hours in state["hours"].items()}
        ledger._seen = {name: int(times) for name, times in state["seen"].items()}
        ledger._values = dict.fromkeys(state["values"])
        ledger._hosts = dict.fromkeys(state["hosts"])
        ledger._clarified = {
            sameness: (int(confidence), float(at)) for sameness, (confidence, at) in state["clarified"].items()
        }
        return ledger

    # Time.

    def _at(self, now: float) -> float:
        return self._time + max(0.0, now - self._wall) if self._wall > -math.inf else now

    def _advance(self, now: float) -> float:
        self._time = self._at(now)
        self._wall = now
        return self._time


def _kept(key: str) -> str:
    """A limit's key as it is remembered: it may be the value of an argument."""
    return key and _fingerprint(key)


def _fingerprint(*parts: str) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def _remember(entries: dict[str, None], entry: str, most: int) -> None:
    # Seen again, it moves to the end: what is forgotten first is what was not seen for longest.
    entries.pop(entry, None)
    _make_room(entries, most)
    entries[entry] = None


def _make_room(entries: dict[Any, Any], most: int) -> None:
    while len(entries) >= most:
        del entries[next(iter(entries))]
