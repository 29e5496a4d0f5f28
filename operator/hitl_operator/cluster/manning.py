"""Whether the people that a policy names may decide at all: the API server is asked for each group (DESIGN 18).

A group that may not approve a tier is a policy whose calls all expire; its author hears of it before an agent does. No
API server knows who is in a group: where people are bound by name, they may be in it, and nothing can be said.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from hitl.errors import HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.policy_conditions import ReviewersAvailable
from hitl.policy.actions import Action
from hitl.policy.spec import Policy, Rule, Undeclared
from hitl.policy.verdicts import Requirement
from hitl_operator.cluster.named_people import named_people

CONFIRM: Final = "confirm"
MULTI_FACTOR: Final = "multi-factor"
_ROLES: Final = {CONFIRM: "hitl-reviewer", MULTI_FACTOR: "hitl-senior-reviewer"}
_PATH: Final = path_of("authorization.k8s.io/v1", "subjectaccessreviews")
_FRESH: Final = 60.0  # seconds for which an answer counts
_PAUSE: Final = 0.02  # seconds between two questions: 50 a second at most, whatever policies name
_MOST_NAMESPACES: Final = 50  # looked at for a ClusterAgentPolicy whose groups have no rights in all namespaces
_MOST_NAMED: Final = 5
_MOST_PEOPLE: Final = 50  # of those who are bound by name in a namespace are asked about; more are taken to be enough

Asked = tuple[str, str]
"""A group and a tier."""

Missing = tuple[str, str, str]
"""A group that may not approve a tier in a namespace."""


@dataclass(frozen=True, slots=True)
class Manned:
    """Whether a policy's groups may decide, and what to tell its author."""

    reason: ReviewersAvailable
    message: str


def asked_by(policy: Policy) -> frozenset[Asked]:
    """The groups that a policy names, each with the tiers that it may be asked about."""
    approval, tiers = policy.approval, _tiers(policy)
    found = set(_of(approval.requirements, tiers & {CONFIRM} or tiers))
    found.update(_of(approval.multi_factor_requirements, tiers & {MULTI_FACTOR}))
    if not approval.multi_factor_requirements:
        found.update(_of(approval.requirements, tiers & {MULTI_FACTOR}))
    for rule in policy.rules:
        found.update(_of(rule.requirements or (), _tiers_of(rule)))
    found.update((group, tier) for step in approval.escalation for group in step.to for tier in tiers)
    return frozenset(found)


