"""`hitl dev`: control plane and sidecar as real processes, a call by hand, a decision, and an orderly end."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.homes import HITL, AHome, Done

# Real processes: where one hangs, the test says so instead of waiting with it.
pytestmark = pytest.mark.timeout(300)

POLICY = """\
apiVersion: hitl.dev/v1alpha1
kind: AgentPolicy
metadata: {name: shop}
spec:
  rules:
  - {name: reading, action: Allow, tools: ["get_*"]}
  - {name: destructive, action: Deny, tools: ["delete_*"]}
  - {name: refunds, action: Confirm, tools: [shop/refund], summary: "refund {args.amount}"}
  - {name: payouts, action: Confirm, tools: [shop/payout], summary: "payout {args.amount}"}
  - {name: quick, action: Confirm, tools: [shop/quick], timeout: 1s}
  approval: {holdBudget: 3m}
"""


class Dev:
    """A running `hitl dev`."""

    def __init__(self, path: Path) -> None:
        self.home = AHome(path / "home")
        (path / "policies").mkdir()
        (path / "policies" / "shop.yaml").write_text(POLICY)
        self.home.people(ana=())
        self.log = (path / "dev.log").open("w+")
        self.process = subprocess.Popen(
            [str(HITL), "dev", "-f", str(path / "policies"), "--home", str(self.home.path)],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout is not None
        self.greeting = [self.process.stdout.readline() for _ in range(2)]

    def children(self) -> list[int]:
        """Process ids of the control plane and the sidecar."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in task.read_text().split()]

    def said(self) -> str:
        """Everything on its stderr so far."""
        self.log.flush()
        return Path(self.log.name).read_text()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(90)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    """One `hitl dev` for the whole file."""
    path = Path(tempfile.mkdtemp(prefix="hitl-dev-", dir="/tmp"))
    running = Dev(path)
    yield running
    running.end()
    shutil.rmtree(path, ignore_errors=True)


def test_it_says_where_the_gate_is_and_what_to_type(dev: Dev) -> None:
    """Socket and home on stdout; how to call, look and decide, and that it is cooperative (G5), on stderr."""
    assert dev.greeting == [f"gate      {dev.home.path}/gate.sock\n", f"home      {dev.home.path}\n"]
    assert dev.home.hitl("dev", "call", "crm/get_customer").code == 0
    said = dev.said()
    assert "Cooperative: this account can read every key in the home" in said
    assert "Call      hitl dev call shop/refund" in said
    assert "Ctrl-C ends both." in said


@pytest.mark.parametrize(
    ("words", "outcome", "code"),
    [
        (["crm/get_customer"], "ALLOWED", 0),
        (["crm/delete_customer"], "DENIED", 4),
        (["shop/refund", '{"amount": 1}'], "PENDING", 5),
        (["shop/quick", "--wait", "50s"], "EXPIRED", 3),
        (["shop/refund", '{"amount": 1, "amount": 2}'], "INVALID", 2),
        (["shop/refund", "[]"], "INVALID", 2),
    ],
    ids=["allowed", "denied", "pending", "expired", "a key twice", "no object"],
)
def test_I9_a_call_by_hand_says_its_outcome_by_word_and_code(
    dev: Dev, words: list[str], outcome: str, code: int
) -> None:
    """I9: each outcome has its own word and exit code; the message for the agent stands on stderr."""
    done = dev.home.process("dev", "call", *words)
    assert (done.out.split()[0], done.code) == (outcome, code)
    assert done.err.strip()


def test_an_approved_call_is_released_to_the_one_that_waits(dev: Dev) -> None:
    """The agent waits, ana approves: approve says released, the call ends ALLOWED, history says consumed."""
    answer: list[Done] = []
    words = ("dev", "call", "shop/refund", '{"amount": 7500}', "--wait", "100s", "--call-id", "c-1")
    caller = threading.Thread(target=lambda: answer.append(dev.home.process(*words)))
    caller.start()
    name = waiting(dev, "refund 7500")
    done = dev.home.hitl("approve", name, "--as", "ana")
    caller.join(120)
    assert (done.code, done.out) == (0, f"approvalrequest.hitl.dev/{name} approved\n")
    assert "released to " in done.err
    assert (answer[0].code, answer[0].out.split()[0]) == (0, "ALLOWED")
    assert f"approvalrequest.hitl.dev/{name}" in dev.home.hitl("history", "--state", "consumed", "-o", "name").lines
    again = dev.home.hitl("dev", "call", *words[2:4], "--call-id", "c-1")
    assert (again.out.split()[0], again.code) == ("ALREADY_RELEASED", 3)


def test_I7_an_edited_call_is_released_with_the_new_digest(dev: Dev) -> None:
    """I7: the digest that was released replaces the one that was asked, and the agent gets the new arguments."""
    answer: list[Done] = []
    words = ("dev", "call", "shop/refund", '{"amount": 9900}', "--wait", "100s")
    caller = threading.Thread(target=lambda: answer.append(dev.home.process(*words)))
    caller.start()
    name = waiting(dev, "refund 9900")
    done = dev.home.hitl("approve", name, "--as", "ana", "--edit", "amount=5")
    caller.join(120)
    request = dev.home.now_is(name)
    new, old = request.status.consumed_digest[:8], request.spec.digest[:8]
    assert new != old
    assert f"digest {new} replaces {old}; the agent is told what changed · released to " in " ".join(done.err.split())
    assert 'run with these arguments: {"amount":5}' in answer[0].err


