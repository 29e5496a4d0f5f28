"""An open cluster: its requests, and the caller at them. Questions that do not need each other go out together."""

import asyncio
from collections.abc import Sequence

from hitl.approvals.requests import ApprovalRequest
from hitl.kube.api import KubeAPI
from hitl.stores.kubernetes import KubernetesStore
from hitl_cli.on_cluster.me import Me, read_me
from hitl_cli.on_cluster.place_words import PlaceWords
from hitl_cli.on_cluster.reading import need_namespace, reading
from hitl_cli.on_cluster.rights import TIERS, Right
from hitl_cli.on_cluster.viewer import ClusterViewer
from hitl_cli.on_cluster.voter import ClusterVoter
from hitl_cli.requests import fits
from hitl_cli.standing import Viewer


class ClusterDesk:
    """An open cluster."""

    def __init__(self, place: PlaceWords, api: KubeAPI, store: KubernetesStore) -> None:
        self._place = place
        self.api = api
        self.store = store
        self._me: asyncio.Task[Me] | None = None
        self._may: asyncio.Task[None] | None = None
        self._is_there = False  # whether an empty namespace was looked for

    def expect_viewer(self) -> None:
        """Begin to ask who the caller is and what they may approve where this run looks."""
        self._me = asyncio.ensure_future(read_me(self.api))
        where = self._place.namespace or ""
        self._may = asyncio.ensure_future(
            self._place.rights.ask(self.api, [Right("approve", tier, where) for tier in TIERS])
        )

    async def close(self) -> None:
        """End what was begun and nobody waited for."""
        begun = [task for task in (self._me, self._may) if task is not None]
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)

    async def me(self) -> Me:
        """Who the caller is."""
        if self._me is None:
            self._me = asyncio.ensure_future(read_me(self.api))
        return await self._me

    async def waiting(self) -> list[ApprovalRequest]:
        return await self._stored(pending_only=True)

    async def around(self, names: Sequence[str], *, decides: bool = False) -> list[ApprovalRequest]:
        # Ended requests are many and seldom meant: they are read only where a name fits none that waits.
        role = "hitl-reviewer" if decides else "hitl-viewer"
        waiting = await self._stored(pending_only=True, role=role)
        if all(any(fits(request, name) for request in waiting) for name in names):
            return waiting
        return await self._stored(role=role)

    async def everything(self) -> list[ApprovalRequest]:
        return await self._stored()

    async def viewer(self, requests: Sequence[ApprovalRequest], *verbs: str) -> Viewer:
        return await self._viewer(requests, verbs)

    async def voter(self, requests: Sequence[ApprovalRequest], *verbs: str) -> ClusterVoter:
        # Whoever is refused is told to hand the request on only if they may.
        return ClusterVoter(self._place, await self._viewer(requests, (*verbs, "escalate")))

    async def unmanned(self, requests: Sequence[ApprovalRequest]) -> list[str]:
        from hitl_cli.on_cluster.manning import unmanned  # noqa: PLC0415 - start-up: only a list with rows asks

        return await unmanned(self.api, self._place, requests)

    async def quiet(self, viewer: Viewer | None) -> list[str]:  # noqa: ARG002 - who looks is known here
        from hitl_cli.on_cluster.quiet import quiet  # noqa: PLC0415 - start-up: only an empty list asks

        return await quiet(self.api, self._place, await self.me())

    async def _viewer(self, requests: Sequence[ApprovalRequest], verbs: Sequence[str]) -> ClusterViewer:
        me = await self.me()
        if self._may is not None:
            await self._may
        rights = (Right(verb, each.spec.tier, each.namespace) for each in requests for verb in verbs)
        await self._place.rights.ask(self.api, rights)
        return ClusterViewer(me, self._place.rights)

    async def _stored(self, *, pending_only: bool = False, role: str = "hitl-viewer") -> list[ApprovalRequest]:
        with reading("approvalrequests", self._place.where, role, self._place.hint("doctor")):
            found = await self.store.list(self._place.namespace, pending_only=pending_only)
        if not found and self._place.namespace and not self._is_there:
            await need_namespace(self.api, self._place.namespace, "another one: -n NS")
            self._is_there = True
        return found
