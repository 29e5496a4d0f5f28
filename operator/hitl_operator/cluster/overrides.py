"""What is frozen, out of the PolicyOverrides that are written: pure.

One that cannot be read is not passed over: somebody wanted to stop something, and nobody knows how much of it. Until it
is deleted every call of its namespace is refused, or of every namespace where it stands in the operator's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from hitl.errors import InvalidPolicy, Problem
from hitl.kube.policy_conditions import Accepted
from hitl.policy.config import MOST_FREEZES
from hitl.policy.escaping import as_plain
from hitl.policy.freezes import Freeze, clock
from hitl.policy.parsing_freezes import KIND, parse_freeze
from hitl.policy.parsing_reader import UNKNOWN_KEY
from hitl.policy.spec import PodSelector
from hitl.policy.weights import weight_problem
from hitl_operator.cluster import accepted_words
from hitl_operator.cluster.policy_resources import Key, Resource
from hitl_operator.freezing import Frozen

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


def judge(resources: Iterable[Resource], now: datetime, *, operator_namespace: str) -> Mapping[Key, Judged]:
    """What becomes of every PolicyOverride; one whose time is over stops nothing.

    Args:
        resources: as they are written.
        now: aware, UTC; the operator's clock.
        operator_namespace: where they stop pods of every namespace.
    """
    found: dict[Key, Judged] = {}
    read: Counter[str] = Counter()
    crowded: dict[str, Judged] = {}
    for each in sorted((each for each in resources if each.kind == KIND), key=lambda one: (one.created, one.key)):
        namespace = each.namespace
        read[namespace] += 1
        if read[namespace] <= MOST_FREEZES:
            found[each.key] = _judged(each, now, operator_namespace)
            continue
        # As many as nobody needs: they cost no more than one, and stop more, not less (SECURITY B5).
        first = crowded.setdefault(namespace, _crowded(each, operator_namespace))
        found[each.key] = replace(first, resource=each)
    return dict(sorted(found.items()))


def _crowded(resource: Resource, operator_namespace: str) -> Judged:
    why = f"the namespace has more than {MOST_FREEZES} of them, and this is not among the oldest; delete some"
    judged = _stopped(resource, _reach(resource, operator_namespace), why)
    return replace(judged, reason=Accepted.EXCESSIVE)


def _reach(resource: Resource, operator_namespace: str) -> str:
    """The namespace whose pods it is for; empty: all of them."""
    return "" if resource.namespace == operator_namespace else resource.namespace


def _judged(resource: Resource, now: datetime, operator_namespace: str) -> Judged:
    namespace = _reach(resource, operator_namespace)
    try:
        freeze, selector = _read(resource)
    except InvalidPolicy as error:
        return _stopped(resource, namespace, accepted_words.invalid(error.problems))
    except Exception as error:  # noqa: BLE001 - whatever we stumble over, what people wanted to stop is stopped
        return _stopped(resource, namespace, f"cannot be read ({type(error).__name__}); please report it")
    if freeze.until is not None and freeze.until <= now:
        return Judged(resource, None, Accepted.VALID, f"It ended at {clock(freeze.until)}, and stops nothing any more")
    what = ", ".join(glob.text for glob in freeze.tools[:4]) or "every call"
    more = f" and {len(freeze.tools) - 4} more" if len(freeze.tools) > 4 else ""
    pods = "of the pods that it selects" if selector != PodSelector() else "of every gated pod"
    where = f"in namespace {namespace}" if namespace else "in every namespace"
    until = f"until {clock(freeze.until)}" if freeze.until is not None else "until it is deleted"
    return Judged(
        resource,
        Frozen(freeze, namespace, selector),
        Accepted.VALID,
        f"Refuses {what}{more} {pods} {where} {until}",
    )


def _read(resource: Resource) -> tuple[Freeze, PodSelector]:
    problems = [Problem(key, "unknown key; what it stops stands under spec", UNKNOWN_KEY) for key in resource.foreign]
    if problem := weight_problem(resource.weight):
        problems.append(problem)
    if problems:
        raise InvalidPolicy(tuple(problems))
    return parse_freeze(resource.metadata, resource.spec)


def _stopped(resource: Resource, namespace: str, why: str) -> Judged:
    freeze = Freeze(
        resource.name,
        resource.namespace,
        resource.uid,
        resource.generation,
        by=as_plain(f"PolicyOverride {resource.namespace}/{resource.name}"),
        reason=_UNREADABLE,
    )
    where = f"of namespace {namespace}" if namespace else "of every namespace"
    message = f"{why}. Until it is deleted every call of every gated pod {where} is refused"
    return Judged(resource, Frozen(freeze, namespace), Accepted.INVALID, message)
