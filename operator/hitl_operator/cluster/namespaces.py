"""What the hub knows by heart of namespaces: their uids, which go into every digest, and which of them are gated."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from hitl.errors import HitlError, InvalidInput
from hitl.kube.api import KubeAPI
from hitl.kube.marks import INJECTION
from hitl.kube.paths import path_of
from hitl.kube.reflector import Reflector
from hitl.kube.unprotected import gated_since
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.logs import Log

CLUSTER: Final = "kube-system"
"""The namespace whose uid stands for the cluster."""

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace.

    Attributes:
        is_gated: it carries the injection label.
        is_ending: it is being deleted.
        gated_since: when it got that label, as far as it can be told.
    """

    name: str
    uid: str
    labels: Mapping[str, str]
    is_ending: bool = False
    gated_since: datetime | None = None

    @property
    def is_gated(self) -> bool:
        """Whether its pods are to be gated."""
        return self.labels.get(INJECTION) == "enabled"


class NamespaceCache:
    """All namespaces of the cluster, kept up to date by `run`."""

    def __init__(self, api: KubeAPI) -> None:
        self.listeners: list[Callable[[str], None]] = []
        self.trouble = Trouble(api, "namespaces-not-followed", meaning="what was known of them is gone by")
        self._reflector: Reflector[Namespace] = Reflector(
            api,
            path_of("v1", "namespaces"),
            keep=_slim,
            on_change=self._changed,
            on_trouble=self._report,
            on_heard=self.trouble.over,
            metadata_only=True,
        )

    @property
    def synced(self) -> asyncio.Event:
        """Set once all of them are known."""
        return self._reflector.synced

    @property
    def items(self) -> Mapping[tuple[str, str], Namespace]:
        """By ("", name)."""
        return self._reflector.items

    def get(self, name: str) -> Namespace | None:
        """A namespace; None for one that is not there, or that nobody has heard of yet."""
        return self._reflector.items.get(("", name))

    async def cluster_uid(self) -> str:
        """Uid of the cluster, once it is known."""
        await self.synced.wait()
        return self._reflector.items["", CLUSTER].uid

    async def run(self) -> None:
        """Follow the API server until cancelled."""
        await self._reflector.run()

    def _changed(self, key: tuple[str, str], _old: Namespace | None, _new: Namespace | None) -> None:
        for listener in self.listeners:
            listener(key[1])

    def _report(self, trouble: HitlError) -> None:
        if isinstance(trouble, InvalidInput):
            _log.error("namespace-passed-over", problem=trouble, meaning="its pods get no config")
        else:
            self.trouble.tell(trouble)


def _slim(found: Mapping[str, Any]) -> Namespace:
    metadata = found["metadata"]
    labels = dict(metadata.get("labels") or {})
    return Namespace(
        metadata["name"],
        metadata["uid"],
        labels,
        is_ending="deletionTimestamp" in metadata,
        gated_since=gated_since(metadata),
    )
