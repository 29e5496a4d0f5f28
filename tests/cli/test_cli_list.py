"""`hitl list` against UX 2: columns, order, groups, footers, and why "nothing is waiting" can be believed."""

import pytest

from cli.homes import AHome, a_migration, a_spec, decided, expired
from hitl.approvals.requests import Decision, DecisionKind
from hitl.policy.verdicts import Requirement

TWO_PEOPLE = (Requirement("operator", any_of=("platform-leads",)), Requirement("manager", any_of=("managers",)))


@pytest.fixture
def inbox(home: AHome) -> AHome:
    """The inbox of UX 2: two that ana may decide, one that needs bo as well, and a group of three."""
    home.people(ana=("support-leads", "platform-leads"), bo=("managers",))
    home.request("refund-7f3kq", age=660)
    home.request("migrate-k4m2p", a_migration(), age=240)
    home.request(
        "deploy-2zt8w",
        a_spec(
            summary="deploy web:v314 to staging", tier="multi-factor", requirements=TWO_PEOPLE, workload="deploy/coder"
        ),
        age=30,
    )
    for number, to in enumerate(("cy", "di", "eve")):
        spec = a_spec(
            summary=f"mail {to}@example.com",
            group_key="mails",
            arguments=f'{{"to":"{to}@example.com","subject":"Late"}}',
        )
        home.request(f"email-x9d3{number}", spec, age=20 - number)
    return home


def test_the_list_has_the_columns_of_the_manual_sorted_by_expiry(inbox: AHome) -> None:
    """NAME TIER EXPIRES VOTES AGENT WHAT, what ends first on top, three spaces between, similar calls as one row."""
    done = inbox.hitl("list", "--as", "ana")
    assert done.code == 0
    assert done.lines[0] == "NAME             TIER          EXPIRES   VOTES   AGENT     WHAT"
    assert [each.split()[0] for each in done.lines[1:]] == [
        "refund-7f3kq",
        "migrate-k4m2p",
        "deploy-2zt8w",
        "email-x9d30",
    ]
    assert done.lines[1].split()[1] == "Confirm"
    assert done.lines[1].endswith("0/1     support   refund 150.00 EUR to customer C-20817")
    assert "0/2     coder     deploy web:v314 to staging" in done.lines[3]
    assert done.lines[4].startswith("email-x9d30 +2  ".rstrip())
    assert "3 similar: mail cy@example.com" in done.lines[4]


def test_the_closing_lines_stand_on_stderr_and_name_the_next_step(inbox: AHome) -> None:
    """How many need the one who looks, how long the oldest waits, and the command to type."""
    done = inbox.hitl("list", "--as", "ana")
    assert done.err.splitlines() == [
        "4 of 4 need you. The oldest has waited 11m.",
        "Next: hitl show refund-7f3kq",
    ]


def test_who_has_voted_is_not_asked_again(inbox: AHome) -> None:
    """A request on which the viewer voted is not counted as needing them, and the footer says why."""
    request = inbox.now_is("migrate-k4m2p")
    inbox.decide(request, Decision("ana", DecisionKind.APPROVED, request.spec.digest, request.uid))
    assert inbox.hitl("list", "--as", "ana").err.startswith("3 of 4 need you (migrate-k4m2p: you have voted).")


def test_without_a_known_viewer_the_footer_only_counts(inbox: AHome) -> None:
    """Two keys in the home and no --as: nobody is guessed."""
    assert inbox.hitl("list").err.startswith("4 wait for a decision. The oldest has waited 11m.")


def test_reviewable_drops_what_the_viewer_may_not_decide(inbox: AHome) -> None:
    """Bo is in managers alone: only the deployment is left."""
    done = inbox.hitl("list", "--reviewable", "--as", "bo")
    assert [each.split()[0] for each in done.lines[1:]] == ["deploy-2zt8w"]


def test_all_namespaces_puts_the_namespace_first(inbox: AHome) -> None:
    """-A adds NAMESPACE as the first column; -n keeps one namespace."""
    inbox.request("pay-1", namespace="shop")
    done = inbox.hitl("list", "-A")
    assert done.lines[0].startswith("NAMESPACE   NAME")
    assert {each.split()[0] for each in done.lines[1:]} == {"default", "shop"}
    assert [each.split()[0] for each in inbox.hitl("list", "-n", "shop").lines[1:]] == ["pay-1"]


def test_wide_adds_why_age_and_for(inbox: AHome) -> None:
    """-o wide: WHY is the rule or the score that decided, FOR whom the agent acts."""
    done = inbox.hitl("list", "-o", "wide", columns=150)
    assert done.lines[0].split() == ["NAME", "TIER", "EXPIRES", "VOTES", "AGENT", "WHY", "AGE", "FOR", "WHAT"]
    assert "rule refunds   11m" in done.lines[1]
    assert "score 70" in done.lines[2]
    assert "ana@example.com" in done.lines[2]


def test_wide_drops_and_cuts_nothing_on_a_narrow_terminal(inbox: AHome) -> None:
    """As kubectl's wide: every column and the whole summary, whatever the terminal has room for."""
    done = inbox.hitl("list", "-o", "wide", columns=60)
    assert done.lines[0].split() == ["NAME", "TIER", "EXPIRES", "VOTES", "AGENT", "WHY", "AGE", "FOR", "WHAT"]
    assert "…" not in done.out


def test_D4_multi_factor_calls_stand_alone(home: AHome) -> None:
    """D4: what is decided one by one is listed one by one; a prefix of one shows that one."""
    for name in ("pay-1", "pay-2"):
        home.request(name, a_spec(tier="multi-factor", group_key="pays"))
    assert [each.split()[0] for each in home.hitl("list").lines[1:]] == ["pay-1", "pay-2"]
    assert "WHO DECIDES" in home.hitl("show", "pay-1").out
    assert "similar" not in home.hitl("show", "pay-1").err


