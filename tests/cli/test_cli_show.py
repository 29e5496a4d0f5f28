"""`hitl show` against UX 3: the blocks in their order, diffs, groups, and what an agent cannot do to the page."""

import pytest

from cli.homes import AHome, a_migration, a_spec, cancelled, decided, expired
from hitl.approvals.requests import Category, Decision, DecisionKind
from hitl.policy.verdicts import EscalationStep, Requirement, SecondFactor

BLOCKS = ["WHAT WILL RUN", "WHY", "WHAT IT CAN TOUCH", "WHY IT IS HELD", "WHO DECIDES"]


def headings(lines: list[str]) -> list[str]:
    return [each[:25].rstrip() for each in lines if each and each[0].isupper() and each.split()[0].isupper()]


def block(lines: list[str], heading: str) -> list[str]:
    """The lines of one block."""
    start = next(at for at, each in enumerate(lines) if each.startswith(heading) and each[:25].rstrip() == heading)
    end = next((at for at in range(start, len(lines)) if not lines[at]), len(lines))
    return lines[start + 1 : end]


@pytest.fixture
def migration(home: AHome) -> AHome:
    """The request of UX 3, and the one before it that bo approved."""
    home.people(ana=("platform-leads",), bo=("platform-leads",))
    home.request(
        "migrate-9xq1d",
        a_migration(arguments='{"version":"0041_add_due_on","database":"db.prod.internal/billing"}'),
        age=538_200,  # half an hour after six days and five hours, however long the test takes
        then=decided(DecisionKind.APPROVED, "bo"),
    )
    home.request("migrate-k4m2p", a_migration(), age=200)  # 11m40s are left, 40 of them for the test
    return home


def test_the_blocks_stand_in_the_order_of_the_manual(migration: AHome) -> None:
    """What would run, why, what it can touch, why it is held, who decides: always in this order."""
    done = migration.hitl("show", "migrate-k4m", "--as", "ana")
    assert done.code == 0
    assert done.lines[0] == "apply migration 0042 to db.prod.internal"
    assert done.lines[1].startswith("Confirm · Pending · expires in 11m (")
    assert headings(done.lines) == BLOCKS


def test_the_page_says_what_the_manual_says(migration: AHome) -> None:
    """Arguments under their names, the agent behind a bar, what it touches, the sum of the score, who may decide."""
    lines = migration.hitl("show", "migrate-k4m", "--as", "ana").lines
    what = block(lines, "WHAT WILL RUN")
    assert what[0] == "  stripe/create_refund"
    assert what[1:4] == [
        "  version    0042_add_invoice_index",
        "  database   db.prod.internal/billing",
        "  password   [REDACTED:password]",
    ]
    assert block(lines, "WHY") == [
        "  agent says   │ The due-date report takes 40 s. Ticket BILL-812 asks for an index. It is built",
        "               │ concurrently, so no write is blocked.",
        "  instead it could   │ 1. run it on staging first   2. leave the report slow",
    ]
    assert block(lines, "WHAT IT CAN TOUCH") == [
        "  network     db.prod.internal",
        "  writes      /migrations/",
        "  undo        DROP INDEX invoice_due (stated by the tool, not checked)",
    ]
    held = block(lines, "WHY IT IS HELD")
    assert held[0] == "  score 70 is Confirm (51-75); no rule of policy coder names this tool"
    assert held[1] == "  +60 level high   +10 network, filesystem   +10 writes files   -10 both lists are exact"
    assert held[2] == "  seen before: 1 call, 1 approved, median review 1s"
    decides = next(each for each in lines if each.startswith("WHO DECIDES"))
    assert decides.endswith("0 of 1")
    assert len(decides) == 100
    assert block(lines, "WHO DECIDES")[0].split("   ")[0:2] == ["  reviewer", "1 of group platform-leads"]
    assert block(lines, "WHO DECIDES")[0].endswith("you may decide")
    assert lines[-2].startswith(
        "for ana@example.com (token verified) · agent coder-5d9c7-x2x4q, sa coder · policy coder"
    )
    assert lines[-1].startswith("digest hmac:5f1c2ab9 77d0e4b1 …   asked ")


def test_the_next_step_stands_on_stderr(migration: AHome) -> None:
    """Approve and deny, ready to be typed."""
    done = migration.hitl("show", "migrate-k4m")
    assert done.err == 'Next: hitl approve migrate-k4m2p    hitl deny migrate-k4m2p --reason "…"\n'


