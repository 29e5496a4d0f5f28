"""One misspelled field at every level of a policy and of a tool server, with the path at which it has to be named."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

WRONG: Final = "qqqq"
"""Nothing is called so, and nothing begins or ends like it."""

_RULE: Final = {"action": "Confirm", "tools": ["a"]}
_MATCHER: Final = {"min": 1, WRONG: 1}


def _in_rule(**more: Any) -> dict[str, Any]:
    return {"rules": [_RULE, {**_RULE, **more}]}


def _nested(depth: int) -> dict[str, Any]:
    matcher: dict[str, Any] = dict(_MATCHER)
    for _ in range(depth):
        matcher = {"each": matcher}
    return {"amount": matcher}


POLICIES: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    # place in the schema: (spec with the misspelled field, path to it)
    "spec": ({WRONG: {}}, f"spec.{WRONG}"),
    "spec.podSelector": ({"podSelector": {WRONG: {}}}, f"spec.podSelector.{WRONG}"),
    "spec.podSelector.matchExpressions[]": (
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", WRONG: 1}]}},
        f"spec.podSelector.matchExpressions[0].{WRONG}",
    ),
    "spec.rules[]": (_in_rule(**{WRONG: "5m"}), f"spec.rules[1].{WRONG}"),
    **{
        f"spec.rules[].{key}.*{'.each' * depth}": (
            _in_rule(**{key: _nested(depth)}),
            f"spec.rules[1].{key}.amount{'.each' * depth}.{WRONG}",
        )
        for key in ("args", "ensure")
        for depth in range(4)
    },
    "spec.rules[].requirements[]": (
        _in_rule(requirements=[{"name": "a"}, {"name": "b", WRONG: ["c"]}]),
        f"spec.rules[1].requirements[1].{WRONG}",
    ),
    "spec.rules[].limit": (_in_rule(limit={"calls": 1, "per": "1h", WRONG: 1}), f"spec.rules[1].limit.{WRONG}"),
    "spec.scoring": ({"scoring": {WRONG: {}}}, f"spec.scoring.{WRONG}"),
    "spec.scoring.weights": ({"scoring": {"weights": {WRONG: 1}}}, f"spec.scoring.weights.{WRONG}"),
    "spec.scoring.thresholds": ({"scoring": {"thresholds": {WRONG: 1}}}, f"spec.scoring.thresholds.{WRONG}"),
    "spec.trust[]": ({"trust": [{"ceiling": "Notify", "tools": ["a"], WRONG: 1}]}, f"spec.trust[0].{WRONG}"),
    "spec.raise": ({"raise": {WRONG: "Confirm"}}, f"spec.raise.{WRONG}"),
    "spec.raise.confidence": ({"raise": {"confidence": {WRONG: 1}}}, f"spec.raise.confidence.{WRONG}"),
    "spec.raise.novelty": ({"raise": {"novelty": {"action": "Confirm", WRONG: 1}}}, f"spec.raise.novelty.{WRONG}"),
    "spec.raise.externalImpact": (
        {"raise": {"externalImpact": {"action": "Confirm", WRONG: 1}}},
        f"spec.raise.externalImpact.{WRONG}",
    ),
    "spec.redaction": ({"redaction": {WRONG: ["a"]}}, f"spec.redaction.{WRONG}"),
    "spec.redaction.patterns[]": (
        {"redaction": {"patterns": [{"name": "a", "regex": "b", WRONG: 1}]}},
        f"spec.redaction.patterns[0].{WRONG}",
    ),
    "spec.approval": ({"approval": {WRONG: "5m"}}, f"spec.approval.{WRONG}"),
    "spec.approval.requirements[]": (
        {"approval": {"requirements": [{"name": "a", WRONG: 1}]}},
        f"spec.approval.requirements[0].{WRONG}",
    ),
    "spec.approval.multiFactor": ({"approval": {"multiFactor": {WRONG: 1}}}, f"spec.approval.multiFactor.{WRONG}"),
    "spec.approval.escalate[]": (
        {"approval": {"escalate": [{"after": "5m", "to": ["a"], WRONG: 1}]}},
        f"spec.approval.escalate[0].{WRONG}",
    ),
    "spec.review": ({"review": {"every": "30d", WRONG: 1}}, f"spec.review.{WRONG}"),
}

_TOOL: Final = {"name": "a"}
SERVERS: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "spec": ({WRONG: {}}, f"spec.{WRONG}"),
    "spec.container": ({"container": {"image": "a", WRONG: 1}}, f"spec.container.{WRONG}"),
    "spec.credentials[]": (
        {"credentials": [{"header": "A", "secretKeyRef": {"name": "a", "key": "b"}, WRONG: 1}]},
        f"spec.credentials[0].{WRONG}",
    ),
    "spec.credentials[].secretKeyRef": (
        {"credentials": [{"header": "A", "secretKeyRef": {"name": "a", "key": "b", WRONG: 1}}]},
        f"spec.credentials[0].secretKeyRef.{WRONG}",
    ),
    "spec.tools[]": ({"tools": [_TOOL, {"name": "b", WRONG: 1}]}, f"spec.tools[1].{WRONG}"),
    "spec.tools[].capabilities": (
        {"tools": [{**_TOOL, "capabilities": {WRONG: 1}}]},
        f"spec.tools[0].capabilities.{WRONG}",
    ),
    "spec.tools[].capabilities.filesystem": (
        {"tools": [{**_TOOL, "capabilities": {"filesystem": {WRONG: 1}}}]},
        f"spec.tools[0].capabilities.filesystem.{WRONG}",
    ),
}
TABLES: Final = {"AgentPolicy": POLICIES, "ClusterAgentPolicy": POLICIES, "ToolServer": SERVERS}
PLURALS: Final = {
    "AgentPolicy": "agentpolicies",
    "ClusterAgentPolicy": "clusteragentpolicies",
    "ToolServer": "toolservers",
}


def relaxes(manifest: Mapping[str, Any]) -> bool:
    """Whether writing it takes the verb relax, whatever is misspelled in it."""
    return manifest["kind"] != "ToolServer" and bool({"trust", "scoring"} & set(manifest.get("spec", {})))


def missing(kind: str, namespace: str, required: Mapping[str, Sequence[str]]) -> list[tuple[dict[str, Any], str]]:
    """The same, with a letter too many in one key that must be there, and the path of what is then missed.

    required: place in the schema -> keys that must be there.
    """
    found: list[tuple[dict[str, Any], str]] = []
    for place, (spec, path) in TABLES[kind].items():
        if kind == "ClusterAgentPolicy" and "trust" in spec:
            continue  # a baseline has no ceilings at all
        for key in required.get(place, ()):
            body = {"spec": _renamed(spec, key)}
            found.append((_manifest(kind, namespace, f"missing-{len(found)}", body), path.replace(WRONG, key)))
    found.append((_manifest(kind, namespace, "missing-spec", {"spcc": {}}), "spec"))
    return found


def _renamed(value: Any, key: str) -> Any:
    """What has the misspelled field in it, with the key misspelled in that field's place."""
    if isinstance(value, list):
        return [_renamed(each, key) for each in value]
    if not isinstance(value, dict):
        return value
    if WRONG in value:
        return {f"{name}x" if name == key else name: each for name, each in value.items() if name != WRONG}
    return {name: _renamed(each, key) for name, each in value.items()}


def _manifest(kind: str, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": f"{kind.lower()}-{name}"} | ({} if kind == "ClusterAgentPolicy" else {"namespace": namespace})
    return {"apiVersion": "hitl.dev/v1alpha1", "kind": kind, "metadata": metadata, **copy.deepcopy(dict(body))}


def misspelled(kind: str, namespace: str) -> list[tuple[dict[str, Any], str]]:
    """Every manifest of a kind with the path of its one misspelled field; beside the resource's own fields, too."""
    found: list[tuple[dict[str, Any], str]] = []
    rows = [({}, {WRONG: {}}, f" {WRONG}: unknown field")]
    rows += [(spec, {}, path) for spec, path in TABLES[kind].values()]
    if kind == "ClusterAgentPolicy":  # a baseline has no ceilings at all, which the schema says first
        rows = [
            (spec, beside, "ceilings are not for a baseline" if "trust" in spec else path)
            for spec, beside, path in rows
        ]
    for number, (spec, beside, path) in enumerate(rows):
        found.append((_manifest(kind, namespace, str(number), {"spec": spec, **beside}), path))
    return found
