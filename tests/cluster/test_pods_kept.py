"""Running pods of a gated namespace: what editors try on them, and what has to go on working (E1, B2, I11)."""

import asyncio
import json
import time
from typing import Any

import pytest

from cluster.backstop import (
    AUTHORITY,
    OLDER_IMAGE,
    WILD,
    Ground,
    Json,
    a_ground,
    a_name,
    agent,
    gated_pod,
    let_edit,
    opting_out,
    plain_pod,
    refusal,
    until_made,
)
from cluster_fixtures import a_namespace
from control_plane.installing import ACTING, applied, until_policies_act
from control_plane.running import ControlPlane
from hitl.errors import ApiError
from hitl.kube import shipped
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of

Operations = list[dict[str, Any]]

LABELS, ANNOTATIONS = "/metadata/labels/hitl.dev~1", "/metadata/annotations/hitl.dev~1"
MARKS = "The labels hitl.dev/gated and hitl.dev/inject of a pod stay as it was made"
STAMP = "Annotation hitl.dev/labels says which labels the pod was made with"
IMAGE = "The image of hitl-sidecar in a running pod stays"
DEBUGGED = "Nobody debugs hitl-sidecar"
MOUNTED = "An ephemeral container mounts no volume named hitl-"
POWERS = "An ephemeral container of a gated pod is not privileged"


def debugs(**more: Any) -> Operations:
    """One ephemeral container."""
    container = {"name": "debugger", "image": "busybox", "targetContainerName": "agent", **more}
    return [{"op": "add", "path": "/spec/ephemeralContainers", "value": [container]}]


def debugs_as(**context: Any) -> Operations:
    """One with a security context."""
    return debugs(securityContext=context)


def puts(path: str, value: Any) -> Operations:
    return [{"op": "add", "path": path, "value": value}]


def mounting(name: str, **more: Any) -> Operations:
    return debugs(volumeMounts=[{"name": name, "mountPath": "/mine", **more}])


ATTACKS: dict[str, tuple[str, Operations, str]] = {
    "the sidecar's image is swapped": ("", puts("/spec/initContainers/0/image", "mine:1"), IMAGE),
    "for another of the installation's": ("", puts("/spec/initContainers/0/image", OLDER_IMAGE), IMAGE),
    "the label goes": ("", [{"op": "remove", "path": f"{LABELS}gated"}], MARKS),
    "the label changes": ("", puts(f"{LABELS}gated", "no"), MARKS),
    "the label goes, through status": ("status", [{"op": "remove", "path": f"{LABELS}gated"}], MARKS),
    "all labels go": ("", [{"op": "remove", "path": "/metadata/labels"}], MARKS),
    "it opts out while it runs": ("", puts(f"{LABELS}inject", "false"), MARKS),
    "the stamp goes": ("", [{"op": "remove", "path": f"{ANNOTATIONS}labels"}], STAMP),
    "the stamp changes": ("", puts(f"{ANNOTATIONS}labels", '{"app":"other"}'), STAMP),
    "the stamp changes, through status": ("status", puts(f"{ANNOTATIONS}labels", "{}"), STAMP),
    "all annotations go": ("", [{"op": "remove", "path": "/metadata/annotations"}], STAMP),
    "a debugger sees the sidecar's processes": (
        "ephemeralcontainers",
        debugs(targetContainerName="hitl-sidecar"),
        DEBUGGED,
    ),
    "a debugger is named like ours": ("ephemeralcontainers", debugs(name="hitl-sidecar-2"), DEBUGGED),
    "a debugger mounts the token": ("ephemeralcontainers", mounting("hitl-token"), MOUNTED),
    "a debugger mounts the state": ("ephemeralcontainers", mounting("hitl-state"), MOUNTED),
    "a debugger mounts the socket's folder": ("ephemeralcontainers", mounting("hitl-run", readOnly=True), MOUNTED),
    "a debugger is privileged": ("ephemeralcontainers", debugs_as(privileged=True), POWERS),
    "a debugger traces": ("ephemeralcontainers", debugs_as(capabilities={"add": ["SYS_PTRACE"]}), POWERS),
    "a debugger is the sidecar's user": ("ephemeralcontainers", debugs_as(runAsUser=64918), POWERS),
    "a debugger is in the sidecar's group": ("ephemeralcontainers", debugs_as(runAsGroup=64918), POWERS),
}