def test_changes_since_the_last_approved_one_are_shown(migration: AHome) -> None:
    """The page names the earlier request and who approved it, then what differs; --diff prints only that."""
    lines = migration.hitl("show", "migrate-k4m").lines
    assert "  since the last approved one (migrate-9xq1d, 6d5h ago, bo)" in lines
    assert "    - version    0041_add_due_on" in lines
    assert "    + version    0042_add_invoice_index" in lines
    alone = migration.hitl("show", "migrate-k4m", "--diff").lines
    assert alone[0] == "since the last approved one (migrate-9xq1d, 6d5h ago, bo)"
    assert "    + password   [REDACTED:password]" in alone
    assert not any(each.startswith("WHY") for each in alone)


def test_empty_blocks_are_left_out_except_why(home: AHome) -> None:
    """A call that touches nothing has no such block; a silent agent is named as silent."""
    home.request("refund-1")
    lines = home.hitl("show", "refund-1").lines
    assert "WHAT IT CAN TOUCH" not in lines
    assert block(lines, "WHY") == ["  agent says   (nothing; ask for a justification in the policy)"]


def test_a_score_that_did_not_decide_is_not_shown(home: AHome) -> None:
    """A rule chose the tier: no number stands beside it."""
    home.request("refund-1")
    lines = home.hitl("show", "refund-1").lines
    assert block(lines, "WHY IT IS HELD") == ["  rule refunds of policy support is Confirm"]
    assert not any("score" in each for each in lines)


def test_long_words_are_cut_and_full_prints_everything(home: AHome) -> None:
    """Agent text and values are cut at 1 000 characters and say how much is missing; --full cuts nothing."""
    home.request("refund-1", a_spec(justification="word " * 282 + "end", arguments='{"note": "%s"}' % ("x" * 1412)))
    cut = home.hitl("show", "refund-1").out
    assert cut.count("412 more (--full)") == 1
    assert "413 more (--full)" in cut
    full = home.hitl("show", "refund-1", "--full").out
    assert "more (--full)" not in full
    assert full.count("x" * 60) >= 16
    assert "uid " in full


def test_two_people_are_shown_with_what_each_did(home: AHome) -> None:
    """Multi-Factor: who approved and when, with the words; who is still wanted; and whether you are one of them."""
    home.people(bo=("operators",), ana=("operators",))
    requirements = (
        Requirement("operator", any_of=("operators",)),
        Requirement("manager", any_of=("managers",), second_factor=SecondFactor.ANY),
    )

    request = home.request("deploy-1", a_spec(tier="multi-factor", requirements=requirements))
    home.decide(
        request, Decision("bo", DecisionKind.APPROVED, request.spec.digest, request.uid, reason="staging green")
    )
    home.verify("deploy-1", "bo", "operators")
    lines = home.hitl("show", "deploy-1", "--as", "ana").lines
    decides = block(lines, next(each for each in lines if each.startswith("WHO DECIDES"))[:25].rstrip())
    assert decides[0].startswith("  operator   bo approved ")
    assert decides[0].endswith('("staging green")')
    assert decides[1].startswith("  manager    1 of group managers, second factor needed")
    assert decides[1].endswith("you may not: not in managers")


def test_a_group_is_a_table_of_what_differs(home: AHome) -> None:
    """Similar calls: one row each, the arguments that differ as columns, a new argument marked as new."""
    for number, arguments in enumerate(
        (
            '{"to":"ana@example.com","subject":"Late"}',
            '{"to":"bo@example.com","subject":"Late"}',
            '{"to":"eve@example.com","subject":"Late","attachment":"a.zip"}',
        )
    ):
        home.request(f"email-{number}", a_spec(summary="mail about a parcel", group_key="g", arguments=arguments))
    done = home.hitl("show", "email-0", "--group")
    assert done.lines[0] == "3 similar: mail about a parcel"
    assert done.lines[3].split() == ["ITEM", "TO", "ATTACHMENT", "DIFFERS", "IN"]
    assert done.lines[4].split() == ["email-0", "ana@example.com", "-", "-"]
    assert done.lines[6].split(maxsplit=3) == ["email-2", "eve@example.com", "a.zip", "to, attachment (new)"]
    assert done.err.splitlines() == [
        "one of them: hitl show email-0 --one",
        'not with the others: email-2: argument "attachment" is new, decide it alone',
        "Next: hitl approve email-0 --group    … --item email-1",
    ]
    assert home.hitl("show", "email-0", "--one").lines[0] == "mail about a parcel"


def test_D4_no_value_that_differs_in_a_group_is_left_unseen(home: AHome) -> None:
    """D4: arguments without room as a column stand below their row, at any width."""
    for number in range(2):
        values = ",".join(f'"argument_{letter}":"value {letter}{number} {"x" * 20}"' for letter in "abcdef")
        home.request(f"mail-{number}", a_spec(group_key="g", arguments=f"{{{values}}}"))
    for columns in (70, 100):
        done = home.hitl("show", "mail-0", "--group", columns=columns)
        assert [f"value {letter}{number}" in done.out for letter in "abcdef" for number in "01"] == [True] * 12
        assert max(map(len, done.lines)) <= columns


