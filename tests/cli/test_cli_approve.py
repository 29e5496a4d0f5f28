"""`hitl approve` and `hitl deny` against UX 4 and 5: the real program, the real store and the real control plane."""

import re
import time
from dataclasses import replace
from datetime import UTC, datetime

import click
import pytest

from cli.homes import AHome, a_spec, cancelled, decided, expired, released
from hitl.approvals.requests import ApprovalRequest, Category, Decision, DecisionKind, RequestStatus, State
from hitl.errors import InvalidDecision
from hitl.policy.verdicts import Requirement
from hitl_cli.edit import patch_of

LONGEST_WAIT = 60.0  # seconds until the control plane has looked at a vote

TWO = (Requirement("lead", any_of=("support-leads",)), Requirement("manager", any_of=("managers",)))


def test_an_approval_is_recorded_signed_and_told(decided_home: AHome) -> None:
    """First line on stdout, the rest on stderr; the stored vote is signed and verified, the request Approved."""
    decided_home.request("plain-1")
    done = decided_home.hitl("approve", "plain-1", "--as", "ana")
    assert (done.code, done.out) == (0, "approvalrequest.hitl.dev/plain-1 approved\n")
    assert "refund 150.00 EUR to customer C-20817 · digest 5f1c2ab9 · approved, not yet picked up by" in done.err
    request = decided_home.now_is("plain-1")
    assert request.status.state is State.APPROVED
    assert request.status.decisions[0].proof is not None
    assert [(each.reviewer, each.refused) for each in request.status.verified] == [("ana", "")]


def test_D3_an_edit_shows_what_it_changes(decided_home: AHome) -> None:
    """D3: the patch is recorded with the approval, and the reviewer sees the difference."""
    decided_home.request("edit-1")
    done = decided_home.hitl("approve", "edit-1", "--as", "ana", "--edit", "amount=12000")
    assert (done.code, done.out) == (0, "approvalrequest.hitl.dev/edit-1 approved with changes\n")
    assert done.err.splitlines()[:2] == ["  - amount   15000", "  + amount   12000"]
    assert decided_home.now_is("edit-1").status.decisions[0].arguments_patch == {"amount": 12000}


