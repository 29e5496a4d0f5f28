"""Every block of the README is run, and shows what really comes."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.blocks import ROOT, Block, blocks, comparable
from hitl_cli.demo.stage import Stage
from hitl_cli.demo.world import World
from hitl_cli.processes import Programs

pytestmark = pytest.mark.timeout(180)

FIRST_SCREEN, DEMO, POLICY, CHECKED, STARTED, CALLED, CLUSTER, CLIENT, MAP = range(9)

SHOWN_ON_THE_FIRST_SCREEN = """
apiVersion: hitl.dev/v1alpha1
kind: AgentPolicy
metadata: {name: support}
spec:
  rules:
  - {action: Confirm, tools: [payments/refund], summary: "refund {args.amount} cents to customer {args.customer}"}
  - {action: MultiFactor, tools: [ops/deploy], timeout: 30m, summary: "deploy {args.version} to {args.target}"}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, because Unix sockets lie in it."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="hitl-") as name:
        yield Path(name)


def block(number: int) -> Block:
    return blocks("README.md")[number]


# `hitl`, which follows a vote for longer than the two seconds after which it tells people to look again later: where
# others want the machine, the control plane may need them.
PATIENT = "import sys; from hitl_cli import deciding, main; deciding.PATIENCE = 60.0; sys.argv[0] = 'hitl'; main.main()"


def hitl(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A command of the README, run as it stands there."""
    words = shlex.split(command)
    assert words[0] == "hitl"
    environment = {**os.environ, "HITL_HOME": str(folder / "home"), "COLUMNS": "100", "NO_COLOR": "1"}
    program = [sys.executable, "-c", PATIENT, *words[1:]]
    return subprocess.run(
        program, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_each_block_has_its_test() -> None:
    """A block that is added to the README needs a test here: these nine are run below, one by one."""
    starts = [each.text.split("\n", 1)[0] for each in blocks("README.md")]
    assert starts == [
        "$ hitl list",
        "$ make demo",
        "apiVersion: hitl.dev/v1alpha1",
        "$ hitl check -f support.yaml",
        "$ hitl dev reviewer add ana --group support",
        '$ hitl dev call stripe/create_refund \'{"amount": 15000, "currency": "eur"}\' --wait 0s',
        "$ make demo-cluster",
        "import grpc",
        "core/hitl/       the ground   pure policy/ and approvals/; audit/ kube/ stores/; v1/ and wire/ are gRPC",
    ]


def test_the_first_screen_is_what_the_program_prints(folder: Path) -> None:
    """With two such calls waiting, list and approve print what the README shows."""
    (listing, listed), (approving, approved) = block(FIRST_SCREEN).commands()
    stage = Stage(folder)
    World(folder / "world").build()
    stage.lay()
    (stage.policies / "shop.yaml").write_text(SHOWN_ON_THE_FIRST_SCREEN)
    (stage.home / "people" / "bo.key").unlink()
    try:
        stage.start_hub()
        stage.start_sidecar()
        stage.start_agent()
        for server, tool, arguments in (
            ("payments", "refund", {"amount": 15000, "customer": "C-20817"}),
            ("ops", "deploy", {"version": "web:v314", "target": "staging"}),
        ):
            ref = stage.order(do="check", server=server, tool=tool, arguments=arguments, wait=0)
            assert stage.answer(ref)["outcome"] == "PENDING"
        shown = hitl(folder, listing)
        assert comparable(shown.stdout) == comparable(listed), shown.stderr
        prefix = re.search(r"refund-\w{4}", shown.stdout)
        assert prefix is not None
        done = hitl(folder, re.sub(r"refund-\w{4}", prefix[0], approving))
        assert comparable(done.stdout) == comparable(approved), done.stderr
    finally:
        stage.close()


@pytest.mark.parametrize(
    ("number", "program"), [(DEMO, ".venv/bin/hitl demo"), (CLUSTER, ".venv/bin/python -m control_plane.demo")]
)
def test_each_demo_is_a_target(number: int, program: str) -> None:
    """The README's commands run what tests/integration/test_demo*.py play from beginning to end."""
    ((command, _),) = block(number).commands()
    said = subprocess.run(
        [*shlex.split(command), "-n"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert program in said.stdout.splitlines()


def test_the_policy_is_sound_and_explained_as_shown(folder: Path) -> None:
    """Both check and explain on the README's own policy print what stands below them."""
    (folder / "support.yaml").write_text(block(POLICY).text)
    for command, shown in block(CHECKED).commands():
        done = hitl(folder, command)
        assert done.returncode == 0, done.stderr
        assert comparable(done.stdout or done.stderr) == comparable(shown)


def test_a_control_plane_on_this_machine_holds_a_call_and_releases_it(folder: Path) -> None:
    """From the first reviewer to a released call, every command as it stands in the README."""
    (folder / "support.yaml").write_text(block(POLICY).text)
    (adding, added), (starting, _) = block(STARTED).commands()
    assert comparable(hitl(folder, adding).stdout) == comparable(added)
    home = folder / "home"
    words = shlex.split(starting)[1:]
    assert words == ["dev", "-f", "support.yaml"]
    with Programs() as programs, (folder / "dev.log").open("w") as log:
        arguments = ["--home", str(home), "dev", "-f", str(folder / "support.yaml")]
        programs.start("dev", "hitl_cli.main", arguments, log=log).wait_until_serving(home / "gate.sock")
        name = "no-name-yet"
        for command, shown in block(CALLED).commands():
            done = hitl(folder, re.sub(r"create-refund-\w+", name, command))
            assert comparable(done.stdout) == comparable(shown), done.stderr
            if found := re.search(r"create-refund-\w{10}", done.stdout):
                name = found[0]


def test_the_python_client_is_all_it_takes(folder: Path) -> None:
    """The README's client, run against a real gate, gets ALLOWED for a harmless call."""
    code = block(CLIENT).text
    ast.parse(code)
    stage = Stage(folder)
    World(folder / "world").build()
    stage.lay()
    try:
        stage.start_hub()
        stage.start_sidecar()
        arguments = '{"path": "reports/march.csv"}'
        program = (
            f"{code}\nprint(ask({str(stage.gate_socket)!r}, 'files', 'read_file', {arguments.encode()!r}).outcome)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout == "1\n", done.stderr
    finally:
        stage.close()


def test_the_map_names_folders_that_exist() -> None:
    """Every place on the map of the house is there."""
    places = [line.split()[0] for line in block(MAP).text.splitlines()]
    assert [place for place in places if not (ROOT / place).is_dir()] == []
