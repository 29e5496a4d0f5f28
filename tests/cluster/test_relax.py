"""What relaxes takes the verb relax (A7), tried by an author who has not got it, on a real API server."""

import asyncio
import itertools
import time
from collections.abc import Mapping
from typing import Any

import pytest

from cluster.authoring import AUTHOR, RELAXER, a_policy, access_of, authors_of
from cluster_fixtures import a_namespace
from control_plane.installing import ACTING, applied
from control_plane.running import ControlPlane
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of

NUMBERS = itertools.count(1)
VERSION = "hitl.dev/v1alpha1"
CONFIRM = {"action": "Confirm", "tools": ["pay/*"]}
FINAL = {"action": "Allow", "tools": ["crm/get_*"], "final": True}
DENY = {"action": "Deny", "tools": ["*/drop_*"]}
CEILING = {"ceiling": "Notify", "tools": ["git/*"]}
OTHER_CEILING = {"ceiling": "Confirm", "tools": ["ops/*"]}
APP = {"podSelector": {"matchLabels": {"app": "shop"}}}
ONLY_NEW = {"key": "tier", "operator": "In", "values": ["new"]}

Spec = Mapping[str, Any]


@pytest.fixture(scope="module")
def shop(control_plane: ControlPlane) -> str:
    """One namespace for all rows; each makes objects of its own."""
    namespace = a_namespace(control_plane)
    authors_of(control_plane, namespace)
    return namespace


def policies(namespace: str, name: str | None = None) -> str:
    return path_of(VERSION, "agentpolicies", namespace, name)


def servers(namespace: str, name: str | None = None) -> str:
    return path_of(VERSION, "toolservers", namespace, name)


async def refused(does: Any) -> str:
    """What the API server says to somebody who may not."""
    with pytest.raises(ApiError) as caught:
        await does
    assert caught.value.status in (403, 422), caught.value.message
    return caught.value.message


RELAXING = {
    "mode Monitor": ({"mode": "Monitor"}, "spec.mode"),
    "autonomy AuditOnly": ({"autonomy": "AuditOnly"}, "spec.autonomy"),
    "autonomy 4, which is AuditOnly": ({"autonomy": 4}, "spec.autonomy"),
    "posture Permissive": ({"posture": "Permissive"}, "spec.posture"),
    "a ceiling of trust": ({"trust": [CEILING]}, "spec.trust"),
    "a final rule": ({"rules": [CONFIRM, FINAL]}, "rules[1]"),
    "undeclared Allow": ({"undeclared": "Allow"}, "spec.undeclared: Allow"),
    "undeclared Notify": ({"undeclared": "Notify"}, "spec.undeclared: Notify"),
    "autonomy 4.0, which the API server reads as 4": ({"autonomy": 4.0}, "spec.autonomy"),
    "stricter thresholds, because any scoring is relaxing": (
        {"scoring": {"thresholds": {"notify": 1}}},
        "spec.scoring",
    ),
    "scoring that says nothing of weights": ({"scoring": {"weights": {}}}, "spec.scoring"),
}


@pytest.mark.parametrize(("spec", "says"), RELAXING.values(), ids=RELAXING)
async def test_A7_what_relaxes_needs_the_verb(control_plane: ControlPlane, shop: str, spec: Spec, says: str) -> None:
    """Neither in a new policy nor added to one; whoever may relax may do both."""
    name = f"p{next(NUMBERS)}"
    async with (
        KubeAPI.open(access_of(control_plane, AUTHOR)) as author,
        KubeAPI.open(access_of(control_plane, RELAXER)) as relaxer,
    ):
        message = await refused(author.create(policies(shop), a_policy(spec, name)))
        assert says in message
        assert f"relax on agentpolicies.hitl.dev in namespace {shop}, which bo does not have" in message
        await author.create(policies(shop), a_policy({}, name))
        assert says in await refused(author.merge_patch(policies(shop, name), {"spec": spec}))
        await relaxer.merge_patch(policies(shop, name), {"spec": spec})
        await relaxer.create(policies(shop), a_policy(spec, f"{name}-b"))


