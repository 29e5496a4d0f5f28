"""What keeps gated pods gated, as it is shipped: names of the installation put in, and printed with injection alone."""

from typing import Any

import pytest
import yaml

from hitl.kube.shipped import Shipped, pods, sidecar_standard
from hitl_operator import manifests

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
    """The operator's own namespace is not gated; what a sidecar may be is the same object everywhere."""
    guard = Shipped(namespace="guard")
    assert "hitl-system" not in str(pods(guard))
    binding = next(each for each in pods(guard) if "paramRef" in each["spec"])
    assert binding["spec"]["paramRef"] == {"name": "hitl", "parameterNotFoundAction": "Deny"}
    assert sidecar_standard([(IMAGE, ["--a", "--b"])], ["PEM"])["spec"] == {
        "sidecars": [{"image": IMAGE, "args": ["--a", "--b"]}],
        "authorities": ["PEM"],
    }


def test_parameters_are_of_a_kind_of_our_own() -> None:
    """An API server forgets to follow parameters of a built-in kind once their last binding was gone for a second."""
    kinds = [each["spec"]["paramKind"] for each in pods() if "paramKind" in each["spec"]]
    assert kinds == [{"apiVersion": "hitl.dev/v1alpha1", "kind": "SidecarStandard"}]


def test_without_injection_nothing_is_printed_that_would_refuse_every_pod(capsys: pytest.CaptureFixture[str]) -> None:
    """What wants a sidecar in every gated pod comes when it is asked for."""
    assert not set(NAMES) & set(named(printed(capsys), "ValidatingAdmissionPolicy"))
    asked = printed(capsys, "--namespace", "guard", "--injection")
    assert set(NAMES) <= set(named(asked, "ValidatingAdmissionPolicy"))
    alone = printed(capsys, "--only", "pods")
    assert {each["kind"] for each in alone} == {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
