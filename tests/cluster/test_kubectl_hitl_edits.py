"""`kubectl hitl approve --edit` and half votes: what a reviewer learns before and after the one vote is spent."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cli.homes import a_spec
from cluster.inboxes import Inbox, counted
from cluster_fixtures import applied
from control_plane.running import ControlPlane
from hitl.approvals.conditions import CancelReason
from hitl.approvals.requests import ApprovalRequest
from hitl.approvals.settle import cancel
from hitl.policy.verdicts import PolicyRef
from hitl.stores.kubernetes import KubernetesStore

ANA, BO = "ana@example.com", "bo@example.com"


@pytest.fixture
def inbox(control_plane: ControlPlane, namespace: str) -> Inbox:
    """A namespace where ana may decide Confirm, and bo everything."""
    return Inbox(control_plane, namespace).bind("hitl-reviewer", ANA).bind("hitl-senior-reviewer", BO)


def a_refund_held_by(inbox: Inbox, name: str = "refund-1") -> None:
    """A policy whose rule ensures that no amount is negative, another that is not about this agent, and a request."""
    rule = {
        "name": "refunds",
        "action": "Confirm",
        "tools": ["stripe/create_refund"],
        "ensure": {"amount": {"min": 1, "max": 20000}},
    }
    deny = {"name": "never", "action": "Deny", "tools": ["stripe/*"]}
    applied(inbox.plane, _policy(inbox, "support", rule), _policy(inbox, "others", deny))
    inbox.request(name, a_spec(policies=(PolicyRef("AgentPolicy", inbox.namespace, "support", 1),)))


def _policy(inbox: Inbox, name: str, rule: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": inbox.namespace}
    return {"apiVersion": "hitl.dev/v1alpha1", "kind": "AgentPolicy", "metadata": metadata, "spec": {"rules": [rule]}}


async def tightened(store: KubernetesStore, request: ApprovalRequest) -> ApprovalRequest:
    """What a sidecar has the hub do when the policy refuses the changed call at release."""
    now, why = datetime.now(UTC), "rule refunds ensures otherwise: /amount is -5, wants >= 1"
    return await store.write_status(request, cancel(request, now, CancelReason.POLICY_TIGHTENED, why))


def test_I8_an_edit_that_the_policy_refuses_spends_no_vote(inbox: Inbox) -> None:
    """I8: the policies that hold the request are asked first; exit code 1, the rule, and nothing is recorded."""
    a_refund_held_by(inbox)
    ana = inbox.person(ANA, ["support-leads"])
    done = ana.hitl("approve", "refund-1", "--edit", "amount=-5")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: the policy refuses the changed call: ")
    assert "refunds" in done.err
    assert "nothing was recorded" in done.err
    assert inbox.now_is("refund-1").status.decisions == ()
    assert ana.hitl("approve", "refund-1", "--edit", "amount=12000").code == 5


def test_I8_an_edit_that_was_refused_at_release_is_called_so(inbox: Inbox) -> None:
    """I8: who comes later, `show` and `history` hear that the changed call was refused, by what, and that it ended."""
    inbox.request("refund-1")
    ana = inbox.person(ANA, ["support-leads"])
    assert ana.hitl("approve", "refund-1", "--edit", "amount=-5").code == 5
    inbox.step("refund-1", counted_then_tightened)
    words = f"was approved with changes by {ANA} "
    shown = " ".join(ana.hitl("show", "refund-1").out.split())
    assert words in shown
    assert "and the policy refused the changed call: rule refunds ensures otherwise: /amount is -5" in shown
    assert "changed call refused: refund 150.00 EUR" in ana.hitl("history").out
    late = inbox.person(BO, ["support-leads"]).hitl("approve", "refund-1")
    assert late.code == 3
    assert "the policy refused the changed call" in late.err


async def counted_then_tightened(store: KubernetesStore, request: ApprovalRequest) -> ApprovalRequest:
    """The vote is verified, and the sidecar refuses to release the changed call."""
    from hitl.approvals.requests import Verified
    from hitl.approvals.votes import with_verified

    status = with_verified(request, [Verified(ANA, groups=("support-leads",))])
    return await tightened(store, await store.write_status(request, status))


def test_D5_a_vote_without_a_factor_that_would_decide_is_warned_of(inbox: Inbox) -> None:
    """D5: one line before the vote of a login without a second factor; none with one, and none for the second vote."""
    inbox.bind("hitl-senior-reviewer", ANA)
    for name in ("deploy-1", "deploy-2"):
        inbox.request(name, a_spec(tier="multi-factor", requirements=()))
    ana = inbox.person(ANA)
    done = ana.hitl("approve", "deploy-1", "--reason", "CHG-1")
    assert done.err.splitlines()[0] == (
        "warning: your login shows no second factor: a second person has to approve deploy-1, too. "
        "With one you alone would decide, but a vote is never changed: log in again with it first."
    )
    inbox.step("deploy-1", counted)
    assert "warning" not in inbox.person(BO).hitl("approve", "deploy-1", "--reason", "CHG-1").err
    strong = inbox.person(BO, extra={"hitl.dev/amr": ["pwd", "otp"]})
    assert "warning" not in strong.hitl("approve", "deploy-2", "--reason", "CHG-2").err
