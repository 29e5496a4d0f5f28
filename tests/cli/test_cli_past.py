"""`hitl history`, `activity` and `audit verify`: what was, told from the store and the audit logs."""

import json
import os
import signal
import subprocess

import pytest

from cli.homes import HITL, AHome, a_migration, cancelled, decided, expired, released
from hitl.approvals.requests import DecisionKind

VERDICT = {"kind": "verdict", "tool": "git/commit", "summary": 'git commit "fix due date"'}


@pytest.fixture
def past(home: AHome) -> AHome:
    """One request of each ending, and one that waits."""
    home.people(ana=("support-leads",))
    home.request("denied-1", age=500, then=decided(DecisionKind.DENIED, "ana", "no"))
    home.request("expired-1", age=400_000, then=expired)
    home.request("cancelled-1", age=300, then=cancelled)
    home.request("released-1", a_migration(), age=200, then=released("ana"))
    home.request("waiting-1", age=100)
    return home


def test_history_lists_what_ended_the_newest_first(past: AHome) -> None:
    """Name, state, when, who, agent, what; nothing that still waits."""
    done = past.process("history")
    assert done.lines[0].split() == ["NAME", "STATE", "ENDED", "BY", "AGENT", "WHAT"]
    assert [each.split()[0] for each in done.lines[1:]] == ["released-1", "cancelled-1", "denied-1", "expired-1"]
    assert done.err == "1 consumed, 1 cancelled, 1 denied, 1 expired\n"


def test_I9_denied_and_expired_are_told_apart_in_history(past: AHome) -> None:
    """I9: each has its own state, its own filter, and only the denied one names a person."""
    assert [each.split()[0] for each in past.hitl("history", "--state", "denied").lines[1:]] == ["denied-1"]
    assert [each.split()[0] for each in past.hitl("history", "--state", "Expired").lines[1:]] == ["expired-1"]
    rows = {each.split()[0]: each for each in past.hitl("history").lines[1:]}
    assert " Denied " in rows["denied-1"]
    assert " ana " in rows["denied-1"]
    assert " Expired " in rows["expired-1"]
    assert " ana " not in rows["expired-1"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--agent", "coder"], ["released-1"]),
        (["--agent", "deploy/coder"], ["released-1"]),
        (["--tool", "create_refund", "--since", "1h"], ["released-1", "cancelled-1", "denied-1"]),
        (["--tool", "stripe/nothing"], []),
        (["--since", "1h", "--state", "expired"], []),
        (["--limit", "1"], ["released-1"]),
    ],
)
def test_history_can_be_narrowed(past: AHome, words: list[str], names: list[str]) -> None:
    """By agent, tool, time, state and number."""
    assert past.hitl("history", *words, "-o", "name").out.split() == [f"approvalrequest.hitl.dev/{n}" for n in names]


def test_a_period_that_is_none_is_a_usage_error(past: AHome) -> None:
    """Exit code 2 and what to write."""
    done = past.hitl("history", "--since", "yesterday")
    assert done.code == 2
    assert "write digits and a unit" in done.err


@pytest.fixture
def busy(home: AHome) -> AHome:
    """A home with an audit log: an allowed call, one that people hear of, a refused one and a held one."""
    home.request("waiting-1")
    home.audit(
        {**VERDICT, "decision": "Allow", "rule": "AgentPolicy/d/coder#reads"},
        {**VERDICT, "decision": "Notify", "rule": "AgentPolicy/d/coder#commits"},
        {
            **VERDICT,
            "decision": "Deny",
            "reason": "RULE",
            "rule": "AgentPolicy/d/coder#destructive",
            "summary": 'shell "rm"',
        },
        {**VERDICT, "decision": "Confirm", "score": 70},
    )
    return home


def test_activity_tells_what_nobody_was_asked_about(busy: AHome) -> None:
    """Notify and refusals, oldest first: time, action, agent, why, what; --all adds the rest."""
    done = busy.process("activity")
    assert [each.split()[1:5] for each in done.lines] == [
        ["Notify", "coder", "rule", "commits"],
        ["Deny", "coder", "rule", "destructive"],
    ]
    assert done.lines[0].endswith('git commit "fix due date"')
    assert [each.split()[1] for each in busy.hitl("activity", "--all").lines] == ["Allow", "Notify", "Deny", "Confirm"]
    assert [each.split()[1] for each in busy.hitl("activity", "--all", "--tail", "1").lines] == ["Confirm"]


def test_activity_as_json_is_one_object_a_line(busy: AHome) -> None:
    """-o json: a stream that a program can read while it grows."""
    done = busy.hitl("activity", "-o", "json")
    assert [json.loads(each)["decision"] for each in done.lines] == ["Notify", "Deny"]
    assert done.err == ""


