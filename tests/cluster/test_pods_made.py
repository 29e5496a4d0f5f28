"""Pods that people write for a gated namespace, each a way around the sidecar: all refused, and why (E1, E2, B2, I11).

The webhook is not there at all, so what refuses is the backstop alone. Each is tried first where nothing guards pods,
to see that Kubernetes itself would take it.
"""

import pytest

from cluster.backstop import (
    AUTHORITY,
    IMAGE,
    OLDER_IMAGE,
    Change,
    Ground,
    Json,
    a_name,
    agent,
    gated_pod,
    opting_out,
    plain_pod,
    refusal,
    sidecar,
    stamped,
    volume,
)

API = "/var/run/secrets/kubernetes.io/serviceaccount"


def both(*changes: Change) -> Change:
    """All of them, one after the other."""

    def change(pod: Json) -> None:
        for each in changes:
            each(pod)

    return change


def sets(field: str, value: object) -> Change:
    """The sidecar gets a field, or another value for it."""
    return lambda pod: sidecar(pod).update({field: value})


def context(field: str, value: object) -> Change:
    """The sidecar's security context gets one."""
    return lambda pod: sidecar(pod)["securityContext"].update({field: value})


def others_context(field: str, value: object) -> Change:
    """The agent's security context gets one."""
    return lambda pod: agent(pod).update({"securityContext": {field: value}})


def spec(field: str, value: object) -> Change:
    """The pod itself gets one."""
    return lambda pod: pod["spec"].update({field: value})


def mounts(name: str, path: str = "/mine", **more: object) -> Change:
    """The agent mounts a volume, beside what it was given."""
    return lambda pod: agent(pod)["volumeMounts"].append({"name": name, "mountPath": path, **more})


def sidecar_mounts(name: str, path: str = "/mine", **more: object) -> Change:
    """The sidecar mounts a volume of the author's, too."""

    def change(pod: Json) -> None:
        if not name.startswith("hitl-"):
            pod["spec"]["volumes"].append({"name": name, "emptyDir": {}})
        sidecar(pod)["volumeMounts"].append({"name": name, "mountPath": path, **more})

    return change


def adds_volume(source: Json, name: str = "mine") -> Change:
    """The pod has one more volume."""
    return lambda pod: pod["spec"]["volumes"].append({"name": name, **source})


def drops_mount(name: str) -> Change:
    """The sidecar lacks one of its mounts."""
    return lambda pod: sidecar(pod).update(
        volumeMounts=[each for each in sidecar(pod)["volumeMounts"] if each["name"] != name]
    )


def audience(text: str) -> Change:
    """A volume of the author's holds a token for it, which nobody mounts yet."""
    source = {"serviceAccountToken": {"audience": text, "path": "t"}}
    return adds_volume({"projected": {"sources": [source]}})


def swaps_volume(name: str, source: Json) -> Change:
    """One of the sidecar's volumes is something else."""

    def change(pod: Json) -> None:
        found = volume(pod, name)
        found.clear()
        found.update({"name": name, **source})

    return change


def env(*entries: Json) -> Change:
    """The sidecar's environment is this."""
    return sets("env", list(entries))


