"""The Kubernetes store keeps every promise of the protocol on a real API server, with the shipped policies on."""

from collections.abc import AsyncIterator

import pytest

from control_plane.running import ControlPlane
from stores.contract import StoreContract
from stores.kubernetes_world import KubernetesWorld, kubernetes_world


class TestKubernetesStore(StoreContract):
    """Stores here are clients of one API server, the operator's and each reviewer's own."""

    @pytest.fixture
    async def world(self, control_plane: ControlPlane) -> AsyncIterator[KubernetesWorld]:
        async with kubernetes_world(control_plane) as world:
            yield world