@pytest.mark.parametrize(
    ("typed", "patch"),
    [
        ("currency=usd", {"currency": "usd"}),
        ('currency="usd"', {"currency": "usd"}),
        ("customer=0042", {"customer": "0042"}),
        ("customer=null", {"customer": None}),
        ("amount=1", {"amount": 1}),
        ('amount={"value": 1}', {"amount": {"value": 1}}),
    ],
)
def test_an_edited_text_stays_text(decided_home: AHome, typed: str, patch: object) -> None:
    """Bare words are text where the argument was text, JSON everywhere else, and null removes."""
    name = f"value-{abs(hash(typed))}"
    decided_home.request(name)
    assert decided_home.hitl("approve", name, "--as", "ana", "--edit", typed).code == 0
    assert decided_home.now_is(name).status.decisions[0].arguments_patch == patch


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        ("amount", 2, '"amount" is not name=value'),
        ("amount=12,000", 2, "amount: 12,000 is no JSON value"),
        ("amount=1 --edit amount=2", 2, '"amount" is given twice'),
        ("secret=1", 2, "there is no argument secret; it has: amount, currency, customer"),
        ("/amount/a=1", 2, "/amount/a: /amount has no names to point at; edit it as a whole"),
        ('amount="open', 2, 'text that begins with " ends with "'),
        (f"amount={'x' * 300}", 2, f"amount: {'x' * 100}… is no JSON value"),
        ("x" * 300, 2, f'"{"x" * 100}…" is not name=value'),
        ("amount=15000", 1, "the edit changes nothing"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_before_the_vote(
    decided_home: AHome, typed: str, code: int, words: str
) -> None:
    """A wrong edit costs no vote: it names what is wrong, and the request is as before."""
    name = f"wrong-{abs(hash(typed))}"
    decided_home.request(name)
    done = decided_home.hitl("approve", name, "--as", "ana", "--edit", *typed.split(" "))
    assert done.code == code
    assert words in done.err
    assert decided_home.now_is(name).status.decisions == ()


def test_two_people_are_needed_and_said(decided_home: AHome) -> None:
    """MultiFactor: the first approval is recorded and exits 5 with what is missing; the second decides."""
    decided_home.request("two-1", a_spec(tier="multi-factor", requirements=TWO))
    first = decided_home.hitl("approve", "two-1", "--as", "ana", "--reason", "CHG-4411")
    assert first.code == 5
    assert first.out == "approvalrequest.hitl.dev/two-1 approval recorded, not yet decisive (1 of 2)\n"
    assert first.err.splitlines()[0].startswith("  lead      ana approved ")
    assert first.err.splitlines()[0].endswith('("CHG-4411")')
    assert first.err.splitlines()[1] == "  manager   1 of group managers"
    second = decided_home.hitl("approve", "two-1", "--as", "bo", "--reason", "agreed")
    assert (second.code, second.out) == (0, "approvalrequest.hitl.dev/two-1 approved\n")


def test_approving_twice_is_refused_like_any_change_of_a_vote(decided_home: AHome) -> None:
    """A second approval records nothing, its reason neither, and says so; exit code 4."""
    decided_home.request("twice-1", a_spec(tier="multi-factor", requirements=TWO))
    first = decided_home.hitl("approve", "twice-1", "--as", "ana", "--reason", "yes")
    assert (first.code, first.out.split(" ", 1)[1]) == (5, "approval recorded, not yet decisive (1 of 2)\n")
    done = decided_home.hitl("approve", "twice-1", "--as", "ana", "--reason", "better words")
    assert (done.code, done.out) == (4, "")
    assert re.sub(r"\d+\w+ ago", "3s ago", done.err) == (
        "error: you have approved twice-1 already, 3s ago; a vote is never changed, nor is its reason; "
        "nothing new was recorded\nWhere it stands: hitl show twice-1\n"
    )
    assert [each.reason for each in decided_home.now_is("twice-1").status.decisions] == ["yes"]


def test_a_vote_is_never_changed(decided_home: AHome) -> None:
    """Denying after one's own approval is refused; the vote that stands is named."""
    decided_home.request("change-1", a_spec(tier="multi-factor", requirements=TWO))
    decided_home.hitl("approve", "change-1", "--as", "ana", "--reason", "yes")
    done = decided_home.hitl("deny", "change-1", "--as", "ana", "--reason", "no")
    assert done.code == 4
    assert re.search(r"error: you have approved change-1 already, \d+\w+ ago; a vote is never changed", done.err)


def test_an_edit_of_a_call_that_needs_two_makes_way_for_a_new_one(decided_home: AHome) -> None:
    """D3: with several requirements the edited request ends as superseded; nothing is approved, exit code 5."""
    decided_home.request("super-1", a_spec(tier="multi-factor", requirements=TWO))
    done = decided_home.hitl("approve", "super-1", "--as", "ana", "--reason", "less", "--edit", "amount=1")
    assert done.code == 5
    assert done.out.endswith("super-1 made way for the changed call, which another person must approve\n")
    assert decided_home.now_is("super-1").status.state is State.CANCELLED


def test_a_denial_is_told_with_what_the_agent_reads(decided_home: AHome) -> None:
    """First line on stdout; the reason as the agent will read it on stderr; the category is stored."""
    decided_home.request("no-1")
    done = decided_home.hitl(
        "deny", "no-1", "--as", "ana", "--category", "missing-context", "--reason", "was refunded yesterday, see R-5512"
    )
    assert (done.code, done.out) == (0, "approvalrequest.hitl.dev/no-1 denied\n")
    assert done.err == '  the agent is told: "was refunded yesterday, see R-5512"\n'
    assert decided_home.now_is("no-1").status.decisions[0].category is Category.MISSING_CONTEXT


def test_I9_one_of_two_denials_is_recorded_not_decisive(decided_home: AHome) -> None:
    """I9: where two denials are needed, the first is not called the end."""
    decided_home.request("half-1", a_spec(denials_to_end=2))
    done = decided_home.hitl("deny", "half-1", "--as", "ana", "--reason", "no")
    assert (done.code, done.out.split(" ", 1)[1]) == (5, "denial recorded, not yet decisive (1 of 2)\n")


def test_G1_a_reason_is_stored_as_one_plain_line(decided_home: AHome) -> None:
    """G1: line breaks and control characters of a reason are written out before it is signed and stored."""
    decided_home.request("plain-reason-1")
    decided_home.hitl("deny", "plain-reason-1", "--as", "ana", "--reason", "a\nb\x1b[2J")
    request = decided_home.now_is("plain-reason-1")
    assert request.status.decisions[0].reason == "a⏎b\\u001b[2J"
    assert request.status.state is State.DENIED


def test_a_missing_reason_is_asked_for_off_a_terminal_by_name(decided_home: AHome) -> None:
    """Without a terminal nobody can be asked: exit code 2, and nothing is recorded."""
    decided_home.request("why-1")
    done = decided_home.process("deny", "why-1", "--as", "ana")
    assert done.code == 2
    assert 'error: why-1 wants a reason, the agent reads it: --reason "…"; nothing was recorded' in done.err
    assert decided_home.now_is("why-1").status.decisions == ()


@pytest.fixture
def mails(decided_home: AHome, request: pytest.FixtureRequest) -> list[str]:
    """A group of three similar mails; the third has an attachment that the others do not have."""
    stem = f"mail-{abs(hash(request.node.name))}"
    shapes = ['{"to":"a"}', '{"to":"b"}', '{"to":"c","attachment":"x"}']
    for number, arguments in enumerate(shapes):
        decided_home.request(f"{stem}-{number}", a_spec(group_key=stem, arguments=arguments, patchable=("/to",)))
    return [f"{stem}-{number}" for number in range(3)]


def test_D4_a_group_is_approved_except_what_is_new(decided_home: AHome, mails: list[str]) -> None:
    """D4: one line each; an item with a new argument is never taken along; the worst exit code wins."""
    done = decided_home.hitl("approve", mails[0], "--item", ",".join(mails), "--as", "ana")
    assert done.code == 1
    assert done.lines == [
        f"approvalrequest.hitl.dev/{mails[0]} approved",
        f"approvalrequest.hitl.dev/{mails[1]} approved",
        f'approvalrequest.hitl.dev/{mails[2]} skipped: argument "attachment" is new, decide it alone',
    ]
    assert done.err == "2 approved, 1 skipped\n"
    assert decided_home.now_is(mails[2]).status.decisions == ()


def test_D4_items_pick_from_the_group(decided_home: AHome, mails: list[str]) -> None:
    """D4: --item approves only what was named."""
    assert decided_home.hitl("approve", mails[0], "--item", mails[1], "--as", "ana").code == 0
    assert [bool(decided_home.now_is(name).status.decisions) for name in mails] == [False, True, False]


def test_an_item_of_another_group_is_refused(decided_home: AHome, mails: list[str]) -> None:
    """--item with a stranger is a mistake on the command line, before anything is recorded."""
    decided_home.request("stranger-1")
    done = decided_home.hitl("approve", mails[0], "--item", f"{mails[1]},stranger-1", "--as", "ana")
    assert done.code == 2
    assert "The group has: " in done.err
    assert decided_home.now_is(mails[1]).status.decisions == ()


def test_D4_multi_factor_is_decided_one_by_one(decided_home: AHome) -> None:
    """D4: of several names a MultiFactor request is left alone."""
    decided_home.request("batch-1")
    decided_home.request("batch-2", a_spec(tier="multi-factor", requirements=TWO))
    done = decided_home.hitl("approve", "batch-1", "batch-2", "--as", "ana", "--reason", "both")
    assert done.code == 1
    assert done.lines[1] == "approvalrequest.hitl.dev/batch-2 skipped: MultiFactor is decided one by one"
    assert decided_home.now_is("batch-2").status.decisions == ()


def test_I9_one_expired_among_several_is_called_expired(decided_home: AHome) -> None:
    """I9: the line of the expired one says so, the others are approved, exit code 3."""
    decided_home.request("mix-1")
    decided_home.request("mix-2", a_spec(timeout=30), age=60)
    done = decided_home.hitl("approve", "mix-1", "mix-2", "--as", "ana")
    assert done.code == 3
    assert done.lines[1].startswith("approvalrequest.hitl.dev/mix-2 expired ")
    assert done.lines[1].endswith(" ago, not approved")
    assert done.err == "1 approved, 1 expired\n"


@pytest.mark.parametrize(
    ("step", "words", "unlike"),
    [
        (expired, "expired at ", "denied"),
        (decided(DecisionKind.DENIED, "cleo", "customer already refunded"), "was denied by cleo ", "expired"),
        (cancelled, "was cancelled ", "denied"),
        (decided(DecisionKind.APPROVED, "cleo"), "was approved by cleo ", "denied"),
        (released("cleo"), "was approved by cleo ", "denied"),
    ],
    ids=["expired", "denied", "cancelled", "approved", "released"],
)
def test_I9_what_has_ended_is_told_by_how_it_ended(
    home: AHome, step: object, words: str, unlike: str, request: pytest.FixtureRequest
) -> None:
    """I9: each ending in its own words, never in another's; exit code 3, and a next step."""
    name = f"over-{request.node.callspec.id}"
    home.people(ana=("support-leads",), cleo=("support-leads",)).request(name, then=step)
    done = home.hitl("approve", name, "--as", "ana")
    assert done.code == 3
    assert done.out == ""
    assert done.err.startswith(f"error: {name} {words}")
    assert unlike not in done.err


def test_I9_an_expiry_names_the_setting_that_would_help(home: AHome) -> None:
    """I9: nothing ran, the agent may ask again, and which timeout of which policy it was."""
    home.people(ana=("support-leads",), cleo=("support-leads",)).request("slow-1", then=expired)
    lines = home.hitl("approve", "slow-1", "--as", "ana").err.splitlines()
    assert lines[0].endswith("; nothing ran.")
    assert lines[1] == (
        "The agent may ask again. If this is too short: spec.approval.timeout is 15m in policy support."
    )


def test_a_denial_before_is_quoted(home: AHome) -> None:
    """Who said no, when and why."""
    home.people(ana=("support-leads",), cleo=("support-leads",)).request(
        "said-1", then=decided(DecisionKind.DENIED, "cleo", "customer already refunded")
    )
    err = home.hitl("approve", "said-1", "--as", "ana").err
    assert ' ago: "customer already refunded".' in err


def test_I4_whom_the_call_is_for_may_deny_but_not_approve(decided_home: AHome) -> None:
    """I4: the person an agent acts for needs somebody else to approve, exit code 4, and may still say no."""
    decided_home.request("self-1", a_spec(on_behalf_of="Ana"))
    done = decided_home.hitl("approve", "self-1", "--as", "ana")
    assert done.code == 4
    assert done.err == ("error: you asked for this call (on behalf of Ana); another person must decide self-1.\n")
    assert decided_home.now_is("self-1").status.decisions == ()
    assert decided_home.hitl("deny", "self-1", "--as", "ana", "--reason", "not mine").code == 0


def test_who_is_in_no_needed_group_keeps_the_vote(decided_home: AHome) -> None:
    """Exit code 4 with the group that is needed; no useless vote is stored."""
    decided_home.request("group-1")
    done = decided_home.hitl("approve", "group-1", "--as", "bo")
    assert done.code == 4
    assert done.err.splitlines() == [
        "error: you may not approve group-1: not in support-leads.",
        "Who can: hitl show group-1",
    ]
    assert decided_home.now_is("group-1").status.decisions == ()


def test_an_unknown_reviewer_is_forbidden(decided_home: AHome) -> None:
    """Exit code 4: who is known, and how to add a person."""
    decided_home.request("who-1")
    done = decided_home.hitl("approve", "who-1", "--as", "kim")
    assert done.code == 4
    assert "error: kim may not decide here: not in " in done.err
    assert "(known: ana, cleo, bo)" in done.err
    assert "Add a person: hitl dev reviewer add kim --group GROUP" in done.err


def test_with_several_keys_the_reviewer_must_be_named(decided_home: AHome) -> None:
    """Nobody is guessed where several keys lie in the home; HITL_AS names one as well as --as."""
    decided_home.request("anon-1")
    done = decided_home.hitl("approve", "anon-1")
    assert done.code == 4
    assert "error: who decides? Say --as NAME or set HITL_AS; keys are here for ana, bo, cleo" in done.err
    assert decided_home.hitl("approve", "anon-1", HITL_AS="ana").code == 0


def test_an_ambiguous_prefix_records_nothing(decided_home: AHome) -> None:
    """Exit code 2, the candidates listed; neither is approved."""
    decided_home.request("amb-ka")
    decided_home.request("amb-kb")
    done = decided_home.hitl("approve", "amb-k", "--as", "ana")
    assert done.code == 2
    assert "amb-ka" in done.err
    assert "amb-kb" in done.err
    assert decided_home.now_is("amb-ka").status.decisions == ()
    assert decided_home.hitl("approve", "amb-ka", "amb-kb", "--as", "ana").code == 0


def test_one_wrong_name_among_several_records_nothing(decided_home: AHome) -> None:
    """All names are settled first: exit code 1, and the right one is left alone."""
    decided_home.request("right-1")
    done = decided_home.hitl("approve", "right-1", "no-such-request", "--as", "ana")
    assert done.code == 1
    assert "Nothing was recorded, for right-1 neither: all names are settled first." in done.err
    assert decided_home.now_is("right-1").status.decisions == ()


@pytest.mark.parametrize("output", ["json", "name"])
def test_for_programs_the_answer_is_data_alone(decided_home: AHome, output: str) -> None:
    """-o json prints the resource as it is now, -o name its name; stderr stays silent."""
    name = f"prog-{output}"
    decided_home.request(name)
    done = decided_home.hitl("approve", name, "--as", "ana", "-o", output)
    assert done.err == ""
    if output == "name":
        assert done.out == f"approvalrequest.hitl.dev/{name}\n"
    else:
        assert done.document["status"]["state"] == "Approved"


def test_without_a_control_plane_a_vote_is_recorded_and_not_called_counted(home: AHome) -> None:
    """Nobody verifies: exit code 5, and the sentence says that it counts later."""
    home.people(ana=("support-leads",))
    (home.path / "home.json").write_text('{"clusterUID": "7b8f3d6e-0000-4000-8000-000000000000"}')
    home.request("alone-1")
    done = home.process("approve", "alone-1", "--as", "ana")
    assert done.code == 5
    assert done.out == "approvalrequest.hitl.dev/alone-1 approval recorded, not yet counted\n"
    assert "no control plane looked at it within 2s" in done.err


def test_a_home_whose_control_plane_never_ran_takes_no_vote(home: AHome) -> None:
    """Without the home's identity nothing can be signed: exit code 1 and what to start."""
    home.people(ana=("support-leads",))
    home.request("never-1")
    done = home.hitl("approve", "never-1", "--as", "ana")
    assert done.code == 1
    assert "Start one: hitl dev -f DIR" in done.err


def test_I7_the_next_call_is_compared_with_what_was_approved(decided_home: AHome) -> None:
    """I7: an approval that changed the call approved the changed one; that is what the next page compares with."""
    agent = {"workload": "deploy/edited"}
    decided_home.request("edited-1", a_spec(**agent), age=90)
    assert decided_home.hitl("approve", "edited-1", "--as", "ana", "--edit", "amount=5").code == 0
    decided_home.request("edited-2", a_spec(**agent), age=0)
    lines = decided_home.hitl("show", "edited-2", "--diff").lines
    assert [each.split() for each in lines[1:]] == [["-", "amount", "5"], ["+", "amount", "15000"]]


def test_G1_a_summary_with_line_breaks_is_one_line_of_the_answer(decided_home: AHome) -> None:
    """G1: what was approved is told in one folded line; no part of it poses as a line of ours."""
    forged = "x\nMultiFactor · Approved\n\nWHAT WILL RUN\n  nothing"
    decided_home.request("forged-1", a_spec(summary=forged))
    done = decided_home.hitl("approve", "forged-1", "--as", "ana")
    assert done.code == 0
    assert done.err.startswith("  x⏎MultiFactor · Approved⏎⏎WHAT WILL RUN⏎  nothing · digest 5f1c2ab9")


def test_a_key_that_does_not_fit_spends_no_vote(home: AHome) -> None:
    """The key file and reviewers.yaml are named before the one vote is spent; nothing is stored."""
    home.people(ana=("support-leads",), eve=("support-leads",))
    (home.path / "home.json").write_text('{"clusterUID": "7b8f3d6e-0000-4000-8000-000000000000"}')
    (home.path / "people" / "ana.key").write_bytes((home.path / "people" / "eve.key").read_bytes())
    home.request("misfit-1")
    done = home.hitl("approve", "misfit-1", "--as", "ana")
    assert done.code == 4
    assert f"the key {home.path}/people/ana.key does not match the public key that" in done.err
    assert f"{home.path}/reviewers.yaml has for ana" in done.err
    assert home.now_is("misfit-1").status.decisions == ()


def test_a_vote_that_does_not_count_is_called_so_and_its_key_is_named(decided_home: AHome) -> None:
    """A vote that the control plane refused: list says that it does not count and why, approve names the misfit."""
    request = decided_home.request("refused-1", a_spec(timeout=120))
    vote = Decision("cleo", DecisionKind.APPROVED, request.spec.digest, request.uid, groups=("support-leads",))
    decided_home.decide(request, vote)
    give_up = time.monotonic() + LONGEST_WAIT
    while not decided_home.now_is("refused-1").status.verified:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    key = decided_home.path / "people" / "cleo.key"
    hers = key.read_bytes()
    key.write_bytes((decided_home.path / "people" / "ana.key").read_bytes())
    try:
        done = decided_home.hitl("approve", "refused-1", "--as", "cleo")
    finally:
        key.write_bytes(hers)
    assert done.code == 4
    assert "your vote on refused-1 does not count: nothing here is signed by cleo" in done.err
    assert f"the key {key} does not match the public key that" in done.err
    shown = decided_home.hitl("show", "refused-1", "--as", "cleo").out
    assert "your vote does not count: nothing here is signed by cleo" in " ".join(shown.split())


def test_list_does_not_say_that_a_vote_which_does_not_count_was_given(decided_home: AHome) -> None:
    """Where the hub refused the vote, the footer says so, and why."""
    request = decided_home.request("refused-2", a_spec(timeout=120), age=1, namespace="apart")
    vote = Decision("cleo", DecisionKind.APPROVED, request.spec.digest, request.uid, groups=("support-leads",))
    decided_home.decide(request, vote)
    assert decided_home.hitl("approve", "refused-2", "--as", "cleo").code == 4
    words = "refused-2: your vote does not count: nothing here is signed by cleo"
    deadline = time.monotonic() + LONGEST_WAIT  # until the hub has judged the vote, and written it down
    while words not in (said := decided_home.hitl("list", "--as", "cleo", "-n", "apart").err):
        assert time.monotonic() < deadline, said


def test_D3_a_redacted_argument_cannot_be_edited(decided_home: AHome) -> None:
    """D3: what was not shown whole is refused with what can be edited."""
    decided_home.request("redacted-1", a_spec(patchable=("/amount",)))
    done = decided_home.hitl("approve", "redacted-1", "--as", "ana", "--edit", "customer=C-1")
    assert done.code == 1
    assert "the edit touches /customer, which was not shown whole and unredacted" in done.err


NESTED = '{"cfg":{"a":{"b":1,"c":"x"}},"list":[1]}'


@pytest.mark.parametrize(
    ("typed", "patch"),
    [
        (["/cfg/a/b=5"], {"cfg": {"a": {"b": 5}}}),
        (["/cfg/a/b=5", "/cfg/a/c=007"], {"cfg": {"a": {"b": 5, "c": "007"}}}),
        (["/cfg/a/b=null"], {"cfg": {"a": {"b": None}}}),
    ],
)
def test_a_pointer_edits_what_stands_inside_an_argument(typed: list[str], patch: object) -> None:
    """A JSON pointer becomes the nested merge patch."""
    assert patch_of(nested(), typed) == patch


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["/cfg/a/nope=5"], "there is no argument nope in /cfg/a; it has: b, c"),
        (["/list/0=5"], "/list/0: /list has no names to point at"),
        (["/cfg/a/b=5", "/cfg/a/b=6"], '"/cfg/a/b" is given twice'),
        (['cfg={"a":1}', "/cfg/a/b=6"], '"/cfg/a/b" lies in what another --edit replaces'),
    ],
)
def test_a_pointer_to_nothing_is_refused(typed: list[str], words: str) -> None:
    """It names what is not there and what is; edits that contradict each other are no edit."""
    with pytest.raises(click.BadParameter) as refused:
        patch_of(nested(), typed)
    assert words in refused.value.message


