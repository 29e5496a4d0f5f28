"""What is frozen, out of the PolicyOverrides that are written: pure but for what was read before.

One that cannot be read is not passed over: somebody wanted to stop something, and nobody knows how much of it. Until it
is deleted every call of its namespace is refused, or of every namespace where it stands in the operator's.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from hitl.errors import InvalidPolicy, Problem
from hitl.kube.policy_conditions import Accepted
from hitl.policy.config import MOST_FREEZES
from hitl.policy.escaping import as_plain
from hitl.policy.freezes import Freeze, clock
from hitl.policy.parsing_freezes import KIND, end_of, parse_freeze
from hitl.policy.parsing_reader import UNKNOWN_KEY
from hitl.policy.spec import PodSelector
from hitl.policy.weights import weight_problem
from hitl_operator.cluster import accepted_words
from hitl_operator.cluster.policy_resources import Key, Resource
from hitl_operator.freezing import Frozen

MOST_WEIGHT: Final = 128 << 10  # bytes of the specs of one namespace together; its sidecars are sent all of them

_CROWDED: Final = "its namespace has more freezes than are read, so everything is stopped; see its status"
_UNREADABLE: Final = "it cannot be read, so everything is stopped until it is deleted; see its status"


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one PolicyOverride.

    Attributes:
        frozen: what it stops; None: its time is over.
        reason, message: of the condition Accepted.
    """

    resource: Resource
    frozen: Frozen | None
    reason: Accepted
    message: str


class Overrides:
    """Judges PolicyOverrides, each of which is read once."""

    def __init__(self, operator_namespace: str) -> None:
        """`operator_namespace`: where they stop pods of every namespace."""
        self._operator_namespace = operator_namespace
        self._read: Mapping[tuple[Any, ...], Judged] = {}

    def judge(self, resources: Iterable[Resource], now: datetime) -> Mapping[Key, Judged]:
        """What becomes of every PolicyOverride; one whose time is over stops nothing.

        Args:
            resources: as they are written; what is not among them is forgotten.
            now: aware, UTC; the operator's clock.
        """
        found: dict[Key, Judged] = {}
        number: Counter[str] = Counter()
        weight: Counter[str] = Counter()
        crowds: dict[str, list[Resource]] = {}
        read: dict[tuple[Any, ...], Judged] = {}
        for each in sorted((each for each in resources if each.kind == KIND), key=lambda one: (one.created, one.key)):
            namespace = each.namespace
            end = end_of(each.spec)
            # Nobody deletes those that ended by themselves, so they take nobody's place.
            if end is None or end > now:
                number[namespace] += 1
                if weight_problem(each.weight) is None:  # otherwise it is refused by itself, at no cost
                    weight[namespace] += each.weight or 0
                if number[namespace] > MOST_FREEZES or weight[namespace] > MOST_WEIGHT:
                    # More than anybody needs: they cost no more than one, and stop more, not less (SECURITY B5).
                    crowds.setdefault(namespace, []).append(each)
                    continue
            content = (*each.content, each.foreign, each.weight)
            known = self._read.get(content) or _judged(each, self._operator_namespace)
            read[content] = known
            found[each.key] = _at(replace(known, resource=each), now, self._operator_namespace)
        for crowd in crowds.values():
            found.update(_crowded(crowd, self._operator_namespace))
        self._read = read
        return dict(sorted(found.items()))


def _crowded(crowd: Sequence[Resource], operator_namespace: str) -> Iterator[tuple[Key, Judged]]:
    """One freeze for all of them, until the last one ends."""
    first, ends = crowd[0], [end_of(each.spec) for each in crowd]
    known = [each for each in ends if each is not None]
    namespace = _reach(first, operator_namespace)
    until = max(known) if len(known) == len(ends) else None
    frozen = Frozen(_everything(first, _CROWDED, until), namespace)
    message = (
        f"the namespace has more than {MOST_FREEZES} that have not ended, or more than {MOST_WEIGHT >> 10} KiB of them "
        f"as JSON, and this is not among the oldest; delete some. Until then every call {_of_pods(namespace)} is "
        "refused"
    )
    for each in crowd:
        yield each.key, Judged(each, frozen, Accepted.EXCESSIVE, message)


def _reach(resource: Resource, operator_namespace: str) -> str:
    """The namespace whose pods it is for; empty: all of them."""
    return "" if resource.namespace == operator_namespace else resource.namespace


def _judged(resource: Resource, operator_namespace: str) -> Judged:
    """What becomes of one until its time is over."""
    namespace = _reach(resource, operator_namespace)
    try:
        return _understood(resource, namespace)
    except Exception as error:  # noqa: BLE001 - whatever we stumble over, what people wanted to stop is stopped
        return _stumbled(resource, namespace, error)


def _understood(resource: Resource, namespace: str) -> Judged:
    try:
        freeze, selector = _read(resource)
    except InvalidPolicy as error:
        return _stopped(resource, namespace, accepted_words.invalid(error.problems))
    message = _effect(freeze, namespace, selector)
    return Judged(resource, Frozen(freeze, namespace, selector), Accepted.VALID, message)


def _at(judged: Judged, now: datetime, operator_namespace: str) -> Judged:
    """The same at this time."""
    try:
        until = judged.frozen.freeze.until if judged.frozen is not None else None
        if until is None or until > now:
            return judged
        return replace(judged, frozen=None, message=f"It ended at {clock(until)}, and stops nothing any more")
    except Exception as error:  # noqa: BLE001 - as above
        return _stumbled(judged.resource, _reach(judged.resource, operator_namespace), error)


def _stumbled(resource: Resource, namespace: str, error: Exception) -> Judged:
    return _stopped(resource, namespace, f"cannot be read ({type(error).__name__}); please report it")


def _effect(freeze: Freeze, namespace: str, selector: PodSelector) -> str:
    what = ", ".join(glob.text for glob in freeze.tools[:4]) or "every call"
    more = f" and {len(freeze.tools) - 4} more" if len(freeze.tools) > 4 else ""
    pods = "of the pods that it selects" if selector != PodSelector() else "of every gated pod"
    where = f"in namespace {namespace}" if namespace else "in every namespace"
    until = f"until {clock(freeze.until)}" if freeze.until is not None else "until it is deleted"
    return f"Refuses {what}{more} {pods} {where} {until}"


def _read(resource: Resource) -> tuple[Freeze, PodSelector]:
    problems = [Problem(key, "unknown key; what it stops stands under spec", UNKNOWN_KEY) for key in resource.foreign]
    if problem := weight_problem(resource.weight):
        problems.append(problem)
    if problems:
        raise InvalidPolicy(tuple(problems))
    return parse_freeze(resource.metadata, resource.spec)


def _stopped(resource: Resource, namespace: str, why: str) -> Judged:
    message = f"{why}. Until it is deleted every call {_of_pods(namespace)} is refused"
    return Judged(resource, Frozen(_everything(resource, _UNREADABLE), namespace), Accepted.INVALID, message)


def _everything(resource: Resource, reason: str, until: datetime | None = None) -> Freeze:
    return Freeze(
        resource.name,
        resource.namespace,
        resource.uid,
        resource.generation,
        by=as_plain(f"PolicyOverride {resource.namespace}/{resource.name}"),
        reason=reason,
        until=until,
    )


def _of_pods(namespace: str) -> str:
    return f"of every gated pod of {f'namespace {namespace}' if namespace else 'every namespace'}"