CHANGES: dict[str, tuple[Spec, Spec, str]] = {
    # before, after, what is said; nothing is said to what passes
    "the rest may change beside what relaxes": (
        {"mode": "Monitor", "posture": "Permissive", "autonomy": "AuditOnly", "undeclared": "Allow", "trust": [CEILING],
         "scoring": {"weights": {"low": 1}}, "rules": [FINAL, CONFIRM], **APP},
        {"mode": "Monitor", "posture": "Permissive", "autonomy": "AuditOnly", "undeclared": "Allow", "trust": [CEILING],
         "scoring": {"weights": {"low": 1}}, "rules": [FINAL, DENY, {"action": "Allow", "tools": ["a"]}], **APP},
        "",
    ),
    "the word for a number is no change": ({"autonomy": 4}, {"autonomy": "AuditOnly"}, ""),
    "Monitor may be taken out": ({"mode": "Monitor"}, {"mode": "Enforce"}, ""),
    "AuditOnly may be taken out": ({"autonomy": "AuditOnly"}, {}, ""),
    "Permissive may be taken out": ({"posture": "Permissive"}, {"posture": "Conservative"}, ""),
    "undeclared Allow may become stricter than Notify": ({"undeclared": "Allow"}, {"undeclared": "Score"}, ""),
    "undeclared Notify may not become Allow": ({"undeclared": "Notify"}, {"undeclared": "Allow"}, "spec.undeclared"),
    "a ceiling may be taken out": ({"trust": [CEILING, OTHER_CEILING]}, {"trust": [OTHER_CEILING]}, ""),
    "a ceiling may not become lower": (
        {"trust": [OTHER_CEILING]}, {"trust": [{**OTHER_CEILING, "ceiling": "Allow"}]}, "spec.trust",
    ),
    "a ceiling may not reach more tools": (
        {"trust": [CEILING]}, {"trust": [{**CEILING, "tools": ["git/*", "ops/*"]}]}, "spec.trust",
    ),
    "a second ceiling may not join": ({"trust": [CEILING]}, {"trust": [CEILING, OTHER_CEILING]}, "spec.trust"),
    "scoring may not change": (
        {"scoring": {"weights": {"low": 20}}}, {"scoring": {"weights": {"low": 10}}}, "spec.scoring",
    ),
    "scoring may not be taken out, it may be the stricter": ({"scoring": {"weights": {"low": 20}}}, {}, "spec.scoring"),
    "rules below a final one may change": (
        {"rules": [CONFIRM, FINAL, DENY]}, {"rules": [CONFIRM, FINAL, {"action": "Notify", "tools": ["x"]}]}, "",
    ),
    "a final rule may be taken out": ({"rules": [CONFIRM, FINAL]}, {"rules": [CONFIRM]}, ""),
    "a rule may stop being final": (
        {"rules": [CONFIRM, FINAL]}, {"rules": [CONFIRM, {**FINAL, "final": False}]}, "",
    ),
    "a final rule may not match more tools": (
        {"rules": [CONFIRM, FINAL]}, {"rules": [CONFIRM, {**FINAL, "tools": ["*"]}]}, "rules[1]",
    ),
    "a final rule may not move up": ({"rules": [CONFIRM, FINAL]}, {"rules": [FINAL, CONFIRM]}, "rules[0]"),
    "a final rule may not move down": ({"rules": [FINAL, CONFIRM]}, {"rules": [CONFIRM, FINAL]}, "rules[1]"),
    "what stands above a final rule may not go": ({"rules": [CONFIRM, FINAL]}, {"rules": [FINAL]}, "rules[0]"),
    "what stands above a final rule may not change": (
        {"rules": [CONFIRM, FINAL]}, {"rules": [{**CONFIRM, "tools": ["nothing/x"]}, FINAL]}, "rules[1]",
    ),
    "a second final rule may not join": (
        {"rules": [FINAL, CONFIRM]}, {"rules": [FINAL, {**CONFIRM, "final": True}]}, "rules[1]",
    ),
    "one final rule may not take the place of another": (
        {"rules": [FINAL, CONFIRM]}, {"rules": [{**CONFIRM, "final": True}, CONFIRM]}, "rules[0]",
    ),
    "a policy may select more pods": (
        {"podSelector": {"matchLabels": {"app": "shop", "tier": "new"}, "matchExpressions": [ONLY_NEW]}}, APP, "",
    ),
    "a policy may select every pod": (APP, {}, ""),
    "a policy may not select fewer pods by a label": (
        APP, {"podSelector": {"matchLabels": {"app": "shop", "tier": "new"}}}, "no longer selected",
    ),
    "a policy may not select fewer pods by an expression": (
        {}, {"podSelector": {"matchExpressions": [ONLY_NEW]}}, "no longer selected",
    ),
    "a policy may not select other pods": (
        APP, {"podSelector": {"matchLabels": {"app": "nothing"}}}, "no longer selected",
    ),
    "what relaxes may not reach more pods": ({"mode": "Monitor", **APP}, {"mode": "Monitor"}, "reach other pods"),
    "a final rule may not reach more pods": ({"rules": [FINAL], **APP}, {"rules": [FINAL]}, "reach other pods"),
    "a ceiling may not reach more pods": ({"trust": [CEILING], **APP}, {"trust": [CEILING]}, "reach other pods"),
    "scoring may not reach more pods": (
        {"scoring": {"weights": {"low": 1}}, **APP}, {"scoring": {"weights": {"low": 1}}}, "reach other pods",
    ),
    "an allowing rule is the author's job": (
        {"rules": [CONFIRM]}, {"rules": [{"action": "Allow", "tools": ["*"]}]}, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "says"), CHANGES.values(), ids=CHANGES)
