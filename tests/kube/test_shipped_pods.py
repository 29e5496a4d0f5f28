"""What keeps gated pods gated, as it is shipped: names of the installation put in, and printed with injection alone."""

from typing import Any

import pytest
import yaml

from hitl.kube.shipped import Shipped, pod_settings, pods
from hitl_operator import manifests
from hitl_operator.injection.installation import args

NAMES = ["hitl-bindings", "hitl-connect", "hitl-kept", "hitl-marks", "hitl-protected"]
IMAGE = "registry.example.com/hitl-sidecar:1.0"


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    """The manifests that these options give."""
    assert manifests.main(options) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


def named(documents: list[dict[str, Any]], kind: str) -> list[str]:
    """Names of the documents of a kind."""
    return [each["metadata"]["name"] for each in documents if each["kind"] == kind]


def test_every_policy_is_bound_and_fails_closed() -> None:
    """Each stands before its binding, refuses where it cannot tell, and denies."""
    documents = list(pods())
    assert named(documents, "ValidatingAdmissionPolicy") == NAMES
    assert named(documents, "ValidatingAdmissionPolicyBinding") == NAMES
    for policy, binding in zip(documents[::2], documents[1::2], strict=True):
        assert policy["spec"]["failurePolicy"] == "Fail"
        assert binding["spec"]["policyName"] == policy["metadata"]["name"]
        assert "Deny" in binding["spec"]["validationActions"]
        assert all(each["message"] for each in policy["spec"]["validations"])


def test_another_namespace_is_put_in_everywhere() -> None:
    """The operator's own namespace is not gated, and its ConfigMap is looked for there."""
    guard = Shipped(namespace="guard")
    assert "hitl-system" not in str(pods(guard))
    binding = next(each for each in pods(guard) if "paramRef" in each["spec"])
    wanted = {"name": "hitl-pods", "namespace": "guard", "parameterNotFoundAction": "Deny"}
    assert binding["spec"]["paramRef"] == wanted
    assert pod_settings([IMAGE], ["--a", "--b"], guard)["metadata"]["namespace"] == "guard"
    assert pod_settings([IMAGE], ["--a", "--b"])["data"] == {"images": f"{IMAGE}\n", "args": "--a\n--b\n"}


def test_without_a_sidecar_s_image_nothing_is_printed_that_would_refuse_every_pod(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With one, or two during an upgrade, the policies come with the ConfigMap that they need."""
    assert not set(NAMES) & set(named(printed(capsys), "ValidatingAdmissionPolicy"))
    options = ("--namespace", "guard", "--sidecar-image", IMAGE, "--sidecar-image", "hitl-sidecar:0.9")
    documents = printed(capsys, *options)
    assert set(NAMES) <= set(named(documents, "ValidatingAdmissionPolicy"))
    (settings,) = [each for each in documents if each["kind"] == "ConfigMap"]
    assert settings["data"]["images"].split() == [IMAGE, "hitl-sidecar:0.9"]
    assert settings["data"]["args"].splitlines() == list(args(namespace="guard"))
    alone = printed(capsys, "--only", "pods")
    assert {each["kind"] for each in alone} == {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


def test_an_image_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It would be compared with every pod's."""
    with pytest.raises(SystemExit) as ended:
        manifests.main(["--sidecar-image", "two words"])
    assert ended.value.code == 2
    assert "is no image" in capsys.readouterr().err
