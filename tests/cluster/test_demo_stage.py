"""The demonstration's pods are as real as they can be without a node: made by a Deployment, with bound tokens."""

import json
import time
from pathlib import Path

from cluster.gated_pods import EVER
from control_plane.demo.cluster import Cluster
from control_plane.demo.objects import NAMESPACE, agent_objects, people_objects
from control_plane.demo.stage import AUTHOR, demo_policies
from control_plane.installing import applied
from control_plane.running import ControlPlane


def test_B1_each_pod_gets_a_token_bound_to_itself_for_the_hub_alone(
    full_control_plane: ControlPlane, tmp_path: Path
) -> None:
    """Pods come from a Deployment; the token asked for as the kubelet names its pod and is for no other audience."""
    cluster = Cluster(full_control_plane, tmp_path)
    applied(full_control_plane, *agent_objects(2))
    pods = cluster.pods(2)
    assert all(name.startswith("shop-agent-") for name, _ in pods)
    name, uid = pods[0]
    token = cluster.hub_token(name, uid)
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    review["spec"]["audiences"] = ["hitl.dev/hub"]
    status = json.loads(full_control_plane.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)).stdout)[
        "status"
    ]
    assert status["authenticated"] is True
    assert status["user"]["username"] == f"system:serviceaccount:{NAMESPACE}:shop-agent"
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [uid]
    review["spec"]["audiences"] = ["https://kubernetes.default.svc"]
    other = json.loads(full_control_plane.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)).stdout)
    assert not other["status"].get("authenticated")


def test_the_demonstration_s_reviewers_may_decide_and_its_author_may_not(
    full_control_plane: ControlPlane, tmp_path: Path
) -> None:
    """Ana and bo may approve what waits for one person, pat may write policies, and neither may do the other's."""
    cluster = Cluster(full_control_plane, tmp_path)
    applied(full_control_plane, *agent_objects(2), *people_objects())

    def may(*what: str) -> list[str]:
        people = [f"{name}@example.com" for name in ("ana", "bo", "pat")]
        return [cluster.kubectl_of(person, "auth", "can-i", *what).stdout.strip() for person in people]

    confirm = ("approve", "approvalrequests.hitl.dev", "--subresource=confirm")
    write = ("create", "agentpolicies.hitl.dev")
    until = time.monotonic() + EVER  # the API server goes by a binding a moment after it was stored
    while (found := (may(*confirm), may(*write))) != (["yes", "yes", "no"], ["no", "no", "yes"]):
        assert time.monotonic() < until, found


def test_the_demonstration_s_policies_are_taken_from_their_author(
    full_control_plane: ControlPlane, tmp_path: Path
) -> None:
    """What `hitl demo` uses on one machine stands on a cluster as it is, applied by somebody who may not relax."""
    cluster = Cluster(full_control_plane, tmp_path)
    applied(full_control_plane, *agent_objects(2), *people_objects())
    for text in demo_policies().values():
        until = time.monotonic() + EVER
        while (done := cluster.kubectl_of(AUTHOR, "apply", "-f", "-", stdin=text)).returncode != 0:
            assert "forbidden: User" in done.stderr, done.stderr  # the binding is stored, and not yet gone by
            assert time.monotonic() < until, done.stderr