@pytest.mark.parametrize(("part", "change", "says"), ATTACKS.values(), ids=ATTACKS)
async def test_E1_a_running_pod_keeps_its_sidecar_and_marks(
    ground: Ground, part: str, change: Operations, says: str
) -> None:
    """An editor changes neither, nor looks into the sidecar. Elsewhere Kubernetes takes each of these changes."""
    name = a_name()
    async with ground.admin() as admin, ground.editor() as editor:
        await admin.create(ground.pods(wild=True), gated_pod(name))
        await admin.json_patch(ground.pods(name, part or None, wild=True), change)
        await admin.delete(ground.pods(name, wild=True))
        await editor.create(ground.pods(), gated_pod(name))
        assert says in await refusal(editor.json_patch(ground.pods(name, part or None), change))


PASSES: dict[str, tuple[str, Operations]] = {
    "the agent's image is another": ("", puts("/spec/containers/0/image", "agent:2")),
    "a label is added": ("", puts("/metadata/labels/team", "shop")),
    "a label that it was made with is changed": ("", puts("/metadata/labels/app", "other")),
    "an annotation is added": ("", puts("/metadata/annotations/team", "shop")),
    "a finalizer is added": ("", puts("/metadata/finalizers", ["example.com/mine"])),
    "the kubelet reports": ("status", puts("/status/phase", "Running")),
    "the agent is debugged": ("ephemeralcontainers", debugs()),
    "as another user": ("ephemeralcontainers", debugs_as(runAsUser=1000, capabilities={"add": ["NET_RAW"]})),
    "the sidecar gets more memory": (
        "resize",
        puts("/spec/initContainers/0/resources/limits/memory", "512Mi"),
    ),
}


@pytest.mark.parametrize(("part", "change"), PASSES.values(), ids=PASSES)
async def test_E1_everything_else_of_a_running_pod_may_change(ground: Ground, part: str, change: Operations) -> None:
    """The backstop is about the sidecar alone."""
    name = a_name()
    async with ground.editor() as editor:
        await editor.create(ground.pods(), gated_pod(name))
        await editor.json_patch(ground.pods(name, part or None), change)


async def test_E1_a_pod_older_than_the_label_stays_workable(ground: Ground) -> None:
    """It is changed, debugged, sheds its finalizers and goes; but nobody makes it look gated, nor opted out."""
    plane = ground.plane
    namespace = a_namespace(plane, gated=False)
    let_edit(plane, namespace)
    old = Ground(plane, namespace)

    def finalized(pod: Json) -> None:
        pod["metadata"]["finalizers"] = ["example.com/mine"]

    def risky(pod: Json) -> None:
        pod["spec"]["shareProcessNamespace"] = True
        agent(pod)["securityContext"] = {"privileged": True}

    async with old.admin() as admin, old.editor() as editor:
        await editor.create(old.pods(), plain_pod("old", finalized, risky))
        label = {"metadata": {"labels": {"hitl.dev/injection": "enabled"}}}
        await admin.merge_patch(path_of("v1", "namespaces", name=namespace), label)
        await refused_at_last(editor, old.pods(), plain_pod("new"))
        for mark in ("gated", "inject"):
            change = puts(f"{LABELS}{mark}", "true")
            assert MARKS in await refusal(editor.json_patch(old.pods("old"), change))
        await editor.json_patch(old.pods("old", "ephemeralcontainers"), debugs_as(privileged=True))
        await editor.json_patch(old.pods("old"), puts("/spec/containers/0/image", "agent:2"))
        await editor.delete(old.pods("old"))
        await editor.json_patch(old.pods("old"), [{"op": "remove", "path": "/metadata/finalizers"}])
        with pytest.raises(ApiError) as gone:
            await editor.get(old.pods("old"))
        assert gone.value.status == 404


