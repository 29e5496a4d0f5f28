"""Where a resource is found on an API server."""

from typing import Final
from urllib.parse import quote

_NAMES_MAY_HAVE: Final = "-._~:@!$'()*+,;="


def path_of(
    api_version: str, plural: str, namespace: str | None = None, name: str | None = None, subresource: str | None = None
) -> str:
    """The path of a collection, of one resource in it, or of a part of that: ``/apis/hitl.dev/v1alpha1/…``.

    Args:
        api_version: ``v1`` or ``group/version``.
        plural: lower-case plural of the kind, e.g. ``approvalrequests``.
        namespace: None for cluster-scoped resources and for a collection over all namespaces.
        name: None for the collection.
        subresource: e.g. ``status``; needs a name, but where the API has none (``selfsubjectreviews``).
    """
    root = "apis" if "/" in api_version else "api"
    parts = [root, *api_version.split("/")]
    if namespace is not None:
        parts += ["namespaces", namespace]
    parts += [part for part in (plural, name, subresource) if part is not None]
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{parts}: every part of a path needs a name")
    return "/" + "/".join(quote(part, safe=_NAMES_MAY_HAVE) for part in parts)
