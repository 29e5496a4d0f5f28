"""The demonstration's cluster: an API server with what the product ships, its people, and the agent's pods."""

import asyncio
import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from control_plane.certificates import Authority
from control_plane.demo.objects import (
    AGENT,
    HUB_NAME,
    NAMESPACE,
    NODE,
    OPERATOR,
    OPERATOR_NAMESPACE,
    PEOPLE,
    agent_objects,
    people_objects,
)
from control_plane.installing import applied, install
from control_plane.kubeconfigs import by_token, kubeconfig_of
from control_plane.running import ControlPlane
from hitl.errors import ApiError, HitlError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.shipped import admission
from hitl.stores.kubernetes.objects import path_to, request_of

PATIENCE = 180.0  # seconds for what takes the cluster one, and a cluster on a machine that many share far longer
DECISIONS = "hitl-decisions"  # the policy that says who decides, and its binding
LIFE = "1h"  # of a token; the kubelet would renew it; the demonstration is over before that


class Cluster:
    """What `kubectl` sees; the programs that would run in its pods are started by others.

    Attributes:
        plane: the API server, etcd and the controllers.
        hub_ca, hub_certificate, hub_key: how the hub and its sidecars know each other, PEM files.
    """

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        authority = Authority("hitl-hub")
        self.hub_certificate, self.hub_key = authority.server(OPERATOR, names=(HUB_NAME,)).write(folder, "hub")
        self.hub_ca = folder / "hub-ca.crt"
        self.hub_ca.write_bytes(authority.pem)
        self._folder = folder

    def prepare(self, *, pods: int) -> None:
        """Install the product, the agent's Deployment and the people's roles."""
        install(self.plane)
        applied(self.plane, *agent_objects(pods))
        applied(self.plane, *people_objects())

    def operator_kubeconfig(self) -> Path:
        """How the operator's pods would reach the API server: with the token of its ServiceAccount."""
        token = self._kubectl("create", "token", OPERATOR, "-n", OPERATOR_NAMESPACE, "--duration", LIFE)
        path = self._folder / "operator.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(kubeconfig_of(self.plane.url, self.plane.ca_file.read_bytes(), by_token(token)))
        return path

    def pods(self, count: int) -> list[tuple[str, str]]:
        """Names and UIDs of the agent's pods, once its Deployment's controller has made `count` of them."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            listed = json.loads(self._kubectl("get", "pods", "-n", NAMESPACE, "-l", f"app={AGENT}", "-o", "json"))
            if len(listed["items"]) == count:
                return sorted((pod["metadata"]["name"], pod["metadata"]["uid"]) for pod in listed["items"])
        raise HitlError(f"the Deployment {AGENT} has no {count} pods after {PATIENCE:.0f} s")

    def hub_token(self, pod: str, uid: str) -> str:
        """The token that the pod's kubelet mounts into its sidecar: bound to the pod, for the hub alone."""
        kubelet = self.plane.kubeconfig(f"system:node:{NODE}", ["system:nodes"])
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}", f"--bound-object-uid={uid}")
        words = ("create", "token", AGENT, "-n", NAMESPACE, "--audience=hitl.dev/hub", "--duration", LIFE, *bound)
        until = time.monotonic() + PATIENCE
        while True:
            # The API server lets a kubelet act for a pod once it has noticed that the pod is on its node.
            asked = self.plane.kubectl(*words, kubeconfig=kubelet)
            if asked.returncode == 0:
                return asked.stdout.strip()
            if time.monotonic() > until:
                raise HitlError(f"no token for pod {pod}: {asked.stderr.strip()}")

    def kubectl_of(self, person: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`kubectl WORDS` as one of PEOPLE, in the agent's namespace, the plugin on PATH as after an installation."""
        kubeconfig = self.plane.kubeconfig(person, PEOPLE[person], namespace=NAMESPACE)
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": programs, "NO_COLOR": "1", "COLUMNS": "100"}
        return subprocess.run(
            [self.plane.kubectl_program, *words],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def why_cancelled(self, request: str) -> str:
        """The reason of its condition Cancelled; empty while it has none."""
        conditions = self._request(request)["status"].get("conditions", [])
        return next((str(each["reason"]) for each in conditions if each["type"] == "Cancelled"), "")

    def deadline(self, request: str) -> datetime:
        """When a request ends, as the hub reads it."""
        ends = request_of(self._request(request)).status.expiration_time
        assert ends is not None, "a request that was opened has an end"
        return ends

    def unguard(self) -> None:
        """Delete the binding that has the decision policy enforced."""
        self._kubectl("delete", "validatingadmissionpolicybinding", DECISIONS)

    def guard(self) -> None:
        """Put it back, exactly as shipped."""
        (binding,) = (
            each for each in admission() if each["metadata"]["name"] == DECISIONS and each["kind"].endswith("Binding")
        )
        applied(self.plane, binding)

    def forge_vote(self, forger: str, request: str, reviewer: str) -> None:
        """Write an approval in the name of `reviewer` as `forger`; tried until the API server takes it."""
        shown = self._request(request)
        vote = {"reviewer": reviewer, "decision": "Approved", "groups": list(PEOPLE[reviewer])}
        vote |= {"digest": shown["spec"]["digest"], "requestUID": shown["metadata"]["uid"]}
        access = Access.from_kubeconfig(self.plane.kubeconfig(forger, PEOPLE[forger]))
        asyncio.run(_patched(access, path_to(NAMESPACE, request, status=True), {"status": {"decisions": [vote]}}))

    def leader(self) -> str:
        """Who holds the operator's Lease; empty for nobody."""
        listed = json.loads(self._kubectl("get", "leases", "-n", OPERATOR_NAMESPACE, "-o", "json"))
        holders = [str(lease["spec"].get("holderIdentity") or "") for lease in listed["items"]]
        return holders[0] if holders else ""

    def _request(self, name: str) -> dict[str, Any]:
        shown = self._kubectl("get", "approvalrequest", name, "-n", NAMESPACE, "-o", "json")
        return dict[str, Any](json.loads(shown))

    def _kubectl(self, *words: str) -> str:
        done = self.plane.kubectl(*words)
        if done.returncode != 0:
            raise HitlError(f"kubectl {' '.join(words[:2])}: {done.stderr.strip()}")
        return done.stdout.strip()


async def _patched(access: Access, path: str, body: dict[str, Any]) -> None:
    async with KubeAPI.open(access) as api:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                await api.merge_patch(path, body, field_manager="hitl-forger")
            except ApiError as refused:
                # A policy acts for a moment after its binding is gone.
                if time.monotonic() > until:
                    raise HitlError(f"the forged vote was refused for {PATIENCE:.0f} s: {refused}") from refused
            else:
                return
