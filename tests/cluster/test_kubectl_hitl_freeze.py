"""`kubectl hitl freeze` and `thaw` with real kubectl on a real API server, and the operator's replicas that obey."""

import asyncio
import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.homes import a_spec
from cluster.freezing import a_freeze
from cluster.gated_pods import EVER
from cluster.inboxes import Inbox
from cluster.test_kubectl_hitl_completing import completed
from control_plane.installing import applied
from control_plane.running import ControlPlane
from hitl.approvals.conditions import CancelReason
from hitl.approvals.requests import ApprovalRequest, RequestStatus, State
from hitl.approvals.settle import cancel
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.stores.kubernetes import KubernetesStore

OLGA, FAY, VIC = "olga@example.com", "fay@example.com", "vic@example.com"
POVS = "policyoverrides"
# The plugin with more patience: ten seconds are for people, while on a machine that others want as well whoever
# confirms takes longer. What people are told after ten seconds is tried where nobody does.
PATIENT = f"""\
#!{sys.executable}
import sys
from hitl_cli import main
from hitl_cli.commands import freeze
freeze.PATIENCE = {EVER}
sys.exit(main.main())
"""


@pytest.fixture
def inbox(control_plane: ControlPlane, namespace: str) -> Inbox:
    """A namespace where olga is on call, fay may freeze and vic may look."""
    inbox = Inbox(control_plane, namespace)
    return inbox.bind("hitl-on-call", OLGA).bind("hitl-freezer", FAY).bind("hitl-viewer", VIC)


def deployed(inbox: Inbox, name: str = "support") -> None:
    """A Deployment of agents."""
    labels = {"app": name}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a.invalid/a"}]}},
    }
    metadata = {"name": name, "namespace": inbox.namespace}
    applied(inbox.plane, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})


@contextmanager
def confirmed(inbox: Inbox) -> Iterator[None]:
    """While this lasts, somebody says of each freeze that it is in force, and ends what waits, as the operator does;
    whoever freezes waits for that as long as it takes.
    """
    stop = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(_confirm(inbox, stop))
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    thread = threading.Thread(target=work)
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder) / "kubectl-hitl"
        plugin.write_text(PATIENT)
        plugin.chmod(0o755)
        thread.start()
        inbox.plugins.insert(0, plugin.parent)
        try:
            yield
        finally:
            inbox.plugins.remove(plugin.parent)
            stop.set()
            thread.join(EVER)
    assert not failed
    assert not thread.is_alive()


async def _confirm(inbox: Inbox, stop: threading.Event) -> None:
    done: set[str] = set()
    path = path_of("hitl.dev/v1alpha1", POVS, inbox.namespace)
    async with (
        KubeAPI.open(Access.from_kubeconfig(inbox.plane.admin), deadline=EVER) as api,
        KubeAPI.open(inbox.operator, deadline=EVER) as operator,
        aclosing(KubernetesStore(operator)) as store,
    ):
        while not stop.is_set():
            async for each in api.list(path):
                if each["metadata"]["uid"] in done:
                    continue
                for request in await store.list(inbox.namespace, pending_only=True):
                    await store.write_status(request, _frozen(request))
                name = each["metadata"]["name"]
                body = {
                    "apiVersion": "hitl.dev/v1alpha1",
                    "kind": "PolicyOverride",
                    "metadata": {"name": name, "namespace": inbox.namespace},
                    "status": {"state": "Frozen", "observedGeneration": 1},
                }
                await api.apply(f"{path}/{name}/status", body, field_manager="operator", force=True)
                done.add(each["metadata"]["uid"])
            await asyncio.sleep(0.05)


def _frozen(request: ApprovalRequest) -> RequestStatus:
    return cancel(request, request.created, CancelReason.FROZEN, 'frozen by olga@example.com: "INC-88"')


def test_a_workload_is_frozen_and_thawed(inbox: Inbox) -> None:
    """UX 8: what is frozen, how many sidecars and requests; its pods alone; thawed by the same words."""
    deployed(inbox)
    inbox.request("refund-1", replace(a_spec(), workload="deploy/support"))
    olga = inbox.person(OLGA)
    with confirmed(inbox):
        done = olga.hitl("freeze", "deploy/support", "--reason", "INC-88", "--for", "2h", "--yes")
    assert done.code == 0, done.err
    assert done.lines[0].startswith(f"support in {inbox.namespace} is frozen: every call is refused (")
    assert done.lines[0].endswith("; 1 request cancelled")
    assert f"Undo: kubectl hitl thaw deploy/support -n {inbox.namespace}" in done.err
    (stored,) = _povs(inbox)
    assert stored["spec"]["podSelector"] == {"matchLabels": {"app": "support"}}
    assert (stored["spec"]["by"], stored["spec"]["reason"]) == (OLGA, "INC-88")
    assert stored["spec"]["until"]
    assert inbox.now_is("refund-1").status.state is State.CANCELLED
    assert 'frozen by olga@example.com: "INC-88"' in inbox.person(VIC).hitl("show", "refund-1", "-o", "yaml").out
    undone = olga.hitl("thaw", "deploy/support")
    assert (undone.code, undone.lines) == (0, [f"policyoverride.hitl.dev/{stored['metadata']['name']} thawed"])
    assert _povs(inbox) == []


