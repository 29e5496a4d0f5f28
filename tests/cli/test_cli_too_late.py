"""Who comes too late, or twice, hears who decided what and when, that nothing was recorded, and what to type."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from cli.homes import AHome, Clock, a_spec, decided, released
from hitl.approvals.requests import ApprovalRequest, DecisionKind, NoteType, RequestStatus
from hitl.approvals.settle import expire
from hitl.errors import Forbidden, HitlError, NoLongerPending, Refused
from hitl.policy.verdicts import EscalationStep, Requirement
from hitl.stores.sqlite import SQLiteStore
from hitl_cli.at_home import HomePlace, HomeVoter
from hitl_cli.deciding import Reviewer
from hitl_cli.home import Home
from hitl_cli.wishes import Wish

STEPS = (EscalationStep(600, ("managers",), "AgentPolicy/default/support"),)
DENY, APPROVE = Wish(DecisionKind.DENIED, "no"), Wish(DecisionKind.APPROVED)


@pytest.fixture
def inbox(home: AHome) -> AHome:
    """A home with two leads, in which no control plane runs."""
    (home.path / "home.json").write_text('{"clusterUID": "home-1"}')
    return home.people(ana=("support-leads",), bo=("support-leads",))


@pytest.mark.parametrize("words", [["approve", "refund-1"], ["escalate", "refund-1"], ["extend", "refund-1", "15m"]])
def test_what_was_denied_is_said_to_be_with_a_next_step(inbox: AHome, words: Sequence[str]) -> None:
    """Exit code 3: the decider, the words, that nothing was recorded, and where there is something to do."""
    inbox.request(
        "refund-1", a_spec(escalation=STEPS), then=decided(DecisionKind.DENIED, "bo", "customer was refunded")
    )
    done = inbox.hitl(*words, "--as", "ana")
    assert (done.code, done.out) == (3, "")
    assert re.sub(r"\d+s ago", "9s ago", done.err).splitlines() == [
        'error: refund-1 was denied by bo 9s ago: "customer was refunded".',
        "Nothing was recorded. What waits now: hitl list",
    ]
    assert inbox.now_is("refund-1").status.notes == ()


def test_what_was_released_is_said_to_be_past_undoing(inbox: AHome) -> None:
    """Exit code 3: a denial that came behind the release was not recorded, and `show` has what it did."""
    inbox.request("refund-1", then=released("bo"))
    done = inbox.hitl("deny", "refund-1", "--as", "ana", "--reason", "no")
    assert done.code == 3
    assert "was approved by bo " in done.err
    assert "Nothing was recorded. It cannot be undone here; what it did: hitl show refund-1" in done.err


async def lapsed(store: SQLiteStore, request: ApprovalRequest, clock: Clock) -> ApprovalRequest:
    """Approved by bo, and the agent did not come for it within five minutes."""
    request = await decided(DecisionKind.APPROVED, "bo")(store, request, clock)
    clock.now += timedelta(seconds=300)
    return await store.write_status(request, expire(request, clock.now))


def test_D2_of_an_approval_that_lapsed_the_right_setting_is_named(inbox: AHome) -> None:
    """D2: who approved it, that nothing ran, and not the policy's timeout, which had nothing to do with it."""
    inbox.request("refund-1", age=400, then=lapsed)
    done = inbox.hitl("approve", "refund-1", "--as", "ana")
    assert done.code == 3
    first, second = done.err.splitlines()
    assert first.startswith("error: refund-1 was approved by bo ")
    assert ", but the agent did not come for it: it expired at " in first
    assert first.endswith(" ago; nothing ran.")
    assert second == "The agent may ask again. If this is too short: releaseWindow in the operator's settings."
    row = inbox.hitl("history").lines[1].split()
    assert (row[1], row[3]) == ("Expired", "-")


def refused(inbox: AHome, read: ApprovalRequest, wish: Wish | None) -> HitlError:
    """What ana hears who read the request a while ago and decides now; without a wish: asks for more time."""

    async def tried() -> None:
        place = HomePlace(Home(inbox.path), None, None, "ana", inbox.clock)
        voter = HomeVoter(place, "ana")
        reviewer = Reviewer(place, voter, inbox.clock)
        async with SQLiteStore.open(inbox.path / "hitl.db", clock=inbox.clock) as store:
            if wish is not None:
                await reviewer.record(store, read, wish)
                return
            note = voter.note(read, NoteType.EXTEND, minutes=15)
            await reviewer.stored(store, read, store.note(read.namespace, read.name, note))

    with pytest.raises(HitlError) as caught:
        asyncio.run(tried())
    return caught.value


def test_who_voted_in_another_window_meanwhile_hears_what_they_said(inbox: AHome) -> None:
    """The store's no comes behind the program's own look: the same words, the same error as if it had come before."""
    read = inbox.request("refund-1", a_spec(requirements=(Requirement("reviewer", approvals=2),)))
    assert inbox.hitl("approve", "refund-1", "--as", "ana").code == 5
    for wish in (APPROVE, DENY):
        error = refused(inbox, read, wish)
        assert isinstance(error, Forbidden)
        assert re.match(r"you have approved refund-1 already, \w+ ago; a vote is never changed", str(error))
        assert str(error).endswith("nothing new was recorded\nWhere it stands: hitl show refund-1")
    assert len(inbox.now_is("refund-1").status.decisions) == 1


def test_whom_another_forestalled_hears_who_it_was(inbox: AHome) -> None:
    """Denied between the look and the vote: not the store's words but whose denial it was, and a next step."""
    read = inbox.request("refund-1", then=decided(DecisionKind.DENIED, "bo", "no such customer"))
    opened = replace(read, status=RequestStatus(expiration_time=read.status.expiration_time))
    error = refused(inbox, opened, APPROVE)
    assert isinstance(error, NoLongerPending)
    assert re.match(r'refund-1 was denied by bo \w+ ago: "no such customer"\.\nNothing was recorded\. What', str(error))


def test_a_note_from_two_windows_at_once_is_left_once(inbox: AHome) -> None:
    """The second bears the number of the first: nothing is recorded, and `show` has what is in force."""
    read = inbox.request("refund-1")
    assert inbox.hitl("extend", "refund-1", "15m", "--as", "ana").code == 5
    error = refused(inbox, read, None)
    assert isinstance(error, Refused)
    assert str(error).endswith("; nothing was recorded\nHow it stands now: hitl show refund-1")
    assert len(inbox.now_is("refund-1").status.notes) == 1
