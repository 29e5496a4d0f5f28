"""The config in force: what was accepted last, and the document of it that each sidecar gets (DESIGN 18, SECURITY H1).

A source of policies (files here, informers on a cluster) publishes whole generations into a `ConfigBook`; the hub only
ever reads the book. Nothing is handed out before the first generation, so an absent config is never an empty one.

Documents are put together from parts that are made once for each resource: a change must reach thousands of sidecars
within two seconds, and most of their documents do not change with it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import rfc8785

from hitl.errors import InvalidPolicy, Problem
from hitl.policy.actions import Action
from hitl.policy.config import COMPILER, canonical_form, config_document, revision_named, together
from hitl.policy.freezes import Freeze
from hitl.policy.selectors import selects
from hitl.policy.settings import Settings
from hitl.policy.spec import PodSelector, Policy, ToolServer
from hitl.wire.identity import Identity
from hitl_operator.freezing import Frozen, reaching

_MOST_LABELS = 8192  # combinations of labels that are remembered; a hub serves 5 000 sidecars
_MOST_DOCUMENTS = 1024  # documents that are remembered across generations
_MOST_BYTES: Final = 64 << 20  # of those documents together; the policies of one namespace may have megabytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted resource, as written.

    Attributes:
        kind: AgentPolicy, ClusterAgentPolicy or ToolServer.
        namespace: empty for a ClusterAgentPolicy.
        generation: counts changes of `spec`, from 1.
        parsed: what it means.
        canonical: its part of a config document, as JCS. InvalidPolicy is raised where there is no such form.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    spec: Mapping[str, Any]
    parsed: Policy | ToolServer
    canonical: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the canonical form, once for all documents that it will be in."""
        object.__setattr__(self, "canonical", _canonical(self.to_json()))

    @property
    def policy(self) -> Policy | None:
        """The parsed policy; None for a ToolServer."""
        return self.parsed if isinstance(self.parsed, Policy) else None

    def part_for(self, labels: Mapping[str, str]) -> bytes:
        """Its part of the document of a pod that has these labels now. One that no longer selects them got it by the
        labels that were stamped, and says so: the sidecar selects by the present ones (SECURITY B2).
        """
        if _is_selected(self, labels):
            return self.canonical
        return _canonical({**self.to_json(), "selected": True})

    def to_json(self) -> dict[str, Any]:
        """As it stands in config documents."""
        own = {"name": self.name, "uid": self.uid, "generation": self.generation, "spec": dict(self.spec)}
        return own if self.kind == "ToolServer" else {"kind": self.kind, "namespace": self.namespace, **own}


@dataclass(frozen=True, slots=True)
class Floor:
    """Pods for which every Allow and Notify becomes Confirm, because what somebody wrote for them has been invalid for
    longer than `invalidGrace` (SECURITY C6).

    Attributes:
        namespace: of the pods; empty: every namespace.
        selector: which of them; empty: all.
    """

    namespace: str = ""
    selector: PodSelector = field(default_factory=PodSelector)


