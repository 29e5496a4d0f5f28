"""What the leader tells the API server to trust, with the operator's own rights on a real one (SECURITY E1)."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from cluster.gated_pods import EVER, until
from cluster.voting import PATIENCE
from control_plane.certificates import Authority
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT, STANDARD
from hitl_operator.cluster.publishing import (
    FIELD_MANAGER,
    STANDARDS,
    WEBHOOK,
    WEBHOOKS,
    InjectedSidecar,
    Publishing,
)

GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{DEFAULT.namespace}")
CONFIGURATION = path_of("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", name=WEBHOOKS)
PARAMETERS = f"{STANDARDS}/{STANDARD}"
OWN = InjectedSidecar("hitl-sidecar:2", ("--a", "--b"))
FORMER = InjectedSidecar("hitl-sidecar:1", ("--a",))
OLD, NEW = Authority("old").pem, Authority("new").pem


class Said:
    """What is to be trusted."""

    def __init__(self) -> None:
        self.admitted = OLD, OLD
        self.seconds = 0.0


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
async def publishing(as_user: Callable[..., Access], admin: KubeAPI, said: Said) -> AsyncIterator[Publishing]:
    """The leader's, with the operator's rights; nothing of the installation is there, and afterwards all of it is."""
    before = [await taken_away(admin, path) for path in (CONFIGURATION, PARAMETERS)]
    async with KubeAPI.open(as_user(DEFAULT.operator, GROUPS), deadline=PATIENCE) as api:
        yield Publishing(api, lambda: said.admitted, OWN, clock=lambda: said.seconds, settled=30.0, overlap=600.0)
    for path, found in zip((CONFIGURATION, PARAMETERS), before, strict=True):
        await taken_away(admin, path)
        if found is not None:
            metadata = {key: found["metadata"].get(key) or {} for key in ("labels", "annotations")}
            found["metadata"] = {**metadata, "name": found["metadata"]["name"]}
            await admin.create(path.rpartition("/")[0], found)


async def taken_away(admin: KubeAPI, path: str) -> dict[str, Any] | None:
    """What stood there; None for nothing."""
    try:
        found = await admin.get(path)
    except ApiError:
        return None
    await admin.delete(path)
    return found


async def installed(admin: KubeAPI) -> None:
    """As the chart brings it: without caBundle."""
    webhook = {
        "name": WEBHOOK,
        "clientConfig": {"service": {"name": "hitl-operator", "namespace": DEFAULT.namespace, "path": "/inject"}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",  # other tests make pods while it stands
        "namespaceSelector": {"matchLabels": {"hitl.dev/test": "nowhere"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
    }
    body: dict[str, Any] = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": WEBHOOKS},
        "webhooks": [webhook],
    }
    await admin.apply(CONFIGURATION, body, field_manager="helm", force=True)


async def ca_bundle(admin: KubeAPI) -> bytes:
    return base64.b64decode((await admin.get(CONFIGURATION))["webhooks"][0]["clientConfig"].get("caBundle", ""))


async def standard(admin: KubeAPI) -> dict[str, Any]:
    found: dict[str, Any] = (await admin.get(PARAMETERS))["spec"]
    return found


def a_standard(*sidecars: InjectedSidecar, authorities: Sequence[bytes] = ()) -> dict[str, Any]:
    return {
        "sidecars": [{"image": each.image, "args": list(each.args)} for each in sidecars],
        "authorities": [each.decode() for each in authorities],
    }


async def test_a_webhook_that_is_not_installed_is_no_trouble_and_is_not_made(
    publishing: Publishing, admin: KubeAPI
) -> None:
    """What the installation left out stays out; the SidecarStandard is the operator's own and is made."""
    await publishing.look(leads=True)
    with pytest.raises(ApiError) as raised:
        await admin.get(CONFIGURATION)
    assert raised.value.status == 404
    assert await standard(admin) == a_standard(OWN, authorities=[OLD])


async def test_who_injects_nothing_leaves_the_standard_alone(as_user: Callable[..., Access], admin: KubeAPI) -> None:
    """An operator without --admission makes none."""
    await taken_away(admin, PARAMETERS)
    async with KubeAPI.open(as_user(DEFAULT.operator, GROUPS), deadline=PATIENCE) as api:
        await Publishing(api, lambda: (OLD, OLD), None).look(leads=True)
    with pytest.raises(ApiError):
        await admin.get(PARAMETERS)


async def test_E1_an_upgrade_admits_what_either_release_injects(
    publishing: Publishing, admin: KubeAPI, as_user: Callable[..., Access], said: Said
) -> None:
    """E1: a new replica adds its sidecar before it leads, whoever leads; however long the upgrade takes, both stay.

    The former one goes ten minutes after its last replica has said that it injects it.
    """
    both = a_standard(OWN, FORMER, authorities=[OLD])
    async with KubeAPI.open(as_user(DEFAULT.operator, GROUPS), deadline=PATIENCE) as api:
        former = Publishing(api, lambda: (OLD, OLD), FORMER, clock=lambda: said.seconds)
        await former.look(leads=True)
        await publishing.look(leads=False)
        assert await standard(admin) == both
        for second in range(30, 3600, 30):
            said.seconds = second
            await former.look(leads=second < 1800)
            await publishing.look(leads=second >= 1800)
            assert await standard(admin) == both
    for second in range(3600, 4200, 30):
        said.seconds = second
        await publishing.look(leads=True)
    said.seconds = 3570 + 240 + 600 + 30
    await publishing.look(leads=True)
    assert await standard(admin) == a_standard(OWN, authorities=[OLD])
    marks = (await admin.get(PARAMETERS))["metadata"]["annotations"]
    assert len(marks) == 1


