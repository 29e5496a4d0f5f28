"""A CRD that is deleted while replicas run, and comes back."""

import asyncio

import pytest

from cluster.gated_pods import until
from cluster.policy_replicas import ALLOW, DENY, Author, Replicas
from control_plane.installing import applied, until_policies_act
from control_plane.running import ControlPlane
from hitl.errors import ApiError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import crds
from hitl_operator.cluster.served_kinds import NotServed

pytestmark = pytest.mark.timeout(240)

CRD = path_of("apiextensions.k8s.io/v1", "customresourcedefinitions", name="agentpolicies.hitl.dev")


async def test_A7_a_policy_that_goes_with_its_crd_stays_in_force(
    replicas: Replicas, author: Author, admin: KubeAPI, control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    """A7: its Deny stays, one line says what to do, and what is applied afterwards is followed without a restart."""
    replica = await replicas.start()
    await author.apply(DENY)
    await until(lambda: replica.policies(author.namespace) == {"support": DENY})
    published = replica.book.version
    caplog.clear()
    try:
        await admin.delete(CRD)
        await until(lambda: _is_gone(admin))
        await until(lambda: _told(caplog))
        with pytest.raises(NotServed):
            await replica.source.written.look()
        assert replica.policies(author.namespace) == {"support": DENY}
        assert replica.book.version == published
        line = _told(caplog)[0]
        assert "agentpolicies.hitl.dev" in line
        assert "kubectl apply --server-side" in line
        assert "policy-deleted" not in caplog.text
        # What others are told of goes on meanwhile, whatever kopf made of it.
        await author.apply(ALLOW, name=author.baseline, kind="ClusterAgentPolicy")
        await until(lambda: author.baseline in str(replica.document(author.namespace)))
        await author.delete(name=author.baseline, kind="ClusterAgentPolicy")
    finally:
        await asyncio.to_thread(applied, control_plane, *crds())
        await asyncio.to_thread(until_policies_act, control_plane)
    await author.apply(ALLOW)
    await until(lambda: replica.policies(author.namespace) == {"support": ALLOW})
    await author.apply(DENY)
    await until(lambda: replica.policies(author.namespace) == {"support": DENY})
    await author.delete()
    await until(lambda: replica.policies(author.namespace) == {})
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


async def _is_gone(admin: KubeAPI) -> bool:
    try:
        await admin.get(CRD)
    except ApiError as error:
        return error.status == 404
    return False


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if "does not serve AgentPolicy" in line]