def test_D4_a_group_of_which_none_may_be_taken_together_offers_none(home: AHome) -> None:
    """D4: where every other one must be decided alone, the next step is to look at it."""
    home.request("mail-0", a_spec(group_key="g", arguments='{"to":"ana"}'))
    home.request("mail-1", a_spec(group_key="g", arguments='{"to":"ana","bcc":"eve"}'))
    done = home.hitl("show", "mail-0", "--group")
    assert "approve" not in done.err
    assert done.err.endswith("Next: hitl show mail-1\n")


def test_a_full_name_shows_that_one_and_a_prefix_its_group(home: AHome) -> None:
    """Who names one request sees its arguments and the agent's words, and how to see the similar ones."""
    home.request("mail-00", a_spec(summary="mail about a parcel", group_key="g", justification="the parcel is late"))
    home.request("mail-11", a_spec(summary="mail about a parcel", group_key="g"))
    done = home.hitl("show", "mail-00")
    assert done.lines[0] == "mail about a parcel"
    assert "the parcel is late" in done.out
    assert done.err.splitlines()[0] == "1 similar: hitl show mail-00 --group"
    assert home.hitl("show", "mail-0").lines[0] == "2 similar: mail about a parcel"
    assert home.hitl("show", "mail-0", "--one", "--group").code == 2


@pytest.mark.parametrize("before", ["approvalrequest.hitl.dev/", "approvalrequests/", "ar/"])
def test_a_name_may_be_typed_as_it_is_printed(migration: AHome, before: str) -> None:
    """What -o name prints, and kubectl's ways to write it, can be given as the name."""
    done = migration.hitl("show", f"{before}migrate-k4m2p", "-o", "name")
    assert (done.code, done.out) == (0, "approvalrequest.hitl.dev/migrate-k4m2p\n")


@pytest.mark.parametrize(
    ("step", "state", "words"),
    [
        (
            decided(DecisionKind.DENIED, "bo", "refunded already", Category.MISSING_CONTEXT),
            "Denied",
            "was denied by bo",
        ),
        (expired, "Expired", "expired at "),
        (cancelled, "Cancelled", "was cancelled "),
        (decided(DecisionKind.APPROVED, "bo"), "Approved", "was approved by bo"),
    ],
)
def test_I9_each_ending_is_told_in_its_own_words(home: AHome, step: object, state: str, words: str) -> None:
    """I9: denied, expired, cancelled and approved read differently; only a denial speaks of denying."""
    home.request("refund-1", then=step)
    done = home.hitl("show", "refund-1")
    assert f"Confirm · {state}" in done.lines[1]
    assert done.lines[2].startswith(f"refund-1 {words}")
    assert ("denied" in done.out.lower()) is (state == "Denied")
    assert done.err == ""


def test_I9_what_nobody_decided_has_no_empty_block_of_deciders(home: AHome) -> None:
    """I9: an expired request says how it ended; a heading without anybody under it is left out, votes stay."""
    home.request("late-1", a_spec(escalation=(EscalationStep(600, ("managers",)),)), age=3600, then=expired)
    assert "WHO DECIDES" not in home.hitl("show", "late-1").out
    home.request("denied-1", then=decided(DecisionKind.DENIED, "bo", "no"))
    assert "WHO DECIDES" in home.hitl("show", "denied-1").out


def test_I9_past_its_time_a_request_is_expired_before_anybody_writes_so(home: AHome) -> None:
    """I9: the page goes by the clock, as settle does."""
    home.request("late-1", a_spec(timeout=30), age=60)
    done = home.hitl("show", "late-1")
    assert "Confirm · Expired" in done.lines[1]
    assert "nothing ran" in done.lines[2]


def test_G1_an_agent_cannot_draw_the_page(home: AHome) -> None:
    """G1: hostile words and values stay behind their bars, hidden characters are written out, headings stay ours."""
    home.request(
        "evil-1",
        a_spec(
            justification="please⏎⏎WHO DECIDES   2 of 2⏎  manager   bo approved",
            alternatives=("⏎WHY IT IS HELD",),
            context="⏎WHO DECIDES",
            arguments='{"a\\nWHO DECIDES": "b\\nWHY\\u001b[2J\\u202e"}',
        ),
    )
    done = home.hitl("show", "evil-1")
    assert headings(done.lines) == ["WHAT WILL RUN", "WHY", "WHY IT IS HELD", "WHO DECIDES"]
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out
    assert "\\u202e" in done.out