def test_G1_a_hostile_record_cannot_draw_on_the_terminal(home: AHome) -> None:
    """G1: what stands in a log unescaped, because somebody wrote into it, comes out written."""
    home.request("waiting-1")
    home.audit({**VERDICT, "decision": "Notify", "summary": "ok\x1b[2J\u202e", "agent_id": "a/\x1b[2J/b"})
    out = home.hitl("activity").out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_activity_follows_what_is_written_next(busy: AHome) -> None:
    """-f goes on: a record written later is printed; Ctrl-C ends it."""
    following = subprocess.Popen(
        [str(HITL), "activity", "-f", "--home", str(busy.path)],
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    try:
        assert following.stdout is not None
        assert [following.stdout.readline().split()[1] for _ in range(2)] == ["Notify", "Deny"]
        busy.audit({**VERDICT, "decision": "Notify", "summary": "written later"})
        assert following.stdout.readline().endswith("written later\n")
    finally:
        following.send_signal(signal.SIGINT)
        assert following.wait(90) == 130
        following.stdout.close()


def test_H2_an_untouched_log_verifies(busy: AHome) -> None:
    """H2: records, epochs, no problem; exit code 0. Without PATH the logs of the home are meant."""
    done = busy.process("audit", "verify")
    assert (done.code, done.out) == (0, f"chain   {busy.path}/sidecar/audit   4 records, 1 epoch, 0 problems\n")
    assert busy.hitl("audit", "verify", str(busy.path / "sidecar")).code == 0


def test_H2_a_changed_record_is_named(busy: AHome) -> None:
    """H2: one changed word: exit code 1, file and line."""
    log = busy.audit()
    log.write_bytes(log.read_bytes().replace(b'"Deny"', b'"Allow"'))
    done = busy.hitl("audit", "verify", str(log))
    assert done.code == 1
    assert done.lines[0].endswith("1 problem")
    assert done.lines[1].startswith("  000001.jsonl:3: changed: record 3")


def test_H2_a_tail_that_the_control_plane_knew_is_missed(busy: AHome) -> None:
    """H2: a log that lost its end is found out by the heads that the control plane kept."""
    log = busy.audit()
    lines = log.read_bytes().splitlines(keepends=True)
    report = busy.hitl("audit", "verify", str(log), "-o", "json").document
    head = report["logs"][0]["heads"][0]
    (busy.path / "audit-heads.jsonl").write_text(
        json.dumps({"epoch": head["epoch"], "sequence": 4, "head": head["hash"], "podUID": "u", "whose": "a"}) + "\n"
    )
    assert busy.hitl("audit", "verify").code == 0
    log.write_bytes(b"".join(lines[:-1]))
    done = busy.hitl("audit", "verify")
    assert done.code == 1
    assert "missing: record 4 of epoch epoch-1 is known elsewhere" in " ".join(done.out.split())


def test_H2_a_sidecar_whose_log_is_gone_is_missed(busy: AHome) -> None:
    """H2: an epoch that the control plane knew and no log has: exit code 1, naming whose it was."""
    (busy.path / "audit-heads.jsonl").write_text(
        '{"epoch": "lost", "sequence": 9, "head": "ab", "podUID": "u", "whose": "shop/deploy/coder/coder-7"}\n'
    )
    done = busy.hitl("audit", "verify")
    assert done.code == 1
    assert "shop/deploy/coder/coder-7: missing: epoch lost had 9 records, and no log here has any" in done.out
    # One log alone is not blamed for another that was not asked about.
    assert busy.hitl("audit", "verify", str(busy.path / "sidecar")).code == 0


def test_no_log_anywhere_is_an_error(home: AHome) -> None:
    """Exit code 1 and how a log comes to be; no log is not a good log."""
    home.request("waiting-1")
    done = home.hitl("audit", "verify")
    assert done.code == 1
    assert done.err.startswith(f"error: no audit log (*.jsonl) in {home.path}")


def test_a_log_that_grows_is_read_line_by_line(busy: AHome) -> None:
    """A record that is only half written is left for the next look, not shown and not lost."""
    from hitl_cli.feed import Feed
    from hitl_cli.home import Home

    feed, log = Feed(Home(busy.path)), busy.audit()
    assert len(feed.fresh()) == 4
    whole = log.read_bytes()
    busy.audit({**VERDICT, "decision": "Notify"})
    grown = log.read_bytes()
    log.write_bytes(grown[: len(whole) + 20])
    assert feed.fresh() == []
    log.write_bytes(grown)
    assert [record.decision for record in feed.fresh()] == ["Notify"]


def test_G1_a_summary_with_line_breaks_is_one_line_of_activity(home: AHome) -> None:
    """G1: one record, one line."""
    home.request("waiting-1")
    home.audit({**VERDICT, "decision": "Notify", "summary": "x\nMultiFactor · Approved\n\nWHAT WILL RUN\n  nothing"})
    assert len(home.hitl("activity").lines) == 1


@pytest.mark.parametrize("deleted", ["log", "folder"])
def test_H2_a_log_that_was_deleted_is_missed(busy: AHome, deleted: str) -> None:
    """H2: with the only log gone, what the control plane knew of it is reported missing, exit code 1."""
    log = busy.audit()
    (busy.path / "audit-heads.jsonl").write_text('{"epoch": "epoch-1", "sequence": 4, "head": "ab"}\n')
    log.unlink()
    if deleted == "folder":
        log.parent.rmdir()
    done = busy.hitl("audit", "verify")
    assert done.code == 1
    assert "missing: epoch epoch-1 had 4 records, and no log here has any of them" in done.out
    document = busy.hitl("audit", "verify", "-o", "json").document
    assert [each["kind"] for each in document["missing"]] == ["missing"]


def test_H2_without_heads_it_is_said_that_the_tail_is_not_checked(busy: AHome) -> None:
    """H2: a home that lost its audit-heads.jsonl does not look as good as one that has it."""
    assert "note: the tail cannot be checked: no audit-heads.jsonl" in busy.hitl("audit", "verify").err
    (busy.path / "audit-heads.jsonl").write_text("")
    assert busy.hitl("audit", "verify").err == ""


def test_activity_says_what_decided_where_no_rule_did(home: AHome) -> None:
    """A call that a limit refused is not put down to the rule that would have allowed it."""
    home.request("waiting-1")
    rule = "AgentPolicy/d/coder#reads"
    for reason in ("LIMIT", "PROTECTED_PATH", "RULE"):
        home.audit({**VERDICT, "decision": "Deny", "reason": reason, "rule": rule})
    said = [each.split("coder")[1].split("git commit")[0].strip() for each in home.hitl("activity").lines]
    assert said == ["limit", "protected path", "rule reads"]
