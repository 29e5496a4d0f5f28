"""A misspelled field is refused by its name for every client, at every level (C5); nothing of it is stored."""

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

import kubernetes.client
import kubernetes.config
import pytest

from cluster.authoring import a_policy
from cluster.misspelled import PLURALS, TABLES, WRONG, misspelled
from control_plane.running import ControlPlane
from hitl.errors import ApiError, InvalidPolicy
from hitl.kube import shipped
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.manifests import read_manifests
from hitl.kube.paths import path_of

VERSION = "hitl.dev/v1alpha1"
KINDS = tuple(TABLES)
RULE = {"action": "Deny", "tools": ["a"]}


def collection(kind: str, namespace: str) -> str:
    return path_of(VERSION, PLURALS[kind], None if kind == "ClusterAgentPolicy" else namespace)


def posted(plane: ControlPlane, path: str, body: str, content: str = "application/json") -> str:
    """A plain POST as anybody's script sends it, without a word about validation; what the API server answers."""
    access = Access.from_kubeconfig(plane.admin)
    context = ssl.create_default_context(cadata=(access.ca or b"").decode())
    certificate = access.certificate()
    assert certificate is not None
    certificate.load_into(context, "the administrator's kubeconfig")
    headers = {"Content-Type": content}
    request = urllib.request.Request(f"{access.server}{path}", body.encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return str(json.loads(error.read())["message"])


def by_kubectl(plane: ControlPlane, *flags: str) -> Any:
    def apply(manifests: list[dict[str, Any]]) -> list[str]:
        text = "\n---\n".join(map(json.dumps, manifests))
        done = plane.kubectl("apply", *flags, "-f", "-", stdin=text)
        assert done.returncode != 0
        assert done.stdout == ""
        return [done.stderr] * len(manifests)

    return apply


def by_post(plane: ControlPlane) -> Any:
    def post(manifests: list[dict[str, Any]]) -> list[str]:
        return [
            posted(plane, collection(each["kind"], each["metadata"].get("namespace", "")), json.dumps(each))
            for each in manifests
        ]

    return post


def by_python_client(plane: ControlPlane) -> Any:
    def create(manifests: list[dict[str, Any]]) -> list[str]:
        with kubernetes.config.new_client_from_config(str(plane.admin)) as client:
            api = kubernetes.client.CustomObjectsApi(client)
            return [_refusal(api, each) for each in manifests]

    return create


def _refusal(api: Any, manifest: dict[str, Any]) -> str:
    plural, namespace = PLURALS[manifest["kind"]], manifest["metadata"].get("namespace")
    where = ("hitl.dev", "v1alpha1", *([namespace] if namespace else []), plural)
    create = api.create_namespaced_custom_object if namespace else api.create_cluster_custom_object
    with pytest.raises(kubernetes.client.ApiException) as caught:
        create(*where, manifest)
    return str(json.loads(caught.value.body)["message"])


CLIENTS = {
    "kubectl apply": by_kubectl,
    "kubectl apply --validate=warn": lambda plane: by_kubectl(plane, "--validate=warn"),
    "kubectl apply --validate=ignore": lambda plane: by_kubectl(plane, "--validate=ignore"),
    "kubectl apply --server-side": lambda plane: by_kubectl(plane, "--server-side"),
    "a raw POST": by_post,
    "the official Python client": by_python_client,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
async def test_C5_a_misspelled_field_is_refused_by_name(
    control_plane: ControlPlane, namespace: str, admin: KubeAPI, client: Any, kind: str
) -> None:
    """At every level and by every client; the message has the path with its indexes, and nothing is stored."""
    rows = misspelled(kind, namespace)
    messages = client(control_plane)([manifest for manifest, _ in rows])
    assert [path for (_, path), message in zip(rows, messages, strict=True) if path not in message] == []
    stored = {item["metadata"]["name"] async for item in admin.list(collection(kind, namespace))}
    assert stored.isdisjoint(manifest["metadata"]["name"] for manifest, _ in rows)


@pytest.mark.parametrize("kind", KINDS)
def test_C5_every_level_of_the_schema_has_its_row(kind: str) -> None:
    """The table above forgets no place where an object stands in the CRD."""
    policies = {each["metadata"]["name"]: each for each in shipped.admission() if "validations" in each["spec"]}
    policy = policies[f"hitl-strict-fields-{PLURALS[kind]}"]
    said = [each["message"].partition(" has a field") for each in policy["spec"]["validations"]]
    assert {place for place, field, _ in said if field} == set(TABLES[kind]) | {"the resource"}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"podselector": {}}, "spec.podselector: unknown field; did you mean podSelector"),
        ({"timeout": "5m"}, "spec.timeout: unknown field; it stands under approval: {timeout: 15m}, or in a rule"),
        ({"forbid": ["Trust"]}, "spec.forbid: unknown field; only a ClusterAgentPolicy can forbid"),
        ({"rules": [RULE | {"timout": "5m"}]}, "spec.rules[0].timout: unknown field; did you mean timeout?"),
        ({"rules": [RULE | {"reason": "x"}]}, "spec.rules[0].reason: unknown field; write because"),
        ({"rules": [RULE | {"args": {"q": {"sqlOnly": ["select"]}}}]}, "judges SQL and arrives in a later version"),
        ({"approval": {"channels": ["ops"]}}, "spec.approval.channels: unknown field; announces held calls outside"),
        ({"rules": [RULE | {"channels": ["ops"]}]}, "arrives in a later version; until then remove it"),
        ({"scoring": {WRONG: 1}}, f"spec.scoring.{WRONG}: unknown field; known here: weights, thresholds"),
        ({"approval": {"multiFactor": {"econdFactor": "Any"}}}, "did you mean secondFactor?"),
        ({"raise": {"x" * 300: 1}}, f"spec.raise.{'x' * 60}: unknown field"),
    ],
)  # fmt: skip
async def test_C5_the_message_says_what_to_write(
    namespace: str, admin: KubeAPI, spec: dict[str, Any], says: str
) -> None:
    """A near name, a hint where authors are known to err, else all that is known there."""
    with pytest.raises(ApiError) as caught:
        await admin.create(collection("AgentPolicy", namespace), a_policy(spec))
    assert says in caught.value.message