@pytest.mark.parametrize(
    "number",
    ["9007199254740993", "-9007199254740993", "9223372036854775808", "10000000000000000000", "0.10000000000000000001"],
)
def test_I2_a_number_that_somebody_would_round_is_refused(number: str) -> None:
    """I2: beyond 2^53 programs read other numbers than were typed: it says so, and how to write it as text."""
    with pytest.raises(click.BadParameter) as refused:
        patch_of(nested(), [f"/cfg/a/b={number}"])
    assert f"{number} is a number that programs on the way would round" in refused.value.message
    assert f"""--edit '/cfg/a/b="{number}"'""" in refused.value.message
    assert patch_of(nested(), [f'/cfg/a/b="{number}"']) == {"cfg": {"a": {"b": number}}}


def nested() -> ApprovalRequest:
    """A request with an object in an argument."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    spec = a_spec(arguments=NESTED, patchable=("/cfg", "/list"))
    return ApprovalRequest("default", "nested-1", "u", "1", now, spec, RequestStatus(expiration_time=now))


def test_G1_an_argument_s_name_cannot_start_a_line_of_an_error() -> None:
    """G1: names that an agent chose are listed with ⏎ where a line would break."""
    request = nested()
    spec = replace(request.spec, patchable=("/list", "/x\nApproved"))
    with pytest.raises(InvalidDecision) as refused:
        patch_of(replace(request, spec=spec), ["cfg=1"])
    assert "/x⏎Approved" in str(refused.value)