@dataclass(frozen=True, slots=True)
class Generation:
    """A set of resources that was accepted together, and the pods of which more is asked than it says."""

    entries: tuple[Entry, ...]
    settings: Settings
    floors: tuple[Floor, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedConfig:
    """What one sidecar gets: the canonical document, its name, and the settings in it."""

    document: bytes
    revision: str
    settings: Settings


class ConfigSource(Protocol):
    """Where the hub finds the config in force."""

    @property
    def version(self) -> int:
        """Counts everything that changed what sidecars get; 0 before the first config."""
        ...

    @property
    def settings(self) -> Settings:
        """The operator's settings in force; the defaults before the first config."""
        ...

    @property
    def frozen(self) -> tuple[Frozen, ...]:
        """Every freeze in force."""
        ...

    @property
    def age(self) -> float:
        """Seconds since it was last known that nothing newer is written than what is in force."""
        ...

    def concerning(self, identity: Identity) -> tuple[Entry, ...]:
        """The resources in force that a pod gets."""
        ...

    def freezes_of(self, identity: Identity) -> tuple[Freeze, ...]:
        """What is stopped for a pod, the longest first."""
        ...

    def config_for(self, identity: Identity, key_id: str, compiler: str = COMPILER) -> ServedConfig | None:
        """The config of one pod, named under its sidecar's compiler version; None while there is none."""
        ...

    async def changed(self, seen: int) -> int:
        """Waits until `version` is another than `seen` and returns it."""
        ...


class ConfigBook:
    """A `ConfigSource` into which whole generations are published."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        """`most_bytes`: of documents that are remembered across generations."""
        self.generation: Generation | None = None
        self.frozen: tuple[Frozen, ...] = ()
        self.measure_age: Callable[[], float] = _just_read
        self._version = 0
        self._by_namespace: dict[str, tuple[Entry, ...]] = {}
        self._by_labels: OrderedDict[tuple[object, ...], ServedConfig] = OrderedDict()
        self._concerning: OrderedDict[tuple[object, ...], tuple[Entry, ...]] = OrderedDict()
        self._documents: OrderedDict[tuple[object, ...], tuple[tuple[Entry, ...], ServedConfig]] = OrderedDict()
        self._bytes = 0  # of `_documents`
        self._most_bytes = most_bytes
        self._news = asyncio.Event()

    @property
    def version(self) -> int:
        """As `ConfigSource.version`."""
        return self._version

    @property
    def settings(self) -> Settings:
        """As `ConfigSource.settings`."""
        return self.generation.settings if self.generation is not None else Settings()

    @property
    def age(self) -> float:
        """As `ConfigSource.age`; whoever publishes says how it is measured (`measure_age`)."""
        return self.measure_age()

    def publish(self, generation: Generation, frozen: tuple[Frozen, ...] | None = None) -> None:
        """Put a generation in force for everybody. An unchanged resource should be the same `Entry` as before: what is
        made of it is then found again.

        frozen: every freeze from now on; None: those that were in force stay so.
        """
        self.generation = generation
        if frozen is not None:
            self.frozen = frozen
        self._by_namespace = _by_namespace(generation.entries)
        self._version += 1
        self._by_labels.clear()
        self._concerning.clear()
        self._news.set()
        self._news = asyncio.Event()

    async def changed(self, seen: int) -> int:
        """As `ConfigSource.changed`."""
        while self._version == seen:
            await self._news.wait()
        return self._version

    def concerning(self, identity: Identity) -> tuple[Entry, ...]:
        """As `ConfigSource.concerning`: those of its namespace that select it, and the baseline."""
        namespace = identity.agent.namespace
        place = (namespace, *_labels(identity))
        found = self._concerning.get(place)
        if found is None:
            own = self._by_namespace.get(namespace, self._by_namespace.get("", ()))
            found = self._concerning[place] = tuple(entry for entry in own if _concerns(entry, identity))
            _forget(self._concerning, _MOST_LABELS)
        return found

    def freezes_of(self, identity: Identity) -> tuple[Freeze, ...]:
        """As `ConfigSource.freezes_of`."""
        return freezes_of(self.frozen, identity)

    def config_for(self, identity: Identity, key_id: str, compiler: str = COMPILER) -> ServedConfig | None:
        """As `ConfigSource.config_for`: the entries of its namespace that select its labels, and the baseline."""
        generation = self.generation
        if generation is None:
            return None
        place = (identity.agent.namespace, identity.namespace_uid, key_id, compiler, *_labels(identity))
        served = self._by_labels.get(place)
        if served is None:
            served = self._by_labels[place] = self._serve(generation, identity, key_id, compiler)
            _forget(self._by_labels, _MOST_LABELS)
        return served

    def _serve(self, generation: Generation, identity: Identity, key_id: str, compiler: str) -> ServedConfig:
        entries = self.concerning(identity)
        by_stamp = tuple(entry for entry in entries if not _is_selected(entry, identity.agent.labels))
        floored = _is_floored(generation, identity)
        freezes = self.freezes_of(identity)
        # Entries are told apart by identity, which is safe while the value holds them.
        content = (*map(id, entries), None, *map(id, by_stamp))
        place = (
            identity.agent.namespace,
            identity.namespace_uid,
            key_id,
            compiler,
            floored,
            freezes,
            generation.settings,
            content,
        )
        known = self._documents.get(place)
        if known is not None:
            self._documents.move_to_end(place)
            return known[1]
        served = serve(generation, identity, key_id, compiler, frozen=self.frozen)
        self._documents[place] = entries, served
        self._bytes += len(served.document)
        # What is made for the pods of now stays in `_by_labels`, too; this forgets what is asked for the least.
        while len(self._documents) > _MOST_DOCUMENTS or self._bytes > self._most_bytes:
            _, (_, forgotten) = self._documents.popitem(last=False)
            self._bytes -= len(forgotten.document)
        return served


def serve(
    generation: Generation,
    identity: Identity,
    key_id: str,
    compiler: str = COMPILER,
    *,
    frozen: Iterable[Frozen] = (),
) -> ServedConfig:
    """The config of one pod under a generation. InvalidPolicy if what it selects does not go together.

    Every entry compiled by itself when it was accepted, so only what they are to each other is left to be looked at.
    """
    entries = [entry for entry in generation.entries if _concerns(entry, identity)]
    problems = together([entry.parsed for entry in entries])
    if problems:
        raise InvalidPolicy(tuple(problems))
    document = document_of(entries, generation.settings, identity, key_id, freezes=freezes_of(frozen, identity))
    if _is_floored(generation, identity):
        document["floor"] = Action.CONFIRM.word
    labels = identity.agent.labels
    parts = {(entry.kind, entry.name): entry.part_for(labels) for entry in entries}
    canonical = canonical_form(document, lambda raw: parts[raw.get("kind", "ToolServer"), raw["name"]])
    return ServedConfig(canonical, revision_named(canonical, compiler), generation.settings)


def freezes_of(frozen: Iterable[Frozen], identity: Identity) -> tuple[Freeze, ...]:
    """What is stopped for a pod, the longest first."""
    agent = identity.agent
    return reaching(frozen, agent.namespace, (agent.labels, identity.stamped))


def document_of(
    entries: Iterable[Entry],
    settings: Settings,
    identity: Identity,
    key_id: str,
    *,
    freezes: Iterable[Freeze] = (),
) -> dict[str, Any]:
    """The config document that these entries make, not yet compiled."""
    kept = tuple(entries)
    return config_document(
        namespace=identity.agent.namespace,
        namespace_uid=identity.namespace_uid,
        key_id=key_id,
        settings=settings,
        policies=[entry.to_json() for entry in kept if entry.policy is not None],
        tool_servers=[entry.to_json() for entry in kept if entry.policy is None],
        freezes=freezes,
    )


def _by_namespace(entries: Iterable[Entry]) -> dict[str, tuple[Entry, ...]]:
    """The entries that may concern pods of each namespace; those of no namespace under "" and everywhere."""
    everywhere = tuple(entry for entry in entries if not entry.namespace)
    own: dict[str, list[Entry]] = {"": []}
    for entry in entries:
        if entry.namespace:
            own.setdefault(entry.namespace, []).append(entry)
    return {namespace: (*everywhere, *found) for namespace, found in own.items()}


def _concerns(entry: Entry, identity: Identity) -> bool:
    """Whether a pod gets this: also by the labels it had when it was injected, so that relabelling a running pod adds
    policies and never removes one (SECURITY B2).
    """
    if entry.namespace not in ("", identity.agent.namespace):
        return False
    stamped = identity.stamped
    return _is_selected(entry, identity.agent.labels) or (stamped is not None and _is_selected(entry, stamped))


def _labels(identity: Identity) -> tuple[object, object]:
    """What tells apart the pods of a namespace."""
    stamped = identity.stamped
    return frozenset(identity.agent.labels.items()), None if stamped is None else frozenset(stamped.items())


def _is_selected(entry: Entry, labels: Mapping[str, str]) -> bool:
    return entry.policy is None or selects(entry.policy.pod_selector, labels)


def _is_floored(generation: Generation, identity: Identity) -> bool:
    agent, stamped = identity.agent, identity.stamped
    return any(
        floor.namespace in ("", agent.namespace)
        and (selects(floor.selector, agent.labels) or (stamped is not None and selects(floor.selector, stamped)))
        for floor in generation.floors
    )


def _canonical(part: Mapping[str, Any]) -> bytes:
    """InvalidPolicy where a resource holds what JSON cannot say in exactly one way."""
    try:
        return rfc8785.dumps(dict(part))
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise InvalidPolicy((Problem("spec", f"has no canonical JSON form ({error}); write it otherwise"),)) from error


def _forget(cache: OrderedDict[Any, Any], most: int) -> None:
    while len(cache) > most:
        cache.popitem(last=False)


def _just_read() -> float:
    """Files are looked at several times a second."""
    return 0.0