class Manning:
    """Asks the API server, and remembers its answers for a minute.

    Args:
        api: may create subjectaccessreviews.
        namespaces: names of those that are gated, for ClusterAgentPolicies.
    """

    def __init__(
        self,
        api: KubeAPI,
        namespaces: Callable[[], Iterable[str]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._namespaces = namespaces
        self._monotonic = monotonic
        self._answers: dict[tuple[str, str, str, str], tuple[bool, float]] = {}
        self._people: dict[str, tuple[list[str], float]] = {}

    async def check(self, policy: Policy) -> Manned:
        """Whether its groups may decide now."""
        asked = sorted(asked_by(policy))
        if not asked:
            return Manned(
                ReviewersAvailable.UNNAMED,
                "No group is named: whoever the API server lets approve the tier decides, which nobody can count; name "
                "groups under spec.approval.reviewers",
            )
        try:
            missing = [
                (group, tier, place) for group, tier in asked for place in await self._missing(policy, group, tier)
            ]
        except HitlError as error:
            return Manned(ReviewersAvailable.UNCHECKED, f"The API server did not answer: {error}")
        if missing:
            return await self._unbound(missing)
        groups = sorted({group for group, _ in asked})
        return Manned(ReviewersAvailable.BOUND, f"May approve what it holds: {', '.join(groups)}")

    def sweep(self) -> None:
        """Forget what is too old to count."""
        oldest = self._monotonic() - _FRESH
        self._answers = {key: answer for key, answer in self._answers.items() if answer[1] >= oldest}
        self._people = {key: people for key, people in self._people.items() if people[1] >= oldest}

    async def _unbound(self, missing: list[Missing]) -> Manned:
        """Of groups that may not approve: that nobody can, or that who can is not known here."""
        try:
            hopeless = [each for each in missing if not await self._anybody(each[2], each[1])]
        except HitlError as error:
            said = f"{_capital(_listed(missing))}. Whether people are bound by name there could not be read: {error}"
            return Manned(ReviewersAvailable.UNCHECKED, said)
        if not hopeless:
            said = f"{_capital(_listed(missing))}. People who are bound by name are not counted"
            return Manned(ReviewersAvailable.BOUND_BY_NAME, f"{said}: their groups are not known before they decide")
        roles = " or ".join(sorted({_ROLES[tier] for _, tier, _ in hopeless}))
        said = f"No approval can be given: {_listed(hopeless)}, and nobody is bound by name there"
        return Manned(ReviewersAvailable.UNBOUND, f"{said}. Bind ClusterRole {roles} to the group")

    async def _anybody(self, namespace: str, tier: str) -> bool:
        """Whether somebody who is bound by name may approve there, whatever groups they are in."""
        known = self._people.get(namespace)
        if known is None or self._monotonic() >= known[1] + _FRESH:
            known = self._people[namespace] = await named_people(self._api, namespace), self._monotonic()
        people, _ = known
        if len(people) > _MOST_PEOPLE:
            return True
        for person in people:
            if await self._may(namespace, "", tier, person=person):
                return True
        return False

    async def _missing(self, policy: Policy, group: str, tier: str) -> list[str]:
        """The namespaces in which a group may not approve a tier."""
        if not policy.is_cluster:
            namespace = policy.ref.namespace
            return [] if await self._may(namespace, group, tier) else [namespace]
        if await self._may("", group, tier):
            return []
        gated = sorted(self._namespaces())[:_MOST_NAMESPACES]
        return [namespace for namespace in gated if not await self._may(namespace, group, tier)]

    async def _may(self, namespace: str, group: str, tier: str, *, person: str = "") -> bool:
        """Whether anybody of that group, or the person of that name, may approve."""
        key = namespace, group, tier, person
        known = self._answers.get(key)
        if known is not None and self._monotonic() < known[1] + _FRESH:
            return known[0]
        await asyncio.sleep(_PAUSE)
        attributes = {"group": "hitl.dev", "resource": "approvalrequests", "subresource": tier, "verb": "approve"}
        if namespace:
            attributes["namespace"] = namespace
        # A group is asked for by a person of it and of no other that means anything, with a name that nobody can have.
        spec = {
            "user": person or "hitl:anybody",
            "groups": [*filter(None, [group]), "system:authenticated"],
            "resourceAttributes": attributes,
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        answer = await self._api.create(_PATH, body)
        allowed = bool(answer["status"].get("allowed"))
        self._answers[key] = allowed, self._monotonic()
        return allowed


def _tiers(policy: Policy) -> frozenset[str]:
    """Those that a policy may hold calls at."""
    found: set[str] = set()
    for rule in policy.rules:
        found |= _tiers_of(rule)
    if policy.undeclared is Undeclared.SCORE:
        found |= _ROLES.keys()
    elif isinstance(policy.undeclared, Action):
        found |= _tiers_of_action(policy.undeclared)
    return frozenset(found)


def _tiers_of(rule: Rule) -> frozenset[str]:
    if rule.action is None:
        return frozenset(_ROLES)
    found = _tiers_of_action(rule.action)
    return found | _tiers_of_action(rule.limit.then) if rule.limit is not None else found


def _tiers_of_action(action: Action) -> frozenset[str]:
    match action:
        case Action.CONFIRM:
            return frozenset({CONFIRM})
        case Action.MULTI_FACTOR:
            return frozenset({MULTI_FACTOR})
        case _:
            return frozenset()


def _of(requirements: Iterable[Requirement], tiers: Iterable[str]) -> Iterator[Asked]:
    return ((group, tier) for each in requirements for group in each.any_of for tier in tiers)


def _listed(missing: list[Missing]) -> str:
    shown = [f"no binding lets group {group} approve {tier} in {where}" for group, tier, where in missing[:_MOST_NAMED]]
    if len(missing) > _MOST_NAMED:
        shown.append(f"and {len(missing) - _MOST_NAMED} more")
    return "; ".join(shown)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
