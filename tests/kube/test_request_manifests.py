"""ApprovalRequests survive being written and read, and nothing that is not theirs is read at all."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from hitl.approvals.requests import ApprovalRequest, Decision, RequestSpec, Touches
from hitl.approvals.transitions import with_note
from hitl.errors import InvalidInput
from hitl.kube.requests import (
    manifest_to_request,
    request_to_manifest,
    spec_from_json,
    spec_to_json,
    status_to_json,
    stored_request,
)
from hitl.policy.verdicts import EscalationStep, Factor, PolicyRef, Reason
from kube.requests_of_all_kinds import decisions, requests, specs
from stores.asking import SIDECAR, Clock, a_decision, a_note, a_spec, approved_by, consumed, opening

# Requests are large: on a busy machine making one may take longer than Hypothesis likes.
LARGE = [HealthCheck.too_slow, HealthCheck.data_too_large]
CLOCK = Clock(datetime(2026, 5, 1, 2, 47, 10, 500, tzinfo=UTC))


def a_full_request() -> ApprovalRequest:
    """One that was approved by two people and released, with everything that a reviewer is shown."""
    spec = a_spec(
        on_behalf_of="carla",
        touches=Touches(network=("api.stripe.com",), writes=("/tmp/receipt",)),
        score=64,
        factors=(Factor("financial", 15, "moves money"), Factor("exact", -5, "one host")),
        reasons=(Reason.RULE, Reason.EXTERNAL_IMPACT),
        policies=(PolicyRef("AgentPolicy", "shop", "support", 3), PolicyRef("ClusterAgentPolicy", "", "baseline")),
        escalation=(EscalationStep(300, ("oncall",), "AgentPolicy/shop/support"),),
        remind=120,
    )
    request = ApprovalRequest("shop", "create-refund-7f3kq00000", "0b9c", "17", CLOCK(), spec, opening(CLOCK, spec))
    request = replace(request, status=with_note(request, a_note(request, "ben"), CLOCK()))
    request = approved_by(request, CLOCK(), "ana")
    return replace(request, status=consumed(request, CLOCK()), labels={"hitl.dev/tier": "confirm"})


def at(document: Any, path: str) -> tuple[Any, Any]:
    """The container and key that a path such as ``spec.factors.0.points`` leads to."""
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        document = document[step]
    return document, last


def changed(path: str, value: Any) -> dict[str, Any]:
    """The full request's manifest with one value put somewhere."""
    manifest = json.loads(json.dumps(request_to_manifest(a_full_request())))
    container, key = at(manifest, path)
    container[key] = value
    return dict(manifest)


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(InvalidInput) as raised:
        read()
    return str(raised.value)


@settings(max_examples=150, deadline=None, suppress_health_check=LARGE)
@given(requests)
def test_every_request_survives_its_manifest(request: ApprovalRequest) -> None:
    """Whatever a request holds, reading its manifest gives an equal one, also after a detour through YAML or JSON."""
    manifest = request_to_manifest(request)
    assert manifest_to_request(manifest) == request
    assert manifest_to_request(json.loads(json.dumps(manifest))) == request
    assert manifest_to_request(yaml.safe_load(yaml.safe_dump(manifest, sort_keys=False))) == request


@settings(max_examples=100, deadline=None, suppress_health_check=LARGE)
@given(specs)
def test_every_spec_survives_the_wire(spec: RequestSpec) -> None:
    """Whatever a spec holds, the JSON that a sidecar sends gives the hub an equal one."""
    assert spec_from_json(spec_to_json(spec)) == spec


@settings(max_examples=100, deadline=None, suppress_health_check=LARGE)
@given(requests)
def test_every_request_survives_a_store(request: ApprovalRequest) -> None:
    """What a store keeps — metadata, spec and status as JSON — gives an equal request."""
    metadata = request_to_manifest(request)["metadata"]
    stored = stored_request(metadata, spec_to_json(request.spec).decode(), status_to_json(request.status).decode())
    assert stored == request


@settings(max_examples=50, deadline=None, suppress_health_check=LARGE)
@given(decisions)
def test_equal_values_are_spelled_alike(decision: Decision) -> None:
    """One value has one spelling: after a round trip the JSON is the same, byte for byte."""
    request = a_full_request()
    text = status_to_json(replace(request.status, decisions=(decision,)))
    again = stored_request(request_to_manifest(request)["metadata"], spec_to_json(request.spec).decode(), text.decode())
    assert status_to_json(again.status) == text


