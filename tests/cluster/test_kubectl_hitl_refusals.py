"""Every "no" of `kubectl hitl` as real users meet it: the exit code, the words, the next thing to type (UX 4)."""

import json
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cli.homes import a_spec
from cluster.inboxes import Inbox, counted
from control_plane.running import ControlPlane
from hitl.approvals.conditions import CancelReason
from hitl.approvals.requests import ApprovalRequest
from hitl.approvals.settle import cancel
from hitl.policy.verdicts import EscalationStep, Requirement, SecondFactor
from hitl.stores.kubernetes import KubernetesStore

ANA, BO = "ana@example.com", "bo@example.com"
ORIGIN = "AgentPolicy/shop/support"
TO_MANAGERS = EscalationStep(600, ("managers",), ORIGIN)
LONGEST_WAIT = 90.0  # seconds; the request of the test ends after one, and a look takes as long as it takes


@pytest.fixture
def inbox(control_plane: ControlPlane, namespace: str) -> Inbox:
    """A namespace where ana may decide Confirm, and bo everything."""
    return Inbox(control_plane, namespace).bind("hitl-reviewer", ANA).bind("hitl-senior-reviewer", BO)


async def lost(store: KubernetesStore, request: ApprovalRequest) -> ApprovalRequest:
    """The operator cancels it: the enforcement was gone when it was decided."""
    message = "votes could not be believed while the admission policy hitl-decisions was gone"
    status = cancel(request, datetime.now(UTC), CancelReason.ENFORCEMENT_LOST, message)
    return await store.write_status(request, status)


def test_I9_an_expired_request_is_never_called_denied(inbox: Inbox) -> None:
    """I9: exit code 3, when it ended, that nothing ran, and which setting made it so short."""
    inbox.request("refund-1", a_spec(timeout=1))
    ana = inbox.person(ANA, ["support-leads"])
    until = time.monotonic() + LONGEST_WAIT
    while "Expired" not in (shown := ana.hitl("show", "refund-1")).out:
        assert time.monotonic() < until, shown.out
    done = ana.hitl("approve", "refund-1")
    assert done.code == 3
    assert done.out == ""
    assert done.err.startswith("error: refund-1 expired at ")
    assert "ago; nothing ran." in done.err
    assert "The agent may ask again. If this is too short: spec.approval.timeout is 1s in policy support." in done.err
    assert inbox.now_is("refund-1").status.decisions == ()


def test_who_comes_late_hears_who_denied_it_and_why(inbox: Inbox) -> None:
    """Exit code 3, the other's name and words, that nothing was recorded, and where there is something to do."""
    inbox.request("refund-1", a_spec(escalation=(TO_MANAGERS,)))
    inbox.person(BO, ["support-leads"]).hitl("deny", "refund-1", "--reason", "customer already refunded")
    inbox.step("refund-1", counted)
    for words in (("approve", "refund-1"), ("escalate", "refund-1"), ("extend", "refund-1", "15m")):
        done = inbox.person(ANA, ["support-leads"]).hitl(*words)
        assert (done.code, done.out) == (3, "")
        first, second = done.err.splitlines()
        assert first.startswith(f"error: refund-1 was denied by {BO} ")
        assert first.endswith(' ago: "customer already refunded".')
        assert second == "Nothing was recorded. What waits now: kubectl hitl list"


def test_without_the_verb_the_role_that_has_it_is_named(inbox: Inbox) -> None:
    """Exit code 4: verb, virtual resource, role, who can; no way that this person may not go either."""
    inbox.request("deploy-1", a_spec(tier="multi-factor", escalation=(TO_MANAGERS,)))
    done = inbox.person(ANA, ["support-leads"]).hitl("approve", "deploy-1", "--reason", "CHG-4411")
    assert (done.code, done.out) == (4, "")
    assert done.err.splitlines() == [
        f"error: you may not approve MultiFactor in namespace {inbox.namespace}.",
        "It needs verb approve on approvalrequests/multi-factor; role hitl-senior-reviewer has it.",
        "Who can: kubectl hitl show deploy-1",
    ]


def test_who_may_escalate_is_told_to_only_where_somebody_is_left(inbox: Inbox) -> None:
    """Hand it on: where the policy names more people. Without the right, or without a step, `escalate` says so."""
    leads = (Requirement("reviewer", any_of=("support-leads",), origin=ORIGIN),)
    inbox.request("more-1", a_spec(requirements=leads, escalation=(TO_MANAGERS,)))
    inbox.request("alone-1", a_spec(requirements=leads))
    ana = inbox.person(ANA, ["juniors"])
    assert "    Hand it on: kubectl hitl escalate more-1" in ana.hitl("approve", "more-1").err
    assert "escalate" not in ana.hitl("approve", "alone-1").err
    done = ana.hitl("escalate", "alone-1")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error: nobody more can be asked to decide alone-1: in AgentPolicy support there is no escalation step; "
        "nothing was recorded\n"
        "Who can: kubectl hitl show alone-1    More time: kubectl hitl extend alone-1 15m    "
        "From now on: spec.approval.escalate\n"
    )
    assert inbox.now_is("alone-1").status.notes == ()
    inbox.bind("hitl-viewer", "vi@example.com")
    viewer = inbox.person("vi@example.com")
    refused = viewer.hitl("escalate", "more-1")
    assert refused.code == 4
    assert "kubectl hitl escalate" not in refused.err
    assert viewer.hitl("show", "more-1").err == "What you may decide: kubectl hitl list --reviewable\n"
    assert ana.hitl("show", "more-1").err == 'Next: kubectl hitl deny more-1 --reason "…"\n'


