"""The operator's Deployment and what stands around it."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from chart.rendering import Helm, Rendered
from hitl_operator.cluster.main import _parser

ROOT = Path(__file__).parents[2]


def pods_of(rendered: Rendered) -> list[dict[str, Any]]:
    return [
        rendered.one("Deployment", "hitl-operator")["spec"]["template"]["spec"],
        rendered.one("Pod", "hitl-ready")["spec"],
    ]


def test_no_pod_may_do_more_than_pod_security_restricted_lets_it(default: Rendered) -> None:
    """Nobody's user, no way to more, no capability, a root that cannot be written, a token only where it is used."""
    operator, ready = pods_of(default)
    for spec in (operator, ready):
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"memory", "ephemeral-storage"} <= container["resources"]["limits"].keys()
    assert operator["automountServiceAccountToken"] is True
    assert ready["automountServiceAccountToken"] is False
    assert default.one("ServiceAccount", "hitl-operator")["automountServiceAccountToken"] is False


def test_an_update_never_leaves_fewer_replicas_that_are_ready(default: Rendered) -> None:
    """A new one is ready before an old one goes, drains of nodes take one at a time, and the end is waited for."""
    deployment = default.one("Deployment", "hitl-operator")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert default.one("PodDisruptionBudget", "hitl-operator")["spec"]["maxUnavailable"] == 1
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    # What the server gives streams to end (`_DRAIN`), and the preStop before it, fit in with room.
    drain = drain_of((ROOT / "operator/hitl_operator/server.py").read_text())
    assert pod["terminationGracePeriodSeconds"] > container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain + 10


def drain_of(text: str) -> float:
    (found,) = re.findall(r"(?m)^_DRAIN\b[^=]*= ([0-9.]+)", text)
    return float(ast.literal_eval(found))