def test_the_manifest_has_the_shape_of_the_resource() -> None:
    """Groups, names and order are those people know from `kubectl get ar -o yaml`; empty fields are left out."""
    manifest = request_to_manifest(a_full_request())
    assert list(manifest) == ["apiVersion", "kind", "metadata", "spec", "status"]
    assert (manifest["apiVersion"], manifest["kind"]) == ("hitl.dev/v1alpha1", "ApprovalRequest")
    assert manifest["metadata"] == {
        "namespace": "shop",
        "name": "create-refund-7f3kq00000",
        "uid": "0b9c",
        "resourceVersion": "17",
        "creationTimestamp": "2026-05-01T02:47:10.000500Z",
        "labels": {"hitl.dev/tier": "confirm"},
    }
    spec, status = manifest["spec"], manifest["status"]
    assert spec["requester"] == {"username": "system:serviceaccount:shop:support"}
    assert spec["agent"] == {
        "podName": "support-7d9c-x2x4q",
        "podUID": "pod-uid",
        "serviceAccount": "support",
        "workload": "deploy/support",
    }
    assert spec["onBehalfOf"] == {"username": "carla"}
    assert spec["call"] == {
        "server": "stripe",
        "tool": "create_refund",
        "argumentsPreview": '{"amount":15000,"currency":"eur"}',
    }
    assert spec["touches"] == {"network": ["api.stripe.com"], "writes": ["/tmp/receipt"]}
    assert spec["factors"][1] == {"name": "exact", "points": -5, "reason": "one host"}
    assert spec["policies"][1] == {"kind": "ClusterAgentPolicy", "name": "baseline"}
    assert spec["escalation"] == [{"after": "5m", "to": ["oncall"], "origin": "AgentPolicy/shop/support"}]
    assert (spec["timeout"], spec["remind"], spec["denialCooldown"]) == ("15m", "2m", "10m")
    assert not {"undo", "effects", "context", "earlier", "excluded"} & set(spec)
    assert status["state"] == "Consumed"
    assert status["consumedBy"] == SIDECAR
    assert status["decisions"][0]["requestUID"] == "0b9c"
    assert status["notes"][0]["type"] == "Extend"
    assert [condition["type"] for condition in status["conditions"]] == ["Approved", "Consumed"]


def test_terms_are_written_even_where_they_are_the_default() -> None:
    """What was agreed on stays readable when a default changes: the terms are always spelled out."""
    spec = request_to_manifest(a_full_request())["spec"]
    assert (spec["onTimeout"], spec["denialsToEnd"]) == ("Abort", 1)
    assert spec["requirements"][0] == {
        "name": "support-leads",
        "approvals": 1,
        "anyOf": ["support-leads"],
        "secondFactor": "None",
    }


