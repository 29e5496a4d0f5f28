"""The control plane under the cluster tier: it is real, it tells users apart, and it comes back."""

import json
import socket
import time
from pathlib import Path

import pytest

from cluster.gated_pods import EVER
from control_plane.running import ControlPlane, ControlPlaneFailed, PortTaken


def whoami(plane: ControlPlane, **who: object) -> dict[str, object]:
    shown = plane.kubectl("auth", "whoami", "-o", "json", **who)
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)["status"]["userInfo"]


def test_a_user_is_who_his_certificate_says(control_plane: ControlPlane) -> None:
    """The API server reads name and groups from the client certificate of a kubeconfig."""
    seen = whoami(control_plane, kubeconfig=control_plane.kubeconfig("ada@example.com", ["leads", "finance"]))
    assert seen["username"] == "ada@example.com"
    assert seen["groups"] == ["leads", "finance", "system:authenticated"]


def test_a_login_s_extras_arrive(control_plane: ControlPlane) -> None:
    """What a login would add about the second factor reaches the API server with the user."""
    kubeconfig = control_plane.kubeconfig("ada@example.com", ["leads"], extra={"hitl.dev/amr": ["pwd", "hwk"]})
    assert whoami(control_plane, kubeconfig=kubeconfig)["extra"] == {"hitl.dev/amr": ["pwd", "hwk"]}


def test_an_ordinary_user_may_nothing_at_first(control_plane: ControlPlane, namespace: str) -> None:
    """RBAC is on: somebody without a role cannot even read the namespace that was made for him."""
    ada = control_plane.kubeconfig("ada@example.com")
    refused = control_plane.kubectl("get", "configmaps", "-n", namespace, kubeconfig=ada)
    assert refused.returncode != 0
    assert "forbidden" in refused.stderr.lower()


def test_namespaces_are_labelled_for_injection(control_plane: ControlPlane, namespace: str) -> None:
    """The namespace of a test carries the label under which its pods are gated."""
    shown = control_plane.kubectl("get", "namespace", namespace, "-o", "json")
    assert json.loads(shown.stdout)["metadata"]["labels"]["hitl.dev/injection"] == "enabled"


def test_a_frozen_api_server_is_silent_and_goes_on_after_the_thaw(control_plane: ControlPlane) -> None:
    """Freezing stops answers without closing anything; what was asked meanwhile is answered after the thaw."""
    asked = ["get", "namespace", "default", "-o", "name"]
    control_plane.freeze()
    try:
        silent = control_plane.kubectl(*asked, "--request-timeout=1s")
    finally:
        control_plane.thaw()
    assert silent.returncode != 0
    assert control_plane.kubectl(*asked).stdout == "namespace/default\n"


def test_a_restarted_api_server_is_the_same_one(control_plane: ControlPlane, namespace: str) -> None:
    """After a crash it answers at the same address, knows what it knew, and its policies act at once."""
    before = control_plane.url
    control_plane.restart_apiserver()
    assert control_plane.url == before
    assert control_plane.kubectl("get", "namespace", namespace).returncode == 0
    policy = {"apiVersion": "hitl.dev/v1alpha1", "kind": "AgentPolicy", "metadata": {"name": "typo"}}
    typo = json.dumps({**policy, "spec": {"rulez": []}})
    tried = ("create", "--validate=ignore", "-n", namespace, "-f", "-")
    until = time.monotonic() + EVER  # it is ready a moment before it serves what CRDs describe
    while "hitl-strict-fields" not in (refused := control_plane.kubectl(*tried, stdin=typo)).stderr:
        assert refused.returncode != 0, refused.stdout
        assert time.monotonic() < until, refused.stderr
    assert refused.returncode != 0


def test_a_start_that_fails_shows_why(tmp_path: Path) -> None:
    """A flag that the API server does not know ends the start with the end of its log."""
    with pytest.raises(
        ControlPlaneFailed, match=r"kube-apiserver ended with exit code 1(.|\n)*unknown flag: --no-such"
    ):
        ControlPlane.start(tmp_path / "plane", extra_apiserver_flags=["--no-such-flag"])


def test_a_port_that_somebody_took_is_told_apart(tmp_path: Path) -> None:
    """A port that was taken between the look and the use is tried again elsewhere; only then it is a failure."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortTaken, match="address already in use"):
            ControlPlane.start(tmp_path / "plane", extra_apiserver_flags=[f"--secure-port={taken.getsockname()[1]}"])
