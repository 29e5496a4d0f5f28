"""`kubectl hitl approve` and `deny` as real users through real kubectl: what is taken, and what comes of it."""

import re

import pytest

from cli.homes import a_spec
from cluster.inboxes import Inbox
from cluster_fixtures import applied
from control_plane.running import ControlPlane
from hitl.approvals.requests import DecisionKind, Kind, NoteType
from hitl.policy.verdicts import EscalationStep, Requirement, SecondFactor

ANA, BO = "ana@example.com", "bo@example.com"
TWO = (Requirement("operator", any_of=("platform-leads",)), Requirement("manager", any_of=("managers",)))


@pytest.fixture
def inbox(control_plane: ControlPlane, namespace: str) -> Inbox:
    """A namespace where ana may decide Confirm, and bo everything."""
    return Inbox(control_plane, namespace).bind("hitl-reviewer", ANA).bind("hitl-senior-reviewer", BO)


def test_an_approval_is_released_within_moments(inbox: Inbox) -> None:
    """Stdout says what is true, stderr to whom it was released and how fast; exit code 0."""
    inbox.request("refund-7f3kq2m8xa")
    with inbox.operated():
        done = inbox.person(ANA, ["support-leads"]).hitl("approve", "refund-7f3k")
    assert (done.code, done.out) == (0, "approvalrequest.hitl.dev/refund-7f3kq2m8xa approved\n"), done.err
    assert "refund 150.00 EUR to customer C-20817 · digest 5f1c2ab9 · released to support in " in done.err


def test_I3_the_vote_is_the_callers_with_the_groups_that_matter(inbox: Inbox) -> None:
    """I3: the stored decision names the authenticated caller, echoes uid and digest, and tells no other group."""
    inbox.request("refund-1")
    done = inbox.person(ANA, ["support-leads", "payroll"]).hitl("approve", "refund-1", "--reason", "checked")
    request = inbox.now_is("refund-1")
    (decision,) = request.status.decisions
    assert done.code == 5
    assert (decision.reviewer, decision.decision, decision.groups) == (ANA, DecisionKind.APPROVED, ("support-leads",))
    assert (decision.request_uid, decision.digest) == (request.uid, request.spec.digest)
    assert (decision.reason, decision.proof) == ("checked", None)
    assert decision.time is not None


def test_while_nobody_looks_the_vote_is_said_to_wait(inbox: Inbox) -> None:
    """No operator: recorded, exit code 5, no promise, who can tell, and where to see what became of it."""
    inbox.request("refund-1")
    ana = inbox.person(ANA, ["support-leads"])
    done = ana.hitl("approve", "refund-1", "--reason", "checked")
    assert done.code == 5
    assert done.out == "approvalrequest.hitl.dev/refund-1 approval recorded, not yet counted\n"
    assert done.err.splitlines() == [
        "  no control plane looked at it within 2s; whether it will count is not known",
        "  you may not see whether the operator runs and its checks stand; if not, the vote will not count",
        "Ask an administrator: kubectl hitl doctor",
        "What became of it: kubectl hitl show refund-1",
    ]
    shown = ana.hitl("show", "refund-1").out
    assert f"{ANA} approved " in shown
    assert ', not counted yet ("checked")' in shown


