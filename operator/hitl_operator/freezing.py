"""Which pods and which requests a freeze stops, as the hub knows them (pure; DESIGN 7, step 2, and 8)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from hitl.approvals.requests import ApprovalRequest
from hitl.policy.config import MOST_FREEZES
from hitl.policy.freezes import Freeze
from hitl.policy.globs import normalise
from hitl.policy.selectors import selects
from hitl.policy.spec import PodSelector

Labels = Mapping[str, str]

LabelsOf = Callable[[ApprovalRequest], Sequence[Labels]]
"""The labels of the pods that a request may be of: of its own, now and at injection; where that pod is gone, of the
others of its workload. Empty where none of them is known."""

_CROWDED: Final = "more freezes than can be told one by one"


@dataclass(frozen=True, slots=True)
class Frozen:
    """A freeze, and the pods that it is for.

    Attributes:
        namespace: of the pods; empty: every namespace.
        selector: which of them; empty: all.
    """

    freeze: Freeze
    namespace: str = ""
    selector: PodSelector = field(default_factory=PodSelector)

    def reaches(self, namespace: str, labels: Iterable[Labels | None]) -> bool:
        """Whether a pod is meant. By the labels that it had when it was injected, too: relabelling a running pod must
        not thaw it (SECURITY B2).
        """
        if self.namespace not in ("", namespace):
            return False
        if self.selector == PodSelector():
            return True
        return any(selects(self.selector, each) for each in labels if each is not None)


def reaching(frozen: Iterable[Frozen], namespace: str, labels: Sequence[Labels | None]) -> tuple[Freeze, ...]:
    """What is stopped for a pod. Where that is more than a config can carry, everything is."""
    found = [each.freeze for each in frozen if each.reaches(namespace, labels)]
    whole = [freeze for freeze in found if not freeze.tools]
    if whole:
        return (min(whole, key=lambda each: each.order),)
    if len(found) > MOST_FREEZES:
        last = min(found, key=lambda each: each.order)
        return (replace(last, tools=(), reason=f"{_CROWDED}; {last.reason}"[:500]),)
    return tuple(sorted(found, key=lambda each: each.order))


def stopping(frozen: Iterable[Frozen], request: ApprovalRequest, labels_of: LabelsOf) -> Freeze | None:
    """The freeze that ends a request; None: it may go on."""
    call = request.spec.call
    name = f"{normalise(call.server)}/{normalise(call.tool)}"
    meant = [each for each in frozen if each.freeze.covers(name) and each.namespace in ("", request.namespace)]
    if not meant:
        return None
    labels = labels_of(request)
    found = [each.freeze for each in meant if each.reaches(request.namespace, labels)]
    return min(found, key=lambda each: each.order, default=None)


def next_end(frozen: Iterable[Frozen]) -> datetime | None:
    """When the first of them is over; None: not by itself."""
    return min((each.freeze.until for each in frozen if each.freeze.until is not None), default=None)
