"""The chart on a real API server, by `helm install` itself: what stands then, what upgrades keep, and what is left."""

import base64
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chart.rendering import CHART, PATIENCE, Helm, Rendered
from cluster.inboxes import Inbox
from cluster.operators import Operator
from control_plane.installing import applied
from control_plane.running import ControlPlane
from hitl.kube import shipped
from hitl.kube.shipped import Shipped
from hitl_operator.cluster.publishing import FIELD_MANAGER, WEBHOOK, WEBHOOKS

pytestmark = [pytest.mark.xdist_group("cluster-chart"), pytest.mark.cluster]  # one API server for all of it

HERE = Shipped(namespace="guard")
VALUES: dict[str, Any] = {
    "people": [
        {"role": "reviewer", "groups": ["support"], "namespaces": ["shop"]},
        {"role": "senior-reviewer", "groups": ["on-call"]},
    ],
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "networkPolicy": {
        "apiServer": [{"ipBlock": {"cidr": "10.0.0.0/28"}}],
        "extraEgress": [{"ports": [{"port": 4317, "protocol": "TCP"}]}],
    },
    "tracing": {"endpoint": "http://collector.observability:4317"},
    "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/hitl/tls/ca.crt"}],
    "extraArgs": ["--verbose"],
    "priorityClassName": "system-cluster-critical",
}
LARGEST_SECRET = 1 << 20  # bytes; Helm keeps chart and manifests in one
TAKING = {"helm4": ("--server-side=true", "--force-conflicts")}
EVER = 120.0  # seconds after which a test has failed


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server without anything of ours, with a namespace that is labelled for injection already."""
    folder = tmp_path_factory.mktemp("chart")
    with ControlPlane.start(folder) as plane:
        for name, labels in (("shop", {"hitl.dev/injection": "enabled"}), ("other", {})):
            metadata = {"name": name, "labels": labels}
            applied(plane, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        yield plane
    shutil.rmtree(folder / "etcd", ignore_errors=True)


@pytest.fixture
def standing(plane: ControlPlane, helm4: Helm) -> ControlPlane:
    """The same with the chart in namespace guard; whichever test comes first installs it."""
    ensure(plane, helm4)
    return plane


def ensure(plane: ControlPlane, helm: Helm) -> None:
    if helm.run("status", "hitl", "-n", "guard", kubeconfig=plane.admin).code != 0:
        command = ("install", "hitl", str(CHART), "-n", "guard", "--create-namespace")
        done = helm.run(*command, values=VALUES, kubeconfig=plane.admin)
        assert done.code == 0, done.err
        assert "kubectl hitl doctor" in done.out


def read(plane: ControlPlane, *words: str) -> dict[str, Any]:
    """What kubectl gets, as JSON."""
    done = plane.kubectl("get", *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def names_of(plane: ControlPlane, rendered: Rendered) -> list[str]:
    """Those of the rendered objects that the API server has."""
    text = "\n---\n".join(json.dumps(each) for each in rendered.objects)
    done = plane.kubectl("get", "-f", "-", "--ignore-not-found", "-o", "name", stdin=text, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def until(look: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + EVER
    while not look():
        assert time.monotonic() < end, f"waited {EVER:.0f} s until {what}"
        time.sleep(0.2)


def a_pod(name: str) -> str:
    spec = {"containers": [{"name": "agent", "image": "agent:1"}]}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}
    )


def test_what_is_rendered_stands_and_is_accepted_whole(standing: ControlPlane, helm4: Helm) -> None:
    """The API server took every object of a chart with most values set, in a namespace that is not the default one."""
    rendered = helm4.template(VALUES, "guard", "--skip-tests")
    assert len(names_of(standing, rendered)) == len(rendered.objects) > 50
    (release,) = read(standing, "secrets", "-n", "guard", "-l", "owner=helm,status=deployed")["items"]
    assert len(base64.b64decode(release["data"]["release"])) < LARGEST_SECRET * 3 / 4


def test_a_second_installation_is_refused_with_the_first_ones_name(standing: ControlPlane, helm4: Helm) -> None:
    """A cluster has one: who installs a second is told which there is, and how to upgrade or end it."""
    command = ("install", "mine", str(CHART), "-n", "other")
    done = helm4.run(*command, values={}, kubeconfig=standing.admin)
    assert done.code != 0
    assert "hitl is installed in this cluster already, as release hitl of namespace guard" in done.err
    assert "helm upgrade hitl CHART -n guard" in done.err
    assert read(standing, "clusterrole", "hitl-operator")["metadata"]["annotations"][
        "meta.helm.sh/release-namespace"
    ] == ("guard")


def test_a_gated_namespace_is_no_place_for_the_operator(standing: ControlPlane, helm4: Helm) -> None:
    """The operator would wait for itself: said before anything is made."""
    plane = standing
    done = helm4.run("upgrade", "--install", "hitl", str(CHART), "-n", "shop", values={}, kubeconfig=plane.admin)
    assert done.code != 0
    assert "namespace shop is labelled hitl.dev/injection=enabled: the operator cannot run in a namespace" in done.err


def test_an_editor_of_another_namespace_changes_nothing_of_it(standing: ControlPlane, helm4: Helm) -> None:
    """Kubernetes role edit in namespace shop: every object of the installation refuses him, changed or deleted."""
    roles = ("system:aggregate-to-edit", "system:aggregate-to-view")
    for role in roles:
        metadata = {"name": f"edi-{role.rpartition(':')[2]}", "namespace": "shop"}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "edi@example.com"}
        binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata}
        applied(standing, {**binding, "roleRef": reference, "subjects": [subject]})
    editor = standing.kubeconfig("edi@example.com", ["developers"])
    maps = ("create", "configmap", "mine", "-n", "shop", "--dry-run=server")
    until(lambda: standing.kubectl(*maps, kubeconfig=editor).returncode == 0, "the editor may edit in shop")
    objects = helm4.template(VALUES, "guard", "--skip-tests").objects
    text = "\n---\n".join(json.dumps(each) for each in objects)
    for command in (["apply", "--server-side", "--force-conflicts"], ["delete"]):
        tried = standing.kubectl(
            *command, "--dry-run=server", "-f", "-", kubeconfig=editor, stdin=text, timeout=PATIENCE
        )
        assert tried.stdout == ""
        assert tried.stderr.count("forbidden") >= len(objects), tried.stderr


def test_its_pods_are_admitted_where_pod_security_is_restricted(standing: ControlPlane, helm4: Helm) -> None:
    """The API server itself finds nothing that `restricted` forbids, in the operator's pods and that of `helm test`."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    applied(standing, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict", "labels": labels}})
    rendered = helm4.template(VALUES, "strict")
    template = rendered.one("Deployment", "hitl-operator")["spec"]["template"]
    operator = {"apiVersion": "v1", "kind": "Pod", **template}
    for pod in (operator, rendered.one("Pod", "hitl-ready")):
        pod["metadata"] = {"name": "tried", "namespace": "strict"}
        tried = standing.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
        assert tried.returncode == 0, tried.stderr
    operator["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    tried = standing.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(operator))
    assert "violates PodSecurity" in tried.stderr


def test_people_are_bound_as_the_values_say(standing: ControlPlane) -> None:
    """Group support reviews in shop, on-call everywhere; neither elsewhere or more."""

    def may(group: str, namespace: str, tier: str) -> bool:
        words = ["auth", "can-i", "approve", "approvalrequests.hitl.dev", f"--subresource={tier}", "-n", namespace]
        return standing.kubectl(*words, "--as=ana@example.com", f"--as-group={group}").stdout.strip() == "yes"

    until(lambda: may("support", "shop", "confirm"), "support may decide in shop")
    until(lambda: may("on-call", "other", "multi-factor"), "those on call may decide everywhere")
    assert not may("support", "shop", "multi-factor")
    assert not may("support", "other", "confirm")


async def test_C4_an_operator_as_installed_finds_everything_in_place(
    standing: ControlPlane, helm4: Helm, tmp_path: Path
) -> None:
    """C4: with the rights, flags and settings of the chart alone a replica is ready, so votes count.

    Then the doctor finds nothing, and the API server knows whom to trust: in the webhook, and in what pods may carry.
    """
    rendered = helm4.template(VALUES, "guard")
    operator = Operator("one", tmp_path, standing)
    operator.settings.write_text(rendered.one("ConfigMap", "hitl-settings")["data"]["settings.yaml"])
    own = {"--listen", "--http", "--admission", "--replica", "--settings", "--state"}  # what only a pod has
    flags = [flag for flag in rendered.arguments() if flag.partition("=")[0] not in own]
    await operator.start(*flags, "--admission=127.0.0.1:0", f"--state={tmp_path / 'state'}", user=HERE.operator)
    try:
        await operator.ready()
        until(lambda: bool(bundle(standing)), "the webhook has a caBundle")
        until(lambda: bool(authorities(standing)), "pods may carry a CA")
        text = (await operator.get("/readyz"))[1]
        root = Inbox(standing, "shop").person("root@example.com", ["system:masters"])
        found = root.hitl("doctor", "--operator-namespace", "guard", "-o", "json")
    finally:
        await operator.end()
    assert "[+]" in text, text
    assert "[!]" not in text, text
    assert [each for each in found.document if each["health"] == "problem"] == []
    assert found.code == 0
    assert base64.b64decode(bundle(standing)).decode() in authorities(standing)


def bundle(plane: ControlPlane) -> str:
    """What the API server is to trust the webhook by."""
    (hook,) = read(plane, "mutatingwebhookconfiguration", "hitl-injection")["webhooks"]
    return str(hook["clientConfig"].get("caBundle", ""))


def authorities(plane: ControlPlane) -> list[str]:
    """Whom new pods may be made to trust."""
    done = plane.kubectl("get", "sidecarstandard", "hitl", "--ignore-not-found", "-o", "json")
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)["spec"]["authorities"] if done.stdout else []
    return found


