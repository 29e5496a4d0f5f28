"""`kubectl hitl list`, `show`, `history`, `explain`, `status` on a real API server: what people see."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cli.homes import a_spec
from cluster.gated_pods import EVER
from cluster.inboxes import Inbox, counted
from cluster_fixtures import a_namespace, applied
from control_plane.running import ControlPlane
from hitl.approvals.requests import Decision, DecisionKind, Proof, Verified
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.policy.calls import Agent
from hitl.policy.escaping import plain
from hitl.policy.verdicts import PolicyRef, Requirement
from hitl.v1 import gate_pb2, hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.cluster.events import Events

ANA, BO = "ana@example.com", "bo@example.com"
RBAC = "rbac.authorization.k8s.io/v1"


@pytest.fixture
def inbox(control_plane: ControlPlane, namespace: str) -> Inbox:
    """A namespace where ana may decide Confirm."""
    return Inbox(control_plane, namespace).bind("hitl-reviewer", ANA)


def a_policy(namespace: str, name: str = "support", **spec: object) -> dict[str, Any]:
    """The policy of UX 6 in short."""
    rules = [{"name": "refunds", "action": "Confirm", "tools": ["stripe/create_refund"]}]
    return {
        "apiVersion": "hitl.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"rules": rules, **spec},
    }


def said_of(plane: ControlPlane, policy: Mapping[str, Any], status: Mapping[str, Any]) -> None:
    """Write a policy's status as the operator does."""

    async def write() -> None:
        operator = plane.kubeconfig("system:serviceaccount:hitl-system:hitl-operator", ("system:serviceaccounts",))
        async with KubeAPI.open(Access.from_kubeconfig(operator)) as api:
            metadata = policy["metadata"]
            path = path_of("hitl.dev/v1alpha1", "agentpolicies", metadata["namespace"], metadata["name"], "status")
            await api.merge_patch(path, {"status": dict(status)})

    asyncio.run(write())


def a_condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-21T12:00:00Z",
    }


def test_the_list_counts_what_needs_the_caller(inbox: Inbox) -> None:
    """Columns as in a home; the footer knows groups and rights: what ana may not decide does not need her."""
    inbox.request("refund-1")
    inbox.request("deploy-1", a_spec(tier="multi-factor", requirements=(), workload="deploy/coder"))
    inbox.request("pay-1", a_spec(requirements=(Requirement("reviewer", any_of=("managers",)),)))
    done = inbox.person(ANA, ["support-leads"]).hitl("list")
    assert done.code == 0
    assert done.lines[0].split() == ["NAME", "TIER", "EXPIRES", "VOTES", "AGENT", "WHAT"]
    assert {each.split()[0] for each in done.lines[1:]} == {"refund-1", "deploy-1", "pay-1"}
    assert done.err.splitlines()[0].startswith(
        "1 of 3 need you (deploy-1: no verb approve on approvalrequests/multi-factor; 1 more)."
    )
    assert done.err.splitlines()[-1] == "Next: kubectl hitl show refund-1"
    mine = inbox.person(ANA, ["support-leads"]).hitl("list", "--reviewable")
    assert [each.split()[0] for each in mine.lines[1:]] == ["refund-1"]


def test_the_list_is_of_one_namespace_and_of_all_with_a(inbox: Inbox) -> None:
    """The context's namespace is meant; -A puts NAMESPACE first and needs the right everywhere; hints name -n."""
    elsewhere = Inbox(inbox.plane, a_namespace(inbox.plane))
    inbox.request("refund-1")
    elsewhere.request("refund-2")
    ana = inbox.person(ANA, ["support-leads"])
    assert [each.split()[0] for each in ana.hitl("list").lines[1:]] == ["refund-1"]
    denied = ana.hitl("list", "-A")
    assert (denied.code, denied.out) == (4, "")
    assert "error: you may not list approvalrequests in all namespaces: " in denied.err
    everywhere = {
        "apiVersion": RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"all-{inbox.namespace}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hitl-reviewer"},
        "subjects": [{"kind": "User", "name": BO, "apiGroup": "rbac.authorization.k8s.io"}],
    }
    applied(inbox.plane, everywhere)
    done = elsewhere.person(BO, ["support-leads"]).hitl("list", "-A")
    assert done.lines[0].startswith("NAMESPACE")
    seen = {tuple(each.split()[:2]) for each in done.lines[1:]}
    assert {(inbox.namespace, "refund-1"), (elsewhere.namespace, "refund-2")} <= seen
    there = elsewhere.person(BO, ["support-leads"]).hitl("list", "-n", inbox.namespace)
    assert f"Next: kubectl hitl show refund-1 -n {inbox.namespace}" in there.err
    assert inbox.plane.kubectl("delete", "clusterrolebinding", f"all-{inbox.namespace}").returncode == 0


