"""A field that was left empty is refused by its name for every client, at every level (C5); nothing of it is stored."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cluster.authoring import (
    AUTHOR,
    BASELINE_RELAXER,
    RELAXER,
    a_policy,
    access_of,
    authors_of,
    baseline_authors,
)
from cluster.misspelled import PLURALS, TABLES, WRONG
from cluster_fixtures import a_namespace
from control_plane.running import ControlPlane
from hitl.errors import ApiError, InvalidPolicy
from hitl.kube import shipped
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.policy.parse import parse_policy, parse_tool_server

VERSION = "hitl.dev/v1alpha1"
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
ANY_VALUE = {"x-kubernetes-preserve-unknown-fields", "nullable", "description"}
SPECS = {
    crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for crd in shipped.crds()
    if crd["spec"]["names"]["kind"] in PLURALS
}


def inside(schema: Mapping[str, Any], path: str = "spec") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, schema) of everything in a schema, from the outside in."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from inside(inner, f"{path}.{name}")
    if isinstance(schema.get("items"), Mapping):
        yield from inside(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from inside(schema["additionalProperties"], f"{path}.*")


def with_null(value: Any, name: str) -> Any:
    """What has a misspelled field in it, with an empty field of this name in its place."""
    if isinstance(value, list):
        return [with_null(each, name) for each in value]
    if not isinstance(value, dict):
        return value
    if WRONG in value:
        return {**{key: each for key, each in value.items() if key != WRONG}, name: None}
    return {key: with_null(each, name) for key, each in value.items()}


def emptied(kind: str) -> Iterator[tuple[dict[str, Any], str]]:
    """(spec, path to its one null) for every field of every object that may be left out and is no value when null."""
    schemas = dict(inside(SPECS[kind]))
    for place, (spec, path) in TABLES[kind].items():
        for name, schema in schemas[place]["properties"].items():
            if name not in schemas[place].get("required", ()) and not set(schema) <= ANY_VALUE:
                yield with_null(spec, name), path.replace(WRONG, name)
    if kind != "ToolServer":
        yield {"podSelector": {"matchLabels": {"app": None}}}, "spec.podSelector.matchLabels.app"
        rule = {"action": "Confirm", "tools": ["a"]}
        yield {"rules": [rule, rule | {"args": {"b": {"min": 1}, "a": None}}]}, "spec.rules[1].args.a"
        yield {"rules": [rule | {"ensure": {"/a/b": None}}]}, "spec.rules[0].ensure./a/b"


@pytest.fixture(scope="module")
def shop(control_plane: ControlPlane) -> str:
    """A namespace in which AUTHOR writes policies, and RELAXER those that relax; nobody here is an administrator."""
    namespace = a_namespace(control_plane)
    authors_of(control_plane, namespace)
    baseline_authors(control_plane)
    return namespace


def compiled(kind: str, spec: Any) -> str:
    """What the compiler says against it, with every path."""
    try:
        _ = parse_tool_server({"name": "p"}, spec) if kind == "ToolServer" else parse_policy(kind, {"name": "p"}, spec)
    except InvalidPolicy as error:
        return " ".join(f"{each.path}: {each.message}" for each in error.problems)
    return ""


def collection(kind: str, namespace: str) -> str:
    return path_of(VERSION, PLURALS[kind], None if kind == "ClusterAgentPolicy" else namespace)


@pytest.mark.parametrize("kind", PLURALS)
def test_C5_whatever_may_be_left_out_survives_as_null_until_admission(kind: str) -> None:
    """The API server drops a null where it is not nullable; what is required it misses, which it says itself."""
    wrong = []
    for path, schema in inside(SPECS[kind]):
        required = schema.get("required", ())
        wrong += [
            f"{path}.{name}"
            for name, inner in schema.get("properties", {}).items()
            if bool(inner.get("nullable")) is (name in required)
        ]
        if isinstance(schema.get("additionalProperties"), Mapping) and not schema["additionalProperties"]["nullable"]:
            wrong.append(f"{path}.*")
    assert wrong == []


@pytest.mark.parametrize("kind", PLURALS)
async def test_C5_a_null_is_refused_by_its_name_at_every_level(
    control_plane: ControlPlane, shop: str, kind: str
) -> None:
    """Where words are listed the schema speaks, else the policy; the compiler refuses each of them, too.

    The author may relax, so that what is said of relaxing does not come first.
    """
    rows = list(emptied(kind))
    writer = BASELINE_RELAXER if kind == "ClusterAgentPolicy" else RELAXER
    assert len(rows) > (15 if kind == "ToolServer" else 150)
    wrong = {}
    async with KubeAPI.open(access_of(control_plane, writer), deadline=30) as author:
        for spec, path in rows:
            assert any(words in compiled(kind, spec) for words in ("is empty; give it a value", "belongs to sum")), path
            with pytest.raises(ApiError) as caught:
                await author.create(collection(kind, shop), a_policy(spec, kind=kind), dry_run=True)
            said = caught.value.message
            if not any(f"{path}: {word}" in said for word in ("null", "Unsupported value: null")):
                wrong[path] = said
    # Another rule of the schema may speak first: it takes what is null for absent, and misses or forbids it.
    others = (
        "a limit needs either",
        "max belongs to sum",
        "In and NotIn need",
        "a ceiling needs either",
        "ceilings are not",
    )
    assert {path: said for path, said in wrong.items() if not any(other in said for other in others)} == {}


def manifest(kind: str = "AgentPolicy") -> dict[str, Any]:
    """What a person leaves behind who comments out what stood below a key."""
    rule = {"action": "Allow", "tools": ["stripe/create_refund"]}
    spec: dict[str, Any] = {"rules": [rule, rule | {"args": {"amount": {"min": 1, "max": None}}, "limit": None}]}
    return a_policy({"tools": [{"name": "a", "level": None}]} if kind == "ToolServer" else spec, kind=kind)


BY_PATH = "spec.rules[1].limit: null; leave it out, or write what it should hold"
BY_KEY = "kubectl apply was given null for max, limit, which it drops; leave it out"
CLIENTS = {
    "kubectl apply": (("apply",), BY_KEY),
    "kubectl apply --validate=ignore": (("apply", "--validate=ignore"), BY_KEY),
    "kubectl create --validate=strict": (("create", "--validate=strict"), BY_PATH),
    "kubectl create --validate=ignore": (("create", "--validate=ignore"), BY_PATH),
    "kubectl create --save-config": (("create", "--save-config"), BY_PATH),
    "kubectl apply --server-side": (("apply", "--server-side"), BY_PATH),
}


@pytest.mark.parametrize(("how", "says"), CLIENTS.values(), ids=CLIENTS)
async def test_C5_a_null_is_refused_from_every_client(
    control_plane: ControlPlane, shop: str, admin: KubeAPI, how: tuple[str, ...], says: str
) -> None:
    """A rule without its limit is another rule: `limit:` with nothing behind it is never stored as one without."""
    author, body = control_plane.kubeconfig(AUTHOR), a_policy(manifest()["spec"], "never-stored")
    done = control_plane.kubectl(*how, "-n", shop, "-f", "-", stdin=json.dumps(body), kubeconfig=author)
    assert done.returncode != 0
    assert says in done.stderr
    assert "never-stored" not in [
        item["metadata"]["name"] async for item in admin.list(collection("AgentPolicy", shop))
    ]


async def test_C5_a_null_is_refused_in_an_update(control_plane: ControlPlane, shop: str) -> None:
    """Client-side apply sends a merge patch, which drops nulls in lists: what kubectl was given is looked at."""
    rule = {"action": "Allow", "tools": ["a"]}
    good = a_policy({"rules": [rule | {"limit": {"calls": 1, "per": "1h"}}]})
    path = path_of(VERSION, "agentpolicies", shop, "p")

    def apply(spec: dict[str, Any], *flags: str) -> str:
        text = json.dumps({**good, "spec": spec})
        return control_plane.kubectl(
            "apply", *flags, "-n", shop, "-f", "-", stdin=text, kubeconfig=control_plane.kubeconfig(AUTHOR)
        ).stderr

    async with KubeAPI.open(access_of(control_plane, AUTHOR), deadline=30) as author:
        assert apply(good["spec"]) == ""
        stored = await author.get(path)
        bare = {"rules": [rule | {"limit": None}]}
        assert "kubectl apply was given null for limit" in apply(bare)
        assert "kubectl apply was given null for mode" in apply({**good["spec"], "mode": None})  # changes nothing else
        assert "kubectl apply was given null for equals" in apply(
            {"rules": [rule | {"args": {"a": {"equals": None, "min": 1}}}]}
        )
        assert "spec.rules[0].limit: null" in apply(bare, "--server-side", "--force-conflicts")
        for attempt in (
            author.replace(path, {**stored, "spec": copy.deepcopy(bare)}),
            author.json_patch(path, [{"op": "add", "path": "/spec/rules/0/limit", "value": None}]),
        ):
            with pytest.raises(ApiError, match=r"spec.rules\[0\].limit: null"):
                await attempt
        assert (await author.get(path))["spec"] == stored["spec"]


async def test_C5_what_means_null_may_be_null(control_plane: ControlPlane, namespace: str, admin: KubeAPI) -> None:
    """`equals: null` is a matcher, and so is null among values; words that look like a null are no null."""
    args = {"a": {"equals": None}, "b": {"in": [None, 1]}}
    spec = {"rules": [{"action": "Allow", "tools": ["a"], "args": args, "because": 'a "max":null, and \\"in":null'}]}
    stored = await admin.create(collection("AgentPolicy", namespace), a_policy(spec))
    assert stored["spec"] == spec
    del args["a"]
    text = json.dumps(a_policy(spec) | {"metadata": {"name": "q", "creationTimestamp": None}})
    done = control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr
    assert (await admin.get(path_of(VERSION, "agentpolicies", namespace, "q")))["spec"] == spec


async def test_C5_who_may_not_relax_is_told_of_the_null_as_well(control_plane: ControlPlane, namespace: str) -> None:
    """The policies that ask for the verb relax read null as absent, so it is named whichever policy speaks first."""
    authors_of(control_plane, namespace)
    rule = {"action": "Allow", "tools": ["a"]}
    path = path_of(VERSION, "agentpolicies", namespace, "p")
    empty = {
        "rules": {"rules": None},
        "rules[0].final": {"rules": [rule | {"final": None}]},
        "podSelector": {"podSelector": None, "rules": [rule]},
        "podSelector.matchLabels": {"podSelector": {"matchLabels": None}},
        "podSelector.matchExpressions": {"podSelector": {"matchExpressions": None}},
        "trust": {"trust": None},
    }
    async with KubeAPI.open(access_of(control_plane, "bo")) as author:
        stored = await author.create(collection("AgentPolicy", namespace), a_policy({"rules": [rule]}))
        for where, spec in empty.items():
            for attempt in (
                author.create(collection("AgentPolicy", namespace), a_policy(spec, "new")),
                author.replace(path, {**stored, "spec": spec}),
            ):
                with pytest.raises(ApiError, match="hitl-strict-fields-agentpolicies") as caught:
                    await attempt
                assert f"spec.{where}: null" in caught.value.message
        with pytest.raises(ApiError, match=r"spec.trusted: null"):
            await author.create(collection("ToolServer", namespace), a_policy({"trusted": None}, "s", "ToolServer"))


async def test_C5_the_largest_manifest_that_kubectl_applies_is_read_to_its_end(namespace: str, admin: KubeAPI) -> None:
    """A null behind 250 KB of what kubectl was given is found within the cost that admission may have."""
    rule = {"action": "Allow", "tools": ["a"]}
    path = collection("AgentPolicy", namespace)
    filler = {f"k{number}": None if number == 22_999 else 1 for number in range(23_000)}
    for given, says in ((filler, "kubectl apply was given null for k22999"), ({**filler, "k22999": 1}, "")):
        body = a_policy({"rules": [rule]})
        text = json.dumps({**body, "spec": given}, separators=(",", ":"))
        body["metadata"]["annotations"] = {APPLIED: text}
        if says:
            with pytest.raises(ApiError, match=says):
                await admin.create(path, body, dry_run=True)
        else:
            await admin.create(path, body, dry_run=True)
    assert 240_000 < len(text) < 256_000
