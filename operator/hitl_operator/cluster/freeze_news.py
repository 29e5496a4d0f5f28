"""Tells people what was frozen and what is no longer, by Events beside the PolicyOverride.

Every replica says it, with or without the lease: an Event's name follows from what it says, so it is there once. Who
froze is known, because the API server compared the name with the caller; who deleted a PolicyOverride stands in its
audit log alone.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from hitl.kube.manifests import API_VERSION
from hitl.policy.freezes import frozen_words
from hitl.policy.parsing_freezes import KIND
from hitl_operator.cluster.acceptance import Acceptance
from hitl_operator.cluster.events import NORMAL, WARNING, About, Said
from hitl_operator.cluster.policy_resources import Resource
from hitl_operator.freezing import Frozen


class Source(Protocol):
    """What became of everything that is written."""

    acceptance: Acceptance | None
    listeners: list[Callable[[], None]]


class FreezeNews:
    """Tells each freeze and each end of one."""

    def __init__(self, source: Source, say: Callable[[Said], None]) -> None:
        """Listens from now on."""
        self._source = source
        self._say = say
        self._known: Mapping[str, Frozen] = {}
        source.listeners.append(self._look)

    def _look(self) -> None:
        acceptance = self._source.acceptance
        if acceptance is None:
            return
        written = {each.resource.uid: each.resource for each in acceptance.outcomes.values()}
        now = {each.freeze.uid: each for each in acceptance.frozen}
        for uid in now.keys() - self._known.keys():
            outcome = acceptance.outcomes[KIND, now[uid].freeze.namespace, now[uid].freeze.name]
            self._tell(now[uid], "Frozen", f"{frozen_words(now[uid].freeze)}. {outcome.message}", WARNING)
        for uid in self._known.keys() - now.keys():
            self._tell(self._known[uid], "Thawed", _end(self._known[uid], written.get(uid)), NORMAL)
        self._known = now

    def _tell(self, frozen: Frozen, reason: str, words: str, kind: str) -> None:
        freeze = frozen.freeze
        about = About(API_VERSION, KIND, freeze.namespace, freeze.name, freeze.uid)
        self._say(Said(about, reason, words, kind, once=reason))


def _end(frozen: Frozen, resource: Resource | None) -> str:
    was = frozen_words(frozen.freeze)
    if resource is not None:
        return f"its time is over; it was {was}"
    return f"it was deleted, by whom the API server's audit log says; it was {was}"