async def test_A7_an_author_keeps_or_removes_what_relaxes_and_changes_nothing_of_it(
    control_plane: ControlPlane, shop: str, before: Spec, after: Spec, says: str
) -> None:
    """Whoever may relax wrote `before`; an author without the verb replaces the policy by `after`."""
    name = f"p{next(NUMBERS)}"
    async with (
        KubeAPI.open(access_of(control_plane, AUTHOR)) as author,
        KubeAPI.open(access_of(control_plane, RELAXER)) as relaxer,
    ):
        stored = await relaxer.create(policies(shop), a_policy(before, name))
        wanted = stored | {"spec": dict(after)}
        if says:
            assert says in await refused(author.replace(policies(shop, name), wanted))
            assert (await author.get(policies(shop, name)))["spec"] == before
        await (relaxer if says else author).replace(policies(shop, name), wanted)


@pytest.mark.parametrize("way", ["replace", "merge_patch", "json_patch", "apply"])
async def test_A7_every_way_to_write_is_looked_at(control_plane: ControlPlane, shop: str, way: str) -> None:
    """The verb is asked for whatever the verb of HTTP."""
    name = f"p{next(NUMBERS)}"
    path = policies(shop, name)
    async with KubeAPI.open(access_of(control_plane, AUTHOR)) as author:
        stored = await author.create(policies(shop), a_policy({}, name))
        ways = {
            "replace": lambda: author.replace(path, stored | {"spec": {"mode": "Monitor"}}),
            "merge_patch": lambda: author.merge_patch(path, {"spec": {"mode": "Monitor"}}),
            "json_patch": lambda: author.json_patch(path, [{"op": "add", "path": "/spec/mode", "value": "Monitor"}]),
            "apply": lambda: author.apply(path, a_policy({"mode": "Monitor"}, name), field_manager="x", force=True),
        }
        assert "spec.mode" in await refused(ways[way]())


async def test_A7_applying_what_is_not_there_yet_is_looked_at(control_plane: ControlPlane, shop: str) -> None:
    """Server-side apply and replace reach a policy that does not exist; a merge patch of status changes no spec."""
    name = f"p{next(NUMBERS)}"
    path = policies(shop, name)
    body = a_policy({"mode": "Monitor"}, name)
    async with (
        KubeAPI.open(access_of(control_plane, AUTHOR)) as author,
        KubeAPI.open(Access.from_kubeconfig(control_plane.admin)) as admin,
    ):
        assert "spec.mode" in await refused(author.apply(path, body, field_manager="x"))
        with pytest.raises(ApiError) as caught:
            await author.replace(path, body)
        assert caught.value.status == 404
        await author.create(policies(shop), a_policy({}, name))
        await admin.merge_patch(f"{path}/status", {"spec": {"mode": "Monitor"}, "status": {"observedGeneration": 1}})
        assert (await admin.get(path))["spec"] == {}


