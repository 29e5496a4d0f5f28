"""Reading from the API server, its "no" in words with a next step."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hitl.errors import ApiError, Forbidden, HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of

_NOT_KNOWN: Final = 401
_NOT_ALLOWED: Final = 403
_NOT_THERE: Final = 404
EVERYWHERE: Final = "all namespaces"
# RBAC's own sentences; what follows a colon says why, e.g. that a role is missing.
_PLAIN: Final = re.compile(r'User "(.+?)" cannot \w+ resource "[^"]+"[^:]*((?:: .*)?)')
_IMPERSONATING: Final = re.compile(r'User "(.+?)" cannot impersonate[\w:-]* resource ')
NOT_INSTALLED: Final = "hitl is not installed on this cluster, or not whole: it has no {kind}"


@contextmanager
def reading(what: str, whose: str, role: str, doctor: str) -> Iterator[None]:
    """Around a read of a whole collection.

    Args:
        what: the resource in the plural, e.g. ``approvalrequests``.
        whose: where, as the end of "in …".
        role: the ClusterRole that would help.
        doctor: the command that looks for what is missing.

    Raises:
        Forbidden: the caller may not, or is not known.
        HitlError: the cluster has no such resource.
    """
    try:
        yield
    except HitlError as error:
        said = error if isinstance(error, ApiError) else error.__cause__
        if not isinstance(said, ApiError):
            raise
        if said.status == _NOT_THERE:
            raise HitlError(f"{NOT_INSTALLED.format(kind=f'{what}.hitl.dev')}\nWhat is missing: {doctor}") from error
        step = f"role {role} has verb list on {what}.hitl.dev"
        if whose == EVERYWHERE:
            step += ", here with a ClusterRoleBinding; in a namespace where you have it: -n NS"
        raise denied(said, f"list {what} in {whose}", step) from error


async def need_namespace(api: KubeAPI, name: str, another: str) -> None:
    """Refuse a namespace that is not there, where the caller may know. `another`: how to name one that is."""
    try:
        await api.get(path_of("v1", "namespaces", name=name))
    except ApiError as error:
        if error.status == _NOT_THERE:
            raise HitlError(
                f"there is no namespace {name}\nWhich there are: kubectl get namespaces    {another}"
            ) from error


def denied(error: ApiError, doing: str, step: str) -> HitlError:
    """What an API server's "no" to `doing` means for a person; `step`: what would help.

    RBAC's sentence repeats what was asked: of a plain one only who the caller is, and what follows, is passed on.
    """
    if error.status == _NOT_KNOWN:
        return Forbidden(
            f"the API server does not know you: {error.message}\nLog in again; who you are: kubectl auth whoami"
        )
    if error.status == _NOT_ALLOWED:
        said = error.message.partition(" is forbidden: ")[2] or error.message
        if whom := _IMPERSONATING.search(said):
            return Forbidden(
                f"you may not act as somebody else: the API server knows you as {whom[1]}\n"
                "Leave out --as and --as-group, or have verb impersonate on users and groups"
            )
        if plain := _PLAIN.fullmatch(said):
            said = f"the API server knows you as {plain[1]}{plain[2]}"
        return Forbidden(f"you may not {doing}: {said}\n{step[:1].upper()}{step[1:]}")
    return error
