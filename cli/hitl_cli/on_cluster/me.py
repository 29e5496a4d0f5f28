"""Who the API server says the caller is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hitl.errors import ApiError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_cli.on_cluster.reading import denied

_REVIEWS: Final = "authentication.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Me:
    """The caller, as admission policies see them.

    Attributes:
        extra: further claims, e.g. the methods of their login.
    """

    name: str
    groups: tuple[str, ...]
    extra: Mapping[str, tuple[str, ...]]

    @property
    def cannot_be_a_reviewer(self) -> str:
        """Why no decision of theirs is ever taken (SECURITY C1); empty for people."""
        if "system:masters" in self.groups:
            return "a member of system:masters"
        if self.name.startswith("system:"):
            return "not a person but a program or a node"
        return ""


async def read_me(api: KubeAPI) -> Me:
    """Ask who the caller is; every authenticated user may.

    Raises:
        Forbidden: the API server does not know them, or lets nobody ask.
    """
    body = {"apiVersion": _REVIEWS, "kind": "SelfSubjectReview"}
    try:
        answer = await api.create(path_of(_REVIEWS, "selfsubjectreviews"), body)
    except ApiError as error:
        raise denied(error, "ask who you are", "what kubectl says: kubectl auth whoami") from error
    user: Mapping[str, Any] = answer.get("status", {}).get("userInfo", {})
    extra = {str(key): tuple(map(str, values)) for key, values in user.get("extra", {}).items()}
    return Me(str(user.get("username", "")), tuple(user.get("groups", ())), extra)
