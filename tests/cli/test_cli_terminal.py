"""What a person at a real terminal sees and types: questions, answers, colours, a list that repaints in place."""

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli.homes import HITL, AHome, a_spec, decided
from hitl.approvals.requests import Category, DecisionKind

# Real terminals and processes: where one hangs, the test says so instead of waiting with it.
pytestmark = pytest.mark.timeout(240)


class Terminal:
    """`hitl` in a terminal of a hundred columns."""

    def __init__(self, home: AHome, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        env = {**os.environ, "HITL_HOME": str(home.path), "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        env.pop("NO_COLOR", None)
        self.process = subprocess.Popen([str(HITL), *words], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
        os.close(theirs)
        self.seen = ""

    def until(self, text: str) -> str:
        """Everything up to and including `text`, as soon as it was written."""
        while text not in self.seen:
            self.seen += os.read(self._ours, 65536).decode()
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> tuple[int, str]:
        """Exit code, and what else was written."""
        try:
            while part := os.read(self._ours, 65536):
                self.seen += part.decode()
        except OSError:
            pass  # Linux says EIO where a closed terminal ends
        return self.process.wait(), self.seen

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)


@contextmanager
def terminal(home: AHome, *words: str) -> Iterator[Terminal]:
    opened = Terminal(home, *words)
    try:
        yield opened
    finally:
        opened.close()


def test_a_number_outside_the_menu_is_asked_again(decided_home: AHome) -> None:
    """The agent never reads "7": the question comes again, and words are taken."""
    step = decided(DecisionKind.DENIED, "cleo", "Customer already refunded", Category.MISSING_CONTEXT)
    decided_home.request("earlier-7", a_spec(denials_to_end=1), then=step, age=300)
    decided_home.request("menu-1")
    with terminal(decided_home, "deny", "menu-1", "--as", "ana") as person:
        person.until("or type a reason: ")
        person.type("7\n")
        again = person.until("or type a reason: ")
        assert "there is no 7: " in again
        person.type("not this customer\n")
        code, _ = person.end()
    assert code == 0
    assert decided_home.now_is("menu-1").status.decisions[0].reason == "not this customer"


def test_a_denial_offers_the_answers_that_are_given_most(decided_home: AHome) -> None:
    """Without --reason at a terminal: the usual answers with their categories; a number picks one."""
    for number in range(2):
        step = decided(DecisionKind.DENIED, "cleo", "Customer already refunded", Category.MISSING_CONTEXT)
        decided_home.request(f"earlier-{number}", a_spec(denials_to_end=1), then=step, age=300)
    decided_home.request("ask-1")
    with terminal(decided_home, "deny", "ask-1", "--as", "ana") as person:
        asked = person.until("or type a reason: ")
        assert "Why? The agent reads this." in asked
        assert "  1  Customer already refunded   (missing-context)" in asked
        person.type("1\n")
        code, rest = person.end()
    assert code == 0
    assert "approvalrequest.hitl.dev/ask-1 denied" in rest
    assert 'the agent is told: "Customer already refunded"' in rest
    decision = decided_home.now_is("ask-1").status.decisions[0]
    assert (decision.reason, decision.category) == ("Customer already refunded", Category.MISSING_CONTEXT)


def test_a_reason_may_be_typed(decided_home: AHome) -> None:
    """Words instead of a number are the reason."""
    decided_home.request("ask-2")
    with terminal(decided_home, "deny", "ask-2", "--as", "ana") as person:
        person.until("reason: ")
        person.type("see R-5512\n")
        assert person.end()[0] == 0
    assert decided_home.now_is("ask-2").status.decisions[0].reason == "see R-5512"


def test_no_answer_records_nothing(decided_home: AHome) -> None:
    """Return alone, where a reason is wanted: exit code 2 and no vote."""
    decided_home.request("ask-3")
    with terminal(decided_home, "deny", "ask-3", "--as", "ana") as person:
        person.until("reason: ")
        person.type("\n")
        code, rest = person.end()
    assert code == 2
    assert "nothing was recorded" in rest
    assert decided_home.now_is("ask-3").status.decisions == ()


def test_ctrl_c_at_the_question_records_nothing(decided_home: AHome) -> None:
    """Ctrl-C: exit code 130 and no vote."""
    decided_home.request("ask-4")
    with terminal(decided_home, "deny", "ask-4", "--as", "ana") as person:
        person.until("reason: ")
        person.process.send_signal(signal.SIGINT)
        assert person.end()[0] == 130
    assert decided_home.now_is("ask-4").status.decisions == ()


def test_tiers_are_coloured_and_what_ends_soon_is_red(home: AHome) -> None:
    """Confirm yellow, MultiFactor red, less than two minutes red, everything else plain."""
    home.request("soon-1", a_spec(timeout=90), age=10)
    home.request("later-1", a_spec(tier="multi-factor"), age=10)
    with terminal(home, "list") as person:
        _, seen = person.end()
    rows = {row.split()[0]: row for row in seen.splitlines() if row and not row.startswith("NAME")}
    assert "\x1b[33mConfirm\x1b[0m" in rows["soon-1"]
    assert re.search(r"\x1b\[31m[1-8]?\ds\x1b\[0m", rows["soon-1"])
    assert "\x1b[31mMultiFactor\x1b[0m" in rows["later-1"]
    assert rows["later-1"].count("\x1b[") == 2


def test_a_watched_list_repaints_in_place(home: AHome) -> None:
    """At a terminal `list -w` goes back up and paints again when a request comes; Ctrl-C leaves the cursor visible."""
    home.request("first-1")
    with terminal(home, "list", "-w") as person:
        person.until("first-1")
        home.request("second-1")
        repainted = person.until("second-1")
        assert "\x1b[1A" in repainted
        person.process.send_signal(signal.SIGINT)
        code, rest = person.end()
    assert code == 130
    assert "\x1b[?25h" in rest


def test_the_demo_asks_anew_and_offers_what_can_be_pasted(home: AHome) -> None:
    """What was typed before a question answers nothing; keys need Return and say so; the offered command is quoted."""
    with terminal(home, "demo") as person:
        person.until("Starting a control plane")
        person.type("d\nd\nd\n")
        asked = person.until("a and Return: approve   d and Return: deny   > ")
        assert "You are ana. Return: hitl approve " in asked
        person.type("\n")
        told = person.until("a and Return: approve   d and Return: deny   > ")
        assert "hitl approve: " in told
        assert "--reason 'C-20904 was refunded yesterday' --category missing-context" in told
        person.process.send_signal(signal.SIGINT)
        assert person.end()[0] == 130