async def refused_at_last(api: KubeAPI, path: str, pod: Json) -> None:
    """Return when the API server goes by the label of the namespace."""
    until = time.monotonic() + ACTING
    while True:
        try:
            await api.create(path, pod, dry_run=True)
        except ApiError as error:
            assert error.status == 403  # noqa: PT017 - who waits for a refusal looks at each
            return
        assert time.monotonic() < until, "a pod without a sidecar is taken"


def connections(name: str) -> dict[str, tuple[str, dict[str, str], str]]:
    """Ways into a pod: (path after the pod's name, parameters, words of refusal)."""
    into, port = "Nobody goes into hitl-sidecar", "no port of its pods is forwarded"
    return {
        "exec into the sidecar": (f"{name}/exec", {"command": "sh", "container": "hitl-sidecar"}, into),
        "exec without a container": (f"{name}/exec", {"command": "sh"}, into),
        "exec into nothing": (f"{name}/exec", {"command": "sh", "container": ""}, into),
        "attach to the sidecar": (f"{name}/attach", {"container": "hitl-sidecar"}, into),
        "attach without a container": (f"{name}/attach", {}, into),
        "forward a port": (f"{name}/portforward", {"ports": "9471"}, port),
        "forward": (f"{name}/portforward", {}, port),
        "proxy": (f"{name}/proxy", {}, port),
        "proxy to a port": (f"{name}:9471/proxy/metrics", {}, port),
    }


@pytest.mark.parametrize("way", connections(""))
async def test_E1_nobody_connects_to_the_sidecar(ground: Ground, way: str) -> None:
    """An editor may exec by role edit; not into the sidecar, nor to a port of the pod, which could be the sidecar's."""
    name = a_name()
    path, params, says = connections(name)[way]
    async with ground.editor() as editor:
        await editor.create(ground.pods(), gated_pod(name))
        assert says in await refusal(editor.get(f"{ground.pods()}/{path}", params))


async def test_E1_an_exec_into_the_agent_passes(ground: Ground) -> None:
    """It gets as far as it can without a node: the policy does not refuse it, here or where nothing is gated."""
    name = a_name()
    async with ground.admin() as admin, ground.editor() as editor:
        await editor.create(ground.pods(), gated_pod(name))
        await admin.create(ground.pods(wild=True), gated_pod(name))
        for api, container, wild in ((editor, "agent", False), (admin, "hitl-sidecar", True)):
            with pytest.raises(ApiError, match="does not have a host assigned") as caught:
                await api.get(ground.pods(name, "exec", wild=wild), {"command": "sh", "container": container})
            assert caught.value.status == 400
        await admin.delete(ground.pods(name, wild=True))


async def test_B2_opting_out_counts_where_the_namespace_allows_it(guarded_plane: ControlPlane) -> None:
    """Such a pod is as people write it, and has nothing of a gated one; what it may be is the namespace's business."""
    ground = a_ground(guarded_plane)
    async with ground.admin() as admin, ground.editor() as editor:
        allowed = {"metadata": {"labels": {"hitl.dev/opt-out": "allowed"}}}
        await admin.merge_patch(path_of("v1", "namespaces", name=ground.namespace), allowed)
        await until_made(editor, ground.pods(), plain_pod("out", opting_out))
        await editor.create(ground.pods(), plain_pod("out", opting_out))
        for change in (puts(f"{LABELS}inject", "no"), puts(f"{LABELS}gated", "true")):
            assert MARKS in await refusal(editor.json_patch(ground.pods("out"), change))
        outside = "is outside the gate: it carries neither the label"
        pod = plain_pod("in", opting_out)
        pod["metadata"]["labels"]["hitl.dev/gated"] = "true"
        assert outside in await refusal(editor.create(ground.pods(), pod))
        assert outside in await refusal(editor.create(ground.pods(), gated_pod("in", opting_out)))
        pod = plain_pod("in", opting_out)
        pod["spec"]["volumes"] = [a_token("hitl.dev/hub")]
        assert outside in await refusal(editor.create(ground.pods(), pod))
        pod = plain_pod("in", opting_out)
        agent(pod)["name"] = "hitl-sidecar"
        assert outside in await refusal(editor.create(ground.pods(), pod))
        assert "this pod came without hitl-sidecar" in await refusal(editor.create(ground.pods(), plain_pod("in")))