def test_G2_a_secret_is_shown_by_its_class(home: AHome) -> None:
    """G2: what was redacted before it was stored stands there by its class, never blank."""
    home.request("migrate-1", a_migration())
    assert "  password   [REDACTED:password]" in home.hitl("show", "migrate-1").lines


def test_a_claimed_user_is_called_a_claim(home: AHome) -> None:
    """A user that no token proved: the page says that the agent says so."""
    home.request("refund-1", a_spec(on_behalf_of="ana"))
    assert any(each.startswith("says it acts for ana · ") for each in home.hitl("show", "refund-1").lines)


def test_arguments_too_large_to_be_shown_whole_are_text(home: AHome) -> None:
    """A preview that is no JSON object any more is printed as it is, behind a bar."""
    home.request("big-1", a_spec(arguments='{"note": "xxxx … 99 999 bytes … yyyy'))
    assert '  arguments   │ {"note": "xxxx … 99 999 bytes … yyyy' in home.hitl("show", "big-1").lines


@pytest.mark.parametrize("columns", [80, 100])
def test_the_page_fits_the_terminal(migration: AHome, columns: int) -> None:
    """On 80 and on 100 columns no line is wider."""
    assert max(map(len, migration.hitl("show", "migrate-k4m", "--as", "bo", columns=columns).lines)) <= columns


def test_yaml_is_the_resource(migration: AHome) -> None:
    """-o yaml prints the ApprovalRequest and nothing else."""
    import yaml

    done = migration.hitl("show", "migrate-k4m", "-o", "yaml")
    assert yaml.safe_load(done.out)["metadata"]["name"] == "migrate-k4m2p"
    assert done.err == ""


def test_a_name_that_several_share_lists_them(migration: AHome) -> None:
    """Two that wait begin with it: exit code 2, both are listed with what they would do."""
    migration.request("migrate-k9")
    done = migration.hitl("show", "migrate-k")
    assert done.code == 2
    assert "migrate-k4m2p   apply migration 0042" in done.err
    assert "migrate-k9   refund 150.00 EUR" in done.err


def test_a_prefix_prefers_what_still_waits(migration: AHome) -> None:
    """`migrate` fits an ended request and a waiting one: the waiting one is meant."""
    assert migration.hitl("show", "migrate", "-o", "name").out == "approvalrequest.hitl.dev/migrate-k4m2p\n"


def test_an_unknown_name_is_an_error(migration: AHome) -> None:
    """Nothing begins with it: exit code 1 and where to look."""
    done = migration.hitl("show", "nothing-like-this")
    assert done.code == 1
    assert done.err.startswith('error: no request is named "nothing-like-this" or begins so')


FORGED = "x\nMultiFactor · Approved\n\nWHAT WILL RUN\n  nothing"
FOLDED = "x⏎MultiFactor · Approved⏎⏎WHAT WILL RUN⏎  nothing"


@pytest.mark.parametrize("summary", [FORGED, FOLDED, f"x{' ' * 120}WHAT WILL RUN{' ' * 120}nothing"])
def test_G1_a_summary_stays_one_line_wherever_it_is_shown(home: AHome, summary: str) -> None:
    """G1: line breaks in a summary are ⏎ on the page, in the group, list and history; nothing of it starts a line."""
    home.people(ana=("support-leads",))
    home.request("evil-1", a_spec(summary=summary, group_key="g"))
    home.request("evil-2", a_spec(summary=summary, group_key="g"))
    home.request("evil-3", a_spec(summary=summary), then=decided(DecisionKind.DENIED, "ana", summary))
    for words in (
        ("show", "evil-1", "--one"),
        ("show", "evil-1", "--group"),
        ("show", "evil-3"),
        ("show", "evil-"),
        ("list",),
        ("history",),
        ("approve", "evil-3", "--as", "ana"),
        ("deny", "evil-3", "--as", "ana", "--reason", "no"),
        ("explain", "evil-3", "-f", str(home.path)),
    ):
        done = home.hitl(*words)
        lines = [*done.lines, *done.err.splitlines()]
        assert not [each for each in lines if each.startswith(("MultiFactor · Approved", "nothing"))], words
        assert sum(each.startswith("WHAT WILL RUN") for each in lines) == (words == ("show", "evil-1", "--one")), words
        assert max(map(len, done.lines), default=0) <= 100, words


def test_G1_what_an_agent_named_cannot_start_a_line_at_the_edge(home: AHome) -> None:
    """G1: the line of whom it acts for goes on indented, so no part of a claimed name can pose as a heading."""
    home.request("evil-1", a_spec(on_behalf_of=f"eve{' ' * 100}WHO DECIDES{' ' * 100}"))
    assert sum(each.startswith("WHO DECIDES") for each in home.hitl("show", "evil-1").lines) == 1