@pytest.mark.parametrize(
    "path",
    [
        "mood",
        "metadata.mood",
        "spec.mood",
        "spec.agent.mood",
        "spec.requester.groups",
        "spec.call.arguments",
        "spec.factors.0.mood",
        "spec.requirements.0.minimum",
        "status.phase",
        "status.decisions.0.approver",
        "status.conditions.0.observed",
    ],
)
def test_C5_an_unknown_field_is_refused_by_its_path(path: str) -> None:
    """C5: an unknown field is never passed over, wherever it stands; the message names it and its neighbours."""
    message = refusal(lambda: manifest_to_request(changed(path, "x")))
    shown = path.replace(".0.", "[0].")
    assert message.startswith(f"{shown}: is not a known field; known here: ")


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("apiVersion", "hitl.dev/v2", "apiVersion: is 'hitl.dev/v2', wanted hitl.dev/v1alpha1"),
        ("kind", "AgentPolicy", "kind: is 'AgentPolicy', wanted ApprovalRequest"),
        ("metadata", [], "metadata: is [], wanted an object"),
        ("spec", None, "spec: is None, wanted an object"),
        ("spec.agent", "support", "spec.agent: is 'support', wanted an object"),
        ("spec.summary", 7, "spec.summary: is 7, wanted text"),
        ("spec.undo", None, "spec.undo: is None, wanted text"),
        ("spec.score", 64.0, "spec.score: is 64.0, wanted a whole number"),
        ("spec.score", True, "spec.score: is True, wanted a whole number"),
        ("spec.score", 101, "spec.score: is 101, wanted 0 to 100"),
        ("spec.tier", "Confirm", "spec.tier: is 'Confirm', wanted one of confirm, multi-factor"),
        ("spec.reasons.1", "Whim", "spec.reasons[1]: is 'Whim', wanted one of Rule, Score"),
        ("spec.effects", "Deletion", "spec.effects: is 'Deletion', wanted a list"),
        ("spec.factors.0.points", "15", "spec.factors[0].points: is '15', wanted a whole number"),
        ("spec.requirements.0.approvals", 0, "spec.requirements[0].approvals: is 0, wanted 1 to 10"),
        ("spec.timeout", "8d", "spec.timeout: is 8d, wanted 1s to 7d"),
        ("spec.timeout", "900", "spec.timeout: '900' is not a duration"),
        ("spec.timeout", "1500ms", "spec.timeout: is '1500ms', wanted whole seconds"),
        ("spec.onBehalfOf.verified", "yes", "spec.onBehalfOf.verified: is 'yes', wanted true or false"),
        ("metadata.labels", {"a": 1}, "metadata.labels.a: is 1, wanted text"),
        ("metadata.creationTimestamp", "2026-05-01", "metadata.creationTimestamp: is '2026-05-01', wanted a time"),
        ("status.expirationTime", "2026-02-30T00:00:00Z", "status.expirationTime: is '2026-02-30T00:00:00Z'"),
        ("status.expirationTime", "2026-05-01T02:47:10", "status.expirationTime: is '2026-05-01T02:47:10'"),
        ("status.decisions.0.decision", "Maybe", "status.decisions[0].decision: is 'Maybe', wanted one of Approved"),
        ("status.decisions.0.argumentsPatch", [1], "status.decisions[0].argumentsPatch: is [1], wanted an object"),
        ("status.notes.0.n", 9, "status.notes[0].n: is 9, wanted 1 to 8"),
        ("status.conditions.0.status", True, "status.conditions[0].status: is True, wanted one of True, False"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_path(path: str, value: Any, wanted: str) -> None:
    """Nothing is bent into a type it does not have: the message names the place, what was found and what was wanted."""
    assert refusal(lambda: manifest_to_request(changed(path, value))).startswith(wanted)


@pytest.mark.parametrize(
    "path", ["metadata.uid", "spec.digest", "spec.agent.workload", "spec.call.tool", "spec.timeout"]
)
def test_a_missing_field_is_refused_by_its_path(path: str) -> None:
    """A field without which a request means nothing is asked for by name."""
    manifest = changed(path, "x")
    container, key = at(manifest, path)
    del container[key]
    assert refusal(lambda: manifest_to_request(manifest)) == f"{path}: is missing"


def test_what_an_api_server_adds_to_metadata_is_passed_over() -> None:
    """ManagedFields and the like belong to the API server: reading a stored resource does not stumble over them."""
    request = a_full_request()
    manifest = request_to_manifest(request)
    manifest["metadata"] |= {"managedFields": [{}], "generation": 1, "annotations": {"a": "b"}}
    assert manifest_to_request(manifest) == request


def test_times_are_read_in_any_zone_and_written_in_utc() -> None:
    """An offset is understood, and one instant is written in one way."""
    created = datetime(2026, 5, 1, 4, 47, 10, tzinfo=timezone(timedelta(hours=2)))
    request = replace(a_full_request(), created=created)
    manifest = request_to_manifest(request)
    assert manifest["metadata"]["creationTimestamp"] == "2026-05-01T02:47:10.000000Z"
    manifest["metadata"]["creationTimestamp"] = "2026-05-01T04:47:10+02:00"
    assert manifest_to_request(manifest) == request


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        (b'{"kind":"ToolCall","kind":"Question"}', 'the key "kind" stands there twice'),
        (b"not json", "not JSON"),
        (b"\xff", "UTF-8"),
        (b"[]", "spec: is [], wanted an object"),
        (b"{}", "spec.kind: is missing"),
    ],
)
def test_A3_a_spec_on_the_wire_is_read_in_one_way(document: bytes, wanted: str) -> None:
    """A3: a spec with a duplicate key, or that is no JSON object, is refused and never guessed at."""
    assert wanted in refusal(lambda: spec_from_json(document))


@pytest.mark.parametrize(
    ("decision", "wanted"),
    [
        ({"answer": float("nan")}, "status.decisions[0].answer: is nan, which is not JSON"),
        ({"arguments_patch": {"a": [1, {2}]}}, "status.decisions[0].argumentsPatch.a[1]: is {2}, which is not JSON"),
        ({"arguments_patch": {1: 2}}, "status.decisions[0].argumentsPatch: is 1, wanted text"),
        ({"answer": 2**64}, "status.decisions[0].answer: is 18446744073709551616"),
        ({"reason": "\ud800"}, "status: has no JSON form"),
        ({"time": datetime(2026, 5, 1)}, "status.decisions[0].time: 2026-05-01T00:00:00 has no time zone"),  # noqa: DTZ001 - that is the point
    ],
)
def test_what_json_cannot_carry_is_refused_before_it_is_written(decision: dict[str, Any], wanted: str) -> None:
    """A value that would come back changed is refused when it is written, with its path."""
    request = a_full_request()
    status = replace(request.status, decisions=(a_decision(request, **decision),))
    assert refusal(lambda: status_to_json(status)).startswith(wanted)