def test_who_may_read_the_lease_hears_that_the_operator_is_down(inbox: Inbox) -> None:
    """The Lease is read where the reviewer may: nobody leads, so nobody counts the vote."""
    rules = [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get"]}]
    name = f"leases-{inbox.namespace}"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    applied(inbox.plane, {**role, "rules": rules})
    lea = "lea@example.com"
    forget = ("delete", "lease", "hitl-operator", "-n", "hitl-system", "--ignore-not-found")
    assert inbox.plane.kubectl(*forget).returncode == 0  # of a replica that ran for another test a moment ago
    inbox.bind("hitl-reviewer", lea).bind(name, lea, namespace="hitl-system").request("refund-1")
    done = inbox.person(lea, ["support-leads"]).hitl("approve", "refund-1")
    assert done.code == 5
    assert "  the operator is down, so no vote is counted: no" in done.err
    assert "Tell an administrator: kubectl hitl doctor" in done.err


def test_two_reviewers_decide_together(inbox: Inbox) -> None:
    """The first approval is recorded and exits 5 with who is still needed; the second releases it."""
    inbox.bind("hitl-senior-reviewer", ANA)
    inbox.request("deploy-1", a_spec(tier="multi-factor", requirements=TWO, summary="deploy web:v314 to staging"))
    ana, bo = inbox.person(ANA, ["platform-leads"]), inbox.person(BO, ["managers"])
    with inbox.operated():
        first = ana.hitl("approve", "deploy-1", "--reason", "CHG-4411")
        shown = bo.hitl("show", "deploy-1")
        again = ana.hitl("approve", "deploy-1", "--reason", "CHG-4411")
        second = bo.hitl("approve", "deploy-1", "--reason", "staging is green")
    assert first.code == 5, first.err
    assert first.out == "approvalrequest.hitl.dev/deploy-1 approval recorded, not yet decisive (1 of 2)\n"
    assert f"  operator   {ANA} approved " in first.err
    assert "  manager    1 of group managers" in first.err
    assert f"  operator   {ANA} approved " in shown.out
    assert "you may decide" in shown.out
    assert again.code == 4
    assert re.match(r"error: you have approved deploy-1 already, \d+\w+ ago; a vote is never changed", again.err)
    assert (second.code, second.out) == (0, "approvalrequest.hitl.dev/deploy-1 approved\n"), second.err


def test_C2_two_at_the_same_time_are_both_taken(inbox: Inbox) -> None:
    """C2: each applies with a field manager of their own; neither drops the other's entry."""
    from concurrent.futures import ThreadPoolExecutor

    spec = a_spec(requirements=(Requirement("reviewer", approvals=2, any_of=("support-leads",)),))
    inbox.request("refund-1", spec)
    people = [inbox.person(name, ["support-leads"]) for name in (ANA, BO)]
    with ThreadPoolExecutor() as pool:
        codes = list(pool.map(lambda person: person.hitl("approve", "refund-1").code, people))
    assert codes == [5, 5]
    assert {each.reviewer for each in inbox.now_is("refund-1").status.decisions} == {ANA, BO}


def test_a_second_factor_of_the_login_is_shown_and_recorded(inbox: Inbox) -> None:
    """Amr hwk in the token: the vote carries it, counts, and the page says that a key was verified."""
    wanted = (Requirement("reviewer", any_of=("managers",), second_factor=SecondFactor.HARDWARE),)
    inbox.request("deploy-1", a_spec(tier="multi-factor", requirements=wanted))
    bo = inbox.person(BO, ["managers"], {"hitl.dev/amr": ["pwd", "hwk"]})
    with inbox.operated():
        done = bo.hitl("approve", "deploy-1", "--reason", "CHG-4411")
    assert done.code == 0, done.err
    (decision,) = inbox.now_is("deploy-1").status.decisions
    assert decision.proof is not None
    assert (decision.proof.type, decision.proof.factors) == ("oidc", ("hwk",))
    assert "security key verified" in bo.hitl("show", "deploy-1").out


def test_a_denial_tells_the_agent_why(inbox: Inbox) -> None:
    """Deny with a category and a reason: exit code 0, the agent's words repeated."""
    inbox.request("refund-1")
    words = ("--category", "missing-context", "--reason", "C-20817 was refunded yesterday, see R-5512")
    with inbox.operated():
        done = inbox.person(ANA, ["support-leads"]).hitl("deny", "refund-1", *words)
    assert (done.code, done.out) == (0, "approvalrequest.hitl.dev/refund-1 denied\n"), done.err
    assert 'the agent is told: "C-20817 was refunded yesterday, see R-5512"' in done.err


def test_a_suggestion_is_done_by_the_person_who_approves_it(inbox: Inbox) -> None:
    """`show` and `approve` never say that the agent will run it."""
    inbox.request("refund-1", a_spec(kind=Kind.SUGGESTION))
    ana = inbox.person(ANA, ["support-leads"])
    shown = ana.hitl("show", "refund-1")
    assert "WHAT IS SUGGESTED: do it yourself, the agent will not run it" in shown.lines
    assert "WHAT WILL RUN" not in shown.out
    assert shown.err.startswith("Did you do it? kubectl hitl approve refund-1    Will you not? kubectl hitl deny")
    with inbox.operated():
        done = ana.hitl("approve", "refund-1")
    assert (done.code, done.out) == (0, "approvalrequest.hitl.dev/refund-1 marked as done\n"), done.err
    assert "the agent is told that a person did it" in done.err
    assert f"was done by a person by {ANA}" in " ".join(ana.hitl("show", "refund-1").out.split())


def test_D4_a_group_is_approved_but_for_what_is_new_in_it(inbox: Inbox) -> None:
    """D4: one line each; a member with a new argument is left alone, and the worst exit code wins."""
    for number, extra in enumerate(("", "", ',"attachment":"x"')):
        spec = a_spec(group_key="mails", arguments=f'{{"to":"{number}@example.com"{extra}}}', digest=f"{number}a" * 32)
        inbox.request(f"email-{number}", spec)
    with inbox.operated():
        done = inbox.person(ANA, ["support-leads"]).hitl("approve", "email-0", "--item", "email-0,email-1,email-2")
    assert done.code == 1, done.err
    assert sorted(done.lines) == [
        "approvalrequest.hitl.dev/email-0 approved",
        "approvalrequest.hitl.dev/email-1 approved",
        'approvalrequest.hitl.dev/email-2 skipped: argument "attachment" is new, decide it alone',
    ]
    assert done.err.startswith("2 approved, 1 skipped")


def test_an_edit_goes_with_the_vote(inbox: Inbox) -> None:
    """--edit: the patch stands in the caller's own entry, as JSON."""
    inbox.request("refund-1")
    inbox.person(ANA, ["support-leads"]).hitl("approve", "refund-1", "--edit", "amount=12000")
    (decision,) = inbox.now_is("refund-1").status.decisions
    assert decision.arguments_patch == {"amount": 12000}


def test_whoever_may_impersonate_acts_as_the_one_named(inbox: Inbox) -> None:
    """--as and --as-group are kubectl's own, before the command or behind: the vote is that user's; hints have both."""
    inbox.request("refund-1")
    as_ana = ("--as", ANA, "--as-group", "support-leads", "-n", inbox.namespace)
    listed = inbox.kubectl(inbox.plane.admin, "hitl", "list", *as_ana)
    assert listed.err.startswith("1 of 1 need you.")
    before = inbox.kubectl(inbox.plane.admin, "hitl", *as_ana, "list")
    assert before.err.splitlines()[1] == listed.err.splitlines()[1]
    of_both = inbox.kubectl(inbox.plane.admin, "hitl", "--as-group", "leads", "list", *as_ana)
    assert f"--as {ANA} --as-group leads --as-group support-leads" in of_both.err
    assert "Nothing like that has ended" in inbox.kubectl(inbox.plane.admin, "hitl", *as_ana, "history").err
    hint = f"Next: kubectl hitl show refund-1 -n {inbox.namespace} --as {ANA} --as-group support-leads"
    assert hint in listed.err
    assert inbox.kubectl(inbox.plane.admin, "hitl", "approve", "refund-1", *as_ana).code == 5
    assert [each.reviewer for each in inbox.now_is("refund-1").status.decisions] == [ANA]


def test_a_request_gets_more_time_and_more_people(inbox: Inbox) -> None:
    """Extend and escalate leave notes that the operator heeds; each says what is in force now."""
    steps = (EscalationStep(600, ("oncall",), "AgentPolicy/shop/support"),)
    wanted = (Requirement("reviewer", any_of=("support-leads",), origin="AgentPolicy/shop/support"),)
    inbox.request("refund-1", a_spec(escalation=steps, requirements=wanted))
    ana = inbox.person(ANA, ["support-leads"])
    with inbox.operated():
        longer = ana.hitl("extend", "refund-1", "30m")
        more = ana.hitl("escalate", "refund-1", "--reason", "lunch")
    assert (longer.code, longer.out) == (0, "approvalrequest.hitl.dev/refund-1 extended\n"), longer.err
    assert "it now expires in 44m" in longer.err
    assert (more.code, more.out) == (0, "approvalrequest.hitl.dev/refund-1 escalated\n"), more.err
    assert "people of support-leads, oncall may decide it" in more.err
    notes = [(each.reviewer, each.n, each.type, each.minutes) for each in inbox.now_is("refund-1").status.notes]
    assert notes == [(ANA, 1, NoteType.EXTEND, 30), (ANA, 2, NoteType.ESCALATE, 0)]