async def test_C5_a_misspelled_action_is_a_rule_without_one_and_refused(
    control_plane: ControlPlane, namespace: str
) -> None:
    """What is required has no default: the schema speaks first, and names what is missing."""
    body = json.dumps(a_policy({"rules": [{"acton": "Deny", "tools": ["a"]}]}))
    assert "spec.rules[0].action: Required value" in posted(control_plane, collection("AgentPolicy", namespace), body)


async def test_C5_a_misspelled_field_does_not_get_in_by_an_update(namespace: str, admin: KubeAPI) -> None:
    """Nor by any other way to write; the valid policy stays as it was."""
    path = path_of(VERSION, "agentpolicies", namespace, "p")
    stored = await admin.create(collection("AgentPolicy", namespace), a_policy({"mode": "Enforce"}))
    wrong = {"mode": "Enforce", "postur": "Conservative"}
    changes = (
        lambda: admin.replace(path, stored | {"spec": wrong}),
        lambda: admin.merge_patch(path, {"spec": wrong}),
        lambda: admin.json_patch(path, [{"op": "add", "path": "/spec/postur", "value": "Conservative"}]),
        lambda: admin.apply(path, a_policy(wrong), field_manager="x", force=True),
    )
    for change in changes:
        with pytest.raises(ApiError) as caught:
            await change()
        assert "spec.postur: unknown field; did you mean podSelector or posture?" in caught.value.message
    assert (await admin.get(path))["spec"] == {"mode": "Enforce"}


@pytest.mark.parametrize("depth", [0, 3])
async def test_C5_the_largest_policy_is_within_the_cost_that_admission_may_have(
    control_plane: ControlPlane, namespace: str, depth: int
) -> None:
    """128 rules with 64 arguments each pass, and a misspelled field in the last of them is found."""
    matcher: dict[str, Any] = {"min": 1, "max": 2}
    for _ in range(depth):
        matcher = {"each": matcher}
    arguments = {f"a{number}": matcher for number in range(32)}
    rule = {"action": "Confirm", "tools": ["a"], "args": arguments, "ensure": arguments}
    rules = [rule | {"name": f"r{number}"} for number in range(128)]
    path = collection("AgentPolicy", namespace)
    wrong = [*rules[:-1], rules[-1] | {"ensure": arguments | {"a31": {WRONG: 1}}}]
    assert f"spec.rules[127].ensure.a31.{WRONG}" in posted(control_plane, path, json.dumps(a_policy({"rules": wrong})))
    assert (
        json.loads(posted(control_plane, path, json.dumps(a_policy({"rules": rules}))))["metadata"]["generation"] == 1
    )


async def test_C5_a_key_that_stands_twice_is_for_check_to_find(
    control_plane: ControlPlane, namespace: str, admin: KubeAPI
) -> None:
    """The last one is all that kubectl sends; the API server names both in YAML only, if asked to be strict."""
    head = f"apiVersion: {VERSION}\nkind: AgentPolicy\nmetadata: {{name: twice}}\n"
    text = f"{head}spec:\n  mode: Monitor\n  mode: Enforce\n"
    with pytest.raises(InvalidPolicy) as caught:
        read_manifests(text, "twice.yaml")
    assert "already on line 5" in caught.value.problems[0].message
    path = collection("AgentPolicy", namespace)
    assert "twice" in posted(control_plane, f"{path}?dryRun=All", text, "application/yaml")
    strict = posted(control_plane, f"{path}?fieldValidation=Strict", text, "application/yaml")
    assert 'key "mode" already set' in strict
    assert control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=text).returncode == 0
    assert (await admin.get(path_of(VERSION, "agentpolicies", namespace, "twice")))["spec"] == {"mode": "Enforce"}


def test_the_policies_are_those_of_the_schemas() -> None:
    """Each binding denies, and each policy fails closed."""
    names = {f"hitl-strict-fields-{plural}" for plural in PLURALS.values()}
    found = [each for each in shipped.admission() if each["metadata"]["name"] in names]
    assert len(found) == 2 * len(names)
    for each in found:
        if each["kind"] == "ValidatingAdmissionPolicy":
            assert each["spec"]["failurePolicy"] == "Fail"
        else:
            assert "Deny" in each["spec"]["validationActions"]