def test_nothing_to_do_says_why_that_is_believable(inbox: Inbox) -> None:
    """Today in numbers from what is stored, what the caller may decide, and how kubectl itself says so."""
    inbox.request("refund-1")
    ana = inbox.person(ANA, ["support-leads"])
    with inbox.operated():
        assert ana.hitl("approve", "refund-1").code == 0
    done = ana.hitl("list")
    can_i = f"kubectl auth can-i approve ar --subresource=multi-factor -n {inbox.namespace}"
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        f"Nothing is waiting in namespace {inbox.namespace}. Today: 1 held, 1 decided, 0 expired.",
        f"You may decide: Confirm. Not: MultiFactor ({can_i}).",
    ]
    assert inbox.kubectl(ana.kubeconfig, *can_i.split()[1:]).out.strip() == "no"


def test_what_nobody_can_decide_is_warned_of(inbox: Inbox) -> None:
    """The operator found no one for two policies, for one reason: said once, with the next step, no line too wide."""
    message = "no binding lets group support-leads approve confirm here, and nobody is bound by name there"
    for name in ("support", "sales"):
        policy = a_policy(inbox.namespace, name)
        applied(inbox.plane, policy)
        said_of(inbox.plane, policy, {"conditions": [a_condition("ReviewersAvailable", "False", "Unbound", message)]})
    refs = tuple(PolicyRef("AgentPolicy", inbox.namespace, name, 1) for name in ("support", "sales"))
    inbox.request("refund-1", a_spec(policies=refs))
    done = inbox.person(ANA, ["support-leads"]).hitl("list")
    assert " ".join(done.err.split()).count(f"warning: {message}; refund-1 will expire.") == 1
    assert "  An administrator can bind the role to the group." in done.err
    assert "escalate" not in done.err
    assert max(map(len, done.err.splitlines())) <= 100


def test_people_who_are_bound_by_name_are_no_reason_to_warn(inbox: Inbox) -> None:
    """Where somebody may be in the group, the list says nothing of an end, and status nothing of a problem."""
    policy = a_policy(inbox.namespace)
    applied(inbox.plane, policy)
    unknown = a_condition("ReviewersAvailable", "Unknown", "BoundByName", "No binding lets group support-leads approve")
    said_of(inbox.plane, policy, {"conditions": [unknown]})
    inbox.request("refund-1", a_spec(policies=(PolicyRef("AgentPolicy", inbox.namespace, "support", 1),)))
    ana = inbox.person(ANA, ["support-leads"])
    assert "warning" not in ana.hitl("list").err
    assert "BoundByName" not in ana.hitl("status").out


def test_G1_hostile_words_stay_in_their_cell(inbox: Inbox) -> None:
    """G1: what the API server stores is escaped already; what is printed has nothing hidden, in any form."""
    bidi = "refund \\u202e\\u0007 to 0052⏎NAME   TIER"
    spec = a_spec(summary=bidi, justification="│ WHO DECIDES   1 of 1", workload="deploy/a\\u200bb")
    inbox.request("refund-1", spec)
    ana = inbox.person(ANA, ["support-leads"])
    for words in (("list",), ("list", "-o", "wide"), ("show", "refund-1"), ("list", "-o", "yaml")):
        done = ana.hitl(*words)
        assert done.code == 0, done.err
        assert all(plain(each) for each in done.lines)
    assert len(ana.hitl("list").lines) == 2


