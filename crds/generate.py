#!/usr/bin/env python3
"""Writes what is made from the hand-written CRDs of this folder; with --check compares instead and fails on drift.

clusteragentpolicies.yaml is agentpolicies.yaml with another scope, `forbid`, and what a baseline may not say. From
every CRD whose objects keep unknown fields comes an admission policy that refuses those fields, and empty ones, by name
(SECURITY C5), in core/hitl/kube/admission.
"""

import copy
import sys
from pathlib import Path
from typing import Any

import yaml

from hitl.kube.strict_fields import keeps_unknown_fields, strict_fields

HERE = Path(__file__).resolve().parent
ADMISSION = HERE.parent / "core" / "hitl" / "kube" / "admission"
MADE = "# Made by crds/generate.py from crds/{source}: change that, then run `make generate`.\n"

ABOUT = (
    "What holds for the tool calls of agents in every namespace, whatever their AgentPolicies say: the baseline.\n\n"
    "It only tightens: it raises actions, adds reviewers and can forbid what relaxes. It never lowers anything, and "
    "the requirements it adds come on top of those of the namespace."
)
SELECTOR = (
    "Which pods of all namespaces it is for: those whose labels fulfil all of it. Labels at the pod's injection and "
    "labels now both count. Omitted or empty: every gated pod of the cluster. Making it select fewer pods needs the "
    "verb relax."
)
FORBID = {
    "type": "array",
    "nullable": True,
    "minItems": 1,
    "maxItems": 6,
    "x-kubernetes-list-type": "atomic",
    "description": (
        "What no AgentPolicy may use: mode Monitor, autonomy AuditOnly, rules that are Final, Trust, posture "
        "Permissive; and Incident, which lowers known patterns for a while. Where one does, it is refused, and one "
        "that is there already is no longer accepted (Conflicted). Omitted: nothing. Taking a word out needs the verb "
        "relax."
    ),
    "x-kubernetes-validations": [
        {
            "rule": "self.all(one, self.exists_one(other, one == other))",
            "message": "something stands there twice; write it once",
        }
    ],
    "items": {"type": "string", "enum": ["Monitor", "AuditOnly", "Final", "Trust", "Incident", "Permissive"]},
}
ONLY_TIGHTENS = [
    (
        "mode",
        "self.mode != 'Monitor'",
        "Monitor is not for a baseline: it may only tighten; try it in one namespace first",
    ),
    (
        "autonomy",
        "(self.autonomy != 'AuditOnly' && self.autonomy != 4)",
        "AuditOnly is not for a baseline: it may only tighten",
    ),
    ("posture", "self.posture != 'Permissive'", "Permissive is not for a baseline: it may only tighten"),
    ("trust", "false", "ceilings are not for a baseline: it may only tighten; put them into an AgentPolicy"),
    ("undeclared", "self.undeclared != 'Allow'", "Allow says nothing here: a baseline may only tighten; leave it out"),
    (
        "rules",
        "self.rules.all(r, !has(r.final) || !r.final)",
        "a final rule is not for a baseline: it may only tighten, and the rule would switch raisers off",
    ),
]


def main(arguments: list[str]) -> int:
    """Write or check every file that is made; the exit code."""
    made = {HERE / "clusteragentpolicies.yaml": as_yaml("agentpolicies.yaml", [baseline(read("agentpolicies.yaml"))])}
    for name in sorted({path.name for path in HERE.glob("*.yaml")} | {"clusteragentpolicies.yaml"}):
        crd = baseline(read("agentpolicies.yaml")) if name == "clusteragentpolicies.yaml" else read(name)
        if keeps_unknown_fields(crd):
            made[ADMISSION / f"hitl-strict-fields-{name}"] = as_yaml(name, strict_fields(crd))
    if arguments == ["--check"]:
        drifted = [path.relative_to(HERE.parent) for path, text in made.items() if not is_in(path, text)]
        for path in drifted:
            sys.stderr.write(f"{path} drifted from crds/: run make generate\n")
        return 1 if drifted else 0
    for path, text in made.items():
        path.write_text(text)
    return 0


def baseline(crd: dict[str, Any]) -> dict[str, Any]:
    """The CRD of ClusterAgentPolicy, from that of AgentPolicy."""
    made = copy.deepcopy(crd)
    made["metadata"]["name"] = "clusteragentpolicies.hitl.dev"
    made["spec"]["scope"] = "Cluster"
    made["spec"]["names"] |= {
        "kind": "ClusterAgentPolicy",
        "listKind": "ClusterAgentPolicyList",
        "plural": "clusteragentpolicies",
        "singular": "clusteragentpolicy",
        "shortNames": ["cap"],
    }
    schema = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["description"] = ABOUT
    spec = schema["properties"]["spec"]
    spec["properties"]["podSelector"]["description"] = SELECTOR
    spec["properties"]["forbid"] = FORBID
    spec["x-kubernetes-validations"] = [
        {"rule": f"!has(self.{field}) || {rule}", "message": message, "fieldPath": f".{field}"}
        for field, rule, message in ONLY_TIGHTENS
    ]
    return made


def read(name: str) -> dict[str, Any]:
    """One CRD of this folder."""
    crd: dict[str, Any] = yaml.safe_load((HERE / name).read_text())
    return crd


def as_yaml(source: str, documents: list[dict[str, Any]]) -> str:
    """The text of a file that is made."""
    return MADE.format(source=source) + "---\n".join(
        yaml.dump(each, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True) for each in documents
    )


def is_in(path: Path, text: str) -> bool:
    """Whether the file has exactly this text."""
    return path.is_file() and path.read_text() == text


class _Plain(yaml.SafeDumper):
    """Written out in full: what is shared in the source is copied, not referred to; long texts stand as blocks."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 the name is PyYAML's
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