async def test_A7_the_verb_may_be_given_for_one_policy(control_plane: ControlPlane) -> None:
    """A role with resourceNames is enough for that name, and for nothing beside it."""
    namespace = a_namespace(control_plane)
    authors_of(control_plane, namespace)
    kubectl = ("-n", namespace, "--resource=agentpolicies.hitl.dev", "--verb=relax", "--resource-name=night")
    assert control_plane.kubectl("create", "role", "night", *kubectl).returncode == 0
    bound = control_plane.kubectl("create", "rolebinding", "night", "--role=night", f"--user={AUTHOR}", "-n", namespace)
    assert bound.returncode == 0, bound.stderr
    async with KubeAPI.open(access_of(control_plane, AUTHOR)) as author:
        await author.create(policies(namespace), a_policy({"mode": "Monitor"}, "night"))
        assert "spec.mode" in await refused(author.create(policies(namespace), a_policy({"mode": "Monitor"}, "day")))
        assert "spec.trusted" in await refused(
            author.create(servers(namespace), a_policy({"trusted": True}, "night", "ToolServer"))
        )
        await author.delete(policies(namespace, "night"))


async def test_A7_a_policy_vanishes_only_by_whoever_may_relax(control_plane: ControlPlane, shop: str) -> None:
    """Not directly, not through an owner that is collected as garbage; the namespace's end takes it along."""
    namespace_controller = control_plane.kubeconfig(
        "system:serviceaccount:kube-system:namespace-controller", ["system:serviceaccounts", "system:authenticated"]
    )
    collector = control_plane.kubeconfig(
        "system:serviceaccount:kube-system:generic-garbage-collector",
        ["system:serviceaccounts", "system:authenticated"],
    )
    name = f"p{next(NUMBERS)}"
    async with (
        KubeAPI.open(access_of(control_plane, AUTHOR)) as author,
        KubeAPI.open(access_of(control_plane, RELAXER)) as relaxer,
    ):
        await author.create(policies(shop), a_policy({}, name))
        await author.create(policies(shop), a_policy({}, f"{name}-b"))
        assert "deleting a policy" in await refused(author.delete(policies(shop, name)))
    deleting = ("delete", "agentpolicies", "-n", shop)
    by_collector = control_plane.kubectl(*deleting, name, kubeconfig=collector)
    assert "deleting a policy" in by_collector.stderr
    assert control_plane.kubectl(*deleting, name, "--wait=false", kubeconfig=namespace_controller).returncode == 0
    async with KubeAPI.open(access_of(control_plane, RELAXER)) as relaxer:
        await relaxer.delete(policies(shop, f"{name}-b"))


