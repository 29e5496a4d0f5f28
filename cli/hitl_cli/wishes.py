"""What a reviewer wants to say about a request, before it is made into a decision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hitl.approvals.requests import Category, DecisionKind


@dataclass(frozen=True, slots=True)
class Wish:
    """What a reviewer wants to say about a request."""

    kind: DecisionKind
    reason: str = ""
    category: Category | None = None
    patch: Mapping[str, Any] | None = None

    @property
    def verbs(self) -> tuple[str, ...]:
        """What they must be allowed to do to it."""
        verb = "approve" if self.kind is DecisionKind.APPROVED else "deny"
        return (verb,) if self.patch is None else (verb, "edit")
