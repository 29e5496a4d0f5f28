"""The CRDs of policies and tool servers: they teach the language, and take what the compiler takes."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.authoring import a_policy
from cluster.misspelled import PLURALS, TABLES
from control_plane.running import ControlPlane
from docs.blocks import blocks
from hitl.errors import InvalidPolicy
from hitl.kube import shipped
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.policy_conditions import REASONS, PolicyCondition
from hitl.policy.parse import parse_policy, parse_tool_server

ROOT = Path(__file__).parents[2]
VERSION = "hitl.dev/v1alpha1"
KEEPS = "x-kubernetes-preserve-unknown-fields"
SCHEMAS = {
    crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for crd in shipped.crds()
    if crd["spec"]["names"]["kind"] in PLURALS
}
KINDS = tuple(PLURALS)


def inside(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, schema) of everything in a schema, from the outside in."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from inside(inner, f"{path}.{name}".lstrip("."))
    if isinstance(schema.get("items"), Mapping):
        yield from inside(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from inside(schema["additionalProperties"], f"{path}.*")


def problems_of(kind: str, spec: Any) -> dict[str, str]:
    """What the compiler has to say, by path."""
    metadata = {"name": "p", "namespace": "shop"}
    try:
        _ = parse_tool_server(metadata, spec) if kind == "ToolServer" else parse_policy(kind, metadata, spec)
    except InvalidPolicy as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}


@pytest.mark.parametrize("kind", KINDS)
def test_no_property_sends_its_reader_to_itself(kind: str) -> None:
    """A text that serves in two places says something else in one of them."""
    circles = [
        f"{path}.{name}"
        for path, schema in inside(SCHEMAS[kind])
        for name, inner in schema.get("properties", {}).items()
        if f"those of {path}" in inner.get("description", "") or f": {path}.{name}" in inner.get("description", "")
    ]
    assert circles == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_property_says_what_it_means_and_what_leaving_it_out_means(kind: str) -> None:
    """Also in the status; what the API server describes itself is left to it."""
    dumb, silent = [], []
    for path, schema in inside(SCHEMAS[kind]):
        for name, inner in schema.get("properties", {}).items():
            said = inner.get("description", "")
            where = f"{path}.{name}".lstrip(".")
            if where in ("apiVersion", "kind", "metadata", "spec"):
                continue
            if len(said) < 10 or "." not in said:
                dumb.append(where)
            wanted = "Required" if name in schema.get("required", ()) else "mitted"
            if wanted not in said:
                silent.append(where)
    assert (dumb, silent) == ([], [])


@pytest.mark.parametrize("kind", KINDS)
def test_everything_has_a_bound(kind: str) -> None:
    """Every string a length or words, every list a number of items, every mapping a number of entries."""
    unbound = []
    for path, schema in inside(SCHEMAS[kind]):
        match schema.get("type"):
            case "string":
                bound = "maxLength" in schema or "enum" in schema
            case "array":
                bound = "maxItems" in schema
            case "object" if "additionalProperties" in schema:
                bound = "maxProperties" in schema
            case _:
                bound = True
        if not bound:
            unbound.append(path)
    assert unbound == []


@pytest.mark.parametrize("kind", KINDS)
def test_C5_every_object_that_people_write_keeps_unknown_fields(kind: str) -> None:
    """So that admission can name them; a mapping whose keys are the author's has none, a status is the operator's."""
    pruning = [
        path
        for path, schema in inside(SCHEMAS[kind])
        if ("properties" in schema and not schema.get(KEEPS)) and path.partition(".")[0] not in ("metadata", "status")
    ]
    assert pruning == []


@pytest.mark.parametrize("kind", KINDS)
def test_C5_schema_and_compiler_know_the_same_fields(kind: str) -> None:
    """At every level: what the compiler lists as known where it meets an unknown one is what the schema declares."""
    schemas = {path.replace("..", "."): schema for path, schema in inside(SCHEMAS[kind])}
    different = {}
    for place, (spec, path) in TABLES[kind].items():
        said = problems_of(kind, spec)[path]
        assert "known here: " in said, (path, said)
        known = set(said.partition("known here: ")[2].split(", "))
        declared = set(schemas[place]["properties"])
        if known != declared:
            different[place] = known ^ declared
    for place, names in different.items():
        # The compiler lists what it has looked for: `present` only where it stands, `forbid` and a fourth `each` in
        # order to say why they cannot stand there.
        beside = {"present"} | (
            {"each"} if place.endswith("each.each.each") else {"forbid"} if place == "spec" else set()
        )
        assert names <= beside, (place, names)


def test_the_conditions_are_documented_word_for_word() -> None:
    """Every type and reason that the controller may write stands in what kubectl explain prints."""
    for kind in KINDS:
        said = SCHEMAS[kind]["properties"]["status"]["properties"]["conditions"]["description"]
        types = [PolicyCondition.ACCEPTED] if kind == "ToolServer" else list(PolicyCondition)
        for each in types:
            assert f"{each}: " in said
            missing = [reason for reason in REASONS[each] if f"/{reason}:" not in said]
            assert missing == ([] if kind != "ToolServer" else ["FactorUnavailable"]), (kind, each)


def test_what_is_made_from_the_schemas_is_up_to_date() -> None:
    """`crds/generate.py --check` finds no drift; `make generate` mends it."""
    command = [sys.executable, str(ROOT / "crds" / "generate.py"), "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert checked.returncode == 0, checked.stderr


def test_kubectl_explain_teaches_the_whole_policy(control_plane: ControlPlane) -> None:
    """The spec and its rules come with an example, and every field of the language is in the recursive listing."""
    spec = control_plane.kubectl("explain", "agentpolicy.spec").stdout
    assert "- {action: Confirm,     tools: [stripe/create_refund]," in spec
    assert (
        "limit: {sum: amount, max: 100000, per: 24h, then: Confirm}"
        in control_plane.kubectl("explain", "agentpolicy.spec.rules").stdout
    )
    listing = control_plane.kubectl("explain", "agentpolicy.spec", "--recursive").stdout
    names = {path.rpartition(".")[2] for path, _ in inside(SCHEMAS["AgentPolicy"]["properties"]["spec"]) if path}
    shown = {line.split("\t")[0].strip() for line in listing.splitlines() if "\t" in line}
    assert {name for name in names if not name.endswith(("[]", "*"))} - shown == set()


def test_kubectl_get_shows_what_matters(control_plane: ControlPlane, namespace: str) -> None:
    """Short names, category and columns; absent values are blank until the operator has looked."""
    for kind, name in (("AgentPolicy", "a"), ("ToolServer", "s")):
        manifest = yaml.safe_dump(a_policy({"mode": "Enforce"} if kind == "AgentPolicy" else {}, name, kind))
        assert control_plane.kubectl("create", "-n", namespace, "-f", "-", stdin=manifest).returncode == 0
    shown = control_plane.kubectl("get", "ap", "-n", namespace).stdout
    assert shown.split("\n")[0].split() == ["NAME", "MODE", "AUTONOMY", "ACCEPTED", "CURRENT", "SIDECARS", "AGE"]
    wide = control_plane.kubectl("get", "ap", "-n", namespace, "-o", "wide").stdout
    assert {"REASON", "PROGRAMMED", "REVIEWERS", "CALLS", "HELD"} <= set(wide.split("\n")[0].split())
    both = control_plane.kubectl("get", "hitl", "-n", namespace, "-o", "name").stdout.split()
    assert both == ["agentpolicy.hitl.dev/a", "toolserver.hitl.dev/s"]
    selected = ("get", "ap", "-n", namespace, "-o", "name", "--field-selector")
    assert control_plane.kubectl(*selected, "spec.mode=Monitor").stdout == ""
    assert control_plane.kubectl(*selected, "spec.mode=Enforce").stdout == "agentpolicy.hitl.dev/a\n"
    assert control_plane.kubectl("get", "cap,ts", "-n", namespace).returncode == 0


async def test_the_status_that_is_documented_can_be_written(namespace: str, admin: KubeAPI) -> None:
    """Conditions, sidecars and usage survive, and the columns read them."""
    path = path_of(VERSION, "agentpolicies", namespace, "p")
    await admin.create(path_of(VERSION, "agentpolicies", namespace), a_policy({}))
    condition = {
        "type": str(PolicyCondition.ACCEPTED), "status": "True", "observedGeneration": 1, "reason": "Valid",
        "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    behind = {"pod": "a-1", "revision": "9f2c41d", "since": "2026-01-01T00:00:00Z", "reason": "schema 2"}
    status = {
        "observedGeneration": 1,
        "conditions": [condition],
        "sidecars": {"total": 12, "current": 11, "behind": [behind]},
        "usage": {"calls": 5, "held": 3, "decided": 2, "expired": 1},
    }
    await admin.merge_patch(f"{path}/status", {"status": status})
    assert (await admin.get(path))["status"] == status


def written_policies() -> Iterator[Any]:
    """Every policy and tool server that stands in the documents, the README, the demo and the cases."""
    pages = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
    texts = {
        f"{page}-{at}": each.text for page in pages for at, each in enumerate(blocks(page)) if each.language == "yaml"
    }
    demo = ROOT / "cli" / "hitl_cli" / "demo" / "policies"
    texts |= {path.name: path.read_text() for path in sorted(demo.glob("*.yaml"))}
    for name, text in texts.items():
        for document in yaml.safe_load_all(text):
            if not isinstance(document, dict) or document.get("kind") not in PLURALS:
                continue
            yield pytest.param(document, id=f"{name}-{document['metadata']['name']}")
    for path in sorted((ROOT / "tests" / "cases").glob("*.yaml")):
        case = yaml.safe_load(path.read_text())
        policies = [*case.get("policies", []), *(each for row in case["rows"] for each in row.get("policies", []))]
        for at, each in enumerate(policies):
            yield pytest.param(
                a_policy(each["spec"], each["name"], each.get("kind", "AgentPolicy")), id=f"{path.stem}-{at}"
            )
        for each in case.get("toolServers", []):
            yield pytest.param(a_policy(each["spec"], each["name"], "ToolServer"), id=f"{path.stem}-{each['name']}")


@pytest.mark.parametrize("manifest", tuple(written_policies()))
async def test_every_policy_that_we_show_applies(admin: KubeAPI, manifest: dict[str, Any]) -> None:
    """With every check on; and what the API server keeps is what was written."""
    where = None if manifest["kind"] == "ClusterAgentPolicy" else "default"
    path = path_of(VERSION, PLURALS[manifest["kind"]], where)
    stored = await admin.create(path, manifest, dry_run=True)
    assert stored["spec"] == manifest["spec"]