async def test_A7_a_collection_is_not_deleted_without_the_verb(control_plane: ControlPlane) -> None:
    """RBAC may give deletecollection; admission looks at each policy in it."""
    namespace = a_namespace(control_plane)
    authors_of(control_plane, namespace)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "collector", "namespace": namespace},
        "rules": [{"apiGroups": ["hitl.dev"], "resources": ["agentpolicies"], "verbs": ["deletecollection"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "collector", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "collector"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": AUTHOR}],
    }
    applied(control_plane, role, binding)
    async with KubeAPI.open(access_of(control_plane, AUTHOR)) as author:
        await author.create(policies(namespace), a_policy({}))
        assert "deleting a policy" in await refused(author.delete(policies(namespace)))
        assert (await author.get(policies(namespace, "p")))["spec"] == {}


TRUSTED = {"trusted": True, "endpoint": "https://a.example", "tools": [{"name": "x", "level": "low"}]}
SERVERS: dict[str, tuple[Spec, Spec, str]] = {
    "a server may not become trusted": ({}, {"trusted": True}, "spec.trusted"),
    "a trusted server may not move": (TRUSTED, {**TRUSTED, "endpoint": "https://b.example"}, "any change of it"),
    "a trusted server may not get a publisher": (
        TRUSTED,
        {**TRUSTED, "publisher": "ed25519:9f2c41d0"},
        "any change of it",
    ),
    "trust may be taken away": (TRUSTED, {**TRUSTED, "trusted": False, "endpoint": "https://b.example"}, ""),
    "a server that is not trusted is the author's": ({}, {"tools": [{"name": "x", "level": "low"}]}, ""),
}


@pytest.mark.parametrize(("before", "after", "says"), SERVERS.values(), ids=SERVERS)
async def test_A7_trusting_a_tool_server_needs_the_verb(
    control_plane: ControlPlane, shop: str, before: Spec, after: Spec, says: str
) -> None:
    """Also each change of a server that stays trusted; taking the trust away does not."""
    name = f"s{next(NUMBERS)}"
    async with (
        KubeAPI.open(access_of(control_plane, AUTHOR)) as author,
        KubeAPI.open(access_of(control_plane, RELAXER)) as relaxer,
    ):
        stored = await relaxer.create(servers(shop), a_policy(before, name, "ToolServer"))
        wanted = stored | {"spec": dict(after)}
        if says:
            assert says in await refused(author.replace(servers(shop, name), wanted))
        await (relaxer if says else author).replace(servers(shop, name), wanted)


async def test_A7_a_declaration_that_may_raise_is_not_deleted_without_the_verb(
    control_plane: ControlPlane, shop: str
) -> None:
    """Without the declaration a critical tool is what can be inferred from its name, so deleting may relax."""
    name = f"s{next(NUMBERS)}"
    async with (
        KubeAPI.open(access_of(control_plane, AUTHOR)) as author,
        KubeAPI.open(access_of(control_plane, RELAXER)) as relaxer,
    ):
        spec = {"tools": [{"name": "get_x", "level": "critical"}]}
        await author.create(servers(shop), a_policy(spec, name, "ToolServer"))
        assert "deleting it relaxes" in await refused(author.delete(servers(shop, name)))
        await relaxer.delete(servers(shop, name))


BASELINE: dict[str, tuple[Spec, Spec | None, str]] = {
    "a baseline is not deleted": ({"rules": [DENY]}, None, "deleting a policy"),
    "a baseline does not forbid less": ({"forbid": ["Trust", "Final"]}, {"forbid": ["Trust"]}, "spec.forbid"),
    "a baseline does not stop forbidding": ({"forbid": ["Trust"]}, {}, "spec.forbid"),
    "a baseline may forbid more": ({"forbid": ["Trust"]}, {"forbid": ["Final", "Trust"]}, ""),
    "a baseline does not select fewer pods": ({"rules": [DENY]}, {"rules": [DENY], **APP}, "no longer selected"),
    "a baseline's scoring stays": ({"scoring": {"weights": {"low": 9}}}, {}, "spec.scoring"),
    "a baseline's rules are its author's": ({"rules": [DENY]}, {"rules": [DENY, CONFIRM]}, ""),
}


@pytest.mark.parametrize(("before", "after", "says"), BASELINE.values(), ids=BASELINE)
async def test_A7_a_baseline_is_loosened_only_by_whoever_may_relax_everywhere(
    control_plane: ControlPlane, shop: str, *, before: Spec, after: Spec | None, says: str
) -> None:
    """The verb in one namespace, which ana has, is not enough for what holds in all of them."""
    name = f"base{next(NUMBERS)}"
    path = path_of(VERSION, "clusteragentpolicies", None, name)
    baselines_are_written_by(control_plane, RELAXER)
    async with (
        KubeAPI.open(Access.from_kubeconfig(control_plane.admin)) as admin,
        KubeAPI.open(access_of(control_plane, RELAXER)) as relaxer,
    ):
        body = a_policy({"podSelector": {}, **before}, name, "ClusterAgentPolicy")
        stored = await admin.create(path_of(VERSION, "clusteragentpolicies"), body)
        try:
            change = relaxer.delete(path) if after is None else relaxer.replace(path, stored | {"spec": dict(after)})
            if says:
                message = await refused(change)
                assert says in message
                assert "in the whole cluster" in message
            else:
                await change
        finally:
            await admin.delete(path)


FORBIDDEN = {
    "Monitor": {"mode": "Monitor"},
    "AuditOnly": {"autonomy": 4},
    "Permissive": {"posture": "Permissive"},
    "Trust": {"trust": [CEILING]},
    "Final": {"rules": [FINAL]},
}


async def test_A7_what_the_baseline_forbids_is_refused_to_everybody(
    control_plane: ControlPlane, shop: str, admin: KubeAPI
) -> None:
    """Also to whoever may relax, naming the baseline; other changes of a policy that has it already pass."""
    path = path_of(VERSION, "clusteragentpolicies", None, "forbidding")
    async with KubeAPI.open(access_of(control_plane, RELAXER)) as relaxer:
        old = f"p{next(NUMBERS)}"
        stored = await relaxer.create(policies(shop), a_policy({"mode": "Monitor"}, old))
        body = a_policy({"forbid": list(FORBIDDEN)}, "forbidding", "ClusterAgentPolicy")
        await admin.create(path_of(VERSION, "clusteragentpolicies"), body)
        try:
            await until(relaxer, shop, refuses=True)
            for word, spec in FORBIDDEN.items():
                message = await refused(relaxer.create(policies(shop), a_policy(spec, "forbidden")))
                assert f"{word}: forbidden by ClusterAgentPolicy forbidding" in message
            await relaxer.merge_patch(policies(shop, old), {"metadata": {"labels": {"a": "b"}}})
            await relaxer.merge_patch(policies(shop, old), {"spec": {"mode": "Enforce"}})
            assert stored["spec"] == {"mode": "Monitor"}
        finally:
            await admin.delete(path)
            await until(relaxer, shop, refuses=False)


async def until(api: KubeAPI, namespace: str, *, refuses: bool) -> None:
    """The API server learns within seconds that there is a baseline which forbids Monitor, or none any more."""
    async with asyncio.timeout(ACTING):
        while True:
            await asyncio.sleep(0.02)
            try:
                await api.create(policies(namespace), a_policy({"mode": "Monitor"}, "tried"), dry_run=True)
            except ApiError:
                if refuses:
                    return
            else:
                if not refuses:
                    return


async def test_A7_the_end_of_a_namespace_takes_its_policies_along(full_control_plane: ControlPlane) -> None:
    """Nothing here keeps a namespace from ending: the real namespace controller deletes policies and tool servers."""
    namespace = a_namespace(full_control_plane)
    async with KubeAPI.open(Access.from_kubeconfig(full_control_plane.admin)) as admin:
        await admin.create(policies(namespace), a_policy({"mode": "Monitor"}))
        await admin.create(servers(namespace), a_policy({"trusted": True}, "s", "ToolServer"))
        await admin.delete(path_of("v1", "namespaces", None, namespace))
    ended = full_control_plane.kubectl("wait", "--for=delete", f"namespace/{namespace}", "--timeout=180s", timeout=200)
    assert ended.returncode == 0, ended.stderr


LABELS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "the label is taken off": ("", {"hitl.dev/injection": None}, False),
    "the label gets another value": ("", {"hitl.dev/injection": "disabled"}, False),
    "the label is taken off through status": ("status", {"hitl.dev/injection": None}, False),
    "pods may opt out from now on": ("", {"hitl.dev/opt-out": "allowed"}, False),
    "pods may opt out from now on, through status": ("status", {"hitl.dev/opt-out": "allowed"}, False),
    "another label": ("", {"team": "shop"}, True),
}


@pytest.mark.parametrize(("sub", "labels", "passes"), LABELS.values(), ids=LABELS)
async def test_A7_a_namespace_leaves_the_gate_only_by_whoever_may_relax_there(
    control_plane: ControlPlane, sub: str, labels: dict[str, Any], passes: bool
) -> None:
    """Bo may write namespaces, and relax in another one; that is not enough."""
    namespace = a_namespace(control_plane)
    namespaces_are_written_by(control_plane, AUTHOR, RELAXER)
    authors_of(control_plane, namespace)
    path = path_of("v1", "namespaces", None, namespace, sub or None)
    async with (
        KubeAPI.open(access_of(control_plane, AUTHOR)) as author,
        KubeAPI.open(access_of(control_plane, RELAXER)) as relaxer,
    ):
        if not passes:
            message = await refused(author.merge_patch(path, {"metadata": {"labels": labels}}))
            assert f"relax on agentpolicies.hitl.dev in namespace {namespace}, which bo does not have" in message
        await (author if passes else relaxer).merge_patch(path, {"metadata": {"labels": labels}})


async def test_A7_finalize_takes_no_label_off(control_plane: ControlPlane) -> None:
    """The third way to write a namespace is closed too, and a namespace without our labels is left alone."""
    namespace = a_namespace(control_plane)
    namespaces_are_written_by(control_plane, AUTHOR)
    async with KubeAPI.open(access_of(control_plane, AUTHOR)) as author:
        stored = await author.get(path_of("v1", "namespaces", None, namespace))
        stored["metadata"]["labels"].pop("hitl.dev/injection")
        path = path_of("v1", "namespaces", None, namespace, "finalize")
        assert "run without a gate" in await refused(author.replace(path, stored))
        plain = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{namespace}-plain"}}
        await author.create(path_of("v1", "namespaces"), plain)
        await author.merge_patch(
            path_of("v1", "namespaces", None, f"{namespace}-plain"), {"metadata": {"labels": {"a": "b"}}}
        )
        opted = {"metadata": {"name": f"{namespace}-out", "labels": {"hitl.dev/opt-out": "allowed"}}}
        assert "opt-out" in await refused(author.create(path_of("v1", "namespaces"), plain | opted))


def baselines_are_written_by(plane: ControlPlane, *users: str) -> None:
    _everywhere(plane, "baseline-writers", ["hitl.dev"], ["clusteragentpolicies"], users)


def namespaces_are_written_by(plane: ControlPlane, *users: str) -> None:
    _everywhere(plane, "namespace-writers", [""], ["namespaces", "namespaces/status", "namespaces/finalize"], users)


def _everywhere(
    plane: ControlPlane, name: str, groups: list[str], resources: list[str], users: tuple[str, ...]
) -> None:
    rule = {"apiGroups": groups, "resources": resources, "verbs": ["get", "create", "update", "patch", "delete"]}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user} for user in users]
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    applied(
        plane,
        kind | {"kind": "ClusterRole", "rules": [rule]},
        kind | {"kind": "ClusterRoleBinding", "roleRef": ref, "subjects": subjects},
    )
    for user in users:
        may(plane, user, "update", resources[0], "-A")