def test_nobody_confirms_it(inbox: Inbox) -> None:
    """It is stored, and said to be no more than that: exit code 5, with what to look at; -o name asks nobody."""
    olga = inbox.person(OLGA)
    done = olga.hitl("freeze", "-n", inbox.namespace, "--reason", "INC-1", "--yes")
    assert done.code == 5
    assert "no operator has confirmed it within 10s; until one does, agents go on" in done.err
    (stored,) = _povs(inbox)
    assert "podSelector" not in stored["spec"]
    assert done.lines == [f"policyoverride.hitl.dev/{stored['metadata']['name']} created"]
    assert olga.hitl("freeze", "--tool", "pay/*", "--reason", "two", "--yes", "-o", "name").code == 0
    assert [each["spec"].get("tools") for each in _povs(inbox)].count(["pay/*"]) == 1
    assert len(olga.hitl("thaw", "--mine", "-o", "name").lines) == 2
    assert _povs(inbox) == []


def test_what_is_not_said_is_not_frozen(inbox: Inbox) -> None:
    """Nothing is stopped by a slip: what, why and who was asked; each refusal says what to type."""
    olga = inbox.person(OLGA)
    for words, says in (
        (("--reason", "x", "--yes"), "say what to stop: deploy/NAME, -n NS, --tool server/tool or --all"),
        (("--all",), "Missing option '--reason'"),
        (("--all", "-n", inbox.namespace, "--reason", "x", "--yes"), "--all is every namespace"),
        (("--tool", "a", "--reason", " ", "--yes"), "--reason is empty"),
        (("--tool", "a", "--reason", "x"), "nobody is there to be asked; add --yes"),
        (("--tool", "a", "--reason", "x", "--for", "0s", "--yes"), "--for: 0s is out of range"),
        (("--tool", "a", "--reason", "x", "--for", "soon", "--yes"), "--for: "),
    ):
        done = olga.hitl("freeze", *words)
        assert (done.code, says in done.err) == (2, True), done.err
    done = olga.hitl("freeze", "deploy/nobody", "--reason", "x", "--yes")
    assert done.code == 1
    assert f"there is no deploy/nobody in namespace {inbox.namespace}" in done.err
    assert _povs(inbox) == []


def test_A7_who_may_freeze_may_not_thaw(inbox: Inbox) -> None:
    """A7: the refusal names the role; freezing the whole cluster takes the right in the operator's namespace."""
    fay, vic = inbox.person(FAY), inbox.person(VIC)
    assert fay.hitl("freeze", "--tool", "pay/*", "--reason", "x", "--yes", "-o", "name").code == 0
    (stored,) = _povs(inbox)
    undone = fay.hitl("thaw", stored["metadata"]["name"][:-2])
    assert undone.code == 4
    assert "role hitl-on-call has verb delete on policyoverrides.hitl.dev" in undone.err.replace("Role", "role")
    refused = vic.hitl("freeze", "--tool", "pay/*", "--reason", "x", "--yes")
    assert refused.code == 4
    assert "hitl-freezer has verb create" in refused.err
    everywhere = fay.hitl("freeze", "--all", "--reason", "x", "--yes")
    assert everywhere.code == 4
    assert "in namespace hitl-system" in everywhere.err
    assert inbox.person(OLGA).hitl("thaw", stored["metadata"]["name"]).code == 0


def test_status_and_doctor_show_what_is_frozen(inbox: Inbox) -> None:
    """Both name it with who, why and the command that lifts it, and explain says that it comes before all else."""
    applied(inbox.plane, a_freeze(inbox.namespace, "inc-88", tools=["pay/*"]))
    vic = inbox.person(VIC)
    command = f"kubectl hitl thaw inc-88 -n {inbox.namespace}"
    notes = vic.hitl("status", "-n", inbox.namespace, "-o", "json").document["notes"]
    wanted = f"pay/* of every gated pod in namespace {inbox.namespace} is frozen by admin: INC-88"
    assert [(each["message"], each["next"]) for each in notes if each["about"].endswith("inc-88")] == [
        (wanted, command)
    ]
    found = vic.hitl("doctor", "-o", "json").document
    assert [(each["message"], each["next"]) for each in found if each["check"] == "frozen"] == [(wanted, [command])]
    explained = vic.hitl("explain", "--agent", "deploy/support", "--tool", "pay/refund", "--args", "{}")
    assert f"note: {wanted}; that is refused" in " ".join(explained.err.split())
    inbox.plane.kubectl("-n", inbox.namespace, "delete", "pov", "inc-88")


def test_names_complete_in_the_shell(inbox: Inbox) -> None:
    """Tab offers what is frozen, with who stopped it and why."""
    applied(inbox.plane, a_freeze(inbox.namespace, "inc-88"))
    olga = inbox.person(OLGA)
    wanted = ["inc-88\tadmin: INC-88"]
    assert completed(inbox, olga, "thaw", "inc", wanted=wanted) == wanted
    inbox.plane.kubectl("-n", inbox.namespace, "delete", "pov", "inc-88")


def _povs(inbox: Inbox) -> list[dict[str, Any]]:
    return list(json.loads(inbox.plane.kubectl("-n", inbox.namespace, "get", "pov", "-o", "json").stdout)["items"])
