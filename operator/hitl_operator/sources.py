"""The config in force: what was accepted last, and the document of it that each sidecar gets (DESIGN 18, SECURITY H1).

A source of policies (files here, informers on a cluster) publishes whole generations into a `ConfigBook`; the hub only
ever reads the book. Nothing is handed out before the first generation, so an absent config is never an empty one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import rfc8785

from hitl.policy.actions import Action
from hitl.policy.config import COMPILER, compile_config, config_document, revision_of
from hitl.policy.selectors import selects
from hitl.policy.settings import Settings
from hitl.policy.spec import Policy, ToolServer
from hitl.wire.identity import Identity

_MOST_CACHED = 1024  # documents; one for each combination of labels in use


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted resource, as written.

    Attributes:
        kind: AgentPolicy, ClusterAgentPolicy or ToolServer.
        namespace: empty for a ClusterAgentPolicy.
        generation: counts changes of `spec`, from 1.
        parsed: what it means.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    spec: Mapping[str, Any]
    parsed: Policy | ToolServer

    @property
    def policy(self) -> Policy | None:
        """The parsed policy; None for a ToolServer."""
        return self.parsed if isinstance(self.parsed, Policy) else None

    def to_json(self) -> dict[str, Any]:
        """As it stands in config documents and in last-good.json."""
        own = {"name": self.name, "uid": self.uid, "generation": self.generation, "spec": dict(self.spec)}
        return own if self.kind == "ToolServer" else {"kind": self.kind, "namespace": self.namespace, **own}


@dataclass(frozen=True, slots=True)
class Generation:
    """A set of resources that was accepted together.

    Attributes:
        strict: an invalid update has stood for longer than `invalidGrace`: Allow and Notify become Confirm (C6).
    """

    entries: tuple[Entry, ...]
    settings: Settings
    strict: bool = False


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

    def config_for(self, identity: Identity, key_id: str, compiler: str = COMPILER) -> ServedConfig | None:
        """The config of one pod, named under its sidecar's compiler version; None while there is none."""
        ...

    async def changed(self, seen: int) -> int:
        """Waits until `version` is another than `seen` and returns it."""
        ...


class ConfigBook:
    """A `ConfigSource` into which whole generations are published."""

    def __init__(self) -> None:
        self.generation: Generation | None = None
        self._version = 0
        self._served: OrderedDict[tuple[object, ...], ServedConfig] = OrderedDict()
        self._news = asyncio.Event()

    @property
    def version(self) -> int:
        """As `ConfigSource.version`."""
        return self._version

    @property
    def settings(self) -> Settings:
        """As `ConfigSource.settings`."""
        return self.generation.settings if self.generation is not None else Settings()

    def publish(self, generation: Generation) -> None:
        """Put a generation in force for everybody."""
        self.generation = generation
        self._version += 1
        self._served.clear()
        self._news.set()
        self._news = asyncio.Event()

    async def changed(self, seen: int) -> int:
        """As `ConfigSource.changed`."""
        while self._version == seen:
            await self._news.wait()
        return self._version

    def config_for(self, identity: Identity, key_id: str, compiler: str = COMPILER) -> ServedConfig | None:
        """As `ConfigSource.config_for`: the entries of its namespace that select its labels, and the baseline."""
        generation = self.generation
        if generation is None:
            return None
        agent = identity.agent
        place = (agent.namespace, identity.namespace_uid, key_id, compiler, frozenset(agent.labels.items()))
        served = self._served.get(place)
        if served is None:
            served = serve(generation, identity, key_id, compiler)
            self._served[place] = served
            if len(self._served) > _MOST_CACHED:
                self._served.popitem(last=False)
        return served


def serve(generation: Generation, identity: Identity, key_id: str, compiler: str = COMPILER) -> ServedConfig:
    """The config of one pod under a generation. InvalidPolicy if what it selects does not compile."""
    agent = identity.agent
    entries = [entry for entry in generation.entries if _concerns(entry, agent.namespace, agent.labels)]
    document = document_of(entries, generation.settings, identity, key_id)
    if generation.strict:
        document["floor"] = Action.CONFIRM.word
    compile_config(document)
    return ServedConfig(rfc8785.dumps(document), revision_of(document, compiler), generation.settings)


def document_of(entries: Iterable[Entry], settings: Settings, identity: Identity, key_id: str) -> dict[str, Any]:
    """The config document that these entries make, not yet compiled."""
    kept = tuple(entries)
    return config_document(
        namespace=identity.agent.namespace,
        namespace_uid=identity.namespace_uid,
        key_id=key_id,
        settings=settings,
        policies=[entry.to_json() for entry in kept if entry.policy is not None],
        tool_servers=[entry.to_json() for entry in kept if entry.policy is None],
    )


def _concerns(entry: Entry, namespace: str, labels: Mapping[str, str]) -> bool:
    if entry.policy is None:
        return entry.namespace in ("", namespace)
    if not entry.policy.is_cluster and entry.namespace != namespace:
        return False
    return selects(entry.policy.pod_selector, labels)
