"""`kubectl hitl list -w`, and plain `hitl` with a kubeconfig: the same program on the same cluster."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.homes import AHome
from cluster.gated_pods import EVER
from cluster.inboxes import BIN, Inbox
from control_plane.running import ControlPlane

ANA = "ana@example.com"


@pytest.fixture
def inbox(control_plane: ControlPlane, namespace: str) -> Inbox:
    """A namespace where ana may decide Confirm."""
    return Inbox(control_plane, namespace).bind("hitl-reviewer", ANA)


@contextmanager
def watching(kubeconfig: Path) -> Iterator["subprocess.Popen[str]"]:
    """`kubectl-hitl list -w` through a pipe: one page after the other, an empty line between."""
    env = {**os.environ, "KUBECONFIG": str(kubeconfig), "COLUMNS": "100"}
    with subprocess.Popen([str(BIN / "kubectl-hitl"), "list", "-w"], stdout=subprocess.PIPE, text=True, env=env) as run:
        too_late = threading.Timer(EVER, run.kill)  # a page that never comes fails the test, and does not hang it
        too_late.start()
        try:
            yield run
        finally:
            too_late.cancel()
            run.terminate()


def page(run: "subprocess.Popen[str]") -> list[str]:
    """The lines up to the next empty one."""
    assert run.stdout is not None
    lines: list[str] = []
    for line in run.stdout:
        if not line.strip():
            break
        lines.append(line.rstrip())
        if line.startswith(("Next: ", "You may decide")):
            break
    return lines


def test_a_watched_list_shows_what_comes(inbox: Inbox) -> None:
    """-w: first that nothing waits, then the request that the operator opened."""
    with watching(inbox.person(ANA, ["support-leads"]).kubeconfig) as run:
        first = page(run)
        inbox.request("refund-1")
        second: list[str] = []
        while not any(each.startswith("refund-1 ") for each in second):
            assert run.poll() is None
            second = page(run)
    assert first[0].startswith(f"Nothing is waiting in namespace {inbox.namespace}.")
    assert second[-1] == "Next: kubectl hitl show refund-1"


def test_hitl_with_a_kubeconfig_is_about_the_cluster(inbox: Inbox, tmp_path: Path) -> None:
    """--kubeconfig and --context lead from a home to a cluster, and every hint repeats what leads there."""
    inbox.request("refund-1")
    config = str(inbox.person(ANA, ["support-leads"]).kubeconfig)
    done = AHome(tmp_path).hitl("--kubeconfig", config, "list", "--context", "local")
    assert done.code == 0, done.err
    assert done.lines[1].startswith("refund-1 ")
    assert f"Next: hitl show refund-1 --kubeconfig {config} --context local" in done.err


def test_audit_logs_are_verified_where_they_were_copied_to(inbox: Inbox, tmp_path: Path) -> None:
    """`audit verify PATH` needs no cluster; without PATH it says that one is needed."""
    log = AHome(tmp_path).audit({"kind": "verdict", "decision": "Notify", "tool": "git/commit"})
    ana = inbox.person(ANA)
    done = ana.hitl("audit", "verify", str(log))
    assert (done.code, done.lines) == (0, [f"chain   {log}   1 record, 1 epoch, 0 problems"])
    unnamed = ana.hitl("audit", "verify")
    assert unnamed.code == 2
    assert "name the archive: the operator keeps it" in unnamed.err


def test_a_policy_file_is_checked_without_any_cluster(inbox: Inbox, tmp_path: Path) -> None:
    """`check -f` reads files alone: it works with a kubeconfig that leads nowhere."""
    file = tmp_path / "policy.yaml"
    file.write_text(
        "apiVersion: hitl.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: a}\nspec: {rules: [{acton: Deny}]}\n"
    )
    done = inbox.kubectl(tmp_path / "nowhere", "hitl", "check", "-f", str(file))
    assert done.code == 1
    assert "HITL" in done.out