def a_token(audience: str) -> Json:
    """A volume that holds one."""
    source = {"serviceAccountToken": {"audience": audience, "path": "t"}}
    return {"name": "mine", "projected": {"sources": [source]}}


async def test_B1_nobody_prepares_a_gated_pod_where_nothing_is_gated(guarded_plane: ControlPlane) -> None:
    """A sidecar of one's own would be taken for ours once the namespace is labelled; other pods go by untouched."""
    namespace = a_namespace(guarded_plane, gated=False)
    let_edit(guarded_plane, namespace)
    ground = Ground(guarded_plane, namespace)

    def with_token(pod: Json) -> None:
        pod["spec"]["volumes"] = [a_token(" Hitl.dev/hub")]

    def labelled(pod: Json) -> None:
        pod["metadata"]["labels"]["hitl.dev/gated"] = "true"

    def named(pod: Json) -> None:
        agent(pod)["name"] = "hitl-sidecar"

    def first(pod: Json) -> None:
        pod["spec"]["initContainers"] = [{"name": "hitl-sidecar", "image": "mine:1"}]

    def other_token(pod: Json) -> None:
        pod["spec"]["volumes"] = [a_token("vault")]

    async with ground.editor() as editor:
        for change in (with_token, labelled, named, first):
            said = await refusal(editor.create(ground.pods(), plain_pod("mine", change)))
            assert f"Namespace {namespace} is not gated" in said
            assert f"kubectl label namespace {namespace} hitl.dev/injection=enabled" in said
        await editor.create(ground.pods(), plain_pod("mine", other_token))
        assert MARKS in await refusal(editor.json_patch(ground.pods("mine"), puts(f"{LABELS}gated", "true")))
        await editor.json_patch(ground.pods("mine"), puts(f"{LABELS}inject", "false"))


async def test_B2_who_binds_a_pod_to_a_node_leaves_its_marks_alone(ground: Ground) -> None:
    """A binding's annotations and labels come onto the pod, past everything that looks at changes of pods."""
    name = a_name()
    marks: tuple[Json, ...] = ({"annotations": {"hitl.dev/labels": "{}"}}, {"labels": {"hitl.dev/gated": "no"}})
    target = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}
    async with ground.admin() as admin, ground.editor() as editor:
        await admin.create(ground.pods(wild=True), gated_pod(name))
        body: Json = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, **marks[0]}, "target": target}
        await admin.create(ground.pods(name, "binding", wild=True), body)
        assert (await admin.get(ground.pods(name, wild=True)))["metadata"]["annotations"]["hitl.dev/labels"] == "{}"
        ended = ground.plane.kubectl("delete", "pod", name, "-n", WILD, "--force", "--grace-period=0")
        assert ended.returncode == 0, ended.stderr
        await editor.create(ground.pods(), gated_pod(name))
        for mark in marks:
            body["metadata"] = {"name": name, **mark}
            for path in (ground.pods(name, "binding"), path_of("v1", "bindings", ground.namespace)):
                assert "A binding brings no label or annotation" in await refusal(editor.create(path, body))
        body["metadata"] = {"name": name}
        await editor.create(ground.pods(name, "binding"), body)