async def test_a_leader_without_a_certificate_yet_takes_no_authority_away(
    publishing: Publishing, admin: KubeAPI, said: Said
) -> None:
    """What stood there stays until the leader knows what to put in its place."""
    await publishing.look(leads=True)
    said.admitted = b"", b""
    await publishing.look(leads=True)
    assert await standard(admin) == a_standard(OWN, authorities=[OLD])


async def test_E1_only_its_fields_are_written(publishing: Publishing, admin: KubeAPI, said: Said) -> None:
    """E1: caBundle alone of the webhook; what the installation wrote stays the installation's, and stays as it is."""
    await installed(admin)
    before = await admin.get(CONFIGURATION)
    said.admitted = NEW + OLD, OLD
    await publishing.look(leads=True)
    assert await ca_bundle(admin) == NEW + OLD
    assert await standard(admin) == a_standard(OWN, authorities=[NEW + OLD, OLD])
    after = await admin.get(CONFIGURATION)
    del after["webhooks"][0]["clientConfig"]["caBundle"]
    assert after["webhooks"] == before["webhooks"]
    owned = {each["manager"]: each["fieldsV1"] for each in after["metadata"]["managedFields"]}
    webhook = f'k:{{"name":"{WEBHOOK}"}}'
    assert owned[FIELD_MANAGER]["f:webhooks"][webhook].keys() == {".", "f:name", "f:clientConfig"}
    await installed(admin)  # an upgrade
    assert await ca_bundle(admin) == NEW + OLD
    version = (await admin.get(PARAMETERS))["metadata"]["resourceVersion"]
    await publishing.look(leads=True)
    assert (await admin.get(PARAMETERS))["metadata"]["resourceVersion"] == version


async def test_E1_what_somebody_else_writes_there_is_put_back(publishing: Publishing, admin: KubeAPI) -> None:
    """E1: another CA, or none, in either of them."""
    await installed(admin)
    await publishing.look(leads=True)
    foreign = base64.b64encode(NEW).decode()
    operation = {"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": foreign}
    await admin.json_patch(CONFIGURATION, [operation])
    await admin.merge_patch(PARAMETERS, {"spec": {"authorities": [NEW.decode()], "sidecars": []}})
    await publishing.look(leads=True)
    assert await ca_bundle(admin) == OLD
    assert await standard(admin) == a_standard(OWN, authorities=[OLD])


async def test_E1_a_webhook_that_is_not_ours_is_left_alone(publishing: Publishing, admin: KubeAPI) -> None:
    """E1: a configuration of that name without our webhook in it is somebody's, and gets none."""
    await installed(admin)
    found = await admin.get(CONFIGURATION)
    found["webhooks"][0]["name"] = "other.example.com"
    await admin.replace(CONFIGURATION, found)
    await publishing.look(leads=True)
    assert [each["name"] for each in (await admin.get(CONFIGURATION))["webhooks"]] == ["other.example.com"]
    assert await ca_bundle(admin) == b""


async def test_a_step_waits_until_what_was_written_has_stood_for_a_while(
    publishing: Publishing, admin: KubeAPI, said: Said
) -> None:
    """Each write, and each change of what is to be trusted, begins that while anew."""
    await installed(admin)
    assert not publishing.is_settled
    await publishing.look(leads=True)
    said.seconds = 29
    assert not publishing.is_settled
    said.seconds = 30
    assert publishing.is_settled
    said.admitted = NEW, OLD
    assert not publishing.is_settled
    await publishing.look(leads=True)
    said.seconds = 59
    await admin.merge_patch(PARAMETERS, {"spec": {"authorities": []}})
    await publishing.look(leads=True)
    said.seconds = 61
    assert not publishing.is_settled
    said.seconds = 90
    assert publishing.is_settled


async def test_who_does_not_lead_writes_no_ca(publishing: Publishing, admin: KubeAPI, said: Said) -> None:
    """From the moment on at which the Lease is held it does."""
    await installed(admin)
    asked = asyncio.Event()
    leading = False

    def leads() -> bool:
        asked.set()
        return leading

    task = asyncio.create_task(publishing.run(leads))
    async with asyncio.timeout(EVER):
        await asked.wait()
        asked.clear()
        await asked.wait()
    assert await ca_bundle(admin) == b""
    leading = True

    async def written() -> bool:
        return await ca_bundle(admin) == OLD

    await until(written)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("name", ["other", "hitl-injection"])
async def test_E1_the_operator_has_rights_over_its_own_webhook_alone(
    publishing: Publishing, admin: KubeAPI, as_user: Callable[..., Access], name: str
) -> None:
    """E1: it makes, deletes and replaces none, and touches no other one, validating ones included."""
    await installed(admin)
    async with KubeAPI.open(as_user(DEFAULT.operator, GROUPS), deadline=PATIENCE) as api:
        kinds = ["validatingwebhookconfigurations", *(["mutatingwebhookconfigurations"] if name == "other" else [])]
        for plural in kinds:
            path = path_of("admissionregistration.k8s.io/v1", plural, name=name)
            with pytest.raises(ApiError) as raised:
                await api.merge_patch(path, {"webhooks": []})
            assert raised.value.status == 403
        for refused in (
            api.delete(CONFIGURATION),
            api.replace(CONFIGURATION, await admin.get(CONFIGURATION)),
            api.create(CONFIGURATION.rpartition("/")[0], {"metadata": {"name": "x"}}),
        ):
            with pytest.raises(ApiError) as raised:
                await refused
            assert raised.value.status == 403
