"""Put what the product ships into a running control plane, and wait until the API server acts on it."""

import json
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from control_plane.running import ControlPlane
from hitl.kube import shipped
from hitl.kube.marks import INJECTION

ACTING = 120.0  # seconds within which an API server must have taken up a policy; it takes 1 to 4 on an idle machine


class InstallFailed(Exception):
    """The API server refused something, or did not act on it in time; the message is kubectl's."""


# The last policy to be created, so that all before it act when this one does; it refuses one name only. A name of its
# own each time: an API server goes by a policy for up to a second after it was deleted.
SENTINEL = "hitl-test-sentinel"


def sentinel(name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A policy of that name, its binding, and the one object that they refuse."""
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ]
            },
            "matchConditions": [{"name": "the-sentinel", "expression": f"object.metadata.name == '{name}'"}],
            "validations": [{"expression": "false", "message": "policies act"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    return (
        policy,
        binding,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}},
    )


def applied(plane: ControlPlane, *objects: Mapping[str, Any]) -> None:
    """Apply `objects` server-side as the administrator."""
    text = "\n---\n".join(json.dumps(one) for one in objects)
    done = plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
    if done.returncode != 0:
        raise InstallFailed(f"kubectl apply: {done.stderr.strip()}")


def install(plane: ControlPlane) -> None:
    """Install what the product ships and return when the API server acts on all of it."""
    applied(plane, *shipped.home(), *shipped.roles(), *shipped.crds())
    established = [f"crd/{crd['metadata']['name']}" for crd in shipped.crds()]
    _kubectl(plane, "wait", "--for=condition=Established", *established, f"--timeout={ACTING:.0f}s")
    applied(plane, *shipped.admission())
    until_policies_act(plane)
    policy = {"apiVersion": "hitl.dev/v1alpha1", "kind": "AgentPolicy", "metadata": {"name": SENTINEL}}
    _until_configured(plane, policy | {"spec": {"rules": [{"action": "Deny", "tools": ["*"]}]}}, "default")


def install_backstop(plane: ControlPlane, images: Sequence[str], args: Sequence[str], authority: str) -> None:
    """Install what keeps gated pods gated, and return when the API server acts on it.

    Args:
        plane: on which everything else is installed.
        images: of sidecars that are ours.
        args: their command line.
        authority: certificates in PEM that they are given to trust, as the leader writes them.
    """
    standard = shipped.sidecar_standard([(image, args) for image in images], [authority])
    applied(plane, standard, *shipped.pods())
    until_policies_act(plane)
    gated = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SENTINEL, "labels": {INJECTION: "enabled"}}}
    applied(plane, gated)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": SENTINEL}}
    _until_configured(plane, pod | {"spec": {"containers": [{"name": "agent", "image": "agent:1"}]}}, SENTINEL)
    _kubectl(plane, "delete", "namespace", SENTINEL, "--wait=false")


def until_policies_act(plane: ControlPlane) -> None:
    """Return when every admission policy that stands now is acted upon."""
    name = f"{SENTINEL}-{secrets.token_hex(4)}"
    policy, binding, refused = sentinel(name)
    applied(plane, policy, binding)
    until = time.monotonic() + ACTING
    while True:
        tried = plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(refused))
        if tried.returncode != 0 and "policies act" in tried.stderr:
            break
        if time.monotonic() > until:
            raise InstallFailed(f"no admission policy acts after {ACTING:.0f} s: {tried.stdout}{tried.stderr}")
    _kubectl(plane, "delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)


def _until_configured(plane: ControlPlane, tried: Mapping[str, Any], namespace: str) -> None:
    """Return when the policies that judge this object know the kind of their parameters, which a new CRD brings.

    An API server looks for new kinds now and then; until it has, such a policy refuses everything that it judges.
    """
    until = time.monotonic() + ACTING
    command = ("create", "--dry-run=server", "-n", namespace, "-f", "-")
    while "failed to configure" in (said := plane.kubectl(*command, stdin=json.dumps(tried)).stderr):
        if time.monotonic() > until:
            raise InstallFailed(f"an admission policy is not configured after {ACTING:.0f} s: {said}")
        time.sleep(0.1)


def _kubectl(plane: ControlPlane, *args: str) -> subprocess.CompletedProcess[str]:
    done = plane.kubectl(*args, timeout=ACTING + 10)
    if done.returncode != 0:
        raise InstallFailed(f"kubectl {args[0]}: {done.stderr.strip()}")
    return done
