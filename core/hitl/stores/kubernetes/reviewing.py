"""A person's own entry on a request: checked here for the words, by the API server for the truth."""

import asyncio
import hashlib
import random
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Final

from hitl.approvals.requests import ApprovalRequest, Decision, Note
from hitl.approvals.transitions import with_decision, with_note
from hitl.errors import ApiError, StoreUnavailable
from hitl.kube.api import KubeAPI
from hitl.stores.kubernetes.objects import entry_of, path_to
from hitl.stores.kubernetes.refusals import of_deciding

# How often a write that others overtook is tried again; each time one of them got in, so a crowd of this size does.
_TRIES: Final = 40
_LONGEST_MANAGER: Final = 128  # characters, by the API server


class Reviewer:
    """Writes entries in the name of whoever the KubeAPI speaks for."""

    def __init__(
        self,
        api: KubeAPI,
        get: Callable[[str, str], Coroutine[Any, Any, ApprovalRequest]],
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._get = get
        self._now = now

    async def enter(self, namespace: str, name: str, entry: Decision | Note) -> dict[str, Any]:
        """Apply one entry; returns the object as stored. Errors as `ReviewerStore.decide` and `note` say.

        Bound to the version that was checked: what was found to be right is what is written, and a second try of the
        same entry finds the first one there.
        """
        for _ in range(_TRIES):
            request = await self._checked(namespace, name, entry)
            body = entry_of(request, entry)
            try:
                return await self._api.apply(
                    path_to(namespace, name, status=True), body, field_manager=manager_of(entry)
                )
            except ApiError as error:
                if error.status != 409:
                    await self._checked(namespace, name, entry)  # it may have ended, or be another one, by now
                    raise of_deciding(error, namespace, name) from error
            await asyncio.sleep(random.uniform(0, 0.05))  # noqa: S311 - spreads a crowd, no secret
        raise StoreUnavailable(f"{name}: so many others wrote at once that this did not get in; try again")

    async def _checked(self, namespace: str, name: str, entry: Decision | Note) -> ApprovalRequest:
        request = await self._get(namespace, name)
        if isinstance(entry, Decision):
            with_decision(request, entry, self._now())
        else:
            with_note(request, entry, self._now())
        return request


def manager_of(entry: Decision | Note) -> str:
    """The field manager of an entry: one for each, so that nobody's apply names, or drops, another entry."""
    what = "decision" if isinstance(entry, Decision) else f"note-{entry.n}"
    name = f"hitl:{what}:{entry.reviewer}"
    if len(name) <= _LONGEST_MANAGER and name.isascii() and name.isprintable():
        return name
    return f"hitl:{what}:{hashlib.sha256(entry.reviewer.encode()).hexdigest()}"
