"""Freezing is anybody's who may create it; thawing relaxes, and nobody writes in another's name (A7, I3)."""

import itertools

import pytest

from cluster.authoring import access_of, binding, until_allowed
from cluster.freezing import a_freeze, thaw
from cluster.voting import PATIENCE
from cluster_fixtures import a_namespace
from control_plane.installing import applied
from control_plane.running import ControlPlane
from hitl.errors import ApiError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of

FREEZER, ON_CALL = "fay", "olga"
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def shop(control_plane: ControlPlane) -> str:
    """A namespace with one who may freeze and one who may thaw as well, each by the shipped role."""
    namespace = a_namespace(control_plane)
    applied(
        control_plane,
        binding(namespace, "freezer", "hitl-freezer", FREEZER),
        binding(namespace, "on-call", "hitl-on-call", ON_CALL),
        # Somebody gave the freezer the right to delete as well, as `kubectl create role` does in a hurry.
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "deleter", "namespace": namespace},
            "rules": [
                {
                    "apiGroups": ["hitl.dev"],
                    "resources": ["policyoverrides"],
                    "verbs": ["delete", "deletecollection", "update", "patch"],
                }
            ],
        },
        {**binding(namespace, "deleter", "deleter", FREEZER), "roleRef": _role("deleter")},
    )
    for user, verb in ((FREEZER, "create"), (FREEZER, "delete"), (FREEZER, "update"), (ON_CALL, "delete")):
        until_allowed(control_plane, user, verb, "policyoverrides.hitl.dev", "-n", namespace)
    until_allowed(control_plane, ON_CALL, "relax", "agentpolicies.hitl.dev", "-n", namespace)
    return namespace


def _role(name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}


def paths(namespace: str, name: str | None = None) -> str:
    return path_of("hitl.dev/v1alpha1", "policyoverrides", namespace, name)


async def refused(does: object) -> str:
    """What the API server says to somebody who may not."""
    with pytest.raises(ApiError) as caught:
        await does  # type: ignore[misc]
    assert caught.value.status in (403, 422), caught.value.message
    return caught.value.message


async def test_A7_who_may_freeze_may_not_thaw_without_relax(control_plane: ControlPlane, shop: str) -> None:
    """A7: not one, nor all of them at once; who has relax may."""
    name = f"f{next(_NUMBERS)}"
    async with (
        KubeAPI.open(access_of(control_plane, FREEZER), deadline=PATIENCE) as freezer,
        KubeAPI.open(access_of(control_plane, ON_CALL), deadline=PATIENCE) as on_call,
    ):
        await freezer.create(paths(shop), a_freeze(shop, name, by=FREEZER))
        said = await refused(freezer.delete(paths(shop, name)))
        assert "thawing lets calls run that were stopped" in said
        assert "role hitl-on-call" in said
        many = control_plane.kubectl("-n", shop, "delete", "pov", "--all", f"--as={FREEZER}")
        assert many.returncode != 0
        assert (await on_call.get(paths(shop, name)))["metadata"]["name"] == name
        await on_call.delete(paths(shop, name))


async def test_A7_a_freeze_is_changed_by_nobody(control_plane: ControlPlane, shop: str) -> None:
    """A7: shortened, narrowed, reworded or emptied it would stop less, or another than he said would have said it."""
    name = f"f{next(_NUMBERS)}"
    async with KubeAPI.open(access_of(control_plane, FREEZER), deadline=PATIENCE) as freezer:
        await freezer.create(paths(shop), a_freeze(shop, name, by=FREEZER))
    for change in (
        '{"spec":{"until":"2026-01-01T00:00:00Z"}}',
        '{"spec":{"tools":["crm/*"]}}',
        '{"spec":{"podSelector":{"matchLabels":{"app":"x"}}}}',
        '{"spec":{"reason":"another"}}',
        '{"spec":{"by":"admin"}}',
        '{"spec":null}',
    ):
        done = control_plane.kubectl("-n", shop, "patch", "pov", name, "--type=merge", "-p", change)
        assert done.returncode != 0, change
        assert "never changed" in done.stderr or "Required value" in done.stderr, done.stderr
    thaw(control_plane, shop, name)


async def test_I3_nobody_freezes_in_anothers_name(control_plane: ControlPlane, shop: str) -> None:
    """I3: agents and people are told who pressed it, so the API server compares the name with the caller."""
    async with KubeAPI.open(access_of(control_plane, FREEZER), deadline=PATIENCE) as freezer:
        said = await refused(freezer.create(paths(shop), a_freeze(shop, "forged", by="ana")))
    assert f"is ana, and you are {FREEZER}" in said


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"type": "Incident"}, "Incident"),
        ({"untl": "2026-05-01T12:00:00Z"}, "untl"),
        ({"selector": {"app": "x"}}, "selector"),
        ({"podSelector": {"matchLabel": {"app": "x"}}}, "matchLabel"),
        ({"until": "tomorrow"}, "until"),
        ({"tools": []}, "tools"),
        ({"tools": ["**"]}, "tools"),
        ({"reason": ""}, "reason"),
        ({"reason": "a\u202eb"}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"tools": None}, "tools"),
    ],
)
async def test_C5_what_is_misspelled_is_refused_by_name(
    control_plane: ControlPlane, shop: str, spec: dict[str, object], says: str
) -> None:
    """C5: nothing of a freeze is pruned in silence: it would stop more or less than was meant."""
    async with KubeAPI.open(access_of(control_plane, FREEZER), deadline=PATIENCE) as freezer:
        body = a_freeze(shop, f"f{next(_NUMBERS)}", by=FREEZER)
        body["spec"] |= spec
        assert says in await refused(freezer.create(paths(shop), body))


async def test_A7_an_owner_that_is_collected_does_not_thaw(full_control_plane: ControlPlane) -> None:
    """A7: the garbage collector has no relax; a freeze with an owner outlives it. A namespace's end takes it along."""
    plane = full_control_plane
    namespace = a_namespace(plane)
    applied(plane, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "namespace": namespace}})
    uid = plane.kubectl("-n", namespace, "get", "cm", "owner", "-o", "jsonpath={.metadata.uid}").stdout
    owned = a_freeze(namespace, "owned")
    owned["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]
    applied(plane, owned)
    assert plane.kubectl("-n", namespace, "delete", "cm", "owner").returncode == 0
    async with KubeAPI.open(
        access_of(plane, "system:serviceaccount:kube-system:generic-garbage-collector"), deadline=PATIENCE
    ) as api:
        said = await refused(api.delete(paths(namespace, "owned")))
    assert "relax" in said or "cannot delete" in said
    assert plane.kubectl("-n", namespace, "get", "pov", "owned").returncode == 0
    gone = plane.kubectl("delete", "namespace", namespace, "--wait=true", timeout=180)
    assert gone.returncode == 0, gone.stderr
