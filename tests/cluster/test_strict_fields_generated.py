"""The policy that is made from any CRD, tried with a small one of its own group on a real API server (C5)."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from cluster.gated_pods import until
from control_plane.installing import applied, until_policies_act
from control_plane.running import ControlPlane
from hitl.errors import ApiError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.strict_fields import keeps_unknown_fields, strict_fields

VERSION = "toys.example/v1"
KEEPS = {"x-kubernetes-preserve-unknown-fields": True}
WHEEL = {"type": "object", **KEEPS, "properties": {"size": {"type": "integer"}}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    **KEEPS,
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            **KEEPS,
            "properties": {
                "wheels": {"type": "array", "maxItems": 9, "items": {"type": "array", "maxItems": 9, "items": WHEEL}},
                "parts": {"type": "object", "additionalProperties": WHEEL},
                "either": {**KEEPS, "properties": {"word": {"type": "string"}}},
                "pruned": {"type": "object", "properties": {"a": {"type": "string"}}},
            },
        }
    },
}
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "toys.toys.example"},
    "spec": {
        "group": "toys.example",
        "scope": "Namespaced",
        "names": {"kind": "Toy", "plural": "toys", "singular": "toy"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}}],
    },
}


def a_toy(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": VERSION, "kind": "Toy", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
async def toys(control_plane: ControlPlane, namespace: str, admin: KubeAPI) -> AsyncIterator[str]:
    """The collection, with a toy in it that was stored before anybody looked at its fields."""
    path = path_of(VERSION, "toys", namespace)
    applied(control_plane, CRD)
    established = control_plane.kubectl("wait", "--for=condition=Established", "crd/toys.toys.example", "--timeout=60s")
    assert established.returncode == 0, established.stderr
    await until(lambda: _made(admin, path))  # an established kind may be served a moment later
    applied(control_plane, *strict_fields(CRD))
    until_policies_act(control_plane)
    yield path
    control_plane.kubectl("delete", "-f", "-", stdin=_as_list())


async def _made(admin: KubeAPI, path: str) -> bool:
    try:
        await admin.create(path, a_toy("old", wheel=1))
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


def _as_list() -> str:
    return orjson.dumps({"apiVersion": "v1", "kind": "List", "items": [*strict_fields(CRD), CRD]}).decode()


async def test_C5_each_shape_of_a_schema_is_followed(toys: str, admin: KubeAPI) -> None:
    """Lists in lists, mappings and what may also be a word; what the schema prunes is pruned, not refused."""
    wrong = {
        "spec.wheel: unknown field; did you mean wheels?": {"wheel": 1},
        "spec.wheels[1][0].SIZE: unknown field; did you mean size?": {"wheels": [[], [{"SIZE": 1}]]},
        "spec.parts.left.x: unknown field; known here: size": {"parts": {"right": {"size": 1}, "left": {"x": 1}}},
        "spec.either.wort: unknown field; did you mean word?": {"either": {"wort": "a"}},
    }
    for says, spec in wrong.items():
        with pytest.raises(ApiError) as caught:
            await admin.create(toys, a_toy("new", **spec))
        assert says in caught.value.message
    right = {"wheels": [[{"size": 1}], []], "parts": {"left": {}}, "either": "a word"}
    assert (await admin.create(toys, a_toy("right", **right)))["spec"] == right
    await admin.create(toys, a_toy("either", either=["a", "list"]))

    # What was there before keeps its life: its metadata may change, it may go; its spec is mended or left alone.
    old = f"{toys}/old"
    await admin.merge_patch(old, {"metadata": {"labels": {"a": "b"}, "finalizers": ["toys.example/f"]}})
    with pytest.raises(ApiError) as caught:
        await admin.merge_patch(old, {"spec": {"either": "a word"}})
    assert "spec.wheel: unknown field" in caught.value.message
    await admin.delete(old)
    await admin.merge_patch(old, {"metadata": {"finalizers": None}})
    with pytest.raises(ApiError) as gone:
        await admin.get(old)
    assert gone.value.status == 404


def test_only_a_crd_that_keeps_unknown_fields_gets_a_policy() -> None:
    """Where the API server prunes, there is nothing left to name."""
    assert keeps_unknown_fields(CRD)
    pruning = {**SCHEMA, "x-kubernetes-preserve-unknown-fields": False}
    version = CRD["spec"]["versions"][0] | {"schema": {"openAPIV3Schema": pruning}}
    assert not keeps_unknown_fields({**CRD, "spec": {**CRD["spec"], "versions": [version]}})
