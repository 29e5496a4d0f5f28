"""What specs mean, each read once: what is written now, what was accepted last, and that without some of its parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from hitl.errors import InvalidPolicy, Problem
from hitl.policy.weights import weight_of
from hitl_operator.cluster.policy_resources import Resource, digest_of, parse, read
from hitl_operator.sources import Entry


@dataclass(frozen=True, slots=True)
class LastGood:
    """What was accepted last of one resource, by its uid.

    Attributes:
        generation, spec: the accepted ones.
        invalid_since: since when what is written is not accepted; None: it is.
        digest: of the spec.
    """

    generation: int
    spec: Mapping[str, Any]
    invalid_since: datetime | None = None
    digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Take the digest of the spec."""
        object.__setattr__(self, "digest", digest_of(self.spec))

    def is_of(self, resource: Resource) -> bool:
        """Whether that is what is written."""
        return (self.generation, self.digest) == (resource.generation, resource.digest)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one spec means: an entry, or every problem. Not both."""

    entry: Entry | None = None
    problems: tuple[Problem, ...] = ()


class Readings:
    """Remembers what each spec means, so that a change costs the reading of what changed, and so that what did not
    change stays the very same `Entry`.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Reading] = {}
        self._used: set[tuple[Any, ...]] = set()

    def knows(self, resource: Resource, good: LastGood | None, *, counts: bool = True) -> bool:
        """Whether it can be decided without reading anything; `counts`: what is written is looked at."""
        written = (*resource.content, resource.foreign)
        if counts and written not in self._known:
            return False
        if good is None or good.generation > resource.generation:
            return True
        last = (resource.uid, good.generation, good.digest, ())
        return (written if good.is_of(resource) else last) in self._known

    def of(self, resource: Resource) -> Reading:
        """What is written."""
        return self._remembered((*resource.content, resource.foreign), lambda: _reading(resource))

    def of_good(self, resource: Resource, good: LastGood) -> Reading:
        """What was accepted last; problems where this release no longer understands it."""
        if good.is_of(resource):
            return self.of(resource)
        weight = weight_of(good.spec)
        older = replace(resource, generation=good.generation, spec=good.spec, foreign=(), weight=weight)
        return self._remembered((*older.content, ()), lambda: _reading(older))

    def without(self, entry: Entry, paths: tuple[str, ...]) -> Entry:
        """An entry as it is without these parts, each of which only relaxes."""
        made = self._remembered(
            (entry.uid, entry.generation, entry.canonical, "without", paths), lambda: Reading(_without(entry, paths))
        )
        assert made.entry is not None, "it is made of one that was read"
        return made.entry

    def sweep(self) -> None:
        """Forget what was not asked for since the last time."""
        self._known = {key: reading for key, reading in self._known.items() if key in self._used}
        self._used.clear()

    def _remembered(self, key: tuple[Any, ...], make: Any) -> Reading:
        self._used.add(key)
        known: Reading | None = self._known.get(key)
        if known is None:
            known = self._known[key] = make()
        return known


def _reading(resource: Resource) -> Reading:
    try:
        return Reading(Entry(resource.kind, **resource.metadata, spec=resource.spec, parsed=read(resource)))
    except InvalidPolicy as error:
        return Reading(problems=error.problems)
    except Exception as error:  # noqa: BLE001 - one policy that we stumble over must not take all others out of force
        return Reading(problems=(stumbled("read", error),))


def stumbled(doing: str, error: Exception) -> Problem:
    """What a policy is told that something of ours cannot be done with."""
    words = f"cannot be {doing}, by a defect of this release ({type(error).__name__}: {error}); please report it"
    return Problem("spec", words)


def _without(entry: Entry, paths: tuple[str, ...]) -> Entry:
    """The same without what stands at these paths: ``spec.KEY`` and ``spec.rules[N].KEY``."""
    spec: dict[str, Any] = dict(entry.spec)
    for path in paths:
        place, _, key = path.rpartition(".")
        if place == "spec":
            spec.pop(key, None)
        else:
            number = int(place.removeprefix("spec.rules[").removesuffix("]"))
            rules = list(spec["rules"])
            rules[number] = {name: value for name, value in rules[number].items() if name != key}
            spec["rules"] = rules
    metadata = {"name": entry.name, "namespace": entry.namespace, "uid": entry.uid, "generation": entry.generation}
    return replace(entry, spec=spec, parsed=parse(entry.kind, metadata, spec))
