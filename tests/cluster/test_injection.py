"""Pods of a gated namespace on a real API server, with the webhook, ServiceAccount admission and the backstop."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from cluster.backstop import AUTHORITY, IMAGE, a_name
from cluster.gated_pods import until
from cluster.webhooks import (
    RESTRICTED,
    Json,
    Served,
    a_pod,
    another_webhook,
    is_gated,
    registered,
    serving,
    until_asked,
)
from cluster_fixtures import a_namespace
from control_plane.running import ControlPlane
from hitl.errors import HitlError, StoreUnavailable
from hitl.kube.paths import path_of
from hitl_operator.injection.installation import args

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def served(guarded_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Served]:
    """A gated namespace with Pod Security restricted, whose pods the API server asks our webhook about."""
    async with serving(guarded_plane, tmp_path) as served, registered(served, "hitl-injection", served.admission.port):
        await served.label({"pod-security.kubernetes.io/enforce": "restricted"})
        await until_asked(served)
        yield served


def mounts(container: Json) -> list[str]:
    return [f"{each['name']} at {each['mountPath']}" for each in container.get("volumeMounts", ())]


async def test_E1_a_pod_is_made_gated(served: Served) -> None:
    """E1, B2, I11: with ServiceAccount admission, Pod Security restricted and the backstop, a plain pod ends gated: the
    sidecar first, with no API token, which the agent has; the agent with the socket, read-only, and no hub token.
    """
    pod = await served.made(a_pod(a_name()))
    sidecar, agent = pod["spec"]["initContainers"][0], pod["spec"]["containers"][0]
    assert (sidecar["name"], sidecar["image"], sidecar["restartPolicy"]) == ("hitl-sidecar", IMAGE, "Always")
    assert sidecar["args"] == list(args())
    assert [each["name"] for each in sidecar["env"]] == ["HITL_POD_NAME", "HITL_HUB_CA_PEM"]
    assert sidecar["env"][1]["value"] == AUTHORITY
    assert mounts(sidecar) == [
        "hitl-run at /run/hitl",
        "hitl-state at /var/lib/hitl",
        "hitl-token at /var/run/secrets/hitl.dev/hub",
        "hitl-no-api at /var/run/secrets/kubernetes.io/serviceaccount",
    ]
    own = [name for name in mounts(agent) if name.startswith("hitl-")]
    assert own == ["hitl-run at /run/hitl"]
    assert next(each for each in agent["volumeMounts"] if each["name"] == "hitl-run")["readOnly"] is True
    assert any(name.startswith("kube-api-access-") for name in mounts(agent))
    assert pod["metadata"]["labels"] == {"app": "support", "hitl.dev/gated": "true"}
    assert orjson.loads(pod["metadata"]["annotations"]["hitl.dev/labels"]) == {"app": "support"}


async def test_E1_what_a_pod_brings_of_ours_is_replaced(served: Served) -> None:
    """E1: a sidecar with another image and command, and mounts of our volumes, come out as if nobody wrote them."""
    plain, forged = a_pod(a_name()), a_pod(a_name())
    forged["spec"]["initContainers"] = [{"name": "hitl-sidecar", "image": "evil:1", "command": ["sh"]}]
    forged["spec"]["volumes"] = [{"name": "hitl-run", "emptyDir": {}}]
    forged["spec"]["containers"][0]["volumeMounts"] = [{"name": "hitl-run", "mountPath": "/run/hitl"}]
    forged["metadata"]["annotations"] = {"hitl.dev/labels": '{"app":"admin"}'}
    first, second = await served.made(plain), await served.made(forged)
    assert first["spec"]["initContainers"] == second["spec"]["initContainers"]
    for pod in (first, second):
        pod["volumes"] = [each for each in pod["spec"]["volumes"] if each["name"].startswith("hitl-")]
    assert first["volumes"] == second["volumes"]
    assert first["metadata"]["annotations"] == second["metadata"]["annotations"]


async def test_pods_that_controllers_make_are_gated(served: Served) -> None:
    """A Deployment's and a Job's pods, named by the API server, are gated; the Job's sidecar does not keep it going."""
    template: Json = {"metadata": {"labels": {"app": "made"}}, "spec": a_pod("x")["spec"]}
    template["spec"]["restartPolicy"] = "Always"
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "support"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "made"}}, "template": template},
    }
    for_job = {"metadata": {"labels": {"app": "made"}}, "spec": {**template["spec"], "restartPolicy": "Never"}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "batch"}, "spec": {"template": for_job}}
    for each in (deployment, job):
        code, _, said = await served.kubectl("apply", "-f", "-", stdin=each)
        assert code == 0, said

    async def pods() -> list[Json]:
        path = path_of("v1", "pods", served.namespace)
        found = [pod async for pod in served.api.list(path, {"labelSelector": "app=made"})]
        return found if len(found) == 3 else []

    for pod in await until(pods):
        assert is_gated(pod), pod["metadata"]["name"]
        assert pod["spec"]["initContainers"][0]["restartPolicy"] == "Always"


