"""What the API server lets the caller do to requests: asked once for each verb, tier and namespace of a run."""

import asyncio
from collections.abc import Iterable
from typing import Final, NamedTuple

from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of

_REVIEWS: Final = "authorization.k8s.io/v1"
TIERS: Final = ("confirm", "multi-factor")


class Right(NamedTuple):
    """Doing `verb` to requests of a tier in a namespace; "" is all namespaces at once."""

    verb: str
    tier: str
    namespace: str


class Rights:
    """Answers of the API server, kept as long as the program runs.

    They are for words and footers. The API server asks its authoriser again when a decision is written.
    """

    def __init__(self) -> None:
        self._known: dict[Right, bool] = {}

    def has(self, right: Right) -> bool:
        """Whether the caller has it: here, or everywhere. False for what was not asked."""
        everywhere = right._replace(namespace="")
        return self._known.get(right, False) or self._known.get(everywhere, False)

    async def ask(self, api: KubeAPI, rights: Iterable[Right]) -> None:
        """Ask, all at once, what is not known yet."""
        wanted = [each for each in dict.fromkeys(rights) if each not in self._known and not self.has(each)]
        # In many namespaces most people have one role for all of them: one question then answers for the rest.
        if len({each.namespace for each in wanted}) > 1:
            await self._ask(api, dict.fromkeys(each._replace(namespace="") for each in wanted))
            wanted = [each for each in wanted if not self.has(each)]
        await self._ask(api, wanted)

    async def _ask(self, api: KubeAPI, rights: Iterable[Right]) -> None:
        asked = [each for each in rights if each not in self._known]
        answers = await asyncio.gather(*(_allowed(api, each) for each in asked))
        self._known.update(zip(asked, answers, strict=True))


async def _allowed(api: KubeAPI, right: Right) -> bool:
    attributes = {
        "group": "hitl.dev",
        "resource": "approvalrequests",
        "subresource": right.tier,
        "verb": right.verb,
        "namespace": right.namespace,
    }
    return await may_i(api, attributes)


async def may_i(api: KubeAPI, attributes: dict[str, str]) -> bool:
    """One SelfSubjectAccessReview; every authenticated user may ask."""
    body = {"apiVersion": _REVIEWS, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
    answer = await api.create(path_of(_REVIEWS, "selfsubjectaccessreviews"), body)
    return bool(answer.get("status", {}).get("allowed", False))
