"""`hitl breakglass` in a home: one person with the right lets a held call run, and every surface says so (D4)."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cli.homes import AHome, a_spec, cancelled, expired
from cli.test_cli_terminal import terminal
from hitl.approvals.conditions import OVERRIDDEN, outcome
from hitl.approvals.requests import ApprovalRequest, Decision, DecisionKind, Kind, Proof, State
from hitl.approvals.settle import consume
from hitl.policy.verdicts import Requirement
from hitl.stores.people import OVERRIDE, add_reviewer
from hitl.stores.sqlite import SQLiteStore

WORDS = "INC-88: the site is down"
TWO = (Requirement("lead", any_of=("support-leads",)), Requirement("manager", any_of=("managers",)))


@pytest.fixture(scope="module")
def broken(decided_home: AHome) -> Iterator[AHome]:
    """The home with a control plane, and ola on call, who is in no group."""
    add_reviewer(decided_home.path, "ola", (), (OVERRIDE,))
    return decided_home


def ran(home: AHome, name: str) -> ApprovalRequest:
    """The request after its sidecar came for it."""

    async def fetched() -> ApprovalRequest:
        async with SQLiteStore.open(home.path / "hitl.db", clock=home.clock) as store:
            request = await store.get("default", name)
            status = consume(request, home.clock(), digest=request.spec.digest, by="pod/1").status
            assert status is not None
            return await store.write_status(request, status)

    return asyncio.run(fetched())


def test_D4_one_person_lets_run_what_two_should_have_approved(broken: AHome) -> None:
    """First line on stdout, the rest on stderr; signed, verified, Approved with reason Overridden, and alone."""
    broken.request("glass-1", a_spec(requirements=TWO))
    done = broken.hitl("breakglass", "glass-1", "--reason", WORDS, "--as", "ola", "--yes")
    assert (done.code, done.out) == (0, "approvalrequest.hitl.dev/glass-1 overridden\n"), done.err
    assert "refund 150.00 EUR to customer C-20817 · digest 5f1c2ab9 · approved, not yet picked up by" in done.err
    request = broken.now_is("glass-1")
    approved = outcome(request.status.conditions, State.APPROVED)
    assert approved is not None
    assert (approved.reason, approved.message) == (OVERRIDDEN, f'overridden by ola (break-glass): "{WORDS}"')
    assert [(each.reviewer, each.second_factor, each.refused) for each in request.status.verified] == [("ola", "", "")]


def test_D4_every_surface_says_that_it_was_overridden(broken: AHome) -> None:
    """Show and history say by whom and why, as JSON too, and a late vote is told so."""
    broken.request("glass-2", a_spec(requirements=TWO))
    assert broken.hitl("breakglass", "glass-2", "--reason", WORDS, "--as", "ola", "--yes").code == 0
    ran(broken, "glass-2")
    page = broken.hitl("show", "glass-2").out
    assert "glass-2 was overridden by ola (break-glass)" in page
    assert f'"{WORDS}" and released' in " ".join(page.split())
    assert "WHO DECIDES" in page
    who = page[page.index("WHO DECIDES") :]
    assert who.splitlines()[0].endswith("overridden")
    assert "overridden by ola (break-glass)" in who
    assert "of group managers" not in who
    (row,) = [each for each in broken.hitl("history", "-o", "wide").lines if each.startswith("glass-2")]
    assert " ola " in row
    assert "break-glass: refund 150.00 EUR" in row
    whole = json.loads(broken.hitl("show", "glass-2", "-o", "json").out)
    assert whole["status"]["decisions"][0]["decision"] == "Overridden"
    late = broken.hitl("approve", "glass-2", "--as", "ana")
    assert late.code == 3
    assert "was overridden by ola (break-glass)" in late.err


def test_D4_until_it_is_counted_the_list_and_the_page_say_so(home: AHome) -> None:
    """While no control plane looks, VOTES says that somebody overrode, and the page that it is not counted yet."""
    home.people(ana=("support-leads",))
    add_reviewer(home.path, "ola", (), (OVERRIDE,))
    (home.path / "home.json").write_text('{"clusterUID": "home-1"}')
    home.request("glass-3", a_spec(requirements=TWO))
    done = home.hitl("breakglass", "glass-3", "--reason", WORDS, "--as", "ola", "--yes")
    assert (done.code, done.out) == (5, "approvalrequest.hitl.dev/glass-3 override recorded, not yet counted\n")
    (row,) = [each for each in home.hitl("list").lines if each.startswith("glass-3")]
    assert "   override   " in row
    assert f'not counted yet: "{WORDS}"' in " ".join(home.hitl("show", "glass-3").out.split())


def test_D4_who_may_not_is_told_who_may(broken: AHome) -> None:
    """A reviewer without the right is refused before anything is recorded; exit code 4."""
    broken.request("glass-4", a_spec(requirements=TWO))
    done = broken.hitl("breakglass", "glass-4", "--reason", WORDS, "--as", "ana", "--yes")
    assert (done.code, done.out) == (4, "")
    assert "you may not override glass-4: reviewers.yaml does not say may: [override] for ana" in done.err
    assert "Who may: ola" in done.err
    assert broken.now_is("glass-4").status.decisions == ()


def test_D4_a_signed_override_of_somebody_without_the_right_never_counts(broken: AHome) -> None:
    """Whoever signs one past the command line is refused by the control plane, which says why; others may approve."""
    from hitl_cli.at_home import HomePlace, HomeVoter
    from hitl_cli.home import Home
    from hitl_cli.wishes import Wish

    request = broken.request("glass-5")
    place = HomePlace(Home(broken.path), None, None, "bo", broken.clock)
    forged = HomeVoter(place, "bo").decision(request, Wish(DecisionKind.OVERRIDDEN, WORDS))
    broken.decide(request, forged)
    done = broken.hitl("approve", "glass-5", "--as", "ana")
    assert done.code == 0, done.err
    approved = outcome(broken.now_is("glass-5").status.conditions, State.APPROVED)
    assert approved is not None
    assert approved.message == "approved by ana"
    assert "not counted: bo, bo may not override: reviewers.yaml has no may: [override] for them" in " ".join(
        broken.hitl("show", "glass-5").out.split()
    )


@pytest.mark.parametrize("reason", [[], ["--reason", ""], ["--reason", "  "]])
def test_D4_it_always_wants_a_reason(broken: AHome, reason: list[str]) -> None:
    """Without a reason it is wrong usage, whatever the policy says of reasons."""
    done = broken.hitl("breakglass", "nothing", "--as", "ola", "--yes", *reason)
    assert done.code == 2
    assert "break-glass wants a reason" in done.err


def test_D4_nobody_overrides_by_the_beginning_of_a_name_or_unasked(broken: AHome) -> None:
    """The agent chooses what a beginning means; and where nobody can be asked back, --yes has to be said."""
    broken.request("glass-refund-0123456789", a_spec())
    short = broken.hitl("breakglass", "glass-re", "--reason", WORDS, "--as", "ola", "--yes")
    assert (short.code, short.out) == (2, "")
    assert "too short to let a call run by; nothing was recorded" in short.err
    unasked = broken.hitl("breakglass", "glass-refund-0123456789", "--reason", WORDS, "--as", "ola")
    assert unasked.code == 2
    assert "add --yes" in unasked.err
    assert broken.now_is("glass-refund-0123456789").status.decisions == ()


def test_D4_the_request_s_own_people_and_ended_requests_are_refused(broken: AHome) -> None:
    """For whom it was asked: exit code 4; what has ended or was voted on by the same person: 3 and 4."""
    broken.request("glass-6", a_spec(on_behalf_of="ola"))
    done = broken.hitl("breakglass", "glass-6", "--reason", WORDS, "--as", "ola", "--yes")
    assert (done.code, "another person must decide glass-6" in done.err) == (4, True)
    broken.request("glass-7", then=cancelled)
    done = broken.hitl("breakglass", "glass-7", "--reason", WORDS, "--as", "ola", "--yes")
    assert (done.code, "was cancelled" in done.err) == (3, True)
    broken.request("glass-8", age=2000, then=expired)
    assert broken.hitl("breakglass", "glass-8", "--reason", WORDS, "--as", "ola", "--yes").code == 3
    add_reviewer(broken.path, "pia", ("managers",), (OVERRIDE,))
    broken.request("glass-9", a_spec(requirements=TWO))
    assert broken.hitl("approve", "glass-9", "--as", "pia").code == 5
    done = broken.hitl("breakglass", "glass-9", "--reason", WORDS, "--as", "pia", "--yes")
    assert (done.code, "a vote is never changed" in done.err) == (4, True)


def test_D4_only_a_tool_call_is_overridden(broken: AHome) -> None:
    """A suggestion is done by a person: there is nothing that could be let run."""
    broken.request("glass-10", a_spec(kind=Kind.SUGGESTION))
    done = broken.hitl("breakglass", "glass-10", "--reason", WORDS, "--as", "ola", "--yes")
    assert (done.code, "nothing can be overridden" in done.err) == (1, True)


def test_D4_at_a_terminal_it_is_shown_and_its_name_said_back(broken: AHome) -> None:
    """What would run, in whose place, and what it means; anything but the whole name records nothing."""
    broken.request("glass-11", a_spec(requirements=TWO))
    words = ("breakglass", "glass-11", "--reason", WORDS, "--as", "ola")
    with terminal(broken, *words) as first:
        shown = first.until("Type its name to let it run (glass-11): ")
        first.type("y\n")
        assert first.end()[0] == 1
    assert "WHAT WILL RUN" in shown
    assert "BREAK-GLASS" in shown
    assert "in the place of one of support-leads and one of managers" in " ".join(shown.split())
    assert "a home knows no second factor" in shown
    assert broken.now_is("glass-11").status.decisions == ()
    with terminal(broken, *words) as second:
        second.until("Type its name to let it run (glass-11): ")
        second.type("glass-11\n")
        code, _ = second.end()
    assert code in (0, 5)
    assert broken.now_is("glass-11").status.decisions[0].decision is DecisionKind.OVERRIDDEN


def test_activity_tells_of_an_override(home: AHome) -> None:
    """What one person let run stands among what ran without asking, with who and why."""
    home.people(ana=("support-leads",))
    home.request("x-1")
    home.audit(
        {
            "kind": "decision",
            "decision": "Approved",
            "tool": "stripe/create_refund",
            "reviewer": "ola",
            "human_decision": {"approved": True, "response_time_ms": 5, "override": True},
            "reviews": [{"reviewer": "ola", "approved": True, "reason": WORDS, "override": True}],
        },
        {
            "kind": "decision",
            "decision": "Approved",
            "tool": "stripe/create_refund",
            "reviewer": "ana",
            "human_decision": {"approved": True, "response_time_ms": 5},
        },
    )
    (row,) = home.hitl("activity", columns=200).lines
    assert "BreakGlass" in row
    assert "by ola: stripe/create_refund (" in row
    told = json.loads(home.hitl("activity", "-o", "json").out)
    assert (told["decision"], told["reviewer"]) == ("BreakGlass", "ola")
    assert told["summary"] == f'by ola: stripe/create_refund ("{WORDS}")'


def test_reviewers_are_given_the_right_by_name(home: AHome) -> None:
    """`dev reviewer add --may override` writes it, the list shows it, and another right is wrong usage."""
    assert home.hitl("dev", "reviewer", "add", "ola", "--may", "override").code == 0
    assert "may: [override]" in (home.path / "reviewers.yaml").read_text()
    (ola,) = json.loads(home.hitl("dev", "reviewer", "list", "-o", "json").out)
    assert ola["may"] == ["override"]
    assert home.hitl("dev", "reviewer", "add", "bo", "--may", "everything").code == 2


def test_D4_an_unsigned_override_in_the_store_is_refused(home: AHome) -> None:
    """A row that some process wrote without any proof is not even taken."""
    home.people(ana=("support-leads",))
    request = home.request("glass-12")
    bare = Decision("ola", DecisionKind.OVERRIDDEN, request.spec.digest, request.uid, reason=WORDS)
    for decision in (bare, replace(bare, proof=Proof("ed25519", time=home.clock()))):
        with pytest.raises(Exception, match="needs a second factor"):
            home.decide(request, decision)
