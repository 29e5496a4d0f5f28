"""`kubectl hitl approve` on a real API server: no other call takes the place of the one that was shown (G1, D4)."""

import pytest

from cli.homes import a_spec
from cluster.inboxes import Inbox
from control_plane.running import ControlPlane
from hitl.approvals.conditions import CancelReason
from hitl.approvals.requests import ApprovalRequest
from hitl.approvals.settle import cancel
from hitl.stores.kubernetes import KubernetesStore

ANA = "ana@example.com"
SHOWN, OTHER = "payout-6987hhy5x7", "payout-w82gjasne1"


@pytest.fixture
def inbox(control_plane: ControlPlane, namespace: str) -> Inbox:
    """A namespace where ana may decide Confirm."""
    return Inbox(control_plane, namespace).bind("hitl-reviewer", ANA)


async def withdrawn(store: KubernetesStore, request: ApprovalRequest) -> ApprovalRequest:
    """The agent does not want it any more."""
    return await store.write_status(request, cancel(request, request.created, CancelReason.WITHDRAWN, "withdrawn"))


def test_G1_a_call_that_took_the_place_of_the_one_shown_is_not_approved(inbox: Inbox) -> None:
    """G1: the agent withdraws the payout of 5 that was shown and asks for a million; `approve payout` records nothing.

    What it says instead names that call in full, and so it can be approved.
    """
    ana = inbox.person(ANA, ["support-leads"])
    inbox.request(SHOWN, a_spec(summary="stripe/payout amount=5", arguments='{"amount":5}'))
    assert "amount=5" in ana.hitl("show", "payout").out
    inbox.step(SHOWN, withdrawn)
    million = a_spec(summary="stripe/payout amount=1000000", arguments='{"amount":1000000}', digest="7a" * 32)
    inbox.request(OTHER, million)
    done = ana.hitl("approve", "payout")
    assert (done.code, done.out) == (2, "")
    assert f"  {OTHER}   stripe/payout amount=1000000" in done.err
    assert inbox.now_is(OTHER).status.decisions == ()
    assert ana.hitl("approve", SHOWN[:11]).code == 3
    (offered,) = [each for each in done.err.splitlines() if each.startswith("Next:  kubectl hitl approve ")]
    assert ana.hitl(*offered.split()[3:]).code == 5  # recorded; no operator counts it here
    assert [each.digest for each in inbox.now_is(OTHER).status.decisions] == ["7a" * 32]


def test_D4_a_call_that_joins_a_group_is_not_approved_with_what_was_shown(inbox: Inbox) -> None:
    """D4: `approve --group` without a terminal records nothing and names the members; only those are approved."""
    ana = inbox.person(ANA, ["support-leads"])
    names = [f"email-{number}fbkhhy5x7" for number in range(3)]
    specs = [
        a_spec(group_key="mails", arguments=f'{{"to":"{number}@example.com"}}', digest=f"{number}a" * 32)
        for number in range(3)
    ]
    for name, spec in zip(names[:2], specs[:2], strict=True):
        inbox.request(name, spec)
    done = ana.hitl("approve", names[0], "--group")
    assert (done.code, done.out) == (2, "")
    inbox.request(names[2], specs[2])
    (offered,) = [each for each in done.err.splitlines() if each.startswith("Next:  kubectl hitl approve ")]
    with inbox.operated():
        approved = ana.hitl(*offered.split()[3:])
    assert approved.code == 0, approved.err
    assert [len(inbox.now_is(name).status.decisions) for name in names] == [1, 1, 0]
