"""A misspelled field is refused by its name for every client, at every level (C5); nothing of it is stored."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import kubernetes.client
import kubernetes.config
import pytest

from cluster.authoring import (
    AUTHOR,
    BASELINE_AUTHOR,
    BASELINE_RELAXER,
    RELAXER,
    a_policy,
    access_of,
    authors_of,
    baseline_authors,
)
from cluster.misspelled import PLURALS, TABLES, WRONG, missing, misspelled, relaxes
from cluster_fixtures import a_namespace
from control_plane.running import ControlPlane
from hitl.errors import ApiError, InvalidPolicy
from hitl.kube import shipped
from hitl.kube.api import KubeAPI
from hitl.kube.manifests import read_manifests
from hitl.kube.paths import path_of

VERSION = "hitl.dev/v1alpha1"
KINDS = tuple(TABLES)
RULE = {"action": "Deny", "tools": ["a"]}


def _required(schema: Mapping[str, Any], place: str) -> Iterator[tuple[str, list[str]]]:
    """(place, keys that must be there) of every object inside a schema."""
    if schema.get("required"):
        yield place, schema["required"]
    for name, inner in schema.get("properties", {}).items():
        yield from _required(inner, f"{place}.{name}")
    if isinstance(schema.get("items"), Mapping):
        yield from _required(schema["items"], f"{place}[]")


REQUIRED = {
    crd["spec"]["names"]["kind"]: dict(
        _required(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec")
    )
    for crd in shipped.crds()
    if crd["spec"]["names"]["kind"] in KINDS
}


def collection(kind: str, namespace: str) -> str:
    return path_of(VERSION, PLURALS[kind], None if kind == "ClusterAgentPolicy" else namespace)


@pytest.fixture(scope="module")
def shop(control_plane: ControlPlane) -> str:
    """A namespace in which AUTHOR writes policies, and RELAXER those that relax; nobody here is an administrator."""
    namespace = a_namespace(control_plane)
    authors_of(control_plane, namespace)
    baseline_authors(control_plane)
    return namespace


def writers(kind: str) -> tuple[str, str]:
    """Who writes policies of this kind: the first may not relax."""
    return (BASELINE_AUTHOR, BASELINE_RELAXER) if kind == "ClusterAgentPolicy" else (AUTHOR, RELAXER)


def posted(plane: ControlPlane, path: str, body: str, content: str = "application/json", *, user: str = AUTHOR) -> str:
    """A plain POST as anybody's script sends it, without a word about validation; what the API server answers."""
    access = access_of(plane, user)
    context = ssl.create_default_context(cadata=(access.ca or b"").decode())
    certificate = access.certificate()
    assert certificate is not None
    certificate.load_into(context, f"the kubeconfig of {user}")
    headers = {"Content-Type": content}
    request = urllib.request.Request(f"{access.server}{path}", body.encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return str(json.loads(error.read())["message"])


def by_kubectl(plane: ControlPlane, user: str, *flags: str) -> Any:
    def apply(manifests: list[dict[str, Any]]) -> list[str]:
        text = "\n---\n".join(map(json.dumps, manifests))
        done = plane.kubectl("apply", *flags, "-f", "-", stdin=text, kubeconfig=plane.kubeconfig(user))
        assert done.returncode != 0
        assert done.stdout == ""
        return [done.stderr] * len(manifests)

    return apply


def by_post(plane: ControlPlane, user: str) -> Any:
    def post(manifests: list[dict[str, Any]]) -> list[str]:
        paths = [collection(each["kind"], each["metadata"].get("namespace", "")) for each in manifests]
        return [posted(plane, path, json.dumps(each), user=user) for path, each in zip(paths, manifests, strict=True)]

    return post


def by_python_client(plane: ControlPlane, user: str) -> Any:
    def create(manifests: list[dict[str, Any]]) -> list[str]:
        with kubernetes.config.new_client_from_config(str(plane.kubeconfig(user))) as client:
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
    "kubectl apply --validate=warn": lambda plane, user: by_kubectl(plane, user, "--validate=warn"),
    "kubectl apply --validate=ignore": lambda plane, user: by_kubectl(plane, user, "--validate=ignore"),
    "kubectl apply --server-side": lambda plane, user: by_kubectl(plane, user, "--server-side"),
    "a raw POST": by_post,
    "the official Python client": by_python_client,
}


async def never_stored(
    plane: ControlPlane, admin: KubeAPI, client: Any, rows: list[tuple[dict[str, Any], str]]
) -> list[tuple[str, str]]:
    """(path, what its author was told) of each; nothing of them is stored."""
    kind, namespace = rows[0][0]["kind"], rows[0][0]["metadata"].get("namespace", "")
    author, relaxer = writers(kind)
    told: list[tuple[str, str]] = []
    for user in (author, relaxer):
        his = [(manifest, path) for manifest, path in rows if relaxes(manifest) is (user == relaxer)]
        messages = client(plane, user)([manifest for manifest, _ in his]) if his else []
        told += [(path, message) for (_, path), message in zip(his, messages, strict=True)]
    stored = {item["metadata"]["name"] async for item in admin.list(collection(kind, namespace))}
    assert stored.isdisjoint(manifest["metadata"]["name"] for manifest, _ in rows)
    return told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
