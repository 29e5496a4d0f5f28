"""AdmissionReview both ways, and what an installation may be called."""

import base64
from typing import Any

import orjson
import pytest

from control_plane.certificates import Authority
from hitl.errors import InvalidInput
from hitl_operator.injection.installation import Installation, args
from hitl_operator.injection.patching import Injected, OptedOut, Refused
from hitl_operator.injection.review import answer, read_review, refusal
from hitl_sidecar.options import parse


def a_review(**request: Any) -> bytes:
    """What an API server sends for a new pod, with changes."""
    asked = {
        "uid": "u-1",
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "shop",
        "object": {"metadata": {"generateName": "support-"}, "spec": {"containers": []}},
        **request,
    }
    return orjson.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked})


def response(answered: bytes) -> dict[str, Any]:
    review = orjson.loads(answered)
    assert (review["apiVersion"], review["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    found: dict[str, Any] = review["response"]
    return found


def test_an_injected_pod_is_answered_with_a_patch() -> None:
    """uid, allowed, JSON patch in base64, and warnings on one line each."""
    asked = read_review(a_review())
    outcome, answered = answer(
        asked, lambda pod: Injected({**pod, "metadata": {"labels": {"a": "b"}}}, ("two\nlines",))
    )
    found = response(answered)
    assert (outcome, found["uid"], found["allowed"], found["patchType"]) == ("injected", "u-1", True, "JSONPatch")
    patch = orjson.loads(base64.b64decode(found["patch"]))
    assert patch == [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]
    assert len(found["warnings"]) == 1
    assert "\n" not in found["warnings"][0]


def test_a_pod_that_stays_as_it_is_is_answered_without_a_patch() -> None:
    """An empty patch with a type would be an error to the API server."""
    outcome, answered = answer(read_review(a_review()), lambda pod: OptedOut(dict(pod)))
    assert (outcome, response(answered)) == ("opted-out", {"uid": "u-1", "allowed": True})


def test_a_refusal_names_the_pod_and_every_reason() -> None:
    """A pod that is still to be named is called by what its name begins with."""
    outcome, answered = answer(read_review(a_review()), lambda _: Refused(("first", "second")))
    found = response(answered)
    assert (outcome, found["allowed"]) == ("refused", False)
    assert found["status"]["message"] == "pod support-* cannot be gated by hitl: first; second"
    assert found["status"]["code"] == 403


def test_a_refusal_of_any_length_fits() -> None:
    """Ten thousand characters of a pod's author are cut, and none of them draws on a terminal."""
    message = response(refusal("u", 403, "\x1b[31m" + "x" * 10_000))["status"]["message"]
    assert len(message) == 2000
    assert "\x1b" not in message


@pytest.mark.parametrize(
    "request_",
    [
        {"operation": "UPDATE"},
        {"subResource": "ephemeralcontainers"},
        {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}},
        {"resource": None},
        {"object": None},
        {"object": []},
    ],
)
def test_anything_but_a_new_pod_is_refused(request_: dict[str, Any]) -> None:
    """I2: a webhook that was registered for something else lets none of it through."""
    outcome, answered = answer(read_review(a_review(**request_)), lambda _: pytest.fail("it is no new pod"))
    assert (outcome, response(answered)["allowed"]) == ("refused", False)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", a_review(uid=""), a_review(uid=1), a_review().replace(b"k8s.io/v1", b"k8s.io/v1beta1")],
)
def test_what_is_no_review_has_no_answer(body: bytes) -> None:
    """Without a uid there is nothing that could be answered."""
    with pytest.raises(InvalidInput):
        read_review(body)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image": ""}, "--sidecar-image"),
        ({"image": "a b"}, "--sidecar-image"),
        ({"image": "a", "service": "Hub"}, "--service"),
        ({"image": "a", "namespace": "a.b"}, "--namespace"),
    ],
)
def test_an_installation_of_wrong_names_is_refused_at_the_start(settings: dict[str, str], words: str) -> None:
    """The flag is named; nothing of it would ever be noticed in a pod."""
    with pytest.raises(InvalidInput, match=words):
        Installation(**settings)


def test_the_sidecar_understands_its_args(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixed command line parses as a sidecar's, and leads to the installation's hub."""
    monkeypatch.setenv("HITL_HUB_CA_PEM", Authority().pem.decode())
    options = parse(args(namespace="gate", service="hub"))
    assert options.hub == "dns:///hub.gate.svc:8443"
    assert options.trust is not None
    assert options.trust.token.as_posix() == "/var/run/secrets/hitl.dev/hub/token"
    assert (options.socket_mode, options.metrics_host, options.metrics_port) == (0o666, "*", 9471)
