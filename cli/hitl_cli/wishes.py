"""What a reviewer wants to say about a request, before it is made into a decision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from hitl.approvals.requests import Category, DecisionKind


def verb_of(kind: DecisionKind) -> str:
    """The right that a decision of this kind takes."""
    match kind:
        case DecisionKind.APPROVED:
            return "approve"
        case DecisionKind.DENIED:
            return "deny"
        case DecisionKind.OVERRIDDEN:
            return "override"
        case never:
            assert_never(never)


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
        verb = verb_of(self.kind)
        return (verb,) if self.patch is None else (verb, "edit")