POD_NAME = {"name": "HITL_POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}
TRUSTED = {"name": "HITL_HUB_CA_PEM", "value": AUTHORITY}
FROM_A_MAP = {"name": "HITL_HUB_CA_PEM", "valueFrom": {"configMapKeyRef": {"name": "mine", "key": "ca"}}}


def second(pod: Json) -> None:
    """Something starts before the sidecar."""
    pod["spec"]["initContainers"].insert(0, {"name": "first", "image": "mine:1"})


def beside(pod: Json) -> None:
    """The sidecar is an ordinary container, which nothing waits for."""
    made = pod["spec"].pop("initContainers")[0]
    del made["restartPolicy"]
    pod["spec"]["containers"].append(made)


def runs_once(pod: Json) -> None:
    """The sidecar has to end before the agent starts."""
    for field in ("restartPolicy", "startupProbe"):
        del sidecar(pod)[field]


def drops(field: str) -> Change:
    """The sidecar lacks a field."""
    return lambda pod: sidecar(pod).pop(field) and None


def device(pod: Json) -> None:
    """A device plugin may bring mounts and environment into whoever asks for its device."""
    sidecar(pod)["resources"]["limits"]["example.com/device"] = "1"


def claims(pod: Json) -> None:
    """The same by dynamic resource allocation."""
    pod["spec"]["resourceClaims"] = [{"name": "mine", "resourceClaimName": "mine"}]
    sidecar(pod)["resources"]["claims"] = [{"name": "mine"}]


def on_the_node(pod: Json) -> None:
    """A port in the node's network is the node's."""
    sidecar(pod)["ports"][0]["hostPort"] = 9471


def one_more_source(pod: Json) -> None:
    """Beside the token, something that an editor can write."""
    volume(pod, "hitl-token")["projected"]["sources"].append({"configMap": {"name": "mine"}})


def foreign_token(pod: Json) -> None:
    """The token is one that the API server takes."""
    volume(pod, "hitl-token")["projected"]["sources"][0]["serviceAccountToken"]["audience"] = "https://kubernetes"


def named(name: str) -> Change:
    """One container more, of that name."""
    return lambda pod: pod["spec"]["containers"].append({"name": name, "image": "mine:1"})


def unlabelled(pod: Json) -> None:
    del pod["metadata"]["labels"]["hitl.dev/gated"]


def labelled(key: str, value: str) -> Change:
    return lambda pod: pod["metadata"]["labels"].update({key: value})


def stamp(text: str) -> Change:
    return lambda pod: pod["metadata"]["annotations"].update({"hitl.dev/labels": text})


def unstamped(pod: Json) -> None:
    del pod["metadata"]["annotations"]


ON_ITS_OWN = "hitl-sidecar is started with the args"
ENVIRONMENT = "hitl-sidecar has the environment that the operator gives it"
NOTHING_ELSE = "hitl-sidecar has nothing but what the operator gives it"
CONTEXT = "hitl-sidecar runs as user and group 64918"
ITS_MOUNTS = "hitl-sidecar mounts its own volumes at their places"
ITS_VOLUMES = "Names that begin with hitl- are those of the volumes"
PROBE = "hitl-sidecar has one port, hitl-metrics 9471, and one probe"
TOKENS = "Only hitl-sidecar has a token for the hub"
BESIDE = "Beside hitl-sidecar a container mounts hitl-run, readOnly"
USER = "User and group 64918 are those of hitl-sidecar alone"
SHARES = "A gated pod shares no process namespace and nothing of its node"
POWERS = "No container of a gated pod is privileged"
MARKS = "A gated pod carries the label hitl.dev/gated=true"
FIRST = "The first init container is hitl-sidecar"

ATTACKS: dict[str, tuple[Change, str]] = {
    "the sidecar comes second": (second, FIRST),
    "the sidecar is an ordinary container": (beside, "this pod came without hitl-sidecar"),
    "the sidecar runs once and ends": (runs_once, ON_ITS_OWN),
    "a foreign image": (sets("image", "mine:1"), "The image of hitl-sidecar is mine:1, and this installation has"),
    "an image whose name begins like ours": (sets("image", f"{IMAGE}-mine"), "Leave hitl-sidecar out"),
    "a command of one's own": (sets("command", ["sleep", "1d"]), ON_ITS_OWN),
    "no args": (drops("args"), ON_ITS_OWN),
    "another hub": (lambda pod: sidecar(pod)["args"].append("--hub=mine:1"), ON_ITS_OWN),
    "one arg less": (lambda pod: sidecar(pod)["args"].pop() and None, ON_ITS_OWN),
    "a CA of one's own": (env(POD_NAME, TRUSTED | {"value": "mine"}), ENVIRONMENT),
    "ours and one's own": (env(POD_NAME, TRUSTED | {"value": f"{AUTHORITY}mine"}), ENVIRONMENT),
    "a CA from a ConfigMap": (env(POD_NAME, FROM_A_MAP), ENVIRONMENT),
    "the name of another pod": (env({"name": "HITL_POD_NAME", "value": "other"}, TRUSTED), ENVIRONMENT),
    "a variable more": (env(POD_NAME, TRUSTED, {"name": "PYTHONPATH", "value": "/mine"}), ENVIRONMENT),
    "a variable twice": (env(POD_NAME, TRUSTED, TRUSTED | {"value": "mine"}), ENVIRONMENT),
    "variables from a ConfigMap": (sets("envFrom", [{"configMapRef": {"name": "mine"}}]), NOTHING_ELSE),
    "a hook": (sets("lifecycle", {"postStart": {"exec": {"command": ["sh"]}}}), NOTHING_ELSE),
    "a probe that runs something": (sets("livenessProbe", {"exec": {"command": ["sh"]}}), NOTHING_ELSE),
    "a start probe that runs something": (sets("startupProbe", {"exec": {"command": ["sh"]}}), PROBE),
    "no start probe": (drops("startupProbe"), PROBE),
    "a probe of another host": (lambda pod: sidecar(pod)["startupProbe"]["httpGet"].update(host="mine"), PROBE),
    "one port more": (lambda pod: sidecar(pod)["ports"].append({"name": "mine", "containerPort": 1}), PROBE),
    "a folder to start in": (sets("workingDir", "/run/hitl"), NOTHING_ELSE),
    "a terminal": (sets("tty", True), NOTHING_ELSE),
    "an open input": (sets("stdin", True), NOTHING_ELSE),
    "a message from a place of one's own": (sets("terminationMessagePath", "/run/hitl/m"), NOTHING_ELSE),
    "a device": (device, NOTHING_ELSE),
    "a claimed device": (claims, NOTHING_ELSE),
    "the sidecar as root": (
        lambda pod: sidecar(pod)["securityContext"].update(runAsUser=0, runAsNonRoot=False),
        CONTEXT,
    ),
    "the sidecar as another user": (context("runAsUser", 1000), CONTEXT),
    "the sidecar in another group": (context("runAsGroup", 1000), CONTEXT),
    "a writable root": (context("readOnlyRootFilesystem", False), CONTEXT),
    "privilege escalation": (context("allowPrivilegeEscalation", True), CONTEXT),
    "a capability": (context("capabilities", {"drop": ["ALL"], "add": ["KILL"]}), CONTEXT),
    "capabilities kept": (context("capabilities", {"drop": ["KILL"]}), CONTEXT),
    "no seccomp": (context("seccompProfile", {"type": "Unconfined"}), CONTEXT),
    "another SELinux type": (context("seLinuxOptions", {"type": "spc_t"}), CONTEXT),
    "no AppArmor": (context("appArmorProfile", {"type": "Unconfined"}), CONTEXT),
    "no AppArmor, as it was said before it had a field": (
        lambda pod: pod["metadata"]["annotations"].update(
            {"container.apparmor.security.beta.kubernetes.io/hitl-sidecar": "unconfined"}
        ),
        CONTEXT,
    ),
    "no security context": (drops("securityContext"), CONTEXT),
    "a volume of one's own in the sidecar": (sidecar_mounts("mine"), ITS_MOUNTS),
    "the token at another place": (sidecar_mounts("hitl-token"), ITS_MOUNTS),
    "code over the sidecar's": (sidecar_mounts("mine", "/usr/lib/python3"), ITS_MOUNTS),
    "a part of a volume": (lambda pod: sidecar(pod)["volumeMounts"][1].update(subPath="mine"), ITS_MOUNTS),
    "the API server's own token": (drops_mount("hitl-no-api"), ITS_MOUNTS),
    "something in the place of that token": (both(drops_mount("hitl-no-api"), sidecar_mounts("mine", API)), ITS_MOUNTS),
    "one mount less": (lambda pod: sidecar(pod)["volumeMounts"].pop(1) and None, ITS_MOUNTS),
    "a state that others have": (
        swaps_volume("hitl-state", {"persistentVolumeClaim": {"claimName": "mine"}}),
        ITS_VOLUMES,
    ),
    "a socket folder from a ConfigMap": (swaps_volume("hitl-run", {"configMap": {"name": "mine"}}), ITS_VOLUMES),
    "a socket folder on disk": (swaps_volume("hitl-run", {"emptyDir": {}}), ITS_VOLUMES),
    "a token from a Secret": (swaps_volume("hitl-token", {"secret": {"secretName": "mine"}}), ITS_VOLUMES),
    "a token and a ConfigMap": (one_more_source, ITS_VOLUMES),
    "a token for the API server": (foreign_token, ITS_VOLUMES),
    "a volume named like ours": (adds_volume({"emptyDir": {}}, "hitl-mine"), ITS_VOLUMES),
    "a second token for the hub": (audience("hitl.dev/hub"), TOKENS),
    "a token for the hub, in capitals": (audience("HITL.dev/hub"), TOKENS),
    "a token for the hub, behind a blank": (audience(" hitl.dev/hub"), TOKENS),
    "a token for another part of ours": (audience("hitl.dev/inbox"), TOKENS),
    "the agent mounts the token": (mounts("hitl-token"), BESIDE),
    "the agent mounts the token, read-only": (mounts("hitl-token", readOnly=True), BESIDE),
    "the agent mounts the state": (mounts("hitl-state"), BESIDE),
    "the agent mounts the socket's folder again, writable": (mounts("hitl-run"), BESIDE),
    "the agent's mount is writable": (lambda pod: agent(pod)["volumeMounts"][-1].pop("readOnly") and None, BESIDE),
    "an init container of the author's mounts the token": (
        lambda pod: pod["spec"]["initContainers"].append(
            {"name": "first", "image": "mine:1", "volumeMounts": [{"name": "hitl-token", "mountPath": "/mine"}]}
        ),
        BESIDE,
    ),
    "a container named like ours": (named("hitl-helper"), BESIDE),
    "the agent is the sidecar's user": (others_context("runAsUser", 64918), USER),
    "the agent is in the sidecar's group": (others_context("runAsGroup", 64918), USER),
    "everybody is the sidecar's user": (spec("securityContext", {"runAsUser": 64918}), USER),
    "everybody is in the sidecar's group": (spec("securityContext", {"runAsGroup": 64918}), USER),
    "volumes belong to the sidecar's group": (spec("securityContext", {"fsGroup": 64918}), USER),
    "everybody is also in the sidecar's group": (spec("securityContext", {"supplementalGroups": [1, 64918]}), USER),
    "one process namespace": (spec("shareProcessNamespace", True), SHARES),
    "the node's processes": (spec("hostPID", True), SHARES),
    "the node's memory": (spec("hostIPC", True), SHARES),
    "the node's network": (both(spec("hostNetwork", True), on_the_node), SHARES),
    "the node's files": (adds_volume({"hostPath": {"path": "/var/lib/kubelet"}}), SHARES),
    "a privileged agent": (others_context("privileged", True), POWERS),
    "an agent that traces": (others_context("capabilities", {"add": ["SYS_PTRACE"]}), POWERS),
    "an agent that mounts": (others_context("capabilities", {"add": ["KILL", "SYS_ADMIN"]}), POWERS),
    "an agent that opens any file": (others_context("capabilities", {"add": ["DAC_READ_SEARCH"]}), POWERS),
    "an agent that turns connections around": (others_context("capabilities", {"add": ["NET_ADMIN"]}), POWERS),
    "an agent that may do everything": (others_context("capabilities", {"add": ["ALL"]}), POWERS),
    "an agent that sees all of /proc": (
        both(spec("hostUsers", False), others_context("procMount", "Unmasked")),
        POWERS,
    ),
    "no label of a gated pod": (unlabelled, MARKS),
    "another value of it": (labelled("hitl.dev/gated", "yes"), MARKS),
    "no stamp": (unstamped, MARKS),
    "a label that is not in the stamp": (labelled("team", "mine"), MARKS),
    "a stamp with another value": (stamp('{"app":"supporx"}'), MARKS),
    "a stamp with a label more": (stamp('{"app":"support","team":"mine"}'), MARKS),
    "a stamp that says one label twice": (stamp('{"app":"support","app":"support"}'), MARKS),
    "a stamp that is no object": (stamp('["app":"support"]'), MARKS),
    "a stamp with blanks": (stamp('{"app": "support"}'), MARKS),
    "a stamp with escapes": (stamp('{"app":"supp\\u006frt"}'), MARKS),
    "an empty stamp": (stamp("{}"), MARKS),
    "opting out where the namespace does not let it, with a hole": (
        both(opting_out, stamped, sets("image", "mine:1")),
        "Leave hitl-sidecar out",
    ),
}


@pytest.mark.parametrize(("change", "says"), ATTACKS.values(), ids=ATTACKS)
async def test_E1_a_pod_with_another_sidecar_than_ours_is_not_made(ground: Ground, change: Change, says: str) -> None:
    """Nor one in which somebody else could reach into it. Elsewhere Kubernetes takes each of these pods."""
    pod = gated_pod(a_name(), change)
    async with ground.admin() as admin, ground.editor() as editor:
        await admin.create(ground.pods(wild=True), pod, dry_run=True)
        assert says in await refusal(editor.create(ground.pods(), pod, dry_run=True))


async def test_E1_a_pod_without_a_sidecar_is_not_made(ground: Ground) -> None:
    """The webhook is away, and the message says where to look; a label that would opt out is told not to count."""
    async with ground.editor() as editor:
        said = await refusal(editor.create(ground.pods(), plain_pod(a_name())))
        assert "this pod came without hitl-sidecar: the webhook hitl-injection did not see it" in said
        assert "kubectl hitl doctor" in said
        said = await refusal(editor.create(ground.pods(), plain_pod(a_name(), opting_out)))
        assert "counts only where the namespace is labelled hitl.dev/opt-out=allowed" in said


async def test_E1_the_largest_pods_are_within_the_cost_that_admission_may_have(ground: Ground) -> None:
    """Judging takes work for each container, mount, volume and label; a pod far larger than any that runs is judged."""

    def large(pod: Json) -> None:
        pod["metadata"]["labels"].update({f"{'x' * 60}.example.com/{'n' * 50}-{n}": "v" * 60 for n in range(150)})
        stamped(pod)
        pod["spec"]["volumes"] += [{"name": f"v{n}", "emptyDir": {}} for n in range(200)]
        mounted = [{"name": f"v{n}", "mountPath": f"/mine/{n}"} for n in range(60)]
        added = {"capabilities": {"add": ["KILL", "SETUID", "NET_RAW"]}}
        pod["spec"]["containers"] += [
            {"name": f"c{n}", "image": "mine:1", "volumeMounts": mounted, "securityContext": added} for n in range(40)
        ]

    async with ground.editor() as editor:
        await editor.create(ground.pods(), gated_pod(a_name(), large))


async def test_E1_what_is_injected_is_admitted(ground: Ground) -> None:
    """Injection's own output passes as it is, with labels and without, and with an older image of the installation."""

    def many_labels(pod: Json) -> None:
        labels = {f"example.com/label-{n}": f"value.{n}" for n in range(40)}
        pod["metadata"]["labels"].update(labels)
        stamped(pod)

    def no_labels(pod: Json) -> None:
        pod["metadata"]["labels"] = {"hitl.dev/gated": "true"}
        stamped(pod)

    async with ground.editor() as editor:
        for pod in (
            gated_pod(a_name()),
            gated_pod(a_name(), many_labels),
            gated_pod(a_name(), no_labels),
            gated_pod(a_name(), image=OLDER_IMAGE),
        ):
            await editor.create(ground.pods(), pod)
