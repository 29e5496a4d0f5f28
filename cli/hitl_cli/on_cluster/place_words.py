"""What the parts of this package need of their place, so that they need not know all of it."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from hitl.approvals.requests import ApprovalRequest
from hitl_cli.on_cluster.rights import Rights


class PlaceWords(Protocol):
    """See `hitl_cli.on_cluster.place.ClusterPlace`."""

    rights: Rights
    now: Callable[[], datetime]

    @property
    def namespace(self) -> str | None: ...

    @property
    def where(self) -> str: ...

    def hint(self, *words: str, about: ApprovalRequest | None = None) -> str: ...
