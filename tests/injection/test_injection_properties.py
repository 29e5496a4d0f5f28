"""What holds for every pod that is injected: asked again nothing changes, and nothing of its author's is lost (E1)."""

import copy
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from hitl.kube.marks import GATED, SIDECAR, STAMPED
from hitl_operator.injection.installation import Installation
from hitl_operator.injection.patching import Injected, inject, patch

INSTALLATION = Installation("registry.example.com/hitl-sidecar:1.0")
OURS = ("HITL_GATE", "HITL_SESSION")
NAMES = st.sampled_from(["agent", "web", "mesh", "hitl-sidecar", "hitl-run", "hitl-token", "hitl-else", "hitless"])
VALUES = st.text("ab", max_size=2)


def some(each: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]] | None]:
    """A list as pods have them: of named things, empty, or not there."""
    return st.none() | st.lists(each, max_size=4, unique_by=lambda one: one["name"])


def record(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some of these fields; None stands for one that is left out."""
    return st.fixed_dictionaries(parts).map(lambda made: {key: part for key, part in made.items() if part is not None})


CONTAINERS = record(
    name=NAMES,
    image=VALUES,
    env=some(record(name=st.sampled_from(["MODEL", *OURS]), value=VALUES)),
    volumeMounts=some(record(name=NAMES, mountPath=st.sampled_from(["/data", "/run/hitlist", "/tmp"]))),
    restartPolicy=st.sampled_from([None, "Always"]),
)
LABELS = st.none() | st.dictionaries(st.sampled_from(["app", GATED]), VALUES, max_size=2)
PODS = record(
    metadata=record(name=VALUES, labels=LABELS, annotations=st.none() | st.dictionaries(st.just(STAMPED), VALUES)),
    spec=record(
        initContainers=some(CONTAINERS),
        containers=some(CONTAINERS),
        volumes=some(record(name=NAMES, emptyDir=st.just({}))),
        terminationGracePeriodSeconds=st.none() | st.integers(0, 9),
    ),
)


def injected(pod: dict[str, Any]) -> dict[str, Any]:
    before = copy.deepcopy(pod)
    found = inject(pod, installation=INSTALLATION, ca="THE CA", may_opt_out=False)
    assert isinstance(found, Injected), found
    assert pod == before, "what goes in is not changed"
    return found.pod


def everybody(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers but the sidecar."""
    init, rest = pod["spec"].get("initContainers") or [], pod["spec"].get("containers") or []
    return [each for each in (*init, *rest) if each["name"] != SIDECAR]


def authored(pod: dict[str, Any]) -> dict[str, Any]:
    """What is left of a pod without anything of the gate's; empty lists as if they were not there."""
    left = copy.deepcopy(pod)
    for part in (left["metadata"].get("labels"), left["metadata"].get("annotations")):
        for key in (GATED, STAMPED):
            (part or {}).pop(key, None)
    for part in ("initContainers", "containers", "volumes"):
        left["spec"][part] = [one for one in left["spec"].get(part) or () if not one["name"].startswith("hitl-")]
    for each in (*left["spec"]["initContainers"], *left["spec"]["containers"]):
        each["env"] = [one for one in each.get("env") or () if one["name"] not in OURS]
        each["volumeMounts"] = [one for one in each.get("volumeMounts") or () if not one["name"].startswith("hitl-")]
    for part in ("labels", "annotations"):
        left["metadata"][part] = left["metadata"].get(part) or {}
    return left


@given(PODS)
def test_E1_asked_again_nothing_changes(pod: dict[str, Any]) -> None:
    """Injecting what was injected gives the same, and needs no patch."""
    once = injected(pod)
    assert injected(once) == once
    assert patch(once, injected(once)) == []


@given(PODS)
def test_nothing_of_the_authors_is_lost_or_moved(pod: dict[str, Any]) -> None:
    """Without what is named hitl-* and our variables, the pod that comes out is the one that came in."""
    assert authored(injected(pod)) == authored(pod)


@given(PODS)
def test_every_container_ends_with_one_mount_and_one_gate(pod: dict[str, Any]) -> None:
    """E2: exactly one mount of the socket, read-only, and each variable once; the token is mounted by nobody else."""
    made = injected(pod)
    for each in everybody(made):
        assert [one for one in each["volumeMounts"] if one["name"].startswith("hitl-")] == [
            {"name": "hitl-run", "mountPath": "/run/hitl", "readOnly": True}
        ]
        assert [one["name"] for one in each["env"] if one["name"] in OURS] == list(OURS)


@given(PODS)
def test_E1_there_is_one_sidecar_and_it_is_first(pod: dict[str, Any]) -> None:
    """Whatever stood there, one container has the sidecar's name, before all others, and is as ours is for any pod."""
    made = injected(pod)
    names = [each["name"] for each in (*made["spec"]["initContainers"], *(made["spec"].get("containers") or ()))]
    assert names.count(SIDECAR) == 1
    assert made["spec"]["initContainers"][0] == injected({"metadata": {}, "spec": {}})["spec"]["initContainers"][0]


@given(PODS, CONTAINERS, st.sampled_from(["containers", "initContainers"]))
def test_a_container_that_came_in_between_is_gated_too(pod: dict[str, Any], late: dict[str, Any], part: str) -> None:
    """Another webhook adds a container after ours: asked again, the pod is as if it had been there from the start."""
    assume(late["name"] not in [each["name"] for each in everybody(pod)])
    once, early = injected(pod), copy.deepcopy(pod)
    once["spec"][part] = [*(once["spec"].get(part) or ()), late]
    early["spec"][part] = [*(early["spec"].get(part) or ()), late]
    assert injected(once) == injected(early)


@given(PODS)
def test_what_admission_adds_to_the_sidecar_in_between_is_gone(pod: dict[str, Any]) -> None:
    """Defaults and the API token's mount, which the API server gives every container, change nothing."""
    once = injected(pod)
    again = copy.deepcopy(once)
    sidecar = again["spec"]["initContainers"][0]
    sidecar["volumeMounts"].append({"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io"})
    sidecar |= {"terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent"}
    assert injected(again) == once


@given(PODS)
def test_the_patch_makes_the_pod(pod: dict[str, Any]) -> None:
    """Applied to the pod that came in, it gives the one that goes out."""
    made, patched = injected(pod), copy.deepcopy(pod)
    for operation in patch(pod, made):
        _, part, key = operation["path"].split("/")
        patched[part][key] = operation["value"]
    assert patched == made