def test_documents_are_the_resources_themselves(inbox: Inbox) -> None:
    """-o json and -o name print what kubectl could take, and nothing on stderr."""
    inbox.request("refund-1")
    ana = inbox.person(ANA, ["support-leads"])
    done = ana.hitl("list", "-o", "json")
    assert done.err == ""
    (item,) = done.document["items"]
    assert (item["kind"], item["metadata"]["namespace"]) == ("ApprovalRequest", inbox.namespace)
    named = ana.hitl("list", "-o", "name").out
    assert named == "approvalrequest.hitl.dev/refund-1\n"
    assert inbox.kubectl(ana.kubeconfig, "get", named.strip(), "-o", "name").out == named


def test_past_requests_are_the_stored_ones(inbox: Inbox) -> None:
    """`history`: who decided, how it ended; what waits is not in it."""
    inbox.request("refund-1")
    inbox.request("refund-2")
    inbox.person(ANA, ["support-leads"]).hitl("deny", "refund-2", "--reason", "no such customer")
    inbox.step("refund-2", counted)
    done = inbox.person(ANA, ["support-leads"]).hitl("history")
    assert [each.split()[:2] for each in done.lines[1:]] == [["refund-2", "Denied"]]
    assert ANA in done.out


def test_a_request_is_explained_as_held_and_as_policies_are_now(inbox: Inbox) -> None:
    """`explain NAME`: the cluster's policies decide now; what was said when it was opened stands below."""
    applied(inbox.plane, a_policy(inbox.namespace))
    inbox.request("refund-1", a_spec(explanation="rule refunds: /amount is 15000"))
    done = inbox.person(ANA, ["support-leads"]).hitl("explain", "refund-1")
    assert done.code == 0, done.err
    assert done.lines[0] == "Confirm   stripe/create_refund"
    assert "  when asked    rule refunds: /amount is 15000; policy support gen 7" in done.out
    assert "note: you may not read the baseline (ClusterAgentPolicies)" in done.err
    document = inbox.person(ANA).hitl("explain", "refund-1", "-o", "json").document
    assert document["rule"] == f"AgentPolicy/{inbox.namespace}/support#refunds"
    assert document["held"]["explanation"] == "rule refunds: /amount is 15000"


