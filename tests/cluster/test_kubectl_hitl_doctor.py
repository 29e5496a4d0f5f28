"""`kubectl hitl doctor` on clusters that are whole, half installed and weakened, with an API server of their own."""

import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cluster.inboxes import Inbox, Person
from cluster_fixtures import a_namespace, applied, install
from control_plane.running import ControlPlane
from hitl.kube import shipped
from hitl_cli.on_cluster.viewer import FACTOR_KEY, FACTORS, HARDWARE

pytestmark = pytest.mark.xdist_group("cluster-doctor")  # one API server for all of it, not one for each worker

LOOKED_AT = ["api server", "crds", "admission", "pods", "you", "you may", "operator", "namespace"]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server without anything of ours."""
    folder = tmp_path_factory.mktemp("doctor")
    with ControlPlane.start(folder) as plane:
        yield plane
    shutil.rmtree(folder / "etcd", ignore_errors=True)


@pytest.fixture(scope="module")
def bare(plane: ControlPlane) -> str:
    """What the doctor says before anything is installed."""
    root = Inbox(plane, "default").person("root@example.com", ["system:masters"])
    listed = root.hitl("list")
    assert listed.code == 1
    assert "hitl is not installed on this cluster, or not whole: it has no approvalrequests.hitl.dev" in listed.err
    assert "What is missing: kubectl hitl doctor" in listed.err
    done = root.hitl("doctor")
    assert done.code == 1
    return done.out


@pytest.fixture(scope="module")
def installed(plane: ControlPlane, bare: str) -> ControlPlane:
    """The same with everything that is shipped, after the doctor has seen it without."""
    install(plane)
    return plane


@pytest.fixture
def admin(installed: ControlPlane) -> Person:
    """Somebody who may read everything, in a gated namespace of their own."""
    inbox = Inbox(installed, a_namespace(installed))
    return inbox.person("root@example.com", ["system:masters"])


def findings(person: Person, *words: str) -> dict[str, dict[str, str]]:
    """What was found, by what was looked at; of several on one thing the last."""
    return {each["check"]: each for each in person.hitl("doctor", *words, "-o", "json").document}


def led_at(plane: ControlPlane, moment: datetime) -> None:
    """A Lease that a replica renewed at that moment."""
    spec = {"holderIdentity": "hitl-operator-6c8d4-p2x7v", "renewTime": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    name = {"name": "hitl-operator", "namespace": "hitl-system"}
    applied(plane, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": name, "spec": spec})


def test_what_is_not_installed_is_named_with_the_command_that_installs_it(bare: str, installed: ControlPlane) -> None:
    """No CRD, no policy, no Lease: each a problem with its next step; `list` sends people here."""
    count = len(shipped.crds())
    assert f"problem   crds           CustomResourceDefinition: none of the {count} is there\n" in bare
    assert "python -m hitl_operator.manifests --only crds | kubectl apply --server-side" in bare
    assert "problem   admission      ValidatingAdmissionPolicy: none of the " in bare
    assert "problem   admission      ValidatingAdmissionPolicyBinding: none of the " in bare
    assert len(bare.splitlines()) <= 22
    assert "problem   operator       no replica ever led: no Lease hitl-system/hitl-operator" in bare
    assert "note      namespace      default is not labelled hitl.dev/injection=enabled" in bare
    assert "    kubectl label namespace default hitl.dev/injection=enabled\n" in bare
    root = Inbox(installed, "default").person("root@example.com", ["system:masters"])
    assert findings(root, "-n", "default")["namespace"]["health"] == "problem"


def test_a_whole_installation_has_no_problem(admin: Person) -> None:
    """Every line ok, but that an administrator decides nothing and nobody injects; exit code 0, also as JSON."""
    led_at(admin.inbox.plane, datetime.now(UTC))
    done = admin.hitl("doctor")
    assert done.code == 0, done.out
    led_at(admin.inbox.plane, datetime.now(UTC))
    found = findings(admin)
    assert list(found) == LOOKED_AT
    assert {name for name, each in found.items() if each["health"] != "ok"} == {"you may", "pods"}
    count = len(shipped.crds())
    assert f"{count} of {count}, as this release ships them" in found["crds"]["message"]
    assert found["operator"]["message"].startswith("hitl-operator-6c8d4-p2x7v leads (lease ")


def test_C4_a_missing_binding_and_a_weakened_policy_are_found(admin: Person) -> None:
    """C4: without a binding nothing is refused, with failurePolicy Ignore little is: both are named; exit code 1."""
    plane = admin.inbox.plane
    assert plane.kubectl("delete", "validatingadmissionpolicybinding", "hitl-decisions").returncode == 0
    patch = '{"spec":{"failurePolicy":"Ignore"}}'
    assert (
        plane.kubectl("patch", "validatingadmissionpolicy", "hitl-writers", "--type=merge", "-p", patch).returncode == 0
    )
    try:
        done = admin.hitl("doctor")
        found = findings(admin)["admission"]
        status = admin.hitl("status")
    finally:
        applied(plane, *shipped.admission())
    assert done.code == 1
    assert "problem   admission      ValidatingAdmissionPolicyBinding hitl-decisions is not there" in done.out
    assert found["message"].endswith("hitl-writers: spec.failurePolicy is 'Ignore', shipped as 'Fail'")
    assert "--only admission | kubectl apply" in done.out
    assert status.code == 1
    assert "ValidatingAdmissionPolicyBinding hitl-decisions is not there" in status.out


def test_E1_what_keeps_gated_pods_gated_is_looked_at_once_it_is_there(admin: Person) -> None:
    """Not installed is a note; a part of it gone, or a standard that says too little, is a problem with its step."""
    plane = admin.inbox.plane
    found = findings(admin)["pods"]
    assert found["health"] == "note"
    assert "python -m hitl_operator.manifests --injection | kubectl apply" in found["next"][0]
    settings = shipped.sidecar_standard([("registry.example.com/hitl-sidecar:1.0", ["--state=/var/lib/hitl"])], [])
    applied(plane, settings, *shipped.pods())
    try:
        found = findings(admin)["pods"]
        assert "SidecarStandard hitl has no authorities, so no gated pod can be made" in found["message"]
        applied(plane, settings | {"spec": settings["spec"] | {"authorities": ["PEM"]}})
        assert findings(admin)["pods"]["health"] == "ok"
        assert plane.kubectl("delete", "validatingadmissionpolicybinding", "hitl-kept").returncode == 0
        patch = '{"spec":{"failurePolicy":"Ignore"}}'
        weak = ["validatingadmissionpolicy", "hitl-connect", "--type=merge", "-p", patch]
        assert plane.kubectl("patch", *weak).returncode == 0
        done = admin.hitl("doctor")
    finally:
        gone = plane.kubectl("delete", "-f", "-", stdin="\n---\n".join(map(json.dumps, [settings, *shipped.pods()])))
    assert gone.returncode != 0  # the binding went before
    assert done.code == 1
    assert "problem   pods           ValidatingAdmissionPolicyBinding hitl-kept is not there" in done.out
    assert "hitl-connect: spec.failurePolicy is 'Ignore', shipped as 'Fail'" in done.out.replace("\n" + " " * 25, " ")
    assert "python -m hitl_operator.manifests --only pods | kubectl apply" in done.out


def test_an_older_crd_is_told_from_this_releases(admin: Person) -> None:
    """A CRD that lacks a rule is not as shipped: the first difference is named."""
    plane = admin.inbox.plane
    patch = '[{"op":"remove","path":"/spec/names/shortNames"}]'
    name = ["crd", "toolservers.hitl.dev"]
    assert plane.kubectl("patch", *name, "--type=json", "-p", patch).returncode == 0
    try:
        found = findings(admin)["crds"]
    finally:
        applied(plane, *shipped.crds())
    assert found["health"] == "problem"
    assert "CustomResourceDefinition toolservers.hitl.dev: spec.names.shortNames is missing" in found["message"]


def test_a_lease_that_nobody_renews_is_no_leader(admin: Person) -> None:
    """Renewed minutes ago: nobody leads, and where to look."""
    led_at(admin.inbox.plane, datetime(2026, 1, 1, tzinfo=UTC))
    found = findings(admin)["operator"]
    led_at(admin.inbox.plane, datetime.now(UTC))
    assert found["health"] == "problem"
    assert found["message"].startswith("nobody leads: the Lease was last renewed ")
    assert found["next"] == ["is it running? kubectl get pods -n hitl-system"]


def test_what_a_reviewer_may_not_read_is_unknown_and_no_problem(admin: Person) -> None:
    """A reviewer sees who they are, what they may decide and which factors count; the rest is not called a problem."""
    inbox = admin.inbox.bind("hitl-senior-reviewer", "bo@example.com")
    bo = inbox.person("bo@example.com", ["managers"], {FACTOR_KEY: ["pwd", "hwk"]})
    done = bo.hitl("doctor")
    assert done.code == 0, done.out
    found = findings(bo)
    assert found["you"]["message"] == "bo@example.com, in managers; second factors of this login: hwk"
    assert found["you may"]["message"] == (
        f"decide in namespace {inbox.namespace}: Confirm (approve, deny, edit); MultiFactor (approve, deny, edit)"
    )
    assert {name for name, each in found.items() if each["health"] == "unknown"} == {
        "crds",
        "admission",
        "pods",
        "operator",
        "namespace",
    }
    assert done.err.splitlines() == [
        "No problem in what you may read. Not looked at: crds, admission, pods, operator, namespace.",
        "Whether those are well an administrator can tell: kubectl hitl doctor",
    ]


def test_a_token_that_the_api_server_does_not_know_ends_doctor_as_it_ends_list(admin: Person) -> None:
    """The same words and the same exit code 4: a bad login is no list of missing parts."""
    config = json.loads(admin.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "nobody-signed-this"}
    stranger = admin.kubeconfig.with_name("stranger.kubeconfig")
    stranger.write_text(json.dumps(config))
    nobody = replace(admin, kubeconfig=stranger)
    done, listed = nobody.hitl("doctor"), nobody.hitl("list")
    assert (done.code, done.out) == (listed.code, listed.out) == (4, "")
    assert done.err == listed.err
    assert done.err.startswith("error: the API server does not know you: ")


def test_an_api_server_that_is_not_there_is_the_only_finding(admin: Person) -> None:
    """Nothing else can be said then: one line, exit code 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = json.loads(admin.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{taken.getsockname()[1]}"
        elsewhere = admin.kubeconfig.with_name("nowhere.kubeconfig")
        elsewhere.write_text(json.dumps(config))
        done = replace(admin, kubeconfig=elsewhere).hitl("doctor", "-o", "json")
    assert done.code == 1
    (only,) = done.document
    assert (only["check"], only["health"]) == ("api server", "problem")
    assert "cannot be reached" in only["message"]


def test_the_command_line_knows_the_second_factors_that_are_shipped() -> None:
    """The lists that the command line has for itself, so that a list need not read YAML, are the shipped ones."""
    assert (
        shipped.DEFAULT.factor_key,
        shipped.DEFAULT.factors,
        shipped.DEFAULT.hardware,
    ) == (FACTOR_KEY, FACTORS, HARDWARE)


def test_the_plugin_is_described_as_krew_wants_it() -> None:
    """plugins/hitl.yaml by the rules of krew's own validation, and with this release's version."""
    import re
    from pathlib import Path

    import yaml

    from hitl import __version__

    root = Path(__file__).parents[2]
    plugin = yaml.safe_load((root / "plugins" / "hitl.yaml").read_text())
    spec = plugin["spec"]
    assert (plugin["apiVersion"], plugin["kind"]) == ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    assert plugin["metadata"]["name"] == "hitl"
    assert spec["version"] == f"v{__version__}"
    assert re.fullmatch(r"v\d+\.\d+\.\d+", spec["version"])
    assert spec["shortDescription"]
    assert "\n" not in spec["shortDescription"]
    assert spec["platforms"]
    for platform in spec["platforms"]:
        assert set(platform) == {"selector", "uri", "sha256", "files", "bin"}
        assert set(platform["selector"]["matchLabels"]) <= {"os", "arch"}
        assert re.fullmatch("[a-f0-9]{64}", platform["sha256"])
        assert all(each["from"] and each["to"] for each in platform["files"])
        assert platform["bin"] in {each["from"] for each in platform["files"]}
        assert platform["uri"].startswith("https://")