def test_an_upgrade_keeps_what_the_operator_wrote(standing: ControlPlane, helm: Helm) -> None:
    """The webhook's caBundle, what a sidecar may be, and people's policies are there after `helm upgrade`."""
    webhook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": WEBHOOKS},
        "webhooks": [{"name": WEBHOOK, "clientConfig": {"caBundle": "Q0E="}}],
    }
    standard = shipped.sidecar_standard([("registry.example.com/hitl-sidecar:0.0.9", ["--a"])], ["PEM"])
    manager = ("--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}")
    done = standing.kubectl("apply", *manager, "-f", "-", stdin=f"{json.dumps(webhook)}\n---\n{json.dumps(standard)}")
    assert done.returncode == 0, done.stderr
    metadata = {"name": "kept", "namespace": "shop"}
    policy = {"apiVersion": "hitl.dev/v1alpha1", "kind": "AgentPolicy", "metadata": metadata}
    applied(standing, {**policy, "spec": {"rules": [{"action": "Deny", "tools": ["*"]}]}})

    values = {**VALUES, "podAnnotations": {"example.com/upgraded": "yes"}}
    # As the doctor says to put back what somebody changed; Helm 4 then asks whether that is to be its own again.
    applied(standing, *shipped.admission(HERE))
    command = ("upgrade", "hitl", str(CHART), "-n", "guard", *TAKING.get(helm.program.name, ()))
    done = helm.run(*command, values=values, kubeconfig=standing.admin)
    assert done.code == 0, done.err
    assert read(standing, "sidecarstandard", "hitl")["spec"] == standard["spec"]
    assert bundle(standing) == "Q0E="
    assert read(standing, "agentpolicy", "kept", "-n", "shop")["spec"]["rules"]


def test_uninstalled_it_is_in_nobodys_way(plane: ControlPlane, helm: Helm) -> None:
    """While no operator runs no pod of a gated namespace is created; after `helm uninstall` they are.

    CRDs and what is stored stay, nothing else does; and it can be installed again.
    """
    ensure(plane, helm)

    def refused() -> bool:
        tried = plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=a_pod("early")).stderr
        return "inject.hitl.dev" in tried or "hitl-protected" in tried

    until(refused, "no pod is created ungated")  # a moment after the installation, as with every admission rule
    rendered = helm.template(VALUES, "guard", "--skip-tests")

    done = helm.run("uninstall", "hitl", "-n", "guard", kubeconfig=plane.admin)
    assert done.code == 0, done.err
    name = f"after-{time.monotonic_ns()}"
    until(lambda: plane.kubectl("create", "-f", "-", stdin=a_pod(name)).returncode == 0, "pods are created again")
    left = sorted(each.rpartition("/")[2] for each in names_of(plane, rendered))
    assert left == sorted(crd["metadata"]["name"] for crd in shipped.crds())
    ensure(plane, helm)