async def test_C5_a_misspelled_field_is_refused_by_name(
    control_plane: ControlPlane, shop: str, admin: KubeAPI, client: Any, kind: str
) -> None:
    """At every level and by every client; the message has the path with its indexes, and nothing is stored."""
    told = await never_stored(control_plane, admin, client, misspelled(kind, shop))
    assert [path for path, message in told if path not in message] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
async def test_C5_a_misspelled_key_that_must_be_there_is_missed(
    control_plane: ControlPlane, shop: str, admin: KubeAPI, client: Any, kind: str
) -> None:
    """At every level and by every client the schema speaks first, and names what is missing; nothing is stored."""
    required = REQUIRED[kind]
    rows = missing(kind, shop, required)
    assert len(rows) == 1 + sum(map(len, required.values())) - ("spec.trust[]" in required and "Cluster" in kind)
    told = await never_stored(control_plane, admin, client, rows)
    # By their names tools are told apart, so a server-side apply needs them before anybody looks at the schema.
    wrong = [(path, message) for path, message in told if f"{path}: Required value" not in message]
    assert [
        path
        for path, message in wrong
        if path != "spec.tools[1].name" or 'omits all key fields ["name"]' not in message
    ] == []


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


async def test_C5_a_misspelled_field_does_not_get_in_by_an_update(control_plane: ControlPlane, shop: str) -> None:
    """Nor by any other way to write; the valid policy stays as it was."""
    path = path_of(VERSION, "agentpolicies", shop, "p")
    wrong = {"mode": "Enforce", "postur": "Conservative"}
    async with KubeAPI.open(access_of(control_plane, AUTHOR), deadline=30) as author:
        stored = await author.create(collection("AgentPolicy", shop), a_policy({"mode": "Enforce"}))
        changes = (
            lambda: author.replace(path, stored | {"spec": wrong}),
            lambda: author.merge_patch(path, {"spec": wrong}),
            lambda: author.json_patch(path, [{"op": "add", "path": "/spec/postur", "value": "Conservative"}]),
            lambda: author.apply(path, a_policy(wrong), field_manager="x", force=True),
        )
        for change in changes:
            with pytest.raises(ApiError) as caught:
                await change()
            assert "spec.postur: unknown field; did you mean podSelector or posture?" in caught.value.message
        assert (await author.get(path))["spec"] == {"mode": "Enforce"}


@pytest.mark.parametrize("depth", [0, 3])
async def test_C5_the_largest_policy_is_within_the_cost_that_admission_may_have(
    control_plane: ControlPlane, shop: str, depth: int
) -> None:
    """128 rules with 64 arguments each pass, and a misspelled field in the last of them is found."""
    matcher: dict[str, Any] = {"min": 1, "max": 2}
    for _ in range(depth):
        matcher = {"each": matcher}
    arguments = {f"a{number}": matcher for number in range(32)}
    rule = {"action": "Confirm", "tools": ["a"], "args": arguments, "ensure": arguments}
    rules = [rule | {"name": f"r{number}"} for number in range(128)]
    path = f"{collection('AgentPolicy', shop)}?dryRun=All"
    wrong = [*rules[:-1], rules[-1] | {"ensure": arguments | {"a31": {WRONG: 1}}}]
    manifests = [json.dumps(a_policy({"rules": each}, f"largest-{depth}")) for each in (wrong, rules)]
    assert f"spec.rules[127].ensure.a31.{WRONG}" in posted(control_plane, path, manifests[0])
    assert json.loads(posted(control_plane, path, manifests[1]))["metadata"]["generation"] == 1


async def test_C5_a_key_that_stands_twice_is_for_check_to_find(
    control_plane: ControlPlane, shop: str, admin: KubeAPI
) -> None:
    """The last one is all that kubectl sends; the API server names both in YAML only, if asked to be strict."""
    head = f"apiVersion: {VERSION}\nkind: AgentPolicy\nmetadata: {{name: twice}}\n"
    text = f"{head}spec:\n  mode: Monitor\n  mode: Enforce\n"
    with pytest.raises(InvalidPolicy) as caught:
        read_manifests(text, "twice.yaml")
    assert "already on line 5" in caught.value.problems[0].message
    path = collection("AgentPolicy", shop)
    assert "twice" in posted(control_plane, f"{path}?dryRun=All", text, "application/yaml")
    strict = posted(control_plane, f"{path}?fieldValidation=Strict", text, "application/yaml")
    assert 'key "mode" already set' in strict
    author = control_plane.kubeconfig(AUTHOR)
    assert control_plane.kubectl("apply", "-n", shop, "-f", "-", stdin=text, kubeconfig=author).returncode == 0
    assert (await admin.get(path_of(VERSION, "agentpolicies", shop, "twice")))["spec"] == {"mode": "Enforce"}


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
