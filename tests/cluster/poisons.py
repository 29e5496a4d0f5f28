"""Objects that namespaced users can have stored and that are hard to read for whoever mirrors the cluster."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control_plane.installing import ACTING, applied
from control_plane.running import ControlPlane
from hitl.kube.manifests import API_VERSION
from hitl.kube.marks import GATED
from hitl_operator.cluster.pods import SIDECAR, STAMPED

MALLORY = "mallory@example.com"
_HERE = "@here@"
_TOO_DEEP = "is nested deeper than 64 levels"
_TOO_LARGE = "KiB as JSON, at most 256 KiB are read"


@dataclass(frozen=True, slots=True)
class Poison:
    """A policy as text: json writes no more than some 900 levels.

    Attributes:
        told: what its author finds in the condition Accepted.
        accepted: whether that is True.
    """

    text: str
    told: str = "1 rule: [1] Deny delete_*"
    accepted: bool = True


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def _fields(levels: int) -> str:
    """An entry of managedFields by which somebody owns a label that is nested so deep."""
    return json.dumps(
        {
            "manager": "mallory",
            "operation": "Apply",
            "apiVersion": API_VERSION,
            "fieldsType": "FieldsV1",
            "time": "2026-01-01T00:00:00Z",
            "fieldsV1": {"f:metadata": {"f:labels": _HERE}},
        }
    ).replace(json.dumps(_HERE), '{"f:a":' * levels + "{}" + "}" * levels)


def _stamped(time: str) -> str:
    """An entry of managedFields of whoever wrote the spec, at a time of his own choice."""
    fields = {"f:spec": {"f:rules": {}}}
    entry = {"manager": "mallory", "operation": "Update", "apiVersion": API_VERSION, "fieldsType": "FieldsV1"}
    return json.dumps({**entry, "time": time, "fieldsV1": fields})


def _with(manifest: dict[str, Any], managed: str) -> str:
    if not managed:
        return json.dumps(manifest)
    manifest["metadata"]["managedFields"] = ["@managed@"]
    return json.dumps(manifest).replace('"@managed@"', managed)


def a_policy(name: str, *, operand: str = "1", managed: str = "", **metadata: Any) -> str:
    """An AgentPolicy that compares with this JSON, as text."""
    rule = {"action": "Deny", "tools": ["delete_*"], "args": {"x": {"equals": _HERE}}}
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "AgentPolicy",
        "metadata": {"name": name, **metadata},
        "spec": {"rules": [rule], "review": {"every": "1d"}},
    }
    return _with(manifest, managed).replace(json.dumps(_HERE), operand)


def _a_pod(name: str, *, managed: str = "", stamped: str = "{}", env: str = "") -> str:
    """A pod that the hub looks at, as text."""
    container = {"name": SIDECAR, "image": "a", "env": [{"name": "A", "value": env}]}
    metadata = {"name": name, "labels": {GATED: "true"}, "annotations": {STAMPED: stamped}}
    return _with(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}, managed
    )


def _policies() -> Iterator[tuple[str, Poison]]:
    for levels in (300, 1200, 9000):
        name = f"{levels}-deep"
        yield name, Poison(a_policy(name, operand=nested(levels)), _TOO_DEEP, accepted=False)
    yield (
        "wide",
        Poison(a_policy("wide", operand=f"[{','.join(['[1234567890]'] * 22_000)}]"), _TOO_LARGE, accepted=False),
    )
    yield "huge", Poison(a_policy("huge", operand=f'"{"x" * 1_400_000}"'), _TOO_LARGE, accepted=False)
    swollen = "is longer than 4096 characters"  # each of them is six in the JSON of an API server
    yield "swollen", Poison(a_policy("swollen", operand=f'"{"<" * 240_000}"'), swollen, accepted=False)
    yield "owned-1500-deep", Poison(a_policy("owned-1500-deep", managed=_fields(1500)))
    for year in ("0000", "9999"):
        name = f"of-the-year-{year}"
        yield name, Poison(a_policy(name, managed=_stamped(f"{year}-12-31T23:59:59Z")))
    numbers = {"largest": "1e308", "vanishing": "1e-400", "of-30-digits": "9" * 30, "negative-zero": "-0.0"}
    for name, number in numbers.items():
        yield name, Poison(a_policy(name, operand=number))
    yield "no-characters", Poison(a_policy("no-characters", operand=r'"\ud800\u0000\uffff"'))
    long = ".".join(letter * 63 for letter in "abcd")[:253]
    yield long, Poison(a_policy(long))
    labels = {f"l{number}": "x" * 60 for number in range(3000)}
    annotations = {"hitl.dev/reviewed-at": "0001-01-01T00:00:00+23:59", "a": "\0\u202e" + "<" * 200_000}
    yield "decorated", Poison(a_policy("decorated", labels=labels, annotations=annotations))
    yield "for-ever", Poison(a_policy("for-ever", finalizers=["mallory.example/never"]))


POLICIES: Mapping[str, Poison] = dict(_policies())
PODS: Mapping[str, str] = {
    "owned-1500-deep": _a_pod("owned-1500-deep", managed=_fields(1500)),
    "stamped-120000-deep": _a_pod("stamped-120000-deep", stamped="[" * 120_000),
    "stamped-900-deep": _a_pod("stamped-900-deep", stamped='{"a":' * 900 + "1" + "}" * 900),
    "stamped-wide": _a_pod("stamped-wide", stamped=json.dumps({f"k{number}": "v" for number in range(15_000)})),
    "stamped-with-half-a-character": _a_pod("stamped-with-half-a-character", stamped=r'{"a":"\ud800"}'),
    "swollen": _a_pod("swollen", env="<" * 450_000),
}


def a_namespace_of_labels(name: str) -> str:
    """Nearly as many as etcd takes, as text."""
    labels = {f"{'p' * 200}{number}.x/{'n' * 60}": "v" * 63 for number in range(3000)}
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


class Mallory:
    """May write policies and make pods in a namespace of his own, and nothing else."""

    def __init__(self, plane: ControlPlane, namespace: str, folder: Path) -> None:
        self.namespace = namespace
        self._plane = plane
        self._folder = folder
        self.kubeconfig = plane.kubeconfig(MALLORY, namespace=namespace)
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": MALLORY}
        pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "list", "delete"]}
        made: list[dict[str, Any]] = [{"kind": "Role", "metadata": {"name": "pods"}, "rules": [pods]}]
        for kind, name in (("ClusterRole", "hitl-policy-author"), ("Role", "pods")):
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
            binding = {"kind": "RoleBinding", "metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
            made.append(binding)
        for each in made:
            each["apiVersion"] = "rbac.authorization.k8s.io/v1"
            each["metadata"]["namespace"] = namespace
        applied(plane, *made)
        for resource in ("agentpolicies.hitl.dev", "pods"):
            until = time.monotonic() + ACTING
            while plane.kubectl("auth", "can-i", "create", resource, kubeconfig=self.kubeconfig).returncode != 0:
                assert time.monotonic() < until, resource

    async def create(self, text: str) -> str:
        """What the API server says; "" where it took it, now or earlier."""
        file = self._folder / "poison.json"
        file.write_text(text)
        done = await asyncio.to_thread(
            self._plane.kubectl, "create", "--validate=false", "-f", str(file), kubeconfig=self.kubeconfig
        )
        return done.stderr if done.returncode and "AlreadyExists" not in done.stderr else ""

    async def accepted(self, name: str) -> dict[str, str]:
        """The condition Accepted of his policy, empty where there is none; all of it would be too deep for json."""
        where = 'jsonpath={.status.conditions[?(@.type=="Accepted")]}'
        done = await asyncio.to_thread(
            self._plane.kubectl, "get", "agentpolicy", name, "-o", where, kubeconfig=self.kubeconfig
        )
        return dict(json.loads(done.stdout)) if done.stdout else {}
