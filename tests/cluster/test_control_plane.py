"""The control plane under the cluster tier: it is real, it tells users apart, and it comes back."""

import json

from control_plane.running import ControlPlane


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