async def test_the_author_reads_why_a_pod_is_refused(served: Served) -> None:
    """Every reason at once, with the annotation, its value and what is wanted, through kubectl."""
    pod = a_pod(a_name(), shareProcessNamespace=True)
    pod["metadata"]["annotations"] = {
        "hitl.dev/sidecar-cpu-limit": "lots",
        "hitl.dev/containers": "agnet",
        "hitl.dev/sidecar-cpu": "1",
    }
    code, _, said = await served.kubectl("create", "-f", "-", stdin=pod)
    assert code == 1
    for words in (
        f"pod {pod['metadata']['name']} cannot be gated by hitl: ",
        "spec.shareProcessNamespace is true",
        'annotation hitl.dev/sidecar-cpu-limit is "lots", wanted a quantity of CPU',
        'annotation hitl.dev/containers names "agnet"; the pod\'s containers are agent',
        "annotation hitl.dev/sidecar-cpu is not known; known here: hitl.dev/containers",
    ):
        assert words in said, said
    assert served.outcomes("refused") >= 1


async def test_E1_a_container_of_another_webhook_is_gated_too(served: Served) -> None:
    """E1, B2: who comes after us adds containers, one of them first, and a label; asked again, we gate all of it, are
    first, and stamp the label.
    """

    def mesh(pod: Json) -> None:
        inits = pod["spec"].setdefault("initContainers", [])
        if any(each["name"] == "mesh" for each in inits):
            return
        one: Json = {"image": "mesh:1", "securityContext": RESTRICTED}
        inits.insert(0, {"name": "mesh", "restartPolicy": "Always", **one})
        pod["spec"]["containers"].append({"name": "proxy", **one})
        pod["metadata"]["labels"]["mesh"] = "yes"

    def is_meshed(pod: Json) -> bool:
        return is_gated(pod) and len(pod["spec"]["initContainers"]) == 2

    async with another_webhook(served, mesh) as port, registered(served, "zz-mesh", port, path="/change"):
        await until_asked(served, is_meshed)
        pod = await served.made(a_pod(a_name()))
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["hitl-sidecar", "mesh"]
    assert [each["name"] for each in pod["spec"]["containers"]] == ["agent", "proxy"]
    for each in (*pod["spec"]["initContainers"][1:], *pod["spec"]["containers"]):
        assert mounts(each).count("hitl-run at /run/hitl") == 1, each["name"]
        assert [one["name"] for one in each["env"]] == ["HITL_GATE", "HITL_SESSION"]
    assert orjson.loads(pod["metadata"]["annotations"]["hitl.dev/labels"]) == {"app": "support", "mesh": "yes"}
    assert not any("kube-api-access" in name for name in mounts(pod["spec"]["initContainers"][0]))


async def test_I2_without_the_webhook_gated_namespaces_make_no_pods(served: Served) -> None:
    """I2: while nobody answers, pods of the namespace are refused, and those of another are made as ever."""
    elsewhere = a_namespace(served.plane, gated=False)
    account = path_of("v1", "serviceaccounts", elsewhere, "default")
    await until(lambda: _there(served, account))
    await served.stop()
    with pytest.raises(StoreUnavailable, match="failed calling webhook"):
        await served.made(a_pod(a_name()))
    pod = await served.api.create(path_of("v1", "pods", elsewhere), a_pod(a_name()))
    assert not is_gated(pod)


async def test_B2_opting_out_takes_the_namespace(served: Served) -> None:
    """B2: the label alone changes nothing but a warning; with the namespace's leave the pod stays as it is; a changed
    mind counts for the next pod.
    """
    out = a_pod(a_name())
    out["metadata"]["labels"]["hitl.dev/inject"] = "false"
    code, _, said = await served.kubectl("create", "-f", "-", stdin=out)
    assert code == 0, said
    assert "Warning: label hitl.dev/inject: false does not count here" in said
    path = path_of("v1", "pods", served.namespace, out["metadata"]["name"])
    assert is_gated(await served.api.get(path))
    await served.label({"hitl.dev/opt-out": "allowed"})

    async def taken() -> Json | None:
        out["metadata"]["name"] = a_name()  # one that was made though the answer was lost stands in nobody's way
        try:
            return await served.made(out)
        except HitlError:
            return None  # the backstop asks the API server's own cache of namespaces

    pod = await until(taken)
    assert not is_gated(pod)
    assert "hitl.dev/gated" not in pod["metadata"]["labels"]
    assert served.outcomes("opted-out") >= 1
    await served.label({"hitl.dev/opt-out": None})
    assert is_gated(await until(taken))


async def test_a_limit_range_takes_the_sidecar_as_it_is(served: Served) -> None:
    """Limits that a namespace demands of every container are there, so its defaults are not needed and do not stand."""
    most = {"cpu": "2", "memory": "1Gi"}
    limits = {"type": "Container", "max": most, "default": {"cpu": "2", "memory": "1Gi"}}
    path = path_of("v1", "limitranges", served.namespace)
    await served.api.create(path, {"metadata": {"name": "all"}, "spec": {"limits": [limits]}})

    async def acts() -> Json | None:
        pod = await served.made(a_pod("probe"), dry_run=True)
        return pod if pod["spec"]["containers"][0]["resources"].get("limits") == most else None

    pod = await until(acts)
    assert pod["spec"]["initContainers"][0]["resources"] == {
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"cpu": "1", "memory": "384Mi"},
    }


async def test_a_crowd_of_pods_is_gated(served: Served) -> None:
    """Sixty at once: every one of them gated, none refused."""
    before = served.outcomes("injected")
    pods = await asyncio.gather(*(served.made(a_pod(a_name())) for _ in range(60)))
    assert all(map(is_gated, pods))
    assert served.outcomes("injected") >= before + 60
    assert served.outcomes("failed") == served.outcomes("refused") == 0


async def _there(served: Served, path: str) -> bool:
    try:
        await served.api.get(path)
    except HitlError:
        return False
    return True
