"""Whether what stands in the cluster is what this release ships: PURE (SECURITY C4).

The server fills in defaults; they are filled in here too, and then the two must be equal. A default that is not known
here is a difference: what cannot be told apart from a weakening counts as one, and the message names the field.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
import rfc8785

from hitl.kube.paths import path_of

_POLICY: Final = "ValidatingAdmissionPolicy"
_BINDING: Final = "ValidatingAdmissionPolicyBinding"
_CRD: Final = "CustomResourceDefinition"
_PLURALS: Final = {
    _POLICY: "validatingadmissionpolicies",
    _BINDING: "validatingadmissionpolicybindings",
    _CRD: "customresourcedefinitions",
}
_REQUESTS: Final = "approvalrequests"
_REQUESTS_CRD: Final = "approvalrequests.hitl.dev"


@dataclass(frozen=True, slots=True)
class Guard:
    """One object that keeps votes honest, as it was shipped.

    Attributes:
        kind, name: which.
        wanted: its spec as the server stores it, defaults included.
        is_vital: decisions rest on it. The others guard policies and tokens: a change is reported and voids no vote.
    """

    kind: str
    name: str
    wanted: Mapping[str, Any]
    is_vital: bool

    @property
    def key(self) -> str:
        """``Kind/name``."""
        return f"{self.kind}/{self.name}"

    @property
    def path(self) -> str:
        """Where the object stands on an API server."""
        return path_of(_GROUPS[self.kind], _PLURALS[self.kind], name=self.name)


_GROUPS: Final = {
    _POLICY: "admissionregistration.k8s.io/v1",
    _BINDING: "admissionregistration.k8s.io/v1",
    _CRD: "apiextensions.k8s.io/v1",
}
KINDS: Final = tuple(_PLURALS)


def collection(kind: str) -> str:
    """Path of all objects of one of `KINDS`."""
    return path_of(_GROUPS[kind], _PLURALS[kind])


def guards(admission: Iterable[Mapping[str, Any]], crds: Iterable[Mapping[str, Any]]) -> tuple[Guard, ...]:
    """What is to be watched of the manifests that `hitl.kube.shipped` gives: all admission, and the requests' CRD."""
    admission = tuple(admission)
    vital = {each["metadata"]["name"] for each in admission if each["kind"] == _POLICY and _is_about_requests(each)}
    found = []
    for each in (*admission, *crds):
        kind, name, spec = each["kind"], each["metadata"]["name"], each["spec"]
        match kind:
            case "ValidatingAdmissionPolicy":
                found.append(Guard(kind, name, _policy(spec), name in vital))
            case "ValidatingAdmissionPolicyBinding":
                found.append(Guard(kind, name, _binding(spec), spec["policyName"] in vital))
            case "CustomResourceDefinition" if name == _REQUESTS_CRD:
                found.append(crd_guard(each))
            case _:
                pass
    return tuple(found)


def crd_guard(crd: Mapping[str, Any]) -> Guard:
    """The same for any one CRD; only that of requests keeps votes honest."""
    name = crd["metadata"]["name"]
    return Guard(_CRD, name, _crd(crd["spec"]), is_vital=name == _REQUESTS_CRD)


def difference(guard: Guard, stored: Mapping[str, Any] | None) -> str:
    """How a stored object differs from what was shipped, for people; empty where it does not."""
    if stored is None:
        return f"{guard.kind} {guard.name} is not there"
    found = _first(dict(guard.wanted), stored.get("spec"), "spec")
    return f"{guard.kind} {guard.name}: {found}" if found else ""


def digest_of(stored: Mapping[str, Any]) -> str:
    """SHA-256 over the spec as the server stores it, hex."""
    spec = stored.get("spec")
    try:
        text = rfc8785.dumps(spec)
    except rfc8785.CanonicalizationError:  # numbers beyond 2^53, which nothing that is shipped has
        text = orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()


def _is_about_requests(policy: Mapping[str, Any]) -> bool:
    rules = policy["spec"].get("matchConstraints", {}).get("resourceRules", ())
    return any(resource.partition("/")[0] in (_REQUESTS, "*") for rule in rules for resource in rule["resources"])


def _policy(spec: Mapping[str, Any]) -> dict[str, Any]:
    """See SetDefaults_ValidatingAdmissionPolicySpec and SetDefaults_MatchResources of admissionregistration/v1."""
    return {"failurePolicy": "Fail", **spec, "matchConstraints": _match_resources(spec["matchConstraints"])}


def _binding(spec: Mapping[str, Any]) -> dict[str, Any]:
    matched = spec.get("matchResources")
    return dict(spec) if matched is None else {**spec, "matchResources": _match_resources(matched)}


def _match_resources(match: Mapping[str, Any]) -> dict[str, Any]:
    lists = {
        key: [{"scope": "*", **rule} for rule in match[key]]
        for key in ("resourceRules", "excludeResourceRules")
        if key in match
    }
    return {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, **match, **lists}


def _crd(spec: Mapping[str, Any]) -> dict[str, Any]:
    """See SetDefaults_CustomResourceDefinitionSpec of apiextensions/v1."""
    kind = spec["names"]["kind"]
    names = {"singular": kind.lower(), "listKind": f"{kind}List", **spec["names"]}
    return {"conversion": {"strategy": "None"}, **spec, "names": names}


def _first(wanted: Any, stored: Any, path: str) -> str:
    """The first place where two JSON values differ, with what stands there; empty if they are equal."""
    match wanted, stored:
        case dict(), dict():
            for key in sorted(wanted.keys() | stored.keys()):
                where = f"{path}.{key}"
                if key not in stored:
                    return f"{where} is missing, shipped as {_shown(wanted[key])}"
                if key not in wanted:
                    return f"{where} was added: {_shown(stored[key])}"
                if found := _first(wanted[key], stored[key], where):
                    return found
            return ""
        case list(), list():
            for at, (one, other) in enumerate(zip(wanted, stored, strict=False)):
                if found := _first(one, other, f"{path}[{at}]"):
                    return found
            if len(wanted) != len(stored):
                return f"{path} has {len(stored)} entries, shipped with {len(wanted)}"
            return ""
    # True == 1 in Python, but not in JSON.
    if wanted == stored and isinstance(wanted, bool) == isinstance(stored, bool):
        return ""
    return f"{path} is {_shown(stored)}, shipped as {_shown(wanted)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_LONGEST: Final = 80