def test_the_selector_of_everything_finds_the_operators_pods_alone(default: Rendered) -> None:
    """Service, budget and NetworkPolicy choose what the Deployment makes, and not the pod of `helm test`."""
    deployment = default.one("Deployment", "hitl-operator")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    others = default.one("Pod", "hitl-ready")["metadata"]["labels"]
    for selector in (
        deployment["selector"]["matchLabels"],
        default.one("Service", "hitl-operator")["spec"]["selector"],
        default.one("PodDisruptionBudget", "hitl-operator")["spec"]["selector"]["matchLabels"],
        default.one("NetworkPolicy", "hitl-operator")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
        assert not selector.items() <= others.items()


def test_ports_that_are_called_are_ports_that_are_served(default: Rendered) -> None:
    """The Service leads to ports of the container by name, and the operator's flags open these very ports."""
    (container,) = default.one("Deployment", "hitl-operator")["spec"]["template"]["spec"]["containers"]
    served = {port["name"]: port["containerPort"] for port in container["ports"]}
    ports = {port["targetPort"]: port["port"] for port in default.one("Service", "hitl-operator")["spec"]["ports"]}
    assert ports == {"hub": 8443, "admission": 443, "http": 8080}
    flags = dict(flag.split("=", 1) for flag in container["args"])
    assert {name: int(flags[flag].rpartition(":")[2]) for name, flag in FLAGS.items()} == served
    allowed = [port["port"] for rule in ingress(default) for port in rule["ports"]]
    assert sorted(allowed) == sorted(served.values())


FLAGS = {"hub": "--listen", "admission": "--admission", "http": "--http"}


def ingress(rendered: Rendered) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rendered.one("NetworkPolicy", "hitl-operator")["spec"]["ingress"]
    return found


def test_F3_only_gated_namespaces_reach_the_hub(default: Rendered) -> None:
    """F3: who has no token is kept away before it costs anything; the default lets no other namespace in."""
    (hub,) = [rule for rule in ingress(default) if rule["ports"][0]["port"] == 8443]
    assert hub["from"] == [{"namespaceSelector": {"matchLabels": {"hitl.dev/injection": "enabled"}}}]


VALUES: dict[str, dict[str, Any]] = {
    "as it is by default": {},
    "with files": {"certificates": {"source": "files", "secretName": "tls"}},
    "with cert-manager": {"certificates": {"source": "cert-manager"}},
    "without injection": {"injection": {"enabled": False}},
    "on IPv6, without hardware keys": {
        "service": {"listenAddress": "[::]"},
        "secondFactor": {"key": "amr", "factors": ["otp"], "hardware": []},
        "extraArgs": ["--verbose"],
    },
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_the_operator_takes_every_argument_that_it_is_given(helm4: Helm, values: dict[str, Any]) -> None:
    """The flags of the Deployment are read by the operator's own parser, and mean this installation."""
    read = _parser().parse_args(helm4.template(values, "guard").arguments())
    assert (read.namespace, read.service_account, read.service) == ("guard", "hitl-operator", "hitl-operator")
    own = values.get("certificates") is None
    assert (read.tls_cert is None, read.tls_key is None, read.ca is None) == (own, own, own)
    assert (read.admission is None) == ("injection" in values)


def test_certificates_of_cert_manager_are_for_the_name_that_is_called(helm4: Helm) -> None:
    """By an own CA, or by the issuer that is named; the Secret is the one that is mounted."""
    own = helm4.template({"certificates": {"source": "cert-manager"}}, "guard")
    certificate = own.one("Certificate", "hitl-operator")["spec"]
    assert certificate["dnsNames"] == ["hitl-operator.guard.svc"]
    assert certificate["issuerRef"] == {"name": "hitl-ca", "kind": "Issuer", "group": "cert-manager.io"}
    assert own.one("Certificate", "hitl-ca")["spec"]["isCA"] is True
    operator, _ = pods_of(own)
    assert {"name": "tls", "secret": {"secretName": "hitl-operator-tls", "defaultMode": 0o440}} in operator["volumes"]
    reference = {"name": "corporate", "kind": "ClusterIssuer"}
    named = helm4.template({"certificates": {"source": "cert-manager", "issuerRef": reference}})
    (only,) = named.of("Certificate", "Issuer")
    assert only["spec"]["issuerRef"] == {**reference, "group": "cert-manager.io"}


def test_the_webhook_leaves_open_what_others_fill_in(default: Rendered) -> None:
    """No caBundle, so that no upgrade takes it back; all else is spelled out, so that no default looks like drift."""
    (webhook,) = default.one("MutatingWebhookConfiguration", "hitl-injection")["webhooks"]
    assert "caBundle" not in webhook["clientConfig"]
    assert (webhook["failurePolicy"], webhook["reinvocationPolicy"], webhook["timeoutSeconds"]) == (
        "Fail",
        "IfNeeded",
        5,
    )
    selector = webhook["namespaceSelector"]["matchExpressions"]
    assert {"key": "hitl.dev/injection", "operator": "In", "values": ["enabled"]} in selector
    assert {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["hitl-system"]} in selector
    assert webhook["objectSelector"] == {}


def test_argo_cd_sends_pods_through_a_replica_that_is_ready(default: Rendered) -> None:
    """Its waves: what is shipped, then the operator, then the webhook; it removes them in the opposite order."""
    waves = {
        each["metadata"]["name"]: each["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-wave", "0")
        for each in default.of("ValidatingAdmissionPolicy", "Deployment", "MutatingWebhookConfiguration")
    }
    assert (waves["hitl-decisions"], waves["hitl-operator"], waves["hitl-injection"]) == ("0", "1", "2")


def test_helm_test_runs_the_python_of_the_image(default: Rendered) -> None:
    """Its program is that of the operator's image, whose script compiles, and asks through the Service."""
    (container,) = default.one("Pod", "hitl-ready")["spec"]["containers"]
    dockerfile = (ROOT / "operator" / "Dockerfile").read_text()
    (entry,) = re.findall(r"(?m)^ENTRYPOINT (.*)$", dockerfile)
    assert container["command"][:2] == json.loads(entry)[:2]
    (script,) = container["args"]
    compile(script, "ready", "exec")
    assert "http://hitl-operator.hitl-system.svc:8080/readyz" in script
