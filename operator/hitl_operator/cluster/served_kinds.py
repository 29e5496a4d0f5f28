"""Everything of a kind as the API server has it, and whether it serves the kind at all.

A CRD that is deleted takes its objects with it, unasked: that they are gone then is nobody's word about a policy
(SECURITY A7), and what was in force stays so.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from hitl.errors import ApiError, StoreUnavailable
from hitl.kube.api import JSON, LIST_METADATA, ONE_METADATA, KubeAPI
from hitl.kube.manifests import API_VERSION
from hitl.kube.paths import path_of
from hitl_operator.cluster.policy_resources import PLURALS, Resource, path_of_kind
from hitl_operator.cluster.trouble import MEND

_CRDS: Final = "apiextensions.k8s.io/v1", "customresourcedefinitions"
_PAGE: Final = 500  # objects
_FIRST_PAGE: Final = 8
_PAGE_WEIGHT: Final = 4 << 20  # bytes of specs: a page is parsed in one piece, and everything else waits meanwhile
_UNWEIGHED: Final = 1 << 20


class NotServed(StoreUnavailable):
    """The CRD of a kind is gone, or on its way."""

    def __init__(self, api: KubeAPI, kind: str) -> None:
        super().__init__(
            f"the API server {api.server} does not serve {kind}: its CRD {_crd_of(kind)} is not there, or is being "
            f"deleted; what is in force stays so until it is back: {MEND}"
        )


async def must_be_served(api: KubeAPI, kind: str) -> None:
    """Raises NotServed where it is not; ApiError or StoreUnavailable where that cannot be told."""
    try:
        found = await api.get(path_of(*_CRDS, name=_crd_of(kind)), accept=ONE_METADATA)
    except ApiError as error:
        if error.status != 404:
            raise
        raise NotServed(api, kind) from error
    if "deletionTimestamp" in found["metadata"]:
        raise NotServed(api, kind)


async def whole_of(
    api: KubeAPI, kind: str, read: Callable[[Mapping[str, Any]], Resource | None]
) -> tuple[list[Resource], int]:
    """What `read` makes of everything of a kind, and the version as of which that is so; as `KubeAPI`, and NotServed.

    Pages are small where the objects are large (SECURITY B5).
    """
    found: list[Resource] = []
    after, limit = "", _FIRST_PAGE
    while True:
        page = await _page(api, kind, limit=limit, after=after)
        items = [made for each in page.pop("items", None) or () if (made := read(each)) is not None]
        found += items
        after = page["metadata"].get("continue", "")
        if not after:
            return found, int(page["metadata"]["resourceVersion"])
        weight = sum(_UNWEIGHED if each.weight is None else each.weight for each in items)
        limit = min(_PAGE, max(1, _PAGE_WEIGHT * len(items) // max(1, weight)))


async def metadata_of(api: KubeAPI, kind: str) -> tuple[list[dict[str, Any]], int]:
    """The metadata of everything of a kind, and the version as of which that is so; as `KubeAPI`, and NotServed."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = await _page(api, kind, limit=_PAGE, after=after, accept=LIST_METADATA)
        found += [each["metadata"] for each in page.get("items") or ()]
        after = page["metadata"].get("continue", "")
        if not after:
            return found, int(page["metadata"]["resourceVersion"])


async def _page(api: KubeAPI, kind: str, *, limit: int, after: str, accept: str = JSON) -> dict[str, Any]:
    try:
        return await api.list_page(path_of_kind(kind), limit=limit, after=after, accept=accept)
    except ApiError as error:
        if error.status != 404:
            raise
        raise NotServed(api, kind) from error


def _crd_of(kind: str) -> str:
    return f"{PLURALS[kind]}.{API_VERSION.split('/')[0]}"