def may(plane: ControlPlane, user: str, *wish: str) -> None:
    """Returns when the API server goes by a binding, which it does a moment after it was stored."""
    until = time.monotonic() + ACTING
    while (said := plane.kubectl("auth", "can-i", *wish, f"--as={user}")).stdout != "yes\n":
        assert time.monotonic() < until, f"{user} may not {' '.join(wish)}: {said.stdout}{said.stderr}"


def test_A7_no_role_of_kubernetes_but_cluster_admin_relaxes(control_plane: ControlPlane) -> None:
    """Roles edit and admin of a namespace give nothing here; the shipped role gives exactly the verb."""
    namespace = a_namespace(control_plane)
    roles = ("edit", "admin", "hitl-policy-author", "hitl-reviewer", "hitl-policy-relaxer")
    for role in roles:
        bound = control_plane.kubectl(
            "create", "rolebinding", role, f"--clusterrole={role}", f"--user=u-{role}", "-n", namespace
        )
        assert bound.returncode == 0, bound.stderr
    may(control_plane, f"u-{roles[-1]}", "relax", "agentpolicies", "-n", namespace)  # bindings are taken up in order
    for role in roles:
        asked = control_plane.kubectl("auth", "can-i", "relax", "agentpolicies", "-n", namespace, f"--as=u-{role}")
        assert (role, asked.stdout) == (role, "yes\n" if role == "hitl-policy-relaxer" else "no\n")