def test_a_call_as_json_carries_the_whole_answer(dev: Dev) -> None:
    """-o json: outcome by name, handle, verdict; nothing on stderr."""
    done = dev.home.hitl("dev", "call", "shop/refund", '{"amount": 3}', "-o", "json")
    assert done.err == ""
    assert done.document["outcome"] == "PENDING"
    assert done.document["verdict"]["rule"] == "AgentPolicy/default/shop#refunds"
    assert done.document["handle"].startswith("default/")


def test_H2_what_happened_is_in_a_log_that_verifies(dev: Dev) -> None:
    """H2: the home's audit log verifies, and activity tells the refusal from it."""
    dev.home.hitl("dev", "call", "crm/delete_customer")
    done = dev.home.hitl("audit", "verify")
    assert done.code == 0, done.out
    assert any(each.split()[1] == "Deny" and "rule destructive" in each for each in dev.home.hitl("activity").lines)


def test_a_home_serves_one_control_plane(dev: Dev) -> None:
    """A second `hitl dev` on the same home ends with an error; the first goes on."""
    policies = str(dev.home.path.parent / "policies")
    second = dev.home.process("dev", "-f", policies)
    assert second.code == 1
    assert second.err.startswith(f"error: a control plane serves {dev.home.path}/hub.sock already; end it first")
    assert second.out == ""
    assert dev.home.hitl("dev", "call", "crm/get_customer").code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_both_children(number: signal.Signals) -> None:
    """Ctrl-C, kill and a closed terminal: exit code 0, and neither child is left."""
    path = Path(tempfile.mkdtemp(prefix="hitl-dev-", dir="/tmp"))
    running = Dev(path)
    children = running.children()
    running.process.send_signal(number)
    assert running.process.wait(90) == 0
    assert len(children) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert "stopping; what waits stays in the home" in running.said()
    running.end()
    shutil.rmtree(path, ignore_errors=True)


def test_a_child_that_ends_takes_the_other_with_it() -> None:
    """A sidecar that dies: exit code 1, its name, and no control plane left alone."""
    path = Path(tempfile.mkdtemp(prefix="hitl-dev-", dir="/tmp"))
    running = Dev(path)
    hub, sidecar = running.children()
    os.kill(sidecar, signal.SIGKILL)
    assert running.process.wait(90) == 1
    assert not Path(f"/proc/{hub}").exists()
    said = running.said()
    assert "error: the sidecar ended (exit code -9)" in said
    assert "Nothing is lost; start again: hitl dev -f " in said
    running.end()
    shutil.rmtree(path, ignore_errors=True)


def test_policies_that_cannot_be_read_stop_the_start(home: AHome, tmp_path: Path) -> None:
    """A broken policy: its line on stderr, exit code 1, nothing left running."""
    (tmp_path / "bad.yaml").write_text(POLICY.replace("action: Allow", "acton: Allow"))
    done = home.process("dev", "-f", str(tmp_path))
    assert done.code == 1
    assert "bad.yaml:6" in done.err
    assert "acton" in done.err


def test_a_home_too_deep_for_sockets_is_refused(home: AHome, tmp_path: Path) -> None:
    """A Unix socket's path is short: said before anything starts."""
    deep = home.path / ("x" * 60) / ("y" * 60)
    done = home.process("dev", "-f", str(tmp_path), "--home", str(deep))
    assert done.code == 1
    assert "choose a shorter --home" in done.err
    assert not deep.exists()


def test_without_policies_it_says_what_to_give(home: AHome) -> None:
    """`hitl dev` alone is a usage error that names -f and init."""
    done = home.hitl("dev")
    assert done.code == 2
    assert "say where the policies are: -f DIR (a first one: hitl init)" in done.err


def test_a_call_without_a_gate_says_how_to_start_one(home: AHome) -> None:
    """No socket: exit code 1 and the next step."""
    done = home.hitl("dev", "call", "x/y")
    assert done.code == 1
    assert done.err.startswith(f"error: no gate listens at {home.path}/gate.sock\nStart one: hitl dev -f DIR")


def test_a_wait_that_is_no_duration_is_a_usage_error(home: AHome) -> None:
    """Exit code 2 before anything is sent."""
    assert home.hitl("dev", "call", "x/y", "--wait", "soon").code == 2


def waiting(dev: Dev, summary: str) -> str:
    """The name of the request with this summary, once it is there."""
    give_up = time.monotonic() + 90
    while time.monotonic() < give_up:
        for item in dev.home.hitl("list", "-o", "json").document["items"]:
            if item["spec"]["summary"] == summary:
                return str(item["metadata"]["name"])
        time.sleep(0.02)
    pytest.fail(f"no request for {summary!r} appeared")


def test_a_watched_list_shows_what_comes(dev: Dev) -> None:
    """`list -w` through a pipe: a new table when a request arrives; Ctrl-C ends it."""
    watching = subprocess.Popen(
        [str(HITL), "list", "-w", "--home", str(dev.home.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert watching.stdout is not None
    try:
        watching.stdout.readline()
        dev.home.hitl("dev", "call", "shop/payout", '{"amount": 42}')
        assert any("payout 42" in each for each in watching.stdout)
    finally:
        watching.send_signal(signal.SIGINT)
        assert watching.wait(90) == 130
        watching.stdout.close()
