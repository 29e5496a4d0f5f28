"""How much is read of one namespace, so that nobody's policies keep everybody else's waiting (SECURITY B5): pure.

What is too much is shed within its own namespace: the oldest resources are read, the others are refused by name. The
baseline is not counted, because only whoever runs the cluster writes it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from hitl.errors import Problem
from hitl.policy.weights import TOO_HEAVY, weight_problem
from hitl_operator.cluster.policy_resources import Key, Resource

MOST_RESOURCES: Final = 200  # policies and tool servers of one namespace
MOST_WEIGHT: Final = 2 << 20  # bytes of their specs together; a sidecar is sent all that concern its pod

T = TypeVar("T")


def beyond(resources: Sequence[Resource]) -> Mapping[Key, Problem]:
    """Those that are too many for their namespace, and why.

    Args:
        resources: everything that is written, oldest first. As nothing comes in before what is there already, who is
            among the first in number stays so.
    """
    found: dict[Key, Problem] = {}
    number: Counter[str] = Counter()
    weight: Counter[str] = Counter()
    total = Counter(each.namespace for each in resources)
    for each in resources:
        namespace = each.namespace
        if not namespace:
            continue
        if number[namespace] >= MOST_RESOURCES:
            found[each.key] = _too_many(namespace, total[namespace])
            continue
        number[namespace] += 1
        if each.weight is None or weight_problem(each.weight):
            continue  # refused by itself, at no cost
        if weight[namespace] + each.weight > MOST_WEIGHT:
            found[each.key] = _too_heavy(namespace, each.weight)
            continue
        weight[namespace] += each.weight
    return found


def in_turns(items: Iterable[T], group: Callable[[T], object]) -> Iterator[T]:
    """The first of each group, then the second of each, and so on: a group waits for others by their number alone."""
    waiting: dict[object, list[T]] = {}
    for item in items:
        waiting.setdefault(group(item), []).append(item)
    turns = [iter(each) for each in waiting.values()]
    while turns:
        left = []
        for turn in turns:
            for item in turn:
                yield item
                left.append(turn)
                break
        turns = left


def _too_many(namespace: str, count: int) -> Problem:
    return Problem(
        "metadata.namespace",
        f"{namespace} has {count} policies and tool servers, the oldest {MOST_RESOURCES} are read and this is none of "
        "them; merge some, or remove what is not needed",
        TOO_HEAVY,
    )


def _too_heavy(namespace: str, weight: int) -> Problem:
    return Problem(
        "metadata.namespace",
        f"the policies and tool servers of {namespace} may have {MOST_WEIGHT >> 10} KiB together as JSON, and the "
        f"older ones leave no place for the {max(1, weight >> 10)} KiB of this one; shorten or remove some",
        TOO_HEAVY,
    )
