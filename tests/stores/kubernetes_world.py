"""Stores on a real API server with the shipped policies on, for the contract and for what only Kubernetes has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from control_plane.running import ControlPlane
from hitl.approvals.requests import ApprovalRequest, Decision, Note
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT
from hitl.stores.kubernetes import KubernetesStore
from hitl.stores.kubernetes.objects import path_to

# What a person who decides in these stories is in; those named in a decision must be among them.
GROUPS = ("reviewers", "support-leads", "a", "b")
OPERATORS_GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{DEFAULT.namespace}", "system:authenticated")
SLACK = timedelta(seconds=60)  # between a stamp and our look at it, on a machine that others share
RBAC = "rbac.authorization.k8s.io/v1"


class BothSides(KubernetesStore):
    """The operator's store; what a reviewer writes goes through a store of that very person."""

    def __init__(self, api: KubeAPI, world: "KubernetesWorld") -> None:
        super().__init__(api)
        self._world = world

    async def decide(self, namespace: str, name: str, decision: Decision) -> ApprovalRequest:
        return await (await self._world.reviewer(decision.reviewer)).decide(namespace, name, decision)

    async def note(self, namespace: str, name: str, note: Note) -> ApprovalRequest:
        return await (await self._world.reviewer(note.reviewer)).note(namespace, name, note)


class KubernetesWorld:
    """Stores of one API server, each with connections of its own, as processes have them. Its time is the server's."""

    def __init__(self, plane: ControlPlane, stack: AsyncExitStack, admin: KubeAPI) -> None:
        self.plane = plane
        self.admin = admin
        self._stack = stack
        self._reviewers: dict[str, KubernetesStore] = {}

    def clock(self) -> datetime:
        return datetime.now(UTC)

    async def open(self) -> BothSides:
        store = BothSides(await self.operator_api(), self)
        await store.anchor()
        self._stack.push_async_callback(store.aclose)
        return store

    async def operator_api(self) -> KubeAPI:
        """A client of its own that speaks as the operator."""
        return await self.api(DEFAULT.operator, OPERATORS_GROUPS)

    async def api(self, user: str, groups: tuple[str, ...] = ()) -> KubeAPI:
        access = Access.from_kubeconfig(self.plane.admin, as_user=user, as_groups=groups)
        return await self._stack.enter_async_context(KubeAPI.open(access, deadline=60))

    async def reviewer(self, name: str) -> KubernetesStore:
        """The store as a person has it who may decide both tiers."""
        if name not in self._reviewers:
            self._reviewers[name] = KubernetesStore(await self.api(name, GROUPS))
        return self._reviewers[name]

    async def later(self) -> None:
        stamp = self.clock().replace(microsecond=0) + timedelta(seconds=1)
        while (now := self.clock()) < stamp:  # noqa: ASYNC110 - time passes without telling anybody
            await asyncio.sleep((stamp - now).total_seconds())

    async def until(self, moment: datetime) -> None:
        while (now := self.admin.server_time()) is None or now < moment:
            await asyncio.sleep(0.02)
            await self.admin.get("/version")

    def is_now(self, stamp: datetime | None) -> bool:
        return stamp is not None and abs(self.clock() - stamp) < SLACK


@asynccontextmanager
async def kubernetes_world(plane: ControlPlane) -> AsyncIterator[KubernetesWorld]:
    """A world without requests, in which the namespaces of the stories exist and people may review."""
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(KubeAPI.open(Access.from_kubeconfig(plane.admin), deadline=60))
        world = KubernetesWorld(plane, stack, admin)
        for namespace in ("shop", "bank"):
            await _there(admin, path_of("v1", "namespaces"), {"metadata": {"name": namespace}})
        for role in ("hitl-senior-reviewer", "hitl-viewer"):
            await _there(
                admin,
                path_of(RBAC, "clusterrolebindings"),
                {
                    "metadata": {"name": f"stories-{role}"},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "reviewers"}],
                },
            )
        await _until_bound(await world.api("anybody", ("reviewers",)))
        await _sweep(admin, await world.operator_api())
        yield world


async def _there(admin: KubeAPI, path: str, body: dict[str, Any]) -> None:
    try:
        await admin.create(path, body)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise


async def _until_bound(reviewer: KubeAPI) -> None:
    """Returns when the server goes by the binding of reviewers, which it does a moment after it was stored."""
    reviews = path_of("authorization.k8s.io/v1", "selfsubjectaccessreviews")
    most = {"verb": "approve", "group": "hitl.dev", "resource": "approvalrequests", "subresource": "multi-factor"}
    async with asyncio.timeout(60):
        while not (  # noqa: ASYNC110 - the server tells nobody
            await reviewer.create(reviews, {"spec": {"resourceAttributes": most}})
        )["status"]["allowed"]:
            await asyncio.sleep(0.02)


async def _sweep(admin: KubeAPI, operator: KubeAPI) -> None:
    """Remove what earlier stories left: this one counts everything that is stored."""
    left = [found["metadata"] async for found in admin.list(path_to(None))]
    await asyncio.gather(*(operator.delete(path_to(each["namespace"], each["name"])) for each in left))
