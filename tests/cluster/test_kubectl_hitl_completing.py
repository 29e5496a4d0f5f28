"""`kubectl hitl` in the shell: what Tab offers through real kubectl, and what a list does not load."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from cli.homes import a_spec
from cluster.gated_pods import EVER
from cluster.inboxes import Inbox, Person
from control_plane.running import ControlPlane
from hitl.policy.verdicts import Requirement

ANA = "ana@example.com"


@pytest.fixture
def inbox(control_plane: ControlPlane, namespace: str) -> Inbox:
    """A namespace where ana may decide Confirm."""
    return Inbox(control_plane, namespace).bind("hitl-reviewer", ANA)


def completed(inbox: Inbox, ana: Person, *words: str, wanted: Sequence[str]) -> list[str]:
    """What the shell offers: `wanted`, or once more nothing, as after a second that the API server took to answer."""
    until = time.monotonic() + EVER
    while True:
        *found, end = inbox.kubectl(ana.kubeconfig, "__complete", "hitl", *words).out.splitlines()
        assert end == ":4"
        if found or not wanted or time.monotonic() > until:
            return found


def test_requests_complete_in_the_shell_through_kubectl(inbox: Inbox) -> None:
    """Kubectl runs `kubectl_complete-hitl`: commands, flags, and the names of what waits with what would happen."""
    inbox.request("refund-7f3kq2m8xa")
    ana = inbox.person(ANA, ["support-leads"])
    found = ["refund-7f3kq2m8xa\trefund 150.00 EUR to customer C-20817"]
    for command, typed, wanted in (
        ("es", None, ["escalate\tAsk more people to decide a request."]),
        ("show", "re", found),
        ("approve", "refund-7f3", []),
        ("approve", found[0][:11], found),
    ):
        words = (command,) if typed is None else (command, typed)
        assert completed(inbox, ana, *words, wanted=wanted) == wanted
    flags = completed(inbox, ana, "deny", "--ca", wanted=["--category"])
    assert [each.partition("\t")[0] for each in flags] == ["--category"]


def test_what_a_person_may_not_do_is_not_suggested(inbox: Inbox) -> None:
    """`approve` offers what waits and this person may approve; -n and --context are completed from what is known."""
    inbox.request("refund-1")
    inbox.request("refund-2", a_spec(requirements=(Requirement("reviewer", any_of=("managers",)),)))
    inbox.request("refund-3", a_spec(tier="multi-factor", requirements=()))
    ana = inbox.person(ANA, ["support-leads"])

    (context,) = json.loads(ana.kubeconfig.read_text())["contexts"]
    for words, wanted in (
        (("approve", "refund-1"), ["refund-1"]),
        (("approve", "refund-2"), []),
        (("approve", "refund-3"), []),
        (("deny", "refund-"), ["refund-1", "refund-2"]),
        (("show", "refund-"), ["refund-1", "refund-2", "refund-3"]),
        (("list", "-n", inbox.namespace[:-1]), [inbox.namespace]),
        (("list", "--context", ""), [context["name"]]),
        (("-n", inbox.namespace[:-1]), [inbox.namespace]),
        (("-n", inbox.namespace, "deny", "refund-"), ["refund-1", "refund-2"]),
    ):
        found = completed(inbox, ana, *words, wanted=wanted)
        assert [each.partition("\t")[0] for each in found] == wanted


def test_completion_is_silent_where_nothing_can_be_had(inbox: Inbox) -> None:
    """No right to list, or no kubeconfig: no suggestion, no error, exit code 0."""
    eve = inbox.person("eve@example.com")
    done = inbox.kubectl(eve.kubeconfig, "__complete", "hitl", "show", "re")
    assert (done.code, done.out) == (0, ":4\n")
    gone = inbox.kubectl(eve.kubeconfig.with_name("nowhere"), "__complete", "hitl", "show", "re")
    assert (gone.code, gone.out) == (0, ":4\n")


def test_a_list_pays_for_nothing_that_it_does_not_use(inbox: Inbox) -> None:
    """`kubectl hitl list` imports no client library, gRPC, cryptography, policy compiler or completion (DESIGN 15)."""
    inbox.request("refund-1")
    heavy = [
        *("aiohttp", "kubernetes", "kopf", "grpc", "google.protobuf", "cryptography", "cel_expr_python"),
        *("opentelemetry", "rich.console", "rich.text", "re2", "sqlite3", "hitl.policy.config", "hitl_cli.at_home"),
        *("hitl_cli.offers", "click.shell_completion", "difflib"),
    ]
    program = (
        "import sys, hitl_cli.main as m\n"
        "assert m.run(['list'], 'kubectl-hitl') == 0\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    env = {"KUBECONFIG": str(inbox.person(ANA).kubeconfig)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
