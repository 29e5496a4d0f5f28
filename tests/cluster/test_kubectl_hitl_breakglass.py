"""`kubectl hitl breakglass` as real users through real kubectl: what it takes, what comes of it, who may not (D4)."""

import pytest

from cli.homes import a_spec
from cluster.inboxes import Inbox
from cluster.test_kubectl_hitl_completing import completed
from control_plane.running import ControlPlane
from hitl.approvals.requests import DecisionKind, Kind
from hitl.policy.verdicts import Requirement, SecondFactor

ANA, OLA = "ana@example.com", "ola@example.com"
WORDS = "INC-88: the site is down"
FACTOR = {"hitl.dev/amr": ["pwd", "otp"]}
TWO = (
    Requirement("operator", any_of=("platform-leads",)),
    Requirement("manager", any_of=("managers",), second_factor=SecondFactor.HARDWARE),
)


@pytest.fixture
def inbox(control_plane: ControlPlane, namespace: str) -> Inbox:
    """A namespace where ana decides everything, and ola is on call for break-glass."""
    return Inbox(control_plane, namespace).bind("hitl-senior-reviewer", ANA).bind("hitl-breakglass", OLA)


def test_D4_one_person_on_call_lets_it_run_and_everybody_sees_it(inbox: Inbox) -> None:
    """Stdout says what is true; show, history and -o json say by whom and why; exit code 0."""
    inbox.request("deploy-1", a_spec(tier="multi-factor", requirements=TWO, summary="deploy web:v314 to staging"))
    ola = inbox.person(OLA, ["oncall"], FACTOR)
    with inbox.operated():
        done = ola.hitl("breakglass", "deploy-1", "--reason", WORDS, "--yes")
    assert (done.code, done.out) == (0, "approvalrequest.hitl.dev/deploy-1 overridden\n"), done.err
    assert "deploy web:v314 to staging · digest 5f1c2ab9 · released to support" in done.err
    (decision,) = inbox.now_is("deploy-1").status.decisions
    assert (decision.reviewer, decision.decision, decision.reason) == (OLA, DecisionKind.OVERRIDDEN, WORDS)
    assert decision.proof is not None
    assert decision.proof.factors == ("otp",)
    ana = inbox.person(ANA)
    shown = " ".join(ana.hitl("show", "deploy-1").out.split())
    assert f"was overridden by {OLA} (break-glass)" in shown
    assert f'second factor verified: "{WORDS}"' in shown
    assert "break-glass: deploy web:v314 to staging" in ana.hitl("history").out
    assert ana.hitl("show", "deploy-1", "-o", "json").document["status"]["decisions"][0]["decision"] == "Overridden"


def test_D4_without_a_second_factor_it_says_how_to_log_in(inbox: Inbox) -> None:
    """Nothing is recorded; exit code 4 and the next step."""
    inbox.request("refund-1", a_spec())
    done = inbox.person(OLA, ["oncall"], {"hitl.dev/amr": ["pwd"]}).hitl(
        "breakglass", "refund-1", "--reason", WORDS, "--yes"
    )
    assert (done.code, done.out) == (4, "")
    assert "error: overriding refund-1 needs a second factor, and your login shows none" in done.err
    assert "Log in again with it" in done.err
    assert inbox.now_is("refund-1").status.decisions == ()


def test_D4_a_reviewer_is_told_which_role_has_it(inbox: Inbox) -> None:
    """Who may only approve is refused with the verb, the role and where to look who has it; exit code 4."""
    inbox.request("refund-1", a_spec(tier="multi-factor", requirements=TWO))
    done = inbox.person(ANA, [], FACTOR).hitl("breakglass", "refund-1", "--reason", WORDS, "--yes")
    assert (done.code, done.out) == (4, "")
    words = " ".join(done.err.split())
    assert f"error: you may not override MultiFactor in namespace {inbox.namespace}." in words
    assert "It needs verb override on approvalrequests/multi-factor; role hitl-breakglass has it." in words
    assert f"kubectl get rolebindings,clusterrolebindings -n {inbox.namespace} -o wide | grep hitl-breakglass" in words


def test_I4_nobody_overrides_what_was_asked_on_his_behalf(inbox: Inbox) -> None:
    """The one it acts for is refused though he has the right; so is a question; nothing is recorded."""
    inbox.request("refund-1", a_spec(on_behalf_of=OLA, on_behalf_of_verified=True))
    inbox.request("question-1", a_spec(kind=Kind.SUGGESTION))
    ola = inbox.person(OLA, ["oncall"], FACTOR)
    done = ola.hitl("breakglass", "refund-1", "--reason", WORDS, "--yes")
    assert (done.code, "another person must decide" in done.err) == (4, True)
    done = ola.hitl("breakglass", "question-1", "--reason", WORDS, "--yes")
    assert (done.code, "nothing can be overridden" in done.err) == (1, True)


def test_D4_completion_offers_what_this_person_may_override(inbox: Inbox) -> None:
    """Tab behind breakglass names nothing to a reviewer, and to who is on call the calls of others that wait."""
    inbox.request("refund-0123456789", a_spec())
    inbox.request("refund-9876543210", a_spec(on_behalf_of=OLA))
    ola, ana = inbox.person(OLA, [], FACTOR), inbox.person(ANA, [], FACTOR)
    found = ["refund-0123456789\trefund 150.00 EUR to customer C-20817"]
    assert completed(inbox, ola, "breakglass", "refund-0123", wanted=found) == found
    assert completed(inbox, ola, "breakglass", "refund-9876", wanted=[]) == []
    assert completed(inbox, ana, "breakglass", "refund-0123", wanted=[]) == []
