"""Who mints tokens for the hub on a real API server: kubelets, for a pod (B1)."""

from typing import Any

import pytest

from cluster.voting import AGENT, ANA, EDITOR, MASTER, Court, Json, Person
from control_plane.installing import applied
from hitl.errors import ApiError
from hitl.kube.paths import path_of

HUB = "hitl.dev/hub"
KUBELET = Person("system:node:node-1", ("system:nodes", "system:masters"))  # masters: no Node authorizer stands here


def wish(*audiences: str, pod: Json | None = None) -> Json:
    bound = {} if pod is None else {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", **pod}}
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": list(audiences), "expirationSeconds": 600, **bound},
    }


def an_account(court: Court) -> str:
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "support", "namespace": court.namespace}}
    applied(court.plane, body)
    return path_of("v1", "serviceaccounts", court.namespace, "support", "token")


def a_pod(court: Court) -> Json:
    """A pod of that account; returns the reference to bind a token to."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "support-1", "namespace": court.namespace},
        "spec": {"serviceAccountName": "support", "containers": [{"name": "agent", "image": "agent:1"}]},
    }
    applied(court.plane, body)
    found = court.plane.kubectl("get", "pod", "support-1", "-n", court.namespace, "-o", "jsonpath={.metadata.uid}")
    return {"name": "support-1", "uid": found.stdout}


@pytest.mark.parametrize(
    "person",
    [EDITOR, ANA, AGENT, MASTER, Person("system:node:node-1", ("developers", "system:masters")),
     Person("mallory", ("system:nodes", "system:masters"))],
    ids=["role edit", "a reviewer", "the agent", "an administrator", "a node's name", "a node's group"],
)  # fmt: skip
@pytest.mark.parametrize(
    "audiences",
    [
        [HUB],
        ["https://kubernetes.default.svc", HUB],
        [HUB, HUB],
        ["hitl.dev/other"],
        ["hitl.dev"],
        ["HITL.dev/hub"],
        [f" {HUB} "],
    ],
    ids="+".join,
)
async def test_B1_nobody_else_mints_a_token_for_the_hub(court: Court, person: Person, audiences: list[str]) -> None:
    """B1: role edit, an agent, a reviewer or an administrator gets no token with an audience of ours among others."""
    path = an_account(court)
    async with court.api(person) as api:
        with pytest.raises(ApiError, match="Only a kubelet mints tokens for the hub") as raised:
            await api.create(path, wish(*audiences))
    assert raised.value.status == 403


def test_B1_kubectl_create_token_is_refused(court: Court) -> None:
    """B1: the plain command that anybody would try is refused with what to do instead."""
    an_account(court)
    tried = court.plane.kubectl(
        "create", "token", "support", "-n", court.namespace, f"--audience={HUB}",
        kubeconfig=court.plane.kubeconfig(EDITOR.name, EDITOR.groups),
    )  # fmt: skip
    assert tried.returncode == 1
    assert "Give the pod a projected volume with a serviceAccountToken of audience hitl.dev/hub" in tried.stderr


async def test_B1_a_kubelet_mints_one_for_a_pod(court: Court) -> None:
    """B1: a kubelet gets a token that the API server confirms for our audience, bound to the pod's uid."""
    path, pod = an_account(court), a_pod(court)
    async with court.api(KUBELET) as api:
        with pytest.raises(ApiError, match="bound to a pod by its uid"):
            await api.create(path, wish(HUB))
        with pytest.raises(ApiError, match="bound to a pod by its uid"):
            await api.create(path, wish(HUB, pod={"name": pod["name"]}))
        made = await api.create(path, wish(HUB, pod=pod))
    seen = await review(court, made["status"]["token"])
    assert seen["authenticated"] is True
    assert seen["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [pod["uid"]]


@pytest.mark.parametrize(
    "audiences", [[], ["https://kubernetes.default.svc"], ["xhitl.dev/hub"], ["hub"], ["hitl\u200b.dev/hub"]]
)
async def test_B1_tokens_for_others_are_minted_and_are_none_for_the_hub(court: Court, audiences: list[str]) -> None:
    """B1: everybody's other tokens stay as they are, and none of them is confirmed for our audience."""
    path = an_account(court)
    async with court.api(EDITOR) as api:
        made = await api.create(path, wish(*audiences))
    seen = await review(court, made["status"]["token"])
    assert not seen.get("authenticated")


async def review(court: Court, token: str) -> dict[str, Any]:
    """What the API server tells the hub of a token."""
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [HUB]},
    }
    async with court.admin() as api:
        answered = await api.create(path_of("authentication.k8s.io/v1", "tokenreviews"), body)
    found: dict[str, Any] = answered["status"]
    return found
