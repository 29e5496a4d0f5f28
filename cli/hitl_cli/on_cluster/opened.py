"""A connection to the API server, and the store of requests on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hitl import __version__
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.stores.kubernetes import KubernetesStore


@asynccontextmanager
async def opened(access: Access, *, follows: bool) -> AsyncIterator[tuple[KubeAPI, KubernetesStore]]:
    """Both, closed at the end of the block. `follows`: changes will be watched; else it starts faster."""
    client = KubeAPI.open if follows else KubeAPI.brief
    async with client(access, user_agent=f"kubectl-hitl/{__version__}") as api:
        store = KubernetesStore(api)
        try:
            yield api, store
        finally:
            await store.aclose()