def test_a_viewer_may_not_deny_either(inbox: Inbox) -> None:
    """The verb is that of the command: deny, not approve."""
    inbox.bind("hitl-viewer", "vi@example.com").request("refund-1")
    done = inbox.person("vi@example.com").hitl("deny", "refund-1", "--reason", "no")
    assert done.code == 4
    assert "It needs verb deny on approvalrequests/confirm; role hitl-reviewer has it." in done.err


def test_I4_whom_the_call_is_for_must_leave_it_to_another(inbox: Inbox) -> None:
    """I4: exit code 4 in the words of the manual, however the name is capitalised."""
    inbox.request("refund-1", a_spec(on_behalf_of="Ana@Example.com", on_behalf_of_verified=True))
    done = inbox.person(ANA, ["support-leads"]).hitl("approve", "refund-1")
    assert done.code == 4
    assert done.err.startswith(
        "error: you asked for this call (on behalf of Ana@Example.com); another person must decide."
    )
    assert "Who can: kubectl hitl show refund-1" in done.err


def test_who_is_not_in_the_group_hears_which_one_and_his_own(inbox: Inbox) -> None:
    """Exit code 4: the group that is wanted, and those the API server sees."""
    inbox.request("refund-1")
    done = inbox.person(BO, ["managers", "oncall"]).hitl("approve", "refund-1")
    assert done.code == 4
    wanted = "error: you may not approve refund-1: it is for group support-leads, and you are in managers, oncall."
    assert done.err.splitlines()[0] == wanted


def test_D5_without_the_second_factor_it_says_how_to_log_in(inbox: Inbox) -> None:
    """D5: exit code 4 before a vote is spent; which factor, what this login shows, how to look."""
    wanted = (Requirement("reviewer", second_factor=SecondFactor.HARDWARE),)
    inbox.request("deploy-1", a_spec(tier="multi-factor", requirements=wanted))
    otp = inbox.person(BO, ["managers"], {"hitl.dev/amr": ["pwd", "otp"]})
    done = otp.hitl("approve", "deploy-1", "--reason", "CHG-4411")
    assert done.code == 4
    assert done.err.splitlines() == [
        "error: approving deploy-1 needs a hardware key, and your login shows none (hitl.dev/amr: otp).",
        "Log in again with it, so that your token says so; what the API server sees: kubectl auth whoami",
    ]
    assert inbox.now_is("deploy-1").status.decisions == ()
    assert otp.hitl("deny", "deploy-1", "--reason", "not today").code == 5


def test_C4_a_request_whose_votes_could_not_be_believed_is_called_cancelled(inbox: Inbox) -> None:
    """C4, EnforcementLost: exit code 3, what was gone, that nothing ran, and how to see whether it is mended."""
    inbox.request("refund-1", then=lost)
    done = inbox.person(ANA, ["support-leads"]).hitl("approve", "refund-1")
    assert done.code == 3
    assert "refund-1 was cancelled" in done.err
    assert "while the admission policy hitl-decisions was gone; nothing ran." in done.err
    assert "The agent may ask again. Whether it is mended: kubectl hitl doctor" in done.err


def test_a_request_that_is_gone_is_said_to_be(inbox: Inbox) -> None:
    """Exit code 1 and where to look."""
    done = inbox.person(ANA).hitl("approve", "refund-9")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f'error: no request is named "refund-9" or begins so in namespace {inbox.namespace}')
    assert "Which there are: kubectl hitl list" in done.err


def test_an_ambiguous_beginning_lists_what_it_could_mean(inbox: Inbox) -> None:
    """Exit code 2, both names with their summaries, nothing recorded."""
    inbox.request("refund-1")
    inbox.request("refund-2")
    done = inbox.person(ANA, ["support-leads"]).hitl("approve", "refund")
    assert done.code == 2
    assert "  refund-1   refund 150.00 EUR" in done.err
    assert inbox.now_is("refund-1").status.decisions == ()


def test_who_may_not_list_hears_which_role_would_help(inbox: Inbox) -> None:
    """RBAC says no: exit code 4, what was tried once, who the caller is, the role that the command needs."""
    eve = inbox.person("eve@example.com")
    done = eve.hitl("list")
    assert (done.code, done.out) == (4, "")
    assert done.err == (
        f"error: you may not list approvalrequests in namespace {inbox.namespace}: "
        "the API server knows you as eve@example.com\n"
        "Role hitl-viewer has verb list on approvalrequests.hitl.dev\n"
    )
    assert "Role hitl-reviewer has verb list on approvalrequests.hitl.dev" in eve.hitl("approve", "refund-1").err


