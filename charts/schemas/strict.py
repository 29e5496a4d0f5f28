"""From what an API server and CRDs say of their kinds to JSON schemas that refuse a key nobody declared; all pure.

The API server itself drops unknown keys, or warns: a misspelled one in a template would be seen by nobody.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import yaml

KINDS: Final = frozenset(
    {
        ("", "ConfigMap"),
        ("", "Pod"),
        ("", "Secret"),
        ("", "Service"),
        ("", "ServiceAccount"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apps", "Deployment"),
        ("batch", "Job"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("policy", "PodDisruptionBudget"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io", "Role"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
    }
)
"""Kinds of Kubernetes that the chart renders, all of version v1, by API group."""
VERSION: Final = "v1"

_REF: Final = "#/components/schemas/"
# What is not about which objects are valid; without it the file is a fifth as long.
_WORDS: Final = frozenset({"description", "default", "example", "externalDocs", "title"})

Schema = dict[str, Any]


def definitions(documents: Iterable[Mapping[str, Any]]) -> dict[str, Schema]:
    """The definitions of KINDS and of all they refer to, from OpenAPI v3 documents of an API server.

    Raises:
        ValueError: the server has no such kind.
    """
    known: dict[str, Any] = {}
    for document in documents:
        known |= document.get("components", {}).get("schemas", {})
    kinds = {gvk: name for name, schema in known.items() for gvk in _kinds_of(schema)}
    if missing := KINDS - kinds.keys():
        raise ValueError(f"the API server has no {sorted(missing)} of version {VERSION}")
    found: dict[str, Schema] = {}
    left = [kinds[kind] for kind in KINDS]
    while left:
        name = left.pop()
        if name not in found:
            found[name] = _plain(known[name])
            left += _references(found[name])
    return dict(sorted(found.items()))


def of_kubernetes(kept: Mapping[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """File name and schema of each kind, from what `definitions` gave."""
    closed = {name: strict(schema) for name, schema in kept.items()}
    for name, schema in kept.items():
        for group, kind in _kinds_of(schema):
            if (group, kind) in KINDS:
                yield file_of(group, kind, VERSION), {"$ref": f"#/definitions/{name}", "definitions": closed}


def of_crd(text: str) -> Iterator[tuple[str, Schema]]:
    """File name and schema of each served version of a CRD's kind."""
    spec = yaml.safe_load(text)["spec"]
    for version in spec["versions"]:
        if version["served"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"] |= {
                "apiVersion": {"const": f"{spec['group']}/{version['name']}"},
                "kind": {"const": spec["names"]["kind"]},
                "metadata": {"type": "object"},
            }
            yield file_of(spec["group"], spec["names"]["kind"], version["name"]), schema


def file_of(group: str, kind: str, version: str) -> str:
    """As kubeconform calls it by `LOCATION` in charts/schemas/kept.py; the core group is v1 to it."""
    return f"{group or version}_{kind.lower()}_{version}.json"


def strict(schema: Any) -> Any:
    """The schema with every object closed that names its keys, in the words of JSON Schema instead of Kubernetes'."""
    match schema:
        case {"$ref": str(ref)}:
            return {"$ref": ref.replace(_REF, "#/definitions/")}
        case {"x-kubernetes-int-or-string": True}:
            return {"type": ["integer", "string"]}
        case dict():
            made = {key: _part(key, value) for key, value in schema.items() if not key.startswith("x-")}
            # Also where unknown keys are kept: ours are, only so that an admission policy can refuse them by name (C5).
            if "properties" in made:
                made.setdefault("additionalProperties", False)
            if made.pop("nullable", False) and isinstance(made.get("type"), str):
                made["type"] = [made["type"], "null"]
            return made
        case _:
            return schema


def _part(key: str, value: Any) -> Any:
    match key, value:
        case "properties", dict():
            return {name: strict(each) for name, each in value.items()}
        case (("items" | "additionalProperties" | "not"), dict()):
            return strict(value)
        case (("allOf" | "anyOf" | "oneOf"), list()) if any("$ref" in each for each in value):
            return [strict(each) for each in value]
    return value  # the others' branches speak of keys that the object around them declares: they stay open


def without_words(text: str) -> str:
    """A CRD's text without descriptions: as valid for the API server, a fifth as long."""
    crd = yaml.safe_load(text)
    for version in crd["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"] = _plain(version["schema"]["openAPIV3Schema"], keep=frozenset({"default"}))
    crd["metadata"] = {"name": crd["metadata"]["name"], "annotations": crd["metadata"].get("annotations", {})}
    crd.pop("status", None)
    return str(yaml.safe_dump(crd, sort_keys=False, width=120))


def _plain(schema: Any, keep: frozenset[str] = frozenset()) -> Any:
    """Without words; a property that happens to be called as one of them stays."""
    match schema:
        case dict():
            return {
                key: {name: _plain(each, keep) for name, each in value.items()}
                if key == "properties" and isinstance(value, dict)
                else _plain(value, keep)
                for key, value in schema.items()
                if key not in _WORDS - keep
            }
        case list():
            return [_plain(each, keep) for each in schema]
    return schema


def _kinds_of(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for gvk in schema.get("x-kubernetes-group-version-kind", ()):
        if gvk["version"] == VERSION:
            yield gvk["group"], gvk["kind"]


def _references(schema: Any) -> list[str]:
    return re.findall(rf"'{re.escape(_REF)}([^']+)'", repr(schema))
