"""`kubectl hitl unprotected` on a cluster where nobody injects: pods without a gate, why, and what to type."""

import json
import time
from typing import Any

import pytest

from cluster.gated_pods import EVER
from cluster.inboxes import Inbox, Person
from cluster_fixtures import a_namespace
from control_plane.installing import applied
from control_plane.running import ControlPlane

RESTART = "kubectl rollout restart deploy/web"


def a_pod(name: str, namespace: str, labels: dict[str, str] | None = None, owner: str = "") -> dict[str, Any]:
    """A pod as people or controllers make it; `owner` is ``Kind/name`` of what makes it anew."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels or {}}
    if owner:
        kind, _, of = owner.partition("/")
        version = {"ReplicaSet": "apps/v1", "Job": "batch/v1"}[kind]
        metadata["ownerReferences"] = [
            {"apiVersion": version, "kind": kind, "name": of, "uid": f"uid-{of}", "controller": True}
        ]
    spec = {"containers": [{"name": "agent", "image": "agent:1"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def web(name: str, namespace: str) -> dict[str, Any]:
    """A pod of Deployment web."""
    return a_pod(name, namespace, {"pod-template-hash": "5d9c7"}, "ReplicaSet/web-5d9c7")


@pytest.fixture(scope="module")
def lab(control_plane: ControlPlane) -> Inbox:
    """A namespace that was labelled after it had pods, and in which pods may opt out."""
    inbox = Inbox(control_plane, a_namespace(control_plane, gated=False))
    name = inbox.namespace
    applied(control_plane, web("web-5d9c7-a", name), web("web-5d9c7-b", name), a_pod("bare", name))
    time.sleep(1.1)  # the API server writes its times to the second
    done = control_plane.kubectl("label", "namespace", name, "hitl.dev/injection=enabled", "hitl.dev/opt-out=allowed")
    assert done.returncode == 0, done.stderr
    applied(
        control_plane,
        a_pod("gated", name, {"hitl.dev/gated": "true"}),
        a_pod("import-x", name, owner="Job/import"),
        a_pod("out", name, {"hitl.dev/inject": "false"}),
        a_pod("over", name),
    )
    over = control_plane.kubectl(
        "patch",
        "pod",
        "over",
        "-n",
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        '{"status":{"phase":"Failed"}}',
    )
    assert over.returncode == 0, over.stderr
    return inbox


@pytest.fixture
def engineer(lab: Inbox) -> Person:
    """Somebody who may see the pods of that namespace."""
    return lab.bind("system:aggregate-to-view", "eva@example.com").person("eva@example.com")


def test_pods_without_a_gate_are_listed_with_owner_and_reason(lab: Inbox, engineer: Person) -> None:
    """Those that ended, and those that are gated, are not; each workload has one next step."""
    done = engineer.hitl("unprotected", "-n", lab.namespace)
    assert done.code == 1, done
    rows = [line.split("   ") for line in done.lines]
    assert [cell.strip() for cell in rows[0] if cell.strip()] == ["POD", "OWNER", "SINCE", "WHY"]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows[1:]]
    assert [(pod, owner, why) for pod, owner, _, why in cells] == [
        ("web-5d9c7-a", "deploy/web", "older than the label"),
        ("web-5d9c7-b", "deploy/web", "older than the label"),
        ("import-x", "job/import", "no sidecar"),
        ("bare", "pod/bare", "older than the label"),
        ("out", "pod/out", "opted out"),
    ]
    assert f"5 pods run without a gate in namespace {lab.namespace}." in done.err
    assert f"Next: {RESTART} -n {lab.namespace}\n" in done.err
    assert done.err.count(RESTART) == 1
    assert f"kubectl delete pod import-x -n {lab.namespace}; job/import makes another" in done.err
    assert f"kubectl delete pod bare -n {lab.namespace}, and apply its manifest again" in done.err


def test_programs_read_it_as_json_and_names(lab: Inbox, engineer: Person) -> None:
    """JSON has the reason as one word, and nothing stands on stderr."""
    done = engineer.hitl("unprotected", "-n", lab.namespace, "-o", "json")
    assert (done.code, done.err) == (1, "")
    first = done.document[0]
    assert (first["namespace"], first["pod"], first["owner"]) == (lab.namespace, "web-5d9c7-a", "deploy/web")
    assert (first["why"], first["next"]) == ("OlderThanLabel", f"{RESTART} -n {lab.namespace}")
    assert {each["why"] for each in done.document} == {"OlderThanLabel", "NoSidecar", "OptedOut"}
    named = engineer.hitl("unprotected", "-n", lab.namespace, "-o", "name")
    assert named.lines[0] == "pod/web-5d9c7-a"
    assert named.err == ""


def test_all_gated_namespaces_are_looked_at_by_who_may(lab: Inbox, engineer: Person) -> None:
    """-A puts the namespace first; who may not list namespaces is told how to ask for one."""
    root = lab.person("root@example.com", ["system:masters"])
    everything = root.hitl("unprotected", "-A")
    assert everything.code == 1
    assert everything.lines[0].startswith("NAMESPACE")
    assert any(line.split()[:2] == [lab.namespace, "web-5d9c7-a"] for line in everything.lines)
    refused = engineer.hitl("unprotected", "-A")
    assert refused.code == 4
    assert "error: you may not list namespaces" in refused.err
    assert "one namespace: -n NS" in refused.err


def test_who_may_not_see_pods_is_told_what_would_help(lab: Inbox) -> None:
    """A reviewer without rights on pods: exit code 4, with the role."""
    nobody = lab.person("nobody@example.com")
    done = nobody.hitl("unprotected", "-n", lab.namespace)
    assert done.code == 4
    assert f"error: you may not read namespace {lab.namespace}" in done.err
    role = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}
    metadata = {"name": "test-namespace-reader"}
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    applied(lab.plane, kind | {"metadata": metadata, "rules": [role]})
    reader = lab.bind("test-namespace-reader", "rea@example.com").person("rea@example.com")
    done = reader.hitl("unprotected", "-n", lab.namespace)
    assert done.code == 4
    assert f"error: you may not list pods in namespace {lab.namespace}" in done.err
    assert "Role view has verb list on pods" in done.err


def test_a_namespace_that_is_not_gated_is_said_to_be_none(control_plane: ControlPlane) -> None:
    """It is no answer that nothing was found where nothing is gated; nor where there is no such namespace."""
    inbox = Inbox(control_plane, a_namespace(control_plane, gated=False))
    root = inbox.person("root@example.com", ["system:masters"])
    done = root.hitl("unprotected")
    assert (done.code, done.out) == (1, "")
    assert f"error: namespace {inbox.namespace} is not gated" in done.err
    assert f"kubectl label namespace {inbox.namespace} hitl.dev/injection=enabled" in done.err
    missing = root.hitl("unprotected", "-n", "nowhere")
    assert missing.code == 1
    assert "error: there is no namespace nowhere" in missing.err


def test_all_is_well_where_every_pod_has_a_gate_or_chose_not_to(control_plane: ControlPlane) -> None:
    """Exit code 0, and a line that says what was looked at; a pod that opted out is listed, and is no error."""
    inbox = Inbox(control_plane, a_namespace(control_plane))
    name = inbox.namespace
    root = inbox.person("root@example.com", ["system:masters"])
    applied(control_plane, a_pod("gated", name, {"hitl.dev/gated": "true"}))
    done = root.hitl("unprotected")
    assert (done.code, done.out) == (0, "")
    assert f"Every pod that runs in namespace {name} has a gate" in done.err
    assert root.hitl("unprotected", "-o", "json").document == []
    applied(control_plane, a_pod("out", name, {"hitl.dev/inject": "false"}))
    assert [each["why"] for each in json.loads(root.hitl("unprotected", "-o", "json").out)] == ["NoSidecar"]
    assert control_plane.kubectl("label", "namespace", name, "hitl.dev/opt-out=allowed").returncode == 0
    until = time.monotonic() + EVER
    while (done := root.hitl("unprotected")).code:
        assert time.monotonic() < until, done
    assert "opted out" in done.out
    assert f"if that is not meant: kubectl label namespace {name} hitl.dev/opt-out-" in done.err


def test_status_lists_the_namespace_as_a_problem(lab: Inbox) -> None:
    """With the number, the reasons and the command that shows them; who may not see pods is told nothing of it."""
    root = lab.person("root@example.com", ["system:masters"])
    done = root.hitl("status", "-n", lab.namespace)
    assert done.code == 1
    words = "4 pods run without a gate (older than the label, no sidecar)"
    assert f"{lab.namespace} {words}" in [" ".join(line.split()) for line in done.lines]
    assert f"kubectl hitl unprotected -n {lab.namespace}\n" in done.out
    found = json.loads(root.hitl("status", "-A", "-o", "json").out)["problems"]
    assert words in [each["message"] for each in found if each["about"] == lab.namespace]
    viewer = lab.bind("hitl-viewer", "vic@example.com").person("vic@example.com")
    assert "without a gate" not in viewer.hitl("status", "-n", lab.namespace).out