async def test_E1_while_the_label_is_off_its_namespace_a_gated_pod_is_kept(guarded_plane: ControlPlane) -> None:
    """Else an editor swaps the sidecar meanwhile, and the hub takes it for ours when the label is back."""
    ground = a_ground(guarded_plane)
    async with ground.admin() as admin, ground.editor() as editor:
        await editor.create(ground.pods(), gated_pod("kept"))
        label = {"metadata": {"labels": {"hitl.dev/injection": None}}}
        await admin.merge_patch(path_of("v1", "namespaces", name=ground.namespace), label)
        await until_made(editor, ground.pods(), plain_pod("ungated"))
        await editor.create(ground.pods(), plain_pod("ungated"))
        for part, change, says in ATTACKS.values():
            if f"{LABELS}inject" not in str(change):
                assert says in await refusal(editor.json_patch(ground.pods("kept", part or None), change))
        for part, change in PASSES.values():
            if part != "resize":
                await editor.json_patch(ground.pods("kept", part or None), change, dry_run=True)
        for way in ("exec into the sidecar", "attach to the sidecar"):
            path, params, says = connections("kept")[way]
            assert says in await refusal(editor.get(f"{ground.pods()}/{path}", params))
        with pytest.raises(ApiError, match="does not have a host assigned"):
            await editor.get(ground.pods("ungated", "portforward"), {"ports": "80"})


async def test_E1_without_its_standard_no_pod_is_made_and_every_one_goes_on(ground: Ground) -> None:
    """The SidecarStandard gone, or empty: new pods are refused with the next step, old ones live on."""
    standards = path_of("hitl.dev/v1alpha1", "sidecarstandards")
    path = f"{standards}/hitl"
    name = a_name()
    async with ground.admin() as admin, ground.editor() as editor:
        await editor.create(ground.pods(), gated_pod(name))
        before = (await admin.get(path))["spec"]
        try:
            await admin.merge_patch(path, {"spec": {"authorities": []}})
            await until_said(editor, ground, "SidecarStandard hitl has no authorities yet")
            await admin.merge_patch(path, {"spec": {"authorities": ["another", AUTHORITY]}})
            await until_made(editor, ground.pods(), gated_pod(a_name()))
            await until_made(editor, ground.pods(), gated_pod(a_name(), authority="another"))
            former = {"image": "hitl-sidecar:0", "args": before["sidecars"][0]["args"]}
            await admin.merge_patch(path, {"spec": {"sidecars": [*before["sidecars"], former]}})
            await until_made(editor, ground.pods(), gated_pod(a_name(), image=former["image"]))
            await until_made(editor, ground.pods(), gated_pod(a_name()))
            await admin.merge_patch(path, {"spec": {"sidecars": [{**former, "args": ["--other"]}]}})
            await until_said(editor, ground, f"and this installation has {former['image']}")
            await admin.merge_patch(path, {"spec": {"sidecars": []}})
            await until_said(editor, ground, "SidecarStandard hitl has no sidecars")
            await admin.delete(path)
            await until_said(editor, ground, "no params found for policy binding with `Deny` parameterNotFoundAction")
            await editor.json_patch(ground.pods(name), puts("/metadata/labels/team", "shop"))
            await editor.json_patch(ground.pods(name, "status"), puts("/status/phase", "Running"))
            assert IMAGE in await refusal(
                editor.json_patch(ground.pods(name), puts("/spec/initContainers/0/image", "mine:1"))
            )
        finally:
            await admin.delete(path) if await there(admin, path) else None
            again = shipped.sidecar_standard(
                [(each["image"], each["args"]) for each in before["sidecars"]], [AUTHORITY]
            )
            await admin.create(standards, again)
            await until_made(editor, ground.pods(), gated_pod(a_name()))