@pytest.mark.parametrize("columns", [80, 100])
def test_no_line_is_wider_than_the_terminal(inbox: AHome, columns: int) -> None:
    """On 80 and on 100 columns every line fits, and WHAT is still there."""
    done = inbox.hitl("list", "--as", "ana", columns=columns)
    assert all(len(each) <= columns for each in done.lines)
    assert done.lines[0].endswith("WHAT")


def test_names_come_one_per_line_for_scripts(inbox: AHome) -> None:
    """-o name prints every request, members of groups too, and nothing on stderr."""
    done = inbox.hitl("list", "-o", "name")
    assert done.err == ""
    assert done.lines[0] == "approvalrequest.hitl.dev/refund-7f3kq"
    assert len(done.lines) == 6


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_documents_carry_the_whole_resources(inbox: AHome, output: str) -> None:
    """-o json and yaml print a List of ApprovalRequests, soonest first, and nothing on stderr."""
    import yaml

    done = inbox.hitl("list", "-o", output)
    document = yaml.safe_load(done.out)
    assert done.err == ""
    assert document["kind"] == "List"
    assert [item["metadata"]["name"] for item in document["items"]][:2] == ["refund-7f3kq", "migrate-k4m2p"]
    assert document["items"][0]["kind"] == "ApprovalRequest"


def test_nothing_waiting_is_said_with_the_numbers_of_today(home: AHome) -> None:
    """An empty inbox says in which home it looked and what happened today, on stderr; stdout stays empty."""
    home.people(ana=("support-leads",))
    home.request("old-1", then=decided(DecisionKind.APPROVED, "ana"))
    home.request("old-2", then=expired)
    verdicts = ["Allow"] * 17 + ["Confirm"] * 2 + ["Deny"]
    home.audit(*({"kind": "verdict", "age": 200_000, "decision": each} for each in verdicts))
    home.audit(*({"kind": "verdict", "age": 1, "decision": each} for each in verdicts))
    done = home.hitl("list")
    assert done.out == ""
    # Two requests were made a minute ago: around midnight they are yesterday's, and so are not counted.
    assert done.err.startswith(f"Nothing is waiting in {home.path}. Today: 20 calls, 2 held (10.0%), ")
    assert "You are ana (support-leads)." in done.err


def test_nobody_can_decide_is_not_the_same_as_nothing_to_do(home: AHome) -> None:
    """A request whose group nobody is in: a warning, and the command that mends it."""
    home.people(kim=("finance",))
    home.request("refund-7f3kq")
    done = home.hitl("list")
    assert (
        "warning: too few people in reviewers.yaml may decide (support-leads); what needs them will expire." in done.err
    )
    assert "  add one: hitl dev reviewer add NAME --group support-leads" in done.err


def test_I9_an_expired_request_is_not_listed_as_waiting(home: AHome) -> None:
    """I9: past its time it is gone from the list, also while no control plane has written so."""
    home.people(ana=("support-leads",))
    home.request("late-1", a_spec(timeout=30), age=60)
    assert home.hitl("list").out == ""


def test_G1_a_hostile_summary_cannot_leave_its_row(home: AHome) -> None:
    """G1: control and bidi characters that got into a stored summary are written out in the list."""
    home.request("evil-1", a_spec(summary="ok\x1b[2A\u202egnihton"))
    done = home.hitl("list")
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out
    assert len(done.lines) == 2


def test_a_home_that_is_not_there_is_said_with_the_next_step(home: AHome) -> None:
    """No database: exit code 1, where it looked, and how to start."""
    done = home.hitl("list", "--home", "/tmp/hitl-no-such-home")
    assert done.code == 1
    assert done.err.splitlines() == [
        "error: there is no hitl home at /tmp/hitl-no-such-home (no hitl.db in it)",
        "Start one: hitl dev -f DIR    A first policy: hitl init    Another home: --home DIR or HITL_HOME",
    ]


def test_hints_repeat_the_home_that_was_named(inbox: AHome) -> None:
    """A hint can be typed as it stands: with --home given, hints carry it."""
    done = inbox.hitl("list", "--home", str(inbox.path), HITL_HOME="/tmp/elsewhere")
    assert f"Next: hitl show refund-7f3kq --home {inbox.path}" in done.err


def test_home_may_stand_before_the_command(inbox: AHome) -> None:
    """`hitl --home DIR list` is `hitl list --home DIR`."""
    assert inbox.hitl("--home", str(inbox.path), "inbox", HITL_HOME="/tmp/elsewhere").lines[0].startswith("NAME")


def test_watch_is_for_tables_only(inbox: AHome) -> None:
    """-w with -o json is a mistake on the command line: exit code 2."""
    done = inbox.hitl("list", "-w", "-o", "json")
    assert done.code == 2
    assert done.err.startswith("error: -w repaints a table")


def test_a_home_with_reviewers_and_no_requests_has_not_run_yet(home: AHome) -> None:
    """Who added a reviewer first is told what is missing, not that there is no home."""
    home.people(ana=("support-leads",))
    done = home.hitl("list")
    assert done.code == 1
    assert done.err.startswith(f"error: nothing has run here yet: {home.path} has reviewers")


def test_one_next_step_stands_below_the_list(home: AHome) -> None:
    """Where people are missing too, the way to add them stands beside its warning; Next is one line."""
    home.people(cy=())
    home.request("refund-1")
    said = home.hitl("list").err.splitlines()
    assert "  add one: hitl dev reviewer add NAME --group support-leads" in said
    assert [each for each in said if each.startswith("Next:")] == ["Next: hitl show refund-1"]