def test_the_right_cause_is_named(inbox: Inbox) -> None:
    """Not the list but the impersonation was refused; everywhere is not the same as where one has the role."""
    ana = inbox.person(ANA, ["support-leads"])
    other = ana.hitl("list", "--as", BO)
    assert other.code == 4
    assert other.err.splitlines() == [
        f"error: you may not act as somebody else: the API server knows you as {ANA}",
        "Leave out --as and --as-group, or have verb impersonate on users and groups",
    ]
    everywhere = ana.hitl("list", "-A")
    assert everywhere.err.splitlines()[1] == (
        "Role hitl-viewer has verb list on approvalrequests.hitl.dev, here with a ClusterRoleBinding; "
        "in a namespace where you have it: -n NS"
    )


def test_a_namespace_that_is_not_there_is_said_where_it_can_be_told(inbox: Inbox) -> None:
    """Nothing waits in it, since there is none: exit code 1 for list, history and status, instead of good news."""
    for words in (("list",), ("history",), ("status",)):
        done = inbox.kubectl(inbox.plane.admin, "hitl", *words, "-n", "ghost")
        assert (done.code, done.out) == (1, ""), done.err
        assert done.err.startswith("error: there is no namespace ghost\n")


def test_an_administrator_who_sees_nothing_waiting_is_not_told_to_decide(inbox: Inbox) -> None:
    """I4: members of system:masters decide nothing, whatever RBAC says."""
    done = inbox.kubectl(inbox.plane.admin, "hitl", "list", "-n", inbox.namespace)
    assert done.code == 0
    assert "You may decide nothing: " in done.err
    assert "is a member of system:masters, and only people decide." in done.err


def test_I4_an_administrator_is_told_to_act_as_a_person(inbox: Inbox) -> None:
    """I4: members of system:masters never decide; they hear so before they try."""
    inbox.request("refund-1")
    done = inbox.kubectl(inbox.plane.admin, "hitl", "approve", "refund-1", "-n", inbox.namespace)
    assert done.code == 4
    assert "a member of system:masters; only people decide." in done.err
    assert "--context NAME" in done.err


def test_the_api_servers_own_no_is_passed_on_with_a_next_step(inbox: Inbox) -> None:
    """The verb is there, the right to write is not: only the API server knows, and the role is named."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"half-{inbox.namespace}"},
        "rules": [
            {"apiGroups": ["hitl.dev"], "resources": ["approvalrequests"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["hitl.dev"], "resources": ["approvalrequests/confirm"], "verbs": ["approve"]},
        ],
    }
    assert inbox.plane.kubectl("apply", "-f", "-", stdin=json.dumps(role)).returncode == 0
    inbox.bind(f"half-{inbox.namespace}", "half@example.com").request("refund-1")
    done = inbox.person("half@example.com", ["support-leads"]).hitl("approve", "refund-1")
    assert done.code == 4
    assert done.err.startswith(f"error: you may not write to approvalrequests in namespace {inbox.namespace}: ")
    assert "Role hitl-reviewer has verb patch on approvalrequests/status" in done.err


def test_B3_one_person_under_two_capitalisations_votes_once(inbox: Inbox) -> None:
    """B3: under the other spelling the vote that is there is named, and none is added."""
    inbox.request("refund-1", a_spec(requirements=(Requirement("reviewer", approvals=2),)))
    inbox.bind("hitl-reviewer", "Ana@Example.com")
    assert inbox.person(ANA).hitl("approve", "refund-1").code == 5
    done = inbox.person("Ana@Example.com").hitl("approve", "refund-1")
    assert len(inbox.now_is("refund-1").status.decisions) == 1
    assert done.code == 4
    assert "you have approved refund-1 already" in done.err


def test_an_unreachable_api_server_is_named(inbox: Inbox) -> None:
    """Exit code 1, the address, and what to look at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = json.loads(inbox.person(ANA).kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{taken.getsockname()[1]}"
        person = inbox.person(ANA)
        elsewhere = person.kubeconfig.with_name(f"nowhere-{inbox.namespace}.kubeconfig")
        elsewhere.write_text(json.dumps(config))
        done = replace(person, kubeconfig=elsewhere).hitl("list")
    assert (done.code, done.out) == (1, "")
    assert f"the API server {config['clusters'][0]['cluster']['server']} cannot be reached" in done.err
    assert "is it up, and the address right?" in done.err
    assert done.err.splitlines()[1] == "Is it up? kubectl cluster-info"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "-A", "-n", "x"], "-A is every namespace and -n is one"),
        (["list", "--as-group", "x"], "--as-group says what groups --as NAME is in"),
        (["list", "--context", "nowhere"], "nowhere"),
        (["extend", "x", "90s"], "90s is no whole number of minutes"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(inbox: Inbox, words: list[str], said: str) -> None:
    """Options that contradict each other, a context that is not there, half a minute: the words say which."""
    done = inbox.person(ANA).hitl(*words)
    assert done.code in (1, 2)
    assert said in done.err