async def test_E1_installed_anew_the_policy_goes_by_what_stands_then(ground: Ground) -> None:
    """Its binding gone for seconds, as after `helm uninstall`: one with a ConfigMap as parameter would stay blind."""
    pods = [each for each in shipped.pods() if each["metadata"]["name"] == "hitl-protected"]
    standards = path_of("hitl.dev/v1alpha1", "sidecarstandards")
    async with ground.admin() as admin, ground.editor() as editor:
        before = (await admin.get(f"{standards}/hitl"))["spec"]
        sidecars = [(each["image"], each["args"]) for each in before["sidecars"]]
        try:
            gone = ground.plane.kubectl("delete", "-f", "-", stdin="\n---\n".join(map(json.dumps, pods)))
            assert gone.returncode == 0, gone.stderr
            await until_made(editor, ground.pods(), plain_pod(a_name()))
            await admin.delete(f"{standards}/hitl")
            applied(ground.plane, *pods)
            await until_said(editor, ground, "no params found for policy binding")
            await admin.create(standards, shipped.sidecar_standard(sidecars, ["another"]))
            await until_made(editor, ground.pods(), gated_pod(a_name(), authority="another"))
            assert "HITL_HUB_CA_PEM" in await refusal(editor.create(ground.pods(), gated_pod(a_name())))
        finally:
            applied(ground.plane, shipped.sidecar_standard(sidecars, before["authorities"]), *pods)
            await asyncio.to_thread(until_policies_act, ground.plane)  # while none does, any pod can be made
            await until_made(editor, ground.pods(), gated_pod(a_name()))


async def there(api: KubeAPI, path: str) -> bool:
    """Whether something stands at the path."""
    try:
        await api.get(path)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


async def until_said(api: KubeAPI, ground: Ground, words: str) -> None:
    """Return when pods that are as they should be are refused with these words."""
    until = time.monotonic() + ACTING
    said = ""
    while words not in said:
        assert time.monotonic() < until, said
        try:
            await api.create(ground.pods(), gated_pod(a_name()), dry_run=True)
        except ApiError as error:
            said = error.message


async def test_E1_a_job_whose_pods_are_gated_completes(guarded_plane: ControlPlane) -> None:
    """Its controller makes the pod, sees it succeed, takes its finalizer off and is done."""
    ground = a_ground(guarded_plane)  # its controller would adopt pods of other tests that have the label
    pod = gated_pod("job")
    template = {"metadata": {key: pod["metadata"][key] for key in ("labels", "annotations")}, "spec": pod["spec"]}
    template["spec"]["restartPolicy"] = "Never"
    # With a selector of its own the controller adds no label that no webhook is here to stamp.
    spec = {"manualSelector": True, "selector": {"matchLabels": {"app": "support"}}, "template": template}
    jobs = path_of("batch/v1", "jobs", ground.namespace)
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": spec}
    async with ground.admin() as admin, ground.editor() as editor:
        await editor.create(jobs, body)
        until = time.monotonic() + ACTING
        while not (await admin.get(f"{jobs}/job"))["status"].get("completionTime"):
            assert time.monotonic() < until, "the Job never completed"
            for each in [each async for each in admin.list(ground.pods())]:
                if each["status"].get("phase") != "Succeeded":
                    path = ground.pods(each["metadata"]["name"], "status")
                    await admin.merge_patch(path, {"status": {"phase": "Succeeded"}})


async def test_E1_the_policies_are_well_typed(ground: Ground) -> None:
    """The API server's own check of each expression against what it may meet finds nothing."""
    async with ground.admin() as admin:
        path = path_of("admissionregistration.k8s.io/v1", "validatingadmissionpolicies")
        until = time.monotonic() + ACTING
        for name in ("hitl-protected", "hitl-kept", "hitl-connect", "hitl-marks", "hitl-bindings"):
            while "typeChecking" not in (found := (await admin.get(f"{path}/{name}")).get("status", {})):
                assert time.monotonic() < until, f"{name} was never checked"
            assert not found["typeChecking"].get("expressionWarnings"), (name, found["typeChecking"])