def test_a_call_is_explained_for_a_workload_with_what_the_cluster_has(inbox: Inbox) -> None:
    """`explain --agent --tool --args`: labels of the workload's pods choose among the policies, if they may be read."""
    labels = {"app": "support"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "support", "namespace": inbox.namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"serviceAccountName": "support", "containers": [{"name": "agent", "image": "agent"}]},
            },
        },
    }
    deny = [{"name": "never", "action": "Deny", "tools": ["stripe/*"]}]
    other = a_policy(inbox.namespace, "others", rules=deny, podSelector={"matchLabels": {"app": "coder"}})
    applied(inbox.plane, deployment, a_policy(inbox.namespace), other)
    words = ("explain", "--agent", "deploy/support", "--tool", "stripe/create_refund", "--args", '{"amount":15000}')
    ana = inbox.person(ANA)
    unread = ana.hitl(*words)
    assert unread.lines[0].startswith("Deny")
    assert (
        f"note: deploy/support cannot be read in {inbox.namespace}, so every policy is taken to select it" in unread.err
    )
    rules = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]
    name = f"reads-{inbox.namespace}"
    applied(inbox.plane, {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
    inbox.bind(name, ANA)
    done = ana.hitl(*words)
    assert done.lines[0] == "Confirm   stripe/create_refund"
    assert "cannot be read" not in done.err


def test_whoever_has_no_policies_to_read_is_told_so(inbox: Inbox) -> None:
    """`explain` without the right: exit code 4 and the role."""
    done = inbox.person("eve@example.com").hitl("explain", "--tool", "x/y")
    assert done.code == 4
    assert "Role hitl-viewer has verb list on agentpolicies.hitl.dev" in done.err


def test_status_tells_of_each_policy_and_lists_problems(inbox: Inbox) -> None:
    """A row from the operator's count and the stored requests; what is wrong stands below, exit code 1."""
    policy = a_policy(inbox.namespace, autonomy="Calibrated")
    applied(inbox.plane, policy)
    bad = a_condition("Accepted", "False", "Invalid", "spec.rules[0].args: no such matcher")
    said_of(inbox.plane, policy, {"conditions": [bad], "sidecars": {"total": 3, "current": 2}})
    request = a_spec(policies=(PolicyRef("AgentPolicy", inbox.namespace, "support", 1),))
    inbox.request("refund-1", request)
    ana = inbox.person(ANA, ["support-leads"])
    with inbox.operated():
        ana.hitl("approve", "refund-1")
    done = ana.hitl("status", "-n", inbox.namespace)
    assert done.code == 1, done.err
    row = next(each for each in done.lines if each.startswith(inbox.namespace))
    assert row.split()[:7] == [inbox.namespace, "support", "2/3", "1", "Calibrated", "1", "100%"]
    assert "1 problem" in done.lines
    assert f"  {inbox.namespace}/support   Invalid: spec.rules[0].args: no such matcher" in done.lines
    assert f"kubectl describe agentpolicy support -n {inbox.namespace}" in done.out
    said_of(inbox.plane, policy, {"conditions": [a_condition("Accepted", "True", "Valid", "1 rule")]})
    assert ana.hitl("status").code == 0


def test_a_namespace_with_policies_and_no_gate_is_a_problem(inbox: Inbox) -> None:
    """Policies whose pods get no sidecar hold for nobody: `status` says so, with the command that labels it."""
    open_one = Inbox(inbox.plane, a_namespace(inbox.plane, gated=False))
    policy = a_policy(open_one.namespace)
    applied(inbox.plane, policy)
    said_of(inbox.plane, policy, {"conditions": [a_condition("Accepted", "True", "Valid", "1 rule")]})
    done = inbox.kubectl(inbox.plane.admin, "hitl", "status", "-n", open_one.namespace)
    assert done.code == 1
    assert "has policies and is not labelled hitl.dev/injection=enabled: no new pod in it is gated" in done.out
    assert f" kubectl label namespace {open_one.namespace} hitl.dev/injection=enabled\n" in done.out


def test_a_policy_without_pods_and_a_pod_without_policy_are_notes(inbox: Inbox) -> None:
    """Neither is an error, and both are easily overlooked: `status` says so, with what to type."""
    here = Inbox(inbox.plane, a_namespace(inbox.plane))
    policy = a_policy(here.namespace, podSelector={"matchLabels": {"app": "suport"}})
    applied(inbox.plane, policy)
    unmatched = a_condition("Programmed", "Unknown", "Unmatched", "No connected sidecar is selected")
    said_of(inbox.plane, policy, {"conditions": [a_condition("Accepted", "True", "Valid", "1 rule"), unmatched]})
    inbox.plane.kubectl("create", "serviceaccount", "default", "-n", here.namespace)
    for name, app, phase in (("support-1", "support", "Running"), ("suport-1", "suport", "Running"), ("old", "x", "")):
        container = {"name": "agent", "image": "agent"}
        metadata = {"name": name, "namespace": here.namespace, "labels": {"app": app, "hitl.dev/gated": "true"}}
        applied(
            inbox.plane, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        )
        if phase:
            patch = ("patch", "pod", name, "-n", here.namespace, "--subresource=status", "--type=merge")
            done = inbox.plane.kubectl(*patch, "-p", json.dumps({"status": {"phase": phase}}))
            assert done.returncode == 0, done.stderr
    done = inbox.kubectl(inbox.plane.admin, "hitl", "status", "-n", here.namespace)
    assert "2 notes" in done.lines
    assert "no connected sidecar is selected: no pod has these labels" in done.out
    assert f" kubectl get pods -n {here.namespace} --show-labels\n" in done.out
    assert "gated pod support-1 is selected by no policy that you may read" in done.out
    assert f" kubectl get pods -n {here.namespace} -l hitl.dev/gated=true --show-labels\n" in done.out
    found = json.loads(inbox.kubectl(inbox.plane.admin, "hitl", "status", "-n", here.namespace, "-o", "json").out)
    assert [each["about"] for each in found["notes"]] == [f"{here.namespace}/support", here.namespace]
    assert {each["about"] for each in found["problems"]} <= {"hub", "operator"}  # none runs here


def test_what_ran_unasked_is_read_from_the_operators_events(inbox: Inbox) -> None:
    """`activity`: Notify and overrides, with --all what was held too, by its whole name; without the right, who may."""
    request = inbox.request("a-name-longer-than-any-column-of-this-feed")
    identity = Identity(Agent(inbox.namespace, "coder", "deploy/coder", "coder-1", "uid-1"), "ns-uid", "cluster-uid")
    ran = hub_pb2.ActivityRecord(
        action=gate_pb2.ACTION_NOTIFY, tool="git/commit", why="rule commits", summary='git commit "fix due date"'
    )

    proof = Proof("oidc", factors=("otp",), time=datetime.now(UTC))
    vote = Decision(ANA, DecisionKind.OVERRIDDEN, request.spec.digest, request.uid, reason="INC-88", proof=proof)
    word = Verified(ANA, second_factor="oidc:otp")
    overridden = replace(request, status=replace(request.status, decisions=(vote,), verified=(word,)))

    async def said() -> None:
        async with KubeAPI.open(inbox.operator) as api:
            events = Events(api, "hitl-system", "test")
            events.acted(identity, [ran])
            events.opened(request)
            events.written(request, overridden)
            running = asyncio.create_task(events.run())
            path = path_of("v1", "events", inbox.namespace)
            async with KubeAPI.open(Access.from_kubeconfig(inbox.plane.admin)) as admin, asyncio.timeout(EVER):
                while len((await admin.list_page(path))["items"]) < 3:
                    pass
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(said())
    denied = inbox.person("eve@example.com").hitl("activity")
    assert denied.code == 4
    assert f"error: you may not list events in namespace {inbox.namespace}: " in denied.err
    assert "ole hitl-viewer has verb list on events" in denied.err
    ana = inbox.person(ANA)
    done = ana.hitl("activity")
    (line,) = [each for each in done.lines if "BreakGlass" not in each]
    assert done.err.startswith(f"Notify-tier calls and break-glass in namespace {inbox.namespace}, as the operator's")
    (glass,) = [each.split() for each in done.lines if "BreakGlass" in each]
    assert glass[1:5] == ["BreakGlass", "support", "-", "a-name-longer-than-any-column-of-this-feed"]
    assert line.split()[1:] == ["Notify", "coder", "rule", "commits", "git", "commit", '"fix', "due", 'date"']
    everything = ana.hitl("activity", "--all")
    said = {each.split()[1]: each.split() for each in everything.lines}
    assert set(said) == {"Notify", "Held", "BreakGlass"}
    assert said["Held"][2:5] == ["support", "-", "a-name-longer-than-any-column-of-this-feed"]
    told = [json.loads(each) for each in ana.hitl("activity", "-o", "json").lines]
    assert {each["decision"]: each["tool"] for each in told} == {"Notify": "git/commit", "BreakGlass": None}


def test_forged_events_are_left_out_or_do_no_harm(inbox: Inbox) -> None:
    """G1: what does not say that the operator posted it is left out, and a time of its writer is not believed."""
    for name, component in (("stranger", "mallory"), ("twin", "hitl-operator")):
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": name,
                "namespace": inbox.namespace,
                "labels": {"app.kubernetes.io/part-of": "hitl"},
            },
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": inbox.namespace, "name": "p"},
            "reason": "Notify",
            "message": f"deploy/{name} ran git/push · rule all · nothing to see",
            "type": "Normal",
            "firstTimestamp": "0001-01-01T00:00:00Z",
            "lastTimestamp": "0001-01-01T00:00:01Z",
            "reportingComponent": component,
        }
        applied(inbox.plane, event)
    for zone in ("UTC", "America/New_York", "Pacific/Kiritimati"):
        done = inbox.person(ANA).hitl("activity", TZ=zone)
        assert done.code == 0, done.err
        assert [line.split()[2] for line in done.lines] == ["twin"]
        assert "Whoever may write Events here can write such lines too" in done.err
